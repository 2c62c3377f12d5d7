package archive

import (
	"context"
	"fmt"
)

// inForce returns once Dovecot goes by all changes made until now. Every act that may change a switch, a way to sign in or the address of a mailbox
// ends with it. The error wraps dovecot.ErrFiles.
func (a *Archive) inForce(ctx context.Context) error {
	if err := a.options.Dovecot.Sync(ctx); err != nil {
		return fmt.Errorf("the change is made, but Dovecot does not know of it yet: %w", err)
	}
	return nil
}
