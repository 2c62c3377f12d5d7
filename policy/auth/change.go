package auth

import (
	"context"
	"time"

	"copialettere/journal/kv"
	"copialettere/policy"
)

// OnChange sets the function that is called after each change of how somebody signs in that this Authenticator has made, or may have made: of app
// passwords, of the second factor. It is not called when an app password or a code is used. It must not block.
func (a *Authenticator) OnChange(f func()) {
	if a != nil {
		a.changed.Store(&f)
	}
}

// note makes a change of what is stored of a login, with its record: see policy.Policy.Note. It tells of it.
func (a *Authenticator) note(
	ctx context.Context, who policy.Actor, login policy.Address, key string, change func(tx kv.Tx, archive string, now time.Time) (before, after string, err error),
) error {
	err := a.options.Policy.Note(ctx, login, who, key, change)
	if f := a.changed.Load(); f != nil {
		(*f)()
	}
	return err
}
