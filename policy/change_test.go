package policy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"copialettere/journal/kv"
)

// replay computes settings from a change log alone.
func replay(t testing.TB, log []Change) Settings {
	t.Helper()
	for i, c := range log {
		if c.Number != uint64(i+1) {
			t.Fatalf("change %d has the number %d", i+1, c.Number)
		}
	}
	return replayFrom(t, LogStart{}, log)
}

// replayFrom computes settings from a change log whose older part was removed.
func replayFrom(t testing.TB, start LogStart, log []Change) Settings {
	t.Helper()
	s, address := programDefaults(), ""
	for key, value := range start.Values {
		if err := s.restoreValue(key, value); key != KeyHold && err != nil {
			t.Fatalf("start of the log: %v", err)
		}
		if reason, ok := strings.CutPrefix(value, "on: "); ok && key == KeyHold {
			s.Hold = Hold{Reason: reason}
		}
	}
	value := func(c Change) string {
		if c.Key != KeyAddress {
			return s.value(c.Key)
		}
		return cmp.Or(address, c.Before)
	}
	for i, c := range log {
		if before := value(c); before != c.Before || c.Before == c.After {
			t.Fatalf("change %d of %s: before %q, was %q, after %q, number %d", i+1, c.Key, c.Before, before, c.After, c.Number)
		}
		if i > 0 && c.Time.Before(log[i-1].Time) {
			t.Fatalf("change %d at %v is before the one before it, at %v", i+1, c.Time, log[i-1].Time)
		}
		var err error
		switch c.Key {
		case KeyArchive:
			// The archive changes before its erasure in the log: one that is restored keeps its date, and the pause that it was in.
			s.Enabled = c.After == "on"
			switch {
			case s.Enabled && c.Before == "off" && s.Erasure.State != ErasureDue:
				s.Since = c.Time
			case c.Before == "on" && c.After == "paused":
				s.Paused = c.Time
			}
			if s.Enabled {
				s.Paused = time.Time{}
			}
		case KeyErasure:
			if s.Erasure, err = parseErasure(c.After); s.Erasure.State == ErasureDone {
				s.Since, s.Paused = time.Time{}, time.Time{}
			}
		case KeyAddress:
			if address = c.After; handedOver(address) {
				s.Paused = time.Time{}
			}
		case KeyHold:
			s.Hold = Hold{}
			if reason, ok := strings.CutPrefix(c.After, "on: "); ok {
				s.Hold = Hold{reason, string(c.Role) + " " + c.Who, c.Time}
			}
		default:
			err = s.restoreValue(c.Key, c.After)
		}
		if err != nil {
			t.Fatalf("change %d: %v", i+1, err)
		}
	}
	return s
}

// restoreValue gives a setting a value of the log.
func (s *Settings) restoreValue(key, value string) (err error) {
	switch key {
	case KeyNotifyPending:
		s.NotifyPending, err = parsePending(value)
	case KeyRetentionDelay:
		s.RetentionDelay, err = parseDelay(value)
	default:
		err = s.setValue(key, value)
	}
	return err
}

// confirm confirms the pending address of a mailbox.
func (p *Policy) confirm(ctx context.Context, a Address) (bool, error) {
	s, err := p.Settings(ctx, a)
	if err == nil {
		err = p.ConfirmNotify(ctx, a, operator(), s.NotifyPending.Address)
	}
	return err == nil, err
}

// randomAssignments returns valid assignments of at most three keys.
func randomAssignments(r *rand.Rand) []Assignment {
	choices := map[string][]string{
		"filter": {"all", "certified", "other,delivery", "sent-other"}, "write": {"on", "off"}, "manual_delete": {"on", "off"}, "append": {"on", "off"}, "imap": {"on", "off"}, "layout": {"month", "type"},
		"retention": {"none", "6", "48"}, "quota": {"none", "1GB", "5GiB", "7B"}, "when_full": {"skip", "defer", "make-room"}, "language": {"it", "en"},
		"protocols": {"none", "imap", "imap,pop3,smtp"}, "notify": {"none", "anna@ext.test", "carla@ext.test"}, "notify_on": {"none", "gap", "certified,full", "mailbox-full,before-loss,security"},
	}
	var list []Assignment
	keys := Keys()
	for _, i := range r.Perm(len(keys))[:r.IntN(4)] {
		values := choices[keys[i]]
		list = append(list, Assignment{keys[i], values[r.IntN(len(values))]})
	}
	return list
}

// Whatever is done to a mailbox, replaying its log gives its settings, and its pauses and the times it was on cover all time.
func TestLogGivesSettings(t *testing.T) {
	for seed := range uint64(40) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 3))
			c := testConfig()
			c.Domains[0].Defaults = randomAssignments(r)
			c.Domains[0].Defaults = slices.DeleteFunc(c.Domains[0].Defaults, func(a Assignment) bool { return a.Key == KeyNotify })
			p, _ := openTest(t, c)
			anna := mustAddress(t, "anna@alpha.test")
			names := slices.Sorted(maps.Keys(acts()))
			if seed%2 == 0 {
				p.OnRevision(func(kv.Tx, Revision) error { return nil })
			}
			for range 60 {
				time.Sleep(time.Duration(r.IntN(40)) * time.Hour)
				if r.IntN(2) == 0 {
					if _, err := p.Set(t.Context(), anna, operator(), randomAssignments(r)); err != nil {
						t.Fatal(err)
					}
					if _, err := p.confirm(t.Context(), anna); err != nil && !errors.Is(err, ErrNotPending) {
						t.Fatal(err)
					}
					if _, err := p.DelayRetention(t.Context(), anna); err != nil {
						t.Fatal(err)
					}
				} else if name := names[r.IntN(len(names))]; r.IntN(4) > 0 || name != "disable now" {
					_, err := acts()[name](p, t.Context(), anna)
					if err != nil && !errors.Is(err, ErrHeld) && !errors.Is(err, ErrErasing) && !errors.Is(err, ErrNotClosing) && !errors.Is(err, ErrNotOn) {
						t.Fatal(name, err)
					}
				}
			}
			log := changes(t, p, anna)
			s, err := p.Settings(t.Context(), anna)
			if err != nil || len(log) < 10 {
				t.Fatalf("%d changes, %v", len(log), err)
			}
			if got := replay(t, log); got != s {
				t.Errorf("seed %d: replayed\n%v %v\nstored\n%v %v", seed, values(got), got.Hold, values(s), s.Hold)
			}
			checkPauses(t, pauses(t, p, anna), s)
		})
	}
}

func checkPauses(t *testing.T, list []Pause, s Settings) {
	t.Helper()
	for i, pause := range list {
		first, last := i == 0, i == len(list)-1
		switch {
		case first != pause.From.IsZero():
			t.Errorf("pause %d begins at %v", i, pause.From)
		case !last && (pause.Until.IsZero() || list[i+1].From.Before(pause.Until)):
			t.Errorf("pause %d ends at %v, the next one begins at %v", i, pause.Until, list[i+1].From)
		case last && pause.Until.IsZero() == s.Enabled:
			t.Errorf("the last pause ends at %v, and the archive is on: %v", pause.Until, s.Enabled)
		}
	}
}

// A clock that is set back does not reverse the order of the log.
func TestClockSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, store := openTest(t, testConfig(), "anna@alpha.test")
		anna := mustAddress(t, "anna@alpha.test")
		later := time.Now().UTC().Add(5 * time.Hour)
		key := string(changeKey(anna.String(), 1))
		store.put(key, strings.Replace(store.values[key], time.Now().UTC().Format(time.RFC3339Nano), later.Format(time.RFC3339Nano), 1))
		if _, err := p.disable(t.Context(), anna); err != nil {
			t.Fatal(err)
		}
		want := []Pause{{time.Time{}, later, ReasonNotActivated}, {later, time.Time{}, ReasonDisabled}}
		if got := pauses(t, p, anna); !slices.Equal(got, want) {
			t.Errorf("pauses %v, want %v", got, want)
		}
		delete(store.values, string(changeKey(anna.String(), 3)))
		if _, err := p.restore(t.Context(), anna); err == nil || !strings.Contains(err.Error(), "change 3") {
			t.Errorf("the newest change is missing: %v", err)
		}
	})
}

// locked is a store that serialises only Updates that share a lock; reads and writes of all others interleave.
type locked struct {
	*memory
	locks sync.Map // of *sync.Mutex by name
}

func (s *locked) Update(_ context.Context, locks []string, fn func(kv.Tx) error) error {
	if !slices.IsSorted(locks) || len(slices.Compact(slices.Clone(locks))) != len(locks) {
		return fmt.Errorf("locks %q: want each once, in order", locks)
	}
	for _, name := range locks {
		mu, _ := s.locks.LoadOrStore(name, new(sync.Mutex))
		mu.(*sync.Mutex).Lock()
		defer mu.(*sync.Mutex).Unlock()
	}
	tx := &buffered{s: s, written: make(memoryTx)}
	if err := fn(tx); err != nil {
		return err
	}
	runtime.Gosched()
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.Copy(s.values, tx.written)
	return nil
}

type buffered struct {
	kv.Tx   // nil: policy does not call the other methods
	s       *locked
	written memoryTx
}

func (tx *buffered) Get(key []byte) ([]byte, error) {
	if value, err := tx.written.Get(key); err == nil {
		return value, nil
	}
	runtime.Gosched()
	return tx.s.Get(context.Background(), key)
}
func (tx *buffered) GetAll(keys [][]byte) ([][]byte, error) { return kv.GetEach(keys, tx.Get) }
func (tx *buffered) Put(key, value []byte)                  { tx.written.Put(key, value) }
func (tx *buffered) Delete([]byte)                          { panic("no settings are ever deleted") }

// Many actors change one mailbox at once: no change is lost, and the log has no hole.
func TestConcurrentChanges(t *testing.T) {
	store := &locked{memory: newMemory()}
	p, err := Open(t.Context(), store, testConfig())
	if err != nil {
		t.Fatal(err)
	}
	anna, bruno := mustAddress(t, "anna@alpha.test"), mustAddress(t, "bruno@alpha.test")
	var wg sync.WaitGroup
	made := make([]int, 8)
	for i := range made {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 5))
			for range 100 {
				list := randomAssignments(r)
				if i%4 == 0 {
					list = []Assignment{{"notify", bruno.String()}}
				}
				got, err := p.Set(t.Context(), anna, Actor{RoleOperator, fmt.Sprint("op", i)}, list)
				if err != nil {
					t.Error(err)
				}
				made[i] += len(got)
				if _, err := p.Wanted(t.Context(), "anna@alpha.test"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	log := changes(t, p, anna)
	byAuthor := make([]int, len(made))
	for _, c := range log {
		var i int
		fmt.Sscanf(c.Who, "op%d", &i)
		byAuthor[i]++
	}
	if !slices.Equal(byAuthor, made) {
		t.Errorf("changes in the log by author %v, made %v", byAuthor, made)
	}
	if s, err := p.Settings(t.Context(), anna); err != nil || replay(t, log) != s {
		t.Errorf("settings %v, %v; the log says otherwise", values(s), err)
	}
}

// A log that an older version wrote, without today's fields, can be read.
func TestFirstVersion(t *testing.T) {
	p, store := openTest(t, testConfig())
	anna := mustAddress(t, "anna@alpha.test")
	store.put("manna@alpha.test", `{"version":1,"enabled":true,"since":"2026-11-21T10:00:00Z","changes":1}`)
	store.put(string(changeKey(anna.String(), 1)), `{"time":"2026-11-21T10:00:00Z","who":"operator root","key":"archive","before":"off","after":"on"}`)
	want := programDefaults()
	want.Enabled, want.Since = true, time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC)
	if s, err := p.Settings(t.Context(), anna); err != nil || s != want {
		t.Errorf("settings %v, %v", values(s), err)
	}
	if got, err := p.Set(t.Context(), anna, operator(), assignments(t, "retention=12")); err != nil || len(got) != 1 || got[0].Number != 2 {
		t.Errorf("Set = %v, %v", got, err)
	}
	if got := replay(t, changes(t, p, anna)); got.Since != want.Since || got.Retention != 12 {
		t.Errorf("replayed %v", values(got))
	}
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add([]byte(`{"version":1,"enabled":true,"since":"2026-11-21T10:00:00Z","changes":7,"colour":{"a":[1]}}`))
	f.Add([]byte(`{"version":1,"filter":"certified,sent-other","quota":"5GB","notify":"a@ext.test","hold":{"reason":"x","who":"y","since":"2026-11-21T10:00:00+01:00"}}`))
	f.Add([]byte(`{"version":1,"erasure":"due 2026-11-24T18:00:00.5+02:00","retention":"48","protocols":"none"}`))
	f.Add([]byte(`{"version":1,"erasure":"running","hold":null,"write":null}`))
	f.Add([]byte(`{"version":1,"since":"2026-11-21T10:00:00Z","paused":"2026-11-22T10:00:00+01:00","quota":"none","append":"on"}`))
	f.Add([]byte(`{"version":2}`))
	f.Fuzz(func(t *testing.T, stored []byte) {
		r, err := decodeRecord(stored)
		if err != nil {
			return
		}
		encoded, err := r.encode()
		if err != nil {
			t.Fatalf("%s: encode: %v", stored, err)
		}
		again, err := decodeRecord(encoded)
		if err != nil || again.Settings != r.Settings || again.changes != r.changes || len(again.rest) != len(r.rest) {
			t.Fatalf("%s\nwritten again %s\nis %+v, %v\nwas %+v", stored, encoded, again, err, r)
		}
	})
}

// Any assignment is either refused and changes nothing, or is in the log, and setting the value shown changes nothing more.
func FuzzSet(f *testing.F) {
	for _, s := range programDefaults().allText() {
		f.Add(s[0], s[1], "language", "en")
	}
	f.Add("filter", "sent-other, delivery", "quota", "0009kB")
	f.Add("notify", `"a b"@ext.test`, "notify", "x")
	f.Add("protocols", "smtp,smtp", "when_full", "make-room")
	f.Add("notify", "anna+x@alpha.test", "\xff", "\x00")
	f.Fuzz(func(t *testing.T, key1, value1, key2, value2 string) {
		p, store := openTest(t, testConfig(), "anna@alpha.test")
		anna := mustAddress(t, "anna@alpha.test")
		before := maps.Clone(store.values)
		made, err := p.Set(t.Context(), anna, operator(), []Assignment{{key1, value1}, {key2, value2}})
		if err != nil {
			if !errors.Is(err, ErrSetting) || !maps.Equal(before, store.values) || len(made) > 0 {
				t.Fatalf("%v; made %v, stored %v", err, made, store.values)
			}
			return
		}
		s, err := p.Settings(t.Context(), anna)
		if err != nil || replay(t, changes(t, p, anna)) != s || len(made) > 2 {
			t.Fatalf("settings %v, %v; made %v", values(s), err, made)
		}
		for _, key := range []string{key1, key2} {
			if got, err := p.Set(t.Context(), anna, operator(), []Assignment{{key, s.value(key)}}); err != nil || got != nil {
				t.Fatalf("set to what it is: %v, %v", got, err)
			}
		}
	})
}

// allText returns the settings as pairs of key and value.
func (s Settings) allText() [][2]string {
	var list [][2]string
	for key, value := range s.Values() {
		list = append(list, [2]string{key, value})
	}
	return list
}

// TestOnChange counts how often a change is told: once for each that was made, or may have been.
func TestOnChange(t *testing.T) {
	p, store := openTest(t, testConfig())
	anna, told := mustAddress(t, "anna@alpha.test"), 0
	p.OnChange(func() { told++ })
	for _, step := range []struct {
		name string
		do   func() error
		fail error
		told int
	}{
		{"enable", func() error { _, err := p.Enable(t.Context(), anna, operator()); return err }, nil, 1},
		{"enable again", func() error { _, err := p.Enable(t.Context(), anna, operator()); return err }, nil, 0},
		{"set", func() error {
			_, err := p.Set(t.Context(), anna, operator(), assignments(t, "retention=12"))
			return err
		}, nil, 1},
		{"a store that fails", func() error {
			_, err := p.Set(t.Context(), anna, operator(), assignments(t, "retention=24"))
			return err
		}, errors.New("out of order"), 1},
		{"no right", func() error {
			_, err := p.Hold(t.Context(), anna, Actor{RoleOwner, "anna@alpha.test"}, "case")
			return err
		}, ErrForbidden, 0},
		{"disable", func() error { _, err := p.Disable(t.Context(), anna, operator(), anna.String(), time.Hour); return err }, nil, 1},
	} {
		told = 0
		if step.fail != nil && !errors.Is(step.fail, ErrForbidden) {
			store.failUpdate = step.fail
		}
		err := step.do()
		store.failUpdate = nil
		if !errors.Is(err, step.fail) || told != step.told {
			t.Errorf("%s: told %d times, want %d; %v", step.name, told, step.told, err)
		}
	}
}
