package kvtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"copialettere/journal/kv"
)

// Fault is something that storage does wrong.
type Fault int

// Faults. All but NoSpace happen once.
const (
	FailedWrite    Fault = iota // the next write fails and leaves nothing
	ShortWrite                  // the next write fails and leaves a part
	SyncFailedLost              // the next fsync fails; its data can be read until a power cut loses it
	SyncFailedGone              // the next fsync fails; its data is gone at once
	SyncFailedKept              // the next fsync fails, although it made its data durable
	NoSpace                     // all writes fail until Heal: the disk is full
)

// String returns the fault in words.
func (f Fault) String() string {
	return [...]string{"failed write", "short write", "failed fsync, lost later", "failed fsync, gone at once",
		"failed fsync, kept all the same", "no space"}[f]
}

// Damage is what happened to the log of a store while its engine was closed.
type Damage int

// Damages.
const (
	FlippedInside Damage = iota // a bit is flipped in the middle of the acknowledged records
	FlippedAtEnd                // a bit is flipped in the last acknowledged record
	CutOff                      // the last acknowledged record is cut short
	HalfWritten                 // the last acknowledged record is followed by the beginning of another
	ZerosAtEnd                  // the last acknowledged record is followed by zeros
)

// String returns the damage in words.
func (d Damage) String() string {
	return [...]string{"flipped inside", "flipped at the end", "cut off", "half written", "zeros at the end"}[d]
}

// Faulty is a Fixture whose storage can be made to fail.
type Faulty interface {
	Fixture
	// Inject arms a fault.
	Inject(Fault)
	// Heal takes back a fault that is armed or goes on.
	Heal()
	// PowerCut takes the storage away from an open engine, closes the engine, and loses everything that was not synced.
	PowerCut(t testing.TB, e kv.Engine)
	// Damage changes the newest log of a volume whose engine is closed.
	Damage(t testing.TB, m kv.Month, d Damage)
}

// RunFaults tests an engine on failing storage: it must hold every acknowledged update or report it as lost, keep updates whole, and go on
// working. create makes a new, empty fixture for each test.
func RunFaults(t *testing.T, create func(t testing.TB) Faulty) {
	for f := FailedWrite; f <= NoSpace; f++ {
		t.Run(f.String(), func(t *testing.T) { testFault(t, create(t), f) })
	}
	for d := FlippedInside; d <= ZerosAtEnd; d++ {
		t.Run(d.String(), func(t *testing.T) { testDamage(t, create(t), d) })
	}
	t.Run("power cuts under load", func(t *testing.T) { testPowerCuts(t, create(t)) })
	t.Run("faults under load", func(t *testing.T) { testFaultsUnderLoad(t, create(t)) })
}

// ledger knows what was written to a volume. Each update writes two keys and counts in a third, so that half an update shows.
type ledger struct {
	mu     sync.Mutex
	acked  map[string]bool // guarded by mu
	failed map[string]bool // tried, but not acknowledged; guarded by mu
}

func newLedger() *ledger { return &ledger{acked: make(map[string]bool), failed: make(map[string]bool)} }

func (l *ledger) put(ctx context.Context, s kv.Store, name string) error {
	err := s.Update(ctx, []string{"lock"}, func(tx kv.Tx) error {
		tx.Put([]byte("a "+name), []byte(strings.Repeat(name, 20)))
		tx.Put([]byte("b "+name), []byte(name))
		return increment(tx, "count")
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.acked[name] = true
	} else {
		l.failed[name] = true
	}
	return err
}

// check returns how many acknowledged updates are missing from a store. It fails the test if an update is there in part, was never
// tried, or was counted wrong. The count is compared only if none is missing.
func (l *ledger) check(t testing.TB, s kv.Store) (missing int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	halves := make(map[string]int)
	count := "0"
	for _, p := range scan(t, s, nil, nil) {
		half, name, _ := strings.Cut(string(p.Key), " ")
		if half == "count" {
			count = string(p.Value)
			continue
		}
		wanted := name
		if half == "a" {
			wanted = strings.Repeat(name, 20)
		}
		if string(p.Value) != wanted {
			t.Errorf("the value of %q is %q, want %q", p.Key, p.Value, wanted)
		}
		halves[name]++
		if !l.acked[name] && !l.failed[name] {
			t.Errorf("%q is there, but nobody put it", p.Key)
		}
	}
	for name, n := range halves {
		if n != 2 {
			t.Errorf("of update %q only a half is there", name)
		}
	}
	for name := range l.acked {
		if halves[name] == 0 {
			missing++
		}
	}
	if got := fmt.Sprint(len(halves)); missing == 0 && got != count {
		t.Errorf("%s updates are there, but they counted %s", got, count)
	}
	return missing
}

func (l *ledger) checkAll(t testing.TB, s kv.Store) {
	t.Helper()
	if missing := l.check(t, s); missing > 0 {
		t.Errorf("%d acknowledged updates are missing", missing)
	}
	wantLost(t, s, 0)
}

// eventually puts until it succeeds. An engine that failed may take up to ten seconds to work again.
func (l *ledger) eventually(t testing.TB, s kv.Store, name string) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for try := 0; ; try++ {
		err := l.put(t.Context(), s, fmt.Sprintf("%s try %d", name, try))
		if err == nil {
			return
		}
		wantErr(t, "Update after a fault", err, kv.ErrUnavailable)
		if time.Now().After(deadline) {
			t.Fatalf("the store did not recover: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func testFault(t *testing.T, f Faulty, fault Fault) {
	e := f.Open(t)
	s := volume(t, e)
	l := newLedger()
	for i := range 30 {
		if err := l.put(t.Context(), s, fmt.Sprint("before ", i)); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 2 {
		f.Inject(fault)
		err := l.put(t.Context(), s, fmt.Sprint("met ", round))
		wantErr(t, "the update that meets the fault", err, kv.ErrUnavailable)
		if kv.KindOf(err) != kv.Unknown {
			t.Errorf("the update that meets the fault: %v, want its outcome unknown", err)
		}
		// What was acknowledged can be read, or the store says that it cannot.
		if got := show(s.Get(t.Context(), []byte("b before 0"))); got != "before 0" && !strings.Contains(got, kv.ErrUnavailable.Error()) {
			t.Errorf("after the fault the value of an acknowledged key is %q", got)
		}
		f.Heal()
		l.eventually(t, s, fmt.Sprint("after ", round))
		for i := range 10 {
			if err := l.put(t.Context(), s, fmt.Sprint("then ", round, i)); err != nil {
				t.Fatal(err)
			}
		}
		l.checkAll(t, s)
	}
	f.PowerCut(t, e)
	l.checkAll(t, volume(t, open(t, f)))
}

func testDamage(t *testing.T, f Faulty, damage Damage) {
	const before = 60
	e := f.Open(t)
	s := volume(t, e)
	l := newLedger()
	begun := time.Now()
	for i := range before {
		if err := l.put(t.Context(), s, fmt.Sprint("before ", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	f.Damage(t, month, damage)

	e = f.Open(t)
	s = volume(t, e)
	missing := l.check(t, s)
	if acknowledged := damage <= CutOff; (missing > 0) != acknowledged {
		t.Errorf("%d acknowledged updates are missing; the damage was to take some: %v", missing, acknowledged)
	}
	wantLost(t, s, uint64(missing))
	losses, err := s.Lost(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, loss := range losses {
		checkLoss(t, loss, begun, damage == FlippedInside && missing < before/2)
	}
	for i := range 10 {
		if err := l.put(t.Context(), s, fmt.Sprint("after ", i)); err != nil {
			t.Fatal(err)
		}
	}
	if got := l.check(t, s); got != missing {
		t.Errorf("%d acknowledged updates are missing after going on, %d before", got, missing)
	}
	f.PowerCut(t, e)
	s = volume(t, open(t, f))
	if got := l.check(t, s); got != missing {
		t.Errorf("%d acknowledged updates are missing after a power cut, %d before", got, missing)
	}
	if again, err := s.Lost(t.Context()); err != nil || !slices.Equal(again, losses) {
		t.Errorf("the losses are %v (%v), want %v still", again, err, losses)
	}
}

func checkLoss(t testing.TB, loss kv.Loss, begun time.Time, inside bool) {
	t.Helper()
	if loss.Found.Before(begun) || loss.Found.After(time.Now()) {
		t.Errorf("the loss was found at %v, want after %v", loss.Found, begun)
	}
	if !loss.After.IsZero() && (loss.After.Before(begun) || loss.After.After(loss.Found)) {
		t.Errorf("the loss came after %v, want a time between %v and %v", loss.After, begun, loss.Found)
	}
	if inside && (loss.Before.IsZero() || loss.Before.Before(loss.After)) {
		t.Errorf("the loss came before %v, want a time after %v", loss.Before, loss.After)
	}
}

// load starts writers that put until stop is called. stop waits for them.
func (l *ledger) load(t testing.TB, s kv.Store, round int) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for w := range 6 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				err := l.put(t.Context(), s, fmt.Sprint(round, " ", w, " ", i))
				if err != nil && !errors.Is(err, kv.ErrUnavailable) && !errors.Is(err, kv.ErrClosed) {
					t.Errorf("Update: %v", err)
				}
				if err != nil {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

func testPowerCuts(t *testing.T, f Faulty) {
	l := newLedger()
	for round := range 8 {
		e := f.Open(t)
		s := volume(t, e)
		l.checkAll(t, s)
		stop := l.load(t, s, round)
		time.Sleep(time.Duration(rand.IntN(20)) * time.Millisecond)
		f.PowerCut(t, e)
		stop()
	}
	l.checkAll(t, openVolume(t, f))
}

func testFaultsUnderLoad(t *testing.T, f Faulty) {
	l := newLedger()
	e := f.Open(t)
	s := volume(t, e)
	stop := l.load(t, s, 0)
	for round := range 15 {
		time.Sleep(time.Duration(rand.IntN(4)) * time.Millisecond)
		f.Inject(Fault(round % int(NoSpace))) // all but NoSpace
		time.Sleep(time.Duration(rand.IntN(4)) * time.Millisecond)
		l.eventually(t, s, fmt.Sprint("between ", round))
	}
	f.Heal()
	stop()
	l.eventually(t, s, "after")
	l.checkAll(t, s)
	f.PowerCut(t, e)
	l.checkAll(t, volume(t, open(t, f)))
}
