package level

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"copialettere/journal/kv"
)

// heap returns how many bytes are in use after a collection.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// manyMonths creates months from 2020-01 on, with some keys in each.
func manyMonths(t *testing.T, e kv.Engine, count int) (stores []kv.Store) {
	t.Helper()
	m := kv.Month("2020-01")
	for range count {
		s := openVolume(t, e, m)
		if err := s.Update(t.Context(), nil, func(tx kv.Tx) error {
			for i := range 1000 {
				tx.Put(fmt.Appendf(nil, "e%06d", i), make([]byte, 1000))
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		stores = append(stores, s)
		m = m.Next()
	}
	return stores
}

// TestManyOpenMonths opens sixty months and reads every key, as a start reads the usages of all mailboxes.
func TestManyOpenMonths(t *testing.T) {
	const months = 60
	f := &onFiles{dir: t.TempDir()}
	e := f.Open(t)
	manyMonths(t, e, months)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	before := heap()
	e = f.Open(t)
	defer e.Close()
	for m := kv.Month("2020-01"); m < "2025-01"; m = m.Next() {
		s := openVolume(t, e, m)
		for i := range 1000 {
			if _, err := s.Get(t.Context(), fmt.Appendf(nil, "e%06d", i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if open := len(e.(*Engine).openStores()); open != months {
		t.Errorf("%d volumes are open, want %d", open, months)
	}
	// The newest has its large buffer; the others may take half a MiB each.
	held := heap() - before
	t.Logf("%d open months take %d KiB", months, held>>10)
	if limit := int64(10<<20 + 3<<20 + months*400<<10); held > limit {
		t.Errorf("%d open months take %d KiB, want %d at most", months, held>>10, limit>>10)
	}
}

// TestGrown writes a lot to older months. Few of them may have a large buffer at a time, and they must give it back.
func TestGrown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newBadDisk(t).Open(t).(*Engine)
		defer closeAndWait(e)
		stores := manyMonths(t, e, maxGrown+3)
		time.Sleep(time.Hour) // the month that was the newest gives its buffer back
		sizes := func() (large int) {
			for _, s := range stores[:len(stores)-1] {
				s := s.(*store)
				s.mu.Lock()
				if s.current != nil && s.current.writeBuffer > restWriteBuffer {
					large++
				}
				s.mu.Unlock()
			}
			return large
		}
		write := func(s kv.Store, bytes int) {
			t.Helper()
			for i := range bytes / (16 << 10) {
				if err := s.Update(t.Context(), nil, func(tx kv.Tx) error {
					tx.Put(fmt.Appendf(nil, "a%06d", i), make([]byte, 16<<10))
					return nil
				}); err != nil {
					t.Fatal(err)
				}
			}
		}
		write(stores[0], restWriteBuffer/2)
		if n := sizes(); n != 0 {
			t.Errorf("%d months have a large buffer after a few updates", n)
		}
		for _, s := range stores[:len(stores)-1] {
			write(s, 4*restWriteBuffer)
		}
		if n := sizes(); n != maxGrown {
			t.Errorf("%d months have a large buffer, want %d", n, maxGrown)
		}
		time.Sleep(2 * time.Second)
		last := stores[len(stores)-2].(*store)
		write(last, 4*restWriteBuffer) // makes it ask the others for their buffers
		synctest.Wait()
		write(last, 4*restWriteBuffer)
		last.mu.Lock()
		got := last.current.writeBuffer
		last.mu.Unlock()
		if got != oldWriteBuffer {
			t.Errorf("the month that is written to has a buffer of %d bytes", got)
		}
		time.Sleep(time.Hour)
		if n := sizes(); n != 0 {
			t.Errorf("%d months have a large buffer after an hour", n)
		}
		for i, s := range stores {
			if _, err := s.Get(t.Context(), []byte("e000999")); err != nil {
				t.Errorf("month %d: %v", i, err)
			}
			if losses, err := s.Lost(t.Context()); err != nil || len(losses) > 0 {
				t.Errorf("month %d: losses %v, %v", i, losses, err)
			}
		}
	})
}

// TestMaxOpen opens more months than may be open.
func TestMaxOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newBadDisk(t)
		f.opts.MaxOpen = 5
		e := f.Open(t).(*Engine)
		defer closeAndWait(e)
		manyMonths(t, e, 5)
		time.Sleep(2 * time.Second)
		openVolume(t, e, "2020-06")
		synctest.Wait()
		open := e.openVolumes()
		if len(open) > 5 || len(open) < 2 || open[0].name != "2020-06" || open[1].name != "2020-05" {
			t.Errorf("%d volumes are open", len(open))
		}
	})
}
