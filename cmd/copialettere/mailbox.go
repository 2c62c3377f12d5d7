package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os/user"
	"time"

	"copialettere/journal/httpd"
)

const mailboxHelp = `Usage: copialettere mailbox enable|disable|show ADDR [-config FILE] [-json]
       copialettere mailbox list [-config FILE] [-json]

  enable   archive the mailbox from the next message on; its domain must stand in the configuration
  disable  stop archiving it from the next message on; what is archived stays
  show     whether it is archived, since when, how much, and who changed that
  list     all mailboxes that were ever enabled

Example: copialettere mailbox enable mario@alpha.test
`

func runMailbox(ctx context.Context, in *invocation, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("%w: want enable, disable, show or list", errUsage)
	}
	method, path := http.MethodGet, "/v1/mailbox"
	switch args[0] {
	case "enable", "disable":
		method, path = http.MethodPost, path+"/"+args[0]
	case "show":
	case "list":
		if err := want(args[1:]); err != nil {
			return err
		}
		return in.mailboxes(ctx, http.MethodGet, "/v1/mailboxes", nil)
	default:
		return fmt.Errorf("%w: %q: want enable, disable, show or list", errUsage, args[0])
	}
	if err := want(args[1:], "ADDR"); err != nil {
		return err
	}
	return in.mailboxes(ctx, method, path, url.Values{"mailbox": {args[1]}, "who": {whoami()}})
}

func (in *invocation) mailboxes(ctx context.Context, method, path string, query url.Values) error {
	c, err := in.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	n, err := each(in, ctx, c, method, path, query, func(m httpd.MailboxView) error {
		if in.json {
			return in.printJSON(m)
		}
		in.printMailbox(m)
		return nil
	})
	if err == nil && n == 0 {
		return errNothing
	}
	return err
}

func (in *invocation) printMailbox(m httpd.MailboxView) {
	since := ""
	if m.Since != nil {
		since = " since " + m.Since.Local().Format(time.DateTime)
	}
	already := ""
	if m.Changed != nil && !*m.Changed {
		already = " already"
	}
	fmt.Fprintf(in.stdout, "%-40s archive %s%s%s, %d entries, %s\n", m.Mailbox, m.Archive, already, since, m.Entries, sizeText(m.Bytes))
	for _, c := range m.Changes {
		fmt.Fprintf(in.stdout, "  %s  %s changed %s from %s to %s\n", c.Time.Local().Format(time.DateTime), c.Who, c.Key, c.Before, c.After)
	}
}

// whoami is who stands in the change log.
func whoami() string {
	u, err := user.Current()
	if err != nil {
		return "operator"
	}
	return "operator " + u.Username
}

// sizeText is a number of bytes for people.
func sizeText(n uint64) string {
	const unit = 1000
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	value, prefix := float64(n)/unit, 0
	for value >= unit && prefix < 3 {
		value /= unit
		prefix++
	}
	return fmt.Sprintf("%.1f %cB", value, "kMGT"[prefix])
}
