package archive

import (
	"context"
	"fmt"
	"iter"

	"copialettere/journal"
	"copialettere/policy"
)

// Faces name a mailbox by its address, the journal by the name of its archive (policy.Mailbox.Archive): the address may change, the name does
// not. This package turns one into the other, both ways. What the methods of an Archive take and return has addresses; a journal.Ref too.

// inArchive returns a Ref with the name of the archive in place of the address, and the mailbox.
func (a *Archive) inArchive(ctx context.Context, ref journal.Ref) (journal.Ref, policy.Mailbox, error) {
	address, err := policy.ParseMailbox(ref.Mailbox)
	if err != nil {
		return ref, policy.Mailbox{}, err
	}
	m, err := a.there(ctx, address)
	ref.Mailbox = m.Archive
	return ref, m, err
}

// there returns a mailbox, to look for what it has. Where it is none any more because its archive has another address now, the error wraps
// policy.ErrNoArchive and names that address: nobody should take it for an archive that is empty.
func (a *Archive) there(ctx context.Context, address policy.Address) (policy.Mailbox, error) {
	m, err := a.policy.Mailbox(ctx, address)
	if err != nil || m.Settings.State() != policy.StateOff {
		return m, err
	}
	_, to, gone, err := a.policy.Gone(ctx, address)
	if gone {
		err = fmt.Errorf("%s: %w any more: it goes on as %s", address, policy.ErrNoArchive, to)
	}
	return m, err
}

// address returns the address of the mailbox whose archive has that name; the name itself if it cannot be read.
func (a *Archive) address(ctx context.Context, archive string) string {
	m, err := a.policy.MailboxOf(ctx, archive)
	if err != nil {
		return archive
	}
	return m.Address.String()
}

// of yields what a source has of a mailbox, whose archive it is given.
func of[T any](ctx context.Context, a *Archive, address policy.Address, source func(archive string) iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		m, err := a.there(ctx, address)
		if err != nil {
			var none T
			yield(none, err)
			return
		}
		source(m.Archive)(yield)
	}
}
