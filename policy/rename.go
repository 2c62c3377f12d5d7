package policy

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"copialettere/journal/kv"
)

// An archive keeps its name whatever becomes of its address, so changing hands copies nothing: the address is pointed at another archive, or at
// none, in the one Update that also puts the change on record. UIDs, holds, retention, quota and everything else that goes by the name stay.

// Errors of Rename and HandOver, beside those of every change.
var (
	// ErrNoArchive means that a mailbox has no archive.
	ErrNoArchive = errors.New("the mailbox has no archive")
	// ErrTaken means that an address has an archive already.
	ErrTaken = errors.New("the address has an archive already")
	// ErrClosed means that a mailbox was handed over: its archive takes no more mail, and keeps its name.
	ErrClosed = errors.New("the mailbox was handed over")
)

// CauseHandOver marks the changes that give the archive of a new person the settings of the mailbox.
const CauseHandOver = "hand-over"

// mayReaddress returns nil if an actor may change the address of a mailbox to another one.
func (p *Policy) mayReaddress(who Actor, a, to Address) error {
	if a.Domain != to.Domain && who.Role != RoleOperator {
		return fmt.Errorf("%s: %w for %s: only an operator moves a mailbox to another domain", KeyAddress, ErrForbidden, who)
	}
	return p.May(who, a, KeyAddress)
}

// Rename gives a mailbox another address: its archive goes on under that address with all that belongs to it. From then on, mail to the old
// address is not archived, unless its recipient was judged before. Both addresses go on record. Rename reports whether it changed anything: to
// repeat it does no harm. A postmaster may rename within the domain, only an operator to another one.
//
// The error wraps ErrNoArchive, ErrTaken if there is an archive under the new address, ErrClosed, ErrErasing, ErrUnknownDomain, ErrAddress if the
// new address is another mailbox with an extension, ErrSetting if notices go to the new address, or ErrForbidden.
func (p *Policy) Rename(ctx context.Context, from, to Address, who Actor) (changed bool, err error) {
	err = p.mayReaddress(who, from, to)
	if err == nil {
		err = p.mayBecome(from, to)
	}
	if err == nil {
		now := time.Now().UTC().Round(0)
		err = p.update(ctx, who, []Address{from, to}, func(tx kv.Tx, leads []lead) (bool, error) {
			changed, err = p.rename(tx, from, to, leads[0], leads[1], who, now)
			return changed, err
		})
	}
	if err != nil {
		return false, fmt.Errorf("rename %s to %s: %w", from, to, err)
	}
	return changed, nil
}

// mayBecome returns nil if an address could be the new one of a mailbox, whatever the store holds of it.
func (p *Policy) mayBecome(from, to Address) error {
	_, known := p.rules().delimiters[to.Domain]
	switch {
	case from.Closed != "":
		return ErrClosed
	case to.Closed != "":
		return fmt.Errorf("%w: %s is the name of a mailbox that was handed over", ErrAddress, to)
	case from == to:
		return fmt.Errorf("%w: both addresses are the same", ErrAddress)
	case !known:
		return fmt.Errorf("%w: %s", ErrUnknownDomain, to.Domain)
	}
	return nil
}

func (p *Policy) rename(tx kv.Tx, from, to Address, old, taken lead, who Actor, now time.Time) (changed bool, err error) {
	if old.record == nil && old.former != "" && old.former == taken.name {
		return false, nil // it was done before
	}
	e, err := p.begin(tx, from, old, now)
	switch {
	case err != nil:
		return false, err
	case !e.exists:
		return false, ErrNoArchive
	case e.Erasure.State == ErasureRunning:
		return false, ErrErasing
	}
	if err := p.notOfAnother(tx, to); err != nil {
		return false, err
	}
	if e.Notify == to {
		return false, &SettingError{KeyNotify, to.String(), "notices go to the new address: give another one first"}
	}
	if taken.record != nil {
		if err := p.giveWay(tx, to, taken, who, now); err != nil {
			return false, err
		}
	}
	return true, e.readdress(to, who)
}

// notOfAnother returns an error if mail to an address belongs to another mailbox.
func (p *Policy) notOfAnother(tx kv.Tx, a Address) error {
	base, ok := a.WithoutExtension(p.rules().delimiter(a.Domain))
	if !ok {
		return nil
	}
	known, err := lookupIn(tx, base)
	if err == nil && known.found {
		err = fmt.Errorf("%w: %s is the mailbox %s with an extension", ErrAddress, a, base)
	}
	return err
}

// giveWay frees an address that was set up and has no archive: what is on record of it goes on under the name of a closed mailbox.
func (p *Policy) giveWay(tx kv.Tx, a Address, l lead, who Actor, now time.Time) error {
	e, err := p.begin(tx, a, l, now)
	if err != nil {
		return err
	}
	if !e.Since.IsZero() || e.Held() || e.Erasure.State == ErasureRunning {
		return fmt.Errorf("%w: %s; close and erase that first, or choose another address", ErrTaken, a)
	}
	closed, err := freeClosed(tx, a, e.now)
	if err != nil {
		return err
	}
	return e.readdress(closed, who)
}

// readdress gives the archive another address, on record after other changes.
func (e *editing) readdress(to Address, who Actor, changes ...Change) error {
	changes = append(changes, Change{Key: KeyAddress, Before: e.address.String(), After: to.String()})
	if e.record.address = to; to.String() == e.name {
		e.record.address = Address{}
	}
	if err := e.save(who, changes); err != nil {
		return err
	}
	if err := point(e.tx, e.address, "", e.name); err != nil {
		return err
	}
	return point(e.tx, to, e.name, "")
}

// freeClosed returns the first free name of a mailbox that is handed over now. Such names are given under the lock of the address.
func freeClosed(tx kv.View, a Address, now time.Time) (Address, error) {
	day := now.Format(time.DateOnly)
	a.Closed = day
	for n := 2; ; n++ {
		_, err := tx.Get(directionKey(a))
		if errors.Is(err, kv.ErrNotFound) {
			return a, nil
		}
		if err != nil {
			return Address{}, err
		}
		a.Closed = day + "." + strconv.Itoa(n)
	}
}

// HandOver gives the address of a mailbox to another person. Its archive is closed and goes on under a name of its own, with its settings, retention
// and hold, and takes no more mail. The address starts an archive of its own, on from now if the old one was on. It has the settings of
// the old one, but neither its hold nor its address for notices. HandOver returns the name of the closed mailbox. Confirm is the canonical address,
// typed in by a person. A postmaster may call it for the own domain.
//
// The error wraps ErrConfirmation, ErrNoArchive, ErrClosed, ErrErasing or ErrForbidden.
func (p *Policy) HandOver(ctx context.Context, a Address, who Actor, confirm string) (closed Address, err error) {
	switch {
	case confirm != a.String():
		err = fmt.Errorf("%w: %.100q was typed in", ErrConfirmation, confirm)
	case a.Closed != "":
		err = ErrClosed
	default:
		err = p.May(who, a, KeyAddress)
	}
	if err == nil {
		now := time.Now().UTC().Round(0)
		err = p.update(ctx, who, []Address{a}, func(tx kv.Tx, leads []lead) (bool, error) {
			closed, err = p.handOver(tx, a, leads[0], who, now)
			return err == nil, err
		})
	}
	if err != nil {
		return Address{}, fmt.Errorf("hand over %s: %w", a, err)
	}
	return closed, nil
}

func (p *Policy) handOver(tx kv.Tx, a Address, l lead, who Actor, now time.Time) (closed Address, err error) {
	old, err := p.begin(tx, a, l, now)
	switch {
	case err != nil:
		return Address{}, err
	case old.Erasure.State == ErasureRunning:
		return Address{}, ErrErasing
	case old.Since.IsZero():
		return Address{}, ErrNoArchive
	}
	if closed, err = freeClosed(tx, a, old.now); err != nil {
		return Address{}, err
	}
	settings := old.Settings
	old.Enabled, old.Paused = false, time.Time{}
	if err := old.readdress(closed, who, differences(settings, old.Settings)...); err != nil {
		return Address{}, err
	}
	fresh, err := directoryIn(tx).lead(a)
	if err != nil {
		return Address{}, err
	}
	return closed, p.startAfresh(tx, a, fresh, settings, who, old.now)
}

// startAfresh sets up the archive of another person under an address that an archive with these settings has left.
func (p *Policy) startAfresh(tx kv.Tx, a Address, l lead, settings Settings, who Actor, now time.Time) error {
	e, err := p.begin(tx, a, l, now)
	if err != nil {
		return err
	}
	on := settings.Enabled
	settings.Enabled, settings.Since, settings.Paused = false, time.Time{}, time.Time{}
	settings.Notify, settings.NotifyPending, settings.Hold = Address{}, Pending{}, Hold{}
	settings.Erasure, settings.RetentionDelay = Erasure{}, RetentionDelay{}
	changes := differences(programDefaults(), settings)
	for i := range changes {
		changes[i].Cause = CauseHandOver
	}
	if e.Settings = settings; on {
		e.Enabled, e.Since = true, e.now
		changes = append(changes, differences(settings, e.Settings)...)
	}
	return e.save(who, changes)
}

// Gone tells of an address that is no mailbox any more because its archive has gone on to another one: when that was, and where the archive is
// now. gone is false for every other address.
func (p *Policy) Gone(ctx context.Context, a Address) (at time.Time, to Address, gone bool, err error) {
	l, err := p.lead(ctx, a)
	if err != nil || l.record != nil || l.former == "" {
		return time.Time{}, Address{}, false, err
	}
	m, err := p.MailboxOf(ctx, l.former)
	if err != nil {
		return time.Time{}, Address{}, false, err
	}
	for c, err := range p.Changes(ctx, m.Address) {
		if err != nil {
			return time.Time{}, Address{}, false, err
		}
		if c.Key == KeyAddress && c.Before == a.String() {
			at = c.Time
		}
	}
	return at, m.Address, true, nil
}
