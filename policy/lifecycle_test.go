package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"copialettere/journal/kv"
)

// act is one step of a mailbox's life.
type act func(*Policy, context.Context, Address) (bool, error)

func (p *Policy) disableNow(ctx context.Context, a Address) (bool, error) {
	return p.Disable(ctx, a, operator(), a.String(), 0)
}
func (p *Policy) pause(ctx context.Context, a Address) (bool, error) {
	return p.Pause(ctx, a, operator())
}
func (p *Policy) resume(ctx context.Context, a Address) (bool, error) {
	return p.Resume(ctx, a, operator())
}
func (p *Policy) hold(ctx context.Context, a Address) (bool, error) {
	return p.Hold(ctx, a, operator(), "R.G. 12")
}
func (p *Policy) release(ctx context.Context, a Address) (bool, error) {
	return p.Release(ctx, a, operator())
}

// erasing and erased report whether the log has a new change.
func (p *Policy) erasing(ctx context.Context, a Address) (bool, error) {
	return p.logged(ctx, a, p.Erasing)
}
func (p *Policy) erased(ctx context.Context, a Address) (bool, error) {
	return p.logged(ctx, a, p.Erased)
}

func (p *Policy) logged(ctx context.Context, a Address, do func(context.Context, string) error) (bool, error) {
	count := func() (n int) {
		for range p.Changes(ctx, a) {
			n++
		}
		return n
	}
	before := count()
	err := do(ctx, a.String())
	return count() != before, err
}

// acts are the steps by name.
func acts() map[string]act {
	return map[string]act{
		"enable": (*Policy).enable, "disable": (*Policy).disable, "disable now": (*Policy).disableNow, "restore": (*Policy).restore,
		"pause": (*Policy).pause, "resume": (*Policy).resume, "hold": (*Policy).hold, "release": (*Policy).release, "erasing": (*Policy).erasing, "erased": (*Policy).erased,
	}
}

// This takes every step in every state of a mailbox.
func TestLifecycle(t *testing.T) {
	states := []struct {
		name, path string // the path is the steps that lead to the state, each an hour after the one before
		closing    bool   // the archive is due for erasure
		want       string // for each step: "-" no change, "+" a change, else the error
	}{
		{"never set up", "", false, "enable+ disable- disable now- restore:closing pause:off resume:off hold+ release- erasing:closing erased:closing"},
		{"on", "enable", false, "enable- disable+ disable now+ restore- pause+ resume- hold+ release- erasing:closing erased:closing"},
		{"on, held", "enable,hold", false, "enable- disable:held disable now:held restore- pause:held resume- hold- release+ erasing:closing erased:closing"},
		{"in its grace", "enable,disable", false, "enable+ disable- disable now+ restore+ pause:off resume:off hold+ release- erasing:closing erased:closing"},
		{"grace over", "enable,disable,wait", true, "enable+ disable- disable now- restore+ pause:off resume:off hold+ release- erasing+ erased:closing"},
		{"grace over, held", "enable,disable,hold,wait", false, "enable+ disable- disable now- restore+ pause:off resume:off hold- release+ erasing:held erased:closing"},
		{"in its grace, held", "enable,disable,hold", false, "enable+ disable- disable now:held restore+ pause:off resume:off hold- release+ erasing:held erased:closing"},
		{"no grace", "enable,disable now", true, "enable+ disable- disable now- restore+ pause:off resume:off hold+ release- erasing+ erased:closing"},
		{"hold lifted", "enable,disable,hold,wait,release", true, "enable+ disable- disable now- restore+ pause:off resume:off hold+ release- erasing+ erased:closing"},
		{"being erased", "enable,disable now,erasing", true,
			"enable:erasing disable- disable now- restore:erasing pause:off resume:off hold:erasing release- erasing- erased+"},
		{"erased", "enable,disable now,erasing,erased", false,
			"enable+ disable- disable now- restore:closing pause:off resume:off hold+ release- erasing:closing erased-"},
		{"on again", "enable,disable now,erasing,erased,enable", false,
			"enable- disable+ disable now+ restore- pause+ resume- hold+ release- erasing:closing erased:closing"},
		{"taken back", "enable,disable,restore", false, "enable- disable+ disable now+ restore- pause+ resume- hold+ release- erasing:closing erased:closing"},
		{"paused", "enable,pause", false,
			"enable+ disable+ disable now+ restore- pause- resume+ hold+ release- erasing:closing erased:closing"},
		{"paused, held", "enable,pause,hold", false,
			"enable+ disable:held disable now:held restore- pause- resume+ hold- release+ erasing:closing erased:closing"},
		{"paused, in its grace", "enable,pause,disable", false,
			"enable+ disable- disable now+ restore+ pause:off resume:off hold+ release- erasing:closing erased:closing"},
		{"paused, taken back", "enable,pause,disable,restore", false,
			"enable+ disable+ disable now+ restore- pause- resume+ hold+ release- erasing:closing erased:closing"},
		{"paused, being erased", "enable,pause,disable now,erasing", true,
			"enable:erasing disable- disable now- restore:erasing pause:off resume:off hold:erasing release- erasing- erased+"},
		{"paused, erased", "enable,pause,disable now,erasing,erased", false,
			"enable+ disable- disable now- restore:closing pause:off resume:off hold+ release- erasing:closing erased-"},
		{"resumed", "enable,pause,resume", false,
			"enable- disable+ disable now+ restore- pause+ resume- hold+ release- erasing:closing erased:closing"},
		{"resumed by enable", "enable,pause,disable,enable", false,
			"enable- disable+ disable now+ restore- pause+ resume- hold+ release- erasing:closing erased:closing"},
	}
	for _, c := range states {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var got []string
				for _, name := range []string{"enable", "disable", "disable now", "restore", "pause", "resume", "hold", "release", "erasing", "erased"} {
					p, _ := openTest(t, testConfig())
					anna := mustAddress(t, "anna@alpha.test")
					walk(t, p, anna, c.path)
					if closing := closing(t, p); (len(closing) == 1) != c.closing {
						t.Errorf("closing: %v", closing)
					}
					before := changes(t, p, anna)
					changed, err := acts()[name](p, t.Context(), anna)
					if after := changes(t, p, anna); (len(after) > len(before)) != changed || err != nil && changed {
						t.Errorf("%s = %v, %v; the log went from %d to %d", name, changed, err, len(before), len(after))
					}
					got = append(got, name+outcome(changed, err))
				}
				if s := strings.Join(got, " "); s != c.want {
					t.Errorf("steps\n%s\nwant\n%s", s, c.want)
				}
			})
		})
	}
}

func outcome(changed bool, err error) string {
	switch {
	case errors.Is(err, ErrHeld):
		return ":held"
	case errors.Is(err, ErrErasing):
		return ":erasing"
	case errors.Is(err, ErrNotClosing):
		return ":closing"
	case errors.Is(err, ErrNotOn):
		return ":off"
	case err != nil:
		return ":" + err.Error()
	case changed:
		return "+"
	}
	return "-"
}

// walk takes steps, one hour after each other; "wait" is four days.
func walk(t *testing.T, p *Policy, a Address, path string) {
	t.Helper()
	for name := range strings.SplitSeq(path, ",") {
		time.Sleep(time.Hour)
		switch name {
		case "":
		case "wait":
			time.Sleep(4 * 24 * time.Hour)
		default:
			if changed, err := acts()[name](p, t.Context(), a); err != nil || !changed {
				t.Fatalf("%s on the way: %v, %v", name, changed, err)
			}
		}
	}
}

func closing(t *testing.T, p *Policy) []string {
	t.Helper()
	var list []string
	for m, err := range p.Closing(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, m.Address.String())
	}
	return list
}

// The transcript of a whole life: what the log, the settings and the pauses say after each step.
func TestLifeOfAnArchive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, store := openTest(t, testConfig())
		anna := mustAddress(t, "anna@alpha.test")
		start := time.Now().UTC()
		hour := func(n int) time.Time { return start.Add(time.Duration(n) * time.Hour) }
		due := hour(2).Add(DefaultGrace).Format(time.RFC3339Nano)
		for i, step := range []struct {
			name   string
			since  time.Time
			log    string
			pauses []Pause
		}{
			{"enable", hour(1), "archive off -> on", []Pause{{time.Time{}, hour(1), ReasonNotActivated}}},
			{"disable", hour(1), "archive on -> off; erasure none -> due " + due,
				[]Pause{{time.Time{}, hour(1), ReasonNotActivated}, {hour(2), time.Time{}, ReasonDisabled}}},
			{"restore", hour(1), "archive off -> on; erasure due " + due + " -> none",
				[]Pause{{time.Time{}, hour(1), ReasonNotActivated}, {hour(2), hour(3), ReasonDisabled}}},
			{"hold", hour(1), "hold off -> on: R.G. 12", []Pause{{time.Time{}, hour(1), ReasonNotActivated}, {hour(2), hour(3), ReasonDisabled}}},
			{"release", hour(1), "hold on: R.G. 12 -> off", []Pause{{time.Time{}, hour(1), ReasonNotActivated}, {hour(2), hour(3), ReasonDisabled}}},
			{"disable now", hour(1), "archive on -> off; erasure none -> due " + hour(6).Format(time.RFC3339Nano),
				[]Pause{{time.Time{}, hour(1), ReasonNotActivated}, {hour(2), hour(3), ReasonDisabled}, {hour(6), time.Time{}, ReasonDisabled}}},
			{"erasing", hour(1), "erasure due " + hour(6).Format(time.RFC3339Nano) + " -> running", []Pause{
				{time.Time{}, hour(1), ReasonNotActivated}, {hour(1), hour(2), ReasonErased}, {hour(2), hour(3), ReasonDisabled},
				{hour(3), hour(6), ReasonErased}, {hour(6), time.Time{}, ReasonDisabled}}},
			{"erased", time.Time{}, "erasure running -> done", nil},
			{"enable", hour(9), "archive off -> on; erasure done -> none", []Pause{
				{time.Time{}, hour(1), ReasonNotActivated}, {hour(1), hour(2), ReasonErased}, {hour(2), hour(3), ReasonDisabled},
				{hour(3), hour(6), ReasonErased}, {hour(6), hour(9), ReasonDisabled}}},
		} {
			before := changes(t, p, anna)
			walk(t, p, anna, step.name)
			var log []string
			for _, c := range changes(t, p, anna)[len(before):] {
				log = append(log, c.Key+" "+c.Before+" -> "+c.After)
				if !c.Time.Equal(hour(i + 1)) {
					t.Errorf("%s at %v, want %v", step.name, c.Time, hour(i+1))
				}
			}
			if got := strings.Join(log, "; "); got != step.log {
				t.Errorf("%s: log %q, want %q", step.name, got, step.log)
			}
			s, err := p.Settings(t.Context(), anna)
			if err != nil || s.Since != step.since {
				t.Errorf("%s: since %v, %v; want %v", step.name, s.Since, err, step.since)
			}
			if got := pauses(t, p, anna); step.pauses != nil && !slices.Equal(got, step.pauses) {
				t.Errorf("%s: pauses\n%v\nwant\n%v", step.name, got, step.pauses)
			}
		}
		want := []string{"d", "dalpha.test", "lanna@alpha.test\x00\x00\x00\x00\x00\x00\x00\x00\x01", "manna@alpha.test"}
		if keys := store.keys(); !slices.Equal(keys[:3], want[:3]) || keys[len(keys)-1] != want[3] || len(keys) != 16 {
			t.Errorf("keys %q", keys)
		}
	})
}

// The spans of archives that are paused, disabled and erased in every order: what is kept is no gap, and the reason of each gap is its own.
func TestPausedSpans(t *testing.T) {
	for _, c := range []struct{ path, want string }{
		{"enable,pause", "0-1 not-activated, 2- paused"},
		{"enable,pause,resume", "0-1 not-activated, 2-3 paused"},
		{"enable,pause,enable", "0-1 not-activated, 2-3 paused"},
		{"enable,pause,resume,pause", "0-1 not-activated, 2-3 paused, 4- paused"},
		{"enable,pause,disable", "0-1 not-activated, 2-3 paused, 3- disabled"},
		{"enable,pause,disable,restore", "0-1 not-activated, 2-3 paused, 3-4 disabled, 4- paused"},
		{"enable,pause,disable,restore,resume", "0-1 not-activated, 2-3 paused, 3-4 disabled, 4-5 paused"},
		{"enable,pause,disable,enable", "0-1 not-activated, 2-3 paused, 3-4 disabled"},
		{"enable,pause,disable now,erasing,erased,enable", "0-1 not-activated, 1-2 erased, 2-3 paused, 3-6 disabled"},
	} {
		synctest.Test(t, func(t *testing.T) {
			p, _ := openTest(t, testConfig())
			anna, start := mustAddress(t, "anna@alpha.test"), time.Now()
			walk(t, p, anna, c.path)
			var got []string
			for _, pause := range pauses(t, p, anna) {
				span := "0-"
				if !pause.From.IsZero() {
					span = fmt.Sprintf("%d-", int(pause.From.Sub(start).Hours()))
				}
				if !pause.Until.IsZero() {
					span += fmt.Sprint(int(pause.Until.Sub(start).Hours()))
				}
				got = append(got, span+" "+pause.Reason)
			}
			if s := strings.Join(got, ", "); s != c.want {
				t.Errorf("%s: %s, want %s", c.path, s, c.want)
			}
			s, err := p.Settings(t.Context(), anna)
			if err != nil || replay(t, changes(t, p, anna)) != s {
				t.Errorf("%s: settings %v, %v; the log says otherwise", c.path, values(s), err)
			}
			if on, err := p.Wanted(t.Context(), anna.String()); err != nil || on.Enabled != (s.State() == StateOn) {
				t.Errorf("%s: wanted %+v, %v", c.path, on, err)
			}
		})
	}
}

// A paused mailbox gets no mail archived, and the reason says so. It is a mailbox with an archive all the same: what it forwards is a forward.
func TestJudgePaused(t *testing.T) {
	p, _ := openTest(t, testConfig(), "anna@alpha.test", "bruno@alpha.test")
	anna := mustAddress(t, "anna@alpha.test")
	if _, err := p.Pause(t.Context(), anna, operator()); err != nil {
		t.Fatal(err)
	}
	got, err := p.Judge(t.Context(), Origin{}, []Line{{RcptTo: "<anna+x@alpha.test>", ORCPT: "rfc822;anna+x@alpha.test"}})
	if err != nil || got[0].Journal || got[0].Enabled || got[0].Reason != ReasonPaused || got[0].Mailbox != "anna@alpha.test" {
		t.Errorf("received: %+v, %v", got, err)
	}
	if v, err := p.JudgeSent(t.Context(), Origin{}, "anna@alpha.test"); err != nil || v.Journal || v.Reason != ReasonPaused {
		t.Errorf("sent: %+v, %v", v, err)
	}
	got, err = p.Judge(t.Context(), Origin{}, []Line{{RcptTo: "<bruno@alpha.test>", ORCPT: "rfc822;anna@alpha.test"}})
	if err != nil || got[0].Reason != ReasonForward {
		t.Errorf("forwarded: %+v, %v", got, err)
	}
	if _, err := p.Set(t.Context(), mustAddress(t, "bruno@alpha.test"), operator(), assignments(t, "notify=anna@alpha.test")); !errors.Is(err, ErrSetting) {
		t.Errorf("notices into a paused archive: %v", err)
	}
	for _, who := range []Actor{{RoleOwner, "anna@alpha.test"}, {RolePostmaster, "postmaster@beta.test"}, {RoleProgram, "x"}} {
		if _, err := p.Resume(t.Context(), anna, who); !errors.Is(err, ErrForbidden) {
			t.Errorf("resumed by %s: %v", who, err)
		}
	}
	c := testConfig()
	c.Rights.Owner = []string{KeyPause}
	if err := p.Reconfigure(c); err != nil {
		t.Fatal(err)
	}
	if changed, err := p.Resume(t.Context(), anna, Actor{RoleOwner, "anna@alpha.test"}); !changed || err != nil {
		t.Errorf("resumed by an owner with the right: %v, %v", changed, err)
	}
}

func pauses(t *testing.T, p *Policy, a Address) []Pause {
	t.Helper()
	var list []Pause
	for pause, err := range p.Pauses(t.Context(), a) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, pause)
	}
	return list
}

func TestPausesOfNoArchive(t *testing.T) {
	p, store := openTest(t, testConfig(), "bruno@alpha.test")
	if got := pauses(t, p, mustAddress(t, "anna@alpha.test")); !slices.Equal(got, []Pause{{Reason: ReasonNotActivated}}) {
		t.Errorf("pauses %v", got)
	}
	for range p.Pauses(t.Context(), mustAddress(t, "bruno@alpha.test")) {
		break
	}
	store.fail = errors.New("gone")
	for pause, err := range p.Pauses(t.Context(), mustAddress(t, "anna@alpha.test")) {
		if !errors.Is(err, store.fail) || pause != (Pause{}) {
			t.Errorf("pause %v, %v", pause, err)
		}
	}
	for _, err := range p.Closing(t.Context()) {
		if !errors.Is(err, store.fail) {
			t.Errorf("closing: %v", err)
		}
	}
}

func TestDisableConfirmation(t *testing.T) {
	p, _ := openTest(t, testConfig(), "anna@alpha.test")
	anna := mustAddress(t, "anna@alpha.test")
	for _, typed := range []string{"", "anna", "Anna@alpha.test", "anna@alpha.test ", "bruno@alpha.test", "<anna@alpha.test>"} {
		if changed, err := p.Disable(t.Context(), anna, operator(), typed, 0); changed || !errors.Is(err, ErrConfirmation) {
			t.Errorf("typed %q: %v, %v", typed, changed, err)
		}
	}
	if changed, err := p.Disable(t.Context(), anna, operator(), "anna@alpha.test", -1); changed || err == nil {
		t.Errorf("negative grace: %v, %v", changed, err)
	}
	if v, err := p.Wanted(t.Context(), "anna@alpha.test"); !v.Enabled || err != nil {
		t.Errorf("Wanted = %v, %v", v, err)
	}
}

func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, store := openTest(t, testConfig())
		anna := mustAddress(t, "anna@alpha.test")
		for _, bad := range []string{"", "  ", "two\nlines", strings.Repeat("x", maxReason+1), "\xff", "a\x00b"} {
			if changed, err := p.Hold(t.Context(), anna, operator(), bad); changed || !errors.Is(err, ErrSetting) ||
				!strings.Contains(err.Error(), "want a reason of one line, at most 500 bytes") {
				t.Errorf("reason %.20q: %v, %v", bad, changed, err)
			}
		}
		if _, err := p.Hold(t.Context(), mustAddress(t, "anna@ext.test"), operator(), "case"); !errors.Is(err, ErrUnknownDomain) {
			t.Errorf("unknown domain: %v", err)
		}
		if keys := store.keys(); len(keys) != 0 {
			t.Fatalf("written: %q", keys)
		}
		for _, reason := range []string{" R.G. 12/2026 ", `R.G. "13"/2026`} {
			time.Sleep(time.Hour)
			if changed, err := p.Hold(t.Context(), anna, Actor{RolePostmaster, "postmaster@alpha.test"}, reason); !changed || err != nil {
				t.Fatalf("Hold = %v, %v", changed, err)
			}
			want := Hold{strings.TrimSpace(reason), "postmaster postmaster@alpha.test", time.Now().UTC()}
			if s, err := p.Settings(t.Context(), anna); err != nil || s.Hold != want || !s.Held() {
				t.Errorf("hold %+v, %v; want %+v", s.Hold, err, want)
			}
		}
	})
}

// TestAnyHeld reads in an update whether one of several mailboxes is held, as the journal does before it deletes.
func TestAnyHeld(t *testing.T) {
	store := newMemory()
	p, err := Open(t.Context(), store, testConfig())
	if err != nil {
		t.Fatal(err)
	}
	anna, never := mustAddress(t, "anna@alpha.test"), mustAddress(t, "mario@alpha.test")
	want := func(when string, mailboxes []Address, held bool) {
		t.Helper()
		var names []string
		for _, a := range mailboxes {
			names = append(names, a.String())
		}
		var got bool
		err := store.Update(t.Context(), []string{SettingsLock(anna.String())}, func(tx kv.Tx) (err error) {
			got, err = AnyHeld(tx, names...)
			return err
		})
		if got != held || err != nil {
			t.Errorf("%s: %v, %v, want %v", when, got, err, held)
		}
	}
	want("of none", nil, false)
	want("never set up", []Address{never, anna}, false)
	if _, err := p.Hold(t.Context(), anna, operator(), "case 1"); err != nil {
		t.Fatal(err)
	}
	want("held", []Address{anna}, true)
	want("one of two", []Address{never, anna}, true)
	want("the other one", []Address{never}, false)
	if _, err := p.Release(t.Context(), anna, operator()); err != nil {
		t.Fatal(err)
	}
	want("released", []Address{never, anna}, false)
}

// TestArchiveOn asks inside an update whether an archive is on, as a process with a message for it does.
func TestArchiveOn(t *testing.T) {
	store := newMemory()
	p, err := Open(t.Context(), store, testConfig())
	if err != nil {
		t.Fatal(err)
	}
	anna := mustAddress(t, "anna@alpha.test")
	want := func(when string, on bool) {
		t.Helper()
		var got bool
		err := store.Update(t.Context(), []string{SettingsLock(anna.String())}, func(tx kv.Tx) (err error) {
			got, err = ArchiveOn(tx, anna.String())
			return err
		})
		if got != on || err != nil {
			t.Errorf("%s: %v, %v, want %v", when, got, err, on)
		}
	}
	want("never enabled", false)
	if _, err := p.enable(t.Context(), anna); err != nil {
		t.Fatal(err)
	}
	want("enabled", true)
	if _, err := p.disable(t.Context(), anna); err != nil {
		t.Fatal(err)
	}
	want("disabled", false)
}
