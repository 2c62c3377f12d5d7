package policy

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"copialettere/journal/kv"
)

// DefaultGrace is how long Restore can take back a Disable, unless the operator sets another grace.
const DefaultGrace = 72 * time.Hour

// Mailbox is an address that was set up, with its current settings.
type Mailbox struct {
	Address Address
	// Archive is the name of its archive, under which the journal and the notices keep what belongs to it. It never changes, whatever happens to
	// the address, and no other archive ever gets it. Mostly it is the address at the time when the mailbox was set up.
	Archive  string
	Settings Settings
}

// Enable turns the archive of a mailbox on from now, and reports whether that changed anything. A mailbox that was enabled already keeps its
// date, and no change is recorded. Enabling a paused archive resumes it; enabling a closing one restores it, and resumes it too. The error wraps
// ErrUnknownDomain if the address lies in no configured domain, ErrForbidden, or ErrErasing.
func (p *Policy) Enable(ctx context.Context, a Address, who Actor) (changed bool, err error) {
	if err := p.mayEnable(who, a); err != nil {
		return false, fmt.Errorf("enable %s: %w", a, err)
	}
	return p.turn(ctx, "enable", a, who, KeyArchive, enable)
}

// mayEnable returns nil if an actor may enable a mailbox.
func (p *Policy) mayEnable(who Actor, a Address) error {
	if _, ok := p.rules().delimiters[a.Domain]; !ok {
		return ErrUnknownDomain
	}
	if a.Closed != "" {
		return ErrClosed
	}
	return p.May(who, a, KeyArchive)
}

// enable turns an archive on.
func enable(e *editing) error {
	switch {
	case e.Enabled:
		return nil
	case e.Erasure.State == ErasureRunning:
		return ErrErasing
	case e.State() == StateOff && e.Erasure.State != ErasureDue:
		e.Since = e.now
	}
	e.Enabled, e.Paused, e.Erasure = true, time.Time{}, Erasure{}
	return nil
}

// Pause stops archiving from now, until Resume. What is archived stays and can be read; the time between is a gap with ReasonPaused (Pauses). It
// reports whether that changed anything; a paused archive stays as it is. It needs the right KeyPause. The error wraps ErrNotOn if the archive is
// off, ErrHeld if a legal hold stands, or ErrForbidden.
func (p *Policy) Pause(ctx context.Context, a Address, who Actor) (changed bool, err error) {
	return p.turn(ctx, "pause", a, who, KeyPause, func(e *editing) error {
		switch {
		case e.State() == StatePaused:
			return nil
		case !e.Enabled:
			return ErrNotOn
		case e.Held():
			return fmt.Errorf("%w: %s", ErrHeld, e.Hold.Reason)
		}
		e.Enabled, e.Paused = false, e.now
		return nil
	})
}

// Resume ends a pause: mail is archived from now. It reports whether that changed anything; an archive that is on stays as it is. It needs the
// right KeyPause. The error wraps ErrNotOn if the archive is off, or ErrForbidden.
func (p *Policy) Resume(ctx context.Context, a Address, who Actor) (changed bool, err error) {
	return p.turn(ctx, "resume", a, who, KeyPause, func(e *editing) error {
		if e.State() == StateOff {
			return ErrNotOn
		}
		e.Enabled, e.Paused = true, time.Time{}
		return nil
	})
}

// Disable closes the archive of a mailbox, paused or not: nothing more is archived from now, and its content is erased when the grace is over.
// The change log and the gap stay. Until then Restore takes it back. Confirm is the canonical address (Address.String), typed in by a person. The
// grace is zero or more; zero erases at once, even if an earlier Disable left a grace. Disable reports whether it changed anything.
//
// The error wraps ErrConfirmation if confirm is not the address, ErrHeld if a legal hold stands, or ErrForbidden.
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
		case e.State() == StateOff && !sooner && !e.keptClosed():
			return nil
		case e.Held():
			return fmt.Errorf("%w: %s", ErrHeld, e.Hold.Reason)
		}
		e.Enabled, e.Erasure = false, Erasure{ErasureDue, e.now.Add(grace)}
		return nil
	})
}

// Restore takes a Disable back: the archive is on, or paused, again with its content and its date, and the time between is a gap on record
// (Pauses). It works as long as the erasure has not begun, even after the grace. It reports whether that changed anything; an archive that is on
// or paused stays as it is. The error wraps ErrNotClosing if there is nothing to take back, ErrErasing if it is too late, or ErrForbidden.
func (p *Policy) Restore(ctx context.Context, a Address, who Actor) (changed bool, err error) {
	return p.turn(ctx, "restore", a, who, KeyArchive, func(e *editing) error {
		switch {
		case e.State() != StateOff, e.keptClosed():
			return nil
		case e.Erasure.State == ErasureRunning:
			return ErrErasing
		case e.Erasure.State != ErasureDue:
			return ErrNotClosing
		}
		e.Enabled, e.Erasure = e.Paused.IsZero() && e.address.Closed == "", Erasure{}
		return nil
	})
}

// keptClosed reports whether the mailbox was handed over and its archive is kept.
func (e *editing) keptClosed() bool {
	return e.address.Closed != "" && !e.Since.IsZero() && e.Erasure.State == ErasureNone
}

// Closing yields the mailboxes whose archives are to be erased now: the grace is over and no hold stands, or the erasure has begun and is
// not done. For each, call Erasing, which decides; then erase what the journal and the notices hold of it, and call Erased.
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

// due reports whether an erasure may begin.
func (s Settings) due(now time.Time) bool {
	return s.Erasure.State == ErasureDue && !s.Enabled && !s.Held() && !s.Erasure.At.After(now)
}

// Erasing durably marks that the erasure of the closed archive of that name begins. From then on nobody can take it back or place a hold. Call it again to
// resume an erasure. The error wraps ErrHeld if somebody placed a hold meanwhile, and ErrNotClosing if the archive is on, was restored or is
// in its grace: then erase nothing.
func (p *Policy) Erasing(ctx context.Context, archive string) error {
	return p.erase(ctx, archive, func(e *editing) error {
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
}

// Erased marks the erasure of the archive of that name as done. The mailbox keeps its settings and may be enabled again. The error wraps ErrNotClosing if no
// erasure had begun.
func (p *Policy) Erased(ctx context.Context, archive string) error {
	return p.erase(ctx, archive, func(e *editing) error {
		switch e.Erasure.State {
		case ErasureDone:
			return nil
		case ErasureRunning:
			e.Since, e.Paused, e.Erasure = time.Time{}, time.Time{}, Erasure{State: ErasureDone}
			return nil
		}
		return ErrNotClosing
	})
}

// erase runs an edit over the settings of the archive of that name, whatever its address is by now.
func (p *Policy) erase(ctx context.Context, archive string, edit func(*editing) error) error {
	m, err := p.MailboxOf(ctx, archive)
	if err == nil {
		_, err = p.change(ctx, m.Address, Actor{RoleProgram, "erasure"}, func(e *editing) error {
			if e.name != archive {
				return errMoved
			}
			return edit(e)
		})
	}
	if err != nil {
		return fmt.Errorf("erase %s: %w", archive, err)
	}
	return nil
}

// Hold places a legal hold on a mailbox, or gives the existing one another reason. It reports whether that changed anything. The reason is one
// line of at most 500 bytes, such as the name of a case. Only operators and postmasters may call it. In any case, call
// journal.AwaitDeletions afterwards: it waits for deletions in progress. A hold also stops an erasure in its grace; the erasure begins when the
// hold is released. The error wraps ErrErasing if an erasure has begun, ErrForbidden, ErrSetting for a bad reason, or ErrUnknownDomain.
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

// Release lifts a legal hold and reports whether there was one. Only operators and postmasters may call it. The error wraps ErrForbidden.
func (p *Policy) Release(ctx context.Context, a Address, who Actor) (changed bool, err error) {
	return p.turn(ctx, "release", a, who, KeyHold, func(e *editing) error {
		e.Hold = Hold{}
		return nil
	})
}

// turn runs an edit for which the actor needs the right to key.
func (p *Policy) turn(ctx context.Context, act string, a Address, who Actor, key string, edit func(*editing) error) (changed bool, err error) {
	if err := p.May(who, a, key); err != nil {
		return false, fmt.Errorf("%s %s: %w", act, a, err)
	}
	changes, err := p.change(ctx, a, who, edit)
	if err != nil {
		return false, fmt.Errorf("%s %s: %w", act, a, err)
	}
	return len(changes) > 0, nil
}

// Settings returns the settings of a mailbox as they are in the store now; for one that was never set up, those that it would get.
func (p *Policy) Settings(ctx context.Context, a Address) (Settings, error) {
	m, err := p.Mailbox(ctx, a)
	return m.Settings, err
}

// Mailbox returns a mailbox as it is in the store now; one that was never set up has the settings and the archive that it would get. The error wraps
// ErrAddress for the name of a closed mailbox that is none.
func (p *Policy) Mailbox(ctx context.Context, a Address) (Mailbox, error) {
	l, err := p.lead(ctx, a)
	switch {
	case err != nil:
		return Mailbox{}, err
	case l.record == nil && a.Closed != "":
		return Mailbox{}, notHandedOver(a)
	case l.record == nil:
		return Mailbox{a, l.name, p.defaults(a.Domain)}, nil
	}
	return Mailbox{a, l.name, l.record.Settings}, nil
}

// Known is Mailbox, and reports whether the mailbox was ever set up. One that was not has what its domain would give it.
func (p *Policy) Known(ctx context.Context, a Address) (m Mailbox, known bool, err error) {
	l, err := p.lead(ctx, a)
	if err != nil || l.record == nil {
		return Mailbox{}, false, err
	}
	return Mailbox{a, l.name, l.record.Settings}, true, nil
}

// MailboxOf returns the mailbox with the archive of that name, as it is in the store now. One without a mailbox has the name as address, if it is
// one, and the settings that it would get.
func (p *Policy) MailboxOf(ctx context.Context, archive string) (Mailbox, error) {
	get := func(key []byte) ([]byte, error) { return p.store.Get(ctx, key) }
	r, err := directory{get, p.decoded.record}.record(archive)
	if err == nil && r != nil {
		return r.mailbox(archive)
	}
	var a Address
	if err == nil {
		a, err = ParseMailbox(archive)
	}
	if err != nil {
		return Mailbox{}, fmt.Errorf("settings of %s: %w", archive, err)
	}
	return Mailbox{a, archive, p.defaults(a.Domain)}, nil
}

// State returns the state of the archive of a mailbox.
func (m Mailbox) State() State {
	if m.Address.Closed != "" {
		return StateClosed
	}
	return m.Settings.State()
}

// mailbox returns the mailbox of a record, whose archive has that name.
func (r *record) mailbox(archive string) (Mailbox, error) {
	m := Mailbox{r.address, archive, r.Settings}
	if m.Address != (Address{}) {
		return m, nil
	}
	var err error
	m.Address, err = ParseAddress(archive)
	return m, err
}

// Addresses returns the addresses whose mail is archived for a mailbox: its own, and one with "..." in place of an extension for each delimiter of
// its domain.
func (p *Policy) Addresses(a Address) []string {
	list := []string{a.String()}
	delimiters := p.rules().delimiter(a.Domain)
	for _, delimiter := range delimiters {
		extended := Address{Local: a.Local + string(delimiter) + "...", Domain: a.Domain}
		if base, ok := extended.WithoutExtension(delimiters); ok && base == a {
			list = append(list, a.Local+string(delimiter)+"...@"+a.Domain)
		}
	}
	return list
}

// Mailboxes yields all mailboxes that were ever set up, enabled or not, in the order of the names of their archives.
func (p *Policy) Mailboxes(ctx context.Context) iter.Seq2[Mailbox, error] {
	return p.MailboxesFrom(ctx, "")
}

// MailboxesFrom is Mailboxes beginning at the archive of that name.
func (p *Policy) MailboxesFrom(ctx context.Context, archive string) iter.Seq2[Mailbox, error] {
	return func(yield func(Mailbox, error) bool) {
		for pair, err := range p.store.Scan(ctx, settingsKey(archive), []byte("n")) {
			m, err := p.decodeMailbox(pair, err)
			if !yield(m, err) || err != nil {
				return
			}
		}
	}
}

func (p *Policy) decodeMailbox(pair kv.Pair, err error) (Mailbox, error) {
	if err != nil {
		return Mailbox{}, fmt.Errorf("list mailboxes: %w", err)
	}
	archive := string(pair.Key[1:])
	r, err := p.decoded.listed(archive, pair.Value)
	var m Mailbox
	if err == nil {
		m, err = r.mailbox(archive)
	}
	if err != nil {
		return Mailbox{}, fmt.Errorf("settings of %s: %w", archive, err)
	}
	return m, nil
}

// SettingsLock returns the name of the lock under which the settings of an archive, given by its name, change. It is also the lock of the
// address of that name.
func SettingsLock(archive string) string { return "m" + archive }

// ArchiveOn reports whether the archive of that name is on, as an Update sees the settings. While that Update holds SettingsLock, the answer
// cannot change. A paused archive is not on.
func ArchiveOn(settings kv.View, archive string) (bool, error) {
	r, err := directoryIn(settings).record(archive)
	return err == nil && r != nil && r.Enabled, err
}

// AnyHeld reports whether a legal hold stands on one of the archives of these names, by what an Update sees of the settings. It reads them in
// one go. The answer holds until that Update is done if it has the SettingsLock of each. The journal asks it before it deletes.
func AnyHeld(settings kv.View, archives ...string) (bool, error) {
	keys := make([][]byte, len(archives))
	for i, archive := range archives {
		keys[i] = settingsKey(archive)
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
			return false, fmt.Errorf("settings of %s: %w", archives[i], err)
		}
		if r.Held() {
			return true, nil
		}
	}
	return false, nil
}

// lookupIn reads inside an Update what a decision needs of a mailbox.
func lookupIn(tx kv.View, a Address) (knownSettings, error) {
	l, err := directoryIn(tx).lead(a)
	return l.known(), err
}
