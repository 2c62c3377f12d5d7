package archive

import (
	"context"
	"fmt"

	"copialettere/policy"
	"copialettere/policy/postfix"
)

// RouteCheck tells how Postfix routes the mail of a mailbox now.
type RouteCheck struct {
	Mailbox string `json:"mailbox"`
	Archive string `json:"archive"` // as in Mailbox
	// Configured is false if the configuration does not have the domain.
	Configured bool `json:"configured"`
	// Asked is false if the configuration has no [postfix], and Postfix was not asked.
	Asked bool `json:"asked"`
	// Routes holds one Route for each direction that the hook takes.
	Routes []postfix.Route `json:"routes,omitempty"`
}

// CheckRoute asks Postfix whether the mail of a mailbox passes through the hook. The archive of the mailbox may be off. The error
// wraps policy.ErrClosed if the mailbox was handed over: no mail is for it.
func (a *Archive) CheckRoute(ctx context.Context, who policy.Actor, address policy.Address) (RouteCheck, error) {
	if err := a.May(ctx, who, RightOperate, policy.Address{}); err != nil {
		return RouteCheck{}, err
	}
	if address.Closed != "" {
		return RouteCheck{}, fmt.Errorf("check %s: %w", address, policy.ErrClosed)
	}
	v, err := a.viewNow(ctx, who, address)
	if err != nil {
		return RouteCheck{}, err
	}
	c := RouteCheck{Mailbox: v.Mailbox, Archive: v.Archive, Configured: a.policy.HasDomain(address.Domain), Asked: a.options.Postfix != nil}
	if c.Asked {
		c.Routes = a.options.Postfix.Check(ctx, address)
	}
	return c, nil
}
