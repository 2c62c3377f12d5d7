package archive

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/journal/part"
	"copialettere/policy"
)

// Verdict is the decision for one message and mailbox. Others script against its names.
type Verdict struct {
	Time        time.Time  `json:"time"`
	Until       *time.Time `json:"until,omitempty"` // end of a span
	Mailbox     string     `json:"mailbox"`
	Direction   string     `json:"direction,omitempty"`
	MailFrom    string     `json:"mail_from"`
	RcptTo      string     `json:"rcpt_to"`
	ORCPT       string     `json:"orcpt"`
	Verdict     string     `json:"verdict"` // "journaled", "imported", "skipped", "gap", or "renamed" for a change of the address
	Reason      string     `json:"reason"`  // empty when journaled or imported
	Detail      string     `json:"detail,omitempty"`
	Folder      string     `json:"folder,omitempty"` // of a journaled message
	UID         uint32     `json:"uid,omitempty"`
	State       string     `json:"state,omitempty"`
	Flags       []string   `json:"flags,omitempty"`
	MessageID   string     `json:"message_id"`
	QueueID     string     `json:"queue_id,omitempty"`
	Transaction string     `json:"transaction"`
	Entries     uint64     `json:"entries,omitempty"` // of a span of removed entries: how many
	Bytes       uint64     `json:"bytes,omitempty"`   // of their messages
	Cut         string     `json:"cut,omitempty"`     // which of these values were cut short, and how long they were
	Spooled     bool       `json:"spooled,omitempty"` // the journal could not take this gap yet: it is in the gap spool
}

// verdictOfPause returns the verdict of a time when an archive was off or paused. It returns none for the time before the first activation if one
// followed, or for what was erased later.
func verdictOfPause(address policy.Address, p policy.Pause) (v Verdict, ok bool) {
	v = Verdict{Time: p.From, Until: timeOrNil(p.Until), Mailbox: address.String(), Verdict: "skipped", Reason: policy.ReasonDisabled}
	switch {
	case p.Reason == policy.ReasonPaused:
		v.Reason, v.Detail = policy.ReasonPaused, "the archive was paused"
		if v.Until == nil {
			v.Detail = "the archive has been paused since then"
		}
	case v.Until == nil && p.Reason == policy.ReasonNotActivated:
		v.Detail = "the archive was never on"
	case v.Until == nil && p.Reason == policy.ReasonHandedOver:
		v.Reason, v.Detail = p.Reason, "the mailbox was handed over, and the archive takes no more mail"
	case v.Until == nil:
		v.Detail = "the archive has been off since then"
	case p.Reason == policy.ReasonDisabled:
		v.Detail = "the archive was off"
	default:
		return v, false
	}
	return v, true
}

// Kinds of a Gap.
const (
	GapPause   = "pause"  // the archive was off or paused, or what it held of that time was erased
	GapMissing = "gap"    // the archive was on, but lacks what it should hold
	GapRename  = "rename" // the archive got another address: it has mail to the old one until then, and mail to the new one from then on
)

// Gap is a span of time, or a message, that is not in an archive. Others script against its names.
type Gap struct {
	Mailbox     string     `json:"mailbox"`
	Kind        string     `json:"kind"`            // GapPause, GapMissing or GapRename
	From        *time.Time `json:"from,omitempty"`  // absent for the beginning
	Until       *time.Time `json:"until,omitempty"` // absent for a pause that lasts, and for a single message
	Reason      string     `json:"reason"`
	Detail      string     `json:"detail,omitempty"`
	Direction   string     `json:"direction,omitempty"` // this and the next five: of a single message
	MailFrom    string     `json:"mail_from,omitempty"`
	RcptTo      string     `json:"rcpt_to,omitempty"`
	MessageID   string     `json:"message_id,omitempty"`
	QueueID     string     `json:"queue_id,omitempty"`
	Transaction string     `json:"transaction,omitempty"`
	Entries     uint64     `json:"entries,omitempty"` // of a span of removed entries: how many
	Bytes       uint64     `json:"bytes,omitempty"`   // of their messages
	Cut         string     `json:"cut,omitempty"`     // which of these values were cut short, and how long they were
	Spooled     bool       `json:"spooled,omitempty"` // the journal could not take this gap yet: it is in the gap spool
}

func viewGap(address policy.Address, r *journal.Record) Gap {
	v := verdictOfRecord(address, r)
	return Gap{
		Mailbox: v.Mailbox, Kind: GapMissing, From: &v.Time, Until: v.Until, Reason: v.Reason, Detail: v.Detail, Direction: v.Direction,
		MailFrom: v.MailFrom, RcptTo: v.RcptTo, MessageID: v.MessageID, QueueID: v.QueueID, Transaction: v.Transaction,
		Entries: v.Entries, Bytes: v.Bytes, Cut: v.Cut, Spooled: v.Spooled,
	}
}

// timeOrNil returns a time, or nil if it is zero.
func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func verdictOfEntry(address policy.Address, e *journal.Entry) Verdict {
	v := Verdict{
		Time: e.Time, Mailbox: address.String(), Direction: e.Direction.String(), MailFrom: e.MailFrom, RcptTo: strings.Join(RecipientsOf(e), ", "),
		ORCPT: e.ORCPT, Verdict: "journaled", Folder: e.FolderName(), UID: e.UID, State: e.State.String(), Flags: e.Flags, MessageID: e.MessageID,
		QueueID: e.QueueID, Transaction: e.Transaction,
	}
	if e.Imported != nil {
		v.Verdict, v.Detail = "imported", fmt.Sprintf("by %s, dated %s", e.Imported.Who, e.Imported.Date.Format(time.DateOnly))
	}
	return v
}

// RecipientsOf returns all recipients of a sent message, and the mailbox's own of a received one.
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

// views yields the view of each element that view accepts, and passes errors on.
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

// Why yields what is known of a mailbox, ordered by time: its entries, skips and gaps, and when its archive was off or paused. With a message ID it
// yields what is known of that message, and gaps that may be why it is missing. It then adds a time when the archive was off or paused only if that
// time lasts, or if nothing else is known. A mailbox without an archive has one verdict that says so. The error wraps ErrRequest if messageID contains no ID.
func (a *Archive) Why(ctx context.Context, address policy.Address, messageID string) iter.Seq2[Verdict, error] {
	return func(yield func(Verdict, error) bool) {
		wanted := part.MessageID(messageID)
		if messageID != "" && wanted == "" {
			yield(Verdict{}, noID(messageID))
			return
		}
		if at, to, gone, err := a.policy.Gone(ctx, address); gone || err != nil {
			yield(Verdict{Time: at, Mailbox: address.String(), Verdict: "skipped", Reason: policy.ReasonRenamed,
				Detail: "no mailbox any more: the archive goes on as " + to.String()}, err)
			return
		}
		m, err := a.policy.Mailbox(ctx, address)
		if err != nil {
			yield(Verdict{}, err)
			return
		}
		var closed, open []Verdict // the times when the archive was off or paused; open: it still is
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
		renames, err := a.renames(ctx, address)
		if err != nil {
			yield(Verdict{}, err)
			return
		}
		for _, c := range renames {
			closed = append(closed, Verdict{Time: c.Time, Mailbox: address.String(), Verdict: "renamed",
				Detail: renameText(c)})
		}
		inOrder := func(list []Verdict) []Verdict {
			slices.SortStableFunc(list, func(v, w Verdict) int { return v.Time.Compare(w.Time) })
			return list
		}
		a.journal.FlushOutcomes(ctx)
		at := func(v Verdict) time.Time { return v.Time }
		found := a.journal.ListByTime(ctx, m.Archive)
		if messageID != "" {
			found = a.journal.WithMessageID(ctx, m.Archive, wanted)
		}
		entries := views(found, func(e *journal.Entry) (Verdict, bool) { return verdictOfEntry(address, e), true })
		records := views(a.journal.Records(ctx, m.Archive), func(r *journal.Record) (Verdict, bool) {
			// A gap of many messages may be why this one is missing.
			return verdictOfRecord(address, r), messageID == "" || part.MessageID(r.MessageID) == wanted || r.Kind == journal.Gap && r.MessageID == ""
		})
		if messageID == "" {
			for v, err := range journal.MergeByTime(at, entries, records, listed(inOrder(append(closed, open...)))) {
				if !yield(v, err) {
					return
				}
			}
			return
		}
		known := false
		for v, err := range journal.MergeByTime(at, entries, records) {
			known = known || err == nil
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
		if !known {
			open = inOrder(append(closed, open...))
		}
		for _, v := range open {
			if !yield(v, nil) {
				return
			}
		}
	}
}

func noID(messageID string) error {
	return fmt.Errorf("%w: message_id %.100q holds no id", ErrRequest, messageID)
}

// renames returns the changes of the address of a mailbox, oldest first, without the one that closed it.
func (a *Archive) renames(ctx context.Context, address policy.Address) (list []policy.Change, err error) {
	for c, err := range a.policy.Changes(ctx, address) {
		if err != nil {
			return nil, err
		}
		if to, err := policy.ParseMailbox(c.After); c.Key == policy.KeyAddress && err == nil && to.Closed == "" {
			list = append(list, c)
		}
	}
	return list, nil
}

func renameText(c policy.Change) string {
	return "the address was " + c.Before + " until then, and is " + c.After + " from then on"
}

// Gaps yields the pauses of a mailbox and the gaps that the journal has on record, ordered by time.
func (a *Archive) Gaps(ctx context.Context, address policy.Address) iter.Seq2[Gap, error] {
	return func(yield func(Gap, error) bool) {
		var pauses []Gap
		for pause, err := range a.policy.Pauses(ctx, address) {
			if err != nil {
				yield(Gap{}, err)
				return
			}
			pauses = append(pauses, Gap{
				Mailbox: address.String(), Kind: GapPause, From: timeOrNil(pause.From), Until: timeOrNil(pause.Until), Reason: pause.Reason,
			})
		}
		m, err := a.there(ctx, address)
		if err != nil {
			yield(Gap{}, err)
			return
		}
		renames, err := a.renames(ctx, address)
		if err != nil {
			yield(Gap{}, err)
			return
		}
		renamed := views(listed(renames), func(c policy.Change) (Gap, bool) {
			return Gap{Mailbox: address.String(), Kind: GapRename, From: &c.Time, Reason: policy.ReasonRenamed, Detail: renameText(c)}, true
		})
		at := func(v Gap) time.Time {
			if v.From == nil {
				return time.Time{}
			}
			return *v.From
		}
		records := views(a.journal.Gaps(ctx, m.Archive), func(r *journal.Record) (Gap, bool) { return viewGap(address, r), true })
		for v, err := range journal.MergeByTime(at, listed(pauses), renamed, records) {
			if !yield(v, err) {
				return
			}
		}
	}
}
