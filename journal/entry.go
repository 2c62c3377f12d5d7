package journal

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"copialettere/journal/kv"
	"copialettere/journal/part"
)

// Direction says whether a message was delivered to the mailbox or sent from it.
type Direction byte

// The two directions.
const (
	Received Direction = 1
	Sent     Direction = 2
)

// String returns "received" or "sent".
func (d Direction) String() string {
	switch d {
	case Received:
		return "received"
	case Sent:
		return "sent"
	}
	return fmt.Sprintf("direction %d", byte(d))
}

// State says what is known of the delivery of an entry.
type State byte

// The states of an entry.
const (
	Delivered State = 0 // the next hop took the message
	Unknown   State = 1 // handed on, and the answer is not known: in flight, or lost in a crash
	Deferred  State = 2 // the next hop refused it for now; the MTA will try again
	Refused   State = 3 // the next hop refused it for good, and it stays because it was held

	Superseded State = 16 // never delivered: the MTA took the message in anew, as a newer entry. It is not stored in an outcome
)

// String returns "delivered", "unknown", "deferred", "refused" or "superseded".
func (s State) String() string {
	switch s {
	case Delivered:
		return "delivered"
	case Unknown:
		return "unknown"
	case Deferred:
		return "deferred"
	case Refused:
		return "refused"
	case Superseded:
		return "superseded"
	}
	return fmt.Sprintf("state %d", byte(s))
}

// Digest is a SHA-256.
type Digest [32]byte

// String returns the digest as lower-case hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// ChunkID names a chunk in its volume. Ids grow with time.
type ChunkID [12]byte

// ChunkRef is one piece of a message: a chunk and how many bytes of message it holds.
type ChunkRef struct {
	ID   ChunkID
	Size int64
}

// Ref names an entry.
type Ref struct {
	Mailbox string
	Month   kv.Month
	Folder  string // without the month: "INBOX"
	UID     uint32
}

// FolderName returns the folder as people see it, with its month: "INBOX/2026-11".
func (r Ref) FolderName() string { return r.Folder + "/" + string(r.Month) }

// Only returns the selection of this one entry.
func (r Ref) Only() Selection {
	return Selection{Mailbox: r.Mailbox, Month: r.Month, Folder: r.Folder, UIDs: UIDs{{r.UID, r.UID}}}
}

// Selection names entries of one folder, which need not all be there.
type Selection struct {
	Mailbox string
	Month   kv.Month
	Folder  string // without the month: "INBOX"
	UIDs    UIDs
}

// FolderName returns the folder with its month, as Ref.FolderName does.
func (s Selection) FolderName() string { return s.place(0).FolderName() }

// String returns the selection as people name it: "mario@alpha.test INBOX/2026-11 1-20,22".
func (s Selection) String() string { return fmt.Sprintf("%s %s %s", s.Mailbox, s.FolderName(), s.UIDs) }

func (s Selection) place(uid uint32) Ref { return Ref{s.Mailbox, s.Month, s.Folder, uid} }

// ParseFolder splits a folder name as FolderName returns it.
func ParseFolder(name string) (folder string, month kv.Month, err error) {
	i := strings.LastIndexByte(name, '/')
	if i <= 0 {
		return "", "", fmt.Errorf("folder %q: want NAME/YYYY-MM, such as INBOX/2026-11", name)
	}
	month, err = kv.ParseMonth(name[i+1:])
	if err != nil {
		return "", "", fmt.Errorf("folder %q: %w", name, err)
	}
	return name[:i], month, nil
}

// Peer is the client that handed the message to the MTA, as far as the MTA told (XFORWARD); the rest is empty.
type Peer struct {
	Name, Addr, Helo, Protocol string
}

// Envelope is what a transaction tells of a message, beside its recipients.
type Envelope struct {
	MailFrom    string // as received, without angle brackets; empty is the null sender
	Peer        Peer
	QueueID     string // of the MTA, when known
	Transaction string // our own id
}

// Flags of an entry: what was uncertain or came later.
const (
	FlagOriginUnknown    = "origin-unknown"       // the MTA did not say to which address the message was first sent
	FlagSenderUnverified = "sender-unverified"    // sent mail: the login is not known
	FlagUnchecked        = "repetition-unchecked" // a month that could not be read may hold the same delivery
	FlagRefusedLater     = "refused-later"        // the next hop refused a repetition for good, but may have taken the message before
)

// Entry is one journaled message in one mailbox.
type Entry struct {
	Ref
	Envelope
	Direction  Direction
	Time       time.Time // arrival, UTC
	RcptTo     string    // this mailbox's RCPT, as received; empty for sent mail
	ORCPT      string    // its ORCPT parameter, as received
	Recipients []string  // sent mail: all recipients, Bcc included, in the order of their RCPT
	Size       int64     // bytes of the message
	SHA256     Digest    // of the bytes of the message
	Chunks     []ChunkRef

	Class         string   // what kind of message it is believed to be: "ordinary", or a PEC type
	DeclaredClass string   // what its headers declare
	Signature     string   // "verified", "weak", "invalid", "incomplete", "untrusted" or "unsigned"; empty: not examined
	SentTo        string   // sent mail: "certified", "other" or "unknown"
	Imported      *Import  // set where the message was brought in later; nil where it was journaled
	Certification []byte   // what the classification found; opaque to the journal
	Links         []string // as Intent.Links, such as the practices it belongs to

	// Header values as found, unfolded, cut at 1 KiB; not decoded.
	From, To, Subject, Date, MessageID string

	Flags []string // the constants Flag...
	Parts part.Table
	// Envelopes are those of the message and of those enclosed in it, for ENVELOPE of IMAP. One that is not among them, because the entry is older than
	// they are or it is long, is to be read from the header.
	Envelopes []part.Envelope

	// State is stored apart from the entry (key o); the reading methods fill it in.
	State State
}

// FolderOf returns the folder in which entries of a direction are filed.
func FolderOf(d Direction) string {
	if d == Sent {
		return "Sent"
	}
	return "INBOX"
}
