package pages

import (
	"fmt"
	"html"
	"net/http"
	"strings"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/policy"
)

// rowsOf returns how many rows the table of a page has.
func rowsOf(page string) int { return strings.Count(page, "<tr><td") }

// TestDomainLog lists the changes of all mailboxes of a domain, newest first, page by page, and filters them.
func TestDomainLog(t *testing.T) {
	r := newRig(t)
	postmaster := policy.Actor{Role: policy.RolePostmaster, Name: "postmaster@alpha.test"}
	for i := range 70 {
		_, err := r.archive.Set(t.Context(), postmaster, r.address("bruno@alpha.test"), []policy.Assignment{{Key: policy.KeyQuota, Value: fmt.Sprintf("%dMB", i+1)}})
		r.must(err)
	}
	_, err := r.archive.HoldMailbox(t.Context(), operator, r.address("anna@alpha.test"), "case 7")
	r.must(err)
	_, err = r.archive.Enable(t.Context(), operator, r.address("carla@beta.test"))
	r.must(err)
	all := 0
	for _, mailbox := range []string{"anna@alpha.test", "bruno@alpha.test"} {
		for _, err := range r.archive.Log(t.Context(), r.address(mailbox)) {
			r.must(err)
			all++
		}
	}
	b := r.signedIn("postmaster@alpha.test")
	seen, pages, before := 0, 0, ""
	for path := "/domain/alpha.test/log"; path != "" && pages < 10; pages++ {
		w := b.get(path)
		page := w.Body.String()
		if w.Code != http.StatusOK || strings.Contains(page, "carla@beta.test") || len(page) > 60_000 {
			t.Fatalf("%s: %d, %d bytes: %s", path, w.Code, len(page), mainOf(w))
		}
		if pages == 0 && !strings.Contains(strings.Split(page, "<tr><td")[1], "case 7") {
			t.Errorf("the newest is not first: %s", mainOf(w))
		}
		for _, part := range strings.Split(page, `<time datetime="`)[1:] {
			if at := part[:len("2026-11-29T10:00:00Z")]; before != "" && at > before {
				t.Errorf("%s after %s", at, before)
			} else {
				before = at
			}
		}
		seen += rowsOf(page)
		_, rest, _ := strings.Cut(page, `rel="next" href="`)
		path, _, _ = strings.Cut(rest, `"`)
		path = html.UnescapeString(path)
	}
	if seen != all {
		t.Errorf("%d changes on %d pages, want %d", seen, pages, all)
	}
	today, yesterday := time.Now().Format(time.DateOnly), time.Now().AddDate(0, 0, -2).Format(time.DateOnly)
	for query, want := range map[string]int{
		"mailbox=ann&key=hold": 1, "key=hold&who=root": 1, "key=hold&who=postmaster": 0, "to=" + yesterday: 0, "from=" + today + "&key=hold": 1, "mailbox=carla": 0,
	} {
		if w := b.get("/domain/alpha.test/log?" + query); rowsOf(w.Body.String()) != want {
			t.Errorf("%s: %d rows, want %d: %s", query, rowsOf(w.Body.String()), want, mainOf(w))
		}
	}
	r.holds(b.get("/domain/alpha.test/log?from=domani"), http.StatusOK, "trouble-days")
	r.holds(b.get("/domain/alpha.test/log?after=nonsense"), http.StatusBadRequest)
}

// TestDomainAccess lists who signed in to the mailboxes of a domain, and who failed to.
func TestDomainAccess(t *testing.T) {
	r := newRig(t)
	r.signedIn("anna@alpha.test")
	r.signedIn("carla@beta.test")
	r.browser().post("/sign-in", "login=anna@alpha.test&password=wrong")
	b := r.signedIn("postmaster@alpha.test")
	for range r.archive.Accesses(t.Context(), r.address("anna@alpha.test")) {
	} // that has all of them written
	w := b.get("/domain/alpha.test/access?mailbox=anna")
	r.holds(w, http.StatusOK, "anna@alpha.test", "riuscito", "nome o password sbagliati")
	if page := w.Body.String(); rowsOf(page) != 2 || strings.Contains(page, "carla") {
		t.Errorf("%d rows: %s", rowsOf(page), mainOf(w))
	}
	if w := b.get("/domain/alpha.test/access?key=denied"); rowsOf(w.Body.String()) != 1 {
		t.Errorf("those that failed: %s", mainOf(w))
	}
}

// TestWhy answers why a message is not in an archive.
func TestWhy(t *testing.T) {
	r := newRig(t)
	now := time.Now()
	r.must(r.journal.Record(t.Context(),
		journal.Record{Kind: journal.Skip, Mailbox: "anna@alpha.test", Time: now, Reason: policy.ReasonAlias, MessageID: "<one@beta.test>", MailFrom: "luca@beta.test"},
		journal.Record{Kind: journal.Gap, Mailbox: "anna@alpha.test", Time: now, Reason: journal.ReasonFull, MessageID: "<two@beta.test>"},
		journal.Record{Kind: journal.Skip, Mailbox: "bruno@alpha.test", Time: now, Reason: policy.ReasonAlias, MessageID: "<three@beta.test>"}))
	d := r.journal.NewDraft(t.Context())
	defer d.Discard()
	fmt.Fprint(d, "Message-ID: <four@beta.test>\r\nSubject: segreto\r\n\r\nx\r\n")
	_, err := d.Commit(t.Context(), journal.Envelope{Transaction: "T", MailFrom: "luca@beta.test"}, []journal.Intent{{Mailbox: "anna@alpha.test", Direction: journal.Received}}, nil)
	r.must(err)
	b := r.signedIn("postmaster@alpha.test")
	for query, want := range map[string]string{
		"id=one@beta.test": "tramite un alias", "id=%3Ctwo@beta.test%3E": "manca nell&#39;archivio", "id=four@beta.test": "è nell&#39;archivio", "id=three@beta.test": "non c&#39;è traccia",
		"id=%20x": "Message-ID", "day=" + now.AddDate(0, 0, -40).Format(time.DateOnly): "non era mai", "day=oggi": "trouble-why", "": "Message-ID",
	} {
		w := b.get(annaManaged + "why?" + query)
		if strings.Contains(w.Body.String(), "segreto") {
			t.Errorf("%s: tells the subject", query)
		}
		if query != "day="+now.AddDate(0, 0, -40).Format(time.DateOnly) {
			r.holds(w, http.StatusOK, want)
		}
	}
	zone, err := time.LoadLocation(defaultZone)
	r.must(err)
	w := b.get(annaManaged + "why?day=" + now.In(zone).Format(time.DateOnly))
	r.holds(w, http.StatusOK, "one@beta.test", "two@beta.test", "four@beta.test")
	if page := mainOf(w); strings.Contains(page, "three@beta.test") || strings.Contains(page, "segreto") {
		t.Errorf("the day: %s", page)
	}
}

// TestDomainLogOfThousands prints how long the log of a domain with 5,000 mailboxes takes.
func TestDomainLogOfThousands(t *testing.T) {
	r := newRig(t)
	r.enableThousands()
	b := r.signedIn("postmaster@alpha.test")
	b.get("/domain/alpha.test/")
	for _, page := range []string{"log", "log?who=root&key=archive", "access"} {
		begun := time.Now()
		w := b.get("/domain/alpha.test/" + page)
		t.Logf("%s of 5,000 mailboxes: %v", page, time.Since(begun))
		if w.Code != http.StatusOK || time.Since(begun) > 20*time.Second {
			t.Errorf("%s: %d, %v", page, w.Code, time.Since(begun))
		}
	}
}
