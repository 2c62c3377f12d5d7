package export

import (
	"context"
	"iter"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/journal/part"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/pec"
)

// Message is what is told of a message that is exported. Others script against its names, which are those of lists too.
type Message struct {
	Mailbox   string    `json:"mailbox"`
	Direction string    `json:"direction"` // "received" or "sent"
	Folder    string    `json:"folder"`    // with its month: "INBOX/2026-11"
	UID       uint32    `json:"uid"`
	Time      time.Time `json:"time"` // of the arrival, or of the import
	Date      time.Time `json:"date"` // by which it is looked for: that of the arrival, or of an imported message its own
	MailFrom  string    `json:"mail_from"`
	RcptTo    string    `json:"rcpt_to"` // of sent mail: all recipients, separated by commas
	From      string    `json:"from"`
	To        string    `json:"to"`
	Subject   string    `json:"subject"` // decoded, as From and To
	// InnerFrom and InnerSubject are those of the message inside certified mail, decoded.
	InnerFrom    string `json:"inner_from,omitempty"`
	InnerSubject string `json:"inner_subject,omitempty"`
	Who          string `json:"who"` // for the name of a file: the sender; of sent mail the first recipient
	MessageID    string `json:"message_id"`
	Class        string `json:"class"`
	Signature    string `json:"signature,omitempty"`
	State        string `json:"state"`
	Imported     bool   `json:"imported,omitempty"`
	Source       string `json:"source,omitempty"`  // where an imported message was read
	Quoting      string `json:"quoting,omitempty"` // of an imported message: what is known of the quoting of its mbox
	Size         int64  `json:"size"`
	SHA256       string `json:"sha256"` // of the bytes that were journaled
}

// NewMessage returns what is told of an entry.
func NewMessage(e *journal.Entry) *Message {
	var inner pec.Inner
	var record pec.Record
	if len(e.Certification) > 0 && record.UnmarshalBinary(e.Certification) == nil {
		inner = record.Message.InnerOrData()
	}
	recipients := archive.RecipientsOf(e)
	m := &Message{
		Mailbox: e.Mailbox, Direction: e.Direction.String(), Folder: e.FolderName(), UID: e.UID, Time: e.Time.UTC(), Date: e.Dated().UTC(), MailFrom: e.MailFrom,
		RcptTo: strings.Join(recipients, ", "), From: part.Decode(e.From), To: part.Decode(e.To), Subject: part.Decode(e.Subject),
		InnerFrom: part.Decode(inner.From), InnerSubject: part.Decode(inner.Subject), MessageID: e.MessageID, Class: e.Class, Signature: e.Signature,
		State: e.State.String(), Imported: e.Imported != nil, Size: e.Size, SHA256: e.SHA256.String(),
	}
	if e.Imported != nil {
		m.Source, m.Quoting = e.Imported.Source, e.Imported.Quoting
	}
	switch {
	case e.Direction == journal.Sent && len(recipients) > 0:
		m.Who = recipients[0]
	case e.Direction == journal.Sent:
		m.Who = person(e.To)
	case inner.From != "":
		m.Who = person(inner.From)
	default:
		m.Who = person(e.From)
	}
	return m
}

// person returns the name, or else the address, of the first of the addresses in a header field.
func person(field string) string {
	list := part.Addresses(field)
	if len(list) == 0 {
		return ""
	}
	if name := strings.TrimSpace(part.Decode(list[0].Name)); name != "" {
		return name
	}
	return list[0].Mailbox()
}

// Line is one line of a plan: a message, a gap of the time, or what cannot be read, in words. Others script against its names.
type Line struct {
	Message *Message     `json:"message,omitempty"`
	Gap     *archive.Gap `json:"gap,omitempty"`
	Unread  string       `json:"unread,omitempty"`
}

// List yields the messages of a mailbox that are selected, by month, folder and UID, and then the gaps of that time. It puts the export on record in the
// log of the mailbox, and needs archive.RightRead. For what cannot be read it yields an error that wraps journal.ErrDamaged, and goes on.
func List(ctx context.Context, a *archive.Archive, who policy.Actor, mailbox policy.Address, s Selection) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		err := s.Check()
		if err == nil {
			err = a.NoteExport(ctx, who, mailbox, s.String())
		}
		if err != nil {
			yield(Line{}, err)
			return
		}
		Lines(ctx, a, mailbox, s)(yield)
	}
}

// Lines yields what List does for an export that is on record already. Whoever calls it has checked the right to it.
func Lines(ctx context.Context, a *archive.Archive, mailbox policy.Address, s Selection) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		for e, err := range a.Entries(ctx, mailbox, journal.Listing{}) {
			var l Line
			if err == nil {
				if !s.wants(e) {
					continue
				}
				l.Message = NewMessage(e)
			}
			if !yield(l, err) {
				return
			}
		}
		for g, err := range a.Gaps(ctx, mailbox) {
			if err == nil && !s.wantsGap(&g) {
				continue
			}
			l := Line{Gap: &g}
			if err != nil {
				l.Gap = nil
			}
			if !yield(l, err) {
				return
			}
		}
	}
}
