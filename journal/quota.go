package journal

import (
	"errors"
	"time"

	"copialettere/journal/kv"
)

// WhenFull says what becomes of a message for which a mailbox has no room.
type WhenFull byte

// What can become of it.
const (
	SkipFull  WhenFull = 0 // no entry, but a gap on record
	DeferFull WhenFull = 1 // no entry, and the message is to come again: see Placement.Waits; one larger than the limit is as with SkipFull
	MakeRoom  WhenFull = 2 // the oldest entries that are not held are deleted; where that does not suffice, as SkipFull
)

// Quota limits what a mailbox holds, in bytes of the messages of its entries, in all folders and months.
type Quota struct {
	Limit    uint64 // 0: no limit
	WhenFull WhenFull
}

// defers says whether a message that has no room is to wait. One that never will have any would wait until the MTA gives it up.
func (q Quota) defers(size uint64) bool { return q.WhenFull == DeferFull && size <= q.Limit }

// thresholds are the percentages of a quota whose crossing a Placement tells.
var thresholds = [...]uint64{100, 90, 75}

// crossed returns the highest threshold that an entry of that size crosses, or 0. From 100 percent of a very large limit on it is
// careful not to overflow.
func (q Quota) crossed(used, size uint64) int {
	for _, t := range thresholds {
		mark := q.Limit/100*t + q.Limit%100*t/100
		if used < mark && used+size >= mark {
			return int(t)
		}
	}
	return 0
}

// noRoomError says that a mailbox has no room and that it is to be made.
type noRoomError struct{ candidate *candidate }

func (e *noRoomError) Error() string { return "mailbox " + e.candidate.Mailbox + " has no room" }

// maxRoomTries is how often a commit makes room that other deliveries take first.
const maxRoomTries = 100

// span is what one update removes of a mailbox and puts on record.
type span struct {
	reason      string
	first, last time.Time // arrivals
	entries     uint64
	bytes       uint64
}

func (s *span) add(e *Entry) {
	if s.entries == 0 || e.Time.Before(s.first) {
		s.first = e.Time
	}
	if s.entries == 0 || e.Time.After(s.last) {
		s.last = e.Time
	}
	s.entries++
	s.bytes += uint64(e.Size)
}

// spanSlots are the numbers of the records of spans. There is one of each reason in a volume, which grows.
var spanSlots = map[string]uint16{ReasonRoom: 0xffff, ReasonErased: 0xfffe}

func (s *span) record(mailbox string) Record {
	return Record{Kind: Gap, Mailbox: mailbox, Time: s.first, Until: s.last, Reason: s.reason, Entries: s.entries, Bytes: s.bytes}
}

// tellSpan tells of what was removed, when that is durable. It is not counted as a gap: there is one that grows.
func (j *Journal) tellSpan(mailbox string, s span) {
	if s.entries > 0 {
		j.tell([]Record{s.record(mailbox)})
	}
}

// putSpan adds what was removed to the gap that is on record for it in the volume.
func (c *change) putSpan(mailbox string, s span) error {
	if s.entries == 0 {
		return nil
	}
	r := s.record(mailbox)
	key := recordKey(mailbox, c.month.Start(), spanSlots[s.reason])
	v, err := c.Get(key)
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return err
	}
	if err == nil {
		before, err := decodeRecord(mailbox, v)
		if err != nil {
			// Nobody can read what it told of, which was in this month.
			c.j.log.Error("damaged gap record written anew", "mailbox", mailbox, "month", c.month, "error", err)
			before = &Record{Time: c.month.Start()}
		}
		if before.Time.Before(r.Time) {
			r.Time = before.Time
		}
		if before.Until.After(r.Until) {
			r.Until = before.Until
		}
		r.Entries += before.Entries
		r.Bytes += before.Bytes
	}
	c.Put(key, r.encode())
	return nil
}
