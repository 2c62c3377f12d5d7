package journal

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"copialettere/journal/kv"
)

// TestOutcomes plays what transactions do with one message. In a script, "t1 commit" takes the message in, and "= ..." compares what
// the mailbox then has.
func TestOutcomes(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"delivered":                      "t1 commit; = 1 unknown; t1 delivered; = 1 delivered",
		"deferred, then delivered":       "t1 commit; t1 deferred; = 1 deferred; t2 commit found; = 1 unknown; t2 delivered; = 1 delivered",
		"refused":                        "t1 commit; t1 withdraw; =",
		"refused, then again":            "t1 commit; t1 withdraw; t2 commit; = 2 unknown; t2 delivered; = 2 delivered",
		"deferred, then refused":         "t1 commit; t1 deferred; t2 commit found; t2 withdraw; =",
		"deferred many times":            "t1 commit; t1 deferred; t2 commit found; t2 deferred; t3 commit found; t3 deferred; = 1 deferred; t4 commit found; t4 withdraw; =",
		"unknown, then refused":          "t1 commit; t2 commit found; t2 keep; = 1 unknown refused-later",
		"unknown, deferred, refused":     "t1 commit; t2 commit found; t2 deferred; = 1 unknown; t3 commit found; t3 keep; = 1 unknown refused-later",
		"unknown, deferred, delivered":   "t1 commit; t2 commit found; t2 deferred; t3 commit found; t3 delivered; = 1 delivered",
		"deferred, lost, refused":        "t1 commit; t1 deferred; t2 commit found; t3 commit found; t3 keep; = 1 unknown refused-later",
		"delivered, then refused":        "t1 commit; t1 delivered; t2 commit found; = 1 delivered; t2 keep; = 1 delivered refused-later",
		"delivered, then deferred":       "t1 commit; t1 delivered; t2 commit found; t2 deferred; = 1 delivered",
		"delivered, refused, delivered":  "t1 commit; t1 delivered; t2 commit found; t2 keep; t3 commit found; t3 delivered; = 1 delivered refused-later",
		"the first is refused late":      "t1 commit; t2 commit found; t1 keep; = 1 unknown refused-later; t2 delivered; = 1 delivered refused-later",
		"both are refused":               "t1 commit; t2 commit found; t1 keep; t2 keep; = 1 unknown refused-later",
		"the first is delivered late":    "t1 commit; t2 commit found; t2 deferred; t1 delivered; = 1 delivered; t3 commit found; t3 keep; = 1 delivered refused-later",
		"the first is deferred late":     "t1 commit; t2 commit found; t1 deferred; = 1 unknown; t2 keep; = 1 unknown refused-later",
		"delivered by one, not written":  "t1 commit; t2 commit found; t1 delivered; t2 keep; = 1 delivered refused-later",
		"a stranger":                     "t1 commit; t9 keep; t9 deferred; = 1 unknown refused-later; t1 withdraw; =",
		"a crash, then refused":          "t1 commit; crash; = 1 unknown; t2 commit found; t2 keep; = 1 unknown refused-later",
		"deferred, a crash, refused":     "t1 commit; t1 deferred; crash; = 1 deferred; t2 commit found; t2 withdraw; =",
		"refused, a crash":               "t1 commit; t1 withdraw; crash; =; t2 commit; = 2 unknown",
		"held, then refused":             "t1 commit; hold; t1 keep; = 1 refused; crash; = 1 refused",
		"held, refused, then delivered":  "t1 commit; hold; t1 keep; t2 commit found; = 1 unknown; t2 delivered; = 1 delivered",
		"held, refused, refused again":   "t1 commit; hold; t1 keep; t2 commit found; t2 keep; = 1 refused; t3 commit found; t3 deferred; = 1 deferred",
		"held, refused, then released":   "t1 commit; hold; t1 keep; release; = 1 refused; t2 commit found; t2 withdraw; =",
		"deferred, held, refused":        "t1 commit; t1 deferred; t2 commit found; hold; t2 keep; = 1 refused",
		"delivered, held, refused":       "t1 commit; t1 delivered; hold; t2 commit found; t2 keep; = 1 delivered refused-later",
		"unknown, held, refused":         "t1 commit; t2 commit found; hold; t2 keep; = 1 unknown refused-later",
		"delivered at once, then closed": "t1 commit; t1 delivered; close; = 1 delivered",
	} {
		t.Run(name, func(t *testing.T) {
			f, h := hookedFixture(t)
			message := words(1, 20<<10)
			var ref Ref
			for step := range strings.SplitSeq(script, "; ") {
				if wanted, ok := strings.CutPrefix(step, "="); ok {
					var entries []string
					if wanted != "" {
						entries = []string{"INBOX/2026-11" + wanted}
					}
					f.want(mario, entries...)
					continue
				}
				transaction, action, _ := strings.Cut(step, " ")
				switch step {
				case "hold":
					if err := f.Hold(f.ctx(), ref, "operator", "case 1"); err != nil {
						t.Fatal(err)
					}
					continue
				case "release":
					if err := f.Release(f.ctx(), ref, "operator", "closed"); err != nil {
						t.Fatal(err)
					}
					continue
				}
				switch action {
				case "commit", "commit found":
					p := f.deliver(mario, message, transaction)
					if found := action == "commit found"; p.Found != found {
						t.Fatalf("%s: found %v", step, p.Found)
					}
					ref = p.Ref
				case "delivered":
					f.Delivered(ref, transaction)
				case "deferred":
					if err := f.Deferred(f.ctx(), ref, transaction); err != nil {
						t.Fatalf("%s: %v", step, err)
					}
				case "withdraw", "keep":
					withdrawn, err := f.Withdraw(f.ctx(), ref, transaction, refusal(transaction))
					if err != nil || withdrawn != (action == "withdraw") {
						t.Fatalf("%s: withdrawn %v, %v", step, withdrawn, err)
					}
					if got := f.refusedBy(transaction); got != withdrawn {
						t.Errorf("%s: the refusal is on record: %v", step, got)
					}
				default:
					if step == "crash" { // what is in memory does not reach the store any more
						h.set(func(context.Context, func(context.Context) error) error { return kv.ErrClosed })
					}
					f.close()
					h.set(nil)
					f.open()
				}
			}
		})
	}
}

func (f *fixture) refusedBy(transaction string) bool {
	for _, r := range f.records(mario) {
		if r.Reason == ReasonRefused && r.Transaction == transaction {
			return true
		}
	}
	return false
}

func TestOutcomeOfNothing(t *testing.T) {
	f := openFixture(t)
	for name, r := range map[string]Ref{"no volume": {mario, "2026-10", "INBOX", 1}, "no entry": {mario, "2026-11", "INBOX", 2}} {
		f.put(mario, letter("a"))
		wantErr(t, name+": Deferred", f.Deferred(f.ctx(), r, "t"), ErrNotFound)
		withdrawn, err := f.Withdraw(f.ctx(), r, "t", refusal("t"))
		wantErr(t, name+": Withdraw", err, ErrNotFound)
		if withdrawn || f.refusedBy("t") {
			t.Errorf("%s: withdrawn %v, or the refusal is on record", name, withdrawn)
		}
		f.Delivered(r, "t")
		f.want(mario, "INBOX/2026-11 1 delivered")
	}
}

// inBubble runs a test where the clock goes on when nothing else happens, on an engine in memory.
func inBubble(t *testing.T, test func(t *testing.T, f *fixture, h *hooked)) {
	synctest.Test(t, func(t *testing.T) {
		h := &hooked{Engine: new(memory)}
		f := &fixture{t: t, clock: &clock{t: november}, engine: h.Engine}
		var err error
		if f.Journal, err = Open(h, Options{Now: f.clock.now}); err != nil {
			t.Fatal(err)
		}
		test(t, f, h)
		f.verify()
		f.close()
	})
}

// TestDeliveredIsWritten waits for what nobody asks for.
func TestDeliveredIsWritten(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture, h *hooked) {
		p := f.deliver(mario, letter("a"), "t1")
		f.Delivered(p.Ref, "t1")
		wantState(t, f, p.Ref, Unknown)
		time.Sleep(outcomePause + time.Millisecond)
		synctest.Wait()
		wantState(t, f, p.Ref, Delivered)
	})
}

// TestDeliveredWaitsForTheStore keeps outcomes while the store is unavailable.
func TestDeliveredWaitsForTheStore(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture, h *hooked) {
		a := f.deliver(mario, letter("a"), "t1")
		b := f.deliver(mario, letter("b"), "t2")
		var tries atomic.Int32
		h.set(func(ctx context.Context, next func(context.Context) error) error {
			tries.Add(1)
			return unavailable(ctx, next)
		})
		f.Delivered(a.Ref, "t1")
		time.Sleep(time.Minute)
		f.Delivered(b.Ref, "t2")
		time.Sleep(time.Minute)
		synctest.Wait()
		wantState(t, f, a.Ref, Unknown)
		if n := tries.Load(); n < 50 || n > 70 {
			t.Errorf("%d tries in two minutes, want one in %v", n, outcomeRetry)
		}
		h.set(nil)
		time.Sleep(outcomeRetry + time.Millisecond)
		synctest.Wait()
		wantState(t, f, a.Ref, Delivered)
		wantState(t, f, b.Ref, Delivered)
	})
}

// TestNotesAreBounded has more outcomes wait than are kept.
func TestNotesAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture, h *hooked) {
		p := f.deliver(mario, letter("a"), "t1")
		h.set(unavailable)
		for i := range maxNotes + 1 {
			f.Delivered(Ref{mario, "2026-11", "INBOX", uint32(i + 1)}, "t1")
		}
		f.FlushOutcomes(f.ctx())
		f.outcomes.mu.Lock()
		count := f.outcomes.count
		f.outcomes.mu.Unlock()
		if count != maxNotes {
			t.Errorf("%d outcomes are kept, want %d", count, maxNotes)
		}
		h.set(nil)
		f.FlushOutcomes(f.ctx())
		wantState(t, f, p.Ref, Delivered)
	})
}

// TestWithdrawalFails has the store fail when a refusal comes: the message counts as deferred, and the next refusal withdraws it.
func TestWithdrawalFails(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture, h *hooked) {
		p := f.deliver(mario, letter("a"), "t1")
		h.set(unavailable)
		_, err := f.Withdraw(f.ctx(), p.Ref, "t1", refusal("t1"))
		wantErr(t, "Withdraw", err, kv.ErrUnavailable)
		h.set(nil)
		time.Sleep(outcomeRetry + time.Second)
		synctest.Wait()
		wantState(t, f, p.Ref, Deferred)
		if p = f.deliver(mario, letter("a"), "t2"); !p.Found {
			t.Error("the entry was not found")
		}
		withdrawn, err := f.Withdraw(f.ctx(), p.Ref, "t2", refusal("t2"))
		if !withdrawn || err != nil {
			t.Errorf("withdrawn %v, %v", withdrawn, err)
		}
	})
}

// TestWithdrawalIsThere has a Withdraw done whose answer is lost.
func TestWithdrawalIsThere(t *testing.T) {
	inBubble(t, func(t *testing.T, f *fixture, h *hooked) {
		p := f.deliver(mario, letter("a"), "t1")
		h.set(func(ctx context.Context, next func(context.Context) error) error {
			if err := next(ctx); err != nil {
				return err
			}
			return unavailable(ctx, nil)
		})
		withdrawn, err := f.Withdraw(f.ctx(), p.Ref, "t1", refusal("t1"))
		wantErr(t, "Withdraw", err, kv.ErrUnavailable)
		if withdrawn {
			t.Error("withdrawn, and an error")
		}
		h.set(nil)
		time.Sleep(outcomeRetry + time.Second)
		synctest.Wait()
		f.want(mario)
		if again := f.deliver(mario, letter("a"), "t2"); again.Found || again.UID != 2 {
			t.Errorf("the next try is at %+v", again)
		}
	})
}

func wantState(t *testing.T, f *fixture, r Ref, want State) {
	t.Helper()
	e, err := f.Entry(f.ctx(), r)
	if err != nil {
		t.Fatal(err)
	}
	if e.State != want {
		t.Errorf("%v is %s, want %s", r, e.State, want)
	}
}

// TestReadersSeeNoFalseDelivery reads while messages come and are refused: none may look delivered.
func TestReadersSeeNoFalseDelivery(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	ctx, stop := context.WithCancel(f.ctx())
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				transaction := fmt.Sprint(w, " ", i)
				placed, err := f.try(letter(transaction), transaction, received(mario))
				if err != nil {
					t.Error(err)
					return
				}
				e, err := f.Entry(f.ctx(), placed[0].Ref)
				if err != nil || e.State != Unknown {
					t.Errorf("an entry in flight is %v, %v", e, err)
				}
				if _, err := f.Withdraw(f.ctx(), placed[0].Ref, transaction, refusal(transaction)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 300 {
		for e, err := range f.List(f.ctx(), mario) {
			if err != nil {
				t.Fatal(err)
			}
			if e.State == Delivered {
				t.Fatalf("%v looks delivered", e.Ref)
			}
			if one, err := f.Entry(f.ctx(), e.Ref); err == nil && one.State == Delivered {
				t.Fatalf("%v looks delivered", e.Ref)
			}
		}
	}
	stop()
	wg.Wait()
}
