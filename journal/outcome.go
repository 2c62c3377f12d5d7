package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"copialettere/journal/kv"
)

// outcomePause is how long a delivered outcome may stay in memory. Losing it costs nothing but a state of Unknown.
const outcomePause = 200 * time.Millisecond

// outcomes are the deliveries that are not yet noted in the store.
type outcomes struct {
	mu        sync.Mutex
	delivered map[kv.Month][]settledOutcome // guarded by mu
	wake      chan struct{}
}

type settledOutcome struct {
	ref         Ref
	transaction string
}

// Delivered notes that the next hop took the message of an entry in a transaction. It returns at once: the state is written soon
// after, and an entry whose state is lost in a crash stays Unknown.
func (j *Journal) Delivered(r Ref, transaction string) {
	o := &j.outcomes
	o.mu.Lock()
	if o.delivered == nil {
		o.delivered = make(map[kv.Month][]settledOutcome)
	}
	o.delivered[r.Month] = append(o.delivered[r.Month], settledOutcome{r, transaction})
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// writeOutcomes writes delivered outcomes until ctx ends, and then what is left.
func (j *Journal) writeOutcomes(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			j.flushOutcomes(last)
			cancel()
			return
		case <-j.outcomes.wake:
		}
		select {
		case <-ctx.Done():
		case <-time.After(outcomePause):
		}
		j.flushOutcomes(ctx)
	}
}

// Settle writes the delivered outcomes that are still in memory.
func (j *Journal) Settle(ctx context.Context) { j.flushOutcomes(ctx) }

func (j *Journal) flushOutcomes(ctx context.Context) {
	j.outcomes.mu.Lock()
	delivered := j.outcomes.delivered
	j.outcomes.delivered = nil
	j.outcomes.mu.Unlock()
	for month, list := range delivered {
		s, err := j.volume(ctx, month, false)
		if err == nil {
			err = settle(ctx, s, list)
		}
		if err != nil {
			j.log.Warn("delivered entries keep the state unknown", "month", month, "entries", len(list), "error", err)
		}
	}
}

func settle(ctx context.Context, s kv.Store, list []settledOutcome) error {
	locks := make([]string, len(list))
	for i, d := range list {
		locks[i] = d.ref.Mailbox
	}
	return s.Update(ctx, locks, func(tx kv.Tx) error {
		for _, d := range list {
			o, err := getOutcome(tx, d.ref)
			if err != nil {
				return err
			}
			// Whoever has it under way now: it has been delivered.
			if o.state != Delivered {
				tx.Delete(outcomeKey(d.ref))
			}
		}
		return nil
	})
}

// Deferred notes that the next hop refused the message of an entry for now. The entry stays, and waits for the retry.
func (j *Journal) Deferred(ctx context.Context, r Ref, transaction string) error {
	return j.updateOutcome(ctx, r, func(tx kv.Tx, o outcome) error {
		if o.state == Unknown && o.transaction == transaction && o.withdrawal {
			o.state = Deferred
			tx.Put(outcomeKey(r), o.encode())
		}
		return nil
	})
}

// Withdraw takes an entry out of the journal whose message the next hop refused for good, and puts refusal on record, durably. An
// entry that was delivered before, or whose outcome was unknown before, or that another transaction has under way, stays and is
// flagged; then withdrawn is false.
func (j *Journal) Withdraw(ctx context.Context, r Ref, transaction string, refusal Record) (withdrawn bool, err error) {
	err = j.updateOutcome(ctx, r, func(tx kv.Tx, o outcome) error {
		withdrawn = o.state != Delivered && o.withdrawal && o.transaction == transaction
		if !withdrawn {
			o.refused = true
			tx.Put(outcomeKey(r), o.encode())
			return nil
		}
		if err := remove(tx, r); err != nil {
			return err
		}
		return putRecords(tx, []Record{refusal})
	})
	return withdrawn, err
}

func (j *Journal) updateOutcome(ctx context.Context, r Ref, fn func(kv.Tx, outcome) error) error {
	// A delivery that is only in memory must be seen.
	j.flushOutcomes(ctx)
	s, err := j.volume(ctx, r.Month, false)
	if err != nil {
		return err
	}
	err = s.Update(ctx, []string{r.Mailbox}, func(tx kv.Tx) error {
		if _, err := tx.Get(entryKey(r)); err != nil {
			return err
		}
		o, err := getOutcome(tx, r)
		if err != nil {
			return err
		}
		return fn(tx, o)
	})
	if errors.Is(err, kv.ErrNotFound) {
		return ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("note outcome of %s %s %d: %w", r.Mailbox, r.FolderName(), r.UID, err)
	}
	return nil
}

// remove deletes an entry with all that points at it. Its UID is never used again.
func remove(tx kv.Tx, r Ref) error {
	v, err := tx.Get(entryKey(r))
	if err != nil {
		return err
	}
	e, err := decodeEntry(r, v)
	if err != nil {
		return err
	}
	counters, err := getCounters(tx, r.Mailbox, r.Folder)
	if err != nil {
		return err
	}
	counters.entries--
	counters.bytes -= uint64(e.Size)
	tx.Put(counterKey(r.Mailbox, r.Folder), counters.encode())
	tx.Delete(entryKey(r))
	tx.Delete(outcomeKey(r))
	key := deliveryKey(r.Mailbox, deliveryDigest(r.Mailbox, e.Direction, e.MailFrom, e.SHA256))
	if v, err := tx.Get(key); err == nil && bytes.Equal(v, encodePlace(r)) {
		tx.Delete(key)
	}
	return nil
}
