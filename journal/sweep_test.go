package journal

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"copialettere/journal/kv"
)

func (f *fixture) sweep(o SweepOptions) *SweepReport {
	f.t.Helper()
	r, err := f.Sweep(f.ctx(), o)
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

// pass lets time pass.
func (f *fixture) pass(d time.Duration) { f.clock.set(f.clock.now().Add(d)) }

func TestSweep(t *testing.T) {
	f := openFixture(t)
	shared, own := enclosed(1, 100), words(7, 300<<10)
	keeps := f.put(mario, shared)
	f.put(anna, own)
	f.put(anna, letter("small"))
	f.put(anna, enclosing(shared))
	if r := f.sweep(SweepOptions{}); r.Marked+r.Deleted != 0 {
		t.Errorf("nothing is gone, and the sweep did %+v", r)
	}
	all := f.verify().Chunks
	if _, err := f.Erase(f.ctx(), anna, EraseOptions{}); err != nil {
		t.Fatal(err)
	}
	orphans := f.verify().Orphans
	if orphans == 0 {
		t.Fatal("there are no orphans")
	}
	if r := f.sweep(SweepOptions{}); r.Marked+r.Deleted != 0 {
		t.Errorf("young chunks: %+v", r)
	}
	f.pass(sweepPause + time.Second)
	if r := f.sweep(SweepOptions{}); r.Marked != orphans || r.Deleted != 0 {
		t.Errorf("first sweep: %+v, want %d marked", r, orphans)
	}
	f.pass(sweepPause - time.Minute)
	if r := f.sweep(SweepOptions{}); r.Marked+r.Deleted != 0 {
		t.Errorf("too early: %+v", r)
	}
	// What was marked is no longer found, so it is stored anew.
	again := f.put(anna, own)
	f.pass(2 * time.Minute)
	if r := f.sweep(SweepOptions{}); r.Deleted != orphans || r.Bytes == 0 {
		t.Errorf("second sweep: %+v, want %d deleted", r, orphans)
	}
	f.wantBytes(keeps, shared)
	f.wantBytes(again, own)
	report := f.verify()
	if report.Orphans != 0 || report.Chunks > all {
		t.Errorf("afterwards %+v", report)
	}
	f.pass(3 * sweepPause)
	if r := f.sweep(SweepOptions{}); r.Marked+r.Deleted != 0 {
		t.Errorf("last sweep: %+v", r)
	}
}

func TestSweepKeepsWhatCanComeBack(t *testing.T) {
	f := openFixture(t)
	message := words(1, 100<<10)
	r := f.put(mario, message)
	f.remove(r)
	for range 3 {
		f.pass(sweepPause + time.Second)
		f.sweep(SweepOptions{All: true})
	}
	back, err := f.undelete(r)
	if err != nil {
		t.Fatal(err)
	}
	f.wantBytes(back, message)
}

// TestSweepAll finds the chunks of a message that broke off.
func TestSweepAll(t *testing.T) {
	f := openFixture(t)
	keeps := f.put(mario, words(1, 100<<10))
	d := f.NewDraft(f.ctx())
	d.Write(randomBytes(1, 2<<20))
	d.Discard()
	orphans := f.verify().Orphans
	if orphans == 0 {
		t.Fatal("there are no orphans")
	}
	f.pass(sweepPause + time.Second)
	if r := f.sweep(SweepOptions{}); r.Marked != 0 {
		t.Errorf("sweep of what is known: %+v", r)
	}
	if r := f.sweep(SweepOptions{All: true}); r.Marked != orphans {
		t.Errorf("sweep of all: %+v, want %d marked", r, orphans)
	}
	f.pass(sweepPause + time.Second)
	if r := f.sweep(SweepOptions{}); r.Deleted != orphans {
		t.Errorf("second sweep: %+v, want %d deleted", r, orphans)
	}
	f.wantBytes(keeps, words(1, 100<<10))
}

// TestSweepLeavesDrafts has a draft find chunks before they are marked, and commits it as late as it can.
func TestSweepLeavesDrafts(t *testing.T) {
	for _, c := range []struct {
		name   string
		age    time.Duration
		refuse bool
	}{{"in time", maxDraftAge - time.Minute, false}, {"too late", maxDraftAge + time.Minute, true}, {"behind the second sweep", 2 * sweepPause, true}} {
		t.Run(c.name, func(t *testing.T) {
			f := openFixture(t)
			message := enclosed(1, 300)
			f.put(anna, message)
			if _, err := f.Erase(f.ctx(), anna, EraseOptions{}); err != nil {
				t.Fatal(err)
			}
			f.pass(2 * sweepPause)
			d := f.NewDraft(f.ctx())
			defer d.Discard()
			d.Write(message)
			d.Finish()
			if r := f.sweep(SweepOptions{}); r.Marked == 0 {
				t.Fatal("nothing was marked")
			}
			for left := c.age; left > 0; left -= 10 * time.Minute {
				f.pass(min(left, 10*time.Minute))
				f.sweep(SweepOptions{})
			}
			placed, err := d.Commit(f.ctx(), Envelope{Transaction: "late"}, []Intent{received(mario)}, nil)
			if c.refuse {
				wantErr(t, "commit", err, errDraftAge)
				f.want(mario)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for range 4 {
				f.pass(sweepPause)
				f.sweep(SweepOptions{})
			}
			f.wantBytes(placed[0].Ref, message)
		})
	}
}

// TestSweepAtOnce delivers, erases, moves and sweeps at the same time, while the clock runs fast. No entry may lose a byte.
func TestSweepAtOnce(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	messages := [][]byte{enclosed(1, 100), enclosing(enclosed(1, 100)), words(1, 60<<10), words(2, 60<<10)}
	var writing, sweeping sync.WaitGroup
	done := make(chan struct{})
	for w := range 4 {
		writing.Go(func() {
			mailbox := fmt.Sprint("m", w)
			for i := range 25 {
				placed, err := f.try(messages[(w+i)%len(messages)], fmt.Sprint(w, i), received(mailbox), received("keeps"+mailbox))
				switch {
				case err != nil && !strings.Contains(err.Error(), errDraftAge.Error()):
					t.Error(err)
				case err == nil && i%3 == 0:
					_, _ = f.Move(f.ctx(), placed[1].Only(), Trash, "owner")
				case i%5 == 0:
					if _, err := f.Erase(f.ctx(), mailbox, EraseOptions{}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	var deleted int64
	sweeping.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			f.pass(25 * time.Minute)
			r, err := f.Sweep(f.ctx(), SweepOptions{All: deleted%2 == 0})
			if err != nil {
				t.Error(err)
				return
			}
			deleted += r.Deleted
		}
	})
	writing.Wait()
	close(done)
	sweeping.Wait()
	if deleted == 0 {
		t.Log("this time the sweeps deleted nothing")
	}
	f.verify()
	for w := range 4 {
		for _, e := range f.list(fmt.Sprint("keepsm", w)) {
			f.bytes(e.Ref)
		}
	}
}

// TestSweepWhileMoving has entries moved while the references are read, once and always.
func TestSweepWhileMoving(t *testing.T) {
	for _, c := range []struct {
		name      string
		times     int
		postponed int
	}{{"once", 1, 0}, {"always", 100, 1}} {
		t.Run(c.name, func(t *testing.T) {
			f := openFixture(t)
			r := f.put(mario, letter("moves"))
			gone := f.put(anna, words(1, 50<<10))
			if _, err := f.Erase(f.ctx(), anna, EraseOptions{}); err != nil {
				t.Fatal(err)
			}
			f.wantNot(gone)
			f.pass(sweepPause + time.Second)
			s, err := f.volume(f.ctx(), r.Month, false)
			if err != nil {
				t.Fatal(err)
			}
			moves := 0
			w := &sweeper{ctx: f.ctx(), month: r.Month, now: f.clock.now(), clock: f.clock.now, report: new(SweepReport)}
			w.store = scannedStore{s, &scanned{before: func(from []byte) {
				if from[0] == 't' && moves < c.times {
					moves++
					r = f.move(r, []string{"INBOX", Trash}[moves%2])
				}
			}}}
			err = w.volume(false)
			if c.postponed > 0 {
				wantErr(t, "sweep", err, errMoved)
			} else if err != nil || w.report.Marked == 0 {
				t.Errorf("sweep: %v, %+v", err, w.report)
			}
		})
	}
}

func (f *fixture) wantNot(r Ref) {
	f.t.Helper()
	_, err := f.Entry(f.ctx(), r)
	wantErr(f.t, fmt.Sprint(r), err, ErrNotFound)
}

// TestSweepKilled kills both sweeps at one write after the other.
func TestSweepKilled(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	f.office(6)
	if _, err := f.Erase(f.ctx(), mario, EraseOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Erase(f.ctx(), anna, EraseOptions{}); err != nil {
		t.Fatal(err)
	}
	message := words(1, 60<<10)
	keeps := f.put("keeps", message)
	for range 2 {
		f.clock.set(f.clock.now().Add(2 * sweepPause).Truncate(time.Second))
		f.killAtEach("sweep", 1, func() { f.wantBytes(keeps, message) })
	}
	if r := f.verify(); r.Orphans != 0 {
		t.Errorf("%d orphans are left", r.Orphans)
	}
}

// countingEngine counts what the sweep reads and hands over.
type countingEngine struct {
	kv.Engine
	entries *int // scans of entries
	purged  *int // keys that were handed to Purge
}

func (e countingEngine) Volume(ctx context.Context, m kv.Month, create bool) (kv.Store, error) {
	s, err := e.Engine.Volume(ctx, m, create)
	if err != nil {
		return nil, err
	}
	return countingStore{s, e}, nil
}

type countingStore struct {
	kv.Store
	e countingEngine
}

func (s countingStore) Scan(ctx context.Context, from, to []byte) iter.Seq2[kv.Pair, error] {
	if from[0] == 'e' {
		*s.e.entries++
	}
	return s.Store.Scan(ctx, from, to)
}

// Purge deletes only what is due, as a store does for which nothing is worth while.
func (s countingStore) Purge(ctx context.Context, garbage []kv.Garbage, done func([]kv.Garbage) error) error {
	*s.e.purged += len(garbage)
	garbage = slices.DeleteFunc(slices.Clone(garbage), func(g kv.Garbage) bool { return !g.Due })
	return s.Store.Purge(ctx, garbage, done)
}

// TestSweepWaits has a store for which no purge is worth while. The entries are not read again for what is known to be garbage, and after a week
// that goes all the same.
func TestSweepWaits(t *testing.T) {
	f := newFixture(t)
	entries, purged := 0, 0
	f.wrap = func(e kv.Engine) kv.Engine { return countingEngine{e, &entries, &purged} }
	f.open()
	keeps := f.put(mario, words(1, 100<<10))
	f.put(anna, words(2, 300<<10))
	if _, err := f.Erase(f.ctx(), anna, EraseOptions{}); err != nil {
		t.Fatal(err)
	}
	orphans := int(f.verify().Orphans)
	for range 2 {
		f.pass(sweepPause + time.Second)
		f.sweep(SweepOptions{})
	}
	entries, purged = 0, 0
	for range 3 {
		f.pass(sweepPause + time.Second)
		if r := f.sweep(SweepOptions{}); r.Deleted != 0 || r.Waiting < 50<<10 {
			t.Errorf("sweep: %+v", r)
		}
	}
	if entries != 0 || purged != 3*orphans {
		t.Errorf("the entries were read %d times, and %d chunks handed over, want none and %d", entries, purged, 3*orphans)
	}
	f.wantBytes(keeps, words(1, 100<<10))
	f.pass(purgeLatest - 5*(sweepPause+time.Second))
	if r := f.sweep(SweepOptions{}); r.Deleted != 0 {
		t.Errorf("sweep within the week: %+v", r)
	}
	f.pass(2 * sweepPause)
	if r := f.sweep(SweepOptions{}); r.Deleted != int64(orphans) || r.Waiting != 0 {
		t.Errorf("sweep after a week: %+v, want %d deleted", r, orphans)
	}
	if r := f.verify(); r.Orphans != 0 {
		t.Errorf("%d orphans are left", r.Orphans)
	}
}
