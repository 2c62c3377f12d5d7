package browser

import (
	"archive/zip"
	"bytes"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"

	"copialettere/cmd/copialettere/e2e/rig"
)

// testKeyboard signs in, looks for a message, opens it and goes back without a mouse. On each page the focus goes through everything, and shows.
func testKeyboard(t *testing.T, s *site) {
	x := s.newTab(t, look{})
	x.open("/sign-in")
	x.focused("Indirizzo della casella")
	x.write(carlo)
	x.key(kb.Tab)
	x.focused("Password")
	x.write(rig.Password)
	x.key(kb.Enter)
	x.see("Archivio di " + carlo)
	x.key(kb.Tab)
	x.focused("Vai al contenuto")
	x.key(kb.Enter)
	x.wait("the skip link to lead to the content", `document.activeElement.id === "main"`)
	x.tabTo("Cerca nell'archivio")
	x.write("torta")
	x.key(kb.Enter)
	x.see("Risultati della ricerca", "Ricetta della torta")
	x.tabThrough("Ricetta della torta", "Scarica come ZIP", "Altri campi di ricerca", carlo)
	x.tabTo("Ricetta della torta")
	x.key(kb.Enter)
	x.see("A presto")
	x.tabThrough("Torna ai messaggi", "Versione da stampare", "Intestazioni complete")
	x.tabTo("Intestazioni complete")
	x.key(" ")
	x.see("Message-ID")
	x.open("/mailbox/" + carlo + "/settings")
	x.tabThrough("Abilita la cancellazione manuale", "Salva : Messaggi da archiviare")
	x.open(s.messagePath(t, carlo, "Ricetta della torta"))
	x.tabTo("Torna ai messaggi")
	x.key(kb.Enter)
	x.see("Auguri", "Ricetta della torta")
	x.tabTo(carlo)
	x.key(kb.Enter)
	x.tabTo("Esci")
	x.key(kb.Enter)
	x.see("La sessione è chiusa")
}

// tabThrough moves the focus with the Tab key from the beginning of the page to its end. What has it must be in the window, not be hidden behind something
// else, and show that it has it. All of the names must have been among it.
func (x *tab) tabThrough(names ...string) {
	x.testing.Helper()
	if _, err := evaluate[any](x, `document.activeElement.blur(), window.getSelection().removeAllRanges(), scrollTo(0, 0)`); err != nil {
		x.testing.Fatal(err)
	}
	type focus struct {
		Name               string
		End, Shown, Marked bool
	}
	var passed strings.Builder
	for range 300 {
		x.key(kb.Tab)
		at, err := evaluate[focus](x, `(() => {
			const e = document.activeElement;
			if (e === document.body || e === null) return {End: true};
			const label = [e.innerText, e.ariaLabel, ...[...(e.labels || [])].map(l => l.innerText)].filter(Boolean).join(" ").replace(/\s+/g, " ");
			const box = e.getClientRects()[0], style = getComputedStyle(e);
			const over = box && document.elementFromPoint(Math.min(box.x + box.width / 2, innerWidth - 1), box.y + Math.min(box.height / 2, 10));
			const inside = box && box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
			return {Name: label + " <" + e.tagName + ">", End: false, Shown: Boolean(inside && over && (e.contains(over) || over.contains(e))),
				Marked: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2};
		})()`)
		if err != nil {
			x.testing.Fatal(err)
		}
		if at.End {
			break
		}
		if !at.Shown || !at.Marked {
			x.testing.Errorf("%s: the focus on %q is in sight: %v, and marked: %v", x.location(), at.Name, at.Shown, at.Marked)
		}
		passed.WriteString(at.Name + "\n")
	}
	for _, name := range names {
		if !strings.Contains(passed.String(), name) {
			x.testing.Errorf("%s: the Tab key does not come to %q, but to\n%s", x.location(), name, passed.String())
		}
	}
}

// testWithoutScript goes the whole way of an owner with scripts disabled: he signs in, turns pages, searches, opens a message, downloads it and a ZIP,
// deletes and brings back, changes a setting, and signs out.
func testWithoutScript(t *testing.T, s *site) {
	x := s.newTab(t, look{noScript: true})
	x.signIn(nino)
	x.press("Messaggi")
	x.see("Lettera 53", fmt.Sprintf("%d messaggi", manyLetters))
	x.press("Meno recenti")
	if x.see("Lettera 2"); x.sees("Lettera 53") {
		t.Error("the second page has the first message")
	}
	x.press("Più recenti")
	x.see("Lettera 53")
	x.fill("Cerca nell'archivio", "lettera 31")
	x.press("Cerca")
	x.press("Lettera 31")
	x.see("A presto")
	entry := s.entry(t, nino, "Lettera 31")
	if _, raw := x.download("INBOX-"); !bytes.Equal(raw, s.hook.Cat(t, entry)) {
		t.Errorf("the browser saves\n%s", raw)
	}
	x.press("Torna ai messaggi")
	x.press("Torna a tutti i messaggi")
	x.press("Scegli tutti in questa pagina")
	x.press("Scarica come ZIP")
	x.see("Scaricare 50 messaggi?")
	_, packed := x.download("Scarica lo ZIP")
	if archive, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed))); err != nil || len(archive.File) != 50+3 {
		t.Errorf("the ZIP has %d bytes: %v", len(packed), err)
	}
	x.open("/mailbox/" + nino + "/messages/" + url.PathEscape(entry.Folder) + "/" + fmt.Sprint(entry.UID))
	x.press("Elimina…")
	x.press("Elimina")
	x.see("Eliminati: un messaggio")
	x.press("Eliminati")
	x.choose("Scegli")
	x.press("Recupera i messaggi scelti")
	x.see("Recuperati: un messaggio")
	x.press("Impostazioni")
	x.choose("Abilita la cancellazione manuale dei messaggi")
	x.press("Salva: Abilita la cancellazione manuale dei messaggi")
	x.see("Salvato")
	if shown := string(s.hook.Must(t, "mailbox", "show", nino)); !strings.Contains(strings.Join(strings.Fields(shown), " "), "manual_delete off") {
		t.Errorf("the mailbox is\n%s", shown)
	}
	if cookies, err := evaluate[string](x, "document.cookie"); err != nil || cookies != "" {
		t.Errorf("a script ran: %q, %v", cookies, err)
	}
	x.press(nino)
	x.press("Esci")
	x.see("La sessione è chiusa")
}

// testTimeZones shows the same messages to readers in different places: each sees the time there, with the offset.
func testTimeZones(t *testing.T, s *site) {
	entry := s.entry(t, rita, "Auguri")
	for _, name := range []string{"Europe/Rome", "America/St_Johns", "Asia/Kathmandu"} {
		t.Run(name, func(t *testing.T) {
			zone, err := time.LoadLocation(name)
			if err != nil {
				t.Fatal(err)
			}
			x := s.newTab(t, look{zone: name})
			x.signIn(rita)
			at := entry.Time.In(zone)
			x.open("/mailbox/" + rita + "/messages")
			x.see(at.Format("02/01/2006 15:04 -07:00"))
			x.press("Auguri")
			x.press("In archivio")
			shown := x.textOf("details time")
			if !strings.Contains(shown, at.Format("15:04")) || !strings.Contains(shown, at.Format("-07:00")) {
				t.Errorf("the message shows %q, want %s", shown, at)
			}
			exact, err := evaluate[string](x, `document.querySelector("details time").dateTime`)
			if instant, err2 := time.Parse(time.RFC3339, exact); err != nil || err2 != nil || !instant.Equal(entry.Time.Truncate(time.Second)) {
				t.Errorf("the time of the message is %q, want %s; %v, %v", exact, entry.Time, err, err2)
			}
		})
	}
}

// testDelegate has dario let ugo read until a day. Dario sees that ugo has, and revokes it.
func testDelegate(t *testing.T, s *site) {
	x := s.newTab(t, look{})
	x.signIn(dario)
	x.open("/mailbox/" + dario + "/delegates")
	x.fill("Indirizzo con cui la persona entra", ugo)
	x.fill("Ultimo giorno", time.Now().AddDate(0, 0, 7).Format(time.DateOnly))
	x.press("Lascia leggere")
	x.see("La delega è registrata", ugo)
	x.press("Accessi")
	if x.see(ugo); x.sees("come delegato") {
		t.Error("ugo is said to have read already")
	}

	y := s.newTab(t, look{})
	y.signIn(ugo)
	y.press(ugo) // the menu
	y.press(dario)
	y.see("Questo archivio è di un'altra persona")
	y.press("Messaggi")
	y.press("Ricetta della torta")
	y.see("A presto")
	if y.sees("Elimina…") {
		t.Error("a delegate is offered to delete")
	}
	letter := y.location()

	x.open("/mailbox/" + dario + "/access")
	x.see(ugo, "come delegato")

	x.open("/mailbox/" + dario + "/delegates")
	x.press("Revoca " + ugo)
	x.see("solo il titolare")
	y.open(letter)
	if y.see("Accesso non consentito"); y.sees("A presto") {
		t.Error("who is a delegate no more still reads")
	}
}
