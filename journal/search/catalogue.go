package search

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/pec"
)

// catalogueID names the catalogue of one folder of the journal.
type catalogueID struct {
	mailbox string // as the journal has it
	month   kv.Month
	folder  string
	texts   bool // it has texts and attachments too
}

// catalogue is what is known of the messages in one folder of the journal. Message n is what all columns have at n.
//
// It always knows all messages whose UIDs are below next and that were there when it last looked, and perhaps some that have gone since. So it is
// exact if the counters of the folder say the same: what is gone never comes back under its UID.
type catalogue struct {
	id   catalogueID
	turn chan struct{} // has room for one: whoever holds it may use the columns
	columns

	bytes int       // guarded by Index.mu
	used  time.Time // when it was asked for last, once it was; guarded by Index.mu
}

// columns are what is known of each message.
type columns struct {
	uidValidity uint32
	next        uint32 // UID; those below are known

	uids  []uint32
	times []int64 // by which the messages are listed, in nanoseconds since 1970
	sizes []int64
	kinds []uint16 // numbers in kindList
	order []uint32 // message numbers, oldest first

	texts    []byte // of all messages, only with id.texts
	ends     []int  // of the text of each message
	attached []bool // it has attachments

	kindList []kind
	kindOf   map[kind]uint16

	young map[uint32]time.Time // UIDs of sent messages that may still get recipients, with their arrival
}

// kind is what many messages have in common.
type kind struct {
	class     string
	sentTo    string
	direction journal.Direction
}

// InClass reports whether an entry belongs to a class, one of Classes.
func InClass(e *journal.Entry, class string) bool {
	return kind{e.Class, e.SentTo, e.Direction}.in(class)
}

// in reports whether messages of the kind belong to a class as Query has it.
func (k kind) in(class string) bool {
	if k.class == class {
		return true
	}
	switch group := pec.Group(class); group {
	case pec.SentCertified:
		return k.direction == journal.Sent && k.sentTo == string(policy.SentToCertified)
	case pec.SentOther:
		return k.direction == journal.Sent && k.sentTo != string(policy.SentToCertified)
	default:
		return k.direction == journal.Received && pec.GroupOf(pec.Class(k.class)) == group
	}
}

// growing is for how long the MTA may hand on a message that was sent to further recipients, which are then added to its entry: it does so as fast as
// it can, and again after a refusal.
const growing = time.Hour

func newCatalogue(id catalogueID) *catalogue {
	return &catalogue{id: id, turn: make(chan struct{}, 1), columns: columns{next: 1}}
}

// knows reports whether the catalogue is exact at the counters of its folder.
func (c *catalogue) knows(now journal.FolderStats) bool {
	return c.uidValidity == now.UIDValidity && c.next == now.NextUID && uint64(len(c.uids)) == now.Entries
}

// bring brings the catalogue up to the counters of its folder, or to later ones.
func (c *catalogue) bring(ctx context.Context, r *archive.Reader, now journal.FolderStats, clock time.Time) error {
	if c.knows(now) {
		return c.growYoung(ctx, r, now, clock)
	}
	// The turn may have been long in coming, and who had it before may know more than these counters.
	f, err := r.Refresh(ctx, archive.InMonth(now))
	if err != nil {
		return err
	}
	now = *f.Holds
	if c.uidValidity != now.UIDValidity || now.NextUID < c.next {
		c.columns = columns{next: 1, uidValidity: now.UIDValidity}
	}
	before := len(c.uids)
	if c.next < now.NextUID {
		if err := c.read(ctx, r, now, clock); err != nil {
			c.sort(before)
			return err
		}
		c.next = now.NextUID
	}
	c.sort(before)
	if uint64(len(c.uids)) != now.Entries {
		uids, err := r.UIDs(ctx, archive.InMonth(now), 1)
		if err != nil {
			return err
		}
		c.keep(func(n int) bool {
			_, there := slices.BinarySearch(uids, c.uids[n])
			return there
		})
	}
	return c.growYoung(ctx, r, now, clock)
}

// read adds the messages whose UIDs are from next on and below those of the counters.
func (c *catalogue) read(ctx context.Context, r *archive.Reader, now journal.FolderStats, clock time.Time) error {
	if !c.id.texts {
		for o, err := range r.Outlines(ctx, now, c.next, now.NextUID-1) {
			if o.UID == 0 {
				return err
			}
			c.add(o) // of one that cannot be read only the UID is known
		}
		return ctx.Err()
	}
	for e, err := range r.Entries(ctx, archive.InMonth(now), c.next, now.NextUID-1) {
		if e == nil {
			return err
		}
		c.describe(e, clock)
	}
	return ctx.Err()
}

// describe adds a message with its text.
func (c *catalogue) describe(e *journal.Entry, clock time.Time) {
	c.add(journal.Outline{UID: e.UID, Direction: e.Direction, Dated: e.Dated(), Class: e.Class, SentTo: e.SentTo, Size: e.Size, Imported: e.Imported != nil})
	d := describe(e)
	c.texts = d.appendText(c.texts)
	c.ends = append(c.ends, len(c.texts))
	c.attached = append(c.attached, d.attachment)
	if e.Direction == journal.Sent && clock.Sub(e.Time) < growing {
		if c.young == nil {
			c.young = make(map[uint32]time.Time)
		}
		c.young[e.UID] = e.Time
	}
}

// add adds a message to all columns but those of texts.
func (c *catalogue) add(o journal.Outline) {
	at := o.Dated.UnixNano()
	end := c.id.month.Next().Start().UnixNano()
	switch n := len(c.times); {
	case at >= end || o.Imported && o.Dated.IsZero(): // an odd date
		at = end - 1
	case o.Dated.IsZero() && n > 0: // it cannot be read, and came after this one
		at = c.times[n-1]
	case o.Dated.IsZero():
		at = c.id.month.Start().UnixNano()
	}
	c.uids = append(c.uids, o.UID)
	c.times = append(c.times, at)
	c.sizes = append(c.sizes, o.Size)
	k := kind{o.Class, o.SentTo, o.Direction}
	number, ok := c.kindOf[k]
	if !ok {
		if c.kindOf == nil {
			c.kindOf = make(map[kind]uint16)
		}
		number = uint16(len(c.kindList))
		c.kindList = append(c.kindList, k)
		c.kindOf[k] = number
	}
	c.kinds = append(c.kinds, number)
	c.next = max(c.next, o.UID+1)
}

// growYoung describes sent messages anew that may have got recipients since.
func (c *catalogue) growYoung(ctx context.Context, r *archive.Reader, now journal.FolderStats, clock time.Time) error {
	if len(c.young) == 0 {
		return nil
	}
	entries := make(map[uint32]*journal.Entry)
	for uid, arrival := range c.young {
		e, err := r.Entry(ctx, journal.Ref{Month: now.Month, Folder: now.Folder, UID: uid})
		switch {
		case errors.Is(err, journal.ErrNotFound), errors.Is(err, journal.ErrDamaged), err == nil && e.State == journal.Superseded:
			delete(c.young, uid)
		case err != nil:
			return err
		default:
			entries[uid] = e
		}
		if clock.Sub(arrival) >= growing {
			delete(c.young, uid)
		}
	}
	grown := make(map[uint32]*journal.Entry)
	for n, uid := range c.uids {
		if e := entries[uid]; e != nil && !bytes.Equal(describe(e).appendText(nil), c.textOf(n)) {
			grown[uid] = e
		}
	}
	if len(grown) == 0 {
		return nil
	}
	c.keep(func(n int) bool { return grown[c.uids[n]] == nil })
	before := len(c.uids)
	for _, e := range grown {
		c.describe(e, clock)
	}
	c.sort(before)
	return nil
}

func (c *catalogue) textOf(n int) []byte {
	if n == 0 {
		return c.texts[:c.ends[0]]
	}
	return c.texts[c.ends[n-1]:c.ends[n]]
}

// keep drops the messages that are not to be kept.
func (c *catalogue) keep(keep func(n int) bool) {
	kept, begin, end := 0, 0, 0
	for n := range c.uids {
		stop := 0
		if c.id.texts {
			stop = c.ends[n]
		}
		if keep(n) {
			c.uids[kept], c.times[kept], c.sizes[kept], c.kinds[kept] = c.uids[n], c.times[n], c.sizes[n], c.kinds[n]
			if c.id.texts {
				end += copy(c.texts[end:], c.texts[begin:stop])
				c.ends[kept], c.attached[kept] = end, c.attached[n]
			}
			kept++
		}
		begin = stop
	}
	c.uids, c.times, c.sizes, c.kinds = c.uids[:kept], c.times[:kept], c.sizes[:kept], c.kinds[:kept]
	if c.id.texts {
		clear(c.texts[end:]) // what has gone is gone here too
		c.texts, c.ends, c.attached = c.texts[:end], c.ends[:kept], c.attached[:kept]
	}
	c.order = c.order[:0]
	c.sort(0)
}

// sort puts the messages from a number on into the order of time.
func (c *catalogue) sort(from int) {
	if from == len(c.uids) {
		return
	}
	for n := from; n < len(c.uids); n++ {
		c.order = append(c.order, uint32(n))
	}
	slices.SortFunc(c.order, func(a, b uint32) int {
		return cmp.Or(cmp.Compare(c.times[a], c.times[b]), cmp.Compare(c.uids[a], c.uids[b]))
	})
}
