package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"copialettere/policy/archive"
)

const quotaWarningHelp = `Usage: copialettere quota-warning ADDR PERCENT [-config FILE] [-json]

Tells the owner of a mailbox by mail that the live mailbox, not its archive, has reached that percentage of its quota, from 1 to 100. Dovecot
runs it: see contrib/dovecot/91-copialettere-quota.conf. The owner is told only if the mailbox has an archive and an address for notices, and its
notify_on has mailbox-full: at most once a day that the mailbox is nearly full, and once that it is full. Where the owner is not told, the exit
status is 0 all the same.

Example: copialettere quota-warning mario@alpha.test 80
`

func runQuotaWarning(ctx context.Context, in *invocation, args []string) error {
	if err := want(args, "ADDR", "PERCENT"); err != nil {
		return err
	}
	c, err := in.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	query := url.Values{"mailbox": {args[0]}, "percent": {args[1]}}
	_, err = each(in, ctx, c, http.MethodPost, mailboxPath+"/quota-warning", query, func(w archive.QuotaWarning) error {
		if in.json {
			return in.printJSON(w)
		}
		told := "the owner is told"
		if !w.Told {
			told = "the owner gets no such notices"
		}
		fmt.Fprintf(in.stdout, "%s is %d%% full: %s\n", w.Mailbox, w.Percent, told)
		return nil
	})
	return err
}
