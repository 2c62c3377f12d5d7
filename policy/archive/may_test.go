package archive

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/policy"
	"copialettere/policy/auth"
)

// mayRig is an archive with a clock that can be set.
type mayRig struct {
	*Archive
	t   *testing.T
	now time.Time
}

func newMayRig(t *testing.T) *mayRig {
	t.Helper()
	a, settings := openOn(t)
	r := &mayRig{t: t, now: time.Now()}
	logins := auth.New(auth.Options{Policy: a.policy, Settings: settings, Now: func() time.Time { return r.now }})
	t.Cleanup(func() {
		if err := logins.Close(); err != nil {
			t.Error(err)
		}
	})
	r.Archive = New(Options{Journal: a.journal, Policy: a.policy, Auth: logins})
	return r
}

// do requires that an act succeeds.
func (r *mayRig) do(_ any, err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

func addr(t *testing.T, s string) policy.Address {
	t.Helper()
	a, err := policy.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// rights returns which rights an actor has in a mailbox.
func (r *mayRig) rights(who policy.Actor, mailbox policy.Address) string {
	r.t.Helper()
	var list []string
	for _, right := range Rights() {
		err := r.May(r.t.Context(), who, right, mailbox)
		if err == nil {
			list = append(list, string(right))
		} else if !errors.Is(err, policy.ErrForbidden) {
			r.t.Errorf("%s, %s: %v", who, right, err)
		}
	}
	return strings.Join(list, " ")
}

// TestMay checks every right of every actor in anna's mailbox, in each state that it can be in. What its settings let somebody make of a right is
// another matter: see TestActsNeedRights.
func TestMay(t *testing.T) {
	const (
		all        = "read move delete import give-back look set archive pause hold address sign-in delegate revoke operate"
		owner      = "read move delete import give-back look set sign-in delegate revoke"
		postmaster = "give-back look set archive pause hold address delegate revoke"
		writes     = "read move delete import give-back look set archive pause hold address sign-in revoke"
	)
	root := policy.Actor{Role: policy.RoleOperator, Name: "root"}
	anna := addr(t, "anna@alpha.test")
	self := policy.Actor{Role: policy.RoleOwner, Name: anna.String()}
	post := policy.Actor{Role: policy.RolePostmaster, Name: "post@alpha.test"}
	actors := []struct {
		role policy.Role
		name string
		want string
	}{
		{policy.RoleOperator, "root", all},
		{policy.RoleOperator, "", all},
		{policy.RoleOwner, "anna@alpha.test", owner},
		{policy.RoleOwner, "ANNA@Alpha.test", owner},
		{policy.RoleOwner, "bruno@alpha.test", ""},
		{policy.RoleOwner, "post@alpha.test", ""},
		{policy.RoleOwner, "reader@beta.test", ""},
		{policy.RoleOwner, "", ""},
		{policy.RolePostmaster, "post@alpha.test", postmaster},
		{policy.RolePostmaster, "anna@alpha.test", ""},
		{policy.RolePostmaster, "post@beta.test", ""},
		{policy.RolePostmaster, "reader@beta.test", ""},
		{policy.RoleDelegate, "reader@beta.test", "read"}, // granted by anna
		{policy.RoleDelegate, "agreed@beta.test", "read"}, // granted by the postmaster and an operator
		{policy.RoleDelegate, "asked@beta.test", ""},      // the postmaster has asked, nobody has agreed
		{policy.RoleDelegate, "operators@beta.test", ""},  // two operators have asked
		{policy.RoleDelegate, "late@beta.test", ""},       // an operator has agreed after eight days
		{policy.RoleDelegate, "ended@beta.test", ""},      // the day is past
		{policy.RoleDelegate, "revoked@beta.test", ""},    // granted and revoked
		{policy.RoleDelegate, "elsewhere@beta.test", ""},  // of bruno's mailbox
		{policy.RoleDelegate, "anna@alpha.test", ""},      // nobody is a delegate of himself
		{policy.RoleDelegate, "post@alpha.test", ""},      //
		{policy.RoleDelegate, "", ""},                     //
		{policy.RoleToken, "reads", "read look"},          // of alpha.test, as are all but one
		{policy.RoleToken, "writes", writes},              //
		{policy.RoleToken, "post@alpha.test", ""},         // there is none of that name
		{policy.RoleToken, "elsewhere", ""},               // of beta.test
		{policy.RoleToken, "ended", ""},                   // the day is past
		{policy.RoleToken, "revoked", ""},                 //
		{policy.RoleToken, "", ""},                        //
		{policy.RoleProgram, "anna@alpha.test", ""},       //
		{"", "anna@alpha.test", ""},                       //
		{"auditor", "anna@alpha.test", ""},                // a role that there is not
	}
	for _, state := range []struct {
		name   string
		change func(r *mayRig)
		reads  bool // a delegate may still read as far as rights go
		off    bool // no token reads
	}{
		{"on", func(*mayRig) {}, true, false},
		{"writable", func(r *mayRig) {
			r.do(r.Set(t.Context(), root, anna, []policy.Assignment{{Key: policy.KeyWrite, Value: "on"}, {Key: policy.KeyManualDelete, Value: "on"}}))
		}, true, false},
		{"closed to mail programs", func(r *mayRig) {
			r.do(r.Set(t.Context(), root, anna, []policy.Assignment{{Key: policy.KeyProtocols, Value: "none"}}))
		}, true, false},
		{"paused", func(r *mayRig) { r.do(r.Pause(t.Context(), root, anna)) }, true, false},
		{"held", func(r *mayRig) { r.do(r.HoldMailbox(t.Context(), root, anna, "case 1")) }, true, false},
		{"to be erased", func(r *mayRig) { r.do(r.Disable(t.Context(), root, anna, anna.String(), false)) }, true, true},
		{"handed over", func(r *mayRig) { r.do(r.HandOver(t.Context(), root, anna, anna.String())) }, false, false},
		{"erased and turned on again", func(r *mayRig) {
			r.do(r.Disable(t.Context(), root, anna, anna.String(), true))
			archive := anna.String()
			r.do(nil, r.policy.Erasing(t.Context(), archive))
			r.do(nil, r.policy.Erased(t.Context(), archive))
			r.do(r.Enable(t.Context(), root, anna))
		}, false, false},
		{"of another address", func(r *mayRig) { r.do(r.Rename(t.Context(), root, anna, addr(t, "anna.rossi@alpha.test"))) }, false, true},
	} {
		t.Run(state.name, func(t *testing.T) {
			r := newMayRig(t)
			bruno := addr(t, "bruno@alpha.test")
			add := func(who policy.Actor, mailbox policy.Address, person string, days int) {
				t.Helper()
				r.do(r.AddDelegate(t.Context(), who, mailbox, addr(t, person+"@beta.test"), r.now.AddDate(0, 0, days)))
			}
			r.do(r.Enable(t.Context(), root, anna))
			r.do(r.Enable(t.Context(), root, bruno))
			add(self, anna, "ended", 3)
			add(post, anna, "late", 60)
			r.now = r.now.AddDate(0, 0, 8)
			add(root, anna, "late", 60)
			add(self, anna, "reader", 30)
			add(self, anna, "revoked", 30)
			r.do(r.RevokeDelegate(t.Context(), post, anna, addr(t, "revoked@beta.test")))
			add(post, anna, "asked", 30)
			add(root, anna, "operators", 30)
			add(policy.Actor{Role: policy.RoleOperator, Name: "another"}, anna, "operators", 30)
			add(post, anna, "agreed", 30)
			add(root, anna, "agreed", 30)
			add(policy.Actor{Role: policy.RoleOwner, Name: bruno.String()}, bruno, "elsewhere", 30)
			token := func(name, domain string, scope auth.Scope, days int) {
				t.Helper()
				until := time.Time{}
				if days > 0 {
					until = r.now.AddDate(0, 0, days)
				}
				r.do(r.AddToken(t.Context(), root, auth.Token{Name: name, Domain: domain, Scope: scope, Until: until}))
			}
			token("reads", "alpha.test", auth.ScopeRead, 30)
			token("writes", "alpha.test", auth.ScopeWrite, 0)
			token("elsewhere", "beta.test", auth.ScopeWrite, 0)
			token("ended", "alpha.test", auth.ScopeWrite, 1)
			token("revoked", "alpha.test", auth.ScopeWrite, 0)
			r.do(r.RevokeToken(t.Context(), root, "revoked"))
			r.now = r.now.AddDate(0, 0, 2)
			state.change(r)
			for _, c := range actors {
				if c.role == policy.RoleToken && state.off {
					c.want = strings.NewReplacer("read move delete import give-back ", "", "read ", "").Replace(c.want)
				}
				if c.role == policy.RoleDelegate && !state.reads {
					c.want = ""
				}
				if got := r.rights(policy.Actor{Role: c.role, Name: c.name}, anna); got != c.want {
					t.Errorf("%s %q may %q, want %q", c.role, c.name, got, c.want)
				}
			}
		})
	}
}

// TestDelegateHandOvers follows a delegate whose address goes to another person, or whose own address changes, and an archive that gets another
// address. The right is that of a person to an archive.
func TestDelegateHandOvers(t *testing.T) {
	root := policy.Actor{Role: policy.RoleOperator, Name: "root"}
	anna, rossi := addr(t, "anna@alpha.test"), addr(t, "anna.rossi@alpha.test")
	bruno, verdi := addr(t, "bruno@alpha.test"), addr(t, "bruno.verdi@alpha.test")
	r := newMayRig(t)
	r.do(r.Enable(t.Context(), root, anna))
	r.do(r.Enable(t.Context(), root, bruno))
	as := func(a policy.Address) policy.Actor { return policy.Actor{Role: policy.RoleDelegate, Name: a.String()} }
	reads := func(who, mailbox policy.Address, want string) {
		t.Helper()
		if got := r.rights(as(who), mailbox); got != want {
			t.Errorf("%s may %q in %s, want %q", who, got, mailbox, want)
		}
	}
	r.do(r.AddDelegate(t.Context(), policy.Actor{Role: policy.RoleOwner, Name: anna.String()}, anna, bruno, r.now.AddDate(0, 1, 0)))
	reads(bruno, anna, "read")
	r.do(r.Rename(t.Context(), root, anna, rossi))
	reads(bruno, anna, "")
	reads(bruno, rossi, "read")
	r.do(r.Rename(t.Context(), root, bruno, verdi))
	reads(bruno, rossi, "")
	reads(verdi, rossi, "read")
	if list, err := r.Delegates(t.Context(), rossi); err != nil || len(list) != 1 || list[0].Person != verdi.String() {
		t.Errorf("%+v, %v", list, err)
	}
	r.do(r.HandOver(t.Context(), root, verdi, verdi.String()))
	reads(verdi, rossi, "")
	if list, err := r.Delegates(t.Context(), rossi); err != nil || len(list) != 1 || list[0].Person != bruno.String() {
		t.Errorf("%+v, %v", list, err)
	}
	r.do(r.RevokeDelegate(t.Context(), root, rossi, bruno))
	if list, err := r.Delegates(t.Context(), rossi); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}

// TestDelegateNames refuses delegates that cannot be.
func TestDelegateNames(t *testing.T) {
	root, anna := policy.Actor{Role: policy.RoleOperator, Name: "root"}, addr(t, "anna@alpha.test")
	r := newMayRig(t)
	self := policy.Actor{Role: policy.RoleOwner, Name: anna.String()}
	soon := r.now.AddDate(0, 0, 7)
	if _, err := r.AddDelegate(t.Context(), self, anna, addr(t, "x@beta.test"), soon); !errors.Is(err, policy.ErrNotOn) {
		t.Errorf("without an archive: %v", err)
	}
	r.do(r.Enable(t.Context(), root, anna))
	for _, c := range []struct {
		name, person string
		until        time.Time
	}{
		{"herself", "anna@alpha.test", soon}, {"past", "x@beta.test", r.now}, {"for ever", "x@beta.test", r.now.AddDate(180, 0, 0)},
	} {
		if _, err := r.AddDelegate(t.Context(), self, anna, addr(t, c.person), c.until); !errors.Is(err, auth.ErrDelegate) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for _, who := range []policy.Actor{{Role: policy.RoleOwner, Name: "bruno@alpha.test"}, {Role: policy.RolePostmaster, Name: "post@beta.test"}, {Role: policy.RoleDelegate, Name: "x@beta.test"}} {
		if _, err := r.AddDelegate(t.Context(), who, anna, addr(t, "x@beta.test"), soon); !errors.Is(err, policy.ErrForbidden) {
			t.Errorf("added by %s: %v", who, err)
		}
		if _, err := r.RevokeDelegate(t.Context(), who, anna, addr(t, "x@beta.test")); !errors.Is(err, policy.ErrForbidden) {
			t.Errorf("revoked by %s: %v", who, err)
		}
	}
	if _, err := r.RevokeDelegate(t.Context(), self, anna, addr(t, "x@beta.test")); !errors.Is(err, auth.ErrNoDelegate) {
		t.Errorf("nobody to revoke: %v", err)
	}
}

// TestTokenGrants lets tokens make and end tokens, delegates and second factors.
func TestTokenGrants(t *testing.T) {
	root, anna := policy.Actor{Role: policy.RoleOperator, Name: "root"}, addr(t, "anna@alpha.test")
	r := newMayRig(t)
	r.do(r.Enable(t.Context(), root, anna))
	made, err := r.AddToken(t.Context(), root, auth.Token{Name: "panel", Domain: "alpha.test", Scope: auth.ScopeWrite})
	if err != nil {
		t.Fatal(err)
	}
	who, err := r.ByToken(t.Context(), made.Secret)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.AddToken(t.Context(), who, auth.Token{Name: "more", Domain: "alpha.test", Scope: auth.ScopeWrite}); !errors.Is(err, policy.ErrForbidden) {
		t.Errorf("a token made a token: %v", err)
	}
	if _, err := r.RevokeToken(t.Context(), who, "panel"); !errors.Is(err, policy.ErrForbidden) {
		t.Errorf("a token revoked one: %v", err)
	}
	if _, err := r.AddDelegate(t.Context(), who, anna, addr(t, "reader@beta.test"), r.now.AddDate(0, 0, 7)); !errors.Is(err, policy.ErrForbidden) {
		t.Errorf("a token made a delegate: %v", err)
	}
	r.do(r.AddDelegate(t.Context(), policy.Actor{Role: policy.RoleOwner, Name: anna.String()}, anna, addr(t, "reader@beta.test"), r.now.AddDate(0, 0, 7)))
	r.do(r.RevokeDelegate(t.Context(), who, anna, addr(t, "reader@beta.test")))
	r.do(r.Set(t.Context(), who, anna, []policy.Assignment{{Key: policy.KeyQuota, Value: "2GB"}}))
	r.do(r.AddAppPassword(t.Context(), who, anna, "phone"))
	var log []string
	for c, err := range r.Log(t.Context(), anna) {
		if err != nil {
			t.Fatal(err)
		}
		if c.Role == policy.RoleToken {
			log = append(log, c.Key+" "+c.Who)
		}
	}
	if want := []string{"delegate panel", "quota panel", "app-password panel"}; !slices.Equal(log, want) {
		t.Errorf("on record is %q, want %q", log, want)
	}
	if list, err := r.Tokens(t.Context(), "Alpha.test"); err != nil || len(list) != 1 || list[0].Name != "panel" || list[0].Secret != "" {
		t.Errorf("%+v, %v", list, err)
	}
	if list, err := r.Tokens(t.Context(), "beta.test"); err != nil || len(list) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
}
