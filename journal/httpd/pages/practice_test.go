package pages

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"copialettere/journal"
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
