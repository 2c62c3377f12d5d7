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

// Move moves an entry into another folder of its month and returns its new place. It needs write=on.
func (a *Archive) Move(ctx context.Context, who policy.Actor, ref journal.Ref, folder string) (journal.Ref, error) {
	return a.act(ctx, who, journal.ActMove, ref, func(ref journal.Ref, by string) (journal.Ref, error) {
		return a.journal.Move(ctx, ref, folder, by)
	})
}

// Delete deletes an entry. It needs write=on or manual_delete=on, and no hold on the entry or its mailbox. Undelete brings the entry back until
// the retention purges it.
func (a *Archive) Delete(ctx context.Context, who policy.Actor, ref journal.Ref) error {
	return a.do(ctx, who, journal.ActDelete, ref, func(ref journal.Ref, by string) error { return a.journal.Delete(ctx, ref, by) })
}

// Undelete takes a Delete back and returns the new place of the entry. It needs the same settings as Delete.
func (a *Archive) Undelete(ctx context.Context, who policy.Actor, ref journal.Ref) (journal.Ref, error) {
	return a.act(ctx, who, journal.ActUndelete, ref, func(ref journal.Ref, by string) (journal.Ref, error) {
		return a.journal.Undelete(ctx, ref, by)
	})
}

// Hold places a legal hold on one entry. It needs no setting.
func (a *Archive) Hold(ctx context.Context, who policy.Actor, ref journal.Ref, reason string) error {
	return a.do(ctx, who, journal.ActHold, ref, func(ref journal.Ref, by string) error { return a.journal.Hold(ctx, ref, by, reason) })
}

// Release lifts the hold on one entry.
func (a *Archive) Release(ctx context.Context, who policy.Actor, ref journal.Ref, reason string) error {
	return a.do(ctx, who, journal.ActRelease, ref, func(ref journal.Ref, by string) error { return a.journal.Release(ctx, ref, by, reason) })
}

func (a *Archive) do(ctx context.Context, who policy.Actor, kind string, ref journal.Ref, f func(ref journal.Ref, by string) error) error {
	_, err := a.act(ctx, who, kind, ref, func(ref journal.Ref, by string) (journal.Ref, error) { return journal.Ref{}, f(ref, by) })
	return err
}

// act does something with one entry in the name of an actor, if right and settings allow it. It gives f the Ref as the journal knows it.
func (a *Archive) act(
	ctx context.Context, who policy.Actor, kind string, ref journal.Ref, f func(ref journal.Ref, by string) (journal.Ref, error),
) (journal.Ref, error) {
	there, m, err := a.inArchive(ctx, ref)
	if err == nil {
		err = a.allowed(who, m, kind)
	}
	if err != nil {
		return journal.Ref{}, err
	}
	to, err := f(there, who.String())
	if err != nil && there.Mailbox != ref.Mailbox {
		err = fmt.Errorf("%s, in the journal %w", ref.Mailbox, err)
	}
	if err != nil {
		return to, located(ref, err)
	}
	a.changed()
	to.Mailbox = ref.Mailbox
	return to, nil
}

// allowed returns nil if an actor has the right to an act and the settings of the mailbox allow it. Holds need no setting.
func (a *Archive) allowed(who policy.Actor, m policy.Mailbox, kind string) error {
	right := RightDelete
	switch kind {
	case journal.ActHold, journal.ActRelease:
		return a.May(who, RightHold, m.Address)
	case journal.ActMove:
		right = RightMove
	}
	if err := a.May(who, right, m.Address); err != nil {
		return err
	}
	s, mailbox := m.Settings, m.Address
	switch {
	case kind == journal.ActDelete && s.Held():
		return fmt.Errorf("%s: %w", mailbox, policy.ErrHeld)
	}
	if err := permitted(s, right); err != nil {
		return fmt.Errorf("%s: %w", mailbox, err)
	}
	return nil
}
