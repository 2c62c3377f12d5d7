package journal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"copialettere/journal/kv"
	"copialettere/journal/kv/kvtest"
)

// processes are journals of one archive, as several processes have it open, each with a clock of its own.
func processes(t *testing.T, m *kvtest.Memory, n int) []*fixture {
	t.Helper()
	var list []*fixture
	for range n {
		f := &fixture{t: t, clock: &clock{t: november}, engine: m.Open(t)}
		var err error
		f.Journal, err = Open(kvtest.Eager(f.engine), Options{Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Now: f.clock.now, Settings: testSettings()})
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, f)
		t.Cleanup(f.close)
	}
	return list
}

func newMemory() *kvtest.Memory { return kvtest.NewMemory(kvtest.NoWeakness) }

// TestTurnOfTheMonth has one delivery come twice at once, on both sides of the turn of a month: it is journaled once.
func TestTurnOfTheMonth(t *testing.T) {
	turn := kv.Month("2026-12").Start()
	for _, c := range []struct{ first, second time.Time }{
		{turn.Add(-time.Second), turn.Add(time.Second)},
		{turn.Add(time.Second), turn.Add(-time.Second)},
		{turn.Add(-maxDraftAge + time.Minute), turn},
		{turn, turn.Add(-maxDraftAge + time.Minute)},
	} {
		t.Run(fmt.Sprint(c.first.Sub(turn), c.second.Sub(turn)), func(t *testing.T) {
			f, h := hookedFixture(t)
			message := letter("once")
			begin := func(at time.Time) *Draft {
				f.clock.set(at)
				d := f.NewDraft(f.ctx())
				d.Write(message)
				return d
			}
			f.clock.set(turn) // so that both months are there
			f.put(anna, letter("december"))
			f.clock.set(turn.Add(-time.Hour))
			f.put(anna, letter("november"))
			f.FlushOutcomes(f.ctx())
			first, second := begin(c.first), begin(c.second)
			defer first.Discard()
			defer second.Discard()
			f.clock.set(turn)
			commit := func(d *Draft, transaction string) Placement {
				placed, err := d.Commit(f.ctx(), Envelope{MailFrom: giove, Transaction: transaction}, []Intent{received(mario)}, nil)
				if err != nil {
					t.Fatal(err)
				}
				return placed[0]
			}
			var other Placement
			h.set(func(ctx context.Context, next func(context.Context) error) error {
				h.set(nil)
				other = commit(second, "second")
				return next(ctx)
			})
			one := commit(first, "first")
			if one.Ref != other.Ref || !one.Found || other.Found {
				t.Errorf("placed at %+v, and then %+v", other, one)
			}
			if n := len(f.list(mario)); n != 1 {
				t.Errorf("%d entries, want one", n)
			}
		})
	}
}

// TestTurnOfTheMonthInProcesses has two processes do so at the same time.
func TestTurnOfTheMonthInProcesses(t *testing.T) {
	p := processes(t, newMemory(), 2)
	turn := kv.Month("2026-12").Start()
	p[0].clock.set(turn.Add(-time.Second))
	p[1].clock.set(turn.Add(time.Second))
	for _, f := range p {
		f.put(anna, letter("begin"))
	}
	for i := range 50 {
		message := letter(fmt.Sprint(i))
		var wg sync.WaitGroup
		for _, f := range p {
			wg.Go(func() {
				if _, err := f.try(message, fmt.Sprint("t", i), received(mario)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	if n := len(p[0].list(mario)); n != 50 {
		t.Errorf("%d entries of 50 messages", n)
	}
}

// TestQuotaOfProcesses has two processes fill one mailbox in two months. It never holds more than its limit.
func TestQuotaOfProcesses(t *testing.T) {
	p := processes(t, newMemory(), 2)
	p[1].clock.set(november.AddDate(0, 1, 0))
	const limit = 2000
	for _, f := range p { // each knows what there was
		if used, err := f.Usage(f.ctx(), mario); used != 0 || err != nil {
			t.Fatal(used, err)
		}
	}
	var wg sync.WaitGroup
	var filling sync.RWMutex // Usage reads one month after the other: what moves from one to the next meanwhile would count twice
	for i, f := range p {
		wg.Go(func() {
			for n := range 12 {
				filling.RLock()
				_, err := f.try(sized(fmt.Sprint(i, n), 150), "t", limited(mario, limit, WhenFull(n%2*int(MakeRoom))))
				filling.RUnlock()
				if err != nil {
					t.Error(err)
				}
				filling.Lock()
				if used, err := f.Usage(f.ctx(), mario); err != nil || used > limit {
					t.Errorf("process %d: %d bytes of %d (%v)", i, used, limit, err)
				}
				filling.Unlock()
			}
		})
	}
	wg.Wait()
	if used, _ := p[0].Usage(t.Context(), mario); used < limit-150 {
		t.Errorf("%d bytes of %d are used", used, limit)
	}
}

// viewed is an engine that counts what is read in other stores than that of an Update.
type viewed struct {
	kv.Engine
	reads atomic.Int64
}

func (v *viewed) Volume(ctx context.Context, m kv.Month, create bool) (kv.Store, error) {
	s, err := v.Engine.Volume(ctx, m, create)
	if err != nil {
		return nil, err
	}
	return viewedStore{s, v}, nil
}

type viewedStore struct {
	kv.Store
	v *viewed
}

func (s viewedStore) Update(ctx context.Context, locks []string, fn func(kv.Tx) error) error {
	return s.Store.Update(ctx, locks, func(tx kv.Tx) error { return fn(viewedTx{tx, s.v}) })
}

type viewedTx struct {
	kv.Tx
	v *viewed
}

func (t viewedTx) In(m kv.Month) (kv.View, error) {
	view, err := t.Tx.In(m)
	if err != nil || m == "" {
		return view, err
	}
	return countedView{view, t.v}, nil
}

type countedView struct {
	kv.View
	v *viewed
}

func (c countedView) Get(key []byte) ([]byte, error) {
	c.v.reads.Add(1)
	return c.View.Get(key)
}

func (c countedView) GetAll(keys [][]byte) ([][]byte, error) {
	c.v.reads.Add(1)
	return c.View.GetAll(keys)
}

// TestQuotaReadsOfProcesses has a message come for many mailboxes that hold something in other months: it reads each of those once.
func TestQuotaReadsOfProcesses(t *testing.T) {
	m := newMemory()
	m.RunOnce()
	v := &viewed{Engine: m.Open(t)}
	f := &fixture{t: t, clock: &clock{t: november}, engine: v.Engine}
	var err error
	if f.Journal, err = Open(v, Options{Now: f.clock.now}); err != nil {
		t.Fatal(err)
	}
	defer f.close()
	var intents []Intent
	for i := range 10 {
		intents = append(intents, limited(fmt.Sprint(i, mario), 1000, SkipFull))
	}
	for month := range 3 {
		f.clock.set(november.AddDate(0, month, 0))
		f.file(sized(fmt.Sprint(month), 200), intents...)
	}
	f.file(sized("full", 250), intents[0])
	f.clock.set(november.AddDate(0, 3, 15))
	f.file(sized("begin", 100), intents...)
	v.reads.Store(0)
	twice := append(slices.Clone(intents), intents[1])
	for i, p := range f.file(sized("counted", 250), twice...) {
		if full := i == 0; full != (p.Skipped == ReasonFull) {
			t.Errorf("mailbox %d: placed at %+v", i, p)
		}
	}
	if n := v.reads.Load(); n != 3 {
		t.Errorf("%d reads of the three other months", n)
	}
	f.verify()
}

// TestSweepByAnotherClock has a process sweep whose clock is hours ahead of that of the drafts. No entry loses a byte.
func TestSweepByAnotherClock(t *testing.T) {
	for name, c := range map[string]struct {
		between func(sweep func())
		refused bool
	}{
		"marked":            {func(sweep func()) { sweep() }, false},
		"garbage":           {func(sweep func()) { sweep(); sweep() }, true},
		"purged long since": {func(sweep func()) { sweep(); sweep(); sweep() }, true},
	} {
		for _, found := range []bool{true, false} {
			t.Run(fmt.Sprint(name, ", found ", found), func(t *testing.T) {
				p := processes(t, newMemory(), 2)
				drafts, sweeper := p[0], p[1]
				message := randomBytes(1, 3<<20)
				if found {
					drafts.put(anna, message)
					if _, err := drafts.Erase(drafts.ctx(), anna, EraseOptions{}); err != nil {
						t.Fatal(err)
					}
				}
				d := drafts.NewDraft(drafts.ctx())
				defer d.Discard()
				d.Write(message)
				d.Finish()
				sweeper.clock.set(november.Add(9 * time.Hour))
				c.between(func() {
					sweeper.sweep(SweepOptions{All: true})
					sweeper.pass(sweepPause + time.Second)
				})
				placed, err := d.Commit(drafts.ctx(), Envelope{Transaction: "t"}, []Intent{received(mario)}, nil)
				if (err != nil) != c.refused {
					t.Fatalf("commit: %v, want it refused: %v", err, c.refused)
				}
				for range 3 {
					sweeper.sweep(SweepOptions{All: true})
					sweeper.pass(sweepPause + time.Second)
				}
				if c.refused {
					wantErr(t, "commit", err, errSwept)
					placed, err = drafts.try(message, "t", received(mario))
				}
				if err != nil {
					t.Fatal(err)
				}
				sweeper.wantBytes(placed[0].Ref, message)
				sweeper.verify()
			})
		}
	}
}

// TestServerLost loses what is not durable, at each step of a large message: no entry is there without its bytes, and none is acknowledged
// that is not there.
func TestServerLost(t *testing.T) {
	m := newMemory()
	p := processes(t, m, 2)
	message := randomBytes(1, 3<<20)
	d := p[0].NewDraft(p[0].ctx())
	defer d.Discard()
	m.Stall()
	d.Write(message)
	d.Finish()
	m.Crash()
	if _, err := d.Commit(p[0].ctx(), Envelope{Transaction: "t"}, []Intent{received(mario)}, nil); err == nil {
		t.Error("a message was committed whose chunks are lost")
	}
	p[0].verify()
	// Another draft has found chunks that are lost.
	p[0].put(anna, letter("begin"))
	m.Stall()
	d1, d2 := p[0].NewDraft(p[0].ctx()), p[1].NewDraft(p[1].ctx())
	defer d1.Discard()
	defer d2.Discard()
	d1.Write(message)
	d1.Finish()
	d2.Write(message)
	d2.Finish()
	m.Crash()
	if _, err := d2.Commit(p[1].ctx(), Envelope{Transaction: "t"}, []Intent{received(mario)}, nil); err == nil {
		t.Error("a message was committed that shares chunks which are lost")
	}
	p[1].verify()
}

// TestRetryIsReplicated has a retry find an entry that no standby has: it is not acknowledged either.
func TestRetryIsReplicated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		p := processes(t, m, 2)
		p[0].put(anna, letter("begin"))
		m.Stall()
		for i, f := range []*fixture{p[0], p[1], p[0]} {
			d := f.NewDraft(f.ctx())
			d.Write(letter("a"))
			ctx, cancel := context.WithTimeout(f.ctx(), 50*time.Millisecond)
			_, err := d.Commit(ctx, Envelope{MailFrom: giove, Transaction: "t"}, []Intent{received(mario)}, nil)
			cancel()
			d.Discard()
			if !errors.Is(err, kv.ErrUnknown) {
				t.Errorf("try %d without a standby: %v, want its outcome unknown", i, err)
			}
		}
		m.Crash()
		p[1].want(mario)
		p[1].file(letter("a"), received(mario))
		p[0].want(mario, "INBOX/2026-11 1 unknown")
	})
}

// TestLease has processes do at once what one may do at a time, one after another process that has ended with the lease.
func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := processes(t, newMemory(), 2)
		settings, err := p[0].engine.Settings(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		err = settings.Update(t.Context(), nil, func(tx kv.Tx) error { tx.Put(leaseKey("cleaning"), make([]byte, 16)); return nil })
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		var mu sync.Mutex
		inside := 0
		var wg sync.WaitGroup
		for _, f := range p {
			wg.Go(func() {
				ctx, release, err := f.clean(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if inside++; inside != 1 {
					t.Error("two hold the lease")
				}
				mu.Unlock()
				time.Sleep(10 * leaseTime)
				if ctx.Err() != nil {
					t.Errorf("a lease that is renewed ended: %v", context.Cause(ctx))
				}
				mu.Lock()
				inside--
				mu.Unlock()
				release()
			})
		}
		wg.Wait()
		if took := time.Since(begun); took < 21*leaseTime || took > 23*leaseTime {
			t.Errorf("they took %v", took)
		}
		// Who is held up finds out that it has lost the lease.
		ctx, release, err := p[0].clean(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		err = settings.Update(t.Context(), nil, func(tx kv.Tx) error { tx.Put(leaseKey("cleaning"), []byte("of another one..")); return nil })
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(leaseTime)
		if !errors.Is(context.Cause(ctx), errLeaseLost) {
			t.Errorf("a lease that was taken over: %v", context.Cause(ctx))
		}
		release()
		if v, err := settings.Get(t.Context(), leaseKey("cleaning")); string(v) != "of another one.." {
			t.Errorf("the lease of another one is now %q, %v", v, err)
		}
		for _, f := range p { // what waits for the clock ends with the bubble
			f.close()
		}
	})
}

// TestClosedByAnother has a mailbox be closed and erased by one process while another one has a message for it under way.
func TestClosedByAnother(t *testing.T) {
	p := processes(t, newMemory(), 2)
	f, other := p[0], p[1]
	f.put(mario, letter("before"))
	d := f.NewDraft(f.ctx())
	defer d.Discard()
	d.Write(letter("under way"))
	err := other.set(t.Context(), "closed", mario)
	if err == nil {
		_, err = other.Erase(t.Context(), mario, EraseOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Commit(f.ctx(), Envelope{Transaction: "t"}, []Intent{received(mario)}, nil)
	wantErr(t, "commit behind the erasure", err, errMailboxClosed)
	other.want(mario)
	f.put(anna, letter("another"))
}

// TestDropOfAnother has a month be dropped by one process, while another one, at some step, puts a message into it, acts on an entry of it, or
// places a hold on its mailbox: either that is refused, or the month stays.
func TestDropOfAnother(t *testing.T) {
	old := Ref{mario, "2026-11", "INBOX", 1}
	for name, act := range map[string]func(f *fixture) error{
		"message": func(f *fixture) error { _, err := f.try(letter("2"), "t", received(mario)); return err },
		"hold":    func(f *fixture) error { return f.Hold(f.ctx(), old, "operator", "late") },
		"mailbox": func(f *fixture) error {
			return errors.Join(f.set(f.ctx(), "held", mario), f.AwaitDeletions(f.ctx(), mario))
		},
	} {
		for step, at := range []string{"before the mark", "before the decision", "inside the fence", "behind the decision"} {
			if name == "message" && step == 0 {
				continue // by its time of arrival it is to go
			}
			t.Run(name+" "+at, func(t *testing.T) {
				m := newMemory()
				other := processes(t, m, 1)[0]
				other.put(mario, letter("1"))
				other.FlushOutcomes(other.ctx())
				h := &hooked{Engine: m.Open(t)}
				f := &fixture{t: t, clock: &clock{t: november.AddDate(1, 0, 0)}, engine: h.Engine}
				var err error
				f.Journal, err = Open(kvtest.Eager(h), Options{Now: f.clock.now, Settings: testSettings()})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(f.close)
				var acted error
				updates, tried := 0, false
				now := func() { tried = true; acted = act(other) }
				h.set(func(ctx context.Context, next func(context.Context) error) error {
					n := updates
					updates++
					if n == step {
						now()
					}
					return next(ctx)
				})
				h.fencing = func() {
					if step == 3 {
						now()
					}
				}
				h.fenced = func() {
					if step == 2 {
						now()
					}
				}
				r := f.expire(ExpireOptions{Mailboxes: keepFor(6), Now: f.clock.now()})
				h.set(nil)
				if !tried {
					t.Fatal("there is no such step")
				}
				dropped := len(r.Dropped) > 0
				_, err = other.Entry(other.ctx(), old)
				switch {
				case dropped && err == nil:
					t.Error("the month was dropped, and is there")
				case name == "message" && acted == nil && dropped:
					t.Error("a message went with its month")
				case name == "hold" && acted == nil && err != nil, name == "mailbox" && acted == nil && err != nil:
					t.Errorf("what is held is gone: %v", err)
				}
				other.verify()
			})
		}
	}
}
