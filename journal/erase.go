package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"copialettere/journal/evidence"
	"copialettere/journal/kv"
)

// EraseOptions are the options of Erase.
type EraseOptions struct {
	KeepGaps bool                                  // keep all gaps on record, not only those of erasures and losses
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

// Erased is what Erase deleted.
type Erased struct {
	Removed
	Damaged uint64 `json:"damaged,omitempty"` // entries that could not be read; their bytes may not be counted
}

// Erase deletes all that the journal holds of a mailbox: entries, also those put aside, counters, delivery keys and skips. Acts stay, as
// the change log does. For each month it puts a gap on record that covers what was erased. The sweep then frees the room.
//
// If the mailbox or an entry of it is held it deletes nothing and returns ErrHeld. What is put under a hold while it runs stays, the rest
// goes, and it returns ErrHeld too. Damaged entries go as well and are logged. It works in small steps: after an error or a crash, call it
// again for the rest. Where the engine is kv.Keyed, the keys of the mailbox are destroyed last. Close the archive of the mailbox first: what is delivered meanwhile may stay.
func (j *Journal) Erase(ctx context.Context, mailbox string, o EraseOptions) (Erased, error) {
	var removed Erased
	for h, err := range j.Holdings(ctx, mailbox) {
		if err != nil {
			return removed, fmt.Errorf("erase %s: %w", mailbox, err)
		}
		return removed, fmt.Errorf("erase %s: %s %d: %w", mailbox, h.FolderName(), h.UID, ErrHeld)
	}
	if held, err := j.mailboxHeld(ctx, mailbox); err != nil {
		return removed, fmt.Errorf("erase %s: %w", mailbox, err)
	} else if held {
		return removed, fmt.Errorf("erase %s: %w", mailbox, ErrHeld)
	}
	j.FlushOutcomes(ctx)
	if j.keyed != nil {
		// What is under way still seals by the old keys: the Updates below come after it, and what they find goes. What comes now has a key of its own.
		j.keyed.RetireKeys(mailbox)
	}
	months, err := j.engine.Volumes(ctx)
	if err != nil {
		return removed, fmt.Errorf("list volumes: %w", err)
	}
	var held uint64
	for _, m := range months {
		s, err := j.volume(ctx, m, false)
		if errors.Is(err, kv.ErrNoVolume) {
			continue
		}
		if err != nil {
			return removed, err
		}
		e := eraser{j: j, ctx: ctx, store: s, month: m, mailbox: mailbox, o: o, removed: &removed}
		// A delivery that was given up may still be on its way into the store, unseen by a scan: an Update comes after it.
		if err := s.Update(ctx, []string{mailbox}, func(kv.Tx) error { return nil }); err != nil {
			return removed, fmt.Errorf("erase %s in %s: %w", mailbox, m, err)
		}
		if err := e.erase(); err != nil {
			return removed, fmt.Errorf("erase %s in %s: %w", mailbox, m, err)
		}
		held += e.held
	}
	s, err := j.engine.Settings(ctx)
	if err != nil {
		return removed, err
	}
	e := eraser{j: j, ctx: ctx, store: s, mailbox: mailbox}
	if !o.KeepGaps {
		if err := e.keys('g', e.removeRecord); err != nil {
			return removed, fmt.Errorf("erase records of %s: %w", mailbox, err)
		}
	}
	if held > 0 {
		return removed, fmt.Errorf("erase %s: %d entries: %w", mailbox, held, ErrHeld)
	}
	if err := e.keys('w', func(tx kv.Tx, p kv.Pair) error { tx.Delete(p.Key); return nil }); err != nil {
		return removed, fmt.Errorf("erase %s: %w", mailbox, err)
	}
	if j.keyed != nil {
		if err := j.keyed.DestroyKeys(ctx, mailbox); err != nil {
			return removed, err
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
	removed *Erased
	held    uint64 // entries that were left
}

// eraseGroup is how many keys one update deletes, entryGroup how many entries.
const (
	eraseGroup = 1000
	entryGroup = 100
)

func (e *eraser) erase() error {
	for _, kind := range []byte{'e', 't'} {
		// An entry moved meanwhile may land behind the place that was scanned.
		for {
			before := *e.removed
			held, err := e.entries(kind)
			if err != nil {
				return err
			}
			if *e.removed == before {
				e.held += held
				break
			}
		}
	}
	for _, step := range []struct {
		kind   byte
		remove func(tx kv.Tx, p kv.Pair) error
	}{{'d', e.removeDelivery}, {'p', e.removeLink}, {'o', e.removeOutcome}, {'w', e.removeDeleted}, {'g', e.removeRecord}} {
		if err := e.keys(step.kind, step.remove); err != nil {
			return err
		}
	}
	if err := e.setCounters(); err != nil {
		return err
	}
	// The counters first: without them no block is made any more.
	if err := e.keys('m', func(tx kv.Tx, p kv.Pair) error { tx.Delete(p.Key); return nil }); err != nil {
		return err
	}
	return e.endLog()
}

// endLog ends the log of the mailbox if nothing of it is left in the month: the head outlives it, and no leaf does.
func (e *eraser) endLog() error {
	ctx, release, err := e.j.ending(e.ctx)
	if err != nil {
		return err
	}
	defer release()
	h, err := getLog(storeView{ctx, e.store}, e.mailbox)
	if err != nil && !errors.Is(err, errEncoding) {
		return err
	}
	if h != nil {
		head := h.head(e.month)
		head.Ended = evidence.EndedErased
		if left, err := e.left(ctx); err != nil {
			return err
		} else if left {
			return e.keys('k', e.removeLeaf)
		}
		if err := e.j.endLogs(ctx, []evidence.Head{head}); err != nil {
			return err
		}
	}
	// The head first: without it the leaves are nothing, and a message that comes now begins a log of its own.
	err = e.j.update(ctx, e.store, e.month, []string{e.mailbox}, func(c *change) error {
		a, err := c.account(e.mailbox)
		if err != nil {
			return err
		}
		if now, err := getLog(c, e.mailbox); err != nil || h != nil && now != nil && now.tree.Size == h.tree.Size {
			a.log = nil
			c.putAccount(e.mailbox, a)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return e.keys('k', e.removeLeaf)
}

// left says whether the mailbox has entries in the month: held ones, or some made meanwhile.
func (e *eraser) left(ctx context.Context) (bool, error) {
	for _, kind := range []byte{'e', 't'} {
		prefix := mailboxKey(kind, e.mailbox, 0)
		if _, err := firstOf(ctx, e.store, prefix, after(prefix)); !errors.Is(err, kv.ErrNotFound) {
			return err == nil, err
		}
	}
	return false, nil
}

// removeLeaf deletes a leaf that is of no log.
func (e *eraser) removeLeaf(tx kv.Tx, p kv.Pair) error {
	h, err := getLog(tx, e.mailbox)
	if err != nil && !errors.Is(err, errEncoding) {
		return err
	}
	if h == nil || string(p.Key) >= string(leafKey(e.mailbox, h.tree.Size)) {
		tx.Delete(p.Key)
	}
	return nil
}

// entries deletes the entries of the mailbox that are not held, and counts those that are.
func (e *eraser) entries(kind byte) (held uint64, err error) {
	entries := groups[[]byte]{size: entryGroup, do: func(keys [][]byte) error {
		n, err := e.group(kind, keys)
		held += n
		return err
	}}
	prefix := mailboxKey(kind, e.mailbox, 0)
	for p, err := range e.store.Scan(e.ctx, prefix, after(prefix)) {
		if err != nil {
			return held, err
		}
		if err := entries.add(p.Key); err != nil {
			return held, err
		}
	}
	err = entries.flush()
	return held, err
}

// group deletes those entries that are not held, and counts the held ones.
func (e *eraser) group(kind byte, keys [][]byte) (held uint64, err error) {
	var gone span
	var removed Erased
	var damaged []error
	err = e.j.update(e.ctx, e.store, e.month, e.j.deletionLocks(e.mailbox), func(c *change) error {
		gone, removed, damaged, held = span{reason: ReasonErased}, Erased{}, nil, 0
		if all, err := c.mailboxHeld(e.mailbox); all || err != nil {
			held = uint64(len(keys))
			return err
		}
		for _, key := range keys {
			entry, err := e.removeEntry(c, kind, key)
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if errors.Is(err, ErrHeld) {
				held++
				continue
			}
			var damage error
			if errors.Is(err, errEncoding) || errors.Is(err, errKey) {
				entry, damage, err = e.discard(c, kind, key)
			}
			if err != nil {
				return err
			}
			if damage != nil {
				damaged = append(damaged, damage)
			}
			if kv.MonthOf(entry.Time) != e.month {
				entry.Time = e.month.Start() // damaged: only the month is known
			}
			gone.add(entry)
			removed.add(entry)
		}
		removed.Damaged = uint64(len(damaged))
		return c.putSpan(e.mailbox, gone)
	})
	if err != nil {
		return 0, err
	}
	e.j.tellSpan(e.mailbox, gone)
	for _, err := range damaged {
		if errors.Is(err, errSealed) {
			continue // nothing is to be mended: its key was destroyed with the mailbox, and a backup had the entry
		}
		e.j.log.Error("damaged entry erased", "mailbox", e.mailbox, "month", e.month, "error", err)
	}
	e.removed.Entries += removed.Entries
	e.removed.Bytes += removed.Bytes
	e.removed.Damaged += removed.Damaged
	if e.o.Progress != nil {
		e.o.Progress(e.month, e.removed.Removed)
	}
	return held, nil
}

func (e *eraser) removeEntry(c *change, kind byte, key []byte) (*Entry, error) {
	r, err := refOf(e.month, key)
	if err != nil {
		return nil, err
	}
	if kind == 't' {
		return c.purge(r, RemovedErased)
	}
	return c.remove(r, RemovedErased, false)
}

// discard deletes an entry that cannot be read, or whose counters cannot. It returns what could be read of it and what is wrong. Later
// steps see to counters and to what points at it; a sweep of everything finds the chunks it does not name.
func (e *eraser) discard(c *change, kind byte, key []byte) (entry *Entry, damage, err error) {
	v, err := c.Get(key)
	if err != nil {
		return nil, nil, err
	}
	r, damage := refOf(e.month, key)
	if kind == 't' {
		entry, _ = salvageAside(r, v)
	} else {
		entry, _ = salvage(r, v)
	}
	switch {
	case damage != nil:
	case kind == 't':
		_, _, damage = decodeAside(r, v)
	default:
		_, damage = decodeEntry(r, v)
	}
	c.Delete(key)
	c.leaveToSweep(entry)
	if r.UID > 0 {
		err = c.noteRemoved(entry, r, RemovedErased)
	}
	return entry, damage, err
}

// keys calls remove for all pairs of one kind that belong to the mailbox, in groups, each in an update.
func (e *eraser) keys(kind byte, remove func(tx kv.Tx, p kv.Pair) error) error {
	prefix := mailboxKey(kind, e.mailbox, 0)
	pairs := groups[kv.Pair]{size: eraseGroup, do: func(group []kv.Pair) error {
		return e.j.update(e.ctx, e.store, e.month, e.j.deletionLocks(e.mailbox), func(c *change) error {
			if held, err := c.mailboxHeld(e.mailbox); err != nil {
				return err
			} else if held {
				return ErrHeld
			}
			for _, p := range group {
				if err := remove(c, p); err != nil {
					return err
				}
			}
			return nil
		})
	}}
	for p, err := range e.store.Scan(e.ctx, prefix, after(prefix)) {
		if err != nil {
			return err
		}
		if err := pairs.add(p); err != nil {
			return err
		}
	}
	return pairs.flush()
}

// removeDelivery deletes a delivery key unless it leads to an entry made meanwhile.
func (e *eraser) removeDelivery(tx kv.Tx, p kv.Pair) error {
	v, err := tx.Get(p.Key)
	if errors.Is(err, kv.ErrNotFound) || err == nil && !bytes.Equal(v, p.Value) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, gone := isTombstone(v); gone {
		tx.Delete(p.Key)
		return nil
	}
	r, err := decodePlace(e.mailbox, e.month, v)
	return e.removeUnless(tx, p.Key, r, err)
}

// removeLink deletes a link left by a damaged entry.
func (e *eraser) removeLink(tx kv.Tx, p kv.Pair) error {
	_, r, err := splitLinkKey(e.month, p.Key)
	return e.removeUnless(tx, p.Key, r, err)
}

// removeOutcome deletes the outcome left by a damaged entry.
func (e *eraser) removeOutcome(tx kv.Tx, p kv.Pair) error {
	r, err := refOf(e.month, p.Key)
	return e.removeUnless(tx, p.Key, r, err)
}

// removeDeleted deletes the key of a damaged entry among the deleted.
func (e *eraser) removeDeleted(tx kv.Tx, p kv.Pair) error {
	d, err := deletedPlace(e.month, p)
	if err == nil {
		switch _, err := tx.Get(asideKey(d.Ref)); {
		case err == nil:
			return nil
		case !errors.Is(err, kv.ErrNotFound):
			return err
		}
	}
	tx.Delete(p.Key)
	return nil
}

// removeUnless deletes a key that leads to an entry, unless that entry is there. A malformed key leads nowhere.
func (e *eraser) removeUnless(tx kv.Tx, key []byte, r Ref, malformed error) error {
	if malformed == nil {
		switch _, err := tx.Get(entryKey(r)); {
		case err == nil:
			return nil
		case !errors.Is(err, kv.ErrNotFound):
			return err
		}
	}
	tx.Delete(key)
	return nil
}

// removeRecord deletes a skip, and a gap that is not to stay. A record that cannot be read may be a gap.
func (e *eraser) removeRecord(tx kv.Tx, p kv.Pair) error {
	r, err := decodeRecord(e.mailbox, p.Value)
	if err != nil && e.o.KeepGaps {
		return nil
	}
	if err == nil && r.Kind == Gap && (e.o.KeepGaps || slices.Contains([]string{ReasonErased, ReasonLost, ReasonRestored}, r.Reason)) {
		return nil
	}
	tx.Delete(p.Key)
	return nil
}

// maxRecounts is how often the folders of a mailbox are counted again because messages come in.
const maxRecounts = 100

// errRecount says that a folder has changed since it was counted.
var errRecount = errors.New("folder has changed")

// countedFolder is a folder as it was counted.
type countedFolder struct {
	stored         []byte // its counters before; nil for none
	entries, bytes uint64
	imported       uint64
}

// setCounters deletes the counters of empty folders and corrects the others and the total: to nothing, unless messages came in meanwhile.
// A folder made again gets a greater UIDVALIDITY.
func (e *eraser) setCounters() error {
	defer e.j.usages.forget(e.mailbox) // damaged entries were counted wrongly
	for tries := 0; ; tries++ {
		folders, err := e.count()
		if err != nil || folders == nil {
			return err
		}
		err = e.j.update(e.ctx, e.store, e.month, []string{e.mailbox}, func(c *change) error { return putCounted(c, e.mailbox, folders) })
		if !errors.Is(err, errRecount) || tries == maxRecounts {
			return err
		}
	}
}

// count counts the folders that the mailbox has or may get meanwhile, by the key of their counters. Nil: there is nothing to set.
func (e *eraser) count() (map[string]*countedFolder, error) {
	some, err := hasKey(e.ctx, e.store, totalKey(e.mailbox))
	if err != nil {
		return nil, err
	}
	folders := make(map[string]*countedFolder)
	for _, name := range []string{FolderOf(Received), FolderOf(Sent), Trash} {
		folders[string(counterKey(e.mailbox, name))] = new(countedFolder)
	}
	prefix := mailboxKey('s', e.mailbox, 0)
	for p, err := range e.store.Scan(e.ctx, prefix, after(prefix)) {
		if err != nil {
			return nil, err
		}
		folders[string(p.Key)] = &countedFolder{stored: p.Value}
		some = true
	}
	if !some {
		return nil, nil
	}
	for key, f := range folders {
		entries := append([]byte{'e'}, key[1:]...)
		for p, err := range e.store.Scan(e.ctx, entries, after(entries)) {
			if err != nil {
				return nil, err
			}
			entry, _ := salvage(Ref{}, p.Value)
			f.entries++
			f.bytes += uint64(entry.Size)
			if entry.Imported != nil {
				f.imported++
			}
		}
	}
	return folders, nil
}

// putCounted writes what was counted. The error is errRecount if a folder has changed since.
func putCounted(c *change, mailbox string, folders map[string]*countedFolder) error {
	for key, f := range folders {
		v, err := c.Get([]byte(key))
		if err != nil && !errors.Is(err, kv.ErrNotFound) {
			return err
		}
		if !bytes.Equal(v, f.stored) {
			return errRecount
		}
	}
	var sum uint64
	for key, f := range folders {
		if f.entries == 0 {
			if f.stored != nil {
				c.Delete([]byte(key))
			}
			continue
		}
		counters, err := decodeCounters(f.stored)
		if err != nil {
			continue // the folder is in use; Verify reports it
		}
		counters.entries, counters.bytes, counters.imported = f.entries, f.bytes, f.imported
		c.Put([]byte(key), counters.encode())
		sum += f.bytes
	}
	was, err := c.total(mailbox)
	if err != nil && !errors.Is(err, errEncoding) {
		return err
	}
	if err := c.setTotal(mailbox, was, sum); err != nil {
		return err
	}
	return nil
}
