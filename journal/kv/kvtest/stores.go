package kvtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"copialettere/journal/kv"
)

func testScanBounds(t *testing.T, f Fixture) {
	s := openVolume(t, f)
	put(t, s, "c", "3", "a", "1", "b", "2", "ba", "2.5", "\xfe\xff", "last")
	tests := []struct {
		from, to []byte
		keys     string
	}{
		{nil, nil, "a b ba c \xfe\xff"},
		{[]byte("a"), nil, "a b ba c \xfe\xff"},
		{[]byte("b"), []byte("c"), "b ba"},
		{[]byte("b\x00"), []byte("c\x00"), "ba c"},
		{nil, []byte("b"), "a"},
		{[]byte("b"), []byte("b"), ""},
		{[]byte("c"), []byte("b"), ""},
		{[]byte("d"), nil, "\xfe\xff"},
		{nil, []byte{}, ""},
	}
	for _, test := range tests {
		if got := keys(scan(t, s, test.from, test.to)); got != test.keys {
			t.Errorf("Scan(%q, %q) = %q, want %q", test.from, test.to, got, test.keys)
		}
	}
	if got := fmt.Sprint(pairsText(scan(t, s, []byte("b"), []byte("c")))); got != "[b=2 ba=2.5]" {
		t.Errorf("Scan with values = %s", got)
	}
}

func fill(t testing.TB, s kv.Store, count int, value []byte) {
	t.Helper()
	for first := 0; first < count; first += 200 {
		if err := s.Update(t.Context(), nil, func(tx kv.Tx) error {
			for i := first; i < min(first+200, count); i++ {
				tx.Put(fmt.Appendf(nil, "key %06d", i), value)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
}

func testScanPages(t *testing.T, f Fixture) {
	s := openVolume(t, f)
	for _, count := range []int{255, 256, 257, 512, 2000} {
		fill(t, s, count, []byte("v"))
		pairs := scan(t, s, nil, nil)
		if len(pairs) != count {
			t.Fatalf("scan yielded %d pairs, want %d", len(pairs), count)
		}
		for i, p := range pairs {
			if wanted := fmt.Sprintf("key %06d", i); string(p.Key) != wanted {
				t.Fatalf("pair %d of %d is %q, want %q", i, count, p.Key, wanted)
			}
		}
	}
}

func testScanLarge(t *testing.T, f Fixture) {
	s := openVolume(t, f)
	value := make([]byte, 700<<10)
	for i := range 8 {
		value[0] = byte(i)
		if err := s.Update(t.Context(), nil, func(tx kv.Tx) error { tx.Put([]byte{'k', byte(i)}, value); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	pairs := scan(t, s, nil, nil)
	if len(pairs) != 8 {
		t.Fatalf("scan yielded %d pairs, want 8", len(pairs))
	}
	for i, p := range pairs {
		value[0] = byte(i)
		if !bytes.Equal(p.Value, value) {
			t.Errorf("value %d is not what was put", i)
		}
	}
}

func testScanStop(t *testing.T, f Fixture) {
	s := openVolume(t, f)
	fill(t, s, 1000, []byte("v"))
	n := 0
	for _, err := range s.Scan(t.Context(), nil, nil) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 300 {
			break
		}
	}
	if n != 300 {
		t.Errorf("the loop ran %d times, want 300", n)
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n = 0
	var last error
	for _, err := range s.Scan(ctx, nil, nil) {
		if last = err; err != nil {
			break
		}
		n++
		cancel()
	}
	wantErr(t, "scan whose context ended", last, context.Canceled)
	if n == 1000 {
		t.Error("scan went on to the end although its context had ended")
	}
}

func testScanWhileWriting(t *testing.T, f Fixture) {
	s := openVolume(t, f)
	fill(t, s, 1000, []byte("v"))
	n := 0
	for p, err := range s.Scan(t.Context(), []byte("key"), []byte("kez")) {
		if err != nil {
			t.Fatal(err)
		}
		if n%100 == 0 {
			// The scan does not see a key before its place, and deleting a key that it has seen disturbs nothing.
			if err := s.Update(t.Context(), nil, func(tx kv.Tx) error {
				tx.Put([]byte("a"), p.Key)
				tx.Delete(p.Key)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		n++
	}
	if n != 1000 {
		t.Errorf("scan saw %d keys, want the 1000 that were there all the time or when it passed", n)
	}
}

func months(t testing.TB, e kv.Engine) string {
	t.Helper()
	m, err := e.Volumes(t.Context())
	if err != nil {
		t.Fatalf("Volumes: %v", err)
	}
	return fmt.Sprint(m)
}

func testVolumes(t *testing.T, f Fixture) {
	ctx := t.Context()
	e := f.Open(t)
	if got := months(t, e); got != "[]" {
		t.Errorf("volumes of a new engine: %s", got)
	}
	_, err := e.Volume(ctx, "2026-10", false)
	wantErr(t, "Volume of a month without one", err, kv.ErrNoVolume)
	for _, m := range []kv.Month{"2026-12", "2025-01", "2026-11"} {
		s, err := e.Volume(ctx, m, true)
		if err != nil {
			t.Fatalf("Volume(%s, create): %v", m, err)
		}
		put(t, s, "month", string(m))
	}
	if got := months(t, e); got != "[2025-01 2026-11 2026-12]" {
		t.Errorf("volumes: %s", got)
	}
	for range 2 { // the second time there is none
		if err := e.Drop(ctx, "2026-11"); err != nil {
			t.Errorf("Drop: %v", err)
		}
	}
	_, err = e.Volume(ctx, "2026-11", false)
	wantErr(t, "Volume of a dropped month", err, kv.ErrNoVolume)
	if err := e.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}

	e = open(t, f)
	if got := months(t, e); got != "[2025-01 2026-12]" {
		t.Errorf("volumes after opening again: %s", got)
	}
	if err := e.Drop(ctx, "2025-01"); err != nil { // not open yet
		t.Errorf("Drop: %v", err)
	}
	s, err := e.Volume(ctx, "2026-12", false)
	if err != nil {
		t.Fatal(err)
	}
	want(t, s, "month", "2026-12")
	s, err = e.Volume(ctx, "2025-01", true)
	if err != nil {
		t.Fatal(err)
	}
	want(t, s, "month", "-")
}

func testBadMonths(t *testing.T, f Fixture) {
	e := open(t, f)
	for _, m := range []kv.Month{"", ".", "..", "settings", "2026-13", "2026-1", "2026-11-01", "../2026-11", "2026-11.dropped"} {
		if s, err := e.Volume(t.Context(), m, true); err == nil || errors.Is(err, kv.ErrNoVolume) {
			t.Errorf("Volume(%q) = %v, %v, want it refused", m, s, err)
		}
		if _, err := e.Fence(t.Context(), m); err == nil {
			t.Errorf("Fence(%q) was accepted", m)
		}
		if err := e.Drop(t.Context(), m); err == nil {
			t.Errorf("Drop(%q) was accepted", m)
		}
		if err := e.Forget(t.Context(), m); err == nil {
			t.Errorf("Forget(%q) was accepted", m)
		}
	}
	if got := months(t, e); got != "[]" {
		t.Errorf("volumes: %s", got)
	}
}

// wantClosed checks that every method of a store answers ErrClosed.
func wantClosed(t testing.TB, s kv.Store) {
	t.Helper()
	_, err := s.Get(t.Context(), []byte("a"))
	wantErr(t, "Get", err, kv.ErrClosed)
	_, err = s.GetAll(t.Context(), [][]byte{[]byte("a")})
	wantErr(t, "GetAll", err, kv.ErrClosed)
	_, err = s.Stage(t.Context(), []kv.Pair{{Key: []byte("a"), Value: []byte("1")}})
	wantErr(t, "Stage", err, kv.ErrClosed)
	wantErr(t, "Update", tryPut(t.Context(), s, "a", "1"), kv.ErrClosed)
	wantErr(t, "Purge", s.Purge(t.Context(), nil, nil), kv.ErrClosed)
	_, err = s.Lost(t.Context())
	wantErr(t, "Lost", err, kv.ErrClosed)
	err = nil
	for _, err = range s.Scan(t.Context(), nil, nil) {
	}
	wantErr(t, "Scan", err, kv.ErrClosed)
}

func testDropped(t *testing.T, f Fixture) {
	e := open(t, f)
	old := volume(t, e)
	put(t, old, "a", "1")
	if err := e.Drop(t.Context(), month); err != nil {
		t.Fatal(err)
	}
	wantClosed(t, old)
	s := volume(t, e)
	want(t, s, "a", "-")
	put(t, s, "a", "2")
	want(t, s, "a", "2")
	wantClosed(t, old)
}

func testDropInUse(t *testing.T, f Fixture) {
	e := open(t, f)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 30 {
				s, err := e.Volume(t.Context(), month, true)
				if err == nil {
					err = tryPut(t.Context(), s, fmt.Sprintf("%d %d", w, i), "v")
				}
				if err != nil && !errors.Is(err, kv.ErrClosed) {
					t.Errorf("put while the volume is dropped: %v", err)
				}
			}
		})
	}
	for range 5 {
		if err := e.Drop(t.Context(), month); err != nil {
			t.Errorf("Drop: %v", err)
		}
	}
	wg.Wait()
	if err := e.Drop(t.Context(), month); err != nil {
		t.Errorf("Drop: %v", err)
	}
	if got := months(t, e); got != "[]" {
		t.Errorf("volumes after the last drop: %s", got)
	}
}

func testClosed(t *testing.T, f Fixture) {
	e := f.Open(t)
	s := volume(t, e)
	settings, err := e.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := e.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	wantClosed(t, s)
	wantClosed(t, settings)
	_, err = e.Volume(t.Context(), month, false)
	wantErr(t, "Volume", err, kv.ErrClosed)
	_, err = e.Settings(t.Context())
	wantErr(t, "Settings", err, kv.ErrClosed)
	_, err = e.Volumes(t.Context())
	wantErr(t, "Volumes", err, kv.ErrClosed)
	_, err = e.Fence(t.Context(), month)
	wantErr(t, "Fence", err, kv.ErrClosed)
	wantErr(t, "Drop", e.Drop(t.Context(), month), kv.ErrClosed)
	wantErr(t, "Forget", e.Forget(t.Context(), month), kv.ErrClosed)
}

func testSettings(t *testing.T, f Fixture) {
	e := f.Open(t)
	settings, err := e.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := volume(t, e)
	put(t, settings, "a", "settings")
	put(t, s, "a", "volume")
	want(t, settings, "a", "settings")
	want(t, s, "a", "volume")
	if err := e.Drop(t.Context(), month); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if settings, err = open(t, f).Settings(t.Context()); err != nil {
		t.Fatal(err)
	}
	want(t, settings, "a", "settings")
}

func testReopen(t *testing.T, f Fixture) {
	for round := range 4 {
		e := f.Open(t)
		s := volume(t, e)
		for i := range round * 100 {
			want(t, s, fmt.Sprintf("key %d", i), fmt.Sprintf("value %d", i))
		}
		for i := range 100 {
			n := round*100 + i
			put(t, s, fmt.Sprintf("key %d", n), fmt.Sprintf("value %d", n))
		}
		wantLost(t, s, 0)
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func testEndedContext(t *testing.T, f Fixture) {
	e := open(t, f)
	s := volume(t, e)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ran := false
	err := s.Update(ctx, nil, func(kv.Tx) error { ran = true; return nil })
	wantErr(t, "Update", err, context.Canceled)
	if ran {
		t.Error("an update ran although its context had ended before")
	}
	_, err = s.Get(ctx, []byte("a"))
	wantErr(t, "Get", err, context.Canceled)
	_, err = s.GetAll(ctx, nil)
	wantErr(t, "GetAll", err, context.Canceled)
	_, err = s.Stage(ctx, []kv.Pair{{Key: []byte("a"), Value: []byte("1")}})
	wantErr(t, "Stage", err, context.Canceled)
	wantErr(t, "Purge", s.Purge(ctx, nil, nil), context.Canceled)
	for _, err = range s.Scan(ctx, nil, nil) {
	}
	wantErr(t, "Scan", err, context.Canceled)
	_, err = s.Lost(ctx)
	wantErr(t, "Lost", err, context.Canceled)
	_, err = e.Volume(ctx, month, false)
	wantErr(t, "Volume", err, context.Canceled)
	_, err = e.Settings(ctx)
	wantErr(t, "Settings", err, context.Canceled)
	_, err = e.Volumes(ctx)
	wantErr(t, "Volumes", err, context.Canceled)
	_, err = e.Fence(ctx, month)
	wantErr(t, "Fence", err, context.Canceled)
	wantErr(t, "Drop", e.Drop(ctx, month), context.Canceled)
	wantErr(t, "Forget", e.Forget(ctx, month), context.Canceled)
	put(t, s, "a", "1")
}

func testContextInQueue(t *testing.T, f Fixture) {
	s := openVolume(t, f)
	var once sync.Once
	entered, leave := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Update(t.Context(), []string{"lock"}, func(tx kv.Tx) error {
			once.Do(func() { close(entered) }) // it may run again
			<-leave
			tx.Put([]byte("first"), []byte("1"))
			return nil
		}); err != nil {
			t.Errorf("the update in front: %v", err)
		}
	})
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := tryPut(ctx, s, "second", "2")
	wantErr(t, "the update that waited", err, context.DeadlineExceeded)
	close(leave)
	wg.Wait()
	put(t, s, "third", "3")
	want(t, s, "first", "1")
	want(t, s, "second", "-")
	want(t, s, "third", "3")
}

// testPurge hands in garbage three times. The engine may choose what to delete, but must tell the truth about it.
func testPurge(t *testing.T, f Fixture) {
	e := f.Open(t)
	t.Cleanup(func() { e.Close() })
	var stores [2]kv.Store
	for i, m := range [...]kv.Month{"2026-10", "2026-11"} {
		s, err := e.Volume(t.Context(), m, true)
		if err != nil {
			t.Fatal(err)
		}
		stores[i] = s
		fill(t, s, 1000, bytes.Repeat([]byte("v"), 1000))
	}
	for _, s := range stores {
		var garbage []kv.Garbage
		for i := range 500 {
			garbage = append(garbage, kv.Garbage{Key: fmt.Appendf(nil, "key %06d", i*2), Size: 1000})
		}
		gone := make(map[string]bool)
		for range 3 {
			if err := s.Purge(t.Context(), garbage, func(part []kv.Garbage) error {
				for _, g := range part {
					gone[string(g.Key)] = true
				}
				return nil
			}); err != nil {
				t.Fatalf("Purge: %v", err)
			}
			garbage = slices.DeleteFunc(garbage, func(g kv.Garbage) bool { return gone[string(g.Key)] })
		}
		for i := range 1000 {
			key := fmt.Sprintf("key %06d", i)
			if v, err := s.Get(t.Context(), []byte(key)); gone[key] != errors.Is(err, kv.ErrNotFound) || !gone[key] && len(v) != 1000 {
				t.Fatalf("%s, gone %v: %d bytes, %v", key, gone[key], len(v), err)
			}
		}
		if left := pairsText(scan(t, s, nil, nil)); len(left) != 1000-len(gone) {
			t.Errorf("%d keys are left, want %d", len(left), 1000-len(gone))
		}
		fault := errors.New("fault of done")
		if err := s.Purge(t.Context(), garbage, func([]kv.Garbage) error { return fault }); err != nil && !errors.Is(err, fault) {
			t.Errorf("Purge with a fault of done: %v", err)
		}
		if err := s.Purge(t.Context(), []kv.Garbage{{Key: []byte{kv.Reserved}}}, nil); err == nil {
			t.Error("Purge took a key of the engine")
		}
		wantLost(t, s, 0)
	}
}
