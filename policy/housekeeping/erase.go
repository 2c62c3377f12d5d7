package housekeeping

import (
	"context"
	"errors"
	"fmt"
	"time"

	"copialettere/journal"
	"copialettere/policy"
	"copialettere/policy/notice"
)

// eraseWhenAsked erases the archives that are due whenever EraseSoon asks for it, until ctx ends.
func (k *Keeper) eraseWhenAsked(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-k.erasing:
			k.erase(ctx, time.Now())
		}
	}
}

// erase erases the archives whose grace is over.
func (k *Keeper) erase(ctx context.Context, now time.Time) {
	k.erasures.Lock()
	defer k.erasures.Unlock()
	for m, err := range k.options.Policy.Closing(ctx) {
		if err == nil {
			err = k.eraseMailbox(ctx, m)
		}
		switch {
		case err == nil:
		case errors.Is(err, journal.ErrHeld), errors.Is(err, policy.ErrHeld):
			if mailbox := m.Address.String(); now.Sub(k.reminded[mailbox]) >= remindEvery {
				k.reminded[mailbox] = now
				k.log.Warn("archive not erased: a legal hold stands", "mailbox", mailbox, "error", err)
			}
		case errors.Is(err, journal.ErrDamaged):
			if mailbox := m.Address.String(); now.Sub(k.reminded[mailbox]) >= remindEvery {
				k.reminded[mailbox] = now
				k.log.Error("archive not erased: a month of it cannot be read, and may be under a hold", "mailbox", mailbox, "error", err)
			}
		default:
			k.failed(ctx, "archive not erased, will be tried again", err, "mailbox", m.Address.String())
		}
	}
}

func (k *Keeper) eraseMailbox(ctx context.Context, m policy.Mailbox) error {
	// A held entry must stop the erasure before it is a fact.
	for h, err := range k.options.Journal.Holdings(ctx, m.Archive) {
		if err == nil {
			err = fmt.Errorf("%s %d: %w: %s", h.FolderName(), h.UID, journal.ErrHeld, h.Reason)
		}
		return err
	}
	if err := k.options.Policy.Erasing(ctx, m.Archive); err != nil {
		return err
	}
	// A message that was judged while the archive was on must not be journaled after the erasure.
	if k.options.AwaitVerdicts != nil {
		if err := k.options.AwaitVerdicts(ctx); err != nil {
			return err
		}
	}
	removed, err := k.options.Journal.Erase(ctx, m.Archive, journal.EraseOptions{})
	if err != nil {
		return err
	}
	k.options.Erased(m.Archive)
	if err := notice.Forget(ctx, k.options.Settings, m.Archive); err != nil {
		return err
	}
	if err := k.schedule.Load().Archive.ForgetDelegates(ctx, m.Archive); err != nil {
		return err
	}
	if err := k.schedule.Load().Archive.ForgetSources(ctx, m.Archive); err != nil {
		return err
	}
	if err := k.schedule.Load().Archive.ForgetPackages(ctx, m.Archive); err != nil {
		return err
	}
	if err := k.options.Policy.Erased(ctx, m.Archive); err != nil {
		return err
	}
	k.log.Info("archive erased", "mailbox", m.Address.String(), "entries", removed.Entries, "bytes", removed.Bytes, "damaged", removed.Damaged)
	return nil
}
