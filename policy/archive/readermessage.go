package archive

import (
	"context"
	"errors"

	"copialettere/journal"
)

// Message returns an entry of the mailbox and the bytes of its message. The mailbox of ref does not matter.
func (r *Reader) Message(ctx context.Context, ref journal.Ref) (*journal.Entry, *journal.Body, error) {
	m, err := r.open(ctx)
	if err != nil {
		return nil, nil, err
	}
	ref.Mailbox = r.mailbox.String()
	return r.archive.messageIn(ctx, m.Archive, ref)
}

// IsHeld reports whether a legal hold keeps a message of the mailbox from being deleted: one on the message, or one on the mailbox.
func (r *Reader) IsHeld(ctx context.Context, ref journal.Ref) (bool, error) {
	m, err := r.open(ctx)
	if err != nil {
		return false, err
	}
	if m.Settings.Held() {
		return true, nil
	}
	ref.Mailbox = m.Archive
	held, err := r.archive.journal.Held(ctx, ref.Only())
	if errors.Is(err, journal.ErrNotFound) {
		err = nil
	}
	return len(held) > 0, err
}
