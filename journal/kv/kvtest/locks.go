package kvtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"copialettere/journal/kv"
)

// twoMonths returns the stores of two months, of one client.
func twoMonths(t *testing.T, f Fixture) (kv.Engine, []kv.Store) {
	t.Helper()
	e := open(t, f)
	var stores []kv.Store
	for _, m := range []kv.Month{"2026-11", "2026-12"} {
		s, err := e.Volume(t.Context(), m, true)
		if err != nil {
			t.Fatal(err)
		}
		stores = append(stores, s)
	}
	return e, stores
}

func testLocksOfStores(t *testing.T, f Fixture) {
	_, stores := twoMonths(t, f)
	var inside, most int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i, s := range slices.Concat(stores, stores) {
		wg.Go(func() {
			for range 10 {
				if err := s.Update(t.Context(), []string{fmt.Sprint("other ", i), "lock"}, func(tx kv.Tx) error {
					mu.Lock()
					inside++
					most = max(most, inside)
					mu.Unlock()
					time.Sleep(100 * time.Microsecond)
					mu.Lock()
					inside--
					mu.Unlock()
					tx.Put([]byte("a"), []byte("1"))
					return nil
				}); err != nil {
					t.Errorf("Update: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if most != 1 {
		t.Errorf("%d updates that share a lock ran at once", most)
	}
	putOnce(t, slices.Concat(stores, stores))
	// Without a common lock, updates of one store do not wait for those of another.
	if err := stores[0].Update(t.Context(), []string{"first"}, func(kv.Tx) error {
		return tryPut(t.Context(), stores[1], "a", "2")
	}); err != nil {
		t.Errorf("Update of one store while another one's is under way: %v", err)
	}
}

func testLockOrder(t *testing.T, f Fixture) {
	_, stores := twoMonths(t, f)
	countTogether(t, slices.Concat(stores, stores))
	for _, s := range stores {
		want(t, s, "count", "200")
	}
}

// testLeftLocks lets a caller leave while its update waits for a lock, and while it holds one.
func testLeftLocks(t *testing.T, f Fixture) {
	_, stores := twoMonths(t, f)
	entered, leave := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	wg.Go(func() {
		var once sync.Once
		err := stores[0].Update(ctx, []string{"lock"}, func(tx kv.Tx) error {
			once.Do(func() { close(entered); <-leave })
			tx.Put([]byte("held"), []byte("1"))
			return nil
		})
		// It may have been done all the same.
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the update whose caller leaves: %v", err)
		}
	})
	<-entered
	short, end := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer end()
	err := tryPut(short, stores[1], "a", "1")
	wantErr(t, "the update that waits for a lock", err, context.DeadlineExceeded)
	if kv.KindOf(err) != kv.Retryable {
		t.Errorf("the update that waited for a lock: %v, want it retryable", err)
	}
	want(t, stores[1], "a", "-")
	cancel()
	close(leave)
	wg.Wait()
	put(t, stores[1], "a", "2")
	want(t, stores[1], "a", "2")
}

func testGetAll(t *testing.T, f Fixture) {
	s := openVolume(t, f)
	put(t, s, "a", "1", "empty", "", "c", "3")
	keys := [][]byte{[]byte("c"), []byte("none"), []byte("empty"), []byte("c"), []byte("a")}
	check := func(doing string, got [][]byte, err error, wanted string) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", doing, err)
		}
		text := ""
		for _, v := range got {
			if v == nil {
				text += " -"
			} else {
				text += " " + string(v) + "."
			}
		}
		if text != wanted {
			t.Errorf("%s got%s, want%s", doing, text, wanted)
		}
	}
	got, err := s.GetAll(t.Context(), keys)
	check("GetAll", got, err, " 3. - . 3. 1.")
	if err := s.Update(t.Context(), []string{"lock"}, func(tx kv.Tx) error {
		tx.Put([]byte("none"), []byte("now"))
		tx.Delete([]byte("c"))
		got, err := tx.GetAll(keys)
		check("GetAll of an update", got, err, " - now. . - 1.")
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got, err := s.GetAll(t.Context(), nil); err != nil || len(got) != 0 {
		t.Errorf("GetAll of nothing: %q, %v", got, err)
	}
	if _, err := s.GetAll(t.Context(), [][]byte{[]byte("a"), {kv.Reserved}}); err == nil {
		t.Error("GetAll took a key of the engine")
	}
}

func testIn(t *testing.T, f Fixture) {
	e, stores := twoMonths(t, f)
	settings, err := e.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	put(t, stores[0], "a", "november")
	put(t, stores[1], "a", "december")
	put(t, settings, "a", "settings")
	if err := stores[0].Update(t.Context(), []string{"lock"}, func(tx kv.Tx) error {
		tx.Put([]byte("a"), []byte("changed"))
		for m, wanted := range map[kv.Month]string{"2026-11": "changed", "2026-12": "december", "": "settings"} {
			v, err := tx.In(m)
			if err != nil {
				return err
			}
			if got := show(v.Get([]byte("a"))); got != wanted {
				t.Errorf("in %q the value is %q, want %q", m, got, wanted)
			}
			if got, err := v.GetAll([][]byte{[]byte("a"), []byte("b")}); err != nil || string(got[0]) != wanted || got[1] != nil {
				t.Errorf("in %q: %q, %v", m, got, err)
			}
		}
		_, err := tx.In("2020-01")
		wantErr(t, "In of a month without a volume", err, kv.ErrNoVolume)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func testStage(t *testing.T, f Fixture) {
	e := f.Open(t)
	s := volume(t, e)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 10 {
				key := fmt.Sprintf("%d %d", w, i)
				staged, err := s.Stage(t.Context(), []kv.Pair{{Key: []byte("chunk " + key), Value: []byte(key)}})
				if err != nil {
					t.Errorf("Stage: %v", err)
					return
				}
				want(t, s, "chunk "+key, key)
				if err := s.Update(t.Context(), nil, func(tx kv.Tx) error {
					tx.Needs(staged)
					tx.Needs(nil)
					tx.Put([]byte("entry "+key), []byte(key))
					return nil
				}); err != nil {
					t.Errorf("an update that needs what was staged: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if _, err := s.Stage(t.Context(), []kv.Pair{{Key: []byte{kv.Reserved}}}); err == nil {
		t.Error("Stage took a key of the engine")
	}
	_, err := s.Stage(t.Context(), []kv.Pair{{Key: []byte("a"), Value: make([]byte, kv.MaxUpdate)}})
	wantErr(t, "Stage of one byte more than allowed", err, kv.ErrTooLarge)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = s.Stage(t.Context(), []kv.Pair{{Key: []byte("a"), Value: []byte("1")}})
	wantErr(t, "Stage", err, kv.ErrClosed)
	if n := len(scan(t, openVolume(t, f), nil, nil)); n != 80 {
		t.Errorf("%d keys are there, want 80", n)
	}
}

func testFresh(t *testing.T, f Fixture) {
	s := openVolume(t, f)
	checkFresh(t, s, s)
}

func testFence(t *testing.T, f Fixture) {
	e := open(t, f)
	_, err := e.Fence(t.Context(), month)
	wantErr(t, "Fence of a month without a volume", err, kv.ErrNoVolume)
	s := volume(t, e)
	put(t, s, "a", "1")
	ctx, cancel := context.WithCancel(t.Context())
	var acked sync.Map
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				key := fmt.Sprintf("%d %d", w, i)
				if err := tryPut(t.Context(), s, key, "1"); err == nil {
					acked.Store(key, true)
				} else if !errors.Is(err, kv.ErrFenced) || !errors.Is(err, kv.ErrUnavailable) {
					t.Errorf("Update beside a fence: %v", err)
				}
			}
		})
	}
	for range 5 {
		time.Sleep(time.Millisecond)
		fence, err := e.Fence(t.Context(), month)
		if err != nil {
			t.Fatal(err)
		}
		before := keys(scan(t, s, nil, nil))
		acked.Range(func(key, _ any) bool {
			want(t, s, key.(string), "1")
			return true
		})
		_, err = s.Stage(t.Context(), []kv.Pair{{Key: []byte("chunk"), Value: []byte("bytes")}})
		wantErr(t, "Stage inside a fence", err, kv.ErrFenced)
		time.Sleep(time.Millisecond)
		if now := keys(scan(t, s, nil, nil)); now != before {
			t.Errorf("inside a fence there was %q, and then %q", before, now)
		}
		if err := fence.Lift(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	wg.Wait()
	first, err := e.Fence(t.Context(), month)
	if err != nil {
		t.Fatal(err)
	}
	second, err := e.Fence(t.Context(), month)
	if err != nil {
		t.Fatal(err)
	}
	wantErr(t, "Drop of a fence that was replaced", first.Drop(t.Context()), kv.ErrFenced)
	wantErr(t, "Lift of a fence that was replaced", first.Lift(t.Context()), kv.ErrFenced)
	if err := second.Drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantClosed(t, s)
	if got := months(t, e); got != "[]" {
		t.Errorf("volumes: %s", got)
	}
	want(t, volume(t, e), "a", "-")
}

func testKinds(t *testing.T, f Fixture) {
	e := open(t, f)
	s := volume(t, e)
	kind := func(doing string, err error, wanted kv.Kind) {
		t.Helper()
		if err == nil || kv.KindOf(err) != wanted {
			t.Errorf("%s: %v is of kind %d, want %d", doing, err, kv.KindOf(err), wanted)
		}
	}
	kind("too large", s.Update(t.Context(), nil, func(tx kv.Tx) error { tx.Put([]byte("a"), make([]byte, kv.MaxUpdate)); return nil }), kv.Permanent)
	kind("a reserved key", tryPut(t.Context(), s, "\xff", "1"), kv.Permanent)
	_, err := e.Volume(t.Context(), "2020-01", false)
	kind("no volume", err, kv.Permanent)
	ended, end := context.WithCancel(t.Context())
	end()
	kind("a context that has ended", tryPut(ended, s, "a", "1"), kv.Retryable)
	for i := range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		key := fmt.Sprint(i)
		err := s.Update(ctx, []string{"lock"}, func(tx kv.Tx) error { cancel(); tx.Put([]byte(key), []byte("1")); return nil })
		put(t, s, "behind", key)
		switch there := show(s.Get(t.Context(), []byte(key))) == "1"; {
		case err == nil && !there, err != nil && kv.KindOf(err) == kv.Retryable && there, err != nil && kv.KindOf(err) == kv.Permanent:
			t.Errorf("an update whose context ends: %v, and it is there: %v", err, there)
		}
	}
	fence, err := e.Fence(t.Context(), month)
	if err != nil {
		t.Fatal(err)
	}
	kind("a fence", tryPut(t.Context(), s, "a", "1"), kv.Retryable)
	if err := fence.Drop(t.Context()); err != nil {
		t.Fatal(err)
	}
	kind("a dropped store", tryPut(t.Context(), s, "a", "1"), kv.Permanent)
}
