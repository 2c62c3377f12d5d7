package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"copialettere/journal/kv"
)

// decided is the value of the z key once it is decided that the volume goes. Before that the value is empty.
var decided = []byte{1}

// drop drops the volume of a month if all of it is to go, and says whether it did. It marks the volume under the locks of all its
// mailboxes, then looks at all of it again. Whoever acts on an entry meanwhile removes the mark and so calls off the drop. If the mark is
// still there and no mailbox is held, it decides under all locks that the volume goes: from then on nobody may act on its entries. It then
// fences the volume, copies its gaps and acts to the settings, and drops it. A crash leaves the mark, and the next run begins anew.
func (x *expiry) drop(s kv.Store, m kv.Month) (bool, error) {
	closed, err := hasKey(x.ctx, s, closingKey)
	if err != nil {
		return false, err
	}
	might, err := x.mightDrop(s, m)
	if err != nil {
		return false, err
	}
	if !might && !closed {
		return false, nil
	}
	x.j.closing.Store(&m)
	defer x.j.closing.Store(nil)
	if might {
		if err := x.mark(s, m, true); err != nil {
			return false, err
		}
	}
	var removed []Expired
	var purged Removed
	all := might
	if might {
		if removed, purged, all, err = x.allGoes(s, m); err != nil {
			return false, err
		}
	}
	if !all {
		return false, x.mark(s, m, false)
	}
	if err := x.j.dropping.acquire(x.ctx); err != nil {
		return false, err
	}
	defer x.j.dropping.release()
	if goes, err := x.decide(s, m); !goes || err != nil {
		return false, err
	}
	if gone, err := x.dropFenced(s, m); !gone || err != nil {
		return false, err
	}
	x.j.usages.dropped(m)
	x.j.dictionaries.dropped(m)
	for _, e := range removed {
		x.add(e)
	}
	x.report.Purged.Entries += purged.Entries
	x.report.Purged.Bytes += purged.Bytes
	x.report.Dropped = append(x.report.Dropped, m)
	if x.o.Progress != nil {
		x.o.Progress(m, x.report.Removed)
	}
	return true, nil
}

// dropFenced drops a volume, once that is decided, inside a fence: no update comes any more, and one that another process made since has
// removed the mark. A process that takes the fence over does so to keep the volume.
func (x *expiry) dropFenced(s kv.Store, m kv.Month) (gone bool, err error) {
	fence, err := x.j.engine.Fence(x.ctx, m)
	if err != nil {
		return false, err
	}
	defer func() {
		if gone {
			return
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(x.ctx), liftTime)
		defer cancel()
		if err := fence.Lift(ctx); err != nil && !errors.Is(err, kv.ErrFenced) && !errors.Is(err, kv.ErrClosed) {
			x.j.log.Error("a month was not dropped and stays fenced", "month", m, "error", err)
		}
	}()
	mark, err := s.Get(x.ctx, closingKey)
	if errors.Is(err, kv.ErrNotFound) {
		return false, nil
	}
	if err != nil || !bytes.Equal(mark, decided) {
		return false, err
	}
	if err := x.keepRecords(s); err != nil {
		return false, fmt.Errorf("keep the gaps and acts: %w", err)
	}
	ctx, release, err := x.j.ending(x.ctx)
	if err != nil {
		return false, err
	}
	defer release()
	if err := x.j.endMonth(ctx, monthStore{s, m}); err != nil {
		return false, fmt.Errorf("keep the heads of the logs: %w", err)
	}
	err = fence.Drop(x.ctx)
	if errors.Is(err, kv.ErrFenced) {
		return false, nil
	}
	return err == nil, err
}

// liftTime is how long a fence may take to be lifted.
const liftTime = 10 * time.Second

// mightDrop checks what is cheap to see. A month stays as long as deliveries look there for repetitions.
func (x *expiry) mightDrop(s kv.Store, m kv.Month) (bool, error) {
	if m >= kv.MonthOf(x.o.Now).Previous() {
		return false, nil
	}
	list, err := mailboxesIn(x.ctx, s)
	if err != nil {
		return false, err
	}
	for _, one := range list {
		months, hold := x.o.Mailboxes(one.mailbox)
		if hold || one.entries > 0 && (months == 0 || AddMonths(m.Next().Start(), months).After(x.o.Now)) {
			return false, nil
		}
	}
	held, err := anyHold(x.ctx, s)
	return !held, err
}

// anyHold says whether any entry of a volume is held.
func anyHold(ctx context.Context, s kv.Store) (bool, error) {
	for _, err := range s.Scan(ctx, []byte{'l'}, []byte{'l' + 1}) {
		return err == nil, err
	}
	return false, nil
}

// mark marks a volume as one that might be dropped, or removes the mark. It lifts a fence left by a process that is gone.
func (x *expiry) mark(s kv.Store, m kv.Month, marked bool) error {
	err := x.tryMark(s, marked)
	if errors.Is(err, kv.ErrFenced) {
		if err = x.j.takeFence(x.ctx, m); err == nil {
			err = x.tryMark(s, marked)
		}
	}
	return err
}

func (x *expiry) tryMark(s kv.Store, marked bool) error {
	locks, err := x.allMailboxes(s)
	if err != nil {
		return err
	}
	return s.Update(x.ctx, locks, func(tx kv.Tx) error {
		if marked {
			tx.Put(closingKey, []byte{})
		} else {
			tx.Delete(closingKey)
		}
		return nil
	})
}

// decide decides that a marked volume goes, unless somebody has acted on an entry of it since, or a mailbox is held.
func (x *expiry) decide(s kv.Store, m kv.Month) (goes bool, err error) {
	mailboxes, err := x.allMailboxes(s)
	if err != nil {
		return false, err
	}
	err = x.j.update(x.ctx, s, m, x.j.deletionLocks(mailboxes...), func(c *change) error {
		goes = false
		if _, err := c.Get(closingKey); errors.Is(err, kv.ErrNotFound) {
			return nil
		} else if err != nil {
			return err
		}
		if held, err := c.anyMailboxHeld(mailboxes); err != nil {
			return err
		} else if held {
			c.Delete(closingKey)
			return nil
		}
		goes = true
		c.Put(closingKey, decided)
		return nil
	})
	return goes, err
}

// stayOpen removes the mark from a volume that might be dropped, even a decision that a crash has left or that another process has not
// fenced yet. The error is ErrNotFound if this process has decided that the volume goes and is dropping it.
func (c *change) stayOpen() error {
	v, err := c.Get(closingKey)
	if errors.Is(err, kv.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if closing := c.j.closing.Load(); bytes.Equal(v, decided) && closing != nil && *closing == c.month {
		return ErrNotFound
	}
	c.Delete(closingKey)
	return nil
}

// allMailboxes returns the mailboxes of a volume, whose names are their locks.
func (x *expiry) allMailboxes(s kv.Store) ([]string, error) {
	list, err := mailboxesIn(x.ctx, s)
	if err != nil {
		return nil, err
	}
	locks := make([]string, len(list))
	for i, one := range list {
		locks[i] = one.mailbox
	}
	return locks, nil
}

// allGoes says whether all entries of a volume are to go, and counts them.
func (x *expiry) allGoes(s kv.Store, m kv.Month) (removed []Expired, purged Removed, all bool, err error) {
	if held, err := anyHold(x.ctx, s); held || err != nil {
		return nil, purged, false, err
	}
	for p, err := range s.Scan(x.ctx, []byte{'e'}, []byte{'e' + 1}) {
		if err != nil {
			return nil, purged, false, err
		}
		e, err := entryOf(m, p)
		if err != nil {
			return nil, purged, false, nil // damaged: nobody knows whether it may go
		}
		if !x.expires(e.Mailbox, e.Time) {
			return nil, purged, false, nil
		}
		if n := len(removed); n == 0 || removed[n-1].Mailbox != e.Mailbox {
			removed = append(removed, Expired{Mailbox: e.Mailbox, Month: m})
		}
		removed[len(removed)-1].add(e)
	}
	for p, err := range s.Scan(x.ctx, []byte{'t'}, []byte{'t' + 1}) {
		if err != nil {
			return nil, purged, false, err
		}
		a, e, err := asideOf(m, p)
		if err != nil {
			return nil, purged, false, nil
		}
		if !x.purges(a, e) {
			return nil, purged, false, nil
		}
		purged.add(e)
	}
	return removed, purged, true, nil
}

// keepRecords copies the gaps and acts of a volume to the settings.
func (x *expiry) keepRecords(s kv.Store) error {
	settings, err := x.j.engine.Settings(x.ctx)
	if err != nil {
		return err
	}
	size := 0
	records := groups[kv.Pair]{size: eraseGroup, do: func(group []kv.Pair) error {
		size = 0
		return settings.Update(x.ctx, []string{"retention"}, func(tx kv.Tx) error {
			for _, p := range group {
				if err := keep(tx, p); err != nil {
					return err
				}
			}
			return nil
		})
	}}
	for _, kind := range []byte{'g', 'a'} {
		for p, err := range s.Scan(x.ctx, []byte{kind}, []byte{kind + 1}) {
			if err != nil {
				return err
			}
			if kind == 'g' {
				r, err := decodeRecord("", p.Value)
				if err != nil {
					return err
				}
				if r.Kind != Gap {
					continue
				}
			}
			size += len(p.Key) + len(p.Value)
			if err := records.add(p); err != nil {
				return err
			}
			if size > groupSize/4 {
				if err := records.flush(); err != nil {
					return err
				}
			}
		}
	}
	return records.flush()
}

// keep puts a record under its key, or under the next free number of its time. The same record again stays one.
func keep(tx kv.Tx, p kv.Pair) error {
	key := p.Key
	for n := range math.MaxUint16 {
		there, err := tx.Get(key)
		if errors.Is(err, kv.ErrNotFound) {
			tx.Put(key, p.Value)
			return nil
		}
		if err != nil {
			return err
		}
		if bytes.Equal(there, p.Value) {
			return nil
		}
		key = binary.BigEndian.AppendUint16(bytes.Clone(p.Key[:len(p.Key)-2]), uint16(n))
	}
	return errors.New("too many at one time")
}
