package pec

import (
	"cmp"
	"strings"
	"time"
)

// Fact is one thing known about a recipient. The zero Fact is unknown.
type Fact struct {
	Known  bool
	Time   time.Time // UTC; zero if unknown
	Code   string    // see Event
	Detail string    // see Event
}

// compare orders known facts by time, those without one last, then by their text.
func (f Fact) compare(g Fact) int {
	if f.Time.IsZero() != g.Time.IsZero() {
		return -f.Time.Compare(g.Time)
	}
	return cmp.Or(f.Time.Compare(g.Time), strings.Compare(f.Code, g.Code), strings.Compare(f.Detail, g.Detail))
}

// earlier returns the first of two facts; an unknown one does not count.
func earlier(f, g Fact) Fact {
	if !f.Known || g.Known && g.compare(f) < 0 {
		return g
	}
	return f
}

// later returns the last of two facts. A known fact counts before an unknown one, and one with a time before one without.
func later(f, g Fact) Fact {
	if !f.Known || g.Known && (f.Time.IsZero() && !g.Time.IsZero() || f.Time.IsZero() == g.Time.IsZero() && g.compare(f) > 0) {
		return g
	}
	return f
}

// Outcome is what is known about one recipient of a sent message: the first fact of each kind, and the last notice of delay. So it does not
// depend on the order in which receipts come, nor on repetitions.
type Outcome struct {
	Listed    string // KindCertified or KindExternal, as receipts list the recipient; "" if none does. Callers want Kind
	Accepted  Fact
	Refused   Fact
	Taken     Fact
	Delivered Fact // Detail is the kind of receipt
	Failed    Fact
	Late      Fact // first notice of delay
	LateLast  Fact // last notice of delay
	Final     bool // a notice of delay said that it was the last
	// From receipts about one of several recipients, this one among them, that do not say which.
	UnnamedDelivered, UnnamedFailed, UnnamedLate Fact
}

// Merge returns the outcome with one more event.
func (o Outcome) Merge(e Event) Outcome {
	f := Fact{Known: true, Time: e.Time, Code: e.Code, Detail: e.Detail}
	// The DTD assumes certificato by default; esterno was written on purpose.
	o.Listed = max(o.Listed, e.RecipientKind)
	if e.Unnamed {
		o.mergeUnnamed(e.Kind, f)
		return o
	}
	switch e.Kind {
	case EventAccepted:
		o.Accepted = earlier(o.Accepted, f)
	case EventRefused:
		o.Refused = earlier(o.Refused, f)
	case EventTaken:
		o.Taken = earlier(o.Taken, f)
	case EventDelivered:
		o.Delivered = earlier(o.Delivered, f)
	case EventFailed:
		o.Failed = earlier(o.Failed, f)
	case EventLate:
		o.Late = earlier(o.Late, f)
		o.LateLast = later(o.LateLast, f)
		o.Final = o.Final || e.final()
	}
	return o
}

func (o *Outcome) mergeUnnamed(kind EventKind, f Fact) {
	switch kind {
	case EventDelivered:
		o.UnnamedDelivered = earlier(o.UnnamedDelivered, f)
	case EventFailed:
		o.UnnamedFailed = earlier(o.UnnamedFailed, f)
	case EventLate:
		o.UnnamedLate = earlier(o.UnnamedLate, f)
	}
}

// final reports whether a notice of delay is known to be the last. The header does not tell: providers give the last one a permanent code of
// RFC 3463.
func (e *Event) final() bool { return e.Final || strings.HasPrefix(strings.TrimSpace(e.Detail), "5.") }

// Kind returns KindCertified, KindExternal, or "" if unknown. A fact that only a recipient with PEC can have outweighs what receipts list: the
// provider may not have known at the time of acceptance.
func (o Outcome) Kind() string {
	if o.Delivered.Known || o.Taken.Known || o.Late.Known {
		return KindCertified
	}
	return o.Listed
}

// Status is the state of one recipient. Others script against the values.
type Status string

// The states.
const (
	StatusUnknown   Status = ""
	StatusAccepted  Status = "accepted"
	StatusRefused   Status = "not-accepted"
	StatusDelivered Status = "delivered"
	StatusFailed    Status = "failed"
	StatusLate12    Status = "late-12h" // no delivery within 12 hours; it may still follow
	StatusLate24    Status = "late-24h" // no delivery within 24 hours: given up
	// The receipt is about one of the recipients that it lists, but does not say which. Each of them has this state if no other receipt says
	// more than that the message was accepted.
	StatusUnnamedDelivered Status = "delivered-unnamed"
	StatusUnnamedFailed    Status = "failed-unnamed"
	StatusUnnamedLate      Status = "late-unnamed"
)

const (
	// lastNotice is the time after the acceptance from which a notice is the last: that comes at 22 hours or later (RFC 6109 3.1.6).
	lastNotice = 22 * time.Hour
	// betweenNotices is the least time between two notices that are not repetitions of one.
	betweenNotices = 6 * time.Hour
)

// Status returns the state. A delivery outweighs everything, then come a failure, a refusal, a delay, and then receipts that do not name this
// recipient.
func (o Outcome) Status() Status {
	switch {
	case o.Delivered.Known:
		return StatusDelivered
	case o.Failed.Known:
		return StatusFailed
	case o.Refused.Known:
		return StatusRefused
	case o.Late.Known && o.givenUp():
		return StatusLate24
	case o.Late.Known:
		return StatusLate12
	case o.UnnamedFailed.Known:
		return StatusUnnamedFailed
	case o.UnnamedLate.Known:
		return StatusUnnamedLate
	case o.UnnamedDelivered.Known:
		return StatusUnnamedDelivered
	case o.Accepted.Known || o.Taken.Known:
		return StatusAccepted
	}
	return StatusUnknown
}

// givenUp reports whether the 24-hour notice of delay has come.
func (o Outcome) givenUp() bool {
	since := func(from, to Fact, least time.Duration) bool {
		return from.Known && !from.Time.IsZero() && !to.Time.IsZero() && to.Time.Sub(from.Time) >= least
	}
	return o.Final || since(o.Late, o.LateLast, betweenNotices) || since(o.Accepted, o.LateLast, lastNotice)
}

// Reason returns the fact behind the state; the zero Fact for StatusUnknown.
func (o Outcome) Reason() Fact {
	switch o.Status() {
	case StatusDelivered:
		return o.Delivered
	case StatusFailed:
		return o.Failed
	case StatusRefused:
		return o.Refused
	case StatusLate12, StatusLate24:
		return o.LateLast
	case StatusUnnamedDelivered:
		return o.UnnamedDelivered
	case StatusUnnamedFailed:
		return o.UnnamedFailed
	case StatusUnnamedLate:
		return o.UnnamedLate
	}
	return earlier(o.Accepted, o.Taken)
}

// Awaited reports whether a delivery receipt is still due: the message was accepted, nothing final is known, and the recipient may have PEC.
// None ever comes for other recipients.
func (o Outcome) Awaited() bool {
	switch o.Status() {
	case StatusAccepted, StatusLate12, StatusUnnamedDelivered, StatusUnnamedFailed, StatusUnnamedLate:
		return o.Kind() != KindExternal
	}
	return false
}

// Waiting says how long a delivery receipt has been due. Others script against the values.
type Waiting string

// The times at which providers send their notices of delay (RFC 6109 3.1.6).
const (
	NotWaiting   Waiting = ""
	WaitingUnder Waiting = "under-12h"
	WaitingPast  Waiting = "past-12h"
	WaitingLong  Waiting = "past-24h"
)

// Waiting returns how long a delivery receipt has been due at the time now: since the acceptance, else since a provider took the message, else
// since sent, which may be zero. A notice of delay proves at least 12 hours by itself.
func (o Outcome) Waiting(sent, now time.Time) Waiting {
	const first, second = 12 * time.Hour, 24 * time.Hour
	if !o.Awaited() {
		return NotWaiting
	}
	from := sent
	for _, f := range [...]Fact{o.Taken, o.Accepted} {
		if f.Known && !f.Time.IsZero() {
			from = f.Time
		}
	}
	late := earlier(o.Late, o.UnnamedLate)
	if due := late.Time.Add(-first); late.Known && !late.Time.IsZero() && (from.IsZero() || due.Before(from)) {
		from = due
	}
	switch since := now.Sub(from); {
	case !from.IsZero() && since >= second:
		return WaitingLong
	case late.Known, !from.IsZero() && since >= first:
		return WaitingPast
	}
	return WaitingUnder
}

// States holds the outcomes of the recipients of any number of sent messages.
type States map[Key]Outcome

// Apply adds the Events of a message. Neither the order of messages nor repetitions change the result.
func (s States) Apply(m *Message) {
	for _, e := range m.Events() {
		s[e.Key] = s[e.Key].Merge(e)
	}
}
