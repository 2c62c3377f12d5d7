package archive

import (
	"context"
	"fmt"
	"time"

	"copialettere/policy"
	"copialettere/policy/auth"
	"copialettere/policy/notice"
)

// Delegate is a delegate of a mailbox, or somebody who is asked for. Others script against its names.
type Delegate struct {
	Mailbox string `json:"mailbox"`
	auth.Delegate
	Revoked bool `json:"revoked,omitempty"` // in the answer to the act that ended it
}

// Delegates returns who may read a mailbox now, beside its owner, and who is asked for, oldest first.
func (a *Archive) Delegates(ctx context.Context, address policy.Address) ([]Delegate, error) {
	list, err := a.options.Auth.Delegates(ctx, address)
	views := make([]Delegate, len(list))
	for i, one := range list {
		views[i] = Delegate{Mailbox: address.String(), Delegate: one}
	}
	return views, err
}

// AddDelegate lets a person read a mailbox until a time, and tells its owner. It needs RightDelegate. By its owner it is granted at once; a postmaster
// and an operator must both ask for it, and the answer to the first says whom it waits for. The error wraps auth.ErrDelegate.
func (a *Archive) AddDelegate(ctx context.Context, who policy.Actor, address, person policy.Address, until time.Time) (Delegate, error) {
	if err := a.May(ctx, who, RightDelegate, address); err != nil {
		return Delegate{}, err
	}
	made, err := a.options.Auth.AddDelegate(ctx, who, address, person, until)
	if err != nil {
		return Delegate{}, err
	}
	v := Delegate{Mailbox: address.String(), Delegate: made}
	if made.WaitsFor != "" {
		return v, nil
	}
	m, err := a.policy.Mailbox(ctx, address)
	if err == nil {
		// The last day, where it ends at midnight.
		detail := fmt.Sprintf("%s, %s", made.Person, made.Until.Add(-time.Second).Local().Format(time.DateOnly))
		err = a.options.Notices.Queue(ctx, notice.OfSecurity(m.Archive, notice.SecurityDelegate, detail, time.Now()))
	}
	if err != nil {
		return Delegate{}, fmt.Errorf("%s may read the archive of %s, but its owner is not told: revoke it and add it again: %w", person, address, err)
	}
	return v, nil
}

// RevokeDelegate ends what a delegate may do at once, or a request for one. It needs RightRevoke; the error wraps auth.ErrNoDelegate if there is none.
func (a *Archive) RevokeDelegate(ctx context.Context, who policy.Actor, address, person policy.Address) (Delegate, error) {
	if err := a.May(ctx, who, RightRevoke, address); err != nil {
		return Delegate{}, err
	}
	if err := a.options.Auth.RevokeDelegate(ctx, who, address, person); err != nil {
		return Delegate{}, err
	}
	return Delegate{Mailbox: address.String(), Delegate: auth.Delegate{Person: person.String()}, Revoked: true}, nil
}

// ForgetDelegates removes the delegates of an archive, by its name, that is being erased.
func (a *Archive) ForgetDelegates(ctx context.Context, archive string) error {
	return a.options.Auth.ForgetDelegates(ctx, archive)
}

// SignedIn returns as whom somebody acts on a mailbox who gives a password, and a code where a second factor is on, to a command. The error is one of
// auth.Authenticator.Login.
func (a *Archive) SignedIn(ctx context.Context, login, password, code string, address policy.Address) (policy.Actor, error) {
	id, err := a.options.Auth.Login(ctx, auth.Attempt{
		Login: login, Password: password, Code: code, Authorize: address.String(), Protocol: auth.ProtocolWeb,
	})
	switch {
	case err != nil:
		return policy.Actor{}, fmt.Errorf("sign in as %.100q: %w", login, err)
	case id.SetUpSecondFactor:
		return policy.Actor{}, fmt.Errorf("sign in as %.100q: %w: the domain requires one, and it is not on", login, auth.ErrSecondFactor)
	}
	return id.Actor, nil
}
