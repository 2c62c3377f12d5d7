package policy

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestHandOver gives a mailbox to a second and a third person.
func TestHandOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, store := openTest(t, testConfig(), old)
		p.mustSet(t, old, "retention=24 language=en notify=anna@ext.test notify_on=gap")
		if _, err := p.confirm(t.Context(), mustAddress(t, old)); err != nil {
			t.Fatal(err)
		}
		p.mustSet(t, old, "notify=other@ext.test")
		if _, err := p.Hold(t.Context(), mustAddress(t, old), operator(), "case 1"); err != nil {
			t.Fatal(err)
		}
		before := mailboxOf(t, p, old)
		time.Sleep(24 * time.Hour)
		closed := p.mustHandOver(t, old)
		if day := time.Now().UTC().Format(time.DateOnly); closed != old+"~"+day {
			t.Errorf("closed as %s", closed)
		}
		kept := mailboxOf(t, p, closed)
		want := before.Settings
		want.Enabled = false
		if kept.Settings != want || kept.Archive != old {
			t.Errorf("the closed one: %+v, want %+v", kept, want)
		}
		fresh := mailboxOf(t, p, old)
		want = before.Settings
		want.Since, want.Notify, want.NotifyPending, want.Hold = time.Now().UTC(), Address{}, Pending{}, Hold{}
		if fresh.Settings != want || fresh.Archive != old+"/2" {
			t.Errorf("the new one: %+v, want %+v", fresh, want)
		}
		if got := describeChanges(changes(t, p, mustAddress(t, old))); !slices.Equal(got, []string{
			"operator op (hand-over): retention none -> 24", "operator op (hand-over): notify_on full,gap,retention -> gap",
			"operator op (hand-over): language it -> en", "operator op: archive off -> on",
		}) {
			t.Errorf("log of the new one: %q", got)
		}
		if got := replay(t, changes(t, p, mustAddress(t, old))); got != want {
			t.Errorf("replayed: %+v", got)
		}
		wantPauses := []Pause{{time.Time{}, before.Settings.Since, ReasonNotActivated}, {time.Now().UTC(), time.Time{}, ReasonHandedOver}}
		if got := pauses(t, p, kept.Address); !slices.Equal(got, wantPauses) {
			t.Errorf("pauses %v, want %v", got, wantPauses)
		}
		if held, err := AnyHeld(memoryTx(store.values), old); !held || err != nil {
			t.Errorf("held: %v, %v", held, err)
		}
		// Another process that has judged a message for the old archive makes no entry in it any more.
		for archive, want := range map[string]bool{old: false, old + "/2": true, old + "/3": false} {
			if on, err := ArchiveOn(memoryTx(store.values), archive); on != want || err != nil {
				t.Errorf("%s is on: %v, %v", archive, on, err)
			}
		}
		for name, act := range map[string]func() error{
			"enable":    func() error { _, err := p.Enable(t.Context(), kept.Address, operator()); return err },
			"hand-over": func() error { _, err := p.HandOver(t.Context(), kept.Address, operator(), closed); return err },
			"rename": func() error {
				_, err := p.Rename(t.Context(), kept.Address, mustAddress(t, newer), operator())
				return err
			},
		} {
			if err := act(); !errors.Is(err, ErrClosed) {
				t.Errorf("%s of a closed one: %v", name, err)
			}
		}
		// A third person on the same day.
		if again := p.mustHandOver(t, old); again != closed+".2" || mailboxOf(t, p, old).Archive != old+"/3" {
			t.Errorf("%s, and %+v", again, mailboxOf(t, p, old))
		}
		// The closed archive is erased as any other, and its restore does not open it.
		steps := "release+ disable+ restore+ restore- disable now+ erasing+ erased+ disable- restore:closing"
		for step := range strings.FieldsSeq(strings.ReplaceAll(steps, "disable now", "disable_now")) {
			name := strings.ReplaceAll(strings.TrimRight(strings.TrimSuffix(step, ":closing"), "+-"), "_", " ")
			changed, err := closedActs()[name](p, t.Context(), kept.Address)
			if strings.HasSuffix(step, "+") != changed || (err != nil) != strings.HasSuffix(step, ":closing") {
				t.Errorf("%s: %v, %v", step, changed, err)
			}
			if m := mailboxOf(t, p, closed); m.Settings.Enabled {
				t.Fatalf("%s: the closed archive is on", step)
			}
		}
	})
}

// closedActs are the acts of a closed mailbox: its archive has another name.
func closedActs() map[string]act {
	list := acts()
	for name, do := range map[string]func(*Policy, context.Context, string) error{"erasing": (*Policy).Erasing, "erased": (*Policy).Erased} {
		list[name] = func(p *Policy, ctx context.Context, a Address) (bool, error) {
			m, err := p.Mailbox(ctx, a)
			if err == nil {
				err = do(p, ctx, m.Archive)
			}
			return err == nil, err
		}
	}
	return list
}

func TestHandOverRefuses(t *testing.T) {
	for _, c := range []struct {
		name    string
		steps   string // before
		mailbox string
		confirm string
		who     Actor
		want    error
	}{
		{"not confirmed", "", old, "Anna@alpha.test", operator(), ErrConfirmation},
		{"never set up", "", "carla@alpha.test", "carla@alpha.test", operator(), ErrNoArchive},
		{"being erased", "disable now,erasing", old, old, operator(), ErrErasing},
		{"erased", "disable now,erasing,erased", old, old, operator(), ErrNoArchive},
		{"its owner", "", old, old, Actor{RoleOwner, old}, ErrForbidden},
		{"a postmaster of another domain", "", old, old, Actor{RolePostmaster, "postmaster@beta.test"}, ErrForbidden},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, store := openTest(t, testConfig(), old)
			for step := range strings.SplitSeq(c.steps, ",") {
				if step == "" {
					continue
				}
				if _, err := acts()[step](p, t.Context(), mustAddress(t, old)); err != nil {
					t.Fatal(err)
				}
			}
			before := maps.Clone(store.values)
			if _, err := p.HandOver(t.Context(), mustMailbox(t, c.mailbox), c.who, c.confirm); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if !maps.Equal(store.values, before) {
				t.Error("something was written")
			}
		})
	}
	t.Run("a name that no mailbox was handed over to", func(t *testing.T) {
		p, store := openTest(t, testConfig(), old)
		before := maps.Clone(store.values)
		closed := mustMailbox(t, old+"~2026-11-29")
		for name, act := range map[string]func() error{
			"show": func() error { _, err := p.Mailbox(t.Context(), closed); return err },
			"set": func() error {
				_, err := p.Set(t.Context(), closed, operator(), []Assignment{{KeyRetention, "12"}})
				return err
			},
			"disable": func() error { _, err := p.Disable(t.Context(), closed, operator(), closed.String(), 0); return err },
			"restore": func() error { _, err := p.Restore(t.Context(), closed, operator()); return err },
			"pause":   func() error { _, err := p.Pause(t.Context(), closed, operator()); return err },
			"hold":    func() error { _, err := p.Hold(t.Context(), closed, operator(), "case 7"); return err },
			"release": func() error { _, err := p.Release(t.Context(), closed, operator()); return err },
		} {
			if err := act(); !errors.Is(err, ErrAddress) || !strings.Contains(err.Error(), "was handed over") {
				t.Errorf("%s: %v", name, err)
			}
		}
		if !maps.Equal(store.values, before) {
			t.Error("something was written")
		}
	})
	t.Run("closing: the erasure goes on, and enable does not open it to the next person", func(t *testing.T) {
		p, _ := openTest(t, testConfig(), old)
		if _, err := p.disable(t.Context(), mustAddress(t, old)); err != nil {
			t.Fatal(err)
		}
		closed, err := p.HandOver(t.Context(), mustAddress(t, old), Actor{RolePostmaster, "postmaster@alpha.test"}, old)
		if err != nil {
			t.Fatal(err)
		}
		if m := mailboxOf(t, p, closed.String()); m.Settings.Erasure.State != ErasureDue {
			t.Errorf("the closed one: %+v", m)
		}
		if m := mailboxOf(t, p, old); m.Settings.Enabled || m.Settings.Erasure != (Erasure{}) || !m.Settings.Since.IsZero() {
			t.Errorf("the new one: %+v", m)
		}
		if _, err := p.enable(t.Context(), mustAddress(t, old)); err != nil || mailboxOf(t, p, old).Archive != old+"/2" {
			t.Errorf("%+v, %v", mailboxOf(t, p, old), err)
		}
	})
}
