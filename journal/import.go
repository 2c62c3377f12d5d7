package journal

import (
	"errors"
	"time"
)

// Import tells of an entry that somebody brought in later: the Time of the entry is that of the import. It was never journaled, and no reports count
// it as such; retention counts from the import.
type Import struct {
	Who  string
	Date time.Time // of the message itself, UTC
	// Source is where it was read, in words, such as "Lavoro.mbox at 4711" or "imaps://host/INBOX 12345 678"; at most MaxImportSource bytes. Empty where
	// it was put in by hand.
	Source string
	// Quoting is what is known of lines that an mbox quotes: "none" (there is no such line), "undecidable" (there are, and they stay as they are), "mboxrd"
	// (they were, and it was undone). Empty where the source was no mbox.
	Quoting string
	// Once says that no mailbox gets the same bytes a second time by such an import: see Entry.deliveryDigest.
	Once bool
}

// MaxImportSource is the longest Import.Source, in bytes.
const MaxImportSource = 1 << 10

// Dated returns the date under which people look for the message: that of its arrival, or its own where it was imported.
func (e *Entry) Dated() time.Time {
	if e.Imported != nil {
		return e.Imported.Date
	}
	return e.Time
}

// Imported is the folder of what was imported from files or from another server. The folders of the source lie in it: "Imported/Lavoro".
const Imported = "Imported"

// Archived is the folder of what was imported by hand and belongs to no other folder.
const Archived = "Archived"

// ErrFull says that the quota of a mailbox has no room for a message that is imported.
var ErrFull = errors.New("the archive is full")

// deliveryDigest returns that of the delivery of an entry. What is put in by hand is no repetition of anything, nor is anything one of it: whoever puts a
// message in twice has two, as in every mail folder. So its transaction, which no other has, stands in place of the sender. Of an import that is made only
// Once nothing but the mailbox and the bytes count, so two of them at a time make one entry.
func (e *Entry) deliveryDigest() Digest {
	switch {
	case e.Imported != nil && e.Imported.Once:
		return deliveryDigest(e.Mailbox, onceDirection, "", e.SHA256)
	case e.Imported != nil:
		return deliveryDigest(e.Mailbox, importDirection, e.Transaction, e.SHA256)
	}
	return deliveryDigest(e.Mailbox, e.Direction, e.MailFrom, e.SHA256)
}

// importDirection and onceDirection stand in place of the direction in the delivery key of an import.
const (
	importDirection Direction = 3
	onceDirection   Direction = 4
)

// notOnce makes an entry that was to be imported only once one that may be there again: what was deleted by hand has the delivery key for good, and
// whoever imports it again wants it back.
func (e *candidate) notOnce() {
	again := *e.Imported
	again.Once = false
	e.Imported = &again
	e.delivery = deliveryKey(e.Mailbox, e.deliveryDigest())
}
