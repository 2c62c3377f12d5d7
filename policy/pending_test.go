package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"copialettere/journal/kv"
)

// TestPendingAddress sets addresses for notices and confirms them, step by step.
func TestPendingAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := openTest(t, testConfig(), "anna@alpha.test")
		anna := mustAddress(t, "anna@alpha.test")
		set := func(value string) func() error {
			return func() error {
				_, err := p.Set(t.Context(), anna, operator(), assignments(t, value))
				return err
			}
		}
		confirm := func(address string) func() error {
			return func() error { return p.ConfirmNotify(t.Context(), anna, operator(), mustAddress(t, address)) }
		}
		wait := func(d time.Duration) func() error {
			return func() error { time.Sleep(d); return nil }
		}
		for i, c := range []struct {
			do      func() error
			err     error
			changes int
			notify  string
			pending string // with how long it is still valid
		}{
			{set("notify=one@ext.test"), nil, 1, "none", "one@ext.test 168h0m0s"},
			{confirm("other@ext.test"), ErrNotPending, 0, "none", "one@ext.test 168h0m0s"},
			{confirm("one@ext.test"), nil, 2, "one@ext.test", "none"},
			{confirm("one@ext.test"), ErrNotPending, 0, "one@ext.test", "none"},
			{set("notify=two@ext.test language=en"), nil, 2, "one@ext.test", "two@ext.test 168h0m0s"},
			{set("retention=12"), nil, 1, "one@ext.test", "two@ext.test 168h0m0s"},
			{wait(9 * time.Minute), nil, 0, "one@ext.test", "two@ext.test 167h51m0s"},
			{set("notify=two@ext.test"), nil, 0, "one@ext.test", "two@ext.test 167h51m0s"},
			{wait(time.Minute), nil, 0, "one@ext.test", "two@ext.test 167h50m0s"},
			{set("notify=two@ext.test"), nil, 1, "one@ext.test", "two@ext.test 168h0m0s"},
			{set("notify=one@ext.test"), nil, 1, "one@ext.test", "none"},
			{set("notify=two@ext.test"), nil, 1, "one@ext.test", "two@ext.test 168h0m0s"},
			{wait(7 * 24 * time.Hour), nil, 0, "one@ext.test", "two@ext.test 0s"},
			{confirm("two@ext.test"), ErrNotPending, 0, "one@ext.test", "two@ext.test 0s"},
			{set("notify=none"), nil, 2, "none", "none"},
			{set("notify=bruno@alpha.test"), nil, 1, "none", "bruno@alpha.test 168h0m0s"},
			{func() error { _, err := p.enable(t.Context(), mustAddress(t, "bruno@alpha.test")); return err }, nil, 0, "none", "bruno@alpha.test 168h0m0s"},
			{confirm("bruno@alpha.test"), ErrSetting, 0, "none", "bruno@alpha.test 168h0m0s"},
		} {
			before := len(changes(t, p, anna))
			if err := c.do(); !errors.Is(err, c.err) {
				t.Errorf("step %d: %v, want %v", i, err, c.err)
			}
			s, err := p.Settings(t.Context(), anna)
			if err != nil {
				t.Fatal(err)
			}
			pending := "none"
			if s.NotifyPending != (Pending{}) {
				pending = fmt.Sprint(s.NotifyPending.Address, " ", time.Until(s.NotifyPending.Until))
			}
			if made := len(changes(t, p, anna)) - before; s.value(KeyNotify) != c.notify || pending != c.pending || made != c.changes {
				t.Errorf("step %d: notify %s, pending %s, %d changes; want %s, %s, %d", i, s.value(KeyNotify), pending, made, c.notify, c.pending, c.changes)
			}
		}
		if err := p.ConfirmNotify(t.Context(), anna, Actor{RoleOwner, "bruno@alpha.test"}, mustAddress(t, "bruno@alpha.test")); !errors.Is(err, ErrForbidden) {
			t.Errorf("confirmed by somebody else: %v", err)
		}
	})
}

// TestShorterRetentionWaits changes the retention of an owner who is told of losses, and of others.
func TestShorterRetentionWaits(t *testing.T) {
	const told = "notify_on=before-loss "
	for _, c := range []struct {
		name  string
		first string
		then  []string
		told  bool
		want  string // the retention now, after 71 hours, after 73 hours
	}{
		{"shorter", told + "retention=24", []string{"retention=12"}, true, "24 24 12"},
		{"from none", told, []string{"retention=12"}, true, "0 0 12"},
		{"longer", told + "retention=12", []string{"retention=24"}, true, "24 24 24"},
		{"to none", told + "retention=12", []string{"retention=none"}, true, "0 0 0"},
		{"shorter, and shorter again", told + "retention=24", []string{"retention=12", "retention=6"}, true, "24 24 6"},
		{"shorter, and taken back", told + "retention=24", []string{"retention=12", "retention=24"}, true, "24 24 24"},
		{"shorter, and half taken back", told + "retention=24", []string{"retention=6", "retention=12"}, true, "24 24 12"},
		{"something else", told + "retention=24", []string{"retention=12", "language=en"}, true, "24 24 12"},
		{"not wanted", "notify_on=gap retention=24", []string{"retention=12"}, true, "12 12 12"},
		{"no longer wanted", told + "retention=24", []string{"retention=12 notify_on=gap"}, true, "12 12 12"},
		{"no longer wanted after the owner was told, and shorter again", told + "retention=24", []string{"retention=12", "notify_on=gap", "retention=6"}, true, "24 24 6"},
		{"no longer wanted after the owner was told, and taken back", told + "retention=24", []string{"retention=12", "notify_on=gap", "retention=24"}, true, "24 24 24"},
		{"nobody tells", told + "retention=24", []string{"retention=12"}, false, "12 12 12"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, store := openTest(t, testConfig(), "anna@alpha.test")
				anna := mustAddress(t, "anna@alpha.test")
				set := func(text string) {
					if _, err := p.Set(t.Context(), anna, operator(), assignments(t, text)); err != nil {
						t.Fatal(err)
					}
				}
				set("notify=anna@ext.test")
				if _, err := p.confirm(t.Context(), anna); err != nil {
					t.Fatal(err)
				}
				set(c.first)
				if c.told {
					p.OnRevision(func(kv.Tx, Revision) error { return nil })
				}
				for _, text := range c.then {
					set(text)
				}
				var got []string
				for _, wait := range []time.Duration{0, 71 * time.Hour, 2 * time.Hour} {
					time.Sleep(wait)
					again, err := Open(t.Context(), store, testConfig()) // after a restart
					if err != nil {
						t.Fatal(err)
					}
					s, err := again.Settings(t.Context(), anna)
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, fmt.Sprint(s.RetentionAt(time.Now())))
				}
				if s := strings.Join(got, " "); s != c.want {
					t.Errorf("the retention is %s, want %s", s, c.want)
				}
			})
		})
	}
}

// TestDelayRetention puts off runs of the retention: once a week, and only where the owner is told.
func TestDelayRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := openTest(t, testConfig(), "anna@alpha.test")
		anna := mustAddress(t, "anna@alpha.test")
		for _, text := range []string{"notify=anna@ext.test", "notify_on=before-loss retention=6"} {
			if _, err := p.Set(t.Context(), anna, operator(), assignments(t, text)); err != nil {
				t.Fatal(err)
			}
		}
		delay := func(want bool, months int) {
			t.Helper()
			delayed, err := p.DelayRetention(t.Context(), anna)
			s, _ := p.Settings(t.Context(), anna)
			if err != nil || delayed != want || s.RetentionAt(time.Now()) != months {
				t.Errorf("delayed %v, %v, retention %d", delayed, err, s.RetentionAt(time.Now()))
			}
		}
		p.OnRevision(func(kv.Tx, Revision) error { return nil })
		delay(false, 6) // nobody has confirmed the address
		if _, err := p.confirm(t.Context(), anna); err != nil {
			t.Fatal(err)
		}
		delay(true, 0)
		delay(false, 0)
		time.Sleep(DefaultGrace)
		delay(false, 6)
		time.Sleep(7*24*time.Hour + time.Second)
		delay(true, 0)
	})
}

// TestOnRevision writes together with a change: both are made or none, and what is told are the settings before and after.
func TestOnRevision(t *testing.T) {
	p, store := openTest(t, testConfig(), "anna@alpha.test")
	anna := mustAddress(t, "anna@alpha.test")
	var last Revision
	refusal := error(nil)
	p.OnRevision(func(tx kv.Tx, r Revision) error {
		last = r
		tx.Put([]byte("w"+r.After.value(KeyLanguage)), []byte("x"))
		return refusal
	})
	if _, err := p.Set(t.Context(), anna, operator(), assignments(t, "language=en")); err != nil || store.values["wen"] != "x" {
		t.Errorf("%v, stored %q", err, store.keys())
	}
	if last.Archive != "anna@alpha.test" || last.Before.Language != Italian || last.After.Language != English || last.Time.IsZero() {
		t.Errorf("revision %+v", last)
	}
	refusal = errors.New("no")
	if _, err := p.Set(t.Context(), anna, operator(), assignments(t, "language=it")); !errors.Is(err, refusal) {
		t.Errorf("error %v", err)
	}
	if s, err := p.Settings(t.Context(), anna); err != nil || s.Language != English {
		t.Errorf("settings %v, %v", values(s), err)
	}
}
