package archive

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"copialettere/journal"
	"copialettere/policy/pec"
)

// Entry returns the entry of a message.
func (a *Archive) Entry(ctx context.Context, ref journal.Ref) (*journal.Entry, error) {
	there, _, err := a.inArchive(ctx, ref)
	if err != nil {
		return nil, err
	}
	e, err := a.journal.Entry(ctx, there)
	if err != nil {
		return nil, fmt.Errorf("%s %s %d: %w", ref.Mailbox, ref.FolderName(), ref.UID, err)
	}
	e.Mailbox = ref.Mailbox
	return e, nil
}

// Message returns an entry and the bytes of its message.
func (a *Archive) Message(ctx context.Context, ref journal.Ref) (*journal.Entry, *journal.Body, error) {
	there, _, err := a.inArchive(ctx, ref)
	if err != nil {
		return nil, nil, err
	}
	return a.messageIn(ctx, there.Mailbox, ref)
}

// Messages returns a function that returns the messages of a folder by their UIDs as Message does. All are of the archive that the mailbox has now, whoever
// gets its address meanwhile.
func (a *Archive) Messages(ctx context.Context, folder journal.Ref) (func(uid uint32) (*journal.Entry, *journal.Body, error), error) {
	there, _, err := a.inArchive(ctx, folder)
	if err != nil {
		return nil, err
	}
	return func(uid uint32) (*journal.Entry, *journal.Body, error) {
		ref := folder
		ref.UID = uid
		return a.messageIn(ctx, there.Mailbox, ref)
	}, nil
}

// messageIn is Message for who knows the name of the archive.
func (a *Archive) messageIn(ctx context.Context, archive string, ref journal.Ref) (*journal.Entry, *journal.Body, error) {
	there := ref
	there.Mailbox = archive
	e, err := a.journal.Entry(ctx, there)
	if err != nil {
		return nil, nil, fmt.Errorf("%s %s %d: %w", ref.Mailbox, ref.FolderName(), ref.UID, err)
	}
	body, err := a.journal.Body(ctx, e)
	shown := *e // the body still needs the entry with the name of the archive
	shown.Mailbox = ref.Mailbox
	return &shown, body, err
}

// Parts yields the parts of a message, including those of enclosed messages.
func (a *Archive) Parts(ctx context.Context, ref journal.Ref) iter.Seq2[pec.Located, error] {
	return func(yield func(pec.Located, error) bool) {
		e, body, err := a.Message(ctx, ref)
		if err != nil {
			yield(pec.Located{}, err)
			return
		}
		pec.Parts(body, &e.Parts)(yield)
	}
}

// Part returns the part of a message with a number from Parts. The error wraps pec.ErrNoPart if there is none.
func (a *Archive) Part(ctx context.Context, ref journal.Ref, number string) (*pec.Located, error) {
	e, body, err := a.Message(ctx, ref)
	if err != nil {
		return nil, err
	}
	l, err := pec.FindPart(body, &e.Parts, number)
	if errors.Is(err, pec.ErrNoPart) {
		err = fmt.Errorf("%s %s %d: part %.100q: %w; \"copialettere parts\" lists them", e.Mailbox, e.FolderName(), e.UID, number, err)
	}
	return l, err
}
