package journal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"copialettere/journal/kv"
)

// stepped is an engine that calls a function of the test before each thing that is done with a volume, and inside of Updates.
type stepped struct {
	kv.Engine
	mu   sync.Mutex
	step func(inside bool) // guarded by mu; may be nil
}

func (s *stepped) set(step func(inside bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.step = step
}

func (s *stepped) at(inside bool) {
	s.mu.Lock()
	step := s.step
	s.mu.Unlock()
	if step != nil {
		step(inside)
	}
}

func (s *stepped) Volume(ctx context.Context, m kv.Month, create bool) (kv.Store, error) {
	store, err := s.Engine.Volume(ctx, m, create)
	if err != nil {
		return nil, err
	}
	return steppedStore{store, s}, nil
}

func (s *stepped) Drop(ctx context.Context, m kv.Month) error {
	s.at(false)
	return s.Engine.Drop(ctx, m)
}

type steppedStore struct {
	kv.Store
	s *stepped
}

func (s steppedStore) Get(ctx context.Context, key []byte) ([]byte, error) {
	s.s.at(false)
	return s.Store.Get(ctx, key)
}

func (s steppedStore) Scan(ctx context.Context, from, to []byte) iter.Seq2[kv.Pair, error] {
	return func(yield func(kv.Pair, error) bool) {
		s.s.at(false)
		for p, err := range s.Store.Scan(ctx, from, to) {
			if !yield(p, err) {
				return
			}
		}
	}
}

func (s steppedStore) Update(ctx context.Context, locks []string, fn func(kv.Tx) error) error {
	s.s.at(false)
	err := s.Store.Update(ctx, locks, func(tx kv.Tx) error { return fn(steppedTx{tx, s.s}) })
	s.s.at(false)
	return err
}

type steppedTx struct {
	kv.Tx
	s *stepped
}

func (t steppedTx) Get(key []byte) ([]byte, error) {
	t.s.at(true)
	return t.Tx.Get(key)
}

// deletion is a way in which entries go.
type deletion struct {
	aside    bool // mario's entries are put aside first
	run      func(f *fixture, refs []Ref) error
	recorded func(f *fixture) uint64 // entries that are on record as deleted
}

func (f *fixture) reportedGone(reason string) (n uint64) {
	for _, r := range f.records(mario) {
		if r.Reason == reason {
			n += max(r.Entries, 1)
		}
	}
	return n
}

// ran counts what runs of the retention have on record.
func (f *fixture) ran() (n uint64) {
	f.t.Helper()
	for r, err := range f.Runs(f.ctx()) {
		if err != nil {
			f.t.Fatal(err)
		}
		n += r.Removed.Entries + r.Purged.Entries
	}
	return n
}

func deletions() map[string]deletion {
	expire := func(months, later int) func(f *fixture, refs []Ref) error {
		return func(f *fixture, refs []Ref) error {
			o := ExpireOptions{Mailboxes: keepFor(months), Now: november.AddDate(0, later, 5), Yes: true}
			_, err := f.Expire(f.ctx(), o)
			return err
		}
	}
	return map[string]deletion{
		"make-room": {
			run: func(f *fixture, refs []Ref) error {
				_, err := f.try(sized("new", 350), "new", limited(mario, 800, MakeRoom))
				return err
			},
			recorded: func(f *fixture) uint64 { return f.reportedGone(ReasonRoom) },
		},
		"5xx": {
			run: func(f *fixture, refs []Ref) error {
				for i, r := range refs {
					if _, err := f.Withdraw(f.ctx(), r, fmt.Sprint(i), refusal(fmt.Sprint(i))); err != nil {
						return err
					}
				}
				return nil
			},
			recorded: func(f *fixture) uint64 { return f.reportedGone(ReasonRefused) },
		},
		"retention":    {run: expire(1, 1), recorded: (*fixture).ran}, // the month before is not dropped
		"dropped":      {run: expire(6, 12), recorded: (*fixture).ran},
		"purge":        {aside: true, run: expire(0, 0), recorded: (*fixture).ran},
		"purge by age": {aside: true, run: expire(6, 12), recorded: (*fixture).ran},
		"delete": {
			run: func(f *fixture, refs []Ref) error {
				for _, r := range refs {
					if err := f.deleteErr(r); err != nil && !errors.Is(err, ErrHeld) {
						return err
					}
				}
				return nil
			},
			recorded: func(f *fixture) uint64 { return uint64(len(f.acts(mario)) - len(slices.Collect(f.holdActs()))) },
		},
		"erase": {
			run: func(f *fixture, refs []Ref) error {
				if _, err := f.Erase(f.ctx(), mario, EraseOptions{}); !errors.Is(err, ErrHeld) {
					return err
				}
				return nil
			},
			recorded: func(f *fixture) uint64 { return f.reportedGone(ReasonErased) },
		},
		"erase what is aside": {
			aside: true,
			run: func(f *fixture, refs []Ref) error {
				if _, err := f.Erase(f.ctx(), mario, EraseOptions{}); !errors.Is(err, ErrHeld) {
					return err
				}
				return nil
			},
			recorded: func(f *fixture) uint64 { return f.reportedGone(ReasonErased) },
		},
	}
}

func (f *fixture) holdActs() iter.Seq[*Act] {
	return func(yield func(*Act) bool) {
		for a, err := range f.Acts(f.ctx(), mario) {
			if err != nil {
				f.t.Fatal(err)
			}
			if a.Kind == ActHold && !yield(a) {
				return
			}
		}
	}
}

// TestHoldAtEveryStep places a hold at each step of each way in which entries are deleted: before a key is read, before and behind an
// Update, and while one runs. Once it stands nothing under it goes any more, and all that went is on record.
func TestHoldAtEveryStep(t *testing.T) {
	t.Parallel()
	for name, way := range deletions() {
		for _, level := range []string{"entry", "mailbox"} {
			if way.aside && level == "entry" {
				continue // it is no entry then
			}
			t.Run(name+", hold on the "+level, func(t *testing.T) {
				t.Parallel()
				steps, kept := 0, 0
				for at := 1; ; at++ {
					reached, stood := holdAtStep(t, way, level == "mailbox", at)
					if t.Failed() {
						t.Fatalf("at step %d", at)
					}
					if !reached {
						break
					}
					steps = at
					kept += stood
				}
				if steps < 5 || kept == 0 {
					t.Errorf("%d steps, at which %d entries were kept", steps, kept)
				}
			})
		}
	}
}

// holdAtStep places a hold at one step. It says whether the step was reached, and how many entries were there when the hold stood.
func holdAtStep(t *testing.T, way deletion, mailbox bool, at int) (reached bool, stood int) {
	s := &stepped{Engine: new(memory)}
	f := &fixture{t: t, clock: &clock{t: november}, engine: s.Engine}
	var err error
	f.Journal, err = Open(s, Options{Now: f.clock.now, Settings: testSettings()})
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	var refs []Ref
	for i := range 4 {
		in := received(mario)
		in.Direction = Direction(1 + i%2)
		placed, err := f.try(sized(fmt.Sprint(i), 200), fmt.Sprint(i), in)
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, placed[0].Ref)
	}
	before := len(refs)
	if way.aside {
		for _, r := range refs {
			f.remove(r)
		}
		f.clock.set(november.AddDate(0, 0, 5))
	}

	// present lists what must stay once the hold stands.
	present := func() (list []Ref) {
		switch {
		case !mailbox:
			if _, err := f.Entry(f.ctx(), refs[1]); err == nil {
				list = append(list, refs[1])
			}
		default:
			for _, e := range f.list(mario) {
				list = append(list, e.Ref)
			}
			for _, d := range f.aside(mario) {
				list = append(list, d.Ref)
			}
		}
		return list
	}
	var there []Ref
	place := func() {
		if mailbox {
			if err := f.set(f.ctx(), "held", mario); err != nil {
				t.Errorf("hold: %v", err)
			}
			if err := f.AwaitDeletions(f.ctx(), mario); err != nil {
				t.Errorf("wait for deletions: %v", err)
			}
			there = present()
			return
		}
		switch err := f.Hold(f.ctx(), refs[1], "operator", "case 1"); {
		case err == nil:
			there = []Ref{refs[1]}
		case !errors.Is(err, ErrNotFound):
			t.Errorf("hold: %v", err)
		}
	}
	var placing sync.WaitGroup
	n := 0
	var mu sync.Mutex
	s.set(func(inside bool) {
		mu.Lock()
		n++
		now := n == at
		mu.Unlock()
		if !now {
			return
		}
		s.set(nil)
		reached = true
		if !inside && len(f.dropping) == 0 {
			place()
			return
		}
		placing.Go(place) // which waits for this Update
	})
	if err := way.run(f, refs); err != nil {
		t.Errorf("run: %v", err)
	}
	s.set(nil)
	placing.Wait()

	left := present()
	for _, r := range there {
		if !slices.Contains(left, r) {
			t.Errorf("%s %d is gone, which was there under the hold", r.FolderName(), r.UID)
		}
	}
	all := len(f.list(mario)) + len(f.aside(mario))
	for _, e := range f.list(mario) {
		if e.Subject == "new" {
			all--
		}
	}
	gone := uint64(before - all)
	if f.aside(mario) != nil && !way.aside {
		gone = uint64(len(f.aside(mario)))
	}
	if got := way.recorded(f); got != gone {
		t.Errorf("%d entries are on record as deleted; %d of %d are", got, gone, before)
	}
	f.verify()
	return reached, len(there)
}

// TestHoldWhileDeleting has a deletion read that there is no hold, and a hold be placed before it is done: that waits for the deletion, so
// nothing goes once the hold stands.
func TestHoldWhileDeleting(t *testing.T) {
	f, h := newFixture(t), new(hooked)
	f.wrap = func(e kv.Engine) kv.Engine {
		h.Engine = e
		return h
	}
	asked, goOn := make(chan struct{}), make(chan struct{})
	var late atomic.Bool
	f.held = func(settings kv.View, mailboxes ...string) (bool, error) {
		held, err := testSettings().Held(settings, mailboxes...)
		if !late.Load() {
			asked <- struct{}{}
			<-goOn
		}
		return held, err
	}
	f.open()
	if f.memory != nil {
		f.memory.RunOnce()
	}
	gone, stays := f.put(mario, letter("1")), f.put(mario, letter("2"))
	f.FlushOutcomes(f.ctx())
	deleted := make(chan error, 1)
	go func() { deleted <- f.deleteErr(gone) }()
	<-asked
	late.Store(true)
	ctx, cancel := context.WithTimeout(f.ctx(), 50*time.Millisecond)
	defer cancel()
	wantErr(t, "hold while an entry is being deleted", f.set(ctx, "held", mario), context.DeadlineExceeded)
	placed := make(chan error, 1)
	go func() { placed <- f.set(f.ctx(), "held", mario) }()
	close(goOn)
	if err := <-deleted; err != nil {
		t.Error(err)
	}
	if err := <-placed; err != nil {
		t.Error(err)
	}
	f.want(mario, "INBOX/2026-11 2 delivered")
	wantErr(t, "delete under the hold", f.deleteErr(stays), ErrHeld)
	h.set(unavailable)
	if err := f.AwaitDeletions(f.ctx(), mario); err != nil {
		t.Errorf("with a month that cannot be written: %v", err)
	}
	h.set(nil)
}

// TestAwaitDrop has a month be dropped while AwaitDeletions is called, which returns when that is over.
func TestAwaitDrop(t *testing.T) {
	f := openFixture(t)
	if err := f.dropping.acquire(f.ctx()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(f.ctx(), time.Millisecond)
	defer cancel()
	wantErr(t, "wait for a drop", f.AwaitDeletions(ctx, mario), context.DeadlineExceeded)
	f.dropping.release()
	if err := f.AwaitDeletions(f.ctx(), mario); err != nil {
		t.Error(err)
	}
}

// TestHoldUnknown has nobody know whether a mailbox is held: nothing of it goes.
func TestHoldUnknown(t *testing.T) {
	f := newFixture(t)
	unknown := errors.New("test: settings not readable")
	f.held = func(kv.View, ...string) (bool, error) { return false, unknown }
	f.open()
	r := f.deliver(mario, sized("1", 600), "t1").Ref
	wantErr(t, "delete", f.deleteErr(r), unknown)
	_, err := f.Withdraw(f.ctx(), r, "t1", refusal("t1"))
	wantErr(t, "withdraw", err, unknown)
	_, err = f.Erase(f.ctx(), mario, EraseOptions{})
	wantErr(t, "erase", err, unknown)
	_, err = f.Expire(f.ctx(), ExpireOptions{Mailboxes: keepFor(6), Now: november.AddDate(1, 0, 0)})
	wantErr(t, "retention", err, unknown)
	_, err = f.try(sized("2", 600), "t2", limited(mario, 1000, MakeRoom))
	wantErr(t, "make room", err, unknown)
	// Asked the second time, within the Update.
	var asked atomic.Int32
	f.settings.Held = func(kv.View, ...string) (bool, error) {
		if asked.Add(1) == 1 {
			return false, nil
		}
		return false, unknown
	}
	f.clock.set(november.AddDate(0, 1, 0))
	_, err = f.try(sized("2", 600), "t2", limited(mario, 1000, MakeRoom))
	wantErr(t, "make room in an old month", err, unknown)
	var passed *MonthError
	if errors.As(err, &passed) {
		t.Errorf("it is the fault of %s", passed.Month)
	}
	if list := f.list(mario); len(list) != 1 || list[0].Ref != r {
		t.Errorf("entries %v", list)
	}
}

// TestHoldBesideMany holds some of many entries, at which each way of deleting goes past them and on.
func TestHoldBesideMany(t *testing.T) {
	t.Parallel()
	const all, every = 250, 50 // more than a group, some at its ends
	fill := func(t *testing.T) (f *fixture, holds []Ref) {
		f = fixtureOn(t, new(memory))
		for i := range all {
			r := f.deliver(mario, sized(fmt.Sprint(i), 200), fmt.Sprint(i)).Ref
			if i%every == 0 || i == all-1 {
				if err := f.Hold(f.ctx(), r, "operator", "case 1"); err != nil {
					t.Fatal(err)
				}
				holds = append(holds, r)
			}
		}
		return f, holds
	}
	check := func(f *fixture, holds []Ref, reason string) {
		f.t.Helper()
		var got []Ref
		for _, e := range f.list(mario) {
			if e.Subject != "large" {
				got = append(got, e.Ref)
			}
		}
		if !slices.Equal(got, holds) {
			f.t.Errorf("%v are left, want %v", got, holds)
		}
		if n := f.reportedGone(reason); reason != "" && n != uint64(all-len(holds)) {
			f.t.Errorf("%d are on record, want %d", n, all-len(holds))
		}
		f.verify()
		f.close()
	}
	t.Run("make room", func(t *testing.T) {
		f, holds := fill(t)
		large := (all - len(holds)) * 200
		if p := f.file(sized("large", large), limited(mario, all*200, MakeRoom))[0]; p.UID == 0 {
			t.Errorf("placed at %+v", p)
		}
		check(f, holds, ReasonRoom)
	})
	t.Run("erase", func(t *testing.T) {
		f, holds := fill(t)
		// One is held when the erasure has begun.
		if err := f.Release(f.ctx(), holds[3], "operator", "closed"); err != nil {
			t.Fatal(err)
		}
		_, err := f.Erase(f.ctx(), mario, EraseOptions{})
		wantErr(t, "erase beside a hold", err, ErrHeld)
		if n := len(f.list(mario)); n != all {
			t.Errorf("%d entries of %d are left", n, all)
		}
		for _, r := range holds {
			if err := f.Release(f.ctx(), r, "operator", "closed"); err != nil {
				t.Fatal(err)
			}
		}
		_, err = f.Erase(f.ctx(), mario, EraseOptions{Progress: func(kv.Month, Removed) {
			for i, r := range holds {
				if i > 1 { // those behind the first group
					_ = f.Hold(f.ctx(), r, "operator", "case 2")
				}
			}
		}})
		wantErr(t, "hold while erasing", err, ErrHeld)
		holds = holds[2:]
		check(f, holds, ReasonErased)
	})
	t.Run("retention", func(t *testing.T) {
		f, holds := fill(t)
		r := f.expire(ExpireOptions{Mailboxes: keepFor(6), Now: november.AddDate(1, 0, 0), Yes: true})
		if len(r.Expired) != 1 || r.Expired[0].Held != uint64(len(holds)) || r.Removed.Entries != uint64(all-len(holds)) {
			t.Errorf("report %+v", r)
		}
		check(f, holds, "")
	})
}
