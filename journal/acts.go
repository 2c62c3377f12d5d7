package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"time"

	"copialettere/journal/kv"
)

// The kinds of acts.
const (
	ActMove     = "move"
	ActDelete   = "delete"
	ActEmpty    = "empty" // a delete of all that was in a folder
	ActUndelete = "undelete"
	ActHold     = "hold"
	ActRelease  = "release"
	ActReturn   = "return"    // by nobody: a superseded message is an entry again
	ActGiveBack = "give-back" // its bytes went to the live mailbox once more: see giveback.go
	// ActNotGivenBack says that the mailstore refused them, and why.
	ActNotGivenBack = "not-given-back"
)

// Act is what somebody did with an entry, or with several of one folder, or why an entry has another UID. It is durable together with what
// it tells of, and outlives the volume.
type Act struct {
	Mailbox string
	Time    time.Time // when it began
	Kind    string
	Who     string // empty for ActReturn
	From    Ref    // the entry before, the first of several
	UIDs    UIDs   // of all the entries in their folder before
	To      Ref    // the entry afterwards, where it has another place; the first of several
	ToUIDs  UIDs   // of all the entries afterwards, in the order of UIDs
	Detail  string // the reason of a hold, or of ActNotGivenBack
}

func (a *Act) encode() []byte {
	var enc encoder
	enc.time(tagTime, a.Time)
	enc.string(tagKind, a.Kind)
	enc.string(tagWho, a.Who)
	enc.string(tagDetail, a.Detail)
	enc.string(tagMonth, string(a.From.Month))
	enc.bytes(tagFromPlace, encodePlace(a.From))
	if a.To.UID > 0 {
		enc.bytes(tagToPlace, encodePlace(a.To))
	}
	if a.UIDs.Count() > 1 {
		enc.bytes(tagUIDs, a.UIDs.encode())
		if a.To.UID > 0 {
			enc.bytes(tagToUIDs, a.ToUIDs.encode())
		}
	}
	return enc.b
}

func decodeAct(mailbox string, b []byte) (*Act, error) {
	a := &Act{Mailbox: mailbox}
	err := decodeFields(b, func(tag byte, v []byte) (err error) {
		switch tag {
		case tagTime:
			a.Time, err = decodeTime(v)
		case tagKind:
			a.Kind = string(v)
		case tagWho:
			a.Who = string(v)
		case tagDetail:
			a.Detail = string(v)
		case tagMonth:
			var m kv.Month
			if m, err = kv.ParseMonth(string(v)); err == nil {
				a.From.Month = m
			}
		case tagFromPlace:
			a.From, err = decodePlace(mailbox, a.From.Month, v)
		case tagToPlace:
			a.To, err = decodePlace(mailbox, a.From.Month, v)
		case tagUIDs:
			a.UIDs, err = decodeUIDs(v)
		case tagToUIDs:
			a.ToUIDs, err = decodeUIDs(v)
		}
		return err
	})
	if a.UIDs == nil {
		a.UIDs = a.From.Only().UIDs
		if a.To.UID > 0 {
			a.ToUIDs = a.To.Only().UIDs
		}
	}
	if err == nil && (a.UIDs.first() != a.From.UID || a.ToUIDs.first() != a.To.UID || a.To.UID > 0 && a.ToUIDs.Count() != a.UIDs.Count()) {
		err = errEncoding
	}
	if err != nil {
		return nil, fmt.Errorf("act on %s: %w", mailbox, err)
	}
	return a, nil
}

func actKey(mailbox string, t time.Time, n uint16) []byte {
	key := recordKey(mailbox, t, n)
	key[0] = 'a'
	return key
}

// putAct files an act under its mailbox and time, and returns the key.
func (c *change) putAct(a *Act) ([]byte, error) {
	for n := range math.MaxUint16 {
		key := actKey(a.Mailbox, a.Time, uint16(n))
		_, err := c.Get(key)
		if errors.Is(err, kv.ErrNotFound) {
			c.Put(key, a.encode())
			return key, nil
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("too many acts at %s", a.Time)
}

// putActOn files an act on one entry.
func (c *change) putActOn(kind, who string, at time.Time, from, to Ref, detail string) error {
	_, err := c.putAct(&Act{Mailbox: from.Mailbox, Time: at, Kind: kind, Who: who, From: from, To: to, Detail: detail})
	return err
}

// Acts yields what was done with the entries of a mailbox: first from dropped volumes, then volume by volume, each in the order of time.
// Instead of an act or month that cannot be read it yields an error that is ErrDamaged, and goes on.
func (j *Journal) Acts(ctx context.Context, mailbox string) iter.Seq2[*Act, error] {
	return func(yield func(*Act, error) bool) {
		if err := checkMailbox(mailbox); err != nil {
			yield(nil, err)
			return
		}
		prefix := mailboxKey('a', mailbox, 0)
		for s, err := range j.recordStores(ctx) {
			if err != nil {
				if !yield(nil, err) || !errors.Is(err, ErrDamaged) {
					return
				}
				continue
			}
			for p, err := range s.Scan(ctx, prefix, after(prefix)) {
				var a *Act
				if err == nil {
					a, err = decodeAct(mailbox, p.Value)
				}
				if err != nil && !errors.Is(err, ErrDamaged) {
					err = j.monthError(ctx, s.month, err)
				}
				if !yield(a, err) || err != nil && !errors.Is(err, ErrDamaged) {
					return
				}
			}
		}
	}
}

// maxExpiredActs is how many acts one update of ExpireActs deletes.
const maxExpiredActs = 1000

// ExpireActs deletes the acts from before a time that have outlived their volume, and returns their number. An act lives at least as long as the
// volume of its message. The acts of a mailbox that is held as a whole stay.
func (j *Journal) ExpireActs(ctx context.Context, before time.Time) (deleted int, err error) {
	s, err := j.engine.Settings(ctx)
	if err != nil {
		return 0, fmt.Errorf("expire acts: %w", err)
	}
	var mailbox string
	acts := groups[[]byte]{size: maxExpiredActs, do: func(keys [][]byte) error {
		n, err := j.deleteActs(ctx, s, mailbox, keys)
		deleted += n
		return err
	}}
	for p, err := range s.Scan(ctx, []byte{'a'}, []byte{'a' + 1}) {
		if err != nil {
			return deleted, fmt.Errorf("expire acts: %w", err)
		}
		of, _, err := splitMailboxKey(p.Key)
		if err != nil {
			continue // what cannot be read stays, and does not stop the others
		}
		a, err := decodeAct(of, p.Value)
		if err != nil || !a.Time.Before(before) {
			continue
		}
		if of != mailbox {
			err = acts.flush()
			mailbox = of
		}
		if err == nil {
			err = acts.add(p.Key)
		}
		if err != nil {
			return deleted, fmt.Errorf("expire acts: %w", err)
		}
	}
	if err := acts.flush(); err != nil {
		return deleted, fmt.Errorf("expire acts: %w", err)
	}
	return deleted, nil
}

// deleteActs deletes acts of a mailbox from the settings, unless the mailbox is held.
func (j *Journal) deleteActs(ctx context.Context, s kv.Store, mailbox string, keys [][]byte) (deleted int, err error) {
	err = s.Update(ctx, j.deletionLocks(mailbox), func(tx kv.Tx) error {
		deleted = 0
		if j.settings != nil {
			if held, err := j.settings.Held(tx, mailbox); held || err != nil {
				return err
			}
		}
		for _, key := range keys {
			tx.Delete(key)
		}
		deleted = len(keys)
		return nil
	})
	if err != nil {
		return 0, err
	}
	return deleted, nil
}

// recordStores yields the stores that hold records and acts: the settings, with those of dropped volumes, then all volumes. What is being
// moved from one to the other may come twice. Instead of a month that cannot be used it yields a MonthError, and goes on.
func (j *Journal) recordStores(ctx context.Context) iter.Seq2[monthStore, error] {
	return func(yield func(monthStore, error) bool) {
		s, err := j.engine.Settings(ctx)
		if !yield(monthStore{Store: s}, err) || err != nil {
			return
		}
		for s, err := range j.volumes(ctx) {
			if !yield(s, err) {
				return
			}
		}
	}
}

// refOf parses the key of something that belongs to an entry: kind, mailbox, folder, UID.
func refOf(m kv.Month, key []byte) (Ref, error) {
	mailbox, folder, rest, err := splitFolderKey(key)
	if err != nil || len(rest) != 4 {
		return Ref{}, fmt.Errorf("key %q: %w", key, errKey)
	}
	return Ref{Mailbox: mailbox, Month: m, Folder: folder, UID: binary.BigEndian.Uint32(rest)}, nil
}

// closingKey marks a volume that might be dropped, or is about to be: see drop.
var closingKey = []byte("z")
