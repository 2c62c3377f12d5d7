package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"

	"copialettere/cmd/copialettere/config"
	"copialettere/policy/archive"
	"copialettere/policy/postfix"
)

// newPostfix returns what writes maps for Postfix and asks it, nil if the configuration has no [postfix].
func newPostfix(c *config.Config, a *opened, log *slog.Logger) *postfix.Keeper {
	if c.Postfix == nil {
		return nil
	}
	return postfix.New(postfix.Options{
		Config: postfixConfig(c), Mailboxes: a.policy.Mailboxes, Logger: log, Metrics: a.metrics, Unrouted: a.notices.Unrouted,
	})
}

// postfixConfig returns the configuration of the package, from [postfix] and other sections.
func postfixConfig(c *config.Config) postfix.Config {
	if c.Postfix == nil {
		return postfix.Config{}
	}
	p := postfix.Config{Folder: c.Postfix.Maps}
	if c.Received != nil {
		p.Received = c.Postfix.Received
	}
	if c.Sent != nil {
		p.Sent, p.LoginDomain, p.ByMailFrom = c.Postfix.Sent, c.Sent.LoginDomain, c.Sent.Identity == config.IdentityMailFrom
	}
	return p
}

// checkRoute asks Postfix how it routes the mail of one mailbox.
func (in *invocation) checkRoute(ctx context.Context, mailbox string) error {
	c, err := in.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	ok := true
	_, err = each(in, ctx, c, http.MethodGet, mailboxPath+"/route", url.Values{"mailbox": {mailbox}}, func(v archive.RouteCheck) error {
		ok = v.Archive != "off" && v.Asked
		for _, r := range v.Routes {
			ok = ok && r.State == postfix.Routed
		}
		if in.json {
			return in.printJSON(v)
		}
		in.printRoutes(v)
		return nil
	})
	if err == nil && !ok {
		err = errFailed
	}
	return err
}

// printRoutes prints one line for the archive, and one for each direction.
func (in *invocation) printRoutes(v archive.RouteCheck) {
	var off error
	switch {
	case v.Archive != "off":
	case !v.Configured:
		off = fmt.Errorf("%s of %s: nothing is archived: the configuration has no [[domain]] of that name: add it, then enable the mailbox", v.Archive, v.Mailbox)
	default:
		off = fmt.Errorf("%s of %s: nothing is archived, whatever Postfix does: copialettere mailbox enable %s", v.Archive, v.Mailbox, v.Mailbox)
	}
	in.checked("archive", v.Archive+" of "+v.Mailbox, off)
	if !v.Asked {
		in.checked("route", "", errors.New("the configuration has no section [postfix], so Postfix is not asked: add it"))
	}
	for _, r := range v.Routes {
		var problem error
		if r.State != postfix.Routed {
			problem = fmt.Errorf("%s: %s", printable(r.Detail), printable(r.Remedy))
		}
		in.checked(r.Direction, "through the hook: "+printable(r.Detail), problem)
	}
}

// printRoute prints what the last standing check found for a mailbox.
func (in *invocation) printRoute(m archive.Mailbox) {
	for _, r := range m.Route {
		text := "goes through the hook"
		switch r.State {
		case postfix.NotRouted:
			text = "not archived, because Postfix does not route it through the hook: copialettere check " + m.Mailbox
		case postfix.Unknown:
			text = "goes where Postfix could not be asked: copialettere check " + m.Mailbox
		}
		fmt.Fprintf(in.stdout, "%s mail: %s\n", r.Direction, text)
	}
}

// checkMaps tries the folder of the maps for Postfix, if the configuration names one.
func (in *invocation) checkMaps(c *config.Postfix) bool {
	if c == nil || c.Maps == "" {
		return true
	}
	detail := c.Maps
	there, err := postfix.Probe(c.Maps)
	if !there {
		detail += ", which the daemon makes at its start"
	}
	return in.checked("maps for Postfix", detail, err)
}
