package auth

import (
	"context"
	"time"

	"copialettere/journal/kv"
	"copialettere/policy"
)

// OnChange adds a function that is called after each change of how somebody signs in, and to what, that this Authenticator has made, or may have made:
// of app passwords, of the second factor, of delegates. It is not called when an app password or a code is used. It must not block.
func (a *Authenticator) OnChange(f func()) {
	if a == nil {
		return
	}
	a.told.Lock()
	defer a.told.Unlock()
	a.changed = append(a.changed, f)
}

// note makes a change of what is stored of a login, with its record: see policy.Policy.Note. It tells of it. A login that was never set up as a mailbox,
// such as a postmaster's, has no log of its own, so its change goes into that of the daemon.
func (a *Authenticator) note(
	ctx context.Context, who policy.Actor, login policy.Address, key string, change func(tx kv.Tx, archive string, now time.Time) (before, after string, err error),
) error {
	var before, after string
	err := a.options.Policy.Note(ctx, login, who, key, func(tx kv.Tx, archive string, now time.Time) (string, string, error) {
		var err error
		before, after, err = change(tx, archive, now)
		return before, after, err
	})
	if err == nil && before != after {
		if _, known, failed := a.options.Policy.Known(ctx, login); !known || failed != nil {
			a.options.Logger.Info("changed for a login without a mailbox", "login", login.String(), "key", key, "from", before, "to", after, "by", who.String())
		}
	}
	a.told.Lock()
	defer a.told.Unlock()
	for _, f := range a.changed {
		f()
	}
	return err
}
