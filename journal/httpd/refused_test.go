package httpd_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/journal/httpd"
	"copialettere/journal/httpd/pages"
	"copialettere/journal/kv/level"
	"copialettere/journal/metrics"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
	"copialettere/policy/setup"
	"copialettere/policy/source"
)

const (
	password = "cera-lacca"
	hash     = "{BLF-CRYPT}$2y$05$NNVrrmV7frWR1l5WpCC7U.oXf8Q1xx74fTwtIT3JwtcUhzJ6c./7a" // a cheap one of it
	anna     = "anna@alpha.test"
)

// openPages are the pages that are there for whoever comes, by their pattern. Every other route, of the pages and of the API, refuses all strangers;
// pages for whoever has signed in are about the reader's own.
var openPages = []string{
	"GET /sign-in", "POST /sign-in", "GET /sign-in/{link}", "POST /sign-in/{link}", "GET /logo", "GET /logo/{domain}",
}

// site is what Web serves over a real journal: anna of alpha.test has an archive with a message.
type site struct {
	t       *testing.T
	archive *archive.Archive
	handler http.Handler
	now     time.Time // of the delegates and tokens
	asked   int       // requests
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{t: t, now: time.Now()}
	engine, err := level.Open(t.TempDir(), level.Options{})
	s.must(err)
	t.Cleanup(func() { s.must(engine.Close()) })
	settings, err := engine.Settings(t.Context())
	s.must(err)
	p, err := policy.Open(t.Context(), settings, policy.Config{Domains: []policy.Domain{
		{Name: "alpha.test", Postmasters: []string{"post@alpha.test"}}, {Name: "beta.test", Postmasters: []string{"post@beta.test"}},
	}})
	s.must(err)
	j, err := journal.Open(engine, journal.Options{Settings: &journal.Settings{Lock: policy.SettingsLock, Open: policy.ArchiveOn, Held: policy.AnyHeld}})
	s.must(err)
	t.Cleanup(func() { s.must(j.Close()) })
	var passwd strings.Builder
	for _, login := range []string{anna, "bruno@alpha.test", "carla@beta.test", "post@alpha.test", "post@beta.test"} {
		fmt.Fprintf(&passwd, "%s:%s\n", login, hash)
	}
	file := filepath.Join(t.TempDir(), "passwd")
	s.must(os.WriteFile(file, []byte(passwd.String()), 0o600))
	logins := auth.New(auth.Options{
		Source: auth.Source{Kind: auth.SourceFile, Address: file}, Policy: p, Settings: settings, Now: func() time.Time { return s.now },
	})
	t.Cleanup(func() { s.must(logins.Close()) })
	s.archive = archive.New(archive.Options{Journal: j, Policy: p, Auth: logins, Sources: source.New(settings, source.Sealer{Path: filepath.Join(t.TempDir(), "sources.key")}), Links: setup.NewLinks(settings)})
	log := slog.New(slog.DiscardHandler)
	shown, err := pages.New(pages.Options{Archive: s.archive, Auth: logins, Logger: log})
	s.must(err)
	s.handler = httpd.Web(httpd.Backend{Archive: s.archive, Metrics: new(metrics.Registry), Logger: log, Pages: shown})
	for _, mailbox := range []string{anna, "bruno@alpha.test", "carla@beta.test"} {
		_, err := s.archive.Enable(t.Context(), operator, s.address(mailbox))
		s.must(err)
	}
	d := j.NewDraft(t.Context())
	defer d.Discard()
	fmt.Fprint(d, "Subject: segreto\r\n\r\nsegreto\r\n")
	placed, err := d.Commit(t.Context(), journal.Envelope{Transaction: "T"}, []journal.Intent{{Mailbox: anna, Direction: journal.Received}}, nil)
	s.must(err)
	j.Delivered(placed[0].Ref, "T")
	return s
}

var operator = policy.Actor{Role: policy.RoleOperator, Name: "root"}

func (s *site) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) address(text string) policy.Address {
	s.t.Helper()
	a, err := policy.ParseAddress(text)
	s.must(err)
	return a
}

func (s *site) ask(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return w
}

// request returns a request of a pattern, about anna and her message.
func (s *site) request(pattern string) *http.Request {
	s.t.Helper()
	method, path, ok := strings.Cut(pattern, " ")
	if !ok {
		s.t.Fatalf("the pattern %q has no method", pattern)
	}
	values := map[string]string{"mailbox": anna, "domain": "alpha.test", "folder": "INBOX/" + time.Now().UTC().Format("2006-01"), "person": "dario@beta.test",
		"month": time.Now().UTC().Format("2006-01"), "name": "phone"}
	path = regexp.MustCompile(`\{([a-z]+)(\.\.\.)?\}`).ReplaceAllStringFunc(strings.TrimSuffix(path, "{$}"), func(segment string) string {
		if value, ok := values[strings.Trim(segment, "{}.")]; ok {
			return url.PathEscape(value)
		}
		return "1"
	})
	r := httptest.NewRequestWithContext(s.t.Context(), method, path, nil)
	s.asked++ // each from an address of its own: nobody is told to wait
	r.RemoteAddr = fmt.Sprintf("10.0.%d.%d:1024", s.asked/250, s.asked%250)
	if method == http.MethodPost && !strings.HasPrefix(path, httpd.Prefix) {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return r
}

// signIn signs somebody in by the page for it, and returns the cookies.
func (s *site) signIn(login string) []*http.Cookie {
	s.t.Helper()
	r := httptest.NewRequestWithContext(s.t.Context(), "POST", "/sign-in", strings.NewReader(url.Values{"login": {login}, "password": {password}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := s.ask(r)
	if w.Code != http.StatusSeeOther || len(w.Result().Cookies()) == 0 {
		s.t.Fatalf("%s signs in: %d %s", login, w.Code, w.Body)
	}
	return w.Result().Cookies()
}

func (s *site) token(t auth.Token) string {
	s.t.Helper()
	made, err := s.archive.AddToken(s.t.Context(), operator, t)
	s.must(err)
	return made.Secret
}

// state is all that anybody could have changed of anna's mailbox.
func (s *site) state() (archive.Mailbox, []archive.Change) {
	s.t.Helper()
	v, err := s.archive.Mailbox(context.Background(), operator, s.address(anna))
	s.must(err)
	var log []archive.Change
	for c, err := range s.archive.Log(context.Background(), s.address(anna)) {
		s.must(err)
		log = append(log, c)
	}
	return v, log
}

// TestEveryRouteRefusesStrangers tries every route of the API and every page, about anna's mailbox, as everybody who must not get there. A page that is
// meant for strangers has to be in openPages.
func TestEveryRouteRefusesStrangers(t *testing.T) {
	s := newSite(t)
	owner := policy.Actor{Role: policy.RoleOwner, Name: anna}
	_, err := s.archive.AddDelegate(t.Context(), owner, s.address(anna), s.address("carla@beta.test"), s.now.AddDate(0, 0, 7))
	s.must(err)
	tokens := map[string]string{
		"nobody":                    "",
		"a token of another domain": s.token(auth.Token{Name: "elsewhere", Domain: "beta.test", Scope: auth.ScopeWrite}),
		"a token that has ended":    s.token(auth.Token{Name: "ended", Domain: "alpha.test", Scope: auth.ScopeWrite, Until: s.now.AddDate(0, 0, 1)}),
		"a revoked token":           s.token(auth.Token{Name: "revoked", Domain: "alpha.test", Scope: auth.ScopeWrite}),
		"a token that reads":        s.token(auth.Token{Name: "reads", Domain: "alpha.test", Scope: auth.ScopeRead}),
		"a token that writes":       s.token(auth.Token{Name: "writes", Domain: "alpha.test", Scope: auth.ScopeWrite}),
	}
	_, err = s.archive.RevokeToken(t.Context(), operator, "revoked")
	s.must(err)
	carla := s.signIn("carla@beta.test")
	r := s.request("GET /mailbox/{mailbox}/{$}")
	for _, c := range carla {
		r.AddCookie(c)
	}
	if w := s.ask(r); w.Code != http.StatusOK {
		t.Errorf("a delegate: %d", w.Code)
	}
	s.now = s.now.AddDate(0, 0, 8)
	people := map[string][]*http.Cookie{
		"nobody": nil, "another owner": s.signIn("bruno@alpha.test"), "another domain's postmaster": s.signIn("post@beta.test"),
		"a delegate whose day is past": s.signIn("carla@beta.test"),
	}
	chief := s.signIn("post@alpha.test")
	before, logged := s.state()

	for _, route := range httpd.Routes() {
		for who, secret := range tokens {
			want := http.StatusForbidden
			switch who {
			case "nobody", "a token that has ended", "a revoked token":
				want = http.StatusUnauthorized
			case "a token of another domain":
				if route.Right == "" {
					continue // the version, and the words
				}
			case "a token that reads":
				// The one change among these is a link for setting a program up, which holds no more than may be read.
				if route.Right == "" || route.Right == archive.RightRead || route.Right == archive.RightLook {
					continue
				}
			case "a token that writes":
				if route.Right != archive.RightOperate && route.Right != archive.RightDelegate {
					continue
				}
			}
			r := s.request(route.Method + " " + httpd.Prefix + route.Path)
			if !strings.Contains(route.Path, "{mailbox}") && route.Right != "" && route.Right != archive.RightOperate {
				r.URL.RawQuery = "domain=alpha.test"
			}
			if secret != "" {
				r.Header.Set("Authorization", "Bearer "+secret)
			}
			if w := s.ask(r); w.Code != want || strings.Contains(w.Body.String(), "segreto") {
				t.Errorf("%s %s as %s: %d, want %d: %.300s", route.Method, route.Path, who, w.Code, want, w.Body)
			}
		}
		// A session of the pages opens nothing of the API.
		r := s.request(route.Method + " " + httpd.Prefix + route.Path)
		for _, c := range chief {
			r.AddCookie(c)
		}
		if w := s.ask(r); w.Code != http.StatusUnauthorized {
			t.Errorf("%s %s with the cookie of a postmaster: %d", route.Method, route.Path, w.Code)
		}
	}

	for _, route := range pages.Routes() {
		own := false
		switch route.For {
		case pages.Anybody:
			if !slices.Contains(openPages, route.Pattern) {
				t.Errorf("%s is for anybody, and not in openPages", route.Pattern)
			}
			continue
		case pages.SignedIn, pages.Unready:
			if own = true; strings.Contains(route.Pattern, "{mailbox}") || strings.Contains(route.Pattern, "{domain}") {
				t.Errorf("%s names what the reader may have no right to", route.Pattern)
			}
		}
		for who, cookies := range people {
			if own && cookies != nil {
				continue
			}
			r := s.request(route.Pattern)
			for _, c := range cookies {
				r.AddCookie(c)
			}
			w := s.ask(r)
			refused := w.Code == http.StatusForbidden || w.Code == http.StatusNotFound
			if cookies == nil {
				to := w.Header().Get("Location")
				refused = w.Code == http.StatusSeeOther && (to == "/sign-in" || strings.HasPrefix(to, "/sign-in?next="))
			}
			if !refused || strings.Contains(w.Body.String(), "segreto") {
				t.Errorf("%s as %s: %d to %q: %.300s", route.Pattern, who, w.Code, w.Header().Get("Location"), w.Body)
			}
		}
		// A postmaster reads no message, and no token is a session.
		r := s.request(route.Pattern)
		for _, c := range chief {
			r.AddCookie(c)
		}
		if w := s.ask(r); route.Right == archive.RightRead && (w.Code == http.StatusOK || strings.Contains(w.Body.String(), "segreto")) {
			t.Errorf("%s as the postmaster: %d", route.Pattern, w.Code)
		}
		r = s.request(route.Pattern)
		r.Header.Set("Authorization", "Bearer "+tokens["a token that writes"])
		if w := s.ask(r); w.Code != http.StatusSeeOther || !strings.HasPrefix(w.Header().Get("Location"), "/sign-in") {
			t.Errorf("%s with a token: %d", route.Pattern, w.Code)
		}
	}
	// A list has only what is of the token's domain.
	for _, path := range []string{"/mailboxes", "/usage"} {
		for _, query := range []string{"", "domain=alpha.test"} {
			r := s.request("GET " + httpd.Prefix + path)
			r.URL.RawQuery = query
			r.Header.Set("Authorization", "Bearer "+tokens["a token that reads"])
			w := s.ask(r)
			if text := w.Body.String(); w.Code != http.StatusOK || !strings.Contains(text, "bruno@alpha.test") || strings.Contains(text, "beta.test") {
				t.Errorf("%s?%s: %d %s", path, query, w.Code, text)
			}
		}
	}
	if after, log := s.state(); !reflect.DeepEqual(after, before) || !reflect.DeepEqual(log, logged) {
		t.Errorf("anna's mailbox was\n%+v\nand is\n%+v\nlog: %+v", before, after, log[len(logged):])
	}
}
