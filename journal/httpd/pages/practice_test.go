package pages

import (
	"archive/zip"
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/journal/export/bundle"
	"copialettere/policy/pec"
	"copialettere/policy/pec/pectest"
)

// send journals a sent message of anna.
func (r *rig) send(office *pectest.Office, c *pectest.Chain) journal.Ref {
	r.t.Helper()
	return r.file(office, journal.Intent{Direction: journal.Sent, Recipients: c.Mail.Recipients(), SentTo: "certified"}, c.Original)
}

// TestPractices shows a practice of each state in the list, once, and what became of it on its page.
func TestPractices(t *testing.T) {
	r := newRig(t)
	office := pectest.NewOffice(pectest.Shapes()[0], pectest.Shapes()[1])
	office.Clock = time.Now().Add(-time.Hour) // the clock of a provider may be wrong: what was sent stands first all the same
	mail := func(subject string, to ...string) *pectest.Chain {
		return office.Send(pectest.Mail{From: anna, To: to, Subject: subject, Text: "Testo.\n", MessageID: "auto"}, "")
	}
	complete := mail("Completa", "giove@beta.test")
	completeRef := r.send(office, complete)
	waiting := mail("In attesa", "giove@beta.test", "marte@gamma.test")
	waitingRef := r.send(office, waiting)
	failed := mail("Fallita", "nessuno@beta.test")
	failedRef := r.send(office, failed)
	fresh := r.send(office, mail("Appena partita", "giove@beta.test"))
	lost := mail("Senza originale", "giove@beta.test")
	r.received(mixed) // belongs to none
	for _, m := range [][]byte{complete.Acceptance, complete.Deliveries[0].Message, waiting.Acceptance, waiting.Deliveries[0].Message, failed.Acceptance,
		failed.Notice(pectest.Notice{Class: pec.ErroreConsegna, Recipient: "nessuno@beta.test", Error: "no-dest"}), lost.Acceptance} {
		r.file(office, journal.Intent{}, m)
	}
	b := r.signedIn(anna)
	page := b.shows(mailboxPath(anna, "practices"), []string{"Senza originale", "Fallita", "non consegnato", "In attesa", "consegnato", "in attesa della consegna", "Completa", "consegnato", "Appena partita", "nessuna ricevuta"},
		"Perché", "Più vecchie")
	for _, subject := range []string{"Senza originale", "Fallita", "In attesa", "Completa", "Appena partita"} {
		if n := strings.Count(page, ">"+subject+"</a>"); n != 1 {
			t.Errorf("%s stands there %d times", subject, n)
		}
	}
	b.shows(mailboxPath(anna, ""), []string{`practices">Pratiche: 2 in attesa di ricevute</a>`})
	path := func(ref journal.Ref) string {
		return mailboxPath(anna, "practices", uidOf(ref)) + "?folder=" + url.QueryEscape(ref.FolderName())
	}
	for _, c := range []struct {
		name, path string
		want       []string
		never      string
	}{
		{"complete", path(completeRef), []string{"Completa</h1>", "apri il messaggio</a> (Inviati, ", "collegato dagli identificativi", "giove@beta.test</h2>", "inviato", "accettato", "apri la ricevuta", "consegnato", "ricevuta completa", "apri la ricevuta", "non che qualcuno"}, "in attesa"},
		{"waiting", path(waitingRef), []string{"giove@beta.test</h2>", "consegnato", "marte@gamma.test</h2>", "in attesa della consegna"}, ""},
		{"failed", path(failedRef), []string{"nessuno@beta.test</h2>", "non consegnato", "no-dest"}, "non che qualcuno"},
		{"without a receipt", path(fresh), []string{"nessuna ricevuta ancora"}, "apri la ricevuta"},
		{"without the message", mailboxPath(anna, "practices", "0") + "?identifier=" + url.QueryEscape(lost.Identifier), []string{"non è in archivio", "accettato"}, "inviato</strong>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.t = t
			page := b.shows(c.path, c.want)
			if c.never != "" && strings.Contains(page, c.never) {
				t.Errorf("it says %q: %s", c.never, page)
			}
			for _, link := range strings.Split(page, `<a href="`)[1:] {
				if link, _, _ = strings.Cut(link, `"`); strings.Contains(link, "/messages/") {
					if w := b.get(link); w.Code != http.StatusOK {
						t.Errorf("%s: %d", link, w.Code)
					}
				}
			}
		})
	}
	r.t = t
	for _, path := range []string{"0?identifier=unknown", "99?folder=Sent%2F" + string(fresh.Month), "1", "x?folder=Sent%2F2026-11", "1?folder=nowhere"} {
		if w := b.get(mailboxPath(anna, "practices") + "/" + path); w.Code != http.StatusNotFound {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	if w := r.signedIn("postmaster@alpha.test").get(path(completeRef)); w.Code != http.StatusForbidden {
		t.Errorf("the postmaster: %d", w.Code)
	}
}

// TestPracticesPages turns the pages of a long list: every practice is on one of them, once.
func TestPracticesPages(t *testing.T) {
	r := newRig(t)
	office := pectest.NewOffice(pectest.Shapes()[0], pectest.Shapes()[1])
	office.Clock = time.Now().Add(time.Hour) // receipts tell of times after that of the message
	const practices = 2*practicesOnPage + 3
	for range practices {
		c := office.Send(pectest.Mail{From: anna, To: []string{"giove@beta.test"}, Subject: "s", Text: "t\n", MessageID: "auto"}, "")
		r.send(office, c)
		r.file(office, journal.Intent{}, c.Acceptance)
	}
	b := r.signedIn(anna)
	seen := make(map[string]int)
	for path := mailboxPath(anna, "practices"); path != ""; {
		page := b.get(path).Body.String()
		for _, link := range strings.Split(page, `<a href="`)[1:] {
			if link, _, _ = strings.Cut(link, `"`); strings.Contains(link, "/practices/") {
				seen[link]++
			}
		}
		next := path
		path = ""
		if i := strings.Index(page, "/practices?after="); i >= 0 {
			path, _, _ = strings.Cut(page[i:], `"`)
			path = mailboxPath(anna) + path[1:]
		}
		if path == next {
			t.Fatal("a page leads to itself")
		}
	}
	if len(seen) != practices {
		t.Errorf("%d practices, want %d", len(seen), practices)
	}
	for link, n := range seen {
		if n != 1 {
			t.Errorf("%s stands there %d times", link, n)
		}
	}
}

func uidOf(ref journal.Ref) string {
	parts := strings.Split(at(ref), "/")
	return parts[len(parts)-1]
}

// TestEvidenceBundle downloads evidence bundles by the buttons of the pages, and checks them.
func TestEvidenceBundle(t *testing.T) {
	r := newRig(t)
	office := pectest.NewOffice(pectest.Shapes()[0], pectest.Shapes()[1])
	c := office.Send(pectest.Mail{From: anna, To: []string{"giove@beta.test"}, Subject: "Contratto", Text: "Testo.\n", MessageID: "auto"}, "")
	sent := r.send(office, c)
	receipt := r.file(office, journal.Intent{}, c.Acceptance)
	plain := r.received(mixed)
	b := r.signedIn(anna)
	at := func(ref journal.Ref) string { return mailboxPath(anna, "messages", ref.FolderName(), uidOf(ref)) }
	b.shows(at(receipt), []string{`action="` + at(receipt) + `/bundle"`, `name="practice" value="1"`})
	b.shows(at(plain), []string{`action="` + at(plain) + `/bundle"`}, `name="practice" value="1"`)
	b.shows(mailboxPath(anna, "practices", uidOf(sent))+"?folder="+url.QueryEscape(sent.FolderName()), []string{`action="` + at(sent) + `/bundle"`})
	for _, tt := range []struct {
		name, path, form string
		status, messages int
	}{
		{"a message", at(plain), "", http.StatusOK, 1},
		{"a practice", at(sent), "practice=1", http.StatusOK, 2},
		{"the practice of a receipt", at(receipt), "practice=1", http.StatusOK, 2},
		{"no practice", at(plain), "practice=1", http.StatusConflict, 0},
		{"nothing", mailboxPath(anna, "messages", plain.FolderName(), "99"), "", http.StatusNotFound, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := b.post(tt.path+"/bundle", tt.form)
			if w.Code != tt.status {
				t.Fatalf("status %d, want %d: %s", w.Code, tt.status, w.Body)
			}
			if tt.status != http.StatusOK {
				return
			}
			if got := w.Header().Get("Content-Disposition"); !strings.Contains(got, "attachment") || !strings.Contains(got, ".zip") {
				t.Errorf("Content-Disposition %s", got)
			}
			files, err := zip.NewReader(bytes.NewReader(w.Body.Bytes()), int64(w.Body.Len()))
			if err != nil {
				t.Fatal(err)
			}
			messages := 0
			for _, f := range files.File {
				if strings.HasSuffix(f.Name, "/message.eml") {
					messages++
				}
			}
			good, err := bundle.Verify(t.Context(), files, bundle.VerifyOptions{}, func(c bundle.Check) {
				if c.Outcome == bundle.Failed {
					t.Errorf("%+v", c)
				}
			})
			if err != nil || !good || messages != tt.messages {
				t.Errorf("good %v, %v, %d messages, want %d", good, err, messages, tt.messages)
			}
		})
	}
	b.shows(mailboxPath(anna, "log"), []string{"pacchetto di evidenza della pratica del messaggio " + uidOf(sent)})
}
