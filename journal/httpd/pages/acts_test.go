package pages

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/policy"
)

// fields returns the form on a page that goes to an address, as a browser would send it with its checked and hidden fields.
func (d listed) fields(action string) url.Values {
	d.t.Helper()
	values := url.Values{}
	found := false
	for _, form := range d.all("form") {
		if attribute(form, "action") != action {
			continue
		}
		found = true
		for n := range form.Descendants() {
			if n.Data == "input" && attribute(n, "type") == "hidden" {
				values.Add(attribute(n, "name"), attribute(n, "value"))
			}
		}
	}
	if !found {
		d.t.Fatalf("no form to %s: %s", action, d.text)
	}
	return values
}

// sends posts a form and returns the page that answers.
func (b *browser) sends(path string, form url.Values) listed {
	b.t.Helper()
	w := b.post(path, form.Encode())
	if w.Code != http.StatusOK {
		b.t.Fatalf("%s: %d: %s", path, w.Code, w.Body)
	}
	return parseList(b.t, w.Body.String())
}

// follows posts a form that ends in a redirect, and returns the page to which it leads.
func (b *browser) follows(path string, form url.Values) listed {
	b.t.Helper()
	w := b.post(path, form.Encode())
	if w.Code != http.StatusSeeOther {
		b.t.Fatalf("%s: %d: %s", path, w.Code, w.Body)
	}
	return b.page(w.Header().Get("Location"))
}

// archived returns the subjects of what is in the archive, by folder and UID.
func (r *rig) archived() (list []string) {
	r.t.Helper()
	for e, err := range r.archive.Entries(r.t.Context(), r.address("anna@alpha.test"), journal.Listing{}) {
		r.must(err)
		list = append(list, e.Folder+" "+e.Subject)
	}
	return list
}

// TestDelete deletes two messages, one of which is held, and brings the other one back.
func TestDelete(t *testing.T) {
	r := newRig(t)
	kept, gone := r.plainMail("Resta"), r.plainMail("Va")
	r.plainMail("Altro")
	r.set("manual_delete=on")
	held := kept
	r.must(r.archive.Hold(t.Context(), operator, held, "causa"))
	b := r.signedIn("anna@alpha.test")
	d := b.page(ofAnna + "messages")
	d.has("Elimina…", "blocco legale")
	if strings.Contains(d.text, "Sposta…") {
		t.Error("the list offers to move")
	}
	form := url.Values{"m": {placeValue(kept), placeValue(gone)}}
	d = b.sends(ofAnna+"messages/delete", form)
	d.has("Eliminare un messaggio?", "Va, da Bruno Bianchi", "72 ore", "Restano dove sono, per un blocco legale: Ricevuti, "+monthText(policy.Italian, string(kept.Month))+", "+uidText(kept.UID))
	if len(r.archived()) != 3 {
		t.Fatalf("deleted without a confirmation: %q", r.archived())
	}
	answer := d.fields("/mailbox/anna@alpha.test/messages/delete")
	if got := answer["m"]; !slices.Equal(got, []string{placeValue(gone)}) {
		t.Errorf("the confirmation names %q", got)
	}
	b.follows(ofAnna+"messages/delete", answer).has("Eliminati: un messaggio.")
	if got := r.archived(); !slices.Equal(got, []string{"INBOX Resta", "INBOX Altro"}) {
		t.Errorf("after the deletion: %q", got)
	}
	// What is held and was named all the same stays.
	form.Set("confirm", "yes")
	if w := b.post(ofAnna+"messages/delete", form.Encode()); w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "Non è stato cambiato nulla") {
		t.Errorf("deleting what is held: %d: %s", w.Code, w.Body)
	}
	d = b.page(ofAnna + "deleted")
	d.has("Va", "Recupera i messaggi scelti", "titolare anna@alpha.test")
	d = b.follows(ofAnna+"deleted", url.Values{"m": {placeValue(gone)}, "back": {ofAnna + "deleted"}})
	d.has("Recuperati: un messaggio.", "Qui non c'è nulla da recuperare.")
	if got := r.archived(); !slices.Equal(got, []string{"INBOX Resta", "INBOX Altro", "INBOX Va"}) {
		t.Errorf("brought back: %q", got)
	}
	_, err := r.archive.HoldMailbox(t.Context(), operator, r.address("anna@alpha.test"), "causa")
	r.must(err)
	if w := b.post(ofAnna+"messages/delete", url.Values{"m": {placeValue(gone)}}.Encode()); w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "Blocco legale") {
		t.Errorf("a mailbox under a hold: %d: %s", w.Code, w.Body)
	}
	for back, want := range map[string]string{"": "/", ofAnna + "messages?q=altro": ofAnna + "messages?q=altro", "https://elsewhere.test/": "/"} {
		w := b.post(ofAnna+"messages/delete", url.Values{"back": {back}}.Encode())
		if d := parseList(t, w.Body.String()); w.Code != http.StatusBadRequest || cmp.Or(d.link("Torna indietro"), d.link("Torna all'inizio")) != want {
			t.Errorf("nothing selected, from %q: %d: %s", back, w.Code, w.Body)
		}
	}
}

// TestDeleteAll deletes all results of a search across pages. What comes after the page has asked stays.
func TestDeleteAll(t *testing.T) {
	r := newRig(t)
	for i := range perPage + 7 {
		r.plainMail(fmt.Sprintf("Via %d", i))
		if i%3 == 0 {
			r.plainMail(fmt.Sprintf("Tieni %d", i))
		}
	}
	r.set("write=on")
	b := r.signedIn("anna@alpha.test")
	list := b.page(ofAnna + "messages?subject=via")
	list.has("Tutti e 57, in tutte le pagine")
	form := list.fields("messages/zip")
	form.Set("all", "1")
	d := b.sends(ofAnna+"messages/delete", form)
	d.has("Eliminare 57 messaggi?", "Via 0, da Bruno Bianchi", "e altri 52")
	r.plainMail("Via, arrivato dopo")
	b.follows(ofAnna+"messages/delete", d.fields("/mailbox/anna@alpha.test/messages/delete")).has("Eliminati: 57 messaggi.", "Via, arrivato dopo", "Risultati della ricerca")
	if got := len(r.archived()); got != 19+1 {
		t.Errorf("%d messages are left: %q", got, r.archived())
	}
	b.page(ofAnna + "deleted").has("57 messaggi")
	b.follows(ofAnna+"deleted", url.Values{"all": {"1"}}).has("Recuperati: 57 messaggi.")
	if got := len(r.archived()); got != 57+19+1 {
		t.Errorf("%d messages after all were brought back", got)
	}
}

// TestMove moves a message into another folder of its month.
func TestMove(t *testing.T) {
	r := newRig(t)
	ref := r.plainMail("Da spostare")
	r.plainMail("Altro")
	r.set("write=on")
	b := r.signedIn("anna@alpha.test")
	d := b.sends(ofAnna+"messages/move", url.Values{"folder": {ref.FolderName()}, "uid": {uidText(ref.UID)}})
	d.has("Spostare un messaggio?", "In quale cartella?", "Inviati", "Cestino")
	form := d.fields("/mailbox/anna@alpha.test/messages/move")
	form.Set("target", "Sent")
	b.follows(ofAnna+"messages/move", form).has("Spostati: un messaggio.", "Inviati 1")
	if got := r.archived(); !slices.Contains(got, "Sent Da spostare") {
		t.Errorf("after the move: %q", got)
	}
	form.Set("target", "Nowhere")
	form.Set("m", "INBOX/"+string(ref.Month)+" 2")
	if w := b.post(ofAnna+"messages/move", form.Encode()); w.Code != http.StatusBadRequest {
		t.Errorf("into a folder that is not there: %d: %s", w.Code, w.Body)
	}
}

// TestActsForbidden lets nobody act who may not.
func TestActsForbidden(t *testing.T) {
	r := newRig(t)
	ref := r.plainMail("Di anna")
	_, err := r.archive.AddDelegate(t.Context(), policy.Actor{Role: policy.RoleOwner, Name: "anna@alpha.test"}, r.address("anna@alpha.test"), r.address("bruno@alpha.test"), time.Now().Add(time.Hour))
	r.must(err)
	form := url.Values{"m": {placeValue(ref)}, "confirm": {"yes"}, "target": {"Sent"}}.Encode()
	for _, c := range []struct {
		name, who, write string
		status           int
	}{
		{"the owner of a read-only archive", "anna@alpha.test", "off", http.StatusForbidden},
		{"a delegate", "bruno@alpha.test", "on", http.StatusForbidden},
		{"a postmaster", "postmaster@alpha.test", "on", http.StatusForbidden},
		{"another owner", "carla@beta.test", "on", http.StatusForbidden},
	} {
		r.set("write="+c.write, "manual_delete="+c.write)
		b := r.signedIn(c.who)
		for _, path := range []string{"messages/delete", "messages/move", "deleted"} {
			if w := b.post(ofAnna+path, form); w.Code != c.status {
				t.Errorf("%s, %s: %d: %s", c.name, path, w.Code, w.Body)
			}
		}
		if got := r.archived(); !slices.Equal(got, []string{"INBOX Di anna"}) {
			t.Fatalf("%s: %q", c.name, got)
		}
	}
	b := r.signedIn("bruno@alpha.test")
	for _, path := range []string{"messages", "deleted", "gaps"} {
		d := b.page(ofAnna + path)
		for _, word := range []string{"Elimina…", "Sposta…", "Recupera i messaggi"} {
			if strings.Contains(d.text, word) {
				t.Errorf("%s offers %q to a delegate", path, word)
			}
		}
	}
	for _, who := range []string{"postmaster@alpha.test", "carla@beta.test"} {
		for _, path := range []string{"messages", "deleted", "gaps", "zip"} {
			if w := r.signedIn(who).get(ofAnna + path); w.Code != http.StatusForbidden {
				t.Errorf("%s, %s: %d", who, path, w.Code)
			}
		}
	}
}

// TestSelection reads the fields of forms.
func TestSelection(t *testing.T) {
	for _, c := range []struct {
		name   string
		values []string
		want   string // the selections as values, or nothing if it is an error
	}{
		{"one", []string{"INBOX/2026-11 5"}, "INBOX/2026-11 5"},
		{"several of two folders", []string{"Sent/2026-11 9", "INBOX/2026-11 5", "INBOX/2026-11 1-3.6", "INBOX/2026-10 2"}, "INBOX/2026-10 2|INBOX/2026-11 1-3.5-6|Sent/2026-11 9"},
		{"a folder with blanks", []string{"Imported/Vecchia posta/2026-11 7"}, "Imported/Vecchia posta/2026-11 7"},
		{"all UIDs there are", []string{"INBOX/2026-11 1-4294967295"}, "INBOX/2026-11 1-4294967295"},
		{"no folder", []string{"5"}, ""},
		{"no month", []string{"INBOX 5"}, ""},
		{"no UID", []string{"INBOX/2026-11 "}, ""},
		{"no number", []string{"INBOX/2026-11 five"}, ""},
		{"a path", []string{"../2026-11/x 5"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := parseSelection(c.values)
			var got []string
			for _, f := range s.folders {
				got = append(got, selectionValue(f))
			}
			if text := strings.Join(got, "|"); (err != nil) != (c.want == "") || err == nil && text != c.want {
				t.Errorf("%q, %v, want %q", text, err, c.want)
			}
		})
	}
}

// FuzzSelection reads anything as a field of a form. What it takes names the same messages again.
func FuzzSelection(f *testing.F) {
	for _, seed := range []string{"INBOX/2026-11 5", "INBOX/2026-11 1-20.22", "a/b/2026-11 1", " 1", "/2026-11 1", "INBOX/2026-11 9-1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		s, err := parseSelection([]string{value})
		if err != nil {
			return
		}
		again, err := parseSelection([]string{selectionValue(s.folders[0])})
		if err != nil || selectionValue(again.folders[0]) != selectionValue(s.folders[0]) {
			t.Errorf("%q: %v, then %v, %v", value, s, again, err)
		}
	})
}

// TestGaps shows a pause and a lost message, on their page and in the list.
func TestGaps(t *testing.T) {
	r := newRig(t)
	r.plainMail("Prima")
	_, err := r.archive.Pause(t.Context(), operator, r.address("anna@alpha.test"))
	r.must(err)
	_, err = r.archive.Resume(t.Context(), operator, r.address("anna@alpha.test"))
	r.must(err)
	r.must(r.journal.Record(t.Context(), journal.Record{Kind: journal.Gap, Mailbox: "anna@alpha.test", Time: time.Now(), Reason: journal.ReasonJournalFault,
		Direction: journal.Received, MailFrom: "dario@ext.test", MessageID: "<lost@ext.test>"}))
	last := r.plainMail("Dopo")
	b := r.signedIn("anna@alpha.test")
	d := b.page(ofAnna + "gaps")
	d.has("2 lacune, le più recenti per prime; in più, il tempo prima dell'attivazione", "un messaggio ricevuto da dario@ext.test", "per un guasto l'archivio non ha potuto prenderlo", "l'archivio era in pausa", "<lost@ext.test>")
	for _, path := range []string{"messages", "messages?folder=" + url.QueryEscape(last.FolderName())} {
		rows := b.page(ofAnna + path).rows()
		at := func(text string) int {
			return slices.IndexFunc(rows, func(row string) bool { return strings.Contains(row, text) })
		}
		if !(0 <= at("Dopo") && at("Dopo") < at("dario@ext.test") && at("dario@ext.test") < at("in pausa") && at("in pausa") < at("Prima")) {
			t.Errorf("%s: %q", path, rows)
		}
	}
	if rows := b.page(ofAnna + "messages?q=prima").rows(); len(rows) != 1 {
		t.Errorf("a search for words shows gaps: %q", rows)
	}
	// A page begins at a number from the oldest gap, so it stays when others come.
	total := 0
	for range r.archive.Gaps(t.Context(), r.address("anna@alpha.test")) {
		total++
	}
	for range gapsPerPage {
		r.must(r.journal.Record(t.Context(), journal.Record{Kind: journal.Gap, Mailbox: "anna@alpha.test", Time: time.Now(), Reason: journal.ReasonFull, Direction: journal.Received}))
	}
	older := b.page(ofAnna + "gaps").link("Meno recenti")
	if older != fmt.Sprintf("gaps?before=%d", total) {
		t.Fatalf("older gaps at %q", older)
	}
	if rows := b.page(ofAnna + older).rows(); len(rows) != total || !strings.Contains(rows[0], "dario@ext.test") {
		t.Errorf("the page before: %q", rows)
	}
	if d := b.page(ofAnna + "messages"); len(d.rows()) > gapsInList+5 || d.link("E altre "+fmt.Sprint(total+gapsPerPage-gapsInList)+" lacune in questo periodo") != "gaps" {
		t.Errorf("too many gaps in the list: %q", d.rows())
	}
	r.set("language=en")
	r.signedIn("anna@alpha.test").page(ofAnna+"gaps").has("Gaps of the archive", "the archive was full")
}
