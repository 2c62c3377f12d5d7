package archive

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/journal/part"
	"copialettere/policy"
)

// Verdict is what was decided for one message and mailbox. Others script against its names.
type Verdict struct {
	Time        time.Time  `json:"time"`
	Until       *time.Time `json:"until,omitempty"` // end of a span
	Mailbox     string     `json:"mailbox"`
	Direction   string     `json:"direction,omitempty"`
	MailFrom    string     `json:"mail_from"`
	RcptTo      string     `json:"rcpt_to"`
	ORCPT       string     `json:"orcpt"`
	Verdict     string     `json:"verdict"` // "journaled", "skipped" or "gap"
	Reason      string     `json:"reason"`  // empty when journaled
	Detail      string     `json:"detail,omitempty"`
	Folder      string     `json:"folder,omitempty"` // of a journaled message
	UID         uint32     `json:"uid,omitempty"`
	State       string     `json:"state,omitempty"`
	Flags       []string   `json:"flags,omitempty"`
	MessageID   string     `json:"message_id"`
	QueueID     string     `json:"queue_id,omitempty"`
	Transaction string     `json:"transaction"`
	Entries     uint64     `json:"entries,omitempty"` // of a span of entries that were removed: how many
	Bytes       uint64     `json:"bytes,omitempty"`   // of their messages
	Cut         string     `json:"cut,omitempty"`     // which of these values are not whole, and how long they were
	Spooled     bool       `json:"spooled,omitempty"` // a gap that the journal could not take yet: it is in the gap spool
}

// verdictOfPause is the verdict of a time when an archive was off. There is none of the time before its first activation, nor of what was
// erased later.
func verdictOfPause(address policy.Address, p policy.Pause) (v Verdict, ok bool) {
	v = Verdict{Time: p.From, Until: known(p.Until), Mailbox: address.String(), Verdict: "skipped", Reason: policy.ReasonDisabled}
	switch {
	case v.Until == nil && p.Reason == policy.ReasonNotActivated:
		v.Detail = "the archive was never on"
	case v.Until == nil:
		v.Detail = "the archive is off since then"
	case p.Reason == policy.ReasonDisabled:
		v.Detail = "the archive was off"
	default:
		return v, false
	}
	return v, true
}

// Kinds of a Gap.
const (
	GapPause   = "pause" // the archive was not on, or what it held of that time was erased
	GapMissing = "gap"   // the archive was on, and does not hold what it should
)

// Gap is a span of time, or a message, that an archive holds nothing of. Others script against its names.
type Gap struct {
	Mailbox     string     `json:"mailbox"`
	Kind        string     `json:"kind"`            // GapPause or GapMissing
	From        *time.Time `json:"from,omitempty"`  // absent for the beginning
	Until       *time.Time `json:"until,omitempty"` // absent of a pause that lasts, and of a single message
	Reason      string     `json:"reason"`
	Detail      string     `json:"detail,omitempty"`
	Direction   string     `json:"direction,omitempty"` // this and the rest: of a single message
	MailFrom    string     `json:"mail_from,omitempty"`
	RcptTo      string     `json:"rcpt_to,omitempty"`
	MessageID   string     `json:"message_id,omitempty"`
	QueueID     string     `json:"queue_id,omitempty"`
	Transaction string     `json:"transaction,omitempty"`
	Entries     uint64     `json:"entries,omitempty"` // of a span of entries that were removed: how many
	Bytes       uint64     `json:"bytes,omitempty"`   // of their messages
	Cut         string     `json:"cut,omitempty"`     // which of these values are not whole, and how long they were
	Spooled     bool       `json:"spooled,omitempty"` // the journal could not take it yet: it is in the gap spool
}

func viewGap(address policy.Address, r *journal.Record) Gap {
	v := verdictOfRecord(address, r)
	return Gap{
		Mailbox: v.Mailbox, Kind: GapMissing, From: &v.Time, Until: v.Until, Reason: v.Reason, Detail: v.Detail, Direction: v.Direction,
		MailFrom: v.MailFrom, RcptTo: v.RcptTo, MessageID: v.MessageID, QueueID: v.QueueID, Transaction: v.Transaction,
		Entries: v.Entries, Bytes: v.Bytes, Cut: v.Cut, Spooled: v.Spooled,
	}
}

// known returns a time, or nil for none.
func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func verdictOfEntry(e *journal.Entry) Verdict {
	return Verdict{
		Time: e.Time, Mailbox: e.Mailbox, Direction: e.Direction.String(), MailFrom: e.MailFrom, RcptTo: strings.Join(RecipientsOf(e), ", "),
		ORCPT: e.ORCPT, Verdict: "journaled", Folder: e.FolderName(), UID: e.UID, State: e.State.String(), Flags: e.Flags, MessageID: e.MessageID,
		QueueID: e.QueueID, Transaction: e.Transaction,
	}
}

// RecipientsOf returns all recipients of sent mail, and of other mail that of the mailbox.
func RecipientsOf(e *journal.Entry) []string {
	if e.Direction == journal.Received {
		return []string{e.RcptTo}
	}
	return e.Recipients
}

func verdictOfRecord(address policy.Address, r *journal.Record) Verdict {
	v := Verdict{
		Time: r.Time, Mailbox: address.String(), MailFrom: r.MailFrom, RcptTo: r.RcptTo, ORCPT: r.ORCPT, Verdict: "skipped",
		Reason: r.Reason, Detail: r.Detail, MessageID: r.MessageID, QueueID: r.QueueID, Transaction: r.Transaction,
		Entries: r.Entries, Bytes: r.Bytes, Cut: r.Cut, Spooled: r.Spooled,
	}
	if r.Direction != 0 {
		v.Direction = r.Direction.String()
	}
	if r.Kind == journal.Gap {
		v.Verdict = "gap"
	}
	if !r.Until.IsZero() {
		v.Until = &r.Until
	}
	return v
}

// views yields what view makes of each element that it takes.
func views[T, V any](source iter.Seq2[T, error], view func(T) (v V, ok bool)) iter.Seq2[V, error] {
	return func(yield func(V, error) bool) {
		for t, err := range source {
			var v V
			ok := true
			if err == nil {
				v, ok = view(t)
			}
			if ok && !yield(v, err) {
				return
			}
		}
	}
}

// listed yields the elements of a list.
func listed[T any](list []T) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for _, v := range list {
			if !yield(v, nil) {
				return
			}
		}
	}
}

// Why yields what is known of a mailbox: its entries, skips and gaps, and when its archive was off, in the order of time. Of a message
// that is looked for, the times when it was off are told where nothing else is known. A mailbox without an archive has one verdict that
// says so.
func (a *Archive) Why(ctx context.Context, address policy.Address, messageID string) iter.Seq2[Verdict, error] {
	return func(yield func(Verdict, error) bool) {
		wanted := part.MessageID(messageID)
		if messageID != "" && wanted == "" {
			yield(Verdict{}, fmt.Errorf("%w: message_id %.100q holds no id", ErrRequest, messageID))
			return
		}
		var closed, open []Verdict // the times when the archive was off, and since when it is
		for pause, err := range a.policy.Pauses(ctx, address) {
			if err != nil {
				yield(Verdict{}, err)
				return
			}
			switch v, ok := verdictOfPause(address, pause); {
			case ok && v.Until != nil:
				closed = append(closed, v)
			case ok:
				open = append(open, v)
			}
		}
		a.journal.Settle(ctx)
		at := func(v Verdict) time.Time { return v.Time }
		entries := views(a.journal.ListByTime(ctx, address.String()), func(e *journal.Entry) (Verdict, bool) {
			return verdictOfEntry(e), messageID == "" || part.MessageID(e.MessageID) == wanted
		})
		records := views(a.journal.Records(ctx, address.String()), func(r *journal.Record) (Verdict, bool) {
			// A gap of many messages may be why this one is missing.
			return verdictOfRecord(address, r), messageID == "" || part.MessageID(r.MessageID) == wanted || r.Kind == journal.Gap && r.MessageID == ""
		})
		if messageID == "" {
			for v, err := range journal.MergeByTime(at, entries, records, listed(append(closed, open...))) {
				if !yield(v, err) {
					return
				}
			}
			return
		}
		found := false
		for v, err := range journal.MergeByTime(at, entries, records) {
			found = found || err == nil
			if err == nil && len(open) > 0 && open[0].Time.Before(v.Time) {
				if !yield(open[0], nil) {
					return
				}
				open = open[1:]
			}
			if !yield(v, err) || err != nil && !errors.Is(err, journal.ErrDamaged) {
				return
			}
		}
		if !found {
			open = append(closed, open...)
		}
		for _, v := range open {
			if !yield(v, nil) {
				return
			}
		}
	}
}

// Gaps yields the pauses of a mailbox and the gaps that the journal has on record, in the order of time.
func (a *Archive) Gaps(ctx context.Context, address policy.Address) iter.Seq2[Gap, error] {
	return func(yield func(Gap, error) bool) {
		var pauses []Gap
		for pause, err := range a.policy.Pauses(ctx, address) {
			if err != nil {
				yield(Gap{}, err)
				return
			}
			pauses = append(pauses, Gap{
				Mailbox: address.String(), Kind: GapPause, From: known(pause.From), Until: known(pause.Until), Reason: pause.Reason,
			})
		}
		at := func(v Gap) time.Time {
			if v.From == nil {
				return time.Time{}
			}
			return *v.From
		}
		// Skips are passed over behind the merge: a pause from before one need not wait for the next gap.
		records := views(a.journal.Records(ctx, address.String()), func(r *journal.Record) (Gap, bool) {
			v := viewGap(address, r)
			if r.Kind != journal.Gap {
				v.Kind = ""
			}
			return v, true
		})
		for v, err := range journal.MergeByTime(at, listed(pauses), records) {
			if err == nil && v.Kind == "" {
				continue
			}
			if !yield(v, err) {
				return
			}
		}
	}
}
