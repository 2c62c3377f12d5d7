// Package kvtest is the contract of package kv as tests. Every engine must pass Run. It must also pass RunFaults if its storage can be made to
// fail, RunAbsent if its volumes can be absent, and RunReplicated if it can have several clients. Memory is an engine of that last kind, for
// the tests of the packages above.
package kvtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"copialettere/journal/kv"
)

// Fixture is a place for the data of one engine.
type Fixture interface {
	// Open opens the engine on the data of the fixture, or ends the test. Tests call it again after closing the engine.
	Open(t testing.TB) kv.Engine
}

// Absent is a Fixture whose volumes can be absent.
type Absent interface {
	Fixture
	// TakeAway removes the data of a volume, or of the settings if the month is empty, while no engine is open. putBack brings it back.
	TakeAway(t testing.TB, m kv.Month) (putBack func())
}

const month = kv.Month("2026-11")

// RunAbsent tests that an engine knows which volumes it must have. create makes a new, empty fixture for each test.
func RunAbsent(t *testing.T, create func(t testing.TB) Absent) {
	t.Run("an absent volume is an error that names it", func(t *testing.T) { testAbsentVolume(t, create(t)) })
	t.Run("absent settings are an error that names them", func(t *testing.T) { testAbsentSettings(t, create(t)) })
	t.Run("an absent volume is forgotten", func(t *testing.T) { testForget(t, create(t)) })
}

// Run tests an engine against the contract. create makes a new, empty fixture for each test.
func Run(t *testing.T, create func(t testing.TB) Fixture) {
	tests := []struct {
		name string
		run  func(t *testing.T, f Fixture)
	}{
		{"get what was put", testPutGet},
		{"an update sees its own writes and deletions", testOwnWrites},
		{"a failed update writes nothing", testFailedUpdate},
		{"a panic stays with its caller", testPanic},
		{"an update whose goroutine ends stays alone", testGoexit},
		{"updates of one lock run one after the other", testCounter},
		{"slices are not shared", testSlices},
		{"reserved and empty keys are refused", testReservedKeys},
		{"an update has its limit", testLimit},
		{"updates of the largest size run side by side", testLargeUpdates},
		{"scan is in order and within its bounds", testScanBounds},
		{"scan reads page after page", testScanPages},
		{"scan reads large values", testScanLarge},
		{"scan stops when it is told to", testScanStop},
		{"scan goes on while others write", testScanWhileWriting},
		{"volumes are created, listed and dropped", testVolumes},
		{"months that are none are refused", testBadMonths},
		{"a dropped store answers closed", testDropped},
		{"drop while others use the volume", testDropInUse},
		{"a closed engine answers closed", testClosed},
		{"settings live apart", testSettings},
		{"everything is there after opening again", testReopen},
		{"a context that has ended", testEndedContext},
		{"a context that ends in the queue", testContextInQueue},
		{"a lock is one in all stores", testLocksOfStores},
		{"locks have no order and no number", testLockOrder},
		{"who leaves keeps no lock", testLeftLocks},
		{"several keys at once", testGetAll},
		{"an update reads other volumes", testIn},
		{"what is staged is there with what needs it", testStage},
		{"reading is fresh", testFresh},
		{"a fence keeps updates out", testFence},
		{"errors tell what to make of them", testKinds},
		{"purge deletes what it says", testPurge},
		{"nothing is lost without a fault", testNothingLost},
		{"many writers share a sync", testGroupCommit},
		{"random operations against a model", testModel},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, create(t)) })
	}
}

// open opens an engine, and closes it when the test ends.
func open(t testing.TB, f Fixture) kv.Engine {
	t.Helper()
	e := f.Open(t)
	t.Cleanup(func() { e.Close() })
	return e
}

func volume(t testing.TB, e kv.Engine) kv.Store {
	t.Helper()
	s, err := e.Volume(t.Context(), month, true)
	if err != nil {
		t.Fatalf("Volume(%s, create): %v", month, err)
	}
	return s
}

func openVolume(t testing.TB, f Fixture) kv.Store {
	t.Helper()
	return volume(t, open(t, f))
}

func put(t testing.TB, s kv.Store, pairs ...string) {
	t.Helper()
	if err := tryPut(t.Context(), s, pairs...); err != nil {
		t.Fatalf("put %q: %v", pairs, err)
	}
}

// tryPut puts pairs, given as key, value, key, value ..., in one update.
func tryPut(ctx context.Context, s kv.Store, pairs ...string) error {
	return s.Update(ctx, []string{"lock"}, func(tx kv.Tx) error {
		for i := 0; i < len(pairs); i += 2 {
			tx.Put([]byte(pairs[i]), []byte(pairs[i+1]))
		}
		return nil
	})
}

// want checks the value of a key; "-" stands for none.
func want(t testing.TB, s kv.Store, key, value string) {
	t.Helper()
	if got := show(s.Get(t.Context(), []byte(key))); got != value {
		t.Errorf("value of %q is %q, want %q", key, got, value)
	}
}

func show(value []byte, err error) string {
	switch {
	case errors.Is(err, kv.ErrNotFound):
		return "-"
	case err != nil:
		return "error: " + err.Error()
	}
	return string(value)
}

func scan(t testing.TB, s kv.Store, from, to []byte) []kv.Pair {
	t.Helper()
	var pairs []kv.Pair
	for p, err := range s.Scan(t.Context(), from, to) {
		if err != nil {
			t.Fatalf("Scan(%q, %q): %v", from, to, err)
		}
		pairs = append(pairs, p)
	}
	return pairs
}

func keys(pairs []kv.Pair) string {
	var b bytes.Buffer
	for i, p := range pairs {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.Write(p.Key)
	}
	return b.String()
}

func wantErr(t testing.TB, doing string, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("%s: error is %v, want %v", doing, err, target)
	}
}

func testPutGet(t *testing.T, f Fixture) {
	s := openVolume(t, f)
	want(t, s, "a", "-")
	put(t, s, "a", "1", "b", "", "c\x00\xff", "\x00")
	want(t, s, "a", "1")
	want(t, s, "b", "")
	want(t, s, "c\x00\xff", "\x00")
	want(t, s, "ab", "-")
	put(t, s, "a", "2")
	want(t, s, "a", "2")
	if err := s.Update(t.Context(), nil, func(tx kv.Tx) error { tx.Put([]byte("nil"), nil); return nil }); err != nil {
		t.Fatal(err)
	}
	want(t, s, "nil", "")
	if err := s.Update(t.Context(), nil, func(tx kv.Tx) error {
		tx.Delete([]byte("a"))
		tx.Delete([]byte("never there"))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	want(t, s, "a", "-")
	want(t, s, "b", "")
}

func testOwnWrites(t *testing.T, f Fixture) {
	s := openVolume(t, f)
	put(t, s, "a", "old", "b", "old")
	var seen []string
	if err := s.Update(t.Context(), []string{"lock"}, func(tx kv.Tx) error {
		seen = nil
		look := func(key string) { seen = append(seen, key+"="+show(tx.Get([]byte(key)))) }
		look("a")
		tx.Put([]byte("a"), []byte("new"))
		look("a")
		tx.Delete([]byte("a"))
		look("a")
		tx.Put([]byte("a"), []byte("newer"))
		look("a")
		tx.Delete([]byte("b"))
		look("b")
		look("c")
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got, wanted := fmt.Sprint(seen), "[a=old a=new a=- a=newer b=- c=-]"; got != wanted {
		t.Errorf("the update saw %s, want %s", got, wanted)
	}
	want(t, s, "a", "newer")
	want(t, s, "b", "-")
}

func testFailedUpdate(t *testing.T, f Fixture) {
	s := openVolume(t, f)
	put(t, s, "a", "1")
	fault := errors.New("fault of fn")
	err := s.Update(t.Context(), []string{"lock"}, func(tx kv.Tx) error {
		tx.Put([]byte("a"), []byte("2"))
		tx.Put([]byte("b"), []byte("2"))
		return fault
	})
	if err != fault {
		t.Errorf("Update returned %v, want the error of fn as it is", err)
	}
	want(t, s, "a", "1")
	want(t, s, "b", "-")
	put(t, s, "b", "3")
	want(t, s, "b", "3")
}

func testPanic(t *testing.T, f Fixture) {
	s := openVolume(t, f)
	func() {
		defer func() {
			if got := recover(); got != "fault of fn" {
				t.Errorf("recovered %v, want the panic of fn", got)
			}
		}()
		s.Update(t.Context(), []string{"lock"}, func(tx kv.Tx) error {
			tx.Put([]byte("a"), []byte("1"))
			panic("fault of fn")
		})
	}()
	want(t, s, "a", "-")
	put(t, s, "a", "2")
	want(t, s, "a", "2")
}

func testGoexit(t *testing.T, f Fixture) {
	s := openVolume(t, f)
	var wg sync.WaitGroup
	wg.Go(func() {
		s.Update(t.Context(), []string{"lock"}, func(tx kv.Tx) error {
			tx.Put([]byte("a"), []byte("1"))
			runtime.Goexit()
			return nil
		})
	})
	wg.Wait()
	want(t, s, "a", "-")
	put(t, s, "a", "2")
	want(t, s, "a", "2")
}

func testCounter(t *testing.T, f Fixture) {
	const writers, rounds, locks = 16, 25, 2
	s := openVolume(t, f)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			lock := fmt.Sprintf("lock %d", w%locks)
			for range rounds {
				if err := s.Update(t.Context(), []string{lock}, func(tx kv.Tx) error { return increment(tx, lock) }); err != nil {
					t.Errorf("Update: %v", err)
				}
			}
		})
	}
	wg.Wait()
	for l := range locks {
		want(t, s, fmt.Sprintf("lock %d", l), strconv.Itoa(writers/locks*rounds))
	}
}

func increment(tx kv.Tx, key string) error {
	n := 0
	v, err := tx.Get([]byte(key))
	if err == nil {
		n, err = strconv.Atoi(string(v))
	} else if errors.Is(err, kv.ErrNotFound) {
		err = nil
	}
	if err != nil {
		return err
	}
	tx.Put([]byte(key), strconv.AppendInt(nil, int64(n+1), 10))
	return nil
}

func testSlices(t *testing.T, f Fixture) {
	s := openVolume(t, f)
	key, value := []byte("key"), []byte("value")
	scribble := func(b []byte) {
		for i := range b {
			b[i] = 'x'
		}
	}
	if err := s.Update(t.Context(), nil, func(tx kv.Tx) error {
		copy(key, "key")
		copy(value, "value")
		tx.Put(key, value)
		got, err := tx.Get(key)
		scribble(got)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	scribble(key)
	scribble(value)
	want(t, s, "key", "value")
	got, err := s.Get(t.Context(), []byte("key"))
	if err != nil {
		t.Fatal(err)
	}
	scribble(got)
	put(t, s, "kez", "v")
	var seen []string
	for p, err := range s.Scan(t.Context(), nil, nil) {
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, string(p.Key))
		scribble(p.Key)
		scribble(p.Value)
	}
	if got := fmt.Sprint(seen); got != "[key kez]" {
		t.Errorf("scan that changes what it is handed saw %s", got)
	}
	want(t, s, "key", "value")
}

func testReservedKeys(t *testing.T, f Fixture) {
	s := openVolume(t, f)
	put(t, s, "\x00", "lowest", "\xfe\xff", "highest")
	for _, key := range []string{"", "\xff", "\xffq"} {
		if got, err := s.Get(t.Context(), []byte(key)); err == nil || errors.Is(err, kv.ErrNotFound) {
			t.Errorf("Get(%q) = %q, %v, want it refused", key, got, err)
		}
		if err := tryPut(t.Context(), s, "a", "1", key, "1"); err == nil {
			t.Errorf("Put(%q) was accepted", key)
		}
		if err := s.Update(t.Context(), nil, func(tx kv.Tx) error { tx.Delete([]byte(key)); return nil }); err == nil {
			t.Errorf("Delete(%q) was accepted", key)
		}
	}
	want(t, s, "a", "-")
	for _, to := range [][]byte{nil, {0xff}, {0xff, 0xff}} {
		if got := keys(scan(t, s, nil, to)); got != "\x00 \xfe\xff" {
			t.Errorf("Scan(nil, %q) = %q, want the caller's keys alone", to, got)
		}
	}
	if got := keys(scan(t, s, []byte{0xff}, nil)); got != "" {
		t.Errorf("Scan(ff, nil) = %q, want nothing", got)
	}
}

func testLimit(t *testing.T, f Fixture) {
	s := openVolume(t, f)
	half := make([]byte, kv.MaxUpdate/2-1)
	update := func(key string, last []byte) error {
		return s.Update(t.Context(), []string{"lock"}, func(tx kv.Tx) error {
			tx.Put([]byte("a"), half)
			tx.Put([]byte(key), last)
			return nil
		})
	}
	wantErr(t, "an update of one byte more than allowed", update("b", append(half, 0)), kv.ErrTooLarge)
	wantErr(t, "an update that puts one key twice", update("a", append(half, 0)), kv.ErrTooLarge)
	want(t, s, "a", "-")
	if err := update("b", half); err != nil {
		t.Errorf("an update of just what is allowed: %v", err)
	}
	if got, err := s.Get(t.Context(), []byte("b")); len(got) != len(half) {
		t.Errorf("the value has %d bytes (%v), want %d", len(got), err, len(half))
	}
}

func testLargeUpdates(t *testing.T, f Fixture) {
	const writers = 6
	s := openVolume(t, f)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			value := bytes.Repeat([]byte{byte(w)}, kv.MaxUpdate*3/4)
			if err := s.Update(t.Context(), []string{"lock"}, func(tx kv.Tx) error {
				tx.Put([]byte{'v', byte(w)}, value)
				return increment(tx, "count")
			}); err != nil {
				t.Errorf("Update: %v", err)
			}
		})
	}
	wg.Wait()
	want(t, s, "count", strconv.Itoa(writers))
	for w := range writers {
		got, err := s.Get(t.Context(), []byte{'v', byte(w)})
		if err != nil || len(got) != kv.MaxUpdate*3/4 || bytes.Count(got, []byte{byte(w)}) != len(got) {
			t.Errorf("value %d: %d bytes, error %v, want its own %d bytes", w, len(got), err, kv.MaxUpdate*3/4)
		}
	}
}

func testGroupCommit(t *testing.T, f Fixture) {
	const writers, rounds = 64, 8
	s := openVolume(t, f)
	alone := func() time.Duration {
		start := time.Now()
		for i := range writers {
			put(t, s, fmt.Sprintf("alone %d", i), "v")
		}
		return time.Since(start) / writers
	}
	perSync := alone()
	together := time.Now()
	var wg sync.WaitGroup
	var failed atomic.Int64
	for w := range writers {
		wg.Go(func() {
			for i := range rounds {
				err := s.Update(t.Context(), []string{fmt.Sprint("lock ", w)}, func(tx kv.Tx) error {
					tx.Put(fmt.Appendf(nil, "together %d %d", w, i), []byte("v"))
					return nil
				})
				if err != nil {
					failed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(together)
	if failed.Load() > 0 {
		t.Fatalf("%d updates failed", failed.Load())
	}
	perSync = max(perSync, alone()) // the machine may have got busy meanwhile
	t.Logf("%d updates in %v, %v a sync alone", writers*rounds, took, perSync)
	if n := len(scan(t, s, []byte("together"), nil)); n != writers*rounds {
		t.Errorf("%d of %d updates are there", n, writers*rounds)
	}
	// Sharing takes far less than half the time, so a busy machine does not fail the test.
	if limit := perSync * writers * rounds / 2; perSync > 200*time.Microsecond && took > limit {
		t.Errorf("%d updates of %d writers took %v, want less than %v: they do not share syncs", writers*rounds, writers, took, limit)
	}
}

func testNothingLost(t *testing.T, f Fixture) {
	e := f.Open(t)
	s := volume(t, e)
	for i := range 40 {
		put(t, s, fmt.Sprint(i), "v")
	}
	wantLost(t, s, 0)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	wantLost(t, openVolume(t, f), 0)
}

// wantLost checks how many updates a store reports as lost.
func wantLost(t testing.TB, s kv.Store, count uint64) {
	t.Helper()
	losses, err := s.Lost(t.Context())
	if err != nil {
		t.Errorf("Lost: %v", err)
	}
	var got uint64
	for _, l := range losses {
		got += l.Count
	}
	if got != count {
		t.Errorf("%d updates are reported as lost in %d spans, want %d", got, len(losses), count)
	}
}

func pairsText(pairs []kv.Pair) []string {
	var text []string
	for _, p := range pairs {
		text = append(text, string(p.Key)+"="+string(p.Value))
	}
	slices.Sort(text)
	return text
}
