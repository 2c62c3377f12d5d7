package httpd

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strconv"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/journal/part"
	"copialettere/policy"
)

// EntryView is an entry as it is listed. Others script against its names.
type EntryView struct {
	Mailbox    string    `json:"mailbox"`
	Direction  string    `json:"direction"` // "received" or "sent"
	Folder     string    `json:"folder"`    // with its month: "INBOX/2026-11"
	UID        uint32    `json:"uid"`
	Time       time.Time `json:"time"`
	MailFrom   string    `json:"mail_from"`
	RcptTo     string    `json:"rcpt_to"` // of sent mail: all recipients, with commas between
	ORCPT      string    `json:"orcpt"`
	Recipients []string  `json:"recipients"`
	From       string    `json:"from"`
	To         string    `json:"to"`
	Subject    string    `json:"subject"` // decoded, as From and To
	// InnerFrom and InnerSubject are of the message inside certified mail, decoded.
	InnerFrom    string   `json:"inner_from,omitempty"`
	InnerSubject string   `json:"inner_subject,omitempty"`
	Date         string   `json:"date"`
	MessageID    string   `json:"message_id"`
	Size         int64    `json:"size"`
	SHA256       string   `json:"sha256"`
	Class        string   `json:"class"` // the one that the filter believed
	Declared     string   `json:"declared_class,omitempty"`
	Signature    string   `json:"signature,omitempty"` // "verified", "weak", "invalid", "incomplete", "untrusted" or "unsigned"
	SentTo       string   `json:"sent_to,omitempty"`   // of sent mail: "certified", "other" or "unknown"
	State        string   `json:"state"`               // "delivered", "deferred", "unknown", "refused" or "superseded"
	Flags        []string `json:"flags,omitempty"`
	Odd          string   `json:"odd,omitempty"` // what is odd about the message, as the MIME scanner saw it
	QueueID      string   `json:"queue_id,omitempty"`
	PeerAddr     string   `json:"peer_addr,omitempty"`
	PeerName     string   `json:"peer_name,omitempty"`
	PeerHelo     string   `json:"peer_helo,omitempty"`
	Transaction  string   `json:"transaction"`

	// SupersededBy is of an entry whose message the MTA took in anew before it was delivered: where the entry of that is. Absent where it is gone.
	SupersededBy *PlaceView `json:"superseded_by,omitempty"`

	Certification *CertificationView `json:"certification,omitempty"`
}

// PlaceView is where an entry is.
type PlaceView struct {
	Folder string `json:"folder"` // with its month: "INBOX/2026-11"
	UID    uint32 `json:"uid"`
}

func viewEntry(e *journal.Entry) EntryView {
	recipients := recipientsOf(e)
	certification, inner := viewCertification(e)
	return EntryView{
		Mailbox: e.Mailbox, Direction: e.Direction.String(), Folder: e.FolderName(), UID: e.UID, Time: e.Time, MailFrom: e.MailFrom,
		RcptTo: strings.Join(recipients, ", "), ORCPT: e.ORCPT, Recipients: recipients, From: part.Decode(e.From), To: part.Decode(e.To),
		Subject: part.Decode(e.Subject), Date: e.Date, MessageID: e.MessageID, Size: e.Size, SHA256: e.SHA256.String(), Class: e.Class,
		Declared: e.DeclaredClass, Signature: e.Signature, SentTo: e.SentTo,
		State: e.State.String(), Flags: e.Flags, Odd: e.Parts.Odd.String(), QueueID: e.QueueID,
		PeerAddr: e.Peer.Addr, PeerName: e.Peer.Name, PeerHelo: e.Peer.Helo, Transaction: e.Transaction,
		InnerFrom: part.Decode(inner.From), InnerSubject: part.Decode(inner.Subject), Certification: certification,
	}
}

func (a *admin) list(w http.ResponseWriter, r *http.Request) {
	out := newLines(w)
	address, err := mailboxOf(r)
	all := false
	if text := r.FormValue("all"); err == nil && text != "" {
		if all, err = strconv.ParseBool(text); err != nil {
			err = fmt.Errorf("%w: all=%.100q: want true or false", errRequest, text)
		}
	}
	if err != nil {
		out.fail(a.b.Logger, err)
		return
	}
	a.b.Journal.Settle(r.Context())
	tell(a, out, a.entryViews(r.Context(), address.String(), all))
}

// entryViews yields the entries of a mailbox, with all also those that were superseded, behind the others.
func (a *admin) entryViews(ctx context.Context, mailbox string, all bool) iter.Seq2[EntryView, error] {
	entries := views(a.b.Journal.List(ctx, mailbox), func(e *journal.Entry) (EntryView, bool) { return viewEntry(e), true })
	if !all {
		return entries
	}
	return func(yield func(EntryView, error) bool) {
		for v, err := range entries {
			if !yield(v, err) {
				return
			}
		}
		for v, err := range views(a.b.Journal.Superseded(ctx, mailbox), viewSuperseded) {
			if !yield(v, err) {
				return
			}
		}
	}
}

func viewSuperseded(e *journal.SupersededEntry) (EntryView, bool) {
	v := viewEntry(e.Entry)
	if e.By.UID > 0 {
		v.SupersededBy = &PlaceView{e.By.FolderName(), e.By.UID}
	}
	return v, true
}

// damages counts what can not be read, so that the rest is told all the same.
type damages struct {
	number int
	first  error
	passed journal.PassedOver
}

// count reports whether err is that something is damaged: a month, or one thing.
func (d *damages) count(err error) bool {
	if d.passed.Add(err) {
		return true
	}
	if !errors.Is(err, journal.ErrDamaged) {
		return false
	}
	if d.number++; d.number == 1 {
		d.first = err
	}
	return true
}

// err returns the error that comes behind the rest; nil when nothing is damaged.
func (d *damages) err() error {
	if d.number == 0 {
		return d.passed.Err()
	}
	err := fmt.Errorf("damaged, and left out: %d; \"copialettere verify\" tells which; the first: %w", d.number, d.first)
	if len(d.passed) > 0 {
		err = fmt.Errorf("%w; %w", d.passed, err)
	}
	return err
}

// VerdictView is what was decided for one message and mailbox. Others script against its names.
type VerdictView struct {
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
func verdictOfPause(address policy.Address, p policy.Pause) (v VerdictView, ok bool) {
	v = VerdictView{Time: p.From, Until: known(p.Until), Mailbox: address.String(), Verdict: "skipped", Reason: policy.ReasonDisabled}
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

// Kinds of a GapView.
const (
	GapPause   = "pause" // the archive was not on, or what it held of that time was erased
	GapMissing = "gap"   // the archive was on, and does not hold what it should
)

// GapView is a span of time, or a message, that an archive holds nothing of. Others script against its names.
type GapView struct {
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

func viewGap(address policy.Address, r *journal.Record) GapView {
	v := verdictOfRecord(address, r)
	return GapView{
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

func verdictOfEntry(e *journal.Entry) VerdictView {
	return VerdictView{
		Time: e.Time, Mailbox: e.Mailbox, Direction: e.Direction.String(), MailFrom: e.MailFrom, RcptTo: strings.Join(recipientsOf(e), ", "),
		ORCPT: e.ORCPT, Verdict: "journaled", Folder: e.FolderName(), UID: e.UID, State: e.State.String(), Flags: e.Flags, MessageID: e.MessageID,
		QueueID: e.QueueID, Transaction: e.Transaction,
	}
}

// recipientsOf returns all recipients of sent mail, and of other mail that of the mailbox.
func recipientsOf(e *journal.Entry) []string {
	if e.Direction == journal.Received {
		return []string{e.RcptTo}
	}
	return e.Recipients
}

func verdictOfRecord(address policy.Address, r *journal.Record) VerdictView {
	v := VerdictView{
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
