package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"copialettere/journal/evidence"
	"copialettere/journal/kv"
)

// Deleted is an entry that was deleted and can still be brought back. It keeps its old place, which no other entry gets.
type Deleted struct {
	*Entry
	At  time.Time // of the deletion
	Who string
	// DeletedUID is its UID in the folder of what was deleted (DeletedFolder); 0 where it was deleted before there was one.
	DeletedUID uint32

	superseded bool // not deleted: a newer entry took its place
}

// aside is the value of a t key: an entry that was deleted and can be brought back, or that a newer one superseded.
type aside struct {
	at             time.Time
	who            string
	uid            uint32    // among the deleted; 0 where it was superseded
	by             *delivery // the newer entry that superseded it; nil where it was deleted
	entry, outcome []byte    // the values of its e and o keys; outcome is empty where there was none
}

func (a *aside) encode() []byte {
	enc := encoder{b: make([]byte, 0, 100+len(a.entry))}
	enc.time(tagTime, a.at)
	enc.string(tagWho, a.who)
	if a.by != nil {
		enc.bytes(tagDelivery, a.by.append(nil))
	}
	if a.uid > 0 {
		enc.uint(tagDeletedUID, uint64(a.uid))
	}
	enc.bytes(tagEntry, a.entry)
	if len(a.outcome) > 0 {
		enc.bytes(tagOutcome, a.outcome)
	}
	return enc.b
}

// decodeAside reads the value of a t key, and the entry in it.
func decodeAside(r Ref, b []byte) (*aside, *Entry, error) {
	a := new(aside)
	err := decodeFields(b, func(tag byte, v []byte) (err error) {
		switch tag {
		case tagTime:
			a.at, err = decodeTime(v)
		case tagWho:
			a.who = string(v)
		case tagDelivery:
			a.by = new(delivery)
			*a.by, err = decodeDelivery(v)
		case tagDeletedUID:
			var n uint64
			if n, err = decodeCount(v); err == nil && n > math.MaxUint32 {
				err = errEncoding
			}
			a.uid = uint32(n)
		case tagEntry:
			a.entry = v
		case tagOutcome:
			a.outcome = v
		}
		return err
	})
	var e *Entry
	if err == nil {
		e, err = decodeEntry(r, a.entry)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("deleted entry %s %s %d: %w", r.Mailbox, r.FolderName(), r.UID, err)
	}
	return a, e, nil
}

// asideOf reads the pair of a t key.
func asideOf(m kv.Month, p kv.Pair) (*aside, *Entry, error) {
	r, err := refOf(m, p.Key)
	if err != nil {
		return nil, nil, err
	}
	return decodeAside(r, p.Value)
}

// salvageAside is salvage for the value of a t key.
func salvageAside(r Ref, b []byte) (e *Entry, whole bool) {
	var entry []byte
	_ = decodeFields(b, func(tag byte, v []byte) error {
		if tag == tagEntry {
			entry = v
		}
		return nil
	})
	return salvage(r, entry)
}

func asideKey(r Ref) []byte {
	return binary.BigEndian.AppendUint32(folderKey('t', r.Mailbox, r.Folder), r.UID)
}

// aside reads an entry that is put aside, or returns ErrNotFound.
func (c *change) aside(r Ref) (*aside, *Entry, error) {
	v, err := c.Get(asideKey(r))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, nil, ErrNotFound
	}
	if err != nil {
		return nil, nil, err
	}
	return decodeAside(r, v)
}

// relist puts an entry that is put aside at a new place and counts it in the total. The caller sets links, delivery key and folder
// counters.
func (c *change) relist(a *aside, e *Entry, to Ref) error {
	was, err := c.total(e.Mailbox)
	if err != nil {
		return err
	}
	if err := c.setTotal(e.Mailbox, was, was+uint64(e.Size)); err != nil {
		return err
	}
	c.Delete(asideKey(e.Ref))
	c.leaveDeleted(a, e.Mailbox)
	c.Put(entryKey(to), a.entry)
	if len(a.outcome) > 0 {
		c.Put(outcomeKey(to), a.outcome)
	}
	return c.noteMoved(evidence.BroughtBack, e, e.Ref, to, a.entry)
}

// over says whether the grace of a deleted entry is over.
func (a *aside) over(now time.Time) bool { return a.by == nil && graceOver(a.at, now) }

// purge deletes an entry that is put aside for good, for a reason that is one of those of its leaf. Its tombstone stays. The error is ErrHeld for one that may not go.
func (c *change) purge(r Ref, reason string) (*Entry, error) {
	if err := c.mayGo(r); err != nil {
		return nil, err
	}
	a, e, err := c.aside(r)
	if err != nil {
		return nil, err
	}
	c.Delete(asideKey(r))
	c.leaveDeleted(a, r.Mailbox)
	c.leaveToSweep(e)
	return e, c.noteRemoved(e, r, reason)
}
