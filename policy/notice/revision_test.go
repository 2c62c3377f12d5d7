package notice

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/policy"
)

// toldRig is a rig whose owner is told of changes, with a journal of 812 messages, 200 of them older than a year.
func toldRig(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	r.set("notify_on=before-loss,security", "language=en", "retention=24")
	r.policy.OnRevision(r.pump().Revised)
	return r
}

// pump returns a pump over the queue, and restarts the queue with a journal.
func (r *rig) pump() *Pump {
	r.queue = New(r.store, Options{Policy: r.policy, From: sender, MaxPerDay: 3, Expiring: func(_ context.Context, mailbox string, months int, at time.Time) (journal.Removed, time.Time, error) {
		if mailbox != anna || months > 0 && at.IsZero() {
			return journal.Removed{}, time.Time{}, fmt.Errorf("counting %s by %d months at %v", mailbox, months, at)
		}
		if months == 0 {
			return journal.Removed{Entries: 812, Bytes: 812e3}, start(), nil
		}
		return journal.Removed{Entries: 200, Bytes: 200e3}, start(), nil
	}})
	return NewPump(r.queue, r.send, nil)
}

// told returns the subjects of what was sent, and forgets it.
func (r *rig) told() (list []string) {
	r.t.Helper()
	for _, s := range r.sent {
		subject, _ := decoded(r.t, []byte(s.message))
		list = append(list, s.to+": "+subject)
	}
	r.sent = nil
	return list
}

// TestRevisions changes settings and checks who is told what, at once and not.
func TestRevisions(t *testing.T) {
	const erased = outside + ": The archive of anna@alpha.test will be erased"
	const deleted = outside + ": Messages will be deleted from the archive of anna@alpha.test"
	const moved = outside + ": Notices about the archive of anna@alpha.test no longer come here"
	const confirm = "new@ext.test: Confirm this address for notices about the archive of anna@alpha.test"
	disable := func(grace time.Duration) func(*rig) {
		return func(r *rig) {
			if _, err := r.policy.Disable(r.t.Context(), r.address(anna), r.operator(), anna, grace); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	set := func(text ...string) func(*rig) {
		return func(r *rig) {
			var list []policy.Assignment
			for _, one := range text {
				a, err := policy.ParseAssignment(one)
				if err != nil {
					r.t.Fatal(err)
				}
				list = append(list, a)
			}
			if _, err := r.policy.Set(r.t.Context(), r.address(anna), r.operator(), list); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	confirmed := func(r *rig) { r.confirm(anna) }
	for _, c := range []struct {
		name  string
		do    []func(*rig)
		want  []string
		wants []string // in each of the messages
	}{
		{"disabled", []func(*rig){disable(72 * time.Hour)}, []string{erased}, []string{"Messages: 812\n", "copialettere list anna@alpha.test"}},
		{"disabled without a grace", []func(*rig){disable(0)}, nil, nil},
		{"disabled and restored", []func(*rig){disable(72 * time.Hour), func(r *rig) {
			if _, err := r.policy.Restore(r.t.Context(), r.address(anna), r.operator()); err != nil {
				r.t.Fatal(err)
			}
		}}, nil, nil},
		{"disabled, not wanted", []func(*rig){set("notify_on=security"), disable(72 * time.Hour)}, nil, nil},
		{"retention shortened", []func(*rig){set("retention=12")}, []string{deleted}, []string{"shortened to 12 months", "Messages: 200\n"}},
		{"retention shortened twice", []func(*rig){set("retention=12"), set("retention=6")}, []string{deleted}, []string{"shortened to 6 months"}},
		{"retention shortened and taken back", []func(*rig){set("retention=12"), set("retention=24")}, nil, nil},
		{"retention longer", []func(*rig){set("retention=36")}, nil, nil},
		{"retention shortened, not wanted", []func(*rig){set("notify_on=security"), set("retention=12")}, nil, nil},
		{"run put off", []func(*rig){func(r *rig) {
			if delayed, err := r.policy.DelayRetention(r.t.Context(), r.address(anna)); err != nil || !delayed {
				r.t.Fatal(delayed, err)
			}
		}}, []string{outside + ": Many messages will be deleted from the archive of anna@alpha.test"}, []string{"retention period of 24 months", "Messages: 200\n"}},
		{"new address", []func(*rig){set("notify=new@ext.test")}, []string{confirm}, []string{"mailbox confirm anna@alpha.test "}},
		{"new address, twice at once", []func(*rig){set("notify=new@ext.test"), set("notify=new@ext.test")}, []string{confirm}, nil},
		{"another new address", []func(*rig){set("notify=other@ext.test"), set("notify=new@ext.test")}, []string{confirm}, nil},
		{"new address, taken back", []func(*rig){set("notify=new@ext.test"), set("notify=" + outside)}, nil, nil},
		{"new address, confirmed", []func(*rig){set("notify=new@ext.test"), confirmed}, []string{moved}, []string{"The new one: new@ext.test."}},
		{"new address, confirmed, not wanted", []func(*rig){set("notify=new@ext.test", "notify_on=none"), confirmed}, []string{moved}, nil},
		{"no address", []func(*rig){set("notify=none")}, []string{moved}, []string{"The new one: (none)."}},
		{"no address, and back", []func(*rig){set("notify=none"), set("notify=" + outside), confirmed}, []string{moved}, nil},
		{"something else", []func(*rig){set("filter=certified", "quota=5GB")}, nil, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := toldRig(t)
			for _, do := range c.do {
				do(r)
			}
			n := r.pump()
			n.Wake()
			if err := n.Deliver(t.Context(), time.Now()); err != nil {
				t.Fatal(err)
			}
			for _, s := range r.sent {
				_, body := decoded(t, []byte(s.message))
				for _, want := range c.wants {
					if !strings.Contains(body, want) {
						t.Errorf("no %q in\n%s", want, body)
					}
				}
			}
			if got := r.told(); !slices.Equal(got, c.want) || r.waits() != 0 {
				t.Errorf("told %q, want %q; %d wait", got, c.want, r.waits())
			}
		})
	}
}

// TestRevisionTogether breaks the Update of a change: neither the change is made nor the notice queued.
func TestRevisionTogether(t *testing.T) {
	r := toldRig(t)
	settings := func() policy.Settings {
		s, err := r.policy.Settings(t.Context(), r.address(anna))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	before := settings()
	p, err := policy.Open(t.Context(), &failing{Store: r.store, cause: kv.ErrUnavailable}, policy.Config{Domains: []policy.Domain{{Name: "alpha.test"}}})
	if err != nil {
		t.Fatal(err)
	}
	p.OnRevision(r.pump().Revised)
	if _, err := p.Set(t.Context(), r.address(anna), r.operator(), []policy.Assignment{{Key: "retention", Value: "6"}}); !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("error %v", err)
	}
	if settings() != before || r.waits() != 0 {
		t.Errorf("settings %+v, %d wait", settings(), r.waits())
	}
}

// TestUncounted cannot count what is going to be lost: the owner is told all the same.
func TestUncounted(t *testing.T) {
	r := toldRig(t)
	r.set("retention=12")
	r.queue = New(r.store, Options{Policy: r.policy, From: sender, MaxPerDay: 3, Expiring: func(context.Context, string, int, time.Time) (journal.Removed, time.Time, error) {
		return journal.Removed{}, time.Time{}, kv.ErrUnavailable
	}})
	r.deliver(time.Now())
	r.expect("delivered", 1, 0)
	if _, body := decoded(t, []byte(r.sent[0].message)); !strings.Contains(body, "Messages: ?\n") {
		t.Errorf("the body is\n%s", body)
	}
}

// TestLossBeyondTheLimit tells of a coming loss and of security though the daily limit is used up.
func TestLossBeyondTheLimit(t *testing.T) {
	r := toldRig(t)
	for i := range 3 {
		r.add(OfSecurity(anna, SecurityExport, fmt.Sprint(i), time.Now()))
	}
	r.set("retention=12")
	r.deliver(time.Now())
	r.expect("delivered", 4, 0)
}

// TestToldAlways has an owner who has chosen no notices: that somebody else may read the archive, and that the second factor is off, he is told.
func TestToldAlways(t *testing.T) {
	r := toldRig(t)
	r.set("notify_on=none")
	for _, kind := range []Kind{SecurityAppPassword, SecurityDelegate, SecuritySecondFactorOff, SecurityRecoveryCode, SecurityExport} {
		r.add(OfSecurity(anna, kind, "a detail", time.Now()))
	}
	r.deliver(time.Now())
	r.expect("delivered", 2, 0)
	for i := range 2 {
		if _, body := decoded(t, []byte(r.sent[i].message)); strings.Contains(body, "disattivare nelle impostazioni") || strings.Contains(body, "turned off in the settings") {
			t.Errorf("it cannot be turned off:\n%s", body)
		}
	}
}

// code returns the code in a message.
func code(t *testing.T, message string) string {
	t.Helper()
	_, body := decoded(t, []byte(message))
	found := regexp.MustCompile(`\n\n    ([2-9A-Z]{5}-[2-9A-Z]{5})\n\n`).FindStringSubmatch(body)
	if found == nil {
		t.Fatalf("no code in\n%s", body)
	}
	return found[1]
}

// TestCode confirms an address by the codes that were sent to it.
func TestCode(t *testing.T) {
	setup := func(t *testing.T) (*rig, *Pump) {
		r := toldRig(t)
		r.ask("new@ext.test")
		return r, r.pump()
	}
	check := func(r *rig, n *Pump, text string) error {
		s, err := r.policy.Settings(r.t.Context(), r.address(anna))
		if err != nil {
			r.t.Fatal(err)
		}
		return n.CheckCode(r.t.Context(), anna, s.NotifyPending, text)
	}
	send := func(r *rig, n *Pump, at time.Time) string {
		r.t.Helper()
		if err := n.Deliver(r.t.Context(), at); err != nil {
			r.t.Fatal(err)
		}
		return code(r.t, r.sent[len(r.sent)-1].message)
	}
	t.Run("right", func(t *testing.T) {
		r, n := setup(t)
		sent := send(r, n, time.Now())
		for _, typed := range []string{sent, strings.ToLower(sent), strings.ReplaceAll(sent, "-", ""), " " + strings.ReplaceAll(sent, "-", " - ")} {
			if err := check(r, r.pump(), typed); err != nil {
				t.Errorf("%q: %v", typed, err)
			}
		}
		for p, err := range r.store.Scan(t.Context(), []byte("w"), []byte("x")) {
			if err != nil || strings.Contains(string(p.Value), sent) || strings.Contains(string(p.Value), strings.ReplaceAll(sent, "-", "")) {
				t.Errorf("%v, the code is stored: %q", err, p.Value)
			}
		}
	})
	t.Run("not sent yet", func(t *testing.T) {
		r, n := setup(t)
		if err := check(r, n, "ABCDE-FGHJK"); !errors.Is(err, ErrCode) || !strings.Contains(err.Error(), "was not sent yet") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("wrong too often", func(t *testing.T) {
		r, n := setup(t)
		sent := send(r, n, time.Now())
		for i := range maxGuesses {
			if err := check(r, r.pump(), "ABCDE-FGHJK"); !errors.Is(err, ErrCode) || !strings.Contains(err.Error(), fmt.Sprint(maxGuesses-1-i, " more tries")) {
				t.Errorf("try %d: %v", i, err)
			}
		}
		if err := check(r, r.pump(), sent); !errors.Is(err, ErrCode) || !strings.Contains(err.Error(), "too many wrong codes") {
			t.Errorf("the right one, too late: %v", err)
		}
		r.ask("none")
		r.ask("new@ext.test")
		again := send(r, n, time.Now().Add(time.Minute))
		if err := check(r, n, again); err != nil || again == sent {
			t.Errorf("a new code: %v", err)
		}
		if err := check(r, n, sent); !errors.Is(err, ErrCode) {
			t.Errorf("the old code: %v", err)
		}
	})
	t.Run("outcome unknown", func(t *testing.T) {
		r, n := setup(t)
		r.answer = func(string) error { return ErrUnknown }
		first := send(r, n, time.Now())
		second := send(r, n, time.Now().Add(time.Hour))
		if len(r.sent) != 2 || first == second || check(r, n, first) != nil || check(r, n, second) != nil {
			t.Errorf("%d sent, %q and %q: one of them is not taken", len(r.sent), first, second)
		}
	})
	t.Run("nothing pending", func(t *testing.T) {
		r, n := setup(t)
		sent := send(r, n, time.Now())
		r.ask("none")
		if err := check(r, n, sent); !errors.Is(err, policy.ErrNotPending) {
			t.Errorf("error %v", err)
		}
		if n := r.kept("wc"); n != 0 {
			t.Errorf("%d codes are kept", n)
		}
	})
	t.Run("too late", func(t *testing.T) {
		r, n := setup(t)
		if err := n.Deliver(t.Context(), time.Now().Add(policy.PendingFor)); err != nil || len(r.sent) != 0 || r.waits() != 0 {
			t.Errorf("%v, sent %+v", err, r.sent)
		}
	})
	t.Run("forgotten when too old", func(t *testing.T) {
		r, n := setup(t)
		sent := send(r, n, time.Now())
		if removed, err := ForgetCodes(t.Context(), r.store, time.Now().Add(policy.PendingFor-time.Hour)); removed != 0 || err != nil || check(r, n, sent) != nil {
			t.Errorf("an hour before the end: %d removed, %v", removed, err)
		}
		if removed, err := ForgetCodes(t.Context(), r.store, time.Now().Add(policy.PendingFor)); removed != 1 || err != nil || r.kept("wc") != 0 {
			t.Errorf("%d removed, %v, %d codes are kept", removed, err, r.kept("wc"))
		}
	})
	t.Run("forgotten", func(t *testing.T) {
		r, n := setup(t)
		send(r, n, time.Now())
		if err := Forget(t.Context(), r.store, anna); err != nil || r.kept("wc") != 0 {
			t.Errorf("%v, %d codes are kept", err, r.kept("wc"))
		}
	})
	t.Run("no pump", func(t *testing.T) {
		r, _ := setup(t)
		if err := check(r, nil, "x"); !errors.Is(err, ErrCode) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("the store fails", func(t *testing.T) {
		r, n := setup(t)
		send(r, n, time.Now())
		broken := NewPump(New(&failing{Store: r.store, cause: kv.ErrUnavailable}, n.queue.options), r.send, nil)
		if err := check(r, broken, "ABCDE-FGHJK"); !errors.Is(err, kv.ErrUnavailable) {
			t.Errorf("error %v", err)
		}
	})
}

// ask sets the address for notices without confirming it.
func (r *rig) ask(address string) {
	r.t.Helper()
	if _, err := r.policy.Set(r.t.Context(), r.address(anna), r.operator(), []policy.Assignment{{Key: "notify", Value: address}}); err != nil {
		r.t.Fatal(err)
	}
}

// TestCodeKilled ends the program at each update of a code that is being sent: the address can be confirmed in the end, with a code from the last
// mail.
func TestCodeKilled(t *testing.T) {
	for _, after := range []bool{false, true} {
		for at := 1; ; at++ {
			r := toldRig(t)
			r.ask("new@ext.test")
			b := &brittle{Store: r.store, at: at, after: after, breaks: func() error { panic(crash{}) }}
			for i := range 4 {
				func() {
					defer func() {
						if cause := recover(); cause != nil && cause != (crash{}) {
							panic(cause)
						}
					}()
					New(b, Options{Policy: r.policy, From: sender, MaxPerDay: 3}).Deliver(t.Context(), time.Now().Add(time.Duration(i)*time.Hour), r.send)
				}()
			}
			s, err := r.policy.Settings(t.Context(), r.address(anna))
			if err != nil || len(r.sent) == 0 || len(r.sent) > 2 {
				t.Fatalf("update %d (after: %v): %v, %d sent", at, after, err, len(r.sent))
			}
			for _, one := range r.sent {
				if err := r.pump().CheckCode(t.Context(), anna, s.NotifyPending, code(t, one.message)); err != nil {
					t.Errorf("update %d (after: %v): %v", at, after, err)
				}
			}
			if b.updates < at {
				break
			}
		}
	}
}
