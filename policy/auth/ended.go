package auth

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"copialettere/journal/kv"
	"copialettere/policy"
)

// ForgetEnded removes what has ended by itself, and returns how much that was: sessions of the pages, links by which nobody signed in, and secrets of
// second factors that no code has confirmed. None of them does anything any more; nor shall it be read in a copy of the data folder. What could not be
// removed is left for the next time, and is the error.
func (a *Authenticator) ForgetEnded(ctx context.Context) (removed int, err error) {
	if a == nil {
		return 0, nil
	}
	var errs []error
	for _, one := range []struct {
		what   string
		forget func(context.Context) (int, error)
	}{{"sessions", a.forgetSessions}, {"sign-in links", a.forgetLinks}, {"secrets of second factors", a.forgetWaiting}} {
		n, err := one.forget(ctx)
		removed += n
		if err != nil {
			errs = append(errs, fmt.Errorf("forget %s that are over: %w", one.what, err))
		}
	}
	return removed, errors.Join(errs...)
}

func (a *Authenticator) forgetSessions(ctx context.Context) (removed int, err error) {
	now := a.now()
	err = a.options.Settings.Update(ctx, []string{sessionLock}, func(tx kv.Tx) error {
		removed = 0
		list, err := a.sessions(ctx)
		for _, s := range list {
			if s.over(now) {
				tx.Delete(s.key)
				removed++
			}
		}
		return err
	})
	return removed, err
}

func (a *Authenticator) forgetLinks(ctx context.Context) (removed int, err error) {
	now := a.now()
	err = a.options.Settings.Update(ctx, []string{signInLock}, func(tx kv.Tx) (err error) {
		removed, err = a.forgetSignIns(ctx, tx, func(s storedSignIn) bool { return !within(now, s.Until, signInLife) })
		return err
	})
	return removed, err
}

// forgetWaiting removes the secrets that can no longer be confirmed. What is in force stays.
func (a *Authenticator) forgetWaiting(ctx context.Context) (removed int, err error) {
	now := a.now()
	over := func(c credentials) bool {
		return c.SecondFactor != nil && c.SecondFactor.Waiting != nil && c.SecondFactor.waits(now) == nil
	}
	var archives []string
	for pair, err := range a.options.Settings.Scan(ctx, credentialsKey(""), []byte("id")) {
		c, err := decodeCredentials(pair.Value, err)
		if err != nil {
			return 0, err
		}
		if over(c) {
			archives = append(archives, string(bytes.TrimPrefix(pair.Key, credentialsKey(""))))
		}
	}
	for _, archive := range archives {
		err := a.options.Settings.Update(ctx, []string{policy.SettingsLock(archive)}, func(tx kv.Tx) error {
			c, err := decodeCredentials(tx.Get(credentialsKey(archive)))
			if err != nil || !over(c) {
				return err
			}
			c.SecondFactor.Waiting = nil
			return c.put(tx, archive)
		})
		if err != nil {
			return removed, err
		}
		removed++
	}
	return removed, nil
}
