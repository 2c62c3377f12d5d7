package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/url"

	"copialettere/journal"
	"copialettere/journal/httpd"
	"copialettere/journal/kv"
	"copialettere/policy"
	"copialettere/policy/archive"
)

const retentionHelp = `Usage: copialettere retention [-dry-run | -log] [-yes] [-config FILE] [-json]
       copialettere retention -dry-run ADDR [MONTHS] [-config FILE] [-json]

Deletes the messages that are past the retention of their mailbox, counted from their arrival. The daemon does the same once a day. Messages
under a legal hold stay. A month with nothing left in it is dropped, with its folder.

A run that would delete an abnormal share of all messages (max_share in the configuration), or whose clock cannot be right, is refused: it
deletes nothing, and the exit status is 1.

Owners with notify_on=before-loss are told before a run deletes more than that share of their archive, and more than 10 messages: of these archives
it deletes nothing until the grace time is over (erase.grace). -dry-run counts their messages all the same.

  -dry-run  only count, by mailbox and month; with ADDR what goes of one mailbox by its own retention, or would by one of MONTHS
  -log      only show the runs so far
  -yes      delete although the run is abnormal

Example: copialettere retention -dry-run
         copialettere retention -dry-run mario@alpha.test 24
`

func defineRetention(flags *flag.FlagSet) runner {
	dryRun, yes, log := flags.Bool("dry-run", false, ""), flags.Bool("yes", false, ""), flags.Bool("log", false, "")
	return func(ctx context.Context, in *invocation, args []string) error {
		if *dryRun && !*log && !*yes && (len(args) == 1 || len(args) == 2) {
			query := url.Values{"mailbox": {args[0]}}
			if len(args) == 2 {
				query.Set("retention", args[1])
			}
			return show(in, ctx, mailboxPath+"/retention", query, in.printPreview)
		}
		if err := want(args); err != nil {
			return err
		}
		switch {
		case *log && (*dryRun || *yes):
			return fmt.Errorf("%w: -log runs nothing: leave out -dry-run and -yes", errUsage)
		case *log:
			return show(in, ctx, "/retention", nil, in.printRun)
		}
		query := url.Values{"dry_run": {fmt.Sprint(*dryRun)}, "yes": {fmt.Sprint(*yes)}}
		return in.retention(ctx, query)
	}
}

func (in *invocation) retention(ctx context.Context, query url.Values) error {
	c, err := in.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	var last httpd.ExpireLine
	_, err = each(in, ctx, c, http.MethodPost, "/retention", query, func(l httpd.ExpireLine) error {
		if l.Progress != nil {
			in.progress(fmt.Sprintf("%s: %d entries ", l.Progress.Month, l.Progress.Removed.Entries))
		}
		last = l
		return nil
	})
	in.progress("")
	if last.Report == nil && err == nil {
		err = fmt.Errorf("the run broke off")
	}
	if last.Report == nil {
		return err
	}
	// The report counts even beside an error, which names the months that it leaves out.
	if in.json {
		err = errors.Join(in.printJSON(last), err)
	} else {
		in.printExpired(last.Report, last.Refused)
	}
	if err == nil && last.Refused {
		return errFailed
	}
	return err
}

func (in *invocation) printPreview(v archive.RetentionPreview) {
	for _, m := range v.Months {
		fmt.Fprintf(in.stdout, "%-40s %s %8d entries %10s\n", v.Mailbox, m.Month, m.Entries, policy.English.Size(m.Bytes))
	}
	switch {
	case v.Held != nil:
		fmt.Fprintf(in.stdout, "nothing is deleted under the legal hold: %s\n", v.Held.Reason)
	case v.Retention == "none":
		fmt.Fprintln(in.stdout, "nothing would be deleted: there is no retention")
	default:
		fmt.Fprintf(in.stdout, "would be deleted by a retention of %s months: %d entries, %s\n", v.Retention, v.Entries, policy.English.Size(v.Bytes))
	}
}

func (in *invocation) printRun(r journal.Run) {
	fmt.Fprintf(in.stdout, "%s  deleted %d entries, %s%s\n", localTime(&r.Time), r.Removed.Entries, policy.English.Size(r.Removed.Bytes),
		besides(r.Purged, r.Dropped, r.PassedOver))
}

// besides returns what else a run did, and which months it passed over, in words.
func besides(purged journal.Removed, dropped, passed []kv.Month) string {
	text := ""
	if purged.Entries > 0 {
		text += fmt.Sprintf("; %d that were deleted by hand are gone for good", purged.Entries)
	}
	if len(dropped) > 0 {
		text += fmt.Sprintf("; months dropped: %v", dropped)
	}
	if len(passed) > 0 {
		text += fmt.Sprintf("; months passed over, which cannot be read: %v", passed)
	}
	return text
}

func (in *invocation) printExpired(r *journal.ExpireReport, refused bool) {
	for _, e := range r.Expired {
		fmt.Fprintf(in.stdout, "%-40s %s %8d entries %10s", e.Mailbox, e.Month, e.Entries, policy.English.Size(e.Bytes))
		if e.Held > 0 {
			fmt.Fprintf(in.stdout, ", %d held", e.Held)
		}
		fmt.Fprintln(in.stdout)
	}
	for _, reason := range r.Abnormal {
		fmt.Fprintln(in.stdout, "ABNORMAL", reason)
	}
	what := "deleted"
	switch {
	case refused:
		what = "refused, nothing was deleted; -yes would delete"
	case r.DryRun:
		what = "would be deleted:"
	}
	fmt.Fprintf(in.stdout, "%s %d of %d entries, %s%s\n", what, r.Removed.Entries, r.All, policy.English.Size(r.Removed.Bytes),
		besides(r.Purged, r.Dropped, r.PassedOver))
}
