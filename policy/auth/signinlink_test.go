package auth

import (
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"copialettere/journal/kv"
	"copialettere/policy"
)

var panel = policy.Actor{Role: policy.RoleToken, Name: "panel"}

// signInLink makes a link for anna by the token panel.
func (r *rig) signInLink() string {
	r.t.Helper()
	secret, _, err := r.MakeSignIn(r.t.Context(), panel, address(r.t, anna))
	if err != nil {
		r.t.Fatal(err)
	}
	return secret
}

// TestSignInLink signs anna in by links, which do so once, within a minute, and only as long as the token is there.
func TestSignInLink(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(r *rig, now *time.Time, secret *string)
		want   error
	}{
		{"at once", func(*rig, *time.Time, *string) {}, nil},
		{"after 59 seconds", func(_ *rig, now *time.Time, _ *string) { *now = now.Add(59 * time.Second) }, nil},
		{"after a minute", func(_ *rig, now *time.Time, _ *string) { *now = now.Add(time.Minute) }, ErrNoLink},
		{"the clock was set back a little", func(_ *rig, now *time.Time, _ *string) { *now = now.Add(-30 * time.Second) }, nil},
		{"the clock was set back", func(_ *rig, now *time.Time, _ *string) { *now = now.Add(-2 * time.Minute) }, ErrNoLink},
		{"twice", func(r *rig, _ *time.Time, secret *string) { r.LoginByLink(t.Context(), *secret, remote) }, ErrNoLink},
		{"another secret", func(_ *rig, _ *time.Time, secret *string) { *secret = "A" + (*secret)[1:] }, ErrNoLink},
		{"no secret", func(_ *rig, _ *time.Time, secret *string) { *secret = "" }, ErrNoLink},
		{"the token is revoked", func(r *rig, _ *time.Time, _ *string) {
			if err := r.RevokeToken(t.Context(), operator, "panel"); err != nil {
				t.Error(err)
			}
		}, ErrNoLink},
		{"another token has the name", func(r *rig, _ *time.Time, _ *string) {
			if err := r.RevokeToken(t.Context(), operator, "panel"); err != nil {
				t.Error(err)
			}
			r.addToken("panel", ScopeWrite)
		}, ErrNoLink},
		{"the token reads only", func(r *rig, _ *time.Time, secret *string) {
			r.addToken("reader", ScopeRead)
			var err error
			if *secret, _, err = r.MakeSignIn(t.Context(), policy.Actor{Role: policy.RoleToken, Name: "reader"}, address(t, anna)); err != nil {
				t.Error(err)
			}
		}, ErrNoLink},
		{"the address has another archive", func(r *rig, _ *time.Time, _ *string) {
			if _, err := r.policy.HandOver(t.Context(), address(t, anna), operator, anna); err != nil {
				t.Error(err)
			}
		}, ErrNoLink},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, anna+":"+cheap)
			now := time.Date(2026, 11, 29, 10, 0, 0, 0, time.UTC)
			r.now = func() time.Time { return now }
			r.addToken("panel", ScopeWrite)
			secret := r.signInLink()
			c.change(r, &now, &secret)
			id, _, err := r.LoginByLink(t.Context(), secret, remote)
			if !errors.Is(err, c.want) || c.want == nil && err != nil {
				t.Fatalf("%v, want %v", err, c.want)
			}
			if c.want != nil {
				return
			}
			if id.Login.String() != anna || id.Actor.Role != policy.RoleOwner || id.By != "token panel" || !id.Confined() {
				t.Errorf("%+v", id)
			}
			if log := r.accesses(anna); len(log) != 1 || log[0].By != "token panel" || log[0].Login != anna || log[0].Result != ResultOK || log[0].Address != remote.String() {
				t.Errorf("on record is %+v", log)
			}
			session, err := r.OpenSession(t.Context(), id, remote, "")
			if err != nil {
				t.Fatal(err)
			}
			if s, err := r.Session(t.Context(), session); err != nil || !s.Confined() {
				t.Errorf("%+v, %v", s, err)
			}
			if err := r.RevokeToken(t.Context(), operator, "panel"); err != nil {
				t.Error(err)
			}
			r.addToken("panel", ScopeWrite)
			if _, err := r.Session(t.Context(), session); !errors.Is(err, ErrNoSession) {
				t.Errorf("the session after the token is revoked: %v", err)
			}
		})
	}
}

// TestSignInLinkNames refuses links for whom there is nothing to sign in to.
func TestSignInLinkNames(t *testing.T) {
	r := newRig(t)
	if _, _, err := r.MakeSignIn(t.Context(), panel, address(t, mario)); !errors.Is(err, policy.ErrNoArchive) {
		t.Errorf("a mailbox that was never set up: %v", err)
	}
	closed, err := r.policy.HandOver(t.Context(), address(t, anna), operator, anna)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.MakeSignIn(t.Context(), panel, closed); !errors.Is(err, policy.ErrClosed) {
		t.Errorf("one that was handed over: %v", err)
	}
}

// TestSignInLinkSecondFactor asks for the code where the second factor is on: the link alone does not suffice, and is used up.
func TestSignInLinkSecondFactor(t *testing.T) {
	r := newRig(t, anna+":"+cheap)
	r.addToken("panel", ScopeWrite)
	p, _ := r.secondFactorOn(anna)
	secret := r.signInLink()
	id, try, err := r.LoginByLink(t.Context(), secret, remote)
	if !errors.Is(err, ErrSecondFactor) || id != (Identity{}) {
		t.Fatalf("%+v, %v", id, err)
	}
	if _, _, err := r.LoginByLink(t.Context(), secret, remote); !errors.Is(err, ErrNoLink) {
		t.Errorf("again: %v", err)
	}
	sealed, err := r.SealStep(try)
	if err != nil {
		t.Fatal(err)
	}
	step, err := r.OpenStep(sealed)
	if err != nil {
		t.Fatal(err)
	}
	step.Code = "000000"
	if _, err := r.Login(t.Context(), step); !errors.Is(err, ErrCode) {
		t.Errorf("a wrong code: %v", err)
	}
	step.Code = p.code(0)
	if id, err := r.Login(t.Context(), step); err != nil || id.SecondFactor != FactorCode || id.By != "token panel" {
		t.Errorf("%+v, %v", id, err)
	}
	again := step
	again.Code = p.code(1)
	if _, err := r.Login(t.Context(), again); !errors.Is(err, ErrDenied) {
		t.Errorf("the same second step with another code: %v", err)
	}
	_, step, _ = r.LoginByLink(t.Context(), r.signInLink(), remote)
	if err := r.RevokeToken(t.Context(), operator, "panel"); err != nil {
		t.Fatal(err)
	}
	step.Code = p.code(2)
	if _, err := r.Login(t.Context(), step); !errors.Is(err, ErrDenied) {
		t.Errorf("after the token is revoked: %v", err)
	}
	r.addToken("panel", ScopeWrite)
	if _, err := r.policy.HandOver(t.Context(), address(t, anna), operator, anna); err != nil {
		t.Fatal(err)
	}
	if id, err := r.Login(t.Context(), step); !errors.Is(err, ErrDenied) {
		t.Errorf("after the address has come to somebody without a second factor: %+v, %v", id, err)
	}
}

// TestSignInLinkAtOnce uses one link in many places: one gets in.
func TestSignInLinkAtOnce(t *testing.T) {
	r := newRig(t, anna+":"+cheap)
	r.addToken("panel", ScopeWrite)
	secret := r.signInLink()
	var in atomic.Int64
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			if _, _, err := r.LoginByLink(t.Context(), secret, netip.Addr{}); err == nil {
				in.Add(1)
			} else if !errors.Is(err, ErrNoLink) {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if in.Load() != 1 {
		t.Errorf("%d got in", in.Load())
	}
}

// TestSignInLinkFaults fails the write that uses a link up: nobody gets in by it.
func TestSignInLinkFaults(t *testing.T) {
	for _, after := range []bool{false, true} {
		r := newRig(t, anna+":"+cheap)
		r.addToken("panel", ScopeWrite)
		secret := r.signInLink()
		a := New(Options{Source: r.source(), Policy: r.policy, Settings: &failing{r.store, 1, after}, Logger: slog.New(slog.DiscardHandler)})
		if _, _, err := a.LoginByLink(t.Context(), secret, remote); !errors.Is(err, ErrUnavailable) || !errors.Is(err, kv.ErrUnavailable) {
			t.Errorf("%v", err)
		}
		a.Close()
		if _, _, err := r.LoginByLink(t.Context(), secret, remote); errors.Is(err, ErrNoLink) != after {
			t.Errorf("fails after the write %v, then: %v", after, err)
		}
	}
}
