package journal

import (
	"errors"
	"fmt"

	"copialettere/journal/codec"
	"copialettere/journal/kv"
)

// bodies takes the entries away whose chunks are lost, or the dictionary of one: an entry without its bytes cannot exist.
func (x *settler) bodies() error {
	if !x.undecodable && !x.lost.meet([]byte{'c'}) {
		return nil
	}
	for _, kind := range []byte{'e', 't'} {
		for p, err := range x.store.Scan(x.ctx, []byte{kind}, []byte{kind + 1}) {
			if err != nil {
				return err
			}
			var e *Entry
			var put *aside
			if kind == 't' {
				put, e, err = asideOf(x.month, p)
			} else {
				e, err = entryOf(x.month, p)
			}
			if x.packed(p.Value) {
				if err := x.discard(p.Key); err != nil {
					return err
				}
				continue
			}
			if err != nil {
				continue // Verify reports it
			}
			whole, err := x.whole(e)
			if err == nil && !whole {
				err = x.takeAway(e, put)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// packed reports whether an entry is lost with the dictionary that it was packed with.
func (x *settler) packed(value []byte) bool { return x.undecodable && isPacked(value) }

// discard deletes an entry that is lost and in no log. The gap of it is on record.
func (x *settler) discard(key []byte) error {
	mailbox, _, err := splitMailboxKey(key)
	if err != nil {
		return nil // Verify reports it
	}
	return x.store.Update(x.ctx, []string{mailbox}, func(tx kv.Tx) error { tx.Delete(key); return nil })
}

// whole reports whether all chunks of an entry are there, those that are in no lost range taken for granted.
func (x *settler) whole(e *Entry) (bool, error) {
	for _, chunk := range e.Chunks {
		key := chunkKey(chunk.ID)
		if !x.undecodable && !x.lost.has(key) {
			continue
		}
		value, err := x.store.Get(x.ctx, key)
		if errors.Is(err, kv.ErrNotFound) && x.lost.has(key) {
			return false, nil
		}
		if err != nil && !errors.Is(err, kv.ErrNotFound) {
			return false, err
		}
		if !x.dictionaries.Has(codec.NumberOf(value)) && x.undecodable {
			return false, nil
		}
	}
	return true, nil
}

// takeAway removes an entry whose bytes are lost, with its gap, even a held one; put is not nil if it was put aside. A repetition of it may come back.
// What its owner had deleted stays so.
func (x *settler) takeAway(e *Entry, put *aside) error {
	m := lostMessage(e)
	m.Deleted = put != nil
	var gaps []Record
	err := x.j.update(x.ctx, x.store, x.month, []string{e.Mailbox, movesLock}, func(c *change) (err error) {
		gaps = nil
		if m.Held, err = c.held(e.Ref); err != nil {
			return err
		}
		c.Delete(holdKey(e.Ref))
		c.leaveToSweep(e)
		if put != nil {
			c.Delete(asideKey(e.Ref))
			c.leaveDeleted(put, e.Mailbox)
			return c.noteRemoved(e, e.Ref, RemovedLost)
		}
		c.Delete(entryKey(e.Ref))
		c.Delete(outcomeKey(e.Ref))
		deleteLinks(c, e)
		if err := c.leaveDelivery(e, false); err != nil {
			return err
		}
		gaps = []Record{{
			Kind: Gap, Mailbox: e.Mailbox, Time: e.Time, Reason: ReasonLost, Direction: e.Direction, MailFrom: e.MailFrom, RcptTo: e.RcptTo, ORCPT: e.ORCPT,
			MessageID: e.MessageID, QueueID: e.QueueID, Transaction: e.Transaction,
			Detail: fmt.Sprintf("a disk has lost the bytes of %s %d, from %s: %s", e.FolderName(), e.UID, e.From, e.Subject),
		}}
		if err := putRecords(c, gaps); err != nil {
			return err
		}
		return c.noteRemoved(e, e.Ref, RemovedLost)
	})
	if err == nil {
		x.j.recorded(gaps)
		x.report.lose(m)
	}
	return err
}
