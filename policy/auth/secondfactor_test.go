package auth

import (
	"context"
	"encoding/base32"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"copialettere/policy"
)

var owner = policy.Actor{Role: policy.RoleOwner, Name: anna}

// phone is an authenticator app whose clock stands.
type phone struct {
	secret []byte
	at     time.Time
}

// newPhone takes a secret, and stops the clock of the Authenticator too.
func (r *rig) newPhone(s Secret) phone {
	r.t.Helper()
	now := r.now()
	r.now = func() time.Time { return now }
	secret, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(s.Text)
	if err != nil {
		r.t.Fatal(err)
	}
	return phone{secret, now}
}

// code returns the code of the step that is so many steps from now.
func (p phone) code(steps int64) string { return totpCode(p.secret, totpStep(p.at)+steps) }

// secondFactorOn turns the second factor of a login on by a code of the step before now, so that the code of now is still good.
func (r *rig) secondFactorOn(login string) (phone, []string) {
	r.t.Helper()
	who := policy.Actor{Role: policy.RoleOwner, Name: login}
	secret, err := r.BeginSecondFactor(r.t.Context(), operator, address(r.t, login), "")
	if err != nil {
		r.t.Fatal(err)
	}
	p := r.newPhone(secret)
	codes, err := r.ConfirmSecondFactor(r.t.Context(), who, address(r.t, login), p.code(-1))
	if err != nil {
		r.t.Fatal(err)
	}
	return p, codes
}

// web signs in to pages.
func (r *rig) web(login, code string) (Identity, error) {
	return r.Login(r.t.Context(), Attempt{Login: login, Password: password, Code: code, Remote: remote, Protocol: ProtocolWeb})
}

// logged returns what the log of a mailbox has under a key.
func (r *rig) logged(mailbox, key string) (list []string) {
	r.t.Helper()
	for c, err := range r.policy.Changes(r.t.Context(), address(r.t, mailbox)) {
		if err != nil {
			r.t.Fatal(err)
		}
		if c.Key == key {
			list = append(list, fmt.Sprintf("%s: %s to %s", c.Role, c.Before, c.After))
		}
	}
	return list
}

func TestSecondFactor(t *testing.T) {
	r := newRig(t, anna+":"+cheap, mario+":"+cheap)
	r.enable(mario)
	r.set(mario, "imap=on")
	forPhone := r.addAppPassword(anna, "phone")
	if id, err := r.web(anna, ""); err != nil || id.SecondFactor != "" || id.SetUpSecondFactor {
		t.Errorf("without a second factor: %+v, %v", id, err)
	}
	app, recovery := r.secondFactorOn(anna)
	first := app.code(0)
	for _, c := range []struct {
		name, login, password, code string
		protocol                    Protocol
		want                        []error
		factor                      Factor
	}{
		{"no code", anna, password, "", ProtocolWeb, []error{ErrSecondFactor}, ""},
		{"blanks", anna, password, "  ", ProtocolWeb, []error{ErrSecondFactor}, ""},
		{"wrong password", anna, "wrong", first, ProtocolWeb, []error{ErrDenied}, ""},
		{"wrong code", anna, password, "000000", ProtocolWeb, []error{ErrSecondFactor, ErrCode}, ""},
		{"of long ago", anna, password, app.code(-5), ProtocolWeb, []error{ErrSecondFactor, ErrCode}, ""},
		{"the code that turned it on", anna, password, app.code(-1), ProtocolWeb, []error{ErrSecondFactor, ErrCode}, ""},
		{"code", anna, password, first[:3] + " " + first[3:], ProtocolWeb, nil, FactorCode},
		{"the same again", anna, password, first, ProtocolWeb, []error{ErrSecondFactor, ErrCode}, ""},
		{"the next", anna, password, app.code(1), ProtocolWeb, nil, FactorCode},
		{"recovery code", anna, password, strings.ToUpper(recovery[4]), ProtocolWeb, nil, FactorRecovery},
		{"the same recovery code", anna, password, recovery[4], ProtocolWeb, []error{ErrSecondFactor, ErrCode}, ""},
		{"mail program, password", anna, password, "", ProtocolIMAP, []error{ErrSecondFactor}, ""},
		{"mail program, password and code", anna, password, recovery[0], ProtocolIMAP, []error{ErrSecondFactor}, ""},
		{"outgoing server, password", anna, password, "", ProtocolSubmission, []error{ErrSecondFactor}, ""},
		{"mail program, wrong password", anna, "wrong", "", ProtocolIMAP, []error{ErrDenied}, ""},
		{"mail program, app password", anna, forPhone, "", ProtocolIMAP, nil, ""},
		{"pages, app password", anna, forPhone, recovery[0], ProtocolWeb, []error{ErrDenied}, ""},
		{"somebody else", mario, password, "", ProtocolWeb, nil, ""},
		{"somebody else's mail program", mario, password, "", ProtocolIMAP, nil, ""},
	} {
		r.throttle = newThrottle() // guessing has a test of its own
		id, err := r.Login(t.Context(), Attempt{Login: c.login, Password: c.password, Code: c.code, Remote: remote, Protocol: c.protocol})
		for _, want := range c.want {
			if !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", c.name, err, want)
			}
		}
		if (err == nil) != (c.want == nil) || id.SecondFactor != c.factor || errors.Is(err, ErrCode) && !slices.Contains(c.want, ErrCode) {
			t.Errorf("%s: %+v, %v, want %v", c.name, id, err, c.want)
		}
		var said *Refusal
		if wantSaid := c.protocol != ProtocolWeb && slices.Contains(c.want, ErrSecondFactor); errors.As(err, &said) != wantSaid {
			t.Errorf("%s: refused with %v", c.name, err)
		} else if wantSaid && !strings.HasPrefix(said.String(), "Con l'autenticazione a due fattori") {
			t.Errorf("%s: %q", c.name, said)
		}
	}
	if s, err := r.SecondFactor(t.Context(), address(t, anna)); err != nil || !s.On || s.RecoveryCodes != recoveryCodes-1 || time.Since(*s.Since) > time.Minute || s.Waiting != nil {
		t.Errorf("%+v, %v", s, err)
	}
	if got, want := r.logged(anna, KeySecondFactor), []string{"owner: off to on"}; !slices.Equal(got, want) {
		t.Errorf("on record: %q, want %q", got, want)
	}
	if got, want := r.logged(anna, KeyRecoveryCodes), []string{"owner: 10 to 9"}; !slices.Equal(got, want) {
		t.Errorf("on record: %q, want %q", got, want)
	}
	var results []string
	for _, one := range r.accesses(anna) {
		results = append(results, fmt.Sprint(one.Protocol, " ", one.Result, " ", one.SecondFactor))
	}
	for _, want := range []string{"web second-factor ", "web ok code", "web ok recovery-code", "imap second-factor ", "imap ok "} {
		if !slices.Contains(results, want) {
			t.Errorf("the access log has %q, want also %q", results, want)
		}
	}
	for _, pair := range r.stored() {
		if strings.Contains(pair, recovery[0]) || strings.Contains(pair, strings.ReplaceAll(recovery[0], "-", "")) {
			t.Error("the store has a recovery code")
		}
	}
}

// TestSecondFactorEnds turns it off, as its owner and as a postmaster, and renews it.
func TestSecondFactorEnds(t *testing.T) {
	r := newRig(t, anna+":"+cheap)
	a, ctx := address(t, anna), t.Context()
	post := policy.Actor{Role: policy.RolePostmaster, Name: "post@alpha.test"}
	if err := r.EndSecondFactor(ctx, owner, a, ""); !errors.Is(err, ErrNoSecondFactor) {
		t.Errorf("off already: %v", err)
	}
	if _, err := r.ConfirmSecondFactor(ctx, owner, a, "123456"); !errors.Is(err, ErrNoSecondFactor) {
		t.Errorf("nothing waits: %v", err)
	}
	old, codes := r.secondFactorOn(anna)
	for _, code := range []string{"", "000000", old.code(-1)} {
		if err := r.EndSecondFactor(ctx, owner, a, code); !errors.Is(err, ErrCode) {
			t.Errorf("ended by %q: %v", code, err)
		}
		if _, err := r.BeginSecondFactor(ctx, owner, a, code); !errors.Is(err, ErrCode) {
			t.Errorf("begun by %q: %v", code, err)
		}
	}
	secret, err := r.BeginSecondFactor(ctx, owner, a, codes[0])
	if err != nil {
		t.Fatal(err)
	}
	next := r.newPhone(secret)
	if _, err := r.web(anna, next.code(0)); !errors.Is(err, ErrCode) {
		t.Errorf("a secret that only waits lets in: %v", err)
	}
	if _, err := r.web(anna, old.code(0)); err != nil {
		t.Errorf("the old phone before the new one is confirmed: %v", err)
	}
	if _, err := r.ConfirmSecondFactor(ctx, owner, a, old.code(1)); !errors.Is(err, ErrCode) {
		t.Errorf("confirmed by the old phone: %v", err)
	}
	renewed, err := r.ConfirmSecondFactor(ctx, owner, a, next.code(0))
	if err != nil || len(renewed) != recoveryCodes || slices.Contains(renewed, codes[1]) {
		t.Fatalf("%q, %v", renewed, err)
	}
	for _, code := range []string{old.code(1), codes[1], next.code(0)} {
		if _, err := r.web(anna, code); !errors.Is(err, ErrCode) {
			t.Errorf("%s after the renewal: %v", code, err)
		}
	}
	if err := r.EndSecondFactor(ctx, owner, a, renewed[0]); err != nil {
		t.Errorf("its owner ends it by a recovery code: %v", err)
	}
	if _, err := r.login(anna, password, ProtocolIMAP); err != nil {
		t.Errorf("a mail program once it is off: %v", err)
	}
	r.secondFactorOn(anna)
	if err := r.EndSecondFactor(ctx, post, a, ""); err != nil {
		t.Errorf("a postmaster ends it: %v", err)
	}
	want := []string{"owner: off to on", "owner: on to renewed", "owner: on to off", "owner: off to on", "postmaster: on to off"}
	if got := r.logged(anna, KeySecondFactor); !slices.Equal(got, want) {
		t.Errorf("on record: %q, want %q", got, want)
	}
	for _, pair := range r.stored() {
		if strings.HasPrefix(pair, "ic") {
			t.Errorf("left in the store: %q", pair)
		}
	}
}

// TestSecondFactorWaitsAnHour confirms a secret too late.
func TestSecondFactorWaitsAnHour(t *testing.T) {
	s := &storedSecondFactor{Waiting: &waitingSecret{newTOTPSecret(), time.Unix(1_800_003_600, 0)}}
	if s.waits(time.Unix(1_800_003_599, 0)) == nil || s.waits(time.Unix(1_800_003_600, 0)) != nil {
		t.Error("it does not wait for an hour")
	}
}

// TestSecondFactorGuessing tries codes with the right password, at a login and outside of one: both are held up soon.
func TestSecondFactorGuessing(t *testing.T) {
	r := newRig(t, anna+":"+cheap)
	r.secondFactorOn(anna)
	for _, c := range []struct {
		name string
		try  func(code string) error
	}{
		{"login", func(code string) error {
			_, err := r.web(anna, code)
			return err
		}},
		{"end", func(code string) error { return r.EndSecondFactor(t.Context(), owner, address(t, anna), code) }},
	} {
		tries := 0
		var err error
		for ; tries < 100 && !errors.Is(err, ErrThrottled); tries++ {
			err = c.try(fmt.Sprintf("%06d", tries))
		}
		if tries != limitBoth+1 {
			t.Errorf("%s: %d tries, %v", c.name, tries, err)
		}
	}
}

// TestSecondFactorRequired has a domain that asks for it.
func TestSecondFactorRequired(t *testing.T) {
	r := newRig(t, anna+":"+cheap, mario+":"+cheap, "bruno@beta.test:"+cheap)
	require := func(alpha, beta bool) {
		t.Helper()
		err := r.policy.Reconfigure(policy.Config{Domains: []policy.Domain{
			{Name: "alpha.test", RequireSecondFactor: alpha}, {Name: "beta.test", RequireSecondFactor: beta}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	need := func() (list []string) {
		for a, err := range r.AllNeedAppPassword(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, a.String())
		}
		slices.Sort(list)
		return list
	}
	require(true, false)
	r.enable(mario)
	r.enable("bruno@beta.test")
	r.set("bruno@beta.test", "imap=on")
	app := r.addAppPassword(anna, "phone")
	if id, err := r.web(anna, ""); err != nil || !id.SetUpSecondFactor {
		t.Errorf("pages: %+v, %v", id, err)
	}
	if _, err := r.login(anna, password, ProtocolIMAP); !errors.Is(err, ErrSecondFactor) {
		t.Errorf("mail program: %v", err)
	}
	if _, err := r.login(anna, app, ProtocolIMAP); err != nil {
		t.Errorf("app password: %v", err)
	}
	if _, err := r.login("bruno@beta.test", password, ProtocolIMAP); err != nil {
		t.Errorf("another domain: %v", err)
	}
	if got, want := need(), []string{anna, mario}; !slices.Equal(got, want) {
		t.Errorf("app passwords are needed by %q, want %q", got, want)
	}
	phone, _ := r.secondFactorOn(anna)
	if id, err := r.web(anna, phone.code(0)); err != nil || id.SetUpSecondFactor {
		t.Errorf("pages, once it is on: %+v, %v", id, err)
	}
	if got, want := need(), []string{anna, mario}; !slices.Equal(got, want) {
		t.Errorf("app passwords are needed by %q, want %q", got, want)
	}
	require(false, false)
	r.secondFactorOn("chief@gamma.test")
	if got, want := need(), []string{anna, "chief@gamma.test"}; !slices.Equal(got, want) {
		t.Errorf("app passwords are needed by %q, want %q", got, want)
	}
	if log := r.log.String(); !strings.Contains(log, "login=chief@gamma.test key=second-factor from=off to=on") || strings.Contains(log, "login="+anna) {
		t.Errorf("of a login without a mailbox the log says:\n%s", log)
	}
	// A login that was never set up as a mailbox, such as a postmaster's.
	require(true, false)
	r.secondFactorOn("postmaster@alpha.test")
	if got, want := need(), []string{anna, "chief@gamma.test", mario, "postmaster@alpha.test"}; !slices.Equal(got, want) {
		t.Errorf("app passwords are needed by %q, want %q", got, want)
	}
	require(false, false)
	if err := r.EndSecondFactor(t.Context(), operator, address(t, "postmaster@alpha.test"), ""); err != nil {
		t.Fatal(err)
	}
	if _, err := r.policy.HandOver(t.Context(), address(t, anna), operator, anna); err != nil {
		t.Fatal(err)
	}
	if got, want := need(), []string{"chief@gamma.test"}; !slices.Equal(got, want) {
		t.Errorf("after a hand-over app passwords are needed by %q, want %q", got, want)
	}
}

// TestSecondFactorOnce types one code many times at once: one login succeeds.
func TestSecondFactorOnce(t *testing.T) {
	r := newRig(t, anna+":"+cheap)
	app, recovery := r.secondFactorOn(anna)
	for _, code := range []string{app.code(0), recovery[0]} {
		r.throttle = newThrottle()
		var in atomic.Int32
		var wait sync.WaitGroup
		for range 8 {
			wait.Go(func() {
				if _, err := r.web(anna, code); err == nil {
					in.Add(1)
				}
			})
		}
		wait.Wait()
		if in.Load() != 1 {
			t.Errorf("%s let %d in", code, in.Load())
		}
	}
}

// TestSecondFactorFaults fails the write by which a code is used up: nobody is let in. If the code was used up all the same, it stays so.
func TestSecondFactorFaults(t *testing.T) {
	for _, after := range []bool{false, true} {
		r := newRig(t, anna+":"+cheap)
		app, _ := r.secondFactorOn(anna)
		a := New(Options{Source: r.source(), Policy: r.policy, Settings: &failing{r.store, 1, after}})
		defer a.Close()
		a.now = r.now
		try := Attempt{Login: anna, Password: password, Code: app.code(0), Protocol: ProtocolWeb}
		if _, err := a.Login(t.Context(), try); !errors.Is(err, ErrUnavailable) {
			t.Errorf("fails after the write %v: %v", after, err)
		}
		if _, err := a.Login(t.Context(), try); (err == nil) == after {
			t.Errorf("again, after a write that was made %v: %v", after, err)
		}
	}
}

// TestOnChange counts what is told.
func TestOnChange(t *testing.T) {
	r := newRig(t, anna+":"+cheap)
	told := 0
	r.Authenticator.OnChange(func() { told++ })
	for n, act := range []func(context.Context){
		func(context.Context) { r.addAppPassword(anna, "phone") },
		func(ctx context.Context) { r.RevokeAppPassword(ctx, operator, address(t, anna), "phone") },
		func(ctx context.Context) { r.BeginSecondFactor(ctx, operator, address(t, "chief@gamma.test"), "") },
	} {
		if act(t.Context()); told != n+1 {
			t.Errorf("act %d: told %d times", n, told)
		}
	}
}
