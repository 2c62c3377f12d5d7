package archive

import (
	"context"

	"copialettere/policy"
	"copialettere/policy/postfix"
)

// RouteCheck is what Postfix, asked just now, does with the mail of a mailbox.
type RouteCheck struct {
	Mailbox string `json:"mailbox"`
	Archive string `json:"archive"` // as in Mailbox
	// Asked says that Postfix was asked: the configuration has a section [postfix].
	Asked bool `json:"asked"`
	// Routes has one Route for each direction that the hook takes.
	Routes []postfix.Route `json:"routes,omitempty"`
}

// CheckRoute asks Postfix whether the mail of a mailbox goes through the hook. A mailbox whose archive is off is asked for, too.
func (a *Archive) CheckRoute(ctx context.Context, who policy.Actor, address policy.Address) (RouteCheck, error) {
	if err := a.May(who, RightOperate, policy.Address{}); err != nil {
		return RouteCheck{}, err
	}
	v, err := a.viewNow(ctx, address)
	if err != nil {
		return RouteCheck{}, err
	}
	c := RouteCheck{Mailbox: v.Mailbox, Archive: v.Archive, Asked: a.options.Postfix != nil}
	if c.Asked {
		c.Routes = a.options.Postfix.Check(ctx, address)
	}
	return c, nil
}
