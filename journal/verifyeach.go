package journal

import (
	"bytes"
	"errors"
	"runtime"
	"sync"
	"time"

	"copialettere/journal/kv"
)

// verifyBatch is how many pairs one goroutine checks at a time.
const verifyBatch = 64

// patience is how often a verification may still wait, whichever of its goroutines.
type patience struct {
	mu   sync.Mutex
	left int // guarded by mu
}

// spend says whether it may wait once more.
func (p *patience) spend() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left == 0 {
		return false
	}
	p.left--
	return true
}

// batch is some pairs that are checked together, in a goroutine of their own.
type batch struct {
	pairs []kv.Pair
	v     *verifier // has what was found
	err   error
	done  chan struct{} // closed when they are checked
}

// each calls check for all pairs with keys that begin with prefix: in the background one after the other, and otherwise on all cores. There the verifier that
// check gets has a report of its own, and what is found is taken over in the order of keys. A few batches are in memory.
func (v *verifier) each(prefix []byte, check func(w *verifier, p kv.Pair) error) error {
	return v.eachOf(prefix, func(kv.Pair) (bool, error) { return true, nil }, check)
}

// eachOf is each for those pairs that are wanted, of which it is asked in the order of keys.
func (v *verifier) eachOf(prefix []byte, wanted func(p kv.Pair) (bool, error), check func(w *verifier, p kv.Pair) error) error {
	if v.pass != nil {
		return v.scan(prefix, func(p kv.Pair) error { return check(v, p) })
	}
	jobs := make(chan *batch)
	var workers sync.WaitGroup
	defer workers.Wait()
	defer close(jobs)
	number := runtime.GOMAXPROCS(0)
	for range number {
		workers.Go(func() {
			for b := range jobs {
				for _, p := range b.pairs {
					if b.err = check(b.v, p); b.err != nil {
						break
					}
				}
				close(b.done)
			}
		})
	}
	var waiting []*batch
	// take takes over the oldest batches until no more than so many wait.
	take := func(most int) error {
		for len(waiting) > most {
			b := waiting[0]
			waiting = waiting[1:]
			<-b.done
			if err := v.merge(b.v); err != nil {
				return err
			}
			if b.err != nil {
				return b.err
			}
		}
		return nil
	}
	pairs := groups[kv.Pair]{size: verifyBatch, do: func(group []kv.Pair) error {
		b := &batch{pairs: append([]kv.Pair(nil), group...), v: v.branch(), done: make(chan struct{})}
		jobs <- b
		waiting = append(waiting, b)
		return take(2 * number)
	}}
	err := v.scan(prefix, func(p kv.Pair) error {
		if ok, err := wanted(p); !ok || err != nil {
			return err
		}
		return pairs.add(p)
	})
	if err == nil {
		err = pairs.flush()
	}
	if err == nil {
		err = take(0)
	}
	return err
}

// branch returns a verifier for one batch: it shares what does not change, and finds for itself.
func (v *verifier) branch() *verifier {
	return &verifier{
		j: v.j, ctx: v.ctx, newest: v.newest, report: new(Report), patience: v.patience, store: v.store, month: v.month, stored: v.stored, pairs: v.pairs, logPart: v.logPart,
		referred: new(idSet), checked: new(idSet),
	}
}

// merge takes over what a branch has found.
func (v *verifier) merge(w *verifier) error {
	before := v.report.Entries
	r, found := v.report, w.report
	r.Entries += found.Entries
	r.Imported += found.Imported
	r.Bytes += found.Bytes
	r.Unknown += found.Unknown
	r.Deferred += found.Deferred
	for _, detail := range found.Details {
		r.fault("%s", detail)
	}
	r.Faults += found.Faults - int64(len(found.Details))
	if v.progress != nil && r.Entries/1000 > before/1000 {
		v.progress(v.month, r.Entries/1000*1000)
	}
	for name, counted := range w.counts {
		c := v.countedOf(name)
		c.entries += counted.entries
		c.bytes += counted.bytes
		c.imported += counted.imported
		c.nextUID = max(c.nextUID, counted.nextUID)
	}
	if err := v.referred.add(w.referred.ids...); err != nil {
		return err
	}
	return v.checked.add(w.checked.ids...)
}

// countedOf returns the counters of a folder as its entries are counted.
func (v *verifier) countedOf(name folderName) *folderCounters {
	c := v.counts[name]
	if c == nil {
		if v.counts == nil {
			v.counts = make(map[folderName]*folderCounters)
		}
		c = new(folderCounters)
		v.counts[name] = c
	}
	return c
}

// wait waits after an error if the store may soon be available, and says whether to try again.
func (v *verifier) wait(err error) bool {
	if !errors.Is(err, kv.ErrUnavailable) || !v.patience.spend() {
		return false
	}
	timer := time.NewTimer(retryPause)
	defer timer.Stop()
	select {
	case <-v.ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// scan calls fn for all pairs with keys that begin with prefix.
func (v *verifier) scan(prefix []byte, fn func(kv.Pair) error) error {
	from, to := prefix, after(prefix)
	for {
		var failure error
		for p, err := range v.store.Scan(v.ctx, from, to) {
			if err != nil {
				failure = err
				break
			}
			from = append(bytes.Clone(p.Key), 0)
			if err := fn(p); err != nil {
				return err
			}
			if err := v.pass.spend(len(p.Key) + len(p.Value)); err != nil {
				return err
			}
		}
		if failure == nil || !v.wait(failure) {
			return failure
		}
	}
}
