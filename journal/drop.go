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

// drop drops the volume of a month of which all is to go, and says whether it did. First the volume is fenced,
// so that nothing comes any more; then all of it is looked at again; then its gaps and acts go to the settings. A crash between leaves it as it
// is, and the next run begins anew.
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
	var fence kv.Fence
	lift := func() error {
		if fence == nil {
			return nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(x.ctx), liftTime)
		defer cancel()
		err := fence.Lift(ctx)
		fence = nil
		return err
	}
	defer func() {
		if lifted := lift(); lifted != nil {
			x.j.log.Error("a month stays fenced that was not dropped", "month", m, "error", lifted)
		}
	}()
	// It takes the place of one that a crash has left.
	if fence, err = x.j.engine.Fence(x.ctx, m); err != nil {
		return false, err
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
		if err := lift(); err != nil {
			return false, err
		}
		if !closed {
			return false, nil
		}
		return false, s.Update(x.ctx, nil, func(tx kv.Tx) error { tx.Delete(closingKey); return nil })
	}
	if err := x.keepRecords(s); err != nil {
		return false, fmt.Errorf("keep the gaps and acts: %w", err)
	}
	if err := fence.Drop(x.ctx); err != nil {
		return false, err
	}
	fence = nil
	x.j.usages.dropped(m)
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

// liftTime is how long a fence may take to be lifted.
const liftTime = 10 * time.Second

// mightDrop looks at what is cheap to see. A month is left alone until no delivery looks there for a repetition.
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
		if hold || one.entries > 0 && (months == 0 || addMonths(m.Next().Start(), months).After(x.o.Now)) {
			return false, nil
		}
	}
	held, err := anyHold(x.ctx, s)
	return !held, err
}

// anyHold says whether an entry of a volume is held.
func anyHold(ctx context.Context, s kv.Store) (bool, error) {
	for _, err := range s.Scan(ctx, []byte{'l'}, []byte{'l' + 1}) {
		return err == nil, err
	}
	return false, nil
}

// allGoes says whether all entries of a volume are to go, and which those are.
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
			return nil, purged, false, nil // nobody knows whether it may go
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
		var a *aside
		var e *Entry
		r, err := refOf(m, p.Key)
		if err == nil {
			a, e, err = decodeAside(r, p.Value)
		}
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

// keepRecords copies the gaps and the acts of a volume to the settings.
func (x *expiry) keepRecords(s kv.Store) error {
	settings, err := x.j.engine.Settings(x.ctx)
	if err != nil {
		return err
	}
	var group []kv.Pair
	size := 0
	flush := func() error {
		err := settings.Update(x.ctx, []string{"retention"}, func(tx kv.Tx) error {
			for _, p := range group {
				if err := keep(tx, p); err != nil {
					return err
				}
			}
			return nil
		})
		group, size = group[:0], 0
		return err
	}
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
			group = append(group, p)
			if size += len(p.Key) + len(p.Value); len(group) == eraseGroup || size > groupSize/4 {
				if err := flush(); err != nil {
					return err
				}
			}
		}
	}
	if len(group) == 0 {
		return nil
	}
	return flush()
}

// keep puts a record under its key, or under the next number of its time when another one is there. The same one stays one.
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
