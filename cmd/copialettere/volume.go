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

Gives up for good a month of the journal whose folder is lost or was removed on purpose. A gap goes on record for all mailboxes.

The archive knows which months it has. As long as one is absent or damaged, every command reports it, and mail that belongs in it cannot be journaled.
This ends when you put it back from a backup, or give it up. A month whose folder is there is refused: stop the daemon and move the folder
away first. If the folder is put back later, the next start takes it in again.

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
	_, err = each(in, ctx, c, http.MethodPost, "/volumes/{month}/forget", query, func(v httpd.ForgottenView) error {
		if in.json {
			return in.printJSON(v)
		}
		fmt.Fprintf(in.stdout, "%s is given up; the gap is on record\n", v.Forgotten)
		return nil
	})
	return err
}
