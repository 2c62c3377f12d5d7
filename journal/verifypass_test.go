package journal

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"copialettere/journal/kv"
)

// unhurried are the options of a pass that the rate does not slow down.
func unhurried() PassOptions {
	return PassOptions{Every: 24 * time.Hour, Rate: func() int64 { return 1 << 40 }}
}

// spied is an engine in memory that lets a test see, delay and fail what a pass does.
type spied struct {
	*memory
	read    func(chunk []byte) // before a chunk is read; may be nil
	update  func() error       // instead of an Update of the settings, unless it returns nil; may be nil
	failing map[kv.Month]error // months that cannot be opened
}

func (e *spied) Volume(ctx context.Context, m kv.Month, create bool) (kv.Store, error) {
	if err := e.failing[m]; err != nil {
		return nil, err
	}
	s, err := e.memory.Volume(ctx, m, create)
	return spiedStore{s, e, m}, err
}

func (e *spied) Settings(ctx context.Context) (kv.Store, error) { return e.Volume(ctx, "", true) }

type spiedStore struct {
	kv.Store
	e     *spied
	month kv.Month
}

func (s spiedStore) Get(ctx context.Context, key []byte) ([]byte, error) {
	if key[0] == 'c' && s.e.read != nil {
		s.e.read(key)
	}
	return s.Store.Get(ctx, key)
}

func (s spiedStore) Update(ctx context.Context, locks []string, fn func(kv.Tx) error) error {
	if s.month == "" && s.e.update != nil {
		if err := s.e.update(); err != nil {
			return err
		}
	}
	return s.Store.Update(ctx, locks, fn)
}

// passFixture is a journal of two months: in each month a few messages, of which one is deleted, and one fault of each kind: of a reference and of a
// chunk.
func passFixture(t *testing.T) (*fixture, *spied) {
	t.Helper()
	e := &spied{memory: new(memory)}
	f := fixtureOn(t, e)
	for n, month := range []time.Time{november, november.AddDate(0, 1, 0)} {
		f.clock.set(month)
		for i := range 4 {
			f.put(mario, randomBytes(uint64(10*n+i), 300_000))
		}
		f.put(anna, randomBytes(uint64(10*n), 300_000)) // shares the chunks
		gone := f.put(anna, letter(fmt.Sprint("gone ", n)))
		if err := f.deleteErr(gone); err != nil {
			t.Fatal(err)
		}
		f.FlushOutcomes(f.ctx())
		broken := f.put(mario, randomBytes(uint64(10*n+9), 300_000))
		f.FlushOutcomes(f.ctx())
		m, err := f.Entry(f.ctx(), broken)
		if err != nil {
			t.Fatal(err)
		}
		f.put1(chunkKey(m.Chunks[1].ID), f.codec.Encode(randomBytes(99, int(m.Chunks[1].Size)), nil))
		f.put1(outcomeKey(Ref{mario, m.Month, "INBOX", 99}), outcome{state: Unknown}.encode())
	}
	f.reopenOn(e) // what learns of these messages reads no more
	return f, e
}

// inFull runs a pass without a break.
func inFull(t *testing.T, f *fixture, o PassOptions) *Pass {
	t.Helper()
	p, err := f.KeepVerified(f.ctx(), o)
	if err != nil || p == nil {
		t.Fatalf("pass %+v, %v", p, err)
	}
	return p
}

// TestPass compares a pass with a verification in the foreground, and with what stays of it.
func TestPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := passFixture(t)
		defer f.close()
		want, err := f.Verify(f.ctx(), EvidenceOptions{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		var told []string
		o := unhurried()
		o.Fault = func(detail string) {
			told = append(told, detail)
			if n := f.verified.faults.Value(); n != int64(len(told)) {
				t.Errorf("the metric shows %d faults at fault %d", n, len(told))
			}
		}
		p := inFull(t, f, o)
		want.Chunks, want.Stored, want.Orphans = 0, 0, 0
		if got := p.Report.clone(); !reflect.DeepEqual(got, want.clone()) || got.Faults != 6 {
			t.Errorf("the pass found\n%+v, want\n%+v", got, *want)
		}
		if !slices.Equal(told, want.Details) {
			t.Errorf("told of %q, want %q", told, want.Details)
		}
		if !p.Ended.After(p.Begun) {
			t.Errorf("from %s to %s", p.Begun, p.Ended)
		}
		if last, err := f.LastPass(f.ctx()); err != nil || !reflect.DeepEqual(last, p) {
			t.Errorf("stored %+v, %v, want %+v", last, err, p)
		}
		m := f.verified
		if m.end.Value() != p.Ended.Unix() || m.faults.Value() != 6 || m.monthsLeft.Value() != 0 || m.read.Value() != 0 || m.passedOver.Value() != 0 {
			t.Errorf("metrics: end %d, faults %d, months left %d, read %d", m.end.Value(), m.faults.Value(), m.monthsLeft.Value(), m.read.Value())
		}
	})
}

// TestPassResumes breaks a pass off at each chunk that it reads, as SIGTERM does. Another process then resumes it, reads nothing twice but that chunk's
// message, and finds the same.
func TestPassResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, e := passFixture(t)
		defer f.close()
		reads := 0
		e.read = func([]byte) { reads++ }
		whole := inFull(t, f, unhurried())
		all, most := reads, 0
		for stop := 1; stop <= all; stop++ {
			f.forgetPasses()
			ctx, cancel := context.WithCancel(f.ctx())
			reads = 0
			e.read = func([]byte) {
				if reads++; reads == stop {
					cancel()
				}
			}
			begun := time.Now()
			p, err := f.KeepVerified(ctx, unhurried())
			if p != nil || !errors.Is(err, context.Canceled) {
				t.Fatalf("broken off at chunk %d: %+v, %v", stop, p, err)
			}
			if took := time.Since(begun); took > time.Second {
				t.Errorf("broken off at chunk %d: it took %s", stop, took)
			}
			f.reopenOn(e)
			p = inFull(t, f, unhurried())
			if !sameReport(p, whole) {
				t.Errorf("broken off at chunk %d: found\n%+v, want\n%+v", stop, p.Report, whole.Report)
			}
			most = max(most, reads-all)
		}
		if limit := 10; most > limit { // chunks of one message
			t.Errorf("%d of %d chunks were read twice", most, all)
		}
	})
}

// sameReport says whether two passes found the same, in whatever order.
func sameReport(a, b *Pass) bool {
	x, y := a.Report.clone(), b.Report.clone()
	slices.Sort(x.Details)
	slices.Sort(y.Details)
	return reflect.DeepEqual(x, y)
}

// forgetPasses makes the next pass the first.
func (f *fixture) forgetPasses() {
	f.t.Helper()
	s, err := f.engine.Settings(f.ctx())
	if err == nil {
		err = s.Update(f.ctx(), nil, func(tx kv.Tx) error {
			tx.Delete([]byte(passKey))
			return nil
		})
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// reopenOn opens the journal once more on an engine in memory, as the next process does.
func (f *fixture) reopenOn(e kv.Engine) {
	f.t.Helper()
	if err := f.Journal.Close(); err != nil {
		f.t.Fatal(err)
	}
	var err error
	if f.Journal, err = Open(e, Options{Now: f.clock.now}); err != nil {
		f.t.Fatal(err)
	}
}

// TestPassKilled kills the process at each chunk of a slow pass: nothing is stored then but what was stored before, every five minutes. The pass still
// ends with the same report.
func TestPassKilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, e := passFixture(t)
		defer f.close()
		slow := unhurried()
		slow.Rate = func() int64 { return 2000 } // 150 seconds for a message
		reads := 0
		e.read = func([]byte) { reads++ }
		whole := inFull(t, f, slow)
		all := reads
		for stop := 1; stop <= all; stop += 3 {
			f.forgetPasses()
			dead := false
			ctx, cancel := context.WithCancel(f.ctx())
			e.update = func() error {
				if dead {
					return kv.ErrUnavailable
				}
				return nil
			}
			reads = 0
			e.read = func([]byte) {
				if reads++; reads == stop {
					dead = true
					cancel()
				}
			}
			if p, err := f.KeepVerified(ctx, slow); p != nil || err == nil {
				t.Fatalf("killed at chunk %d: %+v, %v", stop, p, err)
			}
			e.update = nil
			f.reopenOn(e)
			p := inFull(t, f, slow)
			if !sameReport(p, whole) {
				t.Errorf("killed at chunk %d: found\n%+v, want\n%+v", stop, p.Report, whole.Report)
			}
			// Five minutes, and the message in which they end.
			if twice := reads - all; twice > all/4 {
				t.Errorf("killed at chunk %d of %d: %d were read twice", stop, all, twice)
			}
		}
	})
}

// TestPassWriteFaults fails each write of the state in turn. The pass goes on in the next call, and is whole.
func TestPassWriteFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, e := passFixture(t)
		defer f.close()
		slow := unhurried()
		slow.Rate = func() int64 { return 2000 }
		writes := 0
		e.update = func() error { writes++; return nil }
		whole := inFull(t, f, slow)
		all := writes
		if all < 5 {
			t.Fatalf("%d writes of the state are too few to tell", all)
		}
		for fail := 1; fail <= all; fail++ {
			f.forgetPasses()
			writes = 0
			e.update = func() error {
				if writes++; writes == fail {
					return kv.ErrUnavailable
				}
				return nil
			}
			p, err := f.KeepVerified(f.ctx(), slow)
			if p != nil || !errors.Is(err, kv.ErrUnavailable) {
				t.Fatalf("write %d failed: %+v, %v", fail, p, err)
			}
			p = inFull(t, f, slow)
			if !sameReport(p, whole) {
				t.Errorf("write %d failed: found\n%+v, want\n%+v", fail, p.Report, whole.Report)
			}
		}
	})
}

// TestPassBounds measures how fast a pass reads, and how much of the time it leaves to others.
func TestPassBounds(t *testing.T) {
	for _, test := range []struct {
		name       string
		rate       int64
		slow       time.Duration // of one read
		least, max time.Duration
	}{
		// 12 messages of 300 kB and what is around them, of which two share their chunks; all chunks are read once more by their digest.
		{"by the rate", 100_000, 0, 60 * time.Second, 80 * time.Second},
		{"by another rate", 1_000_000, 0, 6 * time.Second, 8 * time.Second},
		{"by the disk", 1 << 40, time.Second, 3 * time.Minute, 15 * time.Minute},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, e := passFixture(t)
				defer f.close()
				var working time.Duration
				e.read = func([]byte) {
					time.Sleep(test.slow)
					working += test.slow
				}
				o := unhurried()
				o.Rate = func() int64 { return test.rate }
				begun := time.Now()
				inFull(t, f, o)
				took := time.Since(begun)
				if took < test.least || took > test.max {
					t.Errorf("it took %s, want from %s to %s", took, test.least, test.max)
				}
				if share := working.Seconds() / took.Seconds(); share > 0.26 {
					t.Errorf("it worked for %.0f%% of the time", 100*share)
				}
			})
		})
	}
}

// TestPassStops has a pass stop in the middle of a long pause, and when it is switched off.
func TestPassStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, _ := passFixture(t)
		defer f.close()
		ctx, cancel := context.WithCancel(f.ctx())
		o := unhurried()
		o.Rate = func() int64 { return 10 }
		ended := make(chan error, 1)
		go func() {
			_, err := f.KeepVerified(ctx, o)
			ended <- err
		}()
		time.Sleep(time.Minute)
		synctest.Wait()
		begun := time.Now()
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) || time.Since(begun) > time.Second {
			t.Errorf("stopped after %s with %v", time.Since(begun), err)
		}
		off := false
		o.Rate = func() int64 {
			if off {
				return 0
			}
			off = true
			return 1000
		}
		if p, err := f.KeepVerified(f.ctx(), o); p != nil || !errors.Is(err, errPassStopped) {
			t.Errorf("switched off: %+v, %v", p, err)
		}
		if left := f.verified.monthsLeft.Value(); left != 2 {
			t.Errorf("%d months are left", left)
		}
		inFull(t, f, unhurried())
	})
}

func TestPassDue(t *testing.T) {
	const every = 7 * 24 * time.Hour
	ago := func(d time.Duration) *Pass { return &Pass{Begun: november.Add(-d), Ended: november.Add(time.Hour - d)} }
	for _, test := range []struct {
		name   string
		stored storedPasses
		made   time.Time
		due    bool
	}{
		{"never", storedPasses{}, time.Time{}, true},
		{"made an hour ago", storedPasses{}, november.Add(-time.Hour), false},
		{"made as long ago", storedPasses{}, november.Add(-every), true},
		{"made an hour ago, and under way", storedPasses{Now: &passState{}}, november.Add(-time.Hour), true},
		{"under way", storedPasses{Last: ago(time.Hour), Now: &passState{}}, time.Time{}, true},
		{"an hour ago", storedPasses{Last: ago(time.Hour)}, time.Time{}, false},
		{"nearly as long ago", storedPasses{Last: ago(every - 1)}, time.Time{}, false},
		{"as long ago", storedPasses{Last: ago(every)}, time.Time{}, true},
		{"by a clock that was a little ahead", storedPasses{Last: ago(-time.Hour)}, time.Time{}, false},
		{"by a clock that was far ahead", storedPasses{Last: ago(-every)}, time.Time{}, true},
	} {
		if got := test.stored.due(november, PassOptions{Every: every, Made: test.made}); got != test.due {
			t.Errorf("%s: due is %t", test.name, got)
		}
	}
}

// TestPassMonths has a month begin, one go and one fail while a pass is under way.
func TestPassMonths(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &spied{memory: new(memory)}
		f := fixtureOn(t, e)
		defer f.close()
		f.put(mario, letter("november"))
		f.clock.set(november.AddDate(0, 1, 0))
		f.put(mario, letter("december"))
		f.FlushOutcomes(f.ctx())
		synctest.Wait() // what learns of these messages reads no more
		happened := false
		e.read = func([]byte) {
			if !happened {
				happened = true
				f.clock.set(november.AddDate(0, 2, 0))
				f.put(mario, letter("january"))
				f.FlushOutcomes(f.ctx())
				if err := e.Drop(f.ctx(), "2026-12"); err != nil {
					t.Error(err)
				}
			}
		}
		p := inFull(t, f, unhurried())
		if r := p.Report; !happened || r.Faults != 0 || r.Volumes != 2 || r.Entries != 2 {
			t.Errorf("report %+v", r)
		}
		// A month that cannot be read is named, and the metric counts it until a pass has read it.
		synctest.Wait()
		e.read = nil
		e.failing = map[kv.Month]error{"2026-11": kv.ErrUnavailable}
		f.clock.set(november.AddDate(0, 3, 0))
		var told []string
		o := unhurried()
		o.Fault = func(detail string) { told = append(told, detail) }
		p = inFull(t, f, o)
		if r := p.Report; r.Faults != 1 || !slices.Equal(r.PassedOver, []kv.Month{"2026-11"}) || f.verified.passedOver.Value() != 1 {
			t.Errorf("report %+v", r)
		}
		if len(told) != 1 || !strings.Contains(told[0], "2026-11") || !strings.Contains(told[0], "passed over") {
			t.Errorf("told of %q", told)
		}
		e.failing = nil
		f.clock.set(november.AddDate(0, 4, 0))
		if p = inFull(t, f, o); p.Report.Faults != 0 || f.verified.passedOver.Value() != 0 || f.verified.faults.Value() != 0 {
			t.Errorf("report %+v", p.Report)
		}
	})
}

// TestPassOfOne has two processes verify one archive at once: one does it, the other finds it done.
func TestPassOfOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := processes(t, newMemory(), 2)
		p[0].put(mario, words(1, 100_000))
		p[0].FlushOutcomes(p[0].ctx())
		o := unhurried()
		o.Rate = func() int64 { return 1000 }
		var mu sync.Mutex
		done := 0
		var wg sync.WaitGroup
		for _, f := range p {
			wg.Go(func() {
				pass, err := f.KeepVerified(t.Context(), o)
				if err != nil {
					t.Error(err)
				}
				if pass != nil {
					mu.Lock()
					done++
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if done != 1 {
			t.Errorf("%d verified the archive", done)
		}
	})
}
