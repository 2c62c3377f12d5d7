package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"copialettere/journal/kv"
)

// PendingFor is how long a new address for notices waits for its confirmation.
const PendingFor = 7 * 24 * time.Hour

// pendingAgain is how long after it was set a pending address can be set again, which asks for another code.
const pendingAgain = 10 * time.Minute

// ErrNotPending means that no such address waits for its confirmation.
var ErrNotPending = errors.New("no such address for notices waits for confirmation")

// Pending is a new address for notices that waits for its confirmation: see Policy.ConfirmNotify.
type Pending struct {
	Address Address   // zero where none waits
	Until   time.Time // when it can no longer be confirmed, in UTC
}

// String returns "none", or the address, " until " and the time.
func (p Pending) String() string {
	if p.Address == (Address{}) {
		return "none"
	}
	return p.Address.String() + " until " + p.Until.Format(time.RFC3339Nano)
}

// parsePending reads what Pending.String wrote.
func parsePending(value string) (Pending, error) {
	if value == "none" {
		return Pending{}, nil
	}
	i := strings.LastIndex(value, " until ")
	if i < 0 {
		return Pending{}, fmt.Errorf("%.100q is no pending address", value)
	}
	a, err := ParseAddress(value[:i])
	at, timeErr := time.Parse(time.RFC3339Nano, value[i+len(" until "):])
	if err := errors.Join(err, timeErr); err != nil {
		return Pending{}, fmt.Errorf("%.100q is no pending address: %w", value, err)
	}
	return Pending{a, at.UTC()}, nil
}

// RetentionDelay keeps messages for longer than the retention says, so their owner can act before they are deleted.
type RetentionDelay struct {
	Months int       // the retention in force meanwhile; 0 keeps everything
	Until  time.Time // in UTC; zero where there was no delay. It stays when the time is over.
}

// String returns "none", or the months ("all" if everything is kept), " until " and the time.
func (d RetentionDelay) String() string {
	if d.Until.IsZero() {
		return "none"
	}
	months := "all"
	if d.Months > 0 {
		months = strconv.Itoa(d.Months)
	}
	return months + " until " + d.Until.Format(time.RFC3339Nano)
}

// parseDelay reads what RetentionDelay.String wrote.
func parseDelay(value string) (d RetentionDelay, err error) {
	if value == "none" {
		return RetentionDelay{}, nil
	}
	months, text, _ := strings.Cut(value, " until ")
	if months != "all" {
		d.Months, err = strconv.Atoi(months)
	}
	at, timeErr := time.Parse(time.RFC3339Nano, text)
	if err := errors.Join(err, timeErr); err != nil {
		return RetentionDelay{}, fmt.Errorf("%.100q is no delay of the retention: %w", value, err)
	}
	d.Until = at.UTC()
	return d, nil
}

// RetentionAt returns the retention in force at that time, in months; 0 keeps everything.
func (s Settings) RetentionAt(now time.Time) int {
	if d := s.RetentionDelay; d.Until.After(now) && shorter(s.Retention, d.Months) {
		return d.Months
	}
	return s.Retention
}

// shorter reports whether a retention deletes earlier than another one.
func shorter(months, than int) bool {
	return months > 0 && (than == 0 || months < than)
}

// Revision is a change of the settings of a mailbox.
type Revision struct {
	Archive       string // the name of its archive
	Before, After Settings
	Time          time.Time // in UTC
}

// OnRevision sets the function that takes part in every change of settings. It runs inside the Update that writes the change: what it writes
// becomes durable together with the change, and its error prevents both. It may run more than once for one change, and needs no lock for keys that
// nobody else writes. While a function is set, the owner counts as told of what Settings.Tells: see Set and DelayRetention.
func (p *Policy) OnRevision(f func(kv.Tx, Revision) error) { p.revised.Store(&f) }

// revision calls the function of OnRevision.
func (p *Policy) revision(tx kv.Tx, r Revision) error {
	if f := p.revised.Load(); f != nil {
		return (*f)(tx, r)
	}
	return nil
}

// tells reports whether the owner is told of the loss of messages.
func (p *Policy) tells(s Settings) bool { return p.revised.Load() != nil && s.Tells(NotifyBeforeLoss) }

// delay puts off a retention that Set has made shorter, if the owner is told of it. What the owner was told before still holds.
func (p *Policy) delay(e *editing, before Settings) {
	if e.Retention == before.Retention {
		return
	}
	inForce := before.RetentionAt(e.now)
	running := e.RetentionDelay.Until.After(e.now)
	switch {
	case !shorter(e.Retention, inForce):
		e.RetentionDelay = RetentionDelay{}
	case p.tells(e.Settings):
		e.RetentionDelay = RetentionDelay{inForce, e.now.Add(p.rules().grace)}
	case !running:
		e.RetentionDelay = RetentionDelay{}
	}
}

// DelayRetention keeps everything in a mailbox until the grace is over, because a run of the retention would delete much of it, and reports
// whether it did. It does not if the owner is not told of such losses, or was told of this one: a delay ended less than a week ago.
func (p *Policy) DelayRetention(ctx context.Context, a Address) (delayed bool, err error) {
	changes, err := p.change(ctx, a, Actor{RoleProgram, "retention"}, func(e *editing) error {
		if p.tells(e.Settings) && e.now.After(e.RetentionDelay.Until.Add(7*24*time.Hour)) {
			e.RetentionDelay = RetentionDelay{0, e.now.Add(p.rules().grace)}
		}
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("delay the retention of %s: %w", a, err)
	}
	return len(changes) > 0, nil
}

// pend makes a new address for notices wait for its confirmation. Until then the one before stays. Taking the address away needs none.
func (p *Policy) pend(e *editing, a Address, before Settings, assignments []Assignment) error {
	if !slices.ContainsFunc(assignments, func(one Assignment) bool { return one.Key == KeyNotify }) {
		return nil
	}
	wanted := e.Notify
	e.NotifyPending = Pending{}
	if wanted == before.Notify || wanted == (Address{}) {
		return nil
	}
	if err := p.checkNotify(e, a); err != nil {
		return err
	}
	e.Notify, e.NotifyPending = before.Notify, Pending{wanted, e.now.Add(PendingFor)}
	if was := before.NotifyPending; was.Address == wanted && e.now.Before(was.Until.Add(pendingAgain-PendingFor)) {
		e.NotifyPending = was
	}
	return nil
}

// ConfirmNotify puts the pending address for notices in force, if it is that one. Whoever calls it answers for the confirmation. It needs the right to
// the setting notify. The error wraps ErrNotPending if that address does not wait or its time is over, ErrSetting if it has an archive itself by
// now, or ErrForbidden.
func (p *Policy) ConfirmNotify(ctx context.Context, a Address, who Actor, pending Address) error {
	_, err := p.turn(ctx, "confirm the address for notices of", a, who, KeyNotify, func(e *editing) error {
		if e.NotifyPending.Address != pending || pending == (Address{}) || !e.now.Before(e.NotifyPending.Until) {
			return ErrNotPending
		}
		e.Notify, e.NotifyPending = pending, Pending{}
		return p.checkNotify(e, a)
	})
	return err
}
