package pages

import (
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/policy"
)

// mainOf returns the part of a page that is its own.
func mainOf(w *httptest.ResponseRecorder) string {
	_, page, _ := strings.Cut(w.Body.String(), "<main")
	page, _, _ = strings.Cut(page, "</main>")
	return page
}

// holds fails the test unless an answer has a status and contains texts.
func (r *rig) holds(w *httptest.ResponseRecorder, status int, texts ...string) {
	r.t.Helper()
	if w.Code != status {
		r.t.Errorf("status %d, want %d: %s", w.Code, status, mainOf(w))
		return
	}
	for _, text := range texts {
		if !strings.Contains(w.Body.String(), text) {
			r.t.Errorf("%q is missing in: %s", text, mainOf(w))
		}
	}
}

// leads fails the test unless an answer leads to a path.
func (r *rig) leads(w *httptest.ResponseRecorder, path string) {
	r.t.Helper()
	if got := w.Header().Get("Location"); w.Code != http.StatusSeeOther || got != path {
		r.t.Errorf("status %d to %q, want 303 to %q: %s", w.Code, got, path, mainOf(w))
	}
}

// settings returns the settings of a mailbox.
func (r *rig) settings(mailbox string) policy.Settings {
	r.t.Helper()
	s, err := r.policy.Settings(r.t.Context(), r.address(mailbox))
	r.must(err)
	return s
}

// TestDomain lists the mailboxes of a domain, filters them, and switches one on.
func TestDomain(t *testing.T) {
	r := newRig(t)
	_, err := r.archive.Set(t.Context(), operator, r.address("postmaster@alpha.test"), []policy.Assignment{{Key: policy.KeyLanguage, Value: "en"}})
	r.must(err)
	b := r.signedIn("postmaster@alpha.test")
	r.holds(b.get("/domain/alpha.test/"), http.StatusOK, "anna@alpha.test", "Mailboxes of alpha.test", "Found: 2")
	r.leads(b.post("/domain/alpha.test/enable", "address=bruno"), "/domain/alpha.test/mailboxes/bruno@alpha.test/?done=enabled")
	if s := r.settings("bruno@alpha.test"); s.State() != policy.StateOn {
		t.Errorf("bruno is %s", s.State())
	}
	for name, form := range map[string]string{"of another domain": "carla@beta.test", "no address": "a@@b", "nothing": ""} {
		w := b.post("/domain/alpha.test/enable", "address="+form)
		if w.Code != http.StatusUnprocessableEntity || !strings.Contains(w.Body.String(), "trouble-address") {
			t.Errorf("%s: %d: %s", name, w.Code, mainOf(w))
		}
	}
	if s := r.settings("carla@beta.test"); s.State() != policy.StateOff {
		t.Errorf("carla is %s", s.State())
	}
	for query, want := range map[string][]string{
		"?q=BRU": {"bruno@alpha.test"}, "?state=off": {"postmaster@alpha.test"}, "?state=untold": {"anna@alpha.test", "bruno@alpha.test"},
		"?sort=size": {"anna@alpha.test", "bruno@alpha.test", "postmaster@alpha.test"}, "?after=anna@alpha.test": {"bruno@alpha.test", "postmaster@alpha.test"},
		"?sort=size&after=0+anna@alpha.test": {"bruno@alpha.test", "postmaster@alpha.test"}, "?state=nonsense&q=nobody": nil,
	} {
		page := b.get("/domain/alpha.test/" + query).Body.String()
		for _, mailbox := range []string{"anna@alpha.test", "bruno@alpha.test", "postmaster@alpha.test"} {
			if there := strings.Contains(page, `value="`+mailbox+`"`); there != slices.Contains(want, mailbox) {
				t.Errorf("%s: %s there: %v", query, mailbox, there)
			}
		}
	}
}

// TestSeveral changes several mailboxes together, once it is confirmed.
func TestSeveral(t *testing.T) {
	r := newRig(t)
	b := r.signedIn("postmaster@alpha.test")
	const path = "/domain/alpha.test/several"
	two := "&mailbox=anna@alpha.test&mailbox=bruno@alpha.test"
	w := b.get(path + "?act=enable" + two)
	r.holds(w, http.StatusOK, "Caselle che cambiano: <strong>1</strong>", "già così: 1")
	if s := r.settings("bruno@alpha.test"); s.State() != policy.StateOff {
		t.Errorf("before it was confirmed bruno is %s", s.State())
	}
	r.leads(b.post(path, "act=enable"+two), "/domain/alpha.test/?done=changed")
	if s := r.settings("bruno@alpha.test"); s.State() != policy.StateOn {
		t.Errorf("bruno is %s", s.State())
	}
	r.holds(b.get(path+"?act=retention%3D6"+two), http.StatusOK, "non cancellerebbe nessun messaggio", "file ZIP")
	r.leads(b.post(path, "act=retention%3D6&all=yes&state=on"), "/domain/alpha.test/?state=on&done=changed")
	r.leads(b.post(path, "act=quota%3D&quota=5+GB&mailbox=anna@alpha.test"), "/domain/alpha.test/?done=changed")
	if s, other := r.settings("anna@alpha.test"), r.settings("bruno@alpha.test"); s.Retention != 6 || other.Retention != 6 || s.Quota != 5e9 || other.Quota == 5e9 {
		t.Errorf("anna has %+v, bruno %+v", s, other)
	}
	for name, form := range map[string]string{
		"no mailbox": "act=enable", "no act": "act=&mailbox=anna@alpha.test", "an act that is none": "act=notify%3Dx@evil.test&mailbox=anna@alpha.test",
		"no size": "act=quota%3D&quota=much&mailbox=anna@alpha.test",
	} {
		if w := b.post(path, form); w.Code != http.StatusBadRequest {
			t.Errorf("%s: %d: %s", name, w.Code, mainOf(w))
		}
	}
	// Nobody acts on another domain by naming its mailboxes.
	for _, mailbox := range []string{"carla@beta.test", "carla@beta.test%0Aanna@alpha.test"} {
		r.holds(b.get(path+"?act=enable&mailbox="+mailbox), http.StatusOK, "non è stato cambiato nulla")
		if w := b.post(path, "act=enable&mailbox="+mailbox); w.Code == http.StatusSeeOther || r.settings("carla@beta.test").State() != policy.StateOff {
			t.Errorf("%s: %d", mailbox, w.Code)
		}
	}
}

// TestDomainLimits tells of the limits of a domain, and holds to them.
func TestDomainLimits(t *testing.T) {
	r := newRig(t)
	c := policy.Config{Domains: []policy.Domain{{Name: "alpha.test", Postmasters: []string{"postmaster@alpha.test"}, Limits: policy.Limits{Archives: 1, Retention: 12},
		Defaults: []policy.Assignment{{Key: policy.KeyRetention, Value: "12"}}}}}
	r.must(r.policy.Reconfigure(c))
	b := r.signedIn("postmaster@alpha.test")
	page := b.get("/domain/alpha.test/").Body.String()
	if !strings.Contains(page, "su un massimo di 1") || strings.Contains(page, `value="retention=24"`) || !strings.Contains(page, `value="retention=12"`) {
		t.Errorf("the page: %s", page)
	}
	r.holds(b.post("/domain/alpha.test/enable", "address=bruno@alpha.test"), http.StatusConflict, "limite del dominio")
	r.holds(b.get("/domain/alpha.test/several?act=enable&mailbox=bruno@alpha.test"), http.StatusOK, "limite del dominio")
	r.holds(b.post("/domain/alpha.test/several", "act=enable&mailbox=bruno@alpha.test"), http.StatusConflict, "limite del dominio")
}

// TestDomainIsOfItsPostmaster refuses every page of a domain to whoever is not its postmaster.
func TestDomainIsOfItsPostmaster(t *testing.T) {
	r := newRig(t)
	_, err := r.archive.AddDelegate(t.Context(), policy.Actor{Role: policy.RoleOwner, Name: "anna@alpha.test"}, r.address("anna@alpha.test"), r.address("bruno@alpha.test"),
		time.Now().Add(time.Hour))
	r.must(err)
	_, err = r.archive.Enable(t.Context(), operator, r.address("bruno@alpha.test"))
	r.must(err)
	for _, login := range []string{"", "anna@alpha.test", "bruno@alpha.test", "carla@beta.test", "postmaster@beta.test"} {
		b := r.browser()
		if login != "" {
			b = r.signedIn(login)
		}
		before := fmt.Sprint(r.settings("anna@alpha.test"))
		tried := 0
		for _, route := range Routes() {
			method, path, _ := strings.Cut(route.Pattern, " ")
			if route.For != OfDomain {
				continue
			}
			path = strings.NewReplacer("{domain}", "alpha.test", "{mailbox}", "anna@alpha.test", "{form}", "retention", "{$}", "", "{name}", "phone", "{person}", "bruno@alpha.test").Replace(path)
			tried++
			w := b.ask(method, path, url.Values{"act": {"enable"}, "mailbox": {"anna@alpha.test"}, "confirm": {"anna@alpha.test"}, "reason": {"x"}}.Encode())
			refused := w.Code == http.StatusForbidden || login == "" && w.Code == http.StatusSeeOther && strings.HasPrefix(w.Header().Get("Location"), "/sign-in")
			if !refused || strings.Contains(w.Body.String(), "anna@alpha.test</a>") {
				t.Errorf("%q, %s: %d: %s", login, route.Pattern, w.Code, mainOf(w))
			}
		}
		if after := fmt.Sprint(r.settings("anna@alpha.test")); tried == 0 || after != before {
			t.Errorf("%q: %d routes; from %s to %s", login, tried, before, after)
		}
	}
	// The mailbox of a path must be of its domain.
	if w := r.signedIn("postmaster@beta.test").get("/domain/beta.test/mailboxes/anna@alpha.test/"); w.Code != http.StatusNotFound {
		t.Errorf("a mailbox of another domain: %d", w.Code)
	}
}

// TestDomainOfThousands prints how long a page of a domain with 5,000 mailboxes takes.
func TestDomainOfThousands(t *testing.T) {
	r := newRig(t)
	r.enableThousands()
	b := r.signedIn("postmaster@alpha.test")
	var times []time.Duration
	seen, path := 0, "/domain/alpha.test/"
	for page := 0; path != "" && page < 20; page++ {
		begun := time.Now()
		w := b.get(path)
		times = append(times, time.Since(begun))
		if w.Code != http.StatusOK || w.Body.Len() > 60_000 {
			t.Fatalf("%s: %d, %d bytes", path, w.Code, w.Body.Len())
		}
		seen += strings.Count(w.Body.String(), `name="mailbox"`)
		_, rest, _ := strings.Cut(w.Body.String(), `rel="next" href="`)
		path, _, _ = strings.Cut(rest, `"`)
		path = html.UnescapeString(path)
	}
	slices.Sort(times)
	t.Logf("a page of 5,000 mailboxes: median %v, slowest %v", times[len(times)/2], times[len(times)-1])
	if seen != 1000 {
		t.Errorf("%d mailboxes on 20 pages", seen)
	}
	if times[len(times)/2] > 5*time.Second {
		t.Errorf("a page takes %v", times[len(times)/2])
	}
}
