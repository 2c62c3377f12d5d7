package auth

import (
	"errors"
	"slices"
	"testing"
	"time"

	"copialettere/policy"
)

const bruno = "bruno@beta.test"

// delegate lets a person read a mailbox for a week, in the name of its owner.
func (r *rig) delegate(mailbox, person string) {
	r.t.Helper()
	who := policy.Actor{Role: policy.RoleOwner, Name: mailbox}
	if _, err := r.AddDelegate(r.t.Context(), who, address(r.t, mailbox), address(r.t, person), time.Now().AddDate(0, 0, 7)); err != nil {
		r.t.Fatal(err)
	}
}

// TestRoles signs in for other mailboxes than the own one, in both ways of naming them.
func TestRoles(t *testing.T) {
	const post, chief, starred = "post@gamma.test", "chief@gamma.test", "a*b@alpha.test"
	r := newRig(t, anna+":"+cheap, mario+":"+cheap, bruno+":"+cheap, post+":"+cheap, chief+":"+cheap, starred+":"+cheap)
	err := r.policy.Reconfigure(policy.Config{Operators: []string{"Chief@Gamma.test"}, ArchiveHost: "archive.test", Domains: []policy.Domain{
		{Name: "alpha.test", Postmasters: []string{post}}, {Name: "beta.test"}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, mailbox := range []string{mario, starred} {
		r.enable(mailbox)
		r.set(mailbox, "imap=on")
	}
	r.delegate(anna, bruno)
	tablet := r.addAppPassword(bruno, "tablet")
	for _, c := range []struct {
		name, login, authorize, password string
		protocol                         Protocol
		want                             error
		role                             policy.Role
	}{
		{"the own mailbox", anna, "", password, ProtocolIMAP, nil, policy.RoleOwner},
		{"the own mailbox by name", anna, "Anna@alpha.test", password, ProtocolIMAP, nil, policy.RoleOwner},
		{"an address with a star", starred, "", password, ProtocolIMAP, nil, policy.RoleOwner},
		{"delegate", bruno, anna, password, ProtocolIMAP, nil, policy.RoleDelegate},
		{"delegate by the user name", anna + "*" + bruno, "", password, ProtocolIMAP, nil, policy.RoleDelegate},
		{"delegate of an archive account", "anna_alpha.test@archive.test*" + bruno, "", password, ProtocolIMAP, nil, policy.RoleDelegate},
		{"delegate by the outgoing server", anna + "*" + bruno, "", password, ProtocolSubmission, nil, policy.RoleDelegate},
		{"delegate on pages", bruno, anna, password, ProtocolWeb, nil, policy.RoleDelegate},
		{"delegate with his app password", anna + "*" + bruno, "", tablet, ProtocolIMAP, nil, policy.RoleDelegate},
		{"delegate with a wrong password", anna + "*" + bruno, "", "wrong", ProtocolIMAP, ErrDenied, ""},
		{"delegate of another mailbox", mario + "*" + bruno, "", password, ProtocolIMAP, ErrDenied, ""},
		{"the other way round", bruno + "*" + anna, "", password, ProtocolIMAP, ErrDenied, ""},
		{"two ways at once", anna + "*" + bruno, mario, password, ProtocolIMAP, ErrDenied, ""},
		{"no mailbox", bruno, "nobody", password, ProtocolIMAP, ErrDenied, ""},
		{"a mailbox that nobody has", bruno, "ugo@alpha.test", password, ProtocolIMAP, ErrDenied, ""},
		{"a star alone", "*", "", password, ProtocolIMAP, ErrDenied, ""},
		{"no login", anna + "*", "", password, ProtocolIMAP, ErrDenied, ""},
		{"a star with an address with a star", anna + "*" + starred, "", password, ProtocolIMAP, ErrDenied, ""},
		{"postmaster by mail program", post, anna, password, ProtocolIMAP, ErrDenied, ""},
		{"postmaster on pages", post, anna, password, ProtocolWeb, nil, policy.RolePostmaster},
		{"postmaster of another domain", post, bruno, password, ProtocolWeb, ErrDenied, ""},
		{"operator by mail program", chief, anna, password, ProtocolIMAP, ErrDenied, ""},
		{"operator on pages", chief, anna, password, ProtocolWeb, nil, policy.RoleOperator},
		{"an owner for another", mario, anna, password, ProtocolWeb, ErrDenied, ""},
	} {
		r.throttle = newThrottle()
		id, err := r.Login(t.Context(), Attempt{Login: c.login, Password: c.password, Authorize: c.authorize, Remote: remote, Protocol: c.protocol})
		if !errors.Is(err, c.want) || id.Actor.Role != c.role {
			t.Errorf("%s: %+v, %v, want %q, %v", c.name, id, err, c.role, c.want)
		}
		if other := c.role != policy.RoleOwner; err == nil && other && (id.Mailbox.String() != anna || id.Login == id.Mailbox || id.Actor.Name != id.Login.String()) {
			t.Errorf("%s: %+v", c.name, id)
		}
	}
	delegated := func(one Access) bool {
		return one.Login == bruno && one.Role == policy.RoleDelegate && one.Result == ResultOK
	}
	if list := r.accesses(anna); !slices.ContainsFunc(list, delegated) {
		t.Errorf("anna's access log has %+v", list)
	}
	for _, c := range []struct {
		login string
		want  []policy.Role
	}{
		{anna, []policy.Role{policy.RoleOwner}}, {bruno, []policy.Role{policy.RoleOwner, policy.RoleDelegate}},
		{post, []policy.Role{policy.RoleOwner, policy.RolePostmaster}}, {chief, []policy.Role{policy.RoleOwner, policy.RoleOperator}},
	} {
		list, err := r.Standings(t.Context(), address(t, c.login))
		var roles []policy.Role
		for _, one := range list {
			roles = append(roles, one.Role)
			if one.Role == policy.RoleDelegate && (one.Mailbox.String() != anna || time.Until(one.Until) > 7*24*time.Hour) || one.Role == policy.RolePostmaster && one.Domain != "alpha.test" {
				t.Errorf("%s: %+v", c.login, one)
			}
		}
		if err != nil || !slices.Equal(roles, c.want) {
			t.Errorf("%s: %q, %v, want %q", c.login, roles, err, c.want)
		}
	}
}

// TestNoLongerPermitted takes away what a login stands on, one at a time. Whoever is in is no longer permitted.
func TestNoLongerPermitted(t *testing.T) {
	for _, c := range []struct {
		name   string
		login  string // anna by the password, unless it is another way
		change func(r *rig)
		want   error
	}{
		{"nothing", anna, func(*rig) {}, nil},
		{"imap off", anna, func(r *rig) { r.set(anna, "imap=off") }, ErrClosed},
		{"second factor on", anna, func(r *rig) { r.secondFactorOn(anna) }, ErrSecondFactor},
		{"second factor on, with an app password", "app", func(r *rig) { r.secondFactorOn(anna) }, nil},
		{"app password revoked", "app", func(r *rig) { r.RevokeAppPassword(r.t.Context(), operator, address(r.t, anna), "phone") }, ErrClosed},
		{"app password replaced", "app", func(r *rig) {
			r.RevokeAppPassword(r.t.Context(), operator, address(r.t, anna), "phone")
			r.addAppPassword(anna, "phone")
		}, ErrClosed},
		{"another app password revoked", "app", func(r *rig) { r.RevokeAppPassword(r.t.Context(), operator, address(r.t, anna), "tablet") }, nil},
		{"delegate", "delegate", func(*rig) {}, nil},
		{"delegate revoked", "delegate", func(r *rig) { r.RevokeDelegate(r.t.Context(), operator, address(r.t, anna), address(r.t, bruno)) }, policy.ErrForbidden},
		{"delegate, too late", "delegate", func(r *rig) {
			late := time.Now().AddDate(0, 0, 8)
			r.now = func() time.Time { return late }
		}, policy.ErrForbidden},
		{"delegate, mailbox closed", "delegate", func(r *rig) { r.set(anna, "protocols=none") }, ErrClosed},
		{"delegate, second factor of his own", "delegate", func(r *rig) { r.secondFactorOn(bruno) }, ErrSecondFactor},
		{"delegate, second factor of the owner", "delegate", func(r *rig) { r.secondFactorOn(anna) }, nil},
	} {
		r := newRig(t, anna+":"+cheap, bruno+":"+cheap)
		phone := r.addAppPassword(anna, "phone")
		r.addAppPassword(anna, "tablet")
		r.delegate(anna, bruno)
		try := map[string]Attempt{
			anna: {Login: anna, Password: password}, "app": {Login: anna, Password: phone}, "delegate": {Login: bruno, Authorize: anna, Password: password},
		}[c.login]
		try.Protocol = ProtocolIMAP
		id, err := r.Login(t.Context(), try)
		if err != nil {
			t.Fatal(err)
		}
		c.change(r)
		if err := r.Permitted(t.Context(), id, ProtocolIMAP); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// TestDelegateFaults fails the write of a new delegate: it is there and on record, or neither.
func TestDelegateFaults(t *testing.T) {
	for _, after := range []bool{false, true} {
		r := newRig(t)
		store := &failing{r.store, 1, after}
		p, err := policy.Open(t.Context(), store, policy.Config{Domains: []policy.Domain{{Name: "alpha.test"}}})
		if err != nil {
			t.Fatal(err)
		}
		a := New(Options{Source: r.source(), Policy: p, Settings: store})
		defer a.Close()
		if _, err := a.AddDelegate(t.Context(), owner, address(t, anna), address(t, bruno), time.Now().AddDate(0, 0, 1)); err == nil {
			t.Error("no error")
		}
		list, err := r.Delegates(t.Context(), address(t, anna))
		if err != nil || (len(list) == 1) != after || (len(r.logged(anna, KeyDelegate)) == 1) != after {
			t.Errorf("fails after the write %v: %+v, %v", after, list, err)
		}
	}
}
