package archive

import (
	"context"
	"errors"
	"fmt"

	"copialettere/journal"
	"copialettere/policy"
)

// ErrReadOnly says that the settings of a mailbox do not allow an act.
var ErrReadOnly = errors.New("the archive is read-only")

// Move moves messages of one folder into another folder of their month. It needs write=on.
func (a *Archive) Move(ctx context.Context, who policy.Actor, s journal.Selection, folder string) (*journal.Done, error) {
	return a.actOn(ctx, who, journal.ActMove, s.Mailbox, func(archive, by string) (*journal.Done, error) {
		s.Mailbox = archive
		return a.journal.Move(ctx, s, folder, by)
	})
}

// Delete deletes messages of one folder. It needs write=on or manual_delete=on. What is under a hold stays, and Done tells it. For
// journal.DeletedGrace Undelete brings the messages back, and no quota counts them; then they are gone.
func (a *Archive) Delete(ctx context.Context, who policy.Actor, s journal.Selection) (*journal.Done, error) {
	return a.actOn(ctx, who, journal.ActDelete, s.Mailbox, func(archive, by string) (*journal.Done, error) {
		s.Mailbox = archive
		return a.journal.Delete(ctx, s, by)
	})
}

// Empty deletes all messages of a folder, as Delete does, in one act. The folder stays. The UID of the Ref does not matter.
func (a *Archive) Empty(ctx context.Context, who policy.Actor, folder journal.Ref) (*journal.Done, error) {
	return a.actOn(ctx, who, journal.ActEmpty, folder.Mailbox, func(archive, by string) (*journal.Done, error) {
		folder.Mailbox = archive
		return a.journal.Empty(ctx, folder, by)
	})
}

// Undelete takes a Delete or an Empty back, or a part of it. It needs the same settings as Delete.
func (a *Archive) Undelete(ctx context.Context, who policy.Actor, s journal.Selection) (*journal.Done, error) {
	return a.actOn(ctx, who, journal.ActUndelete, s.Mailbox, func(archive, by string) (*journal.Done, error) {
		s.Mailbox = archive
		return a.journal.Undelete(ctx, s, by)
	})
}

// Hold places a legal hold on one entry. It needs no setting.
func (a *Archive) Hold(ctx context.Context, who policy.Actor, ref journal.Ref, reason string) error {
	return a.act(ctx, who, journal.ActHold, ref.Mailbox, func(archive, by string) error {
		there := ref
		there.Mailbox = archive
		return located(there, a.journal.Hold(ctx, there, by, reason))
	})
}

// Release lifts the hold on one entry.
func (a *Archive) Release(ctx context.Context, who policy.Actor, ref journal.Ref, reason string) error {
	return a.act(ctx, who, journal.ActRelease, ref.Mailbox, func(archive, by string) error {
		there := ref
		there.Mailbox = archive
		return located(there, a.journal.Release(ctx, there, by, reason))
	})
}

// actOn does something with the messages of one folder, as act does, and returns what was done under the address.
func (a *Archive) actOn(
	ctx context.Context, who policy.Actor, kind, mailbox string, f func(archive, by string) (*journal.Done, error),
) (done *journal.Done, err error) {
	err = a.act(ctx, who, kind, mailbox, func(archive, by string) (err error) {
		done, err = f(archive, by)
		return err
	})
	if done != nil {
		done.Mailbox, done.From.Mailbox = mailbox, mailbox
		if done.To.UID > 0 {
			done.To.Mailbox = mailbox
		}
	}
	return done, err
}

// act does something in the archive of a mailbox in the name of an actor, if right and settings allow it. It gives f the name of the archive, as
// the journal knows it.
func (a *Archive) act(ctx context.Context, who policy.Actor, kind, mailbox string, f func(archive, by string) error) error {
	there, m, err := a.inArchive(ctx, journal.Ref{Mailbox: mailbox})
	if err == nil {
		err = a.allowed(ctx, who, m, kind)
	}
	if err != nil {
		return err
	}
	err = f(there.Mailbox, who.String())
	if err != nil && there.Mailbox != mailbox {
		err = fmt.Errorf("%s, in the journal %w", mailbox, err)
	}
	if err == nil {
		a.changed()
	}
	return err
}

// allowed returns nil if an actor has the right to an act and the settings of the mailbox allow it. Holds need no setting.
func (a *Archive) allowed(ctx context.Context, who policy.Actor, m policy.Mailbox, kind string) error {
	right := RightDelete
	switch kind {
	case journal.ActHold, journal.ActRelease:
		return a.May(ctx, who, RightHold, m.Address)
	case journal.ActMove:
		right = RightMove
	}
	if err := a.May(ctx, who, right, m.Address); err != nil {
		return err
	}
	if (kind == journal.ActDelete || kind == journal.ActEmpty) && m.Settings.Held() {
		return fmt.Errorf("%s: %w", m.Address, policy.ErrHeld)
	}
	if err := permitted(m.Settings, right); err != nil {
		return fmt.Errorf("%s: %w", m.Address, err)
	}
	return nil
}
