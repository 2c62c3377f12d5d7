package browser

import (
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"

	"copialettere/cmd/copialettere/e2e/rig"
)

// TestKeyboard looks for a message and opens it without a mouse.
func TestKeyboard(t *testing.T) {
	s := newSite(t)
	x := s.newTab(t, look{})
	x.open("/sign-in")
	x.focused("Indirizzo della casella")
	x.write(mario)
	x.key(kb.Tab)
	x.write(rig.Password)
	x.key(kb.Enter)
	x.see("Archivio di " + mario)
	x.tabTo("Vai al contenuto")
	x.key(kb.Enter)
	x.tabTo("Cerca nell'archivio")
	x.write("tetto")
	x.key(kb.Enter)
	x.see("Preventivo per il tetto")
	x.tabTo("Preventivo per il tetto")
	if outline, err := evaluate[bool](x, `getComputedStyle(document.activeElement).outlineStyle !== "none"`); err != nil || !outline {
		t.Errorf("the focus cannot be seen, %v", err)
	}
	x.key(kb.Enter)
	x.see("ci sentiamo domani", "preventivo.txt")
	x.key(kb.Tab)
	x.focused("Vai al contenuto")
}

// TestWithoutScript looks for a message, opens it and changes settings with scripts disabled.
func TestWithoutScript(t *testing.T) {
	s := newSite(t)
	x := s.newTab(t, look{noScript: true})
	x.signIn(mario)
	x.fill("Cerca nell'archivio", "tetto")
	x.press("Cerca")
	x.press("Preventivo per il tetto")
	x.see("ci sentiamo domani")
	x.press("Impostazioni")
	x.choose("Abilita la cancellazione manuale dei messaggi")
	x.press("Salva: Abilita la cancellazione manuale dei messaggi")
	x.see("Salvato")
	if shown := string(s.hook.Must(t, "mailbox", "show", mario)); !strings.Contains(strings.Join(strings.Fields(shown), " "), "manual_delete on") {
		t.Errorf("the mailbox is\n%s", shown)
	}
	if cookies, err := evaluate[string](x, "document.cookie"); err != nil || cookies != "" {
		t.Errorf("a script ran: %q, %v", cookies, err)
	}
}

// TestDelegate has mario let bruno read until a day, and revoke that.
func TestDelegate(t *testing.T) {
	s := newSite(t)
	x := s.newTab(t, look{})
	x.signIn(mario)
	x.open("/mailbox/" + mario + "/delegates")
	x.fill("Indirizzo con cui la persona entra", bruno)
	x.fill("Ultimo giorno", time.Now().AddDate(0, 0, 7).Format(time.DateOnly))
	x.press("Lascia leggere")
	x.see(bruno)

	y := s.newTab(t, look{})
	y.signIn(bruno)
	letter := s.messagePath(t, "Preventivo per il tetto")
	y.open(letter)
	y.see("ci sentiamo domani")
	if y.sees("Elimina…") {
		t.Error("a delegate is offered to delete")
	}
	if log := string(s.hook.Must(t, "access", mario)); !strings.Contains(log, bruno) {
		t.Errorf("the access log of mario is\n%s", log)
	}

	x.open("/mailbox/" + mario + "/delegates")
	x.press("Revoca " + bruno)
	x.see("solo il titolare")
	y.open(letter)
	if y.sees("ci sentiamo domani") {
		t.Error("who is a delegate no more still reads")
	}
}
