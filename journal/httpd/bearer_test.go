package httpd

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
)

// token makes a token for alpha.test and returns its secret.
func (r *rig) token(name string, scope auth.Scope) string {
	r.t.Helper()
	return get[archive.Token](r, fmt.Sprintf("POST /tokens?who=root&domain=alpha.test&name=%s&scope=%s", name, scope))[0].Secret
}

// program asks the door for programs, with the header fields in pairs.
func (r *rig) program(method, target, body string, header ...string) *httptest.ResponseRecorder {
	r.t.Helper()
	request := httptest.NewRequestWithContext(r.t.Context(), method, target, strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	Web(r.backend).ServeHTTP(w, request)
	return w
}

// TestProvisionByToken has programs change many mailboxes: those of their own domain, if they may write.
func TestProvisionByToken(t *testing.T) {
	r := newRig(t)
	if err := r.policy.Reconfigure(policy.Config{Domains: []policy.Domain{{Name: "alpha.test"}, {Name: "beta.test"}}}); err != nil {
		t.Fatal(err)
	}
	r.mailbox("POST /mailboxes/{mailbox}/enable?who=root&mailbox=carla@beta.test")
	write, read := r.token("writes", auth.ScopeWrite), r.token("reads", auth.ScopeRead)
	const both, foreign = "anna@alpha.test\nbruno@alpha.test\n", "anna@alpha.test\ncarla@beta.test\n"
	for _, c := range []struct {
		name, secret, request, body string
		status                      int
		want                        string // in the answer
	}{
		{"tried", write, "enable?from=boxes&dry_run=true", both, 200, "bruno@alpha.test"},
		{"by a token that reads", read, "enable?from=boxes", both, 403, "scope read"},
		{"by a token that reads, tried", read, "set?domain=alpha.test&set=language=en&dry_run=true", "", 403, "scope read"},
		{"by nobody", "", "enable?from=boxes", both, 401, ""},
		{"with a mailbox of another domain", write, "enable?from=boxes", foreign, 400, "boxes:2: bad request: carla@beta.test does not lie in alpha.test"},
		{"of another domain", write, "set?domain=beta.test&set=language=en", "", 403, "not a token for beta.test"},
		{"of another domain, by lines", write, "set?domain=beta.test&from=boxes&set=language=en", "carla@beta.test\n", 403, "not a token for beta.test"},
		{"of nothing", write, "set?set=language=en", "", 400, "name the mailboxes"},
		{"by lines", write, "enable?from=boxes&set=quota=2GB", both, 200, "bruno@alpha.test"},
		{"of the domain", write, "set?domain=alpha.test&set=language=en", "", 200, "bruno@alpha.test"},
		{"to what there is not", write, "set?domain=alpha.test&set=quota=lots", "", 400, "nothing was changed"},
	} {
		w := r.program("POST", "/api/v1/mailboxes/"+c.request, c.body, "Authorization", "Bearer "+c.secret)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s: %d %s", c.name, w.Code, w.Body)
		}
	}
	for mailbox, want := range map[string]string{"anna@alpha.test": "on 2GB en", "bruno@alpha.test": "on 2GB en", "carla@beta.test": "on 1GB it"} {
		m := r.mailbox("GET /mailboxes/{mailbox}?mailbox=" + mailbox)
		values := make(map[string]string)
		for _, s := range m.Settings {
			values[s.Key] = s.Value
		}
		if got := m.Archive + " " + values[policy.KeyQuota] + " " + values[policy.KeyLanguage]; got != want {
			t.Errorf("%s is %q, want %q", mailbox, got, want)
		}
		for _, change := range m.Changes {
			if by := change.Role == policy.RoleToken && change.Who == "writes"; by != (mailbox != "carla@beta.test") {
				t.Errorf("%s was changed by %s %s", mailbox, change.Role, change.Who)
			}
		}
	}
}

// TestBearer asks with every kind of header field. Only one valid token in Authorization opens anything.
func TestBearer(t *testing.T) {
	r := newRig(t)
	for _, mailbox := range []string{"anna@alpha.test", "bruno@alpha.test"} {
		r.mailbox("POST /mailboxes/{mailbox}/enable?who=root&mailbox=" + mailbox)
	}
	read, write, revoked := r.token("reads", auth.ScopeRead), r.token("writes", auth.ScopeWrite), r.token("gone", auth.ScopeWrite)
	r.ask("DELETE /tokens/{name}?who=root&name=gone")
	const mailboxes, set = "/api/v1/mailboxes", "/api/v1/mailboxes/anna@alpha.test/settings"
	for _, c := range []struct {
		name, method, target string
		header               []string
		status               int
	}{
		{"nothing", "GET", mailboxes, nil, 401},
		{"a valid token", "GET", mailboxes, []string{"Authorization", "Bearer " + read}, 200},
		{"in small letters", "GET", mailboxes, []string{"Authorization", "bearer " + read}, 200},
		{"the token alone", "GET", mailboxes, []string{"Authorization", read}, 401},
		{"as a password", "GET", mailboxes, []string{"Authorization", "Basic " + read}, 401},
		{"a wrong token", "GET", mailboxes, []string{"Authorization", "Bearer " + read[:len(read)-1] + "-"}, 401},
		{"a revoked token", "GET", mailboxes, []string{"Authorization", "Bearer " + revoked}, 401},
		{"two fields", "GET", mailboxes, []string{"Authorization", "Bearer " + read, "Authorization", "Bearer " + write}, 401},
		{"in a cookie", "GET", mailboxes, []string{"Cookie", "token=" + read + "; __Host-session=" + read}, 401},
		{"in the query", "GET", mailboxes + "?access_token=" + read, nil, 401},
		{"the operator's name", "GET", mailboxes + "?who=root", nil, 401},
		{"a change with the scope read", "PATCH", set, []string{"Authorization", "Bearer " + read}, 403},
		{"a change with the scope write", "PATCH", set, []string{"Authorization", "Bearer " + write}, 200},
		{"another domain", "GET", mailboxes + "?domain=beta.test", []string{"Authorization", "Bearer " + write}, 403},
		{"a mailbox of another domain", "GET", mailboxes + "/anna@beta.test", []string{"Authorization", "Bearer " + write}, 403},
		{"what is the operator's", "GET", "/api/v1/stats", []string{"Authorization", "Bearer " + write}, 403},
		{"no such route", "GET", "/api/v1/nothing", []string{"Authorization", "Bearer " + write}, 404},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := r.program(c.method, c.target, `{"language":"en"}`, c.header...)
			if w.Code != c.status {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			h := w.Header()
			if challenge := h.Get("WWW-Authenticate"); strings.HasPrefix(challenge, "Bearer") != (c.status == 401) {
				t.Errorf("WWW-Authenticate: %q", challenge)
			}
			if h.Get("Access-Control-Allow-Origin") != "" || h.Get("Set-Cookie") != "" || h.Get("Cache-Control") != "no-store" {
				t.Errorf("%v", h)
			}
			if kind := h.Get("Content-Type"); (kind == problemType) != (c.status != 200) {
				t.Errorf("Content-Type: %s", kind)
			}
		})
	}
	var list struct{ Items []archive.Mailbox }
	w := r.program("GET", mailboxes, "", "Authorization", "Bearer "+read)
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || len(list.Items) != 2 {
		t.Errorf("the mailboxes of the token's domain: %s", w.Body)
	}
	if log := get[archive.Change](r, "GET /mailboxes/{mailbox}/log?"+anna); log[len(log)-1].Role != policy.RoleToken || log[len(log)-1].Who != "writes" {
		t.Errorf("on record: %+v", log[len(log)-1])
	}
}

// TestBearerReads: the owner sees that a token reads.
func TestBearerReads(t *testing.T) {
	r := newRig(t)
	r.mailbox("POST /mailboxes/{mailbox}/enable?" + anna)
	r.deliver("anna@alpha.test")
	secret := r.token("panel", auth.ScopeRead)
	r.backend.Remote = func(*http.Request) netip.Addr { return netip.MustParseAddr("198.51.100.7") }
	w := r.program("GET", "/api/v1/mailboxes/anna@alpha.test/messages/INBOX%2F"+time.Now().UTC().Format("2006-01")+"/1/raw", "", "Authorization", "Bearer "+secret)
	if w.Code != 200 || !strings.Contains(w.Body.String(), "Subject: 1\r\n") || w.Header().Get("Content-Type") != messageType {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	for _, one := range get[auth.Access](r, "GET /mailboxes/{mailbox}/access?"+anna) {
		if one.Login == "panel" && one.Role == policy.RoleToken && one.Address == "198.51.100.7" {
			return
		}
	}
	t.Error("the access log does not tell of the token")
}

// TestBearerThrottle: who sends many wrong tokens is told to wait, for a minute and by network, and no valid token is kept out.
func TestBearerThrottle(t *testing.T) {
	now := time.Now()
	remote := "198.51.100.1"
	v := newBearers(Backend{Remote: func(*http.Request) netip.Addr { return netip.MustParseAddr(remote) }})
	v.now = func() time.Time { return now }
	good := func(r *http.Request) {
		r.Header.Set("Authorization", "Bearer good")
	}
	v.token = func(_ context.Context, secret string) (policy.Actor, error) {
		if secret != "good" {
			return policy.Actor{}, auth.ErrDenied
		}
		return policy.Actor{Role: policy.RoleToken, Name: "good"}, nil
	}
	ask := func(edit func(*http.Request)) int {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Authorization", "Bearer bad")
		edit(r)
		_, err := v.who(r)
		if err == nil {
			return 200
		}
		return problemOf(err).Status
	}
	bad := func(*http.Request) {}
	for n := range maxWrong {
		if got := ask(bad); got != 401 {
			t.Fatalf("wrong token %d: %d", n, got)
		}
	}
	if got := ask(bad); got != 429 {
		t.Errorf("one more: %d", got)
	}
	if got := ask(good); got != 200 {
		t.Errorf("a valid one: %d", got)
	}
	remote = "198.51.100.2"
	if got := ask(bad); got != 401 {
		t.Errorf("from another address: %d", got)
	}
	for n := range maxWrong + 1 {
		remote = fmt.Sprintf("2001:db8::%x", n+1)
		ask(bad)
	}
	if got := ask(bad); got != 429 {
		t.Errorf("from many addresses of one network: %d", got)
	}
	now = now.Add(wrongWithin)
	if got := ask(bad); got != 401 {
		t.Errorf("a minute later: %d", got)
	}
	for n := range maxClients + 10 {
		remote = netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}).String()
		ask(bad)
	}
	if len(v.wrong) > maxClients {
		t.Errorf("%d clients are counted", len(v.wrong))
	}
}
