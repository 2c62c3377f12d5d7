package httpd

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
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
	State        string   `json:"state"`               // "delivered", "deferred" or "unknown"
	Flags        []string `json:"flags,omitempty"`
	Odd          string   `json:"odd,omitempty"` // what is odd about the message, as the MIME scanner saw it
	QueueID      string   `json:"queue_id,omitempty"`
	PeerAddr     string   `json:"peer_addr,omitempty"`
	PeerName     string   `json:"peer_name,omitempty"`
	PeerHelo     string   `json:"peer_helo,omitempty"`
	Transaction  string   `json:"transaction"`

	Certification *CertificationView `json:"certification,omitempty"`
}

func viewEntry(e *journal.Entry) EntryView {
	recipients := e.Recipients
	if e.Direction == journal.Received {
		recipients = []string{e.RcptTo}
	}
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
	if err != nil {
		out.fail(a.b.Logger, err)
		return
	}
	a.b.Journal.Settle(r.Context())
	var damaged damages
	for e, err := range a.b.Journal.List(r.Context(), address.String()) {
		if damaged.count(err) {
			continue
		}
		if err != nil {
			out.fail(a.b.Logger, err)
			return
		}
		if out.write(viewEntry(e)) != nil {
			return
		}
	}
	if err := damaged.err(); err != nil {
		out.fail(a.b.Logger, err)
	}
}

// damages counts what can not be read, so that the rest is told all the same.
type damages struct {
	number int
	first  error
}

// count reports whether err is that something is damaged.
func (d *damages) count(err error) bool {
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
		return nil
	}
	return fmt.Errorf("damaged, and left out: %d; \"copialettere verify\" tells which; the first: %w", d.number, d.first)
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
	Spooled     bool       `json:"spooled,omitempty"` // a gap that the journal could not take yet: it is in the gap spool
}

func (a *admin) why(w http.ResponseWriter, r *http.Request) {
	out := newLines(w)
	address, err := mailboxOf(r)
	var verdicts []VerdictView
	if err == nil {
		verdicts, err = a.verdicts(r.Context(), address, r.FormValue("message_id"))
	}
	for _, v := range verdicts {
		out.write(v)
	}
	if err != nil {
		out.fail(a.b.Logger, err)
	}
}

// verdicts gathers what is known of a mailbox: its entries, skips and gaps, and when its archive was off, in the order of time. Of a message
// that is looked for, the times when it was off are told where nothing else is known. A mailbox without an archive has one verdict that
// says so. Where something is damaged, the error is of that, and the rest is there.
func (a *admin) verdicts(ctx context.Context, address policy.Address, messageID string) ([]VerdictView, error) {
	var list []VerdictView
	var damaged damages
	wanted := part.MessageID(messageID)
	if messageID != "" && wanted == "" {
		return nil, fmt.Errorf("%w: message_id %.100q holds no id", errRequest, messageID)
	}
	a.b.Journal.Settle(ctx)
	for e, err := range a.b.Journal.List(ctx, address.String()) {
		if damaged.count(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if messageID == "" || part.MessageID(e.MessageID) == wanted {
			list = append(list, verdictOfEntry(e))
		}
	}
	for r, err := range a.b.Journal.Records(ctx, address.String()) {
		if damaged.count(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		// A gap of many messages may be why this one is missing.
		if messageID == "" || part.MessageID(r.MessageID) == wanted || r.Kind == journal.Gap && r.MessageID == "" {
			list = append(list, verdictOfRecord(address, r))
		}
	}
	found := messageID != "" && len(list) > 0
	for pause, err := range a.b.Policy.Pauses(ctx, address) {
		if err != nil {
			return nil, err
		}
		if v, ok := verdictOfPause(address, pause); ok && (v.Until == nil || !found) {
			list = append(list, v)
		}
	}
	slices.SortStableFunc(list, func(a, b VerdictView) int { return a.Time.Compare(b.Time) })
	return list, damaged.err()
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
	Spooled     bool       `json:"spooled,omitempty"` // the journal could not take it yet: it is in the gap spool
}

func (a *admin) gaps(w http.ResponseWriter, r *http.Request) {
	out := newLines(w)
	address, err := mailboxOf(r)
	var gaps []GapView
	if err == nil {
		gaps, err = a.gapsOf(r.Context(), address)
	}
	for _, g := range gaps {
		out.write(g)
	}
	if err != nil {
		out.fail(a.b.Logger, err)
	}
}

// gapsOf gathers the pauses of a mailbox and the gaps that the journal has on record, in the order of time. Where something is damaged, the
// error is of that, and the rest is there.
func (a *admin) gapsOf(ctx context.Context, address policy.Address) ([]GapView, error) {
	var gaps []GapView
	for pause, err := range a.b.Policy.Pauses(ctx, address) {
		if err != nil {
			return nil, err
		}
		gaps = append(gaps, GapView{
			Mailbox: address.String(), Kind: GapPause, From: known(pause.From), Until: known(pause.Until), Reason: pause.Reason,
		})
	}
	var damaged damages
	for r, err := range a.b.Journal.Records(ctx, address.String()) {
		if damaged.count(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if r.Kind == journal.Gap {
			gaps = append(gaps, viewGap(address, r))
		}
	}
	start := func(g GapView) time.Time {
		if g.From == nil {
			return time.Time{}
		}
		return *g.From
	}
	slices.SortStableFunc(gaps, func(a, b GapView) int { return start(a).Compare(start(b)) })
	return gaps, damaged.err()
}

func viewGap(address policy.Address, r *journal.Record) GapView {
	v := verdictOfRecord(address, r)
	return GapView{
		Mailbox: v.Mailbox, Kind: GapMissing, From: &v.Time, Until: v.Until, Reason: v.Reason, Detail: v.Detail, Direction: v.Direction,
		MailFrom: v.MailFrom, RcptTo: v.RcptTo, MessageID: v.MessageID, QueueID: v.QueueID, Transaction: v.Transaction,
		Entries: v.Entries, Bytes: v.Bytes, Spooled: v.Spooled,
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
	view := viewEntry(e)
	return VerdictView{
		Time: e.Time, Mailbox: e.Mailbox, Direction: view.Direction, MailFrom: e.MailFrom, RcptTo: view.RcptTo, ORCPT: e.ORCPT, Verdict: "journaled",
		Folder: view.Folder, UID: e.UID, State: view.State, Flags: e.Flags, MessageID: e.MessageID, QueueID: e.QueueID, Transaction: e.Transaction,
	}
}

func verdictOfRecord(address policy.Address, r *journal.Record) VerdictView {
	v := VerdictView{
		Time: r.Time, Mailbox: address.String(), MailFrom: r.MailFrom, RcptTo: r.RcptTo, ORCPT: r.ORCPT, Verdict: "skipped",
		Reason: r.Reason, Detail: r.Detail, MessageID: r.MessageID, QueueID: r.QueueID, Transaction: r.Transaction,
		Entries: r.Entries, Bytes: r.Bytes, Spooled: r.Spooled,
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
