package pec

import (
	"cmp"
	"strings"
	"time"
)

// Fact is one thing that is known of a recipient.
type Fact struct {
	Known  bool
	Time   time.Time // UTC; zero where not known
	Code   string    // as in Event
	Detail string    // as in Event
}

// compare puts the facts that are known in an order: by time, those without one last, and then by their text.
func (f Fact) compare(g Fact) int {
	if f.Time.IsZero() != g.Time.IsZero() {
		return -f.Time.Compare(g.Time)
	}
	return cmp.Or(f.Time.Compare(g.Time), strings.Compare(f.Code, g.Code), strings.Compare(f.Detail, g.Detail))
}

// earlier returns the first of two facts.
func earlier(f, g Fact) Fact {
	if !f.Known || g.Known && g.compare(f) < 0 {
		return g
	}
	return f
}

// later returns the last of two facts; those without a time are none where there is another.
func later(f, g Fact) Fact {
	if !f.Known || g.Known && (f.Time.IsZero() && !g.Time.IsZero() || f.Time.IsZero() == g.Time.IsZero() && g.compare(f) > 0) {
		return g
	}
	return f
}

// Outcome is what is known of one recipient of a sent message. It is made of the first fact of each kind, and of the last notice of delay,
// and so does not depend on the order in which receipts come in, nor on how often.
type Outcome struct {
	Listed    string // KindCertified or KindExternal, as receipts list the recipient; "" where none does. Kind tells what it is
	Accepted  Fact
	Refused   Fact
	Taken     Fact
	Delivered Fact // Detail is the kind of receipt
	Failed    Fact
	Late      Fact // first notice of delay
	LateLast  Fact // last notice of delay
	Final     bool // a notice of delay said that it is the last
	// Receipts that are about one of several recipients, of which this is one, and name none.
	UnnamedDelivered, UnnamedFailed, UnnamedLate Fact
}

// Merge returns the outcome with one more event.
func (o Outcome) Merge(e Event) Outcome {
	f := Fact{Known: true, Time: e.Time, Code: e.Code, Detail: e.Detail}
	// Certificato is what the DTD takes for granted, esterno was written by somebody.
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

// final reports whether a notice of delay is the last one. The header does not tell the notices apart: providers give the permanent code of
// RFC 3463 to the last one.
func (e *Event) final() bool { return e.Final || strings.HasPrefix(strings.TrimSpace(e.Detail), "5.") }

// Kind returns KindCertified, KindExternal, or "" where not known. What only comes for a recipient who has PEC outweighs what a receipt lists:
// a provider may not have known it at the time of its acceptance.
func (o Outcome) Kind() string {
	if o.Delivered.Known || o.Taken.Known || o.Late.Known {
		return KindCertified
	}
	return o.Listed
}

// Status is the state of one recipient. The values are an interface that others script against.
type Status string

// The states.
const (
	StatusUnknown   Status = ""
	StatusAccepted  Status = "accepted"
	StatusRefused   Status = "not-accepted"
	StatusDelivered Status = "delivered"
	StatusFailed    Status = "failed"
	StatusLate12    Status = "late-12h" // no delivery in 12 hours; it may still follow
	StatusLate24    Status = "late-24h" // none in 24 hours: given up
	// Of these the receipt does not name the recipient that it is about. They are the state of those that it lists of which no other
	// receipt tells more than that the message was accepted: it is about one of them.
	StatusUnnamedDelivered Status = "delivered-unnamed"
	StatusUnnamedFailed    Status = "failed-unnamed"
	StatusUnnamedLate      Status = "late-unnamed"
)

const (
	// lastNotice is how long after the acceptance a notice is the last one: it does not come before 22 hours (RFC 6109 3.1.6).
	lastNotice = 22 * time.Hour
	// betweenNotices is how far apart two notices are at least, when they are not repetitions of one.
	betweenNotices = 6 * time.Hour
)

// Status returns the state: a delivery outweighs all else, then a failure, a refusal, and a delay; and then what is not said of this
// recipient by name.
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

// givenUp reports whether the last notice of delay is that of 24 hours.
func (o Outcome) givenUp() bool {
	since := func(from, to Fact, least time.Duration) bool {
		return from.Known && !from.Time.IsZero() && !to.Time.IsZero() && to.Time.Sub(from.Time) >= least
	}
	return o.Final || since(o.Late, o.LateLast, betweenNotices) || since(o.Accepted, o.LateLast, lastNotice)
}

// Reason returns the fact of which the state tells; the zero Fact for StatusUnknown.
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

// Awaited reports whether a delivery receipt is still to come: the message was accepted, for a recipient who has PEC, and nothing final
// is known. None ever comes for other recipients.
func (o Outcome) Awaited() bool {
	switch o.Status() {
	case StatusAccepted, StatusLate12, StatusUnnamedDelivered, StatusUnnamedFailed, StatusUnnamedLate:
		return o.Kind() != KindExternal
	}
	return false
}

// Waiting is for how long a delivery receipt has been awaited. The values are an interface that others script against.
type Waiting string

// The times, by which providers send their notices of delay (RFC 6109 3.1.6).
const (
	NotWaiting   Waiting = ""
	WaitingUnder Waiting = "under-12h"
	WaitingPast  Waiting = "past-12h"
	WaitingLong  Waiting = "past-24h"
)

// Waiting returns for how long a delivery receipt has been awaited, at a time: since the acceptance, or else since the provider took the message,
// or else since a time that the caller knows of, such as that of sending. A notice of delay says by itself that it is over 12 hours.
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

// States holds the outcome of each recipient of any number of sent messages.
type States map[Key]Outcome

// Apply adds what a message says, as Events. The result is the same whatever the order of the messages, and however often one comes.
func (s States) Apply(m *Message) {
	for _, e := range m.Events() {
		s[e.Key] = s[e.Key].Merge(e)
	}
}
