package httpd

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestWebOtherSite asks for a change as a page of another site makes a browser do. Pages answer with one, the interface for programs with a problem.
func TestWebOtherSite(t *testing.T) {
	for path, want := range map[string]string{
		"/mailbox/anna@alpha.test/archive/pause": "Richiesta da un altro sito", "/api/v1/mailboxes/anna@alpha.test/pause": `"urn:copialettere:cross-origin"`,
	} {
		r := httptest.NewRequest("POST", path, nil)
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		w := httptest.NewRecorder()
		Web(Backend{}).ServeHTTP(w, r)
		if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), want) || !strings.HasPrefix(w.Header().Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

// TestWebUnknownPage asks for a page that is not there. The answer is a page in the language of the browser, from which nothing leads to another host.
func TestWebUnknownPage(t *testing.T) {
	for _, c := range []struct{ accept, want string }{
		{"", "Pagina non trovata"},
		{"it-IT,it;q=0.9,en;q=0.8", "Pagina non trovata"},
		{"en-GB,en;q=0.9,it;q=0.8", "Page not found"},
		{"de-DE,en;q=0.5", "Page not found"},
		{"\x00;;;q=,", "Pagina non trovata"},
	} {
		r := httptest.NewRequest("GET", "/nothing/here", nil)
		r.Header.Set("Accept-Language", c.accept)
		w := httptest.NewRecorder()
		Web(Backend{}).ServeHTTP(w, r)
		if w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), c.want) || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
			t.Errorf("%q: %d %s", c.accept, w.Code, w.Body)
		}
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
		} {
			if got := w.Header().Get(name); !strings.HasPrefix(got, want) {
				t.Errorf("%s: %q", name, got)
			}
		}
	}
}
