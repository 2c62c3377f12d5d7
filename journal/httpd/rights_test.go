package httpd

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
)

// TestMayIsWhatIsAllowed asks every route, and sets every key, in anna's mailbox in the name of everybody. What "may" of the mailbox has is allowed, and
// all else is refused with 403.
func TestMayIsWhatIsAllowed(t *testing.T) {
	owner, chief := policy.Actor{Role: policy.RoleOwner, Name: "anna@alpha.test"}, policy.Actor{Role: policy.RolePostmaster, Name: "chief@alpha.test"}
	rights := func(keys ...string) policy.Rights { return policy.Rights{Owner: append([]string{}, keys...)} }
	everything := "read move delete import give-back look set archive pause hold address sign-in delegate revoke operate " + strings.Join(policy.Keys(), " ")
	const closed = "give-back look set sign-in delegate revoke notify notify_on language layout protocols"
	for _, c := range []struct {
		name          string
		who           policy.Actor
		rights        policy.Rights // of the configuration
		domain        policy.Rights // of alpha.test
		settings, may string        // may without the order
	}{
		{"operator", policy.Actor{Role: policy.RoleOperator, Name: "root"}, policy.Rights{}, policy.Rights{}, "write=on", everything},
		{"postmaster", chief, rights(), rights(), "write=on", "give-back look set archive pause hold address delegate revoke " + strings.Join(policy.Keys(), " ")},
		{"postmaster of another domain", policy.Actor{Role: policy.RolePostmaster, Name: "chief@beta.test"}, policy.Rights{}, policy.Rights{}, "write=on", ""},
		{"owner", owner, policy.Rights{}, policy.Rights{}, "", "read " + closed},
		{"owner who may delete", owner, policy.Rights{}, policy.Rights{}, "manual_delete=on", "read delete " + closed},
		{"owner who may write", owner, policy.Rights{}, policy.Rights{}, "write=on", "read move delete " + closed},
		{"owner without rights", owner, rights(), policy.Rights{}, "", "read give-back look sign-in delegate revoke"},
		{"owner with all rights", owner, rights(policy.OwnerKeys()...), policy.Rights{}, "",
			"read give-back look set archive pause sign-in delegate revoke " + strings.Join(policy.Keys(), " ")},
		{"owner by the domain", owner, rights(), rights("pause", "filter", "manual_delete", "retention"), "",
			"read give-back look set pause filter manual_delete retention sign-in delegate revoke"},
		{"owner who may only pause", owner, rights("filter"), rights("pause"), "", "read give-back look pause sign-in delegate revoke"},
		{"owner with nothing by the domain", owner, rights(policy.OwnerKeys()...), rights(), "", "read give-back look sign-in delegate revoke"},
		{"stranger", policy.Actor{Role: policy.RoleOwner, Name: "bruno@alpha.test"}, rights(policy.OwnerKeys()...), policy.Rights{}, "write=on", ""},
		{"token that reads", policy.Actor{Role: policy.RoleToken, Name: "reads"}, rights(policy.OwnerKeys()...), policy.Rights{}, "write=on", "read look"},
		{"token that writes", policy.Actor{Role: policy.RoleToken, Name: "writes"}, rights(), rights(), "write=on",
			"read move delete give-back look set archive pause hold address sign-in revoke " + strings.Join(policy.Keys(), " ")},
		{"token of another domain", policy.Actor{Role: policy.RoleToken, Name: "elsewhere"}, policy.Rights{}, policy.Rights{}, "write=on", ""},
		{"delegate whose day is past, or of nobody", policy.Actor{Role: policy.RoleDelegate, Name: "carla@beta.test"}, policy.Rights{}, policy.Rights{}, "write=on", ""},
		{"program", policy.Actor{Role: policy.RoleProgram, Name: "anna@alpha.test"}, policy.Rights{}, policy.Rights{}, "write=on", ""},
		{"in no role", policy.Actor{Name: "anna@alpha.test"}, policy.Rights{}, policy.Rights{}, "write=on", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			config := policy.Config{Rights: c.rights, Domains: []policy.Domain{
				{Name: "alpha.test", Postmasters: []string{"chief@alpha.test"}, Rights: c.domain}, {Name: "beta.test", Postmasters: []string{"chief@beta.test"}},
			}}
			if err := r.policy.Reconfigure(config); err != nil {
				t.Fatal(err)
			}
			for _, token := range []auth.Token{
				{Name: "reads", Domain: "alpha.test", Scope: auth.ScopeRead}, {Name: "writes", Domain: "alpha.test", Scope: auth.ScopeWrite},
				{Name: "elsewhere", Domain: "beta.test", Scope: auth.ScopeWrite},
			} {
				if _, _, err := r.auth.AddToken(t.Context(), policy.Actor{Role: policy.RoleOperator, Name: "root"}, token); err != nil {
					t.Fatal(err)
				}
			}
			r.mailbox("POST /mailboxes/{mailbox}/enable?" + anna)
			if c.settings != "" {
				r.mailbox("PATCH /mailboxes/{mailbox}/settings?" + anna + "&set=" + c.settings)
			}
			r.deliver("anna@alpha.test")
			d := behindDoor(r, c.who)
			if got, want := d.may(), strings.Fields(c.may); !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) {
				t.Errorf("may %q, want %q", got, want)
			}
			for _, route := range Routes() {
				may := d.may()
				status := d.ask(route.Method, route.Path, nil)
				if allowed := status != http.StatusForbidden; allowed != (route.Right == "" || slices.Contains(may, string(route.Right)) && !(route.ofDomain() && c.who.Role == policy.RoleOwner)) {
					t.Errorf("%s %s: status %d with %q", route.Method, route.Path, status, may)
				}
			}
			for _, key := range policy.Keys() {
				may := d.may()
				status := d.ask("PATCH", "/mailboxes/{mailbox}/settings", url.Values{"set": {key + "=" + d.value(key)}})
				if allowed := status == http.StatusOK; allowed != slices.Contains(may, key) || !allowed && status != http.StatusForbidden {
					t.Errorf("%s is set: status %d with %q", key, status, may)
				}
			}
		})
	}
}

// behind asks behind a door that knows one actor.
type behind struct {
	*rig
	api *api
}

func behindDoor(r *rig, who policy.Actor) *behind {
	return &behind{r, newAPI(r.backend, door{who: func(*http.Request) (policy.Actor, error) { return who, nil }})}
}

// ask sends a request about anna's mailbox with parameters that every route can read, and returns the status.
func (b *behind) ask(method, path string, query url.Values) int {
	return b.answer(method, path, query).Code
}

func (b *behind) answer(method, path string, query url.Values) *httptest.ResponseRecorder {
	all := url.Values{
		"mailbox": {"anna@alpha.test"}, "confirm": {"anna@alpha.test"}, "month": {"2020-01"}, "reason": {"x"}, "set": {"colour=red"}, "part": {"1"},
		"uid": {"1"}, "uids": {"1"}, "to": {"Trash"}, "folder": {"INBOX/" + time.Now().UTC().Format("2006-01")}, "name": {"phone"},
		"person": {"bruno@beta.test"}, "domain": {"alpha.test"}, "export": {"none"},
	}
	maps.Copy(all, query)
	route := routeOf(b.t, method, path)
	w := httptest.NewRecorder()
	b.api.ServeHTTP(w, newRequest(b.t, &route, all))
	return w
}

// newRequest returns a request with those of the values that the route takes.
func newRequest(t *testing.T, route *Route, values url.Values) *http.Request {
	t.Helper()
	taken := make(url.Values)
	take := func(name string) {
		if values.Has(name) {
			taken[name] = values[name]
		}
	}
	take("who")
	for _, name := range route.Segments() {
		take(name)
	}
	for _, p := range route.Parameters() {
		take(p.Name)
	}
	switch route.Body.(type) {
	case nil, Lines, Content:
	case Assignments:
		take("set")
	default:
		for _, field := range reflect.VisibleFields(reflect.TypeOf(route.Body)) {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			take(name)
		}
	}
	r, err := route.NewRequest(t.Context(), "http://admin", taken, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", linesType)
	return r
}

// may returns what the mailbox says that the actor may do; nothing if the actor may not see it.
func (b *behind) may() []string {
	w := b.answer("GET", "/mailboxes/{mailbox}", nil)
	if w.Code == http.StatusForbidden {
		return nil
	}
	var v archive.Mailbox
	if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil || w.Code != http.StatusOK {
		b.t.Fatalf("status %d, %v: %s", w.Code, err, w.Body)
	}
	return v.May
}

// value returns the value of a setting of anna's mailbox.
func (b *behind) value(key string) string {
	for _, s := range b.mailbox("GET /mailboxes/{mailbox}?" + anna).Settings {
		if s.Key == key {
			return s.Value
		}
	}
	b.t.Fatalf("no setting %s", key)
	return ""
}

// TestDelegateAs lets only the operator act for somebody who gives his password.
func TestDelegateAs(t *testing.T) {
	r := newRig(t)
	r.mailbox("POST /mailboxes/{mailbox}/enable?" + anna)
	query := url.Values{"person": {"bruno@beta.test"}, "until": {time.Now().AddDate(0, 0, 7).Format(time.DateOnly)}, "as": {"anna@alpha.test"}}
	owner := behindDoor(r, policy.Actor{Role: policy.RoleOwner, Name: "anna@alpha.test"})
	if w := owner.answer("POST", "/mailboxes/{mailbox}/delegates", query); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "for owner") {
		t.Errorf("an owner: %d, %s", w.Code, w.Body)
	}
	operator := behindDoor(r, policy.Actor{Role: policy.RoleOperator, Name: "root"})
	if w := operator.answer("POST", "/mailboxes/{mailbox}/delegates", query); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "wrong name or password") {
		t.Errorf("an operator without the password: %d, %s", w.Code, w.Body)
	}
	query.Del("as")
	if w := owner.answer("POST", "/mailboxes/{mailbox}/delegates", query); w.Code != http.StatusOK {
		t.Errorf("the owner himself: %d, %s", w.Code, w.Body)
	}
}
