package journal

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/syndtr/goleveldb/leveldb/storage"

	"copialettere/journal/kv"
	"copialettere/journal/kv/kvtest"
)

// badDisk has the files of an engine fail on demand. They are real files; a write or an fsync is made to fail on its way to them.
type badDisk struct {
	mu    sync.Mutex
	fault kvtest.Fault
	armed bool
	hits  int
}

func (d *badDisk) inject(f kvtest.Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault, d.armed, d.hits = f, true, 0
}

func (d *badDisk) heal() (hits int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.armed = false
	return d.hits
}

// happens says whether one of the faults happens now.
func (d *badDisk) happens(faults ...kvtest.Fault) (kvtest.Fault, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range faults {
		if d.armed && d.fault == f {
			d.hits++
			d.armed = f == kvtest.NoSpace
			return f, true
		}
	}
	return 0, false
}

type badStorage struct {
	storage.Storage
	disk *badDisk
}

func (s badStorage) Create(fd storage.FileDesc) (storage.Writer, error) {
	w, err := s.Storage.Create(fd)
	if err != nil {
		return nil, err
	}
	return &badFile{Writer: w, disk: s.disk}, nil
}

type badFile struct {
	storage.Writer
	disk            *badDisk
	written, synced int64
}

func (f *badFile) Write(p []byte) (int, error) {
	fault, failed := f.disk.happens(kvtest.FailedWrite, kvtest.ShortWrite, kvtest.NoSpace)
	if !failed {
		n, err := f.Writer.Write(p)
		f.written += int64(n)
		return n, err
	}
	switch fault {
	case kvtest.NoSpace:
		return 0, syscall.ENOSPC
	case kvtest.ShortWrite:
		n, err := f.Writer.Write(p[:len(p)/2])
		f.written += int64(n)
		return n, errors.Join(err, syscall.EIO)
	}
	return 0, syscall.EIO
}

func (f *badFile) Sync() error {
	fault, failed := f.disk.happens(kvtest.SyncFailedGone, kvtest.SyncFailedKept)
	if failed && fault == kvtest.SyncFailedGone {
		file := f.Writer.(interface {
			Truncate(int64) error
			Seek(int64, int) (int64, error)
		})
		_, err := file.Seek(f.synced, 0)
		f.written = f.synced
		return errors.Join(syscall.EIO, err, file.Truncate(f.synced))
	}
	if err := f.Writer.Sync(); err != nil {
		return err
	}
	f.synced = f.written
	if failed {
		return syscall.EIO
	}
	return nil
}

func badFixture(t *testing.T) (*fixture, *badDisk) {
	f, d := newFixture(t), new(badDisk)
	f.level.WriteBuffer = 0 // as in the daemon, so that the fault meets the commit, and no table that LevelDB writes meanwhile
	f.onFiles()
	f.level.Storage = func(name string) (storage.Storage, error) {
		s, err := storage.OpenFile(filepath.Join(f.dir, "journal", name), false)
		if err != nil {
			return nil, err
		}
		return badStorage{s, d}, nil
	}
	f.open()
	return f, d
}

var faults = []kvtest.Fault{kvtest.FailedWrite, kvtest.ShortWrite, kvtest.SyncFailedGone, kvtest.SyncFailedKept, kvtest.NoSpace}

// retry takes in a message as the MTA does, again and again until it is in the journal, each time in another transaction.
func (f *fixture) retry(message []byte, intents ...Intent) []Placement {
	f.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for i := 0; ; i++ {
		placed, err := f.try(message, fmt.Sprint("retry ", i), intents...)
		if err == nil {
			return placed
		}
		if !errors.Is(err, kv.ErrUnavailable) || time.Now().After(deadline) {
			f.t.Fatalf("the retry fails: %v", err)
		}
		time.Sleep(20 * time.Millisecond) // the store leaves a disk alone for a second
	}
}

// TestFaults has the disk fail at each step of a delivery. The Commit fails, and the retry makes or finds the one entry.
func TestFaults(t *testing.T) {
	for _, fault := range faults {
		for _, during := range []string{"flush", "commit"} {
			t.Run(fmt.Sprint(fault, " during ", during), func(t *testing.T) {
				t.Parallel()
				f, disk := badFixture(t)
				before := words(9, 20<<10)
				kept := f.put(mario, before)
				f.FlushOutcomes(f.ctx())
				message := randomBytes(1, 3<<20)
				d := f.NewDraft(f.ctx())
				if during == "flush" {
					disk.inject(fault)
				}
				for rest := message; len(rest) > 0; rest = rest[32<<10:] {
					d.Write(rest[:32<<10])
				}
				d.awaitFlush()
				if failed := d.Err() != nil; failed != (during == "flush") {
					t.Errorf("before the commit the draft has the error %v", d.Err())
				}
				if during == "commit" {
					disk.inject(fault)
				}
				placed, err := d.Commit(f.ctx(), Envelope{MailFrom: giove, Transaction: "first"}, []Intent{received(mario), received(anna)}, nil)
				d.Discard()
				wantErr(t, "Commit", err, kv.ErrUnavailable)
				if placed != nil {
					t.Errorf("a failed Commit placed at %+v", placed)
				}
				if fault == kvtest.NoSpace {
					_, err := f.try(message, "no space", received(mario))
					wantErr(t, "Commit on a full disk", err, kv.ErrUnavailable)
				}
				if disk.heal() == 0 {
					t.Fatal("the fault did not happen")
				}
				for _, p := range f.retry(message, received(mario), received(anna)) {
					f.wantBytes(p.Ref, message)
				}
				f.wantBytes(kept, before)
				for range 2 {
					f.want(mario, "INBOX/2026-11 1 delivered", "INBOX/2026-11 2 unknown")
					f.want(anna, "INBOX/2026-11 1 unknown")
					f.verify()
					f.reopen()
				}
			})
		}
	}
}

// TestFaultsOfOutcomes has the disk fail while an entry is withdrawn, and while it is noted as deferred.
func TestFaultsOfOutcomes(t *testing.T) {
	for _, fault := range faults {
		t.Run(fault.String(), func(t *testing.T) {
			t.Parallel()
			f, disk := badFixture(t)
			p := f.deliver(mario, letter("a"), "t1")
			disk.inject(fault)
			wantErr(t, "Deferred", f.Deferred(f.ctx(), p.Ref, "t1"), kv.ErrUnavailable)
			disk.heal()
			// The note was kept in memory, or the store has it.
			if p = f.retryOutcome(p.Ref); p.Ref.UID != 1 {
				t.Errorf("found at %v", p.Ref)
			}
			disk.inject(fault)
			_, err := f.Withdraw(f.ctx(), p.Ref, "t2", refusal("t2"))
			wantErr(t, "Withdraw", err, kv.ErrUnavailable)
			disk.heal()
			placed := f.retry(letter("a"), received(mario))
			// Found again, or withdrawn all the same and made anew.
			if want := map[bool]uint32{true: 1, false: 2}[placed[0].Found]; placed[0].UID != want {
				t.Errorf("the retry is at %+v", placed[0])
			}
			if got := f.refusedBy("t2"); got == placed[0].Found {
				t.Errorf("the entry was found: %v, its refusal is on record: %v", placed[0].Found, got)
			}
			f.verify()
		})
	}
}

// retryOutcome waits until an entry is deferred and takes its message in again, in the transaction t2.
func (f *fixture) retryOutcome(r Ref) Placement {
	f.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		f.FlushOutcomes(f.ctx())
		if e, err := f.Entry(f.ctx(), r); err == nil && e.State == Deferred {
			return f.deliver(mario, letter("a"), "t2")
		}
		if time.Now().After(deadline) {
			f.t.Fatal("the entry is not deferred")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestFaultsUnderLoad has the disk fail now and then while many deliver. Each message that was accepted is there once.
func TestFaultsUnderLoad(t *testing.T) {
	t.Parallel()
	f, disk := badFixture(t)
	f.level.WriteBuffer = 256 << 10
	f.reopen()
	const writers, each = 12, 16
	var wg sync.WaitGroup
	var mu sync.Mutex
	accepted := make(map[Ref][]byte)
	var failures atomic.Int64
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				message := append(fmt.Appendf(nil, "Subject: %d %d\r\n\r\n", w, i), randomBytes(uint64(w), 1000<<(i%10))...)
				for try := 0; ; try++ {
					placed, err := f.try(message, fmt.Sprint(w, " ", i, " ", try), received(mario))
					if err == nil {
						mu.Lock()
						accepted[placed[0].Ref] = message
						mu.Unlock()
						break
					}
					if !errors.Is(err, kv.ErrUnavailable) {
						t.Errorf("commit: %v", err)
						return
					}
					failures.Add(1)
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	for i := range 12 {
		disk.inject(faults[i%4]) // no lasting one
		time.Sleep(40 * time.Millisecond)
		// While the store leaves the disk alone, a fault that waits for it would only make it wait again.
		disk.heal()
		time.Sleep(20 * time.Millisecond)
	}
	wg.Wait()
	if failures.Load() == 0 {
		t.Error("no commit met a fault")
	}
	list := f.list(mario)
	if len(list) != writers*each || len(accepted) != writers*each {
		t.Errorf("%d entries and %d places of accepted messages, want %d", len(list), len(accepted), writers*each)
	}
	for i, e := range list {
		f.wantBytes(e.Ref, accepted[e.Ref])
		if e.UID != uint32(i+1) {
			t.Errorf("entry %d has the UID %d", i, e.UID)
		}
	}
}
