package archive

import (
	"context"
	"fmt"
	"slices"

	"copialettere/policy"
)

// Language returns the language of a mailbox, which is that of its owner.
func (a *Archive) Language(ctx context.Context, address policy.Address) (policy.Language, error) {
	s, err := a.policy.Settings(ctx, address)
	return s.Language, err
}

// Known returns a mailbox, and whether it was ever set up.
func (a *Archive) Known(ctx context.Context, address policy.Address) (policy.Mailbox, bool, error) {
	return a.policy.Known(ctx, address)
}

// ActorOf returns as whom somebody who has signed in manages a domain: as its postmaster, or as an operator. The error wraps policy.ErrForbidden if he
// may not.
func (a *Archive) ActorOf(_ context.Context, login policy.Address, domain string) (policy.Actor, error) {
	if slices.Contains(a.policy.PostmasterOf(login), domain) {
		return policy.Actor{Role: policy.RolePostmaster, Name: login.String()}, nil
	}
	if a.policy.IsOperator(login) && a.policy.HasDomain(domain) {
		return policy.Actor{Role: policy.RoleOperator, Name: login.String()}, nil
	}
	return policy.Actor{}, fmt.Errorf("domain %s: %w for %s", domain, policy.ErrForbidden, login)
}
