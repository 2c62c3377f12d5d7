package policy

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"copialettere/journal/kv"
)

// DefaultGrace is for how long the disabling of an archive can be taken back, where nothing else was asked for.
const DefaultGrace = 72 * time.Hour

// Mailbox is an address that was set up once, with its settings of now.
type Mailbox struct {
	Address  Address
	Settings Settings
}

// Enable turns the archive of a mailbox on from now. It reports whether that changed anything; a mailbox that was enabled already keeps
// its date, and no change is recorded. An archive that is closing is taken back, as by Restore. The error wraps ErrUnknownDomain where the
// address lies in no configured domain, ErrForbidden, and ErrErasing.
func (p *Policy) Enable(ctx context.Context, a Address, who Actor) (changed bool, err error) {
	if _, ok := p.rules().delimiters[a.Domain]; !ok {
		return false, fmt.Errorf("enable %s: %w", a, ErrUnknownDomain)
	}
	return p.turn(ctx, "enable", a, who, KeyArchive, func(e *editing) error {
		if e.Enabled {
			return nil
		}
		if e.Erasure.State == ErasureDue {
			return restore(e)
		}
		if e.Erasure.State == ErasureRunning {
			return ErrErasing
		}
		e.Enabled, e.Since, e.Erasure = true, e.now, Erasure{}
		return nil
	})
}

// Disable closes the archive of a mailbox: nothing more is archived from now, and what it holds will be erased when the grace is over; the
// change log and the gap stay. Until then Restore takes it back. Confirm is the canonical address (Address.String), typed in by a
// person. The grace is zero or more: zero erases at once, also what an earlier Disable has left a grace for. It reports whether that
// changed anything.
//
// The error wraps ErrConfirmation where confirm is not the address, ErrHeld where a legal hold stands, and ErrForbidden.
func (p *Policy) Disable(ctx context.Context, a Address, who Actor, confirm string, grace time.Duration) (changed bool, err error) {
	if confirm != a.String() {
		return false, fmt.Errorf("disable %s: %w: %.100q was typed in", a, ErrConfirmation, confirm)
	}
	if grace < 0 {
		return false, fmt.Errorf("disable %s: a grace of %v: want zero or more", a, grace)
	}
	return p.turn(ctx, "disable", a, who, KeyArchive, func(e *editing) error {
		sooner := e.Erasure.State == ErasureDue && grace == 0 && e.Erasure.At.After(e.now)
		switch {
		case !e.Enabled && !sooner:
			return nil
		case e.Held():
			return fmt.Errorf("%w: %s", ErrHeld, e.Hold.Reason)
		}
		e.Enabled, e.Erasure = false, Erasure{ErasureDue, e.now.Add(grace)}
		return nil
	})
}

// Restore takes a Disable back: the archive is on again with all that it holds and the date that it had, and the time between is a pause
// on record (Pauses). It does so as long as the erasure has not begun, also after the grace. It reports whether that changed
// anything: an archive that is on is left alone. The error wraps ErrNotClosing where there is nothing to take back, ErrErasing where
// it is too late, and ErrForbidden.
func (p *Policy) Restore(ctx context.Context, a Address, who Actor) (changed bool, err error) {
	return p.turn(ctx, "restore", a, who, KeyArchive, func(e *editing) error {
		if e.Enabled {
			return nil
		}
		return restore(e)
	})
}

func restore(e *editing) error {
	switch e.Erasure.State {
	case ErasureDue:
		e.Enabled, e.Erasure = true, Erasure{}
		return nil
	case ErasureRunning:
		return ErrErasing
	}
	return ErrNotClosing
}

// Closing yields the mailboxes whose archives are to be erased now: the grace is over and no hold stands, or the erasure has
// begun and is not done. The caller lets Erasing decide for each, erases what the journal and the notices hold of it, and calls Erased.
func (p *Policy) Closing(ctx context.Context) iter.Seq2[Mailbox, error] {
	return func(yield func(Mailbox, error) bool) {
		for m, err := range p.Mailboxes(ctx) {
			if err == nil && !m.Settings.due(time.Now()) && m.Settings.Erasure.State != ErasureRunning {
				continue
			}
			if !yield(m, err) || err != nil {
				return
			}
		}
	}
}

// due says that an erasure may begin.
func (s Settings) due(now time.Time) bool {
	return s.Erasure.State == ErasureDue && !s.Enabled && !s.Held() && !s.Erasure.At.After(now)
}

// Erasing marks, durably, that the erasure of a closed archive begins, after which it cannot be taken back or held any more. It may be
// called again when the erasure is resumed. The error wraps ErrHeld where a hold was placed in the meantime, and ErrNotClosing
// where the archive is on, was taken back, or is in its grace: nothing may be erased then.
func (p *Policy) Erasing(ctx context.Context, a Address) error {
	_, err := p.turn(ctx, "erase", a, Actor{RoleProgram, "erasure"}, "", func(e *editing) error {
		switch {
		case e.Erasure.State == ErasureRunning:
			return nil
		case e.Erasure.State == ErasureDue && e.Held():
			return fmt.Errorf("%w: %s", ErrHeld, e.Hold.Reason)
		case !e.due(e.now):
			return ErrNotClosing
		}
		e.Erasure = Erasure{State: ErasureRunning}
		return nil
	})
	return err
}

// Erased marks that the erasure of an archive is done. The error wraps ErrNotClosing where none had begun. The mailbox keeps its settings
// and may be enabled anew.
func (p *Policy) Erased(ctx context.Context, a Address) error {
	_, err := p.turn(ctx, "erase", a, Actor{RoleProgram, "erasure"}, "", func(e *editing) error {
		switch e.Erasure.State {
		case ErasureDone:
			return nil
		case ErasureRunning:
			e.Since, e.Erasure = time.Time{}, Erasure{State: ErasureDone}
			return nil
		}
		return ErrNotClosing
	})
	return err
}

// Hold places a legal hold on a mailbox, or gives the one that stands another reason. The reason is one line of at most 500 bytes, such as
// the name of a case. It reports whether that changed anything. The caller then has the journal wait for the deletions that are under way
// (journal.AwaitDeletions), also where nothing was changed. Only operators and postmasters may. A hold also stops an erasure in its
// grace, which then begins when the hold is released. The error wraps ErrErasing where an erasure has begun, ErrForbidden,
// ErrSetting for a bad reason, and ErrUnknownDomain.
func (p *Policy) Hold(ctx context.Context, a Address, who Actor, reason string) (changed bool, err error) {
	reason = strings.TrimSpace(reason)
	if reason == "" || len(reason) > maxReason || !utf8.ValidString(reason) || strings.ContainsFunc(reason, unicode.IsControl) {
		return false, fmt.Errorf("hold %s: %w", a, &SettingError{KeyHold, reason, "want a reason of one line, at most 500 bytes"})
	}
	return p.turn(ctx, "hold", a, who, KeyHold, func(e *editing) error {
		if !e.exists {
			if err := p.mayAppear(a); err != nil {
				return err
			}
		}
		if e.Erasure.State == ErasureRunning {
			return ErrErasing
		}
		if e.Hold.Reason != reason {
			e.Hold = Hold{Reason: reason, Who: who.String(), Since: e.now}
		}
		return nil
	})
}

// Release lifts a legal hold, and reports whether there was one. Only operators and postmasters may. The error wraps ErrForbidden.
func (p *Policy) Release(ctx context.Context, a Address, who Actor) (changed bool, err error) {
	return p.turn(ctx, "release", a, who, KeyHold, func(e *editing) error {
		e.Hold = Hold{}
		return nil
	})
}

// turn runs an edit whose key the actor must have the right to; no key is needed for what the program itself does.
func (p *Policy) turn(ctx context.Context, act string, a Address, who Actor, key string, edit func(*editing) error) (changed bool, err error) {
	if key != "" {
		if err := p.May(who, a, key); err != nil {
			return false, fmt.Errorf("%s %s: %w", act, a, err)
		}
	}
	changes, err := p.change(ctx, a, who, edit)
	if err != nil {
		return false, fmt.Errorf("%s %s: %w", act, a, err)
	}
	return len(changes) > 0, nil
}

// Settings returns the settings of a mailbox as they are in the store now; for one that was never set up, those that it would get.
func (p *Policy) Settings(ctx context.Context, a Address) (Settings, error) {
	r, found, err := p.load(ctx, a)
	if err != nil {
		return Settings{}, err
	}
	if !found {
		return p.defaults(a.Domain), nil
	}
	return r.Settings, nil
}

// Mailboxes yields all mailboxes that were ever set up, enabled or not, in the order of their canonical names.
func (p *Policy) Mailboxes(ctx context.Context) iter.Seq2[Mailbox, error] {
	return p.MailboxesFrom(ctx, Address{})
}

// MailboxesFrom is Mailboxes from a mailbox on; the zero Address stands before all.
func (p *Policy) MailboxesFrom(ctx context.Context, first Address) iter.Seq2[Mailbox, error] {
	return func(yield func(Mailbox, error) bool) {
		for pair, err := range p.store.Scan(ctx, []byte("m"+first.name()), []byte("n")) {
			m, err := decodeMailbox(pair, err)
			if !yield(m, err) || err != nil {
				return
			}
		}
	}
}

func decodeMailbox(pair kv.Pair, err error) (Mailbox, error) {
	if err != nil {
		return Mailbox{}, fmt.Errorf("list mailboxes: %w", err)
	}
	a, err := ParseAddress(string(pair.Key[1:]))
	if err != nil {
		return Mailbox{}, fmt.Errorf("list mailboxes: key %q: %w", pair.Key, err)
	}
	r, err := decodeRecord(pair.Value)
	if err != nil {
		return Mailbox{}, fmt.Errorf("settings of %s: %w", a, err)
	}
	return Mailbox{Address: a, Settings: r.Settings}, nil
}

// SettingsLock is the lock under which the settings of a mailbox change, by its canonical name.
func SettingsLock(mailbox string) string { return "m" + mailbox }

// ArchiveOn says whether the archive of a mailbox is on, by its canonical name and what an Update sees of the settings. Who holds
// SettingsLock knows that it stays so until the Update is done.
func ArchiveOn(settings kv.View, mailbox string) (bool, error) {
	a, err := ParseAddress(mailbox)
	if err != nil {
		return false, err
	}
	known, err := lookupIn(settings, a)
	return known.enabled, err
}

// AnyHeld says whether a legal hold stands on one of the mailboxes, given as Address.String, by what an Update sees of the settings. It reads
// them in one go. Whoever holds the SettingsLock of each knows that it stays so until the Update is done. The journal asks it before it deletes.
func AnyHeld(settings kv.View, mailboxes ...string) (bool, error) {
	keys := make([][]byte, len(mailboxes))
	for i, mailbox := range mailboxes {
		a, err := ParseAddress(mailbox)
		if err != nil {
			return false, err
		}
		keys[i] = settingsKey(a)
	}
	stored, err := settings.GetAll(keys)
	if err != nil {
		return false, err
	}
	for i, b := range stored {
		if b == nil {
			continue
		}
		r, err := decodeRecord(b)
		if err != nil {
			return false, fmt.Errorf("settings of %s: %w", mailboxes[i], err)
		}
		if r.Held() {
			return true, nil
		}
	}
	return false, nil
}

// lookupIn reads of a mailbox what a decision needs, inside of an Update.
func lookupIn(tx kv.View, a Address) (knownSettings, error) {
	b, err := tx.Get(settingsKey(a))
	if errors.Is(err, kv.ErrNotFound) {
		return knownSettings{}, nil
	}
	var r record
	if err == nil {
		r, err = decodeRecord(b)
	}
	if err != nil {
		return knownSettings{}, err
	}
	return knownSettings{found: true, enabled: r.Enabled}, nil
}
