package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"copialettere/policy"
)

// signsIn returns an error for a name to which nothing that somebody signs in by can belong: that of a mailbox that was handed over, and that of an
// archive as an account of its own, which stands for an address.
func (a *Authenticator) signsIn(login policy.Address) error {
	switch {
	case login.Closed != "":
		return fmt.Errorf("%w, and nobody can sign in to it", policy.ErrClosed)
	case a.options.Policy.IsArchiveHost(login.Domain):
		return fmt.Errorf("%w: the name of an archive stands for its address: give that", policy.ErrAddress)
	}
	return nil
}

// logins returns whom a typed name means: one login, which is the zero Address if nobody can have such a name, or several that share an archive
// account name.
func (a *Authenticator) logins(ctx context.Context, typed string) ([]policy.Address, error) {
	name, err := policy.ParseAddress(typed)
	if err != nil || name.Domain == "" || len(typed) > maxSecret {
		return []policy.Address{{}}, nil
	}
	logins, err := a.options.Policy.AccountMailboxes(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if len(logins) == 0 {
		return []policy.Address{{}}, nil
	}
	return logins, nil
}

// authorized returns an authorization identity with the plain address in place of an archive account name that one mailbox has.
func (a *Authenticator) authorized(ctx context.Context, identity string) (string, error) {
	if identity == "" {
		return "", nil
	}
	mailboxes, err := a.logins(ctx, identity)
	if err != nil || len(mailboxes) > 1 || mailboxes[0] == (policy.Address{}) {
		return identity, err
	}
	return mailboxes[0].String(), nil
}

// refuseShared refuses a name that several mailboxes share. It opens none of them. Whoever has the password of one is told its plain address, and
// nobody else learns that there are such mailboxes.
func (a *Authenticator) refuseShared(ctx context.Context, logins []policy.Address, try Attempt) error {
	var mine []string
	refusal := ErrDenied
	for _, login := range logins {
		id, err := a.throttled(ctx, login, try)
		if err == nil || errors.Is(err, ErrClosed) {
			mine = append(mine, login.String())
			err = &Refusal{ErrClosed, sharedName(login.String()), policy.Italian}
		} else if !errors.Is(err, ErrDenied) {
			refusal = err
		}
		a.record(ctx, login, try, id, err)
	}
	if len(mine) > 0 {
		return &Refusal{ErrClosed, sharedName(strings.Join(mine, ", ")), policy.Italian}
	}
	return refusal
}
