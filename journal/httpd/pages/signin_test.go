package pages

import (
	"net/http"
	"strings"
	"testing"
)

// TestSignIn signs in and out, and is refused without telling why.
func TestSignIn(t *testing.T) {
	r := newRig(t)
	b := r.browser()
	if w := b.get("/"); w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/sign-in" {
		t.Errorf("nobody: %d, to %q", w.Code, w.Header().Get("Location"))
	}
	if w := b.get("/mailbox/anna@alpha.test/nowhere"); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "Pagina non trovata") {
		t.Errorf("a page that is not there: %d: %s", w.Code, w.Body)
	}
	for name, form := range map[string]string{
		"wrong password": "login=anna@alpha.test&password=wrong",
		"no login":       "password=" + password,
		"unknown login":  "login=nobody@alpha.test&password=" + password,
		"forged step":    "step=AAAA&code=123456",
	} {
		if w := b.post("/sign-in", form); w.Code != http.StatusForbidden || b.cookie != "" || strings.Contains(w.Body.String(), "wrong name or password") {
			t.Errorf("%s: %d: %s", name, w.Code, w.Body)
		}
	}
	w := b.post("/sign-in", "login=anna@alpha.test&password="+password+"&next="+"%2F%2Fevil.test")
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/" || b.cookie == "" {
		t.Fatalf("signing in: %d, to %q", w.Code, w.Header().Get("Location"))
	}
	set := w.Result().Cookies()[0]
	if !set.Secure || !set.HttpOnly || set.SameSite != http.SameSiteLaxMode || set.Path != "/" || set.Domain != "" || !strings.HasPrefix(set.Name, "__Host-") {
		t.Errorf("cookie %+v", set)
	}
	if w := b.get("/"); w.Header().Get("Location") != "/mailbox/anna@alpha.test/" {
		t.Errorf("at home: %d, to %q", w.Code, w.Header().Get("Location"))
	}
	kept := b.cookie
	if w := b.post("/sign-out", ""); w.Code != http.StatusSeeOther || b.cookie != "" {
		t.Errorf("signing out: %d", w.Code)
	}
	b.cookie = kept
	if w := b.get("/"); w.Header().Get("Location") != "/sign-in" {
		t.Errorf("with the cookie of before: %d, to %q", w.Code, w.Header().Get("Location"))
	}
}

// TestLocalPath follows no path that leads elsewhere.
func TestLocalPath(t *testing.T) {
	for _, c := range []struct{ name, path, want string }{
		{"a page", "/mailbox/anna@alpha.test/messages?q=x", "/mailbox/anna@alpha.test/messages?q=x"},
		{"nothing", "", "/"},
		{"another host", "https://evil.test/", "/"},
		{"another host by the same scheme", "//evil.test/", "/"},
		{"a script", "javascript:alert(1)", "/"},
		{"backslashes", "/\\evil.test/", "/"},
		{"a line", "/x\r\nSet-Cookie: a=b", "/"},
		{"a tabulator", "/\t/evil.test/", "/"},
		{"no path from the root", "mailbox", "/"},
		{"a name and a host", "/@evil.test/", "/@evil.test/"},
		{"what is no URL", "/%zz", "/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := localPath(c.path, "/"); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// TestPolicy holds every answer to the headers that keep a browser from loading anything else.
func TestPolicy(t *testing.T) {
	r := newRig(t)
	w := r.browser().get("/sign-in")
	page := w.Body.String()
	if policy := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
		t.Errorf("policy %q", policy)
	}
	if strings.Contains(page, "https://") || strings.Contains(page, "http://") {
		t.Errorf("the page names another host: %s", page)
	}
	if strings.Contains(page, " style=") || strings.Contains(page, " onclick=") {
		t.Errorf("the page has what its policy forbids: %s", page)
	}
	if len(page) > 60_000 {
		t.Errorf("%d bytes", len(page))
	}
}
