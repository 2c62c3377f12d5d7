package level

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/syndtr/goleveldb/leveldb/storage"

	"copialettere/journal/kv"
	"copialettere/journal/kv/kvtest"
	"copialettere/journal/metrics"
)

func TestInUse(t *testing.T) {
	f := &onFiles{dir: t.TempDir()}
	e := f.Open(t)
	if _, err := Open(f.dir, Options{}); !errors.Is(err, ErrInUse) {
		t.Errorf("second Open: %v, want %v", err, ErrInUse)
	}
	if !e.Alone() {
		t.Error("the only client does not say that it is alone")
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Open(t).Close(); err != nil {
		t.Error(err)
	}
}

func TestFolderModes(t *testing.T) {
	f := &onFiles{dir: filepath.Join(t.TempDir(), "new", "journal")}
	e := f.Open(t)
	defer e.Close()
	openVolume(t, e, "2026-11")
	if _, err := e.Settings(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{"..", ".", "2026-11", "settings"} {
		info, err := os.Stat(filepath.Join(f.dir, folder))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != 0o700 {
			t.Errorf("mode of %s is %o, want 700", folder, got)
		}
	}
}

func TestInterruptedDrop(t *testing.T) {
	f := &onFiles{dir: t.TempDir()}
	e := f.Open(t)
	for _, m := range []kv.Month{"2026-10", "2026-11"} {
		putOne(t, openVolume(t, e, m), "a", "1")
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	dropped := filepath.Join(f.dir, "2026-10.dropped")
	if err := os.Rename(filepath.Join(f.dir, "2026-10"), dropped); err != nil {
		t.Fatal(err)
	}
	kept := filepath.Join(f.dir, "notes.dropped") // not the engine's
	if err := os.Mkdir(kept, 0o700); err != nil {
		t.Fatal(err)
	}
	e = f.Open(t)
	defer e.Close()
	if got, err := e.Volumes(t.Context()); err != nil || fmt.Sprint(got) != "[2026-11]" {
		t.Errorf("volumes: %v, %v", got, err)
	}
	if _, err := os.Stat(dropped); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder of the dropped volume: %v, want it gone", err)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Errorf("a folder that is none of the engine's: %v", err)
	}
}

// closeAndWait closes an engine in a bubble of synctest. It waits for goroutines of goleveldb, which outlive their database by a second.
func closeAndWait(e kv.Engine) {
	e.Close()
	time.Sleep(2 * time.Second)
}

// TestIdle checks that the engine closes idle volumes, and reopens them for callers that still hold the store.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newBadDisk(t)
		f.opts.IdleAfter = 5 * time.Minute
		e := f.Open(t).(*Engine)
		defer closeAndWait(e)
		stores := make([]kv.Store, 5)
		for i := range 5 {
			i = 4 - i // the newest first: it alone has the large buffer
			stores[i] = openVolume(t, e, kv.Month(fmt.Sprintf("2026-%02d", i+1)))
			putOne(t, stores[i], "a", fmt.Sprint(i))
		}
		if _, err := e.Settings(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantOpen := func(when string, want ...string) {
			t.Helper()
			synctest.Wait()
			open := make(map[string]bool)
			for _, s := range e.openStores() {
				open[s.name] = true
			}
			for _, name := range want {
				if !open[name] {
					t.Errorf("%s: %s is closed", when, name)
				}
			}
			if len(open) != len(want) {
				t.Errorf("%s: open are %v, want %v", when, open, want)
			}
		}
		wantOpen("at first", "2026-01", "2026-02", "2026-03", "2026-04", "2026-05", "settings")
		time.Sleep(4 * time.Minute)
		if _, err := stores[1].Get(t.Context(), []byte("a")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Minute)
		wantOpen("after seven minutes", "2026-02", "2026-04", "2026-05", "settings")
		// A scan that pauses between two pairs holds nothing up, and goes on at its place.
		for p, err := range stores[1].Scan(t.Context(), nil, nil) {
			if err != nil || string(p.Value) != "1" {
				t.Errorf("scan: %v, %v", p, err)
			}
			time.Sleep(time.Hour)
			wantOpen("while a scan rests", "2026-04", "2026-05", "settings")
		}
		putOne(t, stores[0], "a", "again")
		if v, err := stores[0].Get(t.Context(), []byte("a")); err != nil || string(v) != "again" {
			t.Errorf("Get from a volume that was closed: %q, %v", v, err)
		}
	})
}

// TestVanishedWhileOpen removes the folder of an open volume. The engine must close the volume within a minute: further writes would be lost.
func TestVanishedWhileOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newBadDisk(t)
		e := f.Open(t)
		defer closeAndWait(e)
		s := openVolume(t, e, "2026-11")
		putOne(t, s, "a", "1")
		putBack := f.TakeAway(t, "2026-11")
		time.Sleep(time.Minute + time.Second)
		synctest.Wait()
		if _, err := s.Get(t.Context(), []byte("a")); !errors.Is(err, kv.ErrUnavailable) || !strings.Contains(err.Error(), filepath.Join(f.dir, "2026-11")) {
			t.Errorf("Get: %v, want unavailable, and the folder named", err)
		}
		putBack()
		time.Sleep(time.Second)
		if v, err := s.Get(t.Context(), []byte("a")); err != nil || string(v) != "1" {
			t.Errorf("Get of a volume that is back: %q, %v", v, err)
		}
	})
}

// TestOutgrown checks that a volume gives up its large buffer when a newer one comes, even while it is read.
func TestOutgrown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newBadDisk(t)
		e := f.Open(t)
		defer closeAndWait(e)
		buffer := func(s kv.Store) int {
			synctest.Wait()
			return s.(*store).current.writeBuffer
		}
		old := openVolume(t, e, "2026-11")
		putOne(t, old, "a", "1")
		if got := buffer(old); got != 10<<20 {
			t.Errorf("the newest volume has a buffer of %d bytes", got)
		}
		putOne(t, openVolume(t, e, "2026-12"), "a", "1")
		for range 20 {
			time.Sleep(time.Minute)
			if v, err := old.Get(t.Context(), []byte("a")); err != nil || string(v) != "1" {
				t.Errorf("Get: %q, %v", v, err)
			}
		}
		if got := buffer(old); got != restWriteBuffer {
			t.Errorf("the volume before it has a buffer of %d bytes, want %d", got, restWriteBuffer)
		}
	})
}

// TestBlockedWrite checks that a sync that never ends holds up no caller beyond its context.
func TestBlockedWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newBadDisk(t)
		e := f.Open(t)
		defer closeAndWait(e)
		s := openVolume(t, e, "2026-11")
		putOne(t, s, "a", "1")
		hold := make(chan struct{})
		f.holdSync(hold)
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				begun := time.Now()
				err := s.Update(ctx, nil, func(tx kv.Tx) error { tx.Put([]byte("b"), []byte("2")); return nil })
				if !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != time.Minute {
					t.Errorf("update %d: %v after %v, want it given up after a minute", i, err, time.Since(begun))
				}
			})
		}
		wg.Wait()
		if v, err := s.Get(t.Context(), []byte("a")); err != nil || string(v) != "1" {
			t.Errorf("Get while a write hangs: %q, %v", v, err)
		}
		f.holdSync(nil)
		close(hold)
		putOne(t, s, "c", "3")
	})
}

// TestFailedBackgroundSync fails a sync of a table or of the manifest. LevelDB alone would try again and remove the log.
func TestFailedBackgroundSync(t *testing.T) {
	for _, only := range []storage.FileType{storage.TypeTable, storage.TypeManifest} {
		for _, fault := range []kvtest.Fault{kvtest.SyncFailedLost, kvtest.SyncFailedGone, kvtest.SyncFailedKept} {
			t.Run(fmt.Sprint(only, " ", fault), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { testFailedBackgroundSync(t, only, fault) })
			})
		}
	}
}

func testFailedBackgroundSync(t *testing.T, only storage.FileType, fault kvtest.Fault) {
	f := newBadDisk(t)
	f.opts.WriteBuffer, f.opts.Metrics = 16<<10, new(metrics.Registry)
	e := f.Open(t)
	s := openVolume(t, e, "2026-11")
	f.only = only
	acknowledged := make(map[string]bool)
	for i := range 300 {
		if i%100 == 10 {
			f.Inject(fault)
		}
		key := fmt.Sprintf("key %03d", i)
		err := tryPut(t, s, key, strings.Repeat("v", 1000))
		if err != nil && !errors.Is(err, kv.ErrUnavailable) {
			t.Fatal(err)
		}
		if err != nil {
			time.Sleep(2 * time.Second)
		}
		acknowledged[key] = err == nil
	}
	if n := e.(*Engine).meters.reopens.Value(); n == 0 {
		t.Error("the store was not opened again after a failed sync")
	}
	f.PowerCut(t, e)
	time.Sleep(2 * time.Second)
	e = f.Open(t)
	defer closeAndWait(e)
	s = openVolume(t, e, "2026-11")
	for key, ok := range acknowledged {
		if v, err := s.Get(t.Context(), []byte(key)); ok && (err != nil || len(v) != 1000) {
			t.Errorf("%s was acknowledged, and is %d bytes, %v", key, len(v), err)
		}
	}
	if losses, err := s.Lost(t.Context()); err != nil || len(losses) > 0 {
		t.Errorf("losses: %v, %v", losses, err)
	}
}

// TestFullDisk reads the journal while nothing can be written.
func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newBadDisk(t)
		f.opts.WriteBuffer = 16 << 10
		e := f.Open(t)
		defer closeAndWait(e)
		s := openVolume(t, e, "2026-11")
		for i := range 100 {
			putOne(t, s, fmt.Sprintf("key %03d", i), strings.Repeat("v", 1000))
		}
		f.Inject(kvtest.NoSpace)
		for range 3 {
			if err := tryPut(t, s, "b", "2"); !errors.Is(err, kv.ErrUnavailable) || !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("Update on a full disk: %v, want unavailable, and the reason", err)
			}
			n := 0
			for p, err := range s.Scan(t.Context(), nil, nil) {
				if err != nil || len(p.Value) != 1000 {
					t.Errorf("Scan on a full disk: %q, %v", p.Key, err)
				}
				n++
			}
			if n != 100 {
				t.Errorf("%d keys can be read on a full disk, want 100", n)
			}
			if v, err := s.Get(t.Context(), []byte("key 050")); err != nil || len(v) != 1000 {
				t.Errorf("Get on a full disk: %d bytes, %v", len(v), err)
			}
			time.Sleep(2 * time.Second)
		}
		f.Heal()
		putOne(t, s, "c", "3")
		if losses, err := s.Lost(t.Context()); err != nil || len(losses) > 0 {
			t.Errorf("losses: %v, %v", losses, err)
		}
	})
}

// TestRetry checks that the engine tries a store that cannot be opened once a second, and uses it again once it can be.
func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newBadDisk(t)
		e := f.Open(t)
		defer closeAndWait(e)
		s := openVolume(t, e, "2026-11")
		putOne(t, s, "a", "1")
		f.mu.Lock()
		f.off, f.opens = true, 0
		f.power++ // the open storage is dead
		f.mu.Unlock()
		for range 50 {
			if err := tryPut(t, s, "b", "2"); !errors.Is(err, kv.ErrUnavailable) {
				t.Errorf("Update without a disk: %v, want unavailable", err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		f.mu.Lock()
		if f.opens < 5 || f.opens > 6 {
			t.Errorf("opening was tried %d times in 5 seconds, want once a second", f.opens)
		}
		f.off = false
		for _, folder := range f.folders {
			folder.locked = false
		}
		f.mu.Unlock()
		time.Sleep(time.Second)
		putOne(t, s, "c", "3")
		if v, err := s.Get(t.Context(), []byte("a")); err != nil || string(v) != "1" {
			t.Errorf("Get: %q, %v", v, err)
		}
	})
}

// TestReadersOfTheBatchWait checks that an update fails if it read from an update of its batch that fails, even if it wrote nothing or
// returned an error itself.
func TestReadersOfTheBatchWait(t *testing.T) {
	fault := errors.New("fault of fn")
	tests := []struct {
		name string
		err  error
	}{{"reads only", nil}, {"fails", fault}}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testReaderOfTheBatch(t, test.err) })
		})
	}
}

func testReaderOfTheBatch(t *testing.T, fnErr error) {
	f := newBadDisk(t)
	e := f.Open(t)
	defer closeAndWait(e)
	s := openVolume(t, e, "2026-11")
	putOne(t, s, "a", "1")
	// The first update keeps its turn until the second one waits, so that they share a batch.
	entered, leave := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Update(t.Context(), nil, func(tx kv.Tx) error {
			close(entered)
			<-leave
			tx.Put([]byte("a"), []byte("2"))
			return nil
		}); !errors.Is(err, kv.ErrUnavailable) {
			t.Errorf("the update whose sync failed: %v, want unavailable", err)
		}
	})
	<-entered
	f.Inject(kvtest.SyncFailedLost)
	wg.Go(func() {
		var saw string
		err := s.Update(t.Context(), nil, func(tx kv.Tx) error {
			v, err := tx.Get([]byte("a"))
			saw = string(v)
			return errors.Join(err, fnErr)
		})
		if saw != "2" || !errors.Is(err, kv.ErrUnavailable) {
			t.Errorf("the second update saw %q and ended with %v, want it to see what is not durable, and unavailable", saw, err)
		}
	})
	synctest.Wait()
	close(leave)
	wg.Wait()
}

func TestMetrics(t *testing.T) {
	r := new(metrics.Registry)
	f := newBadDisk(t)
	f.opts.Metrics = r
	e := f.Open(t)
	s := openVolume(t, e, "2026-11")
	for i := range 10 {
		putOne(t, s, fmt.Sprint(i), "0123456789")
	}
	f.Inject(kvtest.FailedWrite)
	if err := tryPut(t, s, "a", "1"); !errors.Is(err, kv.ErrUnavailable) {
		t.Fatal(err)
	}
	putOne(t, s, "a", "1")
	w := httptest.NewRecorder()
	r.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	text := w.Body.String()
	for _, line := range []string{
		"copialettere_store_updates_total 11",
		"copialettere_store_failed_updates_total 1",
		"copialettere_store_batches_total 11",
		"copialettere_store_failed_writes_total 1",
		"copialettere_store_reopens_total 1",
		"copialettere_store_lost_updates_total 0",
		"copialettere_store_put_bytes_total 112",
		"copialettere_store_commit_seconds_count 11",
		"copialettere_store_open 1",
		"copialettere_store_write_stall_seconds 0",
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("the metrics lack %q", line)
		}
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// TestScanOfTheFirstPair scans for the first pair where keys were overwritten and deleted many times. It must be as fast as where none was.
func TestScanOfTheFirstPair(t *testing.T) {
	f := newBadDisk(t)
	e := f.Open(t)
	defer e.Close()
	s := openVolume(t, e, "2026-11")
	const each, updates = 1000, 20
	for range updates {
		err := s.Update(t.Context(), nil, func(tx kv.Tx) error {
			tx.Put([]byte("once 1"), []byte("x"))
			tx.Put([]byte("once 2"), []byte("x"))
			for i := range each {
				tx.Put([]byte("often 1"), []byte{byte(i)})
				key := fmt.Appendf(nil, "often 2 %d", i)
				tx.Put(key, []byte("x"))
				tx.Delete(key)
			}
			tx.Put([]byte("often 3"), []byte("x"))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	first := func(prefix string) time.Duration {
		best := time.Hour
		for range 50 {
			begun := time.Now()
			for p, err := range s.Scan(t.Context(), []byte(prefix), []byte(prefix+"~")) {
				if err != nil || string(p.Key) != prefix+" 1" {
					t.Fatalf("%q, %v", p.Key, err)
				}
				break
			}
			best = min(best, time.Since(begun))
		}
		return best
	}
	once, often := first("once"), first("often")
	t.Logf("%v where nothing was overwritten, %v where %d keys were", once, often, each*updates)
	if often > 20*once {
		t.Errorf("the first pair takes %v where %d keys were overwritten, and %v where two were", often, each*updates, once)
	}
}
