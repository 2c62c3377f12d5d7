package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"copialettere/journal/kv"
)

// change is the Tx of an Update that makes, moves or removes entries of one volume. It keeps the counters right.
type change struct {
	kv.Tx
	ctx    context.Context // of the Update
	j      *Journal
	month  kv.Month
	before map[string]uint64 // by mailbox: its total before the change
	holds  map[string]bool   // by mailbox: whether it is held, as far as mailboxHeld has read

	accounts map[string]*account // by mailbox

	read   map[string][]byte // what readAhead has read; nil: no value
	others map[string]uint64 // by mailbox: bytes held in other months, as far as readOthers has read

	filled []filledFolder // folders in which a UID was taken that fills a block of the index

	refiling bool // movesLock is held
}

// update runs fn in an Update of the volume of a month. Whatever changes what a mailbox holds goes through it: it keeps the usages of this
// process exact, and tells those who watch.
func (j *Journal) update(ctx context.Context, s kv.Store, m kv.Month, locks []string, fn func(c *change) error) error {
	var runs []*change
	var failed bool
	refiling := slices.Contains(locks, movesLock)
	if refiling { // lock names hold for all months
		locks = append(slices.DeleteFunc(slices.Clone(locks), func(name string) bool { return name == movesLock }), movesLock+string(m))
	}
	err := s.Update(ctx, locks, func(tx kv.Tx) error {
		c := &change{Tx: tx, ctx: ctx, j: j, month: m, refiling: refiling}
		runs = append(runs, c)
		err := fn(c)
		if failed = err != nil; failed {
			// The locks are still held, so nobody has changed the totals meanwhile.
			for mailbox, total := range c.before {
				j.usages.set(mailbox, m, total)
			}
		}
		return err
	})
	if len(runs) > 1 || err != nil && !failed {
		for _, c := range runs {
			for mailbox := range c.before {
				j.usages.forget(mailbox)
			}
		}
	}
	if !failed {
		// Whatever changes what a mailbox holds has its lock, which has its name.
		j.watches.changed(locks)
		if len(runs) > 0 {
			j.indexing.filled(runs[len(runs)-1].filled)
		}
	}
	return err
}

// readAhead reads keys in one go. Get then serves them until they are written.
func (c *change) readAhead(keys [][]byte) error {
	values, err := c.Tx.GetAll(keys)
	if err != nil {
		return err
	}
	c.read = make(map[string][]byte, len(keys))
	for i, key := range keys {
		c.read[string(key)] = values[i]
	}
	return nil
}

// readAhead reads in one go what place will ask for. An engine with one client is near: reading ahead would only do the same twice.
func (g *group) readAhead(c *change) error {
	if c.j.alone {
		return nil
	}
	keys := make([][]byte, 0, 3*len(g.entries))
	var limited []string
	for i := range g.entries {
		if e := &g.entries[i]; !g.earlier[i].done() {
			keys = append(keys, e.delivery, totalKey(e.Mailbox), counterKey(e.Mailbox, e.Folder))
			if e.quota.Limit > 0 {
				limited = append(limited, e.Mailbox)
			}
		}
	}
	if err := c.readAhead(keys); err != nil {
		return err
	}
	return c.readOthers(limited)
}

// Get implements kv.View.
func (c *change) Get(key []byte) ([]byte, error) {
	if v, ok := c.read[string(key)]; ok {
		if v == nil {
			return nil, kv.ErrNotFound
		}
		return v, nil
	}
	return c.Tx.Get(key)
}

// Put implements kv.Tx.
func (c *change) Put(key, value []byte) {
	delete(c.read, string(key))
	c.Tx.Put(key, value)
}

// Delete implements kv.Tx.
func (c *change) Delete(key []byte) {
	delete(c.read, string(key))
	c.Tx.Delete(key)
}

func totalKey(mailbox string) []byte {
	key := mailboxKey('q', mailbox, 0)
	return key[:len(key)-1]
}

// totalSize is the size of the number at the start of the value of a q key, in bytes. The head of a log follows, where there is one.
const totalSize = 8

// total returns the bytes of all entries of a mailbox in the volume.
func total(tx kv.View, mailbox string) (uint64, error) {
	v, err := tx.Get(totalKey(mailbox))
	if errors.Is(err, kv.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return decodeTotal(v)
}

func decodeTotal(v []byte) (uint64, error) {
	if len(v) < totalSize {
		return 0, fmt.Errorf("total of a mailbox: %w", errEncoding)
	}
	return binary.BigEndian.Uint64(v), nil
}

// account is the value of a q key, as a change has read or written it.
type account struct {
	total uint64
	log   []byte // the head of the log, encoded; empty for none
}

// account reads the q key of a mailbox, once.
func (c *change) account(mailbox string) (*account, error) {
	if a := c.accounts[mailbox]; a != nil {
		return a, nil
	}
	a := new(account)
	v, err := c.Get(totalKey(mailbox))
	switch {
	case errors.Is(err, kv.ErrNotFound):
	case err != nil:
		return nil, err
	default:
		if a.total, err = decodeTotal(v); err != nil {
			return nil, err
		}
		a.log = v[totalSize:]
	}
	if c.accounts == nil {
		c.accounts = make(map[string]*account)
	}
	c.accounts[mailbox] = a
	return a, nil
}

func (c *change) putAccount(mailbox string, a *account) {
	if a.total == 0 && len(a.log) == 0 {
		c.Delete(totalKey(mailbox))
		return
	}
	v := binary.BigEndian.AppendUint64(make([]byte, 0, totalSize+len(a.log)), a.total)
	c.Put(totalKey(mailbox), append(v, a.log...))
}

// total is the function total, read once.
func (c *change) total(mailbox string) (uint64, error) {
	a, err := c.account(mailbox)
	if err != nil {
		return 0, err
	}
	return a.total, nil
}

// setTotal changes the bytes of all entries of a mailbox in the volume; was is what total returned.
func (c *change) setTotal(mailbox string, was, is uint64) error {
	c.remember(mailbox, was)
	c.j.usages.set(mailbox, c.month, is)
	return c.putTotal(mailbox, is)
}

// remember keeps a total as it was before the change.
func (c *change) remember(mailbox string, was uint64) {
	if c.before == nil {
		c.before = make(map[string]uint64)
	}
	if _, ok := c.before[mailbox]; !ok {
		c.before[mailbox] = was
	}
}

func (c *change) putTotal(mailbox string, is uint64) error {
	a, err := c.account(mailbox)
	if err != nil && !errors.Is(err, errEncoding) {
		return err
	}
	if a == nil {
		a = new(account) // it was malformed
	}
	a.total = is
	c.putAccount(mailbox, a)
	return nil
}

// nextUID takes the next UID of a folder for an entry, and counts the entry there. A new folder begins as begin says; without that the error is
// errNewFolder.
func (c *change) nextUID(e *Entry, folder string, begin newFolder) (uint32, error) {
	counters, err := getCounters(c, e.Mailbox, folder)
	if err != nil {
		return 0, err
	}
	if counters.nextUID == 0 {
		if begin.validity == 0 {
			return 0, errNewFolder
		}
		counters.nextUID, counters.uidValidity = begin.first, begin.validity
	}
	if counters.nextUID == math.MaxUint32 {
		return 0, fmt.Errorf("folder %s/%s has no UID left", folder, c.month)
	}
	uid := counters.nextUID
	if counters.nextUID++; counters.nextUID%indexBlock == 0 {
		c.filled = append(c.filled, filledFolder{c.month, e.Mailbox, folder})
	}
	counters.entries++
	counters.bytes += uint64(e.Size)
	if e.Imported != nil {
		counters.imported++
	}
	c.Put(counterKey(e.Mailbox, folder), counters.encode())
	return uid, nil
}

// uncount takes an entry out of the counters of its folder.
func (c *change) uncount(e *Entry) error {
	counters, err := getCounters(c, e.Mailbox, e.Folder)
	if err != nil {
		return err
	}
	counters.entries -= min(counters.entries, 1)
	counters.bytes -= min(counters.bytes, uint64(e.Size))
	if e.Imported != nil {
		counters.imported -= min(counters.imported, 1)
	}
	c.Put(counterKey(e.Mailbox, e.Folder), counters.encode())
	return nil
}

// entry reads an entry, or returns ErrNotFound.
func (c *change) entry(r Ref) (*Entry, error) {
	v, err := c.Get(entryKey(r))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return decodeEntry(r, v)
}

// remove deletes an entry with all that points at it, for a reason that is one of those of its leaf, and leaves its chunks to the sweep. Its UID is
// never used again. With tombstone its delivery key stays as one: a late retry does not bring the entry back. The error is ErrHeld for an entry that
// may not go.
func (c *change) remove(r Ref, reason string, tombstone bool) (*Entry, error) {
	if err := c.mayGo(r); err != nil {
		return nil, err
	}
	e, err := c.entry(r)
	if err != nil {
		return nil, err
	}
	if err := c.uncount(e); err != nil {
		return nil, err
	}
	was, err := c.total(r.Mailbox)
	if err != nil {
		return nil, err
	}
	if err := c.setTotal(r.Mailbox, was, was-min(was, uint64(e.Size))); err != nil {
		return nil, err
	}
	c.Delete(entryKey(r))
	c.Delete(outcomeKey(r))
	deleteLinks(c, e)
	c.leaveToSweep(e)
	if err := c.noteRemoved(e, r, reason); err != nil {
		return nil, err
	}
	return e, c.leaveDelivery(e, tombstone)
}

// leaveDelivery deletes the delivery key of an entry, or makes it a tombstone.
func (c *change) leaveDelivery(e *Entry, tombstone bool) error {
	key := deliveryKey(e.Mailbox, e.deliveryDigest())
	v, err := c.Get(key)
	if errors.Is(err, kv.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if !bytes.Equal(v, encodePlace(e.Ref)) {
		return nil
	}
	if tombstone {
		c.Put(key, encodeTombstone(e.Ref))
	} else {
		c.Delete(key)
	}
	return nil
}

// leaveToSweep has the sweep look whether other entries refer to the chunks of one that is removed.
func (c *change) leaveToSweep(e *Entry) {
	for _, chunk := range e.Chunks {
		c.Put(spareKey(chunk.ID), []byte{})
	}
}

func spareKey(id ChunkID) []byte { return append([]byte{'x'}, id[:]...) }

// tombstoneMark follows the place in the delivery key of an entry that is gone.
const tombstoneMark = 1

func encodeTombstone(r Ref) []byte { return append(encodePlace(r), tombstoneMark) }

// isTombstone says whether the value of a delivery key is a tombstone, and returns the place in it.
func isTombstone(v []byte) (place []byte, gone bool) {
	// A folder holds no zero byte, so the place ends four bytes behind the first one.
	if i := bytes.IndexByte(v, 0); i >= 0 && len(v) == i+6 && v[i+5] == tombstoneMark {
		return v[:i+5], true
	}
	return v, false
}
