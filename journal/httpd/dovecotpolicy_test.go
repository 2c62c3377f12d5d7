package httpd

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"copialettere/journal/metrics"
	"copialettere/policy"
	"copialettere/policy/auth"
)

// fakeLoginPolicy refuses imap, and remembers reports.
type fakeLoginPolicy struct{ reports []auth.ProviderLogin }

func (f *fakeLoginPolicy) Allow(_ context.Context, l auth.ProviderLogin) *auth.Refusal {
	if l.Protocol == "imap" {
		return &auth.Refusal{Reason: auth.ErrClosed, Sentence: policy.Label{Italian: "È chiuso, perché \"no\"", English: "Closed"}, Language: policy.Italian}
	}
	return nil
}

func (f *fakeLoginPolicy) Report(_ context.Context, l auth.ProviderLogin) {
	f.reports = append(f.reports, l)
}

// TestDovecotPolicy speaks to Dovecot as Dovecot does.
func TestDovecotPolicy(t *testing.T) {
	f, m := new(fakeLoginPolicy), new(metrics.Registry)
	server := httptest.NewServer(DovecotPolicy(f, "0123456789abcdef", m))
	defer server.Close()
	const report = `{"device_id":"","login":"anna@alpha.test","protocol":"pop3","remote":"192.0.2.7","app":"cGhvbmU","pwhash":"a59f","success":true,"policy_reject":false,"tls":false}`
	for _, c := range []struct {
		name, method, query, key, body string
		status                         int
		answer                         string
	}{
		{"refused", "POST", "?command=allow", "Bearer 0123456789abcdef", `{"login":"anna@alpha.test","protocol":"imap","remote":"192.0.2.7"}`, 200,
			`{"status":-1,"msg":"E' chiuso, perche' \"no\""}`},
		{"allowed", "POST", "?command=allow", "Bearer 0123456789abcdef", `{"login":"anna@alpha.test","protocol":"pop3","remote":"192.0.2.7"}`, 200, `{"status":0,"msg":""}`},
		{"reported", "POST", "?command=report", "Bearer 0123456789abcdef", report, 200, `{"status":0,"msg":""}`},
		{"no key", "POST", "?command=report", "", report, 401, "wrong key"},
		{"another key", "POST", "?command=report", "Bearer 0123456789abcdeF", report, 401, "wrong key"},
		{"the bare key", "POST", "?command=report", "0123456789abcdef", report, 401, "wrong key"},
		{"no command", "POST", "", "Bearer 0123456789abcdef", report, 400, "unknown command"},
		{"GET", "GET", "?command=report", "Bearer 0123456789abcdef", "", 400, "want POST"},
		{"no JSON", "POST", "?command=report", "Bearer 0123456789abcdef", "login=anna", 400, "want one JSON object"},
		{"another type", "POST", "?command=report", "Bearer 0123456789abcdef", `{"success":"yes"}`, 400, "want one JSON object"},
		{"endless", "POST", "?command=report", "Bearer 0123456789abcdef", `{"login":"` + strings.Repeat("x", maxPolicyRequest) + `"}`, 400, "does not end"},
	} {
		r, err := http.NewRequestWithContext(t.Context(), c.method, server.URL+"/"+c.query, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		if c.key != "" {
			r.Header.Set("Authorization", c.key)
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(answer.Body)
		answer.Body.Close()
		if err != nil || answer.StatusCode != c.status || !strings.Contains(string(text), c.answer) {
			t.Errorf("%s: %d %s, %v", c.name, answer.StatusCode, text, err)
		}
	}
	want := auth.ProviderLogin{Login: "anna@alpha.test", Protocol: "pop3", Remote: "192.0.2.7", App: "cGhvbmU", Digest: "a59f", Success: true}
	if len(f.reports) != 1 || f.reports[0] != want {
		t.Errorf("reports %+v, want %+v", f.reports, want)
	}
}

// FuzzDovecotPolicy sends anything: nothing but well-formed objects is answered with leave.
func FuzzDovecotPolicy(f *testing.F) {
	f.Add(`{"login":"anna@alpha.test","protocol":"imap","remote":"192.0.2.7","success":false}`)
	f.Add(`[]`)
	f.Add(`{"login":1}`)
	handler := DovecotPolicy(new(fakeLoginPolicy), "0123456789abcdef", new(metrics.Registry))
	f.Fuzz(func(t *testing.T, body string) {
		r := httptest.NewRequest("POST", "/?command=allow", strings.NewReader(body))
		r.Header.Set("Authorization", "Bearer 0123456789abcdef")
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != 200 && w.Code != 400 || w.Code == 200 && !strings.HasPrefix(w.Body.String(), `{"status":`) {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}
