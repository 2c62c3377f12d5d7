package journal

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/syndtr/goleveldb/leveldb/storage"

	"copialettere/journal/kv"
)

// stuckDisk holds every fsync of an engine's files back from some moment on until it is told to go on. Reading goes on.
type stuckDisk struct {
	mu      sync.Mutex
	hang    chan struct{} // closed to go on; nil while nothing hangs; guarded by mu
	reached chan struct{} // closed by the first that hangs
}

// stop returns how to go on, and what is closed when the first fsync hangs.
func (d *stuckDisk) stop() (goOn func(), reached <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hang, d.reached = make(chan struct{}), make(chan struct{})
	hang := d.hang
	return sync.OnceFunc(func() {
		d.mu.Lock()
		d.hang = nil
		d.mu.Unlock()
		close(hang)
	}), d.reached
}

type stuckStorage struct {
	storage.Storage
	disk *stuckDisk
}

func (s stuckStorage) Create(fd storage.FileDesc) (storage.Writer, error) {
	w, err := s.Storage.Create(fd)
	return stuckFile{w, s.disk}, err
}

type stuckFile struct {
	storage.Writer
	disk *stuckDisk
}

func (f stuckFile) Sync() error {
	f.disk.mu.Lock()
	hang := f.disk.hang
	if hang != nil && f.disk.reached != nil {
		close(f.disk.reached)
		f.disk.reached = nil
	}
	f.disk.mu.Unlock()
	if hang != nil {
		<-hang
	}
	return f.Writer.Sync()
}

// stuckFixture is a journal on such a disk.
func stuckFixture(t testing.TB) (*fixture, *stuckDisk) {
	f, d := newFixture(t), new(stuckDisk)
	f.onFiles()
	f.level.Storage = func(name string) (storage.Storage, error) {
		s, err := storage.OpenFile(filepath.Join(f.dir, "journal", name), false)
		return stuckStorage{s, d}, err
	}
	f.open()
	return f, d
}

// TestWaitsEnd has every call that a delivery makes wait for a store that does not answer, each behind another one that waits for it with
// more patience: each ends with its own context, and what follows works when the store does.
func TestWaitsEnd(t *testing.T) {
	const patience, others = 10 * time.Second, time.Hour
	limited := limited(mario, 1000, MakeRoom)
	for name, c := range map[string]struct {
		before func(f *fixture) Placement
		call   func(ctx context.Context, f *fixture, p Placement) error
	}{
		"record": {call: func(ctx context.Context, f *fixture, _ Placement) error {
			return f.Record(ctx, gap("a", f.clock.now()))
		}},
		"commit": {call: func(ctx context.Context, f *fixture, _ Placement) error {
			return tryWith(ctx, f, sized("1", 400), received(mario))
		}},
		"commit of a new folder": {call: func(ctx context.Context, f *fixture, _ Placement) error {
			return tryWith(ctx, f, sized("1", 400), received(anna))
		}},
		"commit of what fills many chunks": {call: func(ctx context.Context, f *fixture, _ Placement) error {
			return tryWith(ctx, f, randomBytes(1, 3<<20), received(mario))
		}},
		"commit that makes room": {
			before: func(f *fixture) Placement { return f.file(sized("1", 700), limited)[0] },
			call: func(ctx context.Context, f *fixture, _ Placement) error {
				return tryWith(ctx, f, sized("2", 700), limited)
			},
		},
		"usage": {call: func(ctx context.Context, f *fixture, _ Placement) error {
			_, err := f.Usage(ctx, mario)
			return err
		}},
		"withdraw": {
			before: func(f *fixture) Placement { return f.deliver(mario, sized("1", 400), "t") },
			call: func(ctx context.Context, f *fixture, p Placement) error {
				_, err := f.Withdraw(ctx, p.Ref, "t", Record{Kind: Skip, Mailbox: mario, Time: f.clock.now(), Reason: ReasonRefused})
				return err
			},
		},
		"deferred": {
			before: func(f *fixture) Placement { return f.deliver(mario, sized("1", 400), "t") },
			call:   func(ctx context.Context, f *fixture, p Placement) error { return f.Deferred(ctx, p.Ref, "t") },
		},
		"sweep": {
			before: func(f *fixture) Placement { return f.deliver(mario, sized("1", 400), "t") },
			call: func(ctx context.Context, f *fixture, _ Placement) error {
				if err := f.Record(ctx, gap("a", f.clock.now())); err != nil {
					return err
				}
				_, err := f.Sweep(ctx, SweepOptions{All: true})
				return err
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				// LevelDB has a goroutine that ends a second late.
				t.Cleanup(func() { time.Sleep(2 * time.Second) })
				f, d := stuckFixture(t)
				f.deliver(mario, sized("0", 100), "t0")
				var p Placement
				if c.before != nil {
					p = c.before(f)
				}
				// An outcome is on its way to the store as well.
				f.Delivered(f.deliver("other@alpha.test", sized("x", 100), "t1").Ref, "t1")
				goOn, _ := d.stop()
				defer goOn()
				time.Sleep(time.Second)
				patient, leave := context.WithTimeout(t.Context(), others)
				var first sync.WaitGroup
				for range 2 {
					first.Go(func() { c.call(patient, f, p) })
				}
				synctest.Wait()
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				start := time.Now()
				if err := c.call(ctx, f, p); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("error %v", err)
				}
				if took := time.Since(start); took > patience {
					t.Errorf("took %s, want %s", took, patience)
				}
				leave()
				first.Wait()
				goOn()
				if err := c.call(t.Context(), f, p); err != nil && !errors.Is(err, ErrNotFound) {
					t.Errorf("when the store works again: %v", err)
				}
				f.verify()
			})
		})
	}
}

func tryWith(ctx context.Context, f *fixture, message []byte, intents ...Intent) error {
	d := f.NewDraft(ctx)
	defer d.Discard()
	d.Write(message)
	_, err := d.Commit(ctx, Envelope{MailFrom: "ext@ext.test", Transaction: "t"}, intents, nil)
	return err
}

// TestSpoolWhileStoreHangs keeps records while the spool is being taken in by a store that does not answer: they go into the spool at
// once, and none is lost when it is taken in at last.
func TestSpoolWhileStoreHangs(t *testing.T) {
	f, d := stuckFixture(t)
	f.deliver(mario, letter("0"), "t0") // the volume is open
	goOn, reached := d.stop()
	defer goOn()
	ended, end := context.WithCancel(f.ctx())
	end()
	keep := func(detail string) {
		t.Helper()
		if err := f.Keep(ended, gap(detail, november)); err != nil {
			t.Fatal(err)
		}
	}
	keep("a")
	taken := make(chan error)
	go func() { taken <- f.Unspool(f.ctx()) }()
	<-reached
	keep("b")
	skip := gap("c", november)
	skip.Kind, skip.Reason = Skip, "alias"
	if err := f.Keep(ended, skip); err != nil {
		t.Fatal(err)
	}
	if got := f.details(); !slices.Equal(got, []string{"a spooled", "b spooled", "c spooled"}) {
		t.Errorf("records %q", got)
	}
	goOn()
	if err := <-taken; err != nil {
		t.Fatal(err)
	}
	if got := f.details(); !slices.Equal(got, []string{"a", "b spooled", "c spooled"}) {
		t.Errorf("records %q", got)
	}
	if err := f.Unspool(f.ctx()); err != nil {
		t.Fatal(err)
	}
	if got := f.details(); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("records %q", got)
	}
}

// TestSpoolSyncFails has the sync of a spool fail: what was to be kept is not there, as its error says, and what was there before is.
func TestSpoolSyncFails(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "gaps"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, c := range []struct {
		lines string
		fault error
		want  string
	}{
		{"a\n", nil, "a\n"}, {"b\nc\n", errors.New("no"), "a\n"}, {"d\n", nil, "a\nd\n"},
	} {
		err := appendLines(f, []byte(c.lines), func() error { return c.fault })
		if !errors.Is(err, c.fault) {
			t.Errorf("%q: %v", c.lines, err)
		}
		if got, err := os.ReadFile(f.Name()); err != nil || string(got) != c.want {
			t.Errorf("%q: the file holds %q, want %q (%v)", c.lines, got, c.want, err)
		}
	}
}

// TestArchived hands in messages again while nothing can be committed: those that are archived, or were, are told of.
func TestArchived(t *testing.T) {
	f := openFixture(t)
	in := f.deliver(mario, letter("in"), "t1")
	f.Deferred(f.ctx(), in.Ref, "t1")
	f.Suspend(kv.ErrUnavailable)
	for _, c := range []struct {
		mailbox, message string
		want             Placement
	}{
		{mario, "in", Placement{Ref: in.Ref, Found: true}},
		{mario, "new", Placement{}},
		{anna, "in", Placement{}},
	} {
		d := f.NewDraft(f.ctx())
		d.Write(letter(c.message))
		_, err := d.Commit(f.ctx(), Envelope{MailFrom: giove, Transaction: "t2"}, []Intent{received(c.mailbox)}, nil)
		wantErr(t, "commit", err, kv.ErrUnavailable)
		got, err := d.Archived(f.ctx(), Envelope{MailFrom: giove, Transaction: "t2"}, []Intent{received(c.mailbox)})
		if err != nil || len(got) != 1 || got[0] != c.want {
			t.Errorf("%s of %s: %+v, %v, want %+v", c.message, c.mailbox, got, err, c.want)
		}
		d.Discard()
	}
	f.Suspend(nil)
	// The repetition was noted: the transaction may withdraw the entry.
	if withdrawn, err := f.Withdraw(f.ctx(), in.Ref, "t2", Record{Kind: Skip, Mailbox: mario, Time: november, Reason: ReasonRefused}); !withdrawn || err != nil {
		t.Errorf("withdrawn %t, %v", withdrawn, err)
	}
}

// TestEraseWaitsForLateWrites erases a mailbox while a delivery that was given up is still on its way to the disk.
func TestEraseWaitsForLateWrites(t *testing.T) {
	f, d := stuckFixture(t)
	f.deliver(anna, letter("0"), "t0")
	f.deliver(mario, letter("1"), "t1")
	if _, err := f.Erase(f.ctx(), mario, EraseOptions{}); err != nil {
		t.Fatal(err)
	}
	goOn, reached := d.stop()
	defer goOn()
	ctx, leave := context.WithCancel(f.ctx())
	left := make(chan error)
	go func() { left <- tryWith(ctx, f, letter("2"), received(mario)) }()
	<-reached
	leave()
	wantErr(t, "commit", <-left, context.Canceled)
	erased := make(chan error)
	go func() {
		_, err := f.Erase(f.ctx(), mario, EraseOptions{})
		erased <- err
	}()
	select {
	case err := <-erased:
		t.Errorf("erased before the disk went on: %v", err)
		goOn()
	case <-time.After(50 * time.Millisecond):
		goOn()
		if err := <-erased; err != nil {
			t.Fatal(err)
		}
	}
	f.want(mario)
}
