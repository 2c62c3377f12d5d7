package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/url"

	"copialettere/journal/httpd"
)

const volumeHelp = `Usage: copialettere volume forget MONTH -confirm MONTH [-config FILE] [-json]

Gives up a month of the journal for good, whose folder is lost or was removed on purpose. The archive knows which months it has: one
that is absent or damaged is an error of every command, and of mail that would go into it, until it is put back from a backup, or given
up. A gap of all mailboxes is then on record for it. While a folder of that month is there, it is refused: move the folder away first,
with the daemon stopped. If the folder is put back later, the next start takes it in again.

Example: copialettere volume forget 2023-04 -confirm 2023-04
`

func defineVolume(flags *flag.FlagSet) runner {
	confirm := flags.String("confirm", "", "")
	return func(ctx context.Context, in *invocation, args []string) error {
		if len(args) == 0 || args[0] != "forget" {
			return fmt.Errorf("%w: want \"volume forget MONTH\"", errUsage)
		}
		if err := want(args[1:], "MONTH"); err != nil {
			return err
		}
		if *confirm != args[1] {
			return fmt.Errorf("%w: this gives up all mail of %[2]s. If that is what you want, type \"copialettere volume forget %[2]s -confirm %[2]s\"",
				errUsage, args[1])
		}
		return in.forget(ctx, url.Values{"month": {args[1]}, "confirm": {*confirm}, "who": {whoami()}})
	}
}

func (in *invocation) forget(ctx context.Context, query url.Values) error {
	c, err := in.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	_, err = each(in, ctx, c, http.MethodPost, "/api/v1/volume/forget", query, func(v httpd.ForgottenView) error {
		if in.json {
			return in.printJSON(v)
		}
		fmt.Fprintf(in.stdout, "%s is given up; the gap is on record\n", v.Forgotten)
		return nil
	})
	return err
}
