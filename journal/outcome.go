package journal

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"copialettere/journal/kv"
)

// outcomePause is how long a delivered outcome may stay in memory. Losing it only leaves the state Unknown.
const outcomePause = 200 * time.Millisecond

// outcomeRetry is the pause after the store failed to take outcomes.
const outcomeRetry = 2 * time.Second

// maxNotes is how many outcomes memory keeps while the store cannot take them; noteGroup is how many one update writes.
const (
	maxNotes  = 100_000
	noteGroup = 1000
)

// outcomes are those not yet in the store. They stay here until they are, for whoever decides on an entry to see.
type outcomes struct {
	mu    sync.Mutex
	notes map[kv.Month][]note // in the order in which they came; guarded by mu
	count int                 // of all notes; guarded by mu
	wake  chan struct{}

	writing lock // held while notes go to the store, by one goroutine at a time
}

// note is what became of an entry's message in a transaction: Delivered or Deferred.
type note struct {
	ref         Ref
	transaction string
	state       State
}

// Delivered notes that the next hop took the message of an entry in a transaction. It returns at once, and the state is written soon
// after. If a crash comes first the entry stays Unknown.
func (j *Journal) Delivered(r Ref, transaction string) {
	j.noteLater(note{r, transaction, Delivered})
	j.learning.delivered(r)
}

func (j *Journal) noteLater(n note) {
	o := &j.outcomes
	if !o.add(n) {
		j.log.Warn("an entry stays unknown: too many outcomes wait for the store", "mailbox", n.ref.Mailbox)
		return
	}
	o.wakeWriter()
}

// add keeps a note if there is room.
func (o *outcomes) add(n note) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.count >= maxNotes {
		return false
	}
	if o.notes == nil {
		o.notes = make(map[kv.Month][]note)
	}
	o.notes[n.ref.Month] = append(o.notes[n.ref.Month], n)
	o.count++
	return true
}

// first returns the oldest notes of a month, at most noteGroup. The caller must not change them.
func (o *outcomes) first(m kv.Month) []note {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := o.notes[m]
	return list[:min(len(list), noteGroup)]
}

// remove forgets the n oldest notes of a month.
func (o *outcomes) remove(m kv.Month, n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.count -= n
	if o.notes[m] = o.notes[m][n:]; len(o.notes[m]) == 0 {
		delete(o.notes, m)
	}
}

// months returns the number of notes of each month that has any.
func (o *outcomes) months() map[kv.Month]int {
	o.mu.Lock()
	defer o.mu.Unlock()
	counts := make(map[kv.Month]int, len(o.notes))
	for m, list := range o.notes {
		counts[m] = len(list)
	}
	return counts
}

// of returns the notes of one entry.
func (o *outcomes) of(r Ref) (list []note) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, n := range o.notes[r.Month] {
		if n.ref == r {
			list = append(list, n)
		}
	}
	return list
}

func (o *outcomes) wakeWriter() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// writeOutcomes writes outcomes until ctx ends, then what is left.
func (j *Journal) writeOutcomes(ctx context.Context) {
	pause := outcomePause
	for {
		select {
		case <-ctx.Done():
		case <-j.outcomes.wake:
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
		if ctx.Err() != nil {
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
			defer cancel()
			j.FlushOutcomes(last)
			return
		}
		pause = outcomePause
		if !j.FlushOutcomes(ctx) {
			pause = outcomeRetry
			j.outcomes.wakeWriter()
		}
	}
}

// FlushOutcomes writes the outcomes still in memory. Those that the store cannot take now stay there. It reports whether none is left that the
// store may still take.
func (j *Journal) FlushOutcomes(ctx context.Context) bool {
	o := &j.outcomes
	if err := o.writing.acquire(ctx); err != nil {
		return false
	}
	defer o.writing.release()
	all := true
	for month, count := range o.months() {
		err := j.writeMonth(ctx, month, count)
		switch {
		case err == nil:
		case errors.Is(err, kv.ErrUnavailable) || ctx.Err() != nil:
			all = false
		default:
			lost := o.months()[month]
			o.remove(month, lost)
			j.log.Warn("entries stay unknown", "month", month, "entries", lost, "error", err)
		}
	}
	return all
}

// writeMonth writes the count oldest outcomes of one month.
func (j *Journal) writeMonth(ctx context.Context, m kv.Month, count int) error {
	s, err := j.volume(ctx, m, false)
	if err != nil {
		return err
	}
	for count > 0 {
		group := j.outcomes.first(m)
		group = group[:min(len(group), count)]
		elsewhere, err := putOutcomes(ctx, s, group)
		if err != nil {
			return err
		}
		for _, n := range elsewhere {
			if err := j.putElsewhere(ctx, s, n); err != nil {
				return err
			}
		}
		j.outcomes.remove(m, len(group))
		count -= len(group)
	}
	return nil
}

// putOutcomes writes outcomes, and returns those whose entry is not at its place any more.
func putOutcomes(ctx context.Context, s kv.Store, notes []note) (elsewhere []note, err error) {
	locks := make([]string, len(notes))
	for i, n := range notes {
		locks[i] = n.ref.Mailbox
	}
	err = s.Update(ctx, locks, func(tx kv.Tx) error {
		elsewhere = nil
		for _, n := range notes {
			o, err := getOutcome(tx, n.ref)
			if errors.Is(err, errEncoding) {
				continue // Verify reports it; the others must not wait for it
			}
			if err != nil {
				return err
			}
			if o.state == Delivered && !o.refused {
				// It was delivered already, or the entry was withdrawn, or filed elsewhere.
				if _, err := tx.Get(entryKey(n.ref)); errors.Is(err, kv.ErrNotFound) {
					elsewhere = append(elsewhere, n)
				} else if err != nil {
					return err
				}
				continue
			}
			switch after, changed := o.noted(n); {
			case !changed:
			case after.state == Delivered && !after.refused:
				tx.Delete(outcomeKey(n.ref))
			default:
				tx.Put(outcomeKey(n.ref), after.encode())
			}
		}
		return nil
	})
	return elsewhere, err
}

// putElsewhere writes an outcome whose entry was moved or put aside meanwhile. An entry that is gone needs none.
func (j *Journal) putElsewhere(ctx context.Context, s kv.Store, n note) error {
	switch r, err := movedTo(ctx, s, n.ref, n.transaction); {
	case err == nil:
		n.ref = r
		_, err = putOutcomes(ctx, s, []note{n})
		return err
	case !errors.Is(err, ErrNotFound):
		return err
	}
	err := j.act(ctx, n.ref, func(c *change) error { return c.putOutcomeAside(n) })
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrDamaged) {
		return nil
	}
	return err
}

// putOutcomeAside writes the outcome of an entry that is put aside; ErrNotFound says that the transaction has none there. A superseded
// entry that was delivered after all comes back.
func (c *change) putOutcomeAside(n note) error {
	a, e, err := c.aside(n.ref)
	if err != nil {
		return err
	}
	if len(a.outcome) == 0 {
		return ErrNotFound
	}
	o, err := decodeOutcome(a.outcome)
	if err != nil {
		return err
	}
	if o.state != Unknown || o.transaction != n.transaction && e.Transaction != n.transaction {
		return ErrNotFound
	}
	switch {
	case n.state == Delivered:
		a.outcome = nil
		if o.refused {
			a.outcome = outcome{refused: true, transaction: o.transaction}.encode()
		}
		if a.by != nil {
			_, err := c.bringBack(a, e)
			return err
		}
	case o.withdrawal && o.transaction == n.transaction:
		o.state = Deferred
		a.outcome = o.encode()
	}
	c.Put(asideKey(n.ref), a.encode())
	return nil
}

// movedTo looks for an entry that a transaction has under way and that has been moved since.
func movedTo(ctx context.Context, s kv.Store, from Ref, transaction string) (Ref, error) {
	prefix := mailboxKey('o', from.Mailbox, 0)
	for p, err := range s.Scan(ctx, prefix, after(prefix)) {
		if err != nil {
			return Ref{}, err
		}
		o, err := decodeOutcome(p.Value)
		if err != nil || o.state != Unknown {
			continue // Verify reports what is malformed
		}
		r, err := refOf(from.Month, p.Key)
		if err != nil {
			continue
		}
		if o.transaction == transaction {
			return r, nil
		}
		// A later transaction may have it under way as well.
		v, err := s.Get(ctx, entryKey(r))
		if errors.Is(err, kv.ErrNotFound) {
			continue
		}
		if err != nil {
			return Ref{}, err
		}
		if e, _ := salvage(r, v); e.Transaction == transaction {
			return r, nil
		}
	}
	return Ref{}, ErrNotFound
}

// noted returns an outcome as a note changes it.
func (o outcome) noted(n note) (after outcome, changed bool) {
	switch {
	case o.state == Delivered: // or withdrawn
		return o, false
	case n.state == Deferred:
		// Only if that transaction set it, and no other one can have delivered the message.
		changed = o.state == Unknown && o.transaction == n.transaction && o.withdrawal
		if changed {
			o.state = Deferred
		}
		return o, changed
	case o.refused:
		return outcome{refused: true, transaction: o.transaction}, true
	}
	// Whatever transaction has it under way now: it has been delivered.
	return outcome{}, true
}

// Deferred notes that the next hop refused the message of an entry for now. The entry stays and waits for the retry. After an error the
// note stays in memory, and is written once the store can take it.
func (j *Journal) Deferred(ctx context.Context, r Ref, transaction string) error {
	n := note{r, transaction, Deferred}
	err := j.updateOutcome(ctx, r, transaction, func(tx *change, r Ref, o outcome) error {
		if after, changed := o.noted(n); changed {
			tx.Put(outcomeKey(r), after.encode())
		}
		return nil
	})
	if errors.Is(err, ErrNotFound) {
		aside := j.act(ctx, r, func(c *change) error { return c.putOutcomeAside(n) })
		if !errors.Is(aside, ErrNotFound) {
			return aside
		}
	}
	if err != nil && !errors.Is(err, ErrNotFound) {
		j.noteLater(n)
	}
	return err
}

// Withdraw removes an entry whose message the next hop refused for good, and puts refusal on record, durably. After an error do not pass
// the refusal back: the message counts as deferred.
//
// An entry stays, and withdrawn is false, if it was delivered before, if its outcome was unknown before, or if another transaction has it
// under way: it is then flagged. One that is held stays as Refused.
func (j *Journal) Withdraw(ctx context.Context, r Ref, transaction string, refusal Record) (withdrawn bool, err error) {
	refusals := []Record{refusal}
	if err := checkRecords(refusals); err != nil {
		return false, err
	}
	var elsewhere []delivery // older entries in other months
	var by delivery
	err = j.updateOutcome(ctx, r, transaction, func(tx *change, r Ref, o outcome) error {
		elsewhere = nil
		withdrawn = o.state != Delivered && o.withdrawal && o.transaction == transaction
		if !withdrawn {
			o.refused = true
			tx.Put(outcomeKey(r), o.encode())
			return nil
		}
		e, err := tx.remove(r, RemovedWithdrawn, false)
		if errors.Is(err, ErrHeld) {
			withdrawn, o.state = false, Refused
			tx.Put(outcomeKey(r), o.encode())
			return nil
		}
		if err != nil {
			return err
		}
		by = delivery{r.Month, e.deliveryDigest()}
		for _, old := range o.supersedes {
			if old.month != r.Month {
				elsewhere = append(elsewhere, old)
			} else if err := tx.withdrawOlder(e.Mailbox, old, by); err != nil && !errors.Is(err, ErrDamaged) {
				return err
			}
		}
		return putRecords(tx, refusals)
	}, append(j.deletionLocks(r.Mailbox), refusal.Mailbox, movesLock)...)
	if err == nil {
		j.withdrawElsewhere(ctx, r.Mailbox, elsewhere, by)
		return withdrawn, nil
	}
	if !errors.Is(err, ErrNotFound) {
		j.noteLater(note{r, transaction, Deferred})
	}
	return false, err
}

// withdrawElsewhere is withdrawOlder for entries in other months. One that cannot be written now stays superseded.
func (j *Journal) withdrawElsewhere(ctx context.Context, mailbox string, older []delivery, by delivery) {
	for _, old := range older {
		err := j.act(ctx, Ref{Mailbox: mailbox, Month: old.month}, func(c *change) error { return c.withdrawOlder(mailbox, old, by) })
		if err != nil && !errors.Is(err, ErrNotFound) {
			j.log.Warn("the older entry of a refused message stays superseded", "mailbox", mailbox, "month", old.month, "error", err)
		}
	}
}

// updateOutcome runs fn in an Update with the outcome of an entry that a transaction has under way, wherever it was moved. The error is
// ErrNotFound if it is gone.
func (j *Journal) updateOutcome(
	ctx context.Context, r Ref, transaction string, fn func(c *change, r Ref, o outcome) error, locks ...string,
) error {
	s, err := j.volume(ctx, r.Month, false)
	if errors.Is(err, kv.ErrNoVolume) {
		return ErrNotFound
	}
	if err != nil {
		return err
	}
	from := r
	update := func(tx *change) error {
		if _, err := tx.Get(entryKey(r)); err != nil {
			return err
		}
		o, err := getOutcome(tx, r)
		if err != nil {
			return err
		}
		// Count a delivery that is only in memory.
		for _, n := range j.outcomes.of(from) {
			o, _ = o.noted(n)
		}
		return fn(tx, r, o)
	}
	locks = append(locks, r.Mailbox)
	err = j.update(ctx, s, r.Month, locks, update)
	if errors.Is(err, kv.ErrNotFound) {
		if r, err = movedTo(ctx, s, r, transaction); err == nil {
			err = j.update(ctx, s, r.Month, locks, update)
		}
	}
	if errors.Is(err, kv.ErrNotFound) || errors.Is(err, ErrNotFound) {
		return ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("note outcome of %s %s %d: %w", r.Mailbox, r.FolderName(), r.UID, err)
	}
	return nil
}
