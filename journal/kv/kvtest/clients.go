package kvtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"copialettere/journal/kv"
)

// Replicated is a Fixture of an engine that replicates. Each Open makes one more client.
type Replicated interface {
	Fixture
	// Stall keeps all writes from becoming durable until Resume or Crash.
	Stall()
	// Resume ends a Stall.
	Resume()
	// Crash undoes all writes that are not durable, and ends a Stall.
	Crash()
}

// RunReplicated tests an engine with several clients. create makes a new, empty fixture for each test.
func RunReplicated(t *testing.T, create func(t testing.TB) Replicated) {
	tests := []struct {
		name string
		run  func(t *testing.T, f Replicated)
	}{
		{"nobody is alone", testNotAlone},
		{"what an update read is durable", testReadIsDurable},
		{"locks hold between clients", testLocksOfClients},
		{"reading is fresh between clients", testFreshOfClients},
		{"what was staged is not lost unnoticed", testStagedLost},
		{"a fence keeps other clients out", testFenceOfAnother},
		{"a volume that another client dropped answers closed", testDroppedByAnother},
		{"an unknown outcome is told", testUnknown},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, create(t)) })
	}
}

func testNotAlone(t *testing.T, f Replicated) {
	for _, e := range []kv.Engine{open(t, f), open(t, f)} {
		if e.Alone() {
			t.Error("a client of two says that it is alone")
		}
	}
}

// stalled puts a key while nothing becomes durable, until the update gives up.
func stalled(t *testing.T, f Replicated, s kv.Store) {
	t.Helper()
	f.Stall()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	err := tryPut(ctx, s, "a", "1")
	wantErr(t, "an update that nothing makes durable", err, kv.ErrUnknown)
	wantErr(t, "an update that nothing makes durable", err, context.DeadlineExceeded)
}

func testReadIsDurable(t *testing.T, f Replicated) {
	first, second := openVolume(t, f), openVolume(t, f)
	put(t, first, "before", "1")
	stalled(t, f, first)
	// A repetition may see the write, and must not rely on it.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	seen := "-"
	if err := second.Update(ctx, []string{"lock"}, func(tx kv.Tx) error { seen = show(tx.Get([]byte("a"))); return nil }); err == nil {
		t.Errorf("an update that read %q, which is not durable, was acknowledged", seen)
	}
	f.Crash()
	want(t, second, "before", "1")
	if seen = "-"; second.Update(t.Context(), []string{"lock"}, func(tx kv.Tx) error { seen = show(tx.Get([]byte("a"))); return nil }) != nil || seen != "-" {
		t.Errorf("after the crash an update reads %q, want what was not durable gone", seen)
	}
	stalled(t, f, first)
	f.Resume()
	put(t, second, "b", "2")
	want(t, first, "b", "2")
}

func testLocksOfClients(t *testing.T, f Replicated) {
	var stores []kv.Store
	for _, m := range []kv.Month{"2026-11", "2026-12", "2026-11", "2026-12"} {
		s, err := open(t, f).Volume(t.Context(), m, true)
		if err != nil {
			t.Fatal(err)
		}
		stores = append(stores, s)
	}
	putOnce(t, stores)
	countTogether(t, stores)
	want(t, stores[0], "count", "200")
	want(t, stores[1], "count", "200")
}

func testFreshOfClients(t *testing.T, f Replicated) {
	first, second := open(t, f), open(t, f)
	checkFresh(t, volume(t, first), volume(t, second))
	if got := months(t, second); got != "[2026-11]" {
		t.Errorf("volumes, after another client created one: %s", got)
	}
	if err := first.Drop(t.Context(), month); err != nil {
		t.Fatal(err)
	}
	if got := months(t, second); got != "[]" {
		t.Errorf("volumes, after another client dropped one: %s", got)
	}
}

func testStagedLost(t *testing.T, f Replicated) {
	s := openVolume(t, f)
	f.Stall()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	staged, err := s.Stage(ctx, []kv.Pair{{Key: []byte("chunk"), Value: []byte("bytes")}})
	if err != nil {
		t.Skip("the engine waits until what is staged is durable") // then it cannot be lost
	}
	want(t, s, "chunk", "bytes")
	f.Crash()
	err = s.Update(t.Context(), nil, func(tx kv.Tx) error { tx.Needs(staged); tx.Put([]byte("entry"), []byte("chunk")); return nil })
	if err == nil && show(s.Get(t.Context(), []byte("chunk"))) != "bytes" {
		t.Error("an update was acknowledged although what it needs is lost")
	} else if err != nil {
		wantErr(t, "an update that needs what is lost", err, kv.ErrUnavailable)
		want(t, s, "entry", "-")
	}
}

func testFenceOfAnother(t *testing.T, f Replicated) {
	first, second := open(t, f), open(t, f)
	s := volume(t, first)
	put(t, s, "a", "1")
	fence, err := second.Fence(t.Context(), month)
	if err != nil {
		t.Fatal(err)
	}
	wantErr(t, "Update inside a fence of another client", tryPut(t.Context(), s, "a", "2"), kv.ErrFenced)
	want(t, s, "a", "1")
	third, err := first.Fence(t.Context(), month)
	if err != nil {
		t.Fatal(err)
	}
	wantErr(t, "Drop by whose fence was replaced", fence.Drop(t.Context()), kv.ErrFenced)
	wantErr(t, "Lift by whose fence was replaced", fence.Lift(t.Context()), kv.ErrFenced)
	wantErr(t, "Update inside the second fence", tryPut(t.Context(), s, "a", "2"), kv.ErrFenced)
	if err := third.Lift(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, s, "a", "2")
	want(t, volume(t, second), "a", "2")
}

func testDroppedByAnother(t *testing.T, f Replicated) {
	first, second := open(t, f), open(t, f)
	old := volume(t, first)
	put(t, old, "a", "1")
	if err := second.Drop(t.Context(), month); err != nil {
		t.Fatal(err)
	}
	wantClosed(t, old)
	put(t, volume(t, second), "a", "2")
	wantClosed(t, old)
	want(t, volume(t, first), "a", "2")
}

func testUnknown(t *testing.T, f Replicated) {
	s := openVolume(t, f)
	put(t, s, "before", "1")
	stalled(t, f, s)
	f.Resume()
	put(t, s, "after", "1") // it shares a lock, so the outcome of the first one is known now
	want(t, s, "a", "1")

	f.Stall()
	var wg sync.WaitGroup
	wg.Go(func() {
		err := tryPut(t.Context(), s, "b", "1")
		if err != nil && kv.KindOf(err) != kv.Unknown {
			t.Errorf("an update in which the server was lost: %v, want its outcome unknown", err)
		}
	})
	deadline := time.Now().Add(10 * time.Second)
	for show(s.Get(t.Context(), []byte("b"))) != "1" && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	f.Crash()
	wg.Wait()
	put(t, s, "b", "2")
	want(t, s, "b", "2")
}

// putOnce lets one update in each of several stores, of two months, put a key unless another one has put it. Exactly one must.
func putOnce(t *testing.T, stores []kv.Store) {
	t.Helper()
	for round := range 20 {
		key := fmt.Appendf(nil, "once %d", round)
		var wg sync.WaitGroup
		for _, s := range stores {
			wg.Go(func() {
				if err := s.Update(t.Context(), []string{"mailbox"}, func(tx kv.Tx) error {
					for _, m := range []kv.Month{"2026-11", "2026-12"} {
						other, err := tx.In(m)
						if err != nil {
							return err
						}
						if _, err := other.Get(key); !errors.Is(err, kv.ErrNotFound) {
							return err
						}
					}
					tx.Put(key, key)
					return nil
				}); err != nil {
					t.Errorf("Update: %v", err)
				}
			})
		}
		wg.Wait()
		there := 0
		for _, s := range stores[:2] {
			if _, err := s.Get(t.Context(), key); err == nil {
				there++
			}
		}
		if there != 1 {
			t.Errorf("of updates that share a lock, in two months, %d put what only one was to put", there)
		}
	}
}

// countTogether lets updates take the same locks in different orders, and some locks twice.
func countTogether(t *testing.T, stores []kv.Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	orders := [][]string{{"a", "b"}, {"b", "a"}, {"a", "b", "a"}, {"b", "b"}, {"b", "c", "a"}}
	var wg sync.WaitGroup
	for w, locks := range orders {
		for i, s := range stores {
			wg.Go(func() {
				for range 20 {
					if err := s.Update(ctx, locks, func(tx kv.Tx) error { return increment(tx, "count") }); err != nil {
						t.Errorf("updates with the locks %q (%d %d): %v", locks, w, i, err)
						return
					}
				}
			})
		}
	}
	wg.Wait()
}

// checkFresh checks that reader sees what writer, a store of the same volume, acknowledged.
func checkFresh(t *testing.T, writer, reader kv.Store) {
	t.Helper()
	for i := range 100 {
		value := fmt.Sprint(i)
		put(t, writer, "a", value, "b", value)
		if got, err := reader.GetAll(t.Context(), [][]byte{[]byte("a"), []byte("-"), []byte("b")}); err != nil ||
			string(got[0]) != value || got[1] != nil || string(got[2]) != value {
			t.Fatalf("GetAll behind an update of %s: %q, %v", value, got, err)
		}
		if got := show(reader.Get(t.Context(), []byte("a"))); got != value {
			t.Fatalf("Get behind an update of %s: %s", value, got)
		}
		if got := fmt.Sprint(pairsText(scan(t, reader, nil, nil))); got != fmt.Sprintf("[a=%s b=%s]", value, value) {
			t.Fatalf("Scan behind an update of %s: %s", value, got)
		}
	}
}
