package policy

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Assignment gives a setting a new value.
type Assignment struct{ Key, Value string }

// ParseAssignment reads "key=value" without checking either. The error wraps ErrSetting.
func ParseAssignment(s string) (Assignment, error) {
	key, value, ok := strings.Cut(s, "=")
	if !ok {
		return Assignment{}, fmt.Errorf("%.100q: %w: want KEY=VALUE; the keys are %s", s, ErrSetting, strings.Join(Keys(), ", "))
	}
	return Assignment{strings.TrimSpace(key), strings.TrimSpace(value)}, nil
}

// SettingError is an assignment that cannot be made. It wraps ErrSetting.
type SettingError struct {
	Key, Value string // as given
	Remedy     string // what to write instead
}

// Error names the key, the value and the remedy.
func (e *SettingError) Error() string {
	key := e.Key
	if !settable(key) && key != KeyHold {
		key = fmt.Sprintf("%.100q", key)
	}
	return fmt.Sprintf("%s=%.100q: %s", key, e.Value, e.Remedy)
}

// Unwrap returns ErrSetting.
func (e *SettingError) Unwrap() error { return ErrSetting }

// assign makes the valid assignments and returns the errors of the others, joined.
func (s *Settings) assign(assignments []Assignment) error {
	var errs []error
	seen := make(map[string]bool)
	for _, a := range assignments {
		if err := s.setValue(a.Key, a.Value); err != nil {
			errs = append(errs, &SettingError{a.Key, a.Value, err.Error()})
		} else if seen[a.Key] {
			errs = append(errs, &SettingError{a.Key, a.Value, "given twice: give each key once"})
		}
		seen[a.Key] = true
	}
	return errors.Join(errs...)
}

// defaults returns the settings that a mailbox of a canonical domain starts with.
func (p *Policy) defaults(domain string) Settings {
	if s, ok := p.rules().domainDefaults[domain]; ok {
		return s
	}
	return programDefaults()
}

// Set changes settings of a mailbox, all or none, in force from the next message. Two wait: a new address for notices until ConfirmNotify, and a
// shorter retention until the grace is over, if the owner is told of it (NotifyBeforeLoss). It returns the changes as they stand in the log, or none
// if every setting had its value already. Values have the form of Settings.Values. A mailbox that was never set up is set up, with its
// archive off.
//
// The error reports everything wrong at once. It wraps ErrSetting for a bad key or value (as a *SettingError, which errors.As finds),
// ErrForbidden if the actor may not change a setting, and ErrUnknownDomain if a mailbox to be set up lies in no configured domain. The caller
// must have dangerous changes confirmed first (less retention, a quota below what is used, the write mode); the log keeps the old values.
func (p *Policy) Set(ctx context.Context, a Address, who Actor, assignments []Assignment) ([]Change, error) {
	if err := p.maySet(who, a, assignments); err != nil {
		return nil, fmt.Errorf("set %s: %w", a, err)
	}
	changes, err := p.change(ctx, a, who, func(e *editing) error { return p.set(e, a, assignments) })
	if err != nil {
		return nil, fmt.Errorf("set %s: %w", a, err)
	}
	return changes, nil
}

// maySet returns everything that is wrong with assignments by an actor, before the settings of the mailbox are known; nil if nothing is.
func (p *Policy) maySet(who Actor, a Address, assignments []Assignment) error {
	if !who.valid() {
		return errNoAuthor
	}
	var scratch Settings
	errs := []error{scratch.assign(assignments)}
	for _, assignment := range assignments {
		if settable(assignment.Key) {
			errs = append(errs, p.May(who, a, assignment.Key))
		}
	}
	return errors.Join(errs...)
}

// set makes assignments to a mailbox, which it may set up.
func (p *Policy) set(e *editing, a Address, assignments []Assignment) error {
	if !e.exists {
		if err := p.mayAppear(a); err != nil {
			return err
		}
	}
	return p.assign(e, a, assignments)
}

// assign makes assignments to a mailbox.
func (p *Policy) assign(e *editing, a Address, assignments []Assignment) error {
	before := e.Settings
	if err := e.assign(assignments); err != nil {
		return err
	}
	p.delay(e, before)
	return p.pend(e, a, before, assignments)
}

// mayAppear returns nil if an address may be set up as a mailbox before its archive is turned on. One with an extension may not: its mail
// belongs to another mailbox, and would then belong to nobody.
func (p *Policy) mayAppear(a Address) error {
	delimiter, ok := p.rules().delimiters[a.Domain]
	if a.Closed != "" {
		return notHandedOver(a)
	}
	if !ok {
		return ErrUnknownDomain
	}
	if base, ok := a.WithoutExtension(delimiter); ok {
		return fmt.Errorf("%w: it is %s with an extension; enable it first if it is a mailbox of its own", ErrAddress, base)
	}
	return nil
}

// notHandedOver returns the error for the name of a closed mailbox that is none.
func notHandedOver(a Address) error {
	return fmt.Errorf("%w: no mailbox with the name %s was handed over", ErrAddress, a)
}

// checkNotify refuses a notify address that ends in the mailbox itself or in another one with an archive: notices about a full archive must
// be readable outside it. An address whose archive is turned on later stays, so checkNotify needs no lock on that mailbox.
func (p *Policy) checkNotify(e *editing, a Address) error {
	if e.Notify == (Address{}) {
		return nil
	}
	value := e.Notify.String()
	lookup := func(m Address) (knownSettings, error) { return lookupIn(e.tx, m) }
	m, known, err := resolve(e.Notify, p.rules().delimiter(e.Notify.Domain), lookup)
	switch {
	case err != nil:
		return fmt.Errorf("settings of %s: %w", m, err)
	case m == a:
		return &SettingError{KeyNotify, value, "that is the mailbox itself: give an address outside the archive, read even when this one is not"}
	case known.state != StateOff:
		return &SettingError{KeyNotify, value, fmt.Sprintf("%s has an archive of its own here: give an address outside the archive", m)}
	}
	return nil
}
