package httpd

import (
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/journal/part"
	"copialettere/policy"
	"copialettere/policy/archive"
)

// EntryView is an entry as /list shows it. Others script against its names.
type EntryView struct {
	Mailbox    string    `json:"mailbox"`
	Direction  string    `json:"direction"` // "received" or "sent"
	Folder     string    `json:"folder"`    // with its month: "INBOX/2026-11"
	UID        uint32    `json:"uid"`
	Time       time.Time `json:"time"`
	MailFrom   string    `json:"mail_from"`
	RcptTo     string    `json:"rcpt_to"` // of sent mail: all recipients, separated by commas
	ORCPT      string    `json:"orcpt"`
	Recipients []string  `json:"recipients"`
	From       string    `json:"from"`
	To         string    `json:"to"`
	Subject    string    `json:"subject"` // decoded, as From and To
	// InnerFrom and InnerSubject are those of the message inside certified mail, decoded.
	InnerFrom    string   `json:"inner_from,omitempty"`
	InnerSubject string   `json:"inner_subject,omitempty"`
	Date         string   `json:"date"`
	MessageID    string   `json:"message_id"`
	Size         int64    `json:"size"`
	SHA256       string   `json:"sha256"`
	Class        string   `json:"class"` // as the filter took it
	Declared     string   `json:"declared_class,omitempty"`
	Signature    string   `json:"signature,omitempty"` // "verified", "weak", "invalid", "incomplete", "untrusted" or "unsigned"
	SentTo       string   `json:"sent_to,omitempty"`   // of sent mail: "certified", "other" or "unknown"
	State        string   `json:"state"`               // "delivered", "deferred", "unknown", "refused" or "superseded"
	Flags        []string `json:"flags,omitempty"`
	Odd          string   `json:"odd,omitempty"` // what the MIME scanner found odd about the message
	QueueID      string   `json:"queue_id,omitempty"`
	PeerAddr     string   `json:"peer_addr,omitempty"`
	PeerName     string   `json:"peer_name,omitempty"`
	PeerHelo     string   `json:"peer_helo,omitempty"`
	Transaction  string   `json:"transaction"`

	// Imported tells of an entry that was brought in later. It was never journaled, and its time is that of the import.
	Imported *ImportView `json:"imported,omitempty"`

	// SupersededBy is where the newer entry is, if the MTA took the message in anew before it was delivered. Absent where that entry is gone.
	SupersededBy *PlaceView `json:"superseded_by,omitempty"`

	Certification *CertificationView `json:"certification,omitempty"`

	// Preservation tells in which package the message was handed to legal preservation.
	Preservation *archive.PreservedIn `json:"preservation,omitempty"`
}

// ImportView tells who imported a message, and the date of the message itself. Others script against its names.
type ImportView struct {
	By   string    `json:"by"`
	Date time.Time `json:"date"`
	// Source is where it was read; absent where it was put in by hand. Quoting is what is known of the lines that an mbox quotes: "none", "undecidable" (they
	// stay as they were) or "mboxrd" (it was undone); absent where the source was no mbox.
	Source  string `json:"source,omitempty"`
	Quoting string `json:"quoting,omitempty"`
}

// LabelView is a name that settings, records and requests use, with its label. Others script against its names.
type LabelView struct {
	Vocabulary string `json:"vocabulary"`      // one of policy.Vocabularies
	Group      string `json:"group,omitempty"` // of a setting: its section; of a class: its direction
	policy.Named
}

// PlaceView is the place of an entry.
type PlaceView struct {
	Folder string `json:"folder"` // with its month: "INBOX/2026-11"
	UID    uint32 `json:"uid"`
}

func viewEntry(e *journal.Entry) EntryView {
	recipients := archive.RecipientsOf(e)
	certification, inner := viewCertification(e)
	var imported *ImportView
	if e.Imported != nil {
		imported = &ImportView{e.Imported.Who, e.Imported.Date, e.Imported.Source, e.Imported.Quoting}
	}
	return EntryView{
		Imported: imported,
		Mailbox:  e.Mailbox, Direction: e.Direction.String(), Folder: e.FolderName(), UID: e.UID, Time: e.Time, MailFrom: e.MailFrom,
		RcptTo: strings.Join(recipients, ", "), ORCPT: e.ORCPT, Recipients: recipients, From: part.Decode(e.From), To: part.Decode(e.To),
		Subject: part.Decode(e.Subject), Date: e.Date, MessageID: e.MessageID, Size: e.Size, SHA256: e.SHA256.String(), Class: e.Class,
		Declared: e.DeclaredClass, Signature: e.Signature, SentTo: e.SentTo,
		State: e.State.String(), Flags: e.Flags, Odd: e.Parts.Odd.String(), QueueID: e.QueueID,
		PeerAddr: e.Peer.Addr, PeerName: e.Peer.Name, PeerHelo: e.Peer.Helo, Transaction: e.Transaction,
		InnerFrom: part.Decode(inner.From), InnerSubject: part.Decode(inner.Subject), Certification: certification,
	}
}

func viewSuperseded(e *journal.SupersededEntry) EntryView {
	v := viewEntry(e.Entry)
	if e.By.UID > 0 {
		v.SupersededBy = &PlaceView{e.By.FolderName(), e.By.UID}
	}
	return v
}

// known returns a time, or nil for the zero time.
func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
