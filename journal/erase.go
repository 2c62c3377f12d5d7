package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"copialettere/journal/kv"
)

// EraseOptions are those of Erase.
type EraseOptions struct {
	KeepGaps bool                                  // leave all gaps on record; without it, only those of erasures
	Progress func(month kv.Month, removed Removed) // called now and then; may be nil
}

// Removed counts entries, and the bytes of their messages.
type Removed struct {
	Entries uint64 `json:"entries"`
	Bytes   uint64 `json:"bytes"`
}

func (r *Removed) add(e *Entry) {
	r.Entries++
	r.Bytes += uint64(e.Size)
}

// Erase deletes all that the journal holds of a mailbox: entries, those put aside, counters, delivery keys and skips. What was done
// with entries (Acts) stays, and a gap for the erased span of each month is put on record. With an entry that is held it deletes
// nothing and returns ErrHeld. It goes in small steps, and after an error, or a crash, it is called again for the rest. The
// archive of the mailbox must be closed: what is delivered meanwhile may stay. The sweep then frees the room.
func (j *Journal) Erase(ctx context.Context, mailbox string, o EraseOptions) (Removed, error) {
	var removed Removed
	for h, err := range j.Holdings(ctx, mailbox) {
		if err != nil {
			return removed, fmt.Errorf("erase %s: %w", mailbox, err)
		}
		return removed, fmt.Errorf("erase %s: %s %d: %w", mailbox, h.FolderName(), h.UID, ErrHeld)
	}
	j.flushOutcomes(ctx)
	months, err := j.engine.Volumes(ctx)
	if err != nil {
		return removed, fmt.Errorf("list volumes: %w", err)
	}
	for _, m := range months {
		s, err := j.volume(ctx, m, false)
		if errors.Is(err, kv.ErrNoVolume) {
			continue
		}
		if err != nil {
			return removed, err
		}
		e := eraser{j: j, ctx: ctx, store: s, month: m, mailbox: mailbox, o: o, removed: &removed}
		if err := e.erase(); err != nil {
			return removed, fmt.Errorf("erase %s in %s: %w", mailbox, m, err)
		}
	}
	if !o.KeepGaps {
		s, err := j.engine.Settings(ctx)
		if err != nil {
			return removed, err
		}
		e := eraser{j: j, ctx: ctx, store: s, mailbox: mailbox}
		if err := e.keys('g', e.removeRecord); err != nil {
			return removed, fmt.Errorf("erase records of %s: %w", mailbox, err)
		}
	}
	return removed, nil
}

// eraser erases one mailbox in one volume.
type eraser struct {
	j       *Journal
	ctx     context.Context
	store   kv.Store
	month   kv.Month
	mailbox string
	o       EraseOptions
	removed *Removed
}

// eraseGroup is how many keys one update deletes, entryGroup how many entries.
const (
	eraseGroup = 1000
	entryGroup = 100
)

func (e *eraser) erase() error {
	for _, kind := range []byte{'e', 't'} {
		for {
			more, err := e.group(kind)
			if err != nil {
				return err
			}
			if !more {
				break
			}
		}
	}
	for _, step := range []struct {
		kind   byte
		remove func(tx kv.Tx, p kv.Pair) error
	}{{'d', e.removeDelivery}, {'s', e.removeCounters}, {'g', e.removeRecord}} {
		if err := e.keys(step.kind, step.remove); err != nil {
			return err
		}
	}
	return nil
}

// group deletes the first entries of the mailbox, and says whether there may be more.
func (e *eraser) group(kind byte) (more bool, err error) {
	var refs []Ref
	prefix := mailboxKey(kind, e.mailbox, 0)
	for p, err := range e.store.Scan(e.ctx, prefix, after(prefix)) {
		if err != nil {
			return false, err
		}
		r, err := refOf(e.month, p.Key)
		if err != nil {
			return false, err
		}
		if refs = append(refs, r); len(refs) == entryGroup {
			break
		}
	}
	if len(refs) == 0 {
		return false, nil
	}
	var gone span
	var removed Removed
	err = e.j.update(e.ctx, e.store, e.month, []string{e.mailbox}, func(c *change) error {
		gone, removed = span{reason: ReasonErased}, Removed{}
		for _, r := range refs {
			entry, err := e.removeEntry(c, kind, r)
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			gone.add(entry)
			removed.add(entry)
		}
		return c.putSpan(e.mailbox, gone)
	})
	if err != nil {
		return false, err
	}
	e.j.tellSpan(e.mailbox, gone)
	e.removed.Entries += removed.Entries
	e.removed.Bytes += removed.Bytes
	if e.o.Progress != nil {
		e.o.Progress(e.month, *e.removed)
	}
	return true, nil
}

func (e *eraser) removeEntry(c *change, kind byte, r Ref) (*Entry, error) {
	if kind == 't' {
		return c.purge(r)
	}
	if held, err := c.held(r); err != nil {
		return nil, err
	} else if held {
		return nil, fmt.Errorf("%s %d: %w", r.FolderName(), r.UID, ErrHeld)
	}
	return c.remove(r, false)
}

// keys has a function look at all pairs of one kind that belong to the mailbox, in groups, each in an update.
func (e *eraser) keys(kind byte, remove func(tx kv.Tx, p kv.Pair) error) error {
	prefix := mailboxKey(kind, e.mailbox, 0)
	var group []kv.Pair
	flush := func() error {
		return e.store.Update(e.ctx, []string{e.mailbox}, func(tx kv.Tx) error {
			for _, p := range group {
				if err := remove(tx, p); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for p, err := range e.store.Scan(e.ctx, prefix, after(prefix)) {
		if err != nil {
			return err
		}
		if group = append(group, p); len(group) == eraseGroup {
			if err := flush(); err != nil {
				return err
			}
			group = group[:0]
		}
	}
	if len(group) == 0 {
		return nil
	}
	return flush()
}

// removeDelivery deletes a delivery key, if it does not lead to an entry that was made meanwhile.
func (e *eraser) removeDelivery(tx kv.Tx, p kv.Pair) error {
	v, err := tx.Get(p.Key)
	if errors.Is(err, kv.ErrNotFound) || err == nil && !bytes.Equal(v, p.Value) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, gone := isTombstone(v); !gone {
		r, err := decodePlace(e.mailbox, e.month, v)
		if err != nil {
			return err
		}
		switch _, err := tx.Get(entryKey(r)); {
		case err == nil:
			return nil
		case !errors.Is(err, kv.ErrNotFound):
			return err
		}
	}
	tx.Delete(p.Key)
	return nil
}

// removeCounters deletes the counters of an empty folder. Should it be made again it gets a greater UIDVALIDITY.
func (e *eraser) removeCounters(tx kv.Tx, p kv.Pair) error {
	v, err := tx.Get(p.Key)
	if errors.Is(err, kv.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if c, err := decodeCounters(v); err != nil || c.entries > 0 {
		return err
	}
	tx.Delete(p.Key)
	return nil
}

// removeRecord deletes a skip, and a gap where those are not to stay.
func (e *eraser) removeRecord(tx kv.Tx, p kv.Pair) error {
	r, err := decodeRecord(e.mailbox, p.Value)
	if err != nil {
		return err
	}
	if r.Kind == Gap && (e.o.KeepGaps || slices.Contains([]string{ReasonErased, ReasonLost}, r.Reason)) {
		return nil
	}
	tx.Delete(p.Key)
	return nil
}
