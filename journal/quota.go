package journal

import (
	"errors"
	"time"

	"copialettere/journal/kv"
)

// WhenFull says what becomes of a message for which a mailbox has no room.
type WhenFull byte

// The values of WhenFull.
const (
	SkipFull  WhenFull = 0 // no entry, but a gap on record
	DeferFull WhenFull = 1 // no entry, and the message is to come again (Placement.Waits); as SkipFull for one larger than the limit
	MakeRoom  WhenFull = 2 // delete the oldest entries that are not held; as SkipFull if that does not suffice
)

// Quota limits what a mailbox holds, in bytes of the messages of its entries, in all folders and months.
type Quota struct {
	Limit    uint64 // 0: no limit
	WhenFull WhenFull
}

// defers says whether a message without room is to wait. One that could never fit would wait until the MTA gives it up.
func (q Quota) defers(size uint64) bool { return q.WhenFull == DeferFull && size <= q.Limit }

// thresholds are the percentages of a quota that Placement.Crossed reports.
var thresholds = [...]uint64{100, 90, 75}

// crossed returns the highest threshold that an entry of that size crosses, or 0. It divides first: the percentage of a very large limit
// would overflow.
func (q Quota) crossed(used, size uint64) int {
	for _, t := range thresholds {
		mark := q.Limit/100*t + q.Limit%100*t/100
		if used < mark && used+size >= mark {
			return int(t)
		}
	}
	return 0
}

// noRoomError says that a mailbox has no room and that some is to be made.
type noRoomError struct{ candidate *candidate }

func (e *noRoomError) Error() string { return "mailbox " + e.candidate.Mailbox + " has no room" }

// maxRoomTries is how often a commit makes room that other deliveries take first.
const maxRoomTries = 100

// span is what one update removes from a mailbox and puts on record.
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

// spanSlots are the record numbers of spans. A volume has one record of each reason, which grows.
var spanSlots = map[string]uint16{ReasonRoom: 0xffff, ReasonErased: 0xfffe, ReasonLost: 0xfffc}

func (s *span) record(mailbox string) Record {
	return Record{Kind: Gap, Mailbox: mailbox, Time: s.first, Until: s.last, Reason: s.reason, Entries: s.entries, Bytes: s.bytes}
}

// tellSpan reports what was removed, once that is durable. It does not count as a gap: one gap grows.
func (j *Journal) tellSpan(mailbox string, s span) {
	if s.entries > 0 {
		j.tell([]Record{s.record(mailbox)})
	}
}

// putSpan adds what was removed to its gap record in the volume.
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
			// What it told of is lost; it was in this month.
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
