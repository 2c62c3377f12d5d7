package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"copialettere/cmd/copialettere/config"
	"copialettere/journal/export/preserve"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/notice"
)

// newPreserve returns what hands packages to legal preservation.
func newPreserve(a *opened, log *slog.Logger) *preserve.Service {
	o := preserve.Options{Ledger: a.packages, Logger: log, Metrics: a.metrics, Version: version}
	if a.notices != nil {
		o.Tell = func(text string) { a.notices.Operator(notice.CausePreservation, text) }
	}
	return preserve.New(o)
}

// overdue returns after which time a receipt is missed; 0 where none can come.
func overdue(c *config.Config) time.Duration {
	if c.Preservation.Receipts == "" {
		return 0
	}
	return c.Preservation.Overdue
}

const preservationHelp = `Usage: copialettere preservation [ADDR] [-config FILE] [-json]

Lists the packages of certified mail that were handed to the service for legal preservation, of a mailbox or of all, with how far each is:

  handed-over  it is in the folder of [preservation] drop, or the service has taken it away, and no receipt has come
  received     a receipt has come into the folder of [preservation] receipts
  overdue      no receipt has come in the time of [preservation] overdue

contrib/operating.md tells how it is set up. "copialettere list -json" tells of each message in which package it is.

Example: copialettere preservation mario@alpha.test -json
`

func runPreservation(ctx context.Context, in *invocation, args []string) error {
	if len(args) == 0 {
		return show(in, ctx, "/preservation", nil, in.printPreserved)
	}
	if err := want(args, "ADDR"); err != nil {
		return err
	}
	return show(in, ctx, mailboxPath+"/preservation", url.Values{"mailbox": {args[0]}}, in.printPreserved)
}

func (in *invocation) printPreserved(p archive.Preserved) {
	fmt.Fprintf(in.stdout, "%-11s  %s  %d messages, %s", p.State, printable(p.Name), p.Messages, policy.English.Size(uint64(p.Size)))
	if p.Missing > 0 {
		fmt.Fprintf(in.stdout, ", %d missing", p.Missing)
	}
	for _, r := range p.Receipts {
		fmt.Fprintf(in.stdout, "; %s of %s", printable(r.Name), r.Time.Local().Format(time.DateTime))
	}
	fmt.Fprintln(in.stdout)
}
