package policy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"copialettere/journal/kv"
)

// TestExpireLogs removes old changes of a mailbox to which all sorts of things are done for years: its settings, its gaps and what is newer do not
// change, nobody is named in what is older, and what is left still gives the settings.
func TestExpireLogs(t *testing.T) {
	removed := uint64(0)
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 4))
			p, _ := openTest(t, testConfig())
			anna := mustAddress(t, "anna@alpha.test")
			names := slices.Sorted(maps.Keys(acts()))
			for range 12 {
				for range 8 {
					time.Sleep(time.Duration(r.IntN(40)) * 24 * time.Hour)
					if r.IntN(2) == 0 {
						if _, err := p.Set(t.Context(), anna, operator(), randomAssignments(r)); err != nil {
							t.Fatal(err)
						}
					} else {
						acts()[names[r.IntN(len(names))]](p, t.Context(), anna) // many are refused in the state of the mailbox
					}
				}
				before, was := time.Now().Add(-time.Duration(r.IntN(400))*24*time.Hour), snapshotOf(t, p, anna)
				done, err := p.ExpireLogs(t.Context(), before)
				if err != nil {
					t.Fatal(err)
				}
				removed += done.Removed
				is := snapshotOf(t, p, anna)
				if is.settings != was.settings || !slices.Equal(is.pauses, was.pauses) {
					t.Errorf("seed %d: settings\n%v, were\n%v; pauses\n%v, were\n%v", seed, is.settings, was.settings, is.pauses, was.pauses)
				}
				held := is.settings.Held()
				if held && (done != ExpiredLogs{} || !slices.Equal(is.log, was.log)) {
					t.Errorf("seed %d: %+v was done under a hold", seed, done)
				}
				newer := func(c Change) bool { return !c.Time.Before(before) }
				if a, b := filter(is.log, newer), filter(was.log, newer); !slices.Equal(a, b) {
					t.Errorf("seed %d: newer changes\n%v, were\n%v", seed, a, b)
				}
				for _, c := range is.log {
					if !held && c.Time.Before(before) && (c.Key != KeyArchive && c.Key != KeyErasure && c.Key != KeyAddress || c.Who != "" && c.Role != RoleProgram) {
						t.Errorf("seed %d: %+v is left of before %v", seed, c, before)
					}
				}
				got := replayFrom(t, is.start, is.log)
				if got.Hold.Reason == is.settings.Hold.Reason {
					got.Hold = is.settings.Hold // who placed it is not in the start
				}
				if got != is.settings {
					t.Errorf("seed %d: replayed\n%v\nstored\n%v", seed, values(got), values(is.settings))
				}
			}
		})
	}
	if removed < 100 {
		t.Errorf("%d changes removed are too few to tell", removed)
	}
}

func filter(log []Change, keep func(Change) bool) []Change {
	return slices.DeleteFunc(slices.Clone(log), func(c Change) bool { return !keep(c) })
}

// snapshot is all that a policy tells of a mailbox.
type snapshot struct {
	settings Settings
	start    LogStart
	log      []Change
	pauses   []Pause
}

func snapshotOf(t *testing.T, p *Policy, a Address) snapshot {
	t.Helper()
	s, err := p.Settings(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	start, err := p.LogStart(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	return snapshot{s, start, changes(t, p, a), pauses(t, p, a)}
}

// nthUpdate is a store in memory of which one Update fails.
type nthUpdate struct {
	*memory
	updates, fail int
}

func (s *nthUpdate) Update(ctx context.Context, locks []string, fn func(kv.Tx) error) error {
	if s.updates++; s.updates == s.fail {
		return kv.ErrUnavailable
	}
	return s.memory.Update(ctx, locks, fn)
}

// TestExpireLogsFaults fails each write in turn while logs of more changes than one write takes are removed. The next call does the rest.
func TestExpireLogsFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fill := func(t *testing.T) (*Policy, *nthUpdate) {
			store := &nthUpdate{memory: newMemory()}
			p, err := Open(t.Context(), store, testConfig())
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"anna@alpha.test", "bruno@alpha.test"} {
				a := mustAddress(t, name)
				if _, err := p.enable(t.Context(), a); err != nil {
					t.Fatal(err)
				}
				for n := range maxExpire + 20 {
					if _, err := p.Set(t.Context(), a, operator(), assignments(t, fmt.Sprintf("quota=%dB", n+1))); err != nil {
						t.Fatal(err)
					}
				}
			}
			var recipients []Recipient
			for n := range maxExpire + 1 {
				recipients = append(recipients, Recipient{fmt.Sprintf("r%d@ext.test", n), n%2 == 0})
			}
			if err := p.Learn(t.Context(), time.Now(), recipients); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
			if _, err := p.Set(t.Context(), mustAddress(t, "anna@alpha.test"), operator(), assignments(t, "language=en")); err != nil {
				t.Fatal(err)
			}
			store.updates = 0
			return p, store
		}
		p, store := fill(t)
		before := time.Now()
		whole, err := p.ExpireLogs(t.Context(), before)
		if want := (ExpiredLogs{2 * (maxExpire + 20), 2, maxExpire + 1}); err != nil || whole != want {
			t.Fatalf("done %+v, %v, want %+v", whole, err, want)
		}
		all := store.updates
		if all != 6 { // two for each mailbox, two for the recipients
			t.Errorf("%d writes", all)
		}
		if again, err := p.ExpireLogs(t.Context(), before); err != nil || again != (ExpiredLogs{}) || store.updates != all {
			t.Errorf("once more: %+v, %v, %d writes", again, err, store.updates-all)
		}
		want := maps.Clone(store.values)
		for fail := 1; fail <= all; fail++ {
			p, store := fill(t)
			store.fail = fail
			before := time.Now()
			first, err := p.ExpireLogs(t.Context(), before)
			if !errors.Is(err, kv.ErrUnavailable) {
				t.Fatalf("write %d failed: %v", fail, err)
			}
			second, err := p.ExpireLogs(t.Context(), before)
			if sum := (ExpiredLogs{first.Removed + second.Removed, first.Nameless + second.Nameless, first.Recipients + second.Recipients}); err != nil || sum != whole {
				t.Errorf("write %d failed: done %+v then %+v, %v, want %+v", fail, first, second, err, whole)
			}
			if len(store.values) != len(want) {
				t.Errorf("write %d failed: %d values are left, want %d", fail, len(store.values), len(want))
			}
		}
	})
}

// TestLogStart goes through the life of one log: what is said of its removed part, its numbers, and a clock that is set back afterwards.
func TestLogStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, store := openTest(t, testConfig(), "anna@alpha.test")
		anna := mustAddress(t, "anna@alpha.test")
		set := func(text string) Change {
			t.Helper()
			list, err := p.Set(t.Context(), anna, operator(), assignments(t, text))
			if err != nil || len(list) != 1 {
				t.Fatalf("%s: %v, %v", text, list, err)
			}
			return list[0]
		}
		if start, err := p.LogStart(t.Context(), anna); err != nil || !start.Before.IsZero() || start.Removed != 0 {
			t.Errorf("a whole log starts with %+v, %v", start, err)
		}
		set("notify=anna@ext.test")
		last := set("retention=12")
		time.Sleep(time.Hour)
		before := time.Now()
		done, err := p.ExpireLogs(t.Context(), before)
		if err != nil || done != (ExpiredLogs{Removed: 2, Nameless: 1}) {
			t.Fatalf("%+v, %v", done, err)
		}
		start, err := p.LogStart(t.Context(), anna)
		if err != nil || !start.Before.Equal(before) || start.Removed != 2 || len(start.Values) != 2 || start.Values["retention"] != "12" {
			t.Errorf("the log starts with %+v, %v", start, err)
		}
		if log := changes(t, p, anna); len(log) != 1 || log[0].Number != 1 || log[0].Key != KeyArchive || log[0].Who != "" || log[0].Role != RoleOperator {
			t.Errorf("left are %+v", log)
		}
		// A clock that stands before the last change, which was removed.
		key := string(changeKey(anna.String(), 0))
		store.put(key, strings.ReplaceAll(store.values[key], last.Time.Format(time.RFC3339Nano), last.Time.Add(48*time.Hour).Format(time.RFC3339Nano)))
		if c := set("quota=2GB"); c.Number != 4 || !c.Time.Equal(last.Time.Add(48*time.Hour)) {
			t.Errorf("the next change is %+v", c)
		}
		// A number that is missing without having been removed is damage.
		delete(store.values, string(changeKey(anna.String(), 4)))
		if _, err := p.Set(t.Context(), anna, operator(), assignments(t, "quota=3GB")); !errors.Is(err, kv.ErrNotFound) {
			t.Errorf("a missing change: %v", err)
		}
	})
}

// TestExpireRecipients forgets what old receipts said, but not a recipient of whom a new one tells.
func TestExpireRecipients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, store := openTest(t, testConfig())
		learn := func(addresses ...string) {
			t.Helper()
			var list []Recipient
			for _, a := range addresses {
				list = append(list, Recipient{a, true})
			}
			if err := p.Learn(t.Context(), time.Now(), list); err != nil {
				t.Fatal(err)
			}
		}
		learn("old@ext.test", "again@ext.test")
		time.Sleep(48 * time.Hour)
		learn("again@ext.test", "new@ext.test")
		done, err := p.ExpireLogs(t.Context(), time.Now().Add(-time.Hour))
		if err != nil || done != (ExpiredLogs{Recipients: 1}) {
			t.Errorf("%+v, %v", done, err)
		}
		if got := store.keys(); !slices.Equal(got, []string{"ragain@ext.test", "rnew@ext.test"}) {
			t.Errorf("left are %q", got)
		}
	})
}

// TestExpireLogsOfRenamed removes the old changes of a mailbox that has changed its address, and of one that was handed over: where they went stays
// on record.
func TestExpireLogsOfRenamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _ := openTest(t, testConfig(), "anna@alpha.test", "bruno@alpha.test")
		anna, carla, bruno := mustAddress(t, "anna@alpha.test"), mustAddress(t, "carla@alpha.test"), mustAddress(t, "bruno@alpha.test")
		if _, err := p.Rename(t.Context(), anna, carla, operator()); err != nil {
			t.Fatal(err)
		}
		closed, err := p.HandOver(t.Context(), bruno, operator(), bruno.String())
		if err != nil {
			t.Fatal(err)
		}
		all := []Address{carla, bruno, closed}
		var before []snapshot
		for _, a := range all {
			before = append(before, snapshotOf(t, p, a))
		}
		time.Sleep(time.Hour)
		if done, err := p.ExpireLogs(t.Context(), time.Now()); err != nil || done.Nameless < 4 {
			t.Errorf("%+v, %v", done, err)
		}
		for i, a := range all {
			is := snapshotOf(t, p, a)
			if is.settings != before[i].settings || !slices.Equal(is.pauses, before[i].pauses) {
				t.Errorf("%s: settings %v, pauses %v, were %v and %v", a, is.settings, is.pauses, before[i].settings, before[i].pauses)
			}
			for _, c := range is.log {
				if c.Who != "" {
					t.Errorf("%s: %+v names somebody", a, c)
				}
			}
			if _, err := p.Set(t.Context(), a, operator(), assignments(t, "quota=3GB")); err != nil {
				t.Error(err)
			}
		}
		if _, to, gone, err := p.Gone(t.Context(), anna); err != nil || !gone || to != carla {
			t.Errorf("anna is gone %t to %s, %v", gone, to, err)
		}
	})
}
