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
}

// Dated returns the date under which people look for the message: that of its arrival, or its own where it was imported.
func (e *Entry) Dated() time.Time {
	if e.Imported != nil {
		return e.Imported.Date
	}
	return e.Time
}

// Archived is the folder of what was imported by hand and belongs to no other folder.
const Archived = "Archived"

// ErrFull says that the quota of a mailbox has no room for a message that is imported.
var ErrFull = errors.New("the archive is full")

// deliveryDigest returns that of the delivery of an entry. An import is no repetition of anything, nor is anything one of it: whoever puts a message in
// twice has two, as in every mail folder. So its transaction, which no other has, stands in place of the sender.
func (e *Entry) deliveryDigest() Digest {
	if e.Imported != nil {
		return deliveryDigest(e.Mailbox, importDirection, e.Transaction, e.SHA256)
	}
	return deliveryDigest(e.Mailbox, e.Direction, e.MailFrom, e.SHA256)
}

// importDirection stands in place of the direction in the delivery key of an import.
const importDirection Direction = 3
