package httpd

import (
	"context"
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
	Mailbox     string    `json:"mailbox"`
	Direction   string    `json:"direction"` // "received" or "sent"
	Folder      string    `json:"folder"`    // with its month: "INBOX/2026-11"
	UID         uint32    `json:"uid"`
	Time        time.Time `json:"time"`
	MailFrom    string    `json:"mail_from"`
	RcptTo      string    `json:"rcpt_to"` // of sent mail: all recipients, with commas between
	ORCPT       string    `json:"orcpt"`
	Recipients  []string  `json:"recipients"`
	From        string    `json:"from"`
	To          string    `json:"to"`
	Subject     string    `json:"subject"` // decoded, as From and To
	Date        string    `json:"date"`
	MessageID   string    `json:"message_id"`
	Size        int64     `json:"size"`
	SHA256      string    `json:"sha256"`
	Class       string    `json:"class"`
	State       string    `json:"state"` // "delivered", "deferred" or "unknown"
	Flags       []string  `json:"flags,omitempty"`
	Odd         string    `json:"odd,omitempty"` // what is odd about the message, as the MIME scanner saw it
	QueueID     string    `json:"queue_id,omitempty"`
	PeerAddr    string    `json:"peer_addr,omitempty"`
	PeerName    string    `json:"peer_name,omitempty"`
	PeerHelo    string    `json:"peer_helo,omitempty"`
	Transaction string    `json:"transaction"`
}

func viewEntry(e *journal.Entry) EntryView {
	recipients := e.Recipients
	if e.Direction == journal.Received {
		recipients = []string{e.RcptTo}
	}
	return EntryView{
		Mailbox: e.Mailbox, Direction: e.Direction.String(), Folder: e.FolderName(), UID: e.UID, Time: e.Time, MailFrom: e.MailFrom,
		RcptTo: strings.Join(recipients, ", "), ORCPT: e.ORCPT, Recipients: recipients, From: part.Decode(e.From), To: part.Decode(e.To),
		Subject: part.Decode(e.Subject), Date: e.Date, MessageID: e.MessageID, Size: e.Size, SHA256: e.SHA256.String(), Class: e.Class,
		State: e.State.String(), Flags: e.Flags, Odd: e.Parts.Odd.String(), QueueID: e.QueueID,
		PeerAddr: e.Peer.Addr, PeerName: e.Peer.Name, PeerHelo: e.Peer.Helo, Transaction: e.Transaction,
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
	for e, err := range a.b.Journal.List(r.Context(), address.String()) {
		if err != nil {
			out.fail(a.b.Logger, err)
			return
		}
		if out.write(viewEntry(e)) != nil {
			return
		}
	}
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
}

func (a *admin) why(w http.ResponseWriter, r *http.Request) {
	out := newLines(w)
	address, err := mailboxOf(r)
	var verdicts []VerdictView
	if err == nil {
		verdicts, err = a.verdicts(r.Context(), address, r.FormValue("message_id"))
	}
	if err != nil {
		out.fail(a.b.Logger, err)
		return
	}
	for _, v := range verdicts {
		out.write(v)
	}
}

// verdicts gathers what is known of a mailbox: its entries, skips and gaps, in the order of time. A mailbox without an archive has
// none of them, and one verdict that says so.
func (a *admin) verdicts(ctx context.Context, address policy.Address, messageID string) ([]VerdictView, error) {
	var list []VerdictView
	a.b.Journal.Settle(ctx)
	for e, err := range a.b.Journal.List(ctx, address.String()) {
		if err != nil {
			return nil, err
		}
		if messageID == "" || sameMessageID(e.MessageID, messageID) {
			list = append(list, verdictOfEntry(e))
		}
	}
	for r, err := range a.b.Journal.Records(ctx, address.String()) {
		if err != nil {
			return nil, err
		}
		// A gap of many messages may be why this one is missing.
		if messageID == "" || sameMessageID(r.MessageID, messageID) || r.Kind == journal.Gap && r.MessageID == "" {
			list = append(list, verdictOfRecord(address, r))
		}
	}
	slices.SortStableFunc(list, func(a, b VerdictView) int { return a.Time.Compare(b.Time) })
	s, err := a.b.Policy.Settings(ctx, address)
	if err != nil {
		return nil, err
	}
	if !s.Enabled {
		off, err := a.offSince(ctx, address)
		if err != nil {
			return nil, err
		}
		list = append(list, off)
	}
	return list, nil
}

// offSince is the verdict of a mailbox whose archive is off.
func (a *admin) offSince(ctx context.Context, address policy.Address) (VerdictView, error) {
	v := VerdictView{Mailbox: address.String(), Verdict: "skipped", Reason: policy.ReasonDisabled, Detail: "the archive was never on"}
	for c, err := range a.b.Policy.Changes(ctx, address) {
		if err != nil {
			return v, err
		}
		v.Time, v.Detail = c.Time, "the archive is off since then"
	}
	return v, nil
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
