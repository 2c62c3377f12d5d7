package archive

import (
	"context"
	"fmt"
	"slices"
	"time"

	"copialettere/policy"
)

// Language returns the language of a mailbox, which is that of its owner.
func (a *Archive) Language(ctx context.Context, address policy.Address) (policy.Language, error) {
	s, err := a.policy.Settings(ctx, address)
	return s.Language, err
}

// Settings returns the settings of a mailbox.
func (a *Archive) Settings(ctx context.Context, address policy.Address) (policy.Settings, error) {
	return a.policy.Settings(ctx, address)
}

// Addresses returns the addresses whose mail is archived for a mailbox: see policy.Policy.Addresses.
func (a *Archive) Addresses(address policy.Address) []string { return a.policy.Addresses(address) }

// Limits returns what bounds the archives of a domain.
func (a *Archive) Limits(domain string) policy.Limits { return a.policy.Limits(domain) }

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

// Grace returns for how long a Disable can be taken back.
func (a *Archive) Grace() time.Duration { return a.options.Grace }

// Notifies reports whether owners are told anything by mail: the configuration has [notices].
func (a *Archive) Notifies() bool { return a.options.Notices != nil }
