package pages

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
)

// token makes a token of alpha.test that may write, and returns as whom its program acts.
func (r *rig) token() policy.Actor {
	r.t.Helper()
	made, err := r.archive.AddToken(r.t.Context(), operator, auth.Token{Name: "panel", Domain: "alpha.test", Scope: auth.ScopeWrite})
	r.must(err)
	who, err := r.archive.ByToken(r.t.Context(), made.Secret)
	r.must(err)
	return who
}

// link makes a link by which somebody signs in, and returns its path.
func (r *rig) link(who policy.Actor, mailbox string) string {
	r.t.Helper()
	secret, _, err := r.auth.MakeSignIn(r.t.Context(), who, r.address(mailbox))
	r.must(err)
	return auth.SignInPath + secret
}

// TestSignInByLink signs in by a link of a program. It opens the own mailbox and nothing else, whatever the person is elsewhere.
func TestSignInByLink(t *testing.T) {
	r := newRig(t)
	_, err := r.archive.Enable(t.Context(), operator, r.address("postmaster@alpha.test"))
	r.must(err)
	who := r.token()
	b := r.browser()
	link := r.link(who, "anna@alpha.test")
	if w := b.ask(http.MethodHead, link, ""); w.Code != http.StatusNotFound || b.cookie != "" {
		t.Errorf("HEAD: %d", w.Code)
	}
	early, w := httptest.NewRequestWithContext(t.Context(), http.MethodGet, link, nil), httptest.NewRecorder()
	early.Header.Set("Sec-Purpose", "prefetch;prerender")
	if r.pages.ServeHTTP(w, early); w.Code != http.StatusNotFound || len(w.Result().Cookies()) > 0 {
		t.Errorf("prefetched: %d", w.Code)
	}
	if w := b.get(link); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/" || b.cookie == "" {
		t.Fatalf("%d, to %q: %s", w.Code, w.Header().Get("Location"), w.Body)
	}
	if w := b.get("/"); w.Header().Get("Location") != "/mailbox/anna@alpha.test/" {
		t.Errorf("at home: %d, to %q", w.Code, w.Header().Get("Location"))
	}
	again := r.browser()
	if w := again.get(link); w.Code != http.StatusForbidden || again.cookie != "" || !strings.Contains(w.Body.String(), "scaduto o è già stato usato") {
		t.Errorf("again: %d: %s", w.Code, w.Body)
	}
	chief := r.browser()
	if w := chief.get(r.link(who, "postmaster@alpha.test")); w.Code != http.StatusSeeOther {
		t.Fatalf("a postmaster: %d: %s", w.Code, w.Body)
	}
	for path, want := range map[string]int{
		"/mailbox/postmaster@alpha.test/access": http.StatusOK, "/mailbox/anna@alpha.test/access": http.StatusForbidden,
	} {
		if w := chief.get(path); w.Code != want || strings.Contains(w.Body.String(), "/domain/") {
			t.Errorf("a postmaster by link, %s: %d, want %d: %s", path, w.Code, want, w.Body)
		}
	}
	r.must(r.auth.RevokeToken(t.Context(), operator, "panel"))
	if w := b.get("/mailbox/anna@alpha.test/access"); w.Code != http.StatusSeeOther || !strings.HasPrefix(w.Header().Get("Location"), "/sign-in") {
		t.Errorf("after the token is revoked: %d", w.Code)
	}
}

// TestAccessPage shows who is in, who may come in and who was, to the owner and the postmaster, and ends sessions.
func TestAccessPage(t *testing.T) {
	const page = "/mailbox/anna@alpha.test/access"
	r := newRig(t)
	who := r.token()
	r.must(r.archive.Reads(t.Context(), who, r.address("anna@alpha.test"), netip.MustParseAddr("192.0.2.9")))
	r.browser().post("/sign-in", "login=anna@alpha.test&password=wrong")
	first, second, third := r.signedIn("anna@alpha.test"), r.signedIn("anna@alpha.test"), r.browser()
	if w := third.get(r.link(who, "anna@alpha.test")); w.Code != http.StatusSeeOther {
		t.Fatal(w.Code)
	}
	text := first.get(page).Body.String()
	for _, want := range []string{
		"questa</span>", "aperta da: programma del gestore «panel»", "programma del gestore «panel», che può anche cambiare", "nome o password sbagliati", "Esci da tutti gli altri dispositivi",
		"programma del gestore, in lettura", "Dispositivo sconosciuto",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %q: %s", want, text)
		}
	}
	for name, b := range map[string]*browser{"nobody": r.browser(), "another owner": r.signedIn("bruno@alpha.test"), "another postmaster": r.signedIn("postmaster@beta.test")} {
		if w := b.get(page); w.Code == http.StatusOK {
			t.Errorf("%s sees it: %s", name, w.Body)
		}
		if w := b.post(page+"/end", "session="); w.Code == http.StatusSeeOther && w.Header().Get("Location") == page {
			t.Errorf("%s ends sessions", name)
		}
	}
	sessions, err := r.archive.Sessions(t.Context(), r.address("anna@alpha.test"))
	if err != nil || len(sessions) != 3 {
		t.Fatalf("%+v, %v", sessions, err)
	}
	in := func(b *browser) bool { return b.get(page).Code == http.StatusOK }
	if w := second.post(page+"/end", "session="); w.Code != http.StatusSeeOther || in(first) || in(third) || !in(second) {
		t.Errorf("ended the others: %d, still in %v %v %v", w.Code, in(first), in(second), in(third))
	}
	first = r.signedIn("anna@alpha.test")
	if sessions, err = r.archive.Sessions(t.Context(), r.address("anna@alpha.test")); err != nil || len(sessions) != 2 {
		t.Fatalf("%+v, %v", sessions, err)
	}
	for _, s := range sessions {
		if w := second.post(page+"/end", "session="+s.ID); w.Code != http.StatusSeeOther && !in(second) {
			t.Errorf("%d", w.Code)
		}
	}
	if in(first) && in(second) {
		t.Error("both are in")
	}
	third = r.signedIn("anna@alpha.test")
	if w := r.signedIn("postmaster@alpha.test").post(page+"/end", "session="); w.Code != http.StatusSeeOther || in(third) {
		t.Errorf("the postmaster ends all: %d", w.Code)
	}
	var log []string
	for c, err := range r.archive.Log(t.Context(), r.address("anna@alpha.test")) {
		r.must(err)
		if c.Key == archive.KeySessions {
			log = append(log, string(c.Role)+" "+c.Before+" "+c.After)
		}
	}
	if got := strings.Join(log, ", "); !strings.HasPrefix(got, "owner 3 1, ") || !strings.HasSuffix(got, "postmaster 1 0") && !strings.HasSuffix(got, "postmaster 2 0") {
		t.Errorf("on record is %q", got)
	}
	if w := r.signedIn("postmaster@alpha.test").get(page + "?skip=x"); w.Code != http.StatusNotFound {
		t.Errorf("a bad skip: %d", w.Code)
	}
}
