package auth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"copialettere/policy"
)

// separator divides the mailbox to open from the login that opens it, for programs that know no authorization identity, as Dovecot has it for its
// master users: anna@alpha.test*bruno@alpha.test is bruno, who reads the archive of anna. No address has one in its domain.
const separator = "*"

// Standing is one capacity in which somebody may act.
type Standing struct {
	Role    policy.Role
	Mailbox policy.Address // of an owner and a delegate
	Domain  string         // of a postmaster
	Until   time.Time      // of a delegate
}

// Standings returns all capacities in which a login may act now: owner of its own mailbox, delegate of others, postmaster of domains, operator.
func (a *Authenticator) Standings(ctx context.Context, login policy.Address) ([]Standing, error) {
	if a == nil {
		return nil, nil
	}
	list := []Standing{{Role: policy.RoleOwner, Mailbox: login}}
	for s, err := range a.delegations(ctx, login) {
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	for _, domain := range a.options.Policy.PostmasterOf(login) {
		list = append(list, Standing{Role: policy.RolePostmaster, Domain: domain})
	}
	if a.options.Policy.IsOperator(login) {
		list = append(list, Standing{Role: policy.RoleOperator})
	}
	return list, nil
}

// parted divides a name of the form MAILBOX*LOGIN into both. Any other name stays as it is: a local part may have a separator too.
func parted(typed string) (login, mailbox string, ok bool) {
	if _, err := policy.ParseAddress(typed); err == nil {
		return typed, "", false
	}
	for i := range len(typed) {
		if typed[i:i+1] != separator {
			continue
		}
		mailbox, login = typed[:i], typed[i+1:]
		a, err := policy.ParseAddress(mailbox)
		b, err2 := policy.ParseAddress(login)
		if errors.Join(err, err2) == nil && a.Domain != "" && b.Domain != "" {
			return login, mailbox, true
		}
	}
	return typed, "", false
}

// actor returns as whom a login whose password is right opens a mailbox: as its owner or a delegate, and on pages as a postmaster or an operator. A
// login that is several of these is the first. Otherwise the error wraps ErrDenied.
func (a *Authenticator) actor(ctx context.Context, login, mailbox policy.Address, protocol Protocol) (policy.Actor, error) {
	as := func(role policy.Role) (policy.Actor, error) {
		return policy.Actor{Role: role, Name: login.String()}, nil
	}
	if login == mailbox {
		return as(policy.RoleOwner)
	}
	until, err := a.Delegated(ctx, login, mailbox)
	if err != nil {
		return policy.Actor{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if !until.IsZero() {
		return as(policy.RoleDelegate)
	}
	if protocol == ProtocolWeb {
		for _, domain := range a.options.Policy.PostmasterOf(login) {
			if domain == mailbox.Domain {
				return as(policy.RolePostmaster)
			}
		}
		if a.options.Policy.IsOperator(login) {
			return as(policy.RoleOperator)
		}
	}
	return policy.Actor{}, fmt.Errorf("%w: not allowed to sign in for somebody else", ErrDenied)
}

// identity returns who a login whose password is right is, for the mailbox that it asks for.
func (a *Authenticator) identity(ctx context.Context, login policy.Address, try Attempt) (Identity, error) {
	mailbox := login
	if text := strings.TrimSpace(try.Authorize); text != "" {
		var err error
		if mailbox, err = policy.ParseAddress(text); err != nil || mailbox.Domain == "" {
			return Identity{}, fmt.Errorf("%w: no such mailbox", ErrDenied)
		}
	}
	who, err := a.actor(ctx, login, mailbox, try.Protocol)
	return Identity{Login: login, Mailbox: mailbox, Actor: who}, err
}

// Permitted returns nil if somebody who has signed in may go on to use a protocol, under the settings and rights as they are now, and by the way in
// which he has signed in. It is cheap: ask it again while a connection is open. Otherwise the error is a *Refusal and wraps ErrClosed or
// ErrSecondFactor, or it wraps policy.ErrForbidden or ErrUnavailable.
func (a *Authenticator) Permitted(ctx context.Context, id Identity, protocol Protocol) error {
	if a == nil {
		return fmt.Errorf("%s: nobody can sign in: %w", id.Login, policy.ErrForbidden)
	}
	if id.Actor.Role == policy.RoleDelegate {
		until, err := a.Delegated(ctx, id.Login, id.Mailbox)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		if until.IsZero() {
			return fmt.Errorf("%s is no delegate of %s any more: %w", id.Login, id.Mailbox, policy.ErrForbidden)
		}
	}
	if protocol == ProtocolWeb {
		return nil
	}
	s, err := a.options.Policy.Settings(ctx, id.Mailbox)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if err := Open(s); err != nil || id.By == ByMaster {
		return err
	}
	c, _, err := a.credentials(ctx, id.Login)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	case id.AppPassword != "" && !c.has(id.appPassword):
		return &Refusal{ErrClosed, appPasswordRevoked, s.Language}
	case id.AppPassword == "" && (c.SecondFactor.on() || a.options.Policy.RequiresSecondFactor(id.Login)):
		return &Refusal{ErrSecondFactor, appPasswordOnly, s.Language}
	}
	return nil
}
