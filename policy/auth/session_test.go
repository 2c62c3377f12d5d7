package auth

import (
	"errors"
	"testing"
	"time"

	"copialettere/policy"
)

// TestSession opens sessions and ends them in every way.
func TestSession(t *testing.T) {
	r := newRig(t, anna+":"+cheap, mario+":"+cheap)
	now := time.Date(2026, 11, 29, 10, 0, 0, 0, time.UTC)
	r.now = func() time.Time { return now }
	in := func(login string) Identity {
		a := address(t, login)
		return Identity{Login: a, Mailbox: a, Actor: policy.Actor{Role: policy.RoleOwner, Name: login}}
	}
	open := func(login string) string {
		t.Helper()
		secret, err := r.OpenSession(t.Context(), in(login), remote, "a browser")
		if err != nil {
			t.Fatal(err)
		}
		return secret
	}
	is := func(name, secret string, want error) {
		t.Helper()
		s, err := r.Session(t.Context(), secret)
		if !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
		if err == nil && (s.Login != address(t, anna) || s.Actor.Name != anna || s.Remote != remote || s.Agent != "a browser") {
			t.Errorf("%s: %+v", name, s)
		}
	}
	is("no secret", "", ErrNoSession)
	is("what is no secret", "x", ErrNoSession)
	secret := open(anna)
	is("opened", secret, nil)

	for range 3 {
		now = now.Add(29 * time.Minute)
		is("in use", secret, nil)
	}
	now = now.Add(30 * time.Minute)
	is("not used for half an hour", secret, ErrNoSession)

	secret = open(anna)
	for range 25 {
		now = now.Add(28 * time.Minute)
		is("in use for hours", secret, nil)
	}
	now = now.Add(20 * time.Minute)
	is("after twelve hours", secret, ErrNoSession)

	secret = open(anna)
	now = now.Add(-25 * time.Minute)
	is("the clock was set back a little", secret, nil)
	now = now.Add(-10 * time.Minute)
	is("the clock was set back", secret, ErrNoSession)
	now = now.Add(35 * time.Minute)
	if err := r.EndSession(t.Context(), secret); err != nil {
		t.Fatal(err)
	}

	first, second, other := open(anna), open(anna), open(mario)
	if err := r.EndSession(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	is("ended", first, ErrNoSession)
	is("the other one", second, nil)
	list, err := r.Sessions(t.Context(), address(t, anna))
	if err != nil || len(list) != 1 {
		t.Fatalf("sessions %+v, %v", list, err)
	}
	if n, err := r.EndSessions(t.Context(), address(t, mario), func(id string) bool { return id == list[0].ID }); n != 0 || err != nil {
		t.Errorf("somebody else ended %d, %v", n, err)
	}
	if n, err := r.EndSessions(t.Context(), address(t, anna), func(id string) bool { return id == list[0].ID }); n != 1 || err != nil {
		t.Errorf("ended %d, %v", n, err)
	}
	is("ended from another browser", second, ErrNoSession)

	secret = open(anna)
	r.write(anna+":{BLF-CRYPT}$2y$05$NNVrrmV7frWR1l5WpCC7U.6g2jN0R5Yg0cN2m8m2v0r4z3c5w5b5y", mario+":"+cheap)
	is("after the password has changed", secret, ErrNoSession)
	if _, err := r.Session(t.Context(), other); err != nil {
		t.Errorf("mario's session: %v", err)
	}
	r.write(mario + ":" + cheap)
	is("after the login has gone", open(anna), nil)

	var secrets []string
	for range maxSessions + 1 {
		now = now.Add(time.Second)
		secrets = append(secrets, open(anna))
	}
	is("the oldest of too many", secrets[0], ErrNoSession)
	is("the next", secrets[1], nil)

	if err := r.policyRename(anna, "anna.rossi@alpha.test"); err != nil {
		t.Fatal(err)
	}
	is("after a rename", secrets[1], ErrNoSession)
	now = now.Add(13 * time.Hour)
	if n, err := r.ForgetEnded(t.Context()); err != nil || n < maxSessions {
		t.Errorf("%d removed, %v", n, err)
	}
	for range r.store.Scan(t.Context(), sessionKey(nil), []byte("it")) {
		t.Error("a session is left")
	}
}

// TestForgetEnded removes what is over, and leaves what is not.
func TestForgetEnded(t *testing.T) {
	r := newRig(t, anna+":"+cheap)
	now := time.Date(2026, 11, 29, 10, 0, 0, 0, time.UTC)
	r.now = func() time.Time { return now }
	login := address(t, anna)
	forget := func(after time.Duration, want int) {
		t.Helper()
		now = now.Add(after)
		if n, err := r.ForgetEnded(t.Context()); n != want || err != nil {
			t.Errorf("at %s: %d removed, %v, want %d", now.Format(time.TimeOnly), n, err, want)
		}
	}
	waits := func() bool {
		t.Helper()
		c, err := decodeCredentials(r.store.Get(t.Context(), credentialsKey(anna)))
		if err != nil {
			t.Fatal(err)
		}
		return c.SecondFactor != nil && c.SecondFactor.Waiting != nil
	}
	r.addAppPassword(anna, "phone")
	if _, err := r.OpenSession(t.Context(), Identity{Login: login, Mailbox: login}, remote, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := r.BeginSecondFactor(t.Context(), operator, login, ""); err != nil {
		t.Fatal(err)
	}
	r.signInLink()
	forget(59*time.Second, 0)
	forget(time.Second, 1) // the link
	forget(28*time.Minute, 0)
	forget(time.Minute, 1) // the session
	if forget(29*time.Minute, 0); !waits() {
		t.Error("the secret has gone before its time")
	}
	if forget(time.Minute, 1); waits() {
		t.Error("the secret is there after its time")
	}
	forget(time.Hour, 0)
	if apps, err := r.AppPasswords(t.Context(), login); err != nil || len(apps) != 1 {
		t.Errorf("app passwords %v, %v", apps, err)
	}
	for pair := range r.store.Scan(t.Context(), []byte("ik"), []byte("iu")) {
		t.Errorf("%q is left", pair.Key)
	}
}

func (r *rig) policyRename(from, to string) error {
	_, err := r.policy.Rename(r.t.Context(), address(r.t, from), address(r.t, to), operator)
	return err
}

// TestStep keeps a try to sign in for five minutes, unreadable.
func TestStep(t *testing.T) {
	r := newRig(t)
	now := time.Now()
	r.now = func() time.Time { return now }
	sealed, err := r.SealStep(Attempt{Login: anna, Password: password})
	if err != nil {
		t.Fatal(err)
	}
	if try, err := r.OpenStep(sealed); err != nil || try.Login != anna || try.Password != password || try.Protocol != ProtocolWeb {
		t.Errorf("%+v, %v", try, err)
	}
	for name, text := range map[string]string{"nothing": "", "cut": sealed[:len(sealed)-4], "another": sealed[4:]} {
		if _, err := r.OpenStep(text); !errors.Is(err, ErrDenied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	now = now.Add(5 * time.Minute)
	if _, err := r.OpenStep(sealed); !errors.Is(err, ErrDenied) {
		t.Errorf("after five minutes: %v", err)
	}
}
