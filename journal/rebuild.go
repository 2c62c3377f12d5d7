package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"copialettere/journal/kv"
)

// Rebuilt says what Rebuild changed.
type Rebuilt struct {
	Entries    int64    `json:"entries"`    // that were read, those put aside included
	Counters   int      `json:"counters"`   // folders whose counters were wrong
	Totals     int      `json:"totals"`     // mailboxes whose total in a month was wrong
	Deliveries int      `json:"deliveries"` // delivery keys that were missing or wrong
	Links      int      `json:"links"`      // links that were missing
	Deleted    int      `json:"deleted"`    // keys among the deleted that were missing
	Digests    int      `json:"digests"`    // digests of shared chunks that were missing
	Logs       int      `json:"logs"`       // heads of logs that were missing
	Indexes    int      `json:"indexes"`    // blocks of indexes that were wrong, and were removed
	Stale      int      `json:"stale"`      // keys that led to no entry, and were removed
	Details    []string `json:"details,omitempty"`
}

func (r *Rebuilt) did(count *int, format string, args ...any) {
	if *count++; len(r.Details) < maxDetails {
		r.Details = append(r.Details, fmt.Sprintf(format, args...))
	}
}

// Changes returns how many keys were changed in all.
func (r *Rebuilt) Changes() int {
	return r.Counters + r.Totals + r.Deliveries + r.Links + r.Deleted + r.Digests + r.Logs + r.Indexes + r.Stale
}

// Rebuild recreates what follows from the entries: the counters of folders and of what was deleted, totals, delivery keys, links and keys among the
// deleted; from the chunks, the digests by which they are shared; and the head of a log from its leaves, where it is lost. It changes no
// entry, no chunk, no tombstone and no leaf, and brings nothing back that was deleted. It never lowers a next UID, and changes a UIDVALIDITY only where
// counters are lost. An entry that cannot be read stays as it is: Verify names it. Only those months are rebuilt that are named; without any, all. Nobody
// else may use the journal. After an error or a crash call it again. With PassedOver those months cannot be read, and all others were rebuilt.
func (j *Journal) Rebuild(ctx context.Context, months ...kv.Month) (*Rebuilt, error) {
	report := new(Rebuilt)
	var passed PassedOver
	deleted := make(map[string]uint32)
	for s, err := range j.volumes(ctx) {
		var month *MonthError
		if len(months) > 0 && (err == nil && !slices.Contains(months, s.month) || errors.As(err, &month) && !slices.Contains(months, month.Month)) {
			continue
		}
		if err == nil {
			b := rebuilder{j: j, ctx: ctx, store: s, month: s.month, report: report, folders: make(map[string]*[2]folderCounters), highest: deleted}
			err = b.rebuild()
		}
		if err != nil && !passed.Add(err) {
			return report, fmt.Errorf("rebuild: %w", err)
		}
	}
	if err := j.rebuildDeletedCounters(ctx, deleted, report); err != nil {
		return report, fmt.Errorf("rebuild: %w", err)
	}
	return report, passed.Err()
}

// rebuilder rebuilds one month.
type rebuilder struct {
	j       *Journal
	ctx     context.Context
	store   kv.Store
	month   kv.Month
	report  *Rebuilt
	folders map[string]*[2]folderCounters // by the key of their counters: as stored, and as counted
	unread  map[string]bool               // mailboxes of which an entry cannot be read: their counters stay, unless they are lost
	highest map[string]uint32             // by mailbox: the highest UID among what was deleted
}

func (b *rebuilder) rebuild() error {
	b.unread = make(map[string]bool)
	if _, err := b.j.readDictionaries(b.ctx, b.month, b.store); err != nil { // mends one of two copies
		return b.j.monthError(b.ctx, b.month, err)
	}
	for _, step := range []struct {
		kind  byte
		count func(p kv.Pair)
		do    func(c *change, p kv.Pair) error
	}{
		{'s', b.counters, nil}, {'e', b.countEntry, b.entry}, {'t', b.countAside, b.aside},
		{'d', nil, b.delivery}, {'p', nil, b.link}, {'o', nil, b.outcome}, {'w', nil, b.deleted},
	} {
		if err := b.each(step.kind, step.count, step.do); err != nil {
			return err
		}
	}
	if err := b.digests(); err != nil {
		return err
	}
	if err := b.logs(); err != nil {
		return err
	}
	if err := b.put(); err != nil {
		return err
	}
	return b.indexes()
}

// each calls count once for all pairs of a kind, and do in updates of a group each, which may run more than once. Both may be nil.
func (b *rebuilder) each(kind byte, count func(p kv.Pair), do func(c *change, p kv.Pair) error) error {
	pairs := groups[kv.Pair]{size: entryGroup, do: func(group []kv.Pair) error {
		var locks []string
		for _, p := range group {
			if mailbox, _, err := splitMailboxKey(p.Key); err == nil {
				locks = append(locks, mailbox)
			}
		}
		before := *b.report
		return b.j.update(b.ctx, b.store, b.month, locks, func(c *change) error {
			*b.report = before
			for _, p := range group {
				if err := do(c, p); err != nil {
					return err
				}
			}
			return nil
		})
	}}
	for p, err := range b.store.Scan(b.ctx, []byte{kind}, []byte{kind + 1}) {
		if err != nil {
			return b.j.monthError(b.ctx, b.month, err)
		}
		if count != nil {
			count(p)
		}
		if do == nil {
			continue
		}
		if err := pairs.add(p); err != nil {
			return b.j.monthError(b.ctx, b.month, err)
		}
	}
	return b.j.monthError(b.ctx, b.month, pairs.flush())
}

// folder returns the counters of a folder.
func (b *rebuilder) folder(mailbox, folder string) *[2]folderCounters {
	key := string(counterKey(mailbox, folder))
	f := b.folders[key]
	if f == nil {
		f = new([2]folderCounters)
		b.folders[key] = f
	}
	return f
}

func (b *rebuilder) counters(p kv.Pair) {
	mailbox, folder, _, err := splitFolderKey(p.Key)
	if err != nil {
		return
	}
	f := b.folder(mailbox, folder)
	if c, err := decodeCounters(p.Value); err == nil {
		f[asStored] = c
	}
}

// unreadable notes an entry that cannot be read. Its key has its UID all the same, and nobody may get that again.
func (b *rebuilder) unreadable(p kv.Pair) {
	if mailbox, _, err := splitMailboxKey(p.Key); err == nil {
		b.unread[mailbox] = true
	}
	if r, err := refOf(b.month, p.Key); err == nil {
		counted := &b.folder(r.Mailbox, r.Folder)[asCounted]
		counted.nextUID = max(counted.nextUID, r.UID+1)
	}
}

func (b *rebuilder) countEntry(p kv.Pair) {
	e, err := entryOf(b.month, p)
	if err != nil {
		b.unreadable(p)
		return
	}
	b.report.Entries++
	b.folder(e.Mailbox, e.Folder)[asCounted].count(e)
}

func (b *rebuilder) countAside(p kv.Pair) {
	a, e, err := asideOf(b.month, p)
	if err != nil {
		b.unreadable(p)
		return
	}
	b.report.Entries++
	if a.uid > 0 {
		b.highest[e.Mailbox] = max(b.highest[e.Mailbox], a.uid)
	}
	f := b.folder(e.Mailbox, e.Folder)
	f[asCounted].nextUID = max(f[asCounted].nextUID, e.UID+1)
}

func (b *rebuilder) entry(c *change, p kv.Pair) error {
	e, err := entryOf(b.month, p)
	if err != nil {
		return nil // counted as unreadable
	}
	if err := b.lead(c, e, encodePlace(e.Ref)); err != nil {
		return err
	}
	for _, l := range e.Links {
		key := linkKey(l, e.Ref)
		if there, err := has(c, key); err != nil {
			return err
		} else if !there {
			c.Put(key, []byte{})
			b.report.did(&b.report.Links, "%s %s %d: a link to it was missing", e.Mailbox, e.FolderName(), e.UID)
		}
	}
	return nil
}

// lead has the delivery key of an entry lead to its place, unless it leads to another entry that is there.
func (b *rebuilder) lead(c *change, e *Entry, want []byte) error {
	key := deliveryKey(e.Mailbox, e.deliveryDigest())
	v, err := c.Get(key)
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return err
	}
	if bytes.Equal(v, want) {
		return nil
	}
	place, gone := isTombstone(v)
	if other, err := decodePlace(e.Mailbox, b.month, place); v != nil && !gone && err == nil {
		if there, err := has(c, entryKey(other)); there || err != nil {
			return err
		}
	}
	c.Put(key, want)
	b.report.did(&b.report.Deliveries, "%s %s %d: its delivery key did not lead to it", e.Mailbox, e.FolderName(), e.UID)
	return nil
}

func (b *rebuilder) aside(c *change, p kv.Pair) error {
	a, e, err := asideOf(b.month, p)
	if err != nil {
		return nil // counted as unreadable
	}
	if err := b.lead(c, e, encodeTombstone(e.Ref)); err != nil || a.uid == 0 {
		return err
	}
	if there, err := has(c, deletedKey(e.Mailbox, a.uid)); there || err != nil {
		return err
	}
	c.putDeleted(a, e)
	b.report.did(&b.report.Deleted, "%s %s %d: its key among the deleted was missing", e.Mailbox, e.FolderName(), e.UID)
	return nil
}

// stale removes a key that leads to none of these keys.
func (b *rebuilder) stale(c *change, p kv.Pair, what string, to []byte) error {
	if there, err := has(c, to); there || err != nil {
		return err
	}
	c.Delete(p.Key)
	b.report.did(&b.report.Stale, "%s: %s led to no entry: %q", b.month, what, p.Key)
	return nil
}

func (b *rebuilder) delivery(c *change, p kv.Pair) error {
	mailbox, _, err := splitMailboxKey(p.Key)
	place, gone := isTombstone(p.Value)
	if err != nil || gone {
		return nil
	}
	r, err := decodePlace(mailbox, b.month, place)
	if err != nil {
		return nil
	}
	return b.stale(c, p, "a delivery key", entryKey(r))
}

func (b *rebuilder) link(c *change, p kv.Pair) error {
	_, r, err := splitLinkKey(b.month, p.Key)
	if err != nil {
		return nil
	}
	return b.stale(c, p, "a link", entryKey(r))
}

func (b *rebuilder) outcome(c *change, p kv.Pair) error {
	r, err := refOf(b.month, p.Key)
	if err != nil {
		return nil
	}
	return b.stale(c, p, "an outcome", entryKey(r))
}

func (b *rebuilder) deleted(c *change, p kv.Pair) error {
	d, err := deletedPlace(b.month, p)
	if err != nil {
		return nil
	}
	return b.stale(c, p, "a key among the deleted", asideKey(d.Ref))
}

func has(v kv.View, key []byte) (bool, error) {
	_, err := v.Get(key)
	if errors.Is(err, kv.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// put writes the counters and totals that are wrong. Those of a mailbox of which something cannot be read stay. Only counters that are lost, or would
// give a UID out again, do not: the next message would take the place of another one.
func (b *rebuilder) put() error {
	sums := make(map[string]uint64)
	for key, f := range b.folders {
		mailbox, folder, _, err := splitFolderKey([]byte(key))
		if err != nil {
			continue
		}
		stored, counted := f[asStored], f[asCounted]
		want := stored
		if !b.unread[mailbox] {
			sums[mailbox] += counted.bytes
		}
		if !b.unread[mailbox] || stored.nextUID == 0 {
			want.entries, want.bytes, want.imported = counted.entries, counted.bytes, counted.imported
		}
		want.nextUID = max(stored.nextUID, counted.nextUID)
		if stored.nextUID == 0 {
			// What was given out beyond the last entry is not known.
			if want.uidValidity, err = b.j.newValidity(b.ctx); err != nil {
				return err
			}
			want.nextUID = ahead(want.nextUID)
		}
		if want == stored {
			continue
		}
		err = b.j.update(b.ctx, b.store, b.month, []string{mailbox}, func(c *change) error {
			c.Put([]byte(key), want.encode())
			return nil
		})
		if err != nil {
			return b.j.monthError(b.ctx, b.month, err)
		}
		b.report.did(&b.report.Counters, "%s %s/%s: counters said %d entries of %d bytes below UID %d; there are %d of %d below %d", mailbox, folder, b.month,
			stored.entries, stored.bytes, stored.nextUID, want.entries, want.bytes, want.nextUID)
	}
	for mailbox, sum := range sums {
		var was uint64
		err := b.j.update(b.ctx, b.store, b.month, []string{mailbox}, func(c *change) (err error) {
			if was, err = c.total(mailbox); err != nil || was == sum {
				return err
			}
			return c.setTotal(mailbox, was, sum)
		})
		if errors.Is(err, errEncoding) {
			continue // the head of the log is beside it: Verify names it
		}
		if err != nil {
			return b.j.monthError(b.ctx, b.month, err)
		}
		if was != sum {
			b.report.did(&b.report.Totals, "%s in %s: the total said %d bytes; its folders hold %d", mailbox, b.month, was, sum)
		}
	}
	return nil
}
