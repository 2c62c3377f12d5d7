package policy

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Assignment gives a setting a new value.
type Assignment struct{ Key, Value string }

// ParseAssignment reads "key=value", without looking at what they are. The error wraps ErrSetting.
func ParseAssignment(s string) (Assignment, error) {
	key, value, ok := strings.Cut(s, "=")
	if !ok {
		return Assignment{}, fmt.Errorf("%.100q: %w: want KEY=VALUE; the keys are %s", s, ErrSetting, strings.Join(Keys(), ", "))
	}
	return Assignment{strings.TrimSpace(key), strings.TrimSpace(value)}, nil
}

// SettingError is an assignment that cannot be made. It wraps ErrSetting.
type SettingError struct {
	Key, Value string // as they were given
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

// assign makes assignments, and returns all that is wrong with them, joined. Those that are right are made all the same.
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

// defaults returns the settings of a mailbox of a canonical domain when it is set up.
func (p *Policy) defaults(domain string) Settings {
	if s, ok := p.rules().domainDefaults[domain]; ok {
		return s
	}
	return programDefaults()
}

// Set changes settings of a mailbox, all or none, in force from the next message, and returns the changes that it made, as they stand in the
// log; none where every setting had its value already. The values have the form of Settings.Values.
//
// The error tells of all that is wrong at once: it wraps ErrSetting where a key or value is (as a *SettingError, which errors.As finds),
// and ErrForbidden where the actor may not change a setting. A mailbox that was not set up is, with its archive off: the error wraps
// ErrUnknownDomain where its domain is not configured. Dangerous changes (less retention, a quota below what is used, the
// write mode) are the caller's to confirm beforehand; the log keeps what was before.
func (p *Policy) Set(ctx context.Context, a Address, who Actor, assignments []Assignment) ([]Change, error) {
	if !who.valid() {
		return nil, fmt.Errorf("set %s: %w", a, errNoAuthor)
	}
	var scratch Settings
	errs := []error{scratch.assign(assignments)}
	for _, assignment := range assignments {
		if settable(assignment.Key) {
			errs = append(errs, p.May(who, a, assignment.Key))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("set %s: %w", a, err)
	}
	changes, err := p.change(ctx, a, who, func(e *editing) error {
		if !e.exists {
			if err := p.mayAppear(a); err != nil {
				return err
			}
		}
		before := e.Notify
		if err := e.assign(assignments); err != nil || e.Notify == before {
			return err
		}
		return p.checkNotify(e, a)
	})
	if err != nil {
		return nil, fmt.Errorf("set %s: %w", a, err)
	}
	return changes, nil
}

// mayAppear says whether an address may be set up as a mailbox before its archive is turned on. An address with an extension may not:
// its mail belongs to another mailbox, and would be nobody's then.
func (p *Policy) mayAppear(a Address) error {
	delimiter, ok := p.rules().delimiters[a.Domain]
	if !ok {
		return ErrUnknownDomain
	}
	if base, ok := a.WithoutExtension(delimiter); ok {
		return fmt.Errorf("%w: it is %s with an extension; enable it first if it is a mailbox of its own", ErrAddress, base)
	}
	return nil
}

// checkNotify refuses a notify address that ends in the mailbox itself or in another one with an archive: notices about an archive
// belong outside of it, where they are still read when it is full. One that gets an archive later stays, so that mailbox needs no lock.
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
		return &SettingError{KeyNotify, value, "that is the mailbox itself: give an address outside the archive, which is read when this one is not"}
	case known.enabled:
		return &SettingError{KeyNotify, value, fmt.Sprintf("%s has an archive of its own here: give an address outside the archive", m)}
	}
	return nil
}
