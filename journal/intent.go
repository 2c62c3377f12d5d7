package journal

import (
	"errors"
	"fmt"
)

// Intent says what one mailbox is to get of a message.
type Intent struct {
	Mailbox    string
	Direction  Direction
	RcptTo     string   // received mail
	ORCPT      string   // received mail
	Recipients []string // sent mail
	Flags      []string
	Quota      Quota

	// Import is set where somebody brings the message in by hand: then Folder says where to. It waits for no next hop, no quota makes room for it, and it
	// leaves no gap: ErrFull says that there is no room.
	Import *Import
	Folder string

	// What kind of message it is, as Entry tells it.
	Class, DeclaredClass, Signature, SentTo string
	Certification                           []byte // at most MaxCertification bytes

	// Links are names under which Linked finds the entry, such as the ids of a practice: at most MaxLinks, each of 1 to MaxLink bytes,
	// none of them zero. They mean nothing to the journal.
	Links []string
}

// Limits of what an Intent tells of its class, so that an entry fits into an update.
const (
	MaxCertification = 1 << 20 // bytes
	MaxLinks         = 16
	MaxLink          = 255 // bytes
)

// ErrIntent says that an Intent is over its limits, which is a mistake of the caller.
var ErrIntent = errors.New("not an intent that can be kept")

func (in *Intent) check() error {
	if err := checkMailbox(in.Mailbox); err != nil {
		return err
	}
	if in.Import != nil {
		if err := checkFolder(in.Folder); err != nil {
			return err
		}
		if len(in.Import.Source) > MaxImportSource {
			return fmt.Errorf("mailbox %s: source of %d bytes: %w", in.Mailbox, len(in.Import.Source), ErrIntent)
		}
	}
	if len(in.Certification) > MaxCertification {
		return fmt.Errorf("mailbox %s: certification of %d bytes: %w", in.Mailbox, len(in.Certification), ErrIntent)
	}
	if len(in.Links) > MaxLinks {
		return fmt.Errorf("mailbox %s: %d links: %w", in.Mailbox, len(in.Links), ErrIntent)
	}
	for _, l := range in.Links {
		if checkLink(l) != nil {
			return fmt.Errorf("mailbox %s: link %q: %w", in.Mailbox, l, ErrIntent)
		}
	}
	return nil
}
