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
	return a.actOn(ctx, who, journal.ActMove, s.Mailbox, func(by string) (*journal.Done, error) { return a.journal.Move(ctx, s, folder, by) })
}

// Delete deletes messages of one folder. It needs write=on or manual_delete=on. What is under a hold stays, and Done tells it. For
// journal.DeletedGrace Undelete brings the messages back, and no quota counts them; then they are gone.
func (a *Archive) Delete(ctx context.Context, who policy.Actor, s journal.Selection) (*journal.Done, error) {
	return a.actOn(ctx, who, journal.ActDelete, s.Mailbox, func(by string) (*journal.Done, error) { return a.journal.Delete(ctx, s, by) })
}

// Empty deletes all messages of a folder, as Delete does, in one act. The folder stays. The UID of the Ref does not matter.
func (a *Archive) Empty(ctx context.Context, who policy.Actor, folder journal.Ref) (*journal.Done, error) {
	return a.actOn(ctx, who, journal.ActEmpty, folder.Mailbox, func(by string) (*journal.Done, error) { return a.journal.Empty(ctx, folder, by) })
}

// Undelete takes a Delete or an Empty back, or a part of it. It needs the same settings as Delete.
func (a *Archive) Undelete(ctx context.Context, who policy.Actor, s journal.Selection) (*journal.Done, error) {
	return a.actOn(ctx, who, journal.ActUndelete, s.Mailbox, func(by string) (*journal.Done, error) { return a.journal.Undelete(ctx, s, by) })
}

// Hold places a legal hold on one entry. It needs no setting.
func (a *Archive) Hold(ctx context.Context, who policy.Actor, ref journal.Ref, reason string) error {
	return a.do(ctx, who, journal.ActHold, ref, func(by string) error { return a.journal.Hold(ctx, ref, by, reason) })
}

// Release lifts the hold on one entry.
func (a *Archive) Release(ctx context.Context, who policy.Actor, ref journal.Ref, reason string) error {
	return a.do(ctx, who, journal.ActRelease, ref, func(by string) error { return a.journal.Release(ctx, ref, by, reason) })
}

// do does something with one entry in the name of an actor, if right and settings allow it.
func (a *Archive) do(ctx context.Context, who policy.Actor, kind string, ref journal.Ref, f func(by string) error) error {
	if err := a.allowed(ctx, who, ref.Mailbox, kind); err != nil {
		return err
	}
	if err := f(who.String()); err != nil {
		return located(ref, err)
	}
	a.changed()
	return nil
}

// actOn does something with the messages of one folder in the name of an actor, if right and settings allow it.
func (a *Archive) actOn(ctx context.Context, who policy.Actor, kind, mailbox string, f func(by string) (*journal.Done, error)) (*journal.Done, error) {
	if err := a.allowed(ctx, who, mailbox, kind); err != nil {
		return nil, err
	}
	return f(who.String())
}

// allowed returns nil if an actor has the right to an act and the settings of the mailbox allow it. Holds need no setting.
func (a *Archive) allowed(ctx context.Context, who policy.Actor, mailbox, kind string) error {
	address, err := policy.ParseAddress(mailbox)
	if err != nil {
		return err
	}
	right := RightDelete
	switch kind {
	case journal.ActHold, journal.ActRelease:
		return a.May(who, RightHold, address)
	case journal.ActMove:
		right = RightMove
	}
	if err := a.May(who, right, address); err != nil {
		return err
	}
	s, err := a.policy.Settings(ctx, address)
	switch {
	case err != nil:
		return err
	case (kind == journal.ActDelete || kind == journal.ActEmpty) && s.Held():
		return fmt.Errorf("%s: %w", mailbox, policy.ErrHeld)
	}
	if err := permitted(s, right); err != nil {
		return fmt.Errorf("%s: %w", mailbox, err)
	}
	return nil
}
