package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"copialettere/policy"
	"copialettere/policy/archive"
)

const enableHelp = `Usage: copialettere mailbox enable ADDR [-config FILE] [-json]
       copialettere mailbox enable [-from FILE] [-domain D] [-dry-run] [KEY=VALUE ...] [-config FILE] [-json]

Archives a mailbox, or many, from the next message on. "copialettere mailbox set" takes the same flags, and only changes settings.

  -from FILE  the mailboxes: one address a line, or CSV whose first line names columns, as in mailbox,quota,retention. An empty field leaves a
              setting as it is. Lines that begin with # are comments. "-" is the standard input
  -domain D   with -from: refuse addresses outside of D. Without: all mailboxes of D that were ever set up; to be enabled, only those whose
              archive was never on
  -dry-run    only show what would change
  KEY=VALUE   a setting for all of them

All lines are checked first. If one is wrong, nothing is changed, and every error is shown with its line. Mailboxes that are as they are to be
already are not touched, so after a run that broke off, run the same again.

Example: copialettere mailbox enable -from boxes.csv -dry-run
`

// many are the flags of mailbox enable and mailbox set that choose many mailboxes.
type many struct {
	from, domain string
	dryRun       bool
}

// provision changes many mailboxes and prints those that changed.
func (in *invocation) provision(ctx context.Context, act string, m many, assignments []string) error {
	if m.from == "" && m.domain == "" {
		return fmt.Errorf("%w: name the mailboxes: -from FILE, -domain D, or both", errUsage)
	}
	for _, text := range assignments {
		if !strings.Contains(text, "=") {
			return fmt.Errorf("%w: %.100q beside -from or -domain: want KEY=VALUE", errUsage, text)
		}
	}
	query := url.Values{"set": assignments, "who": {whoami()}, "dry_run": {strconv.FormatBool(m.dryRun)}}
	if m.domain != "" {
		query.Set("domain", m.domain)
	}
	var lines io.Reader
	if m.from != "" {
		name, text, err := in.readLines(m.from)
		if err != nil {
			return err
		}
		query.Set("from", name)
		lines = bytes.NewReader(text)
	}
	c, err := in.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	changed, all := 0, 0
	_, err = eachOf(in, ctx, c, http.MethodPost, "/mailboxes/"+act, query, lines, func(p archive.Provisioned) error {
		all++
		if p.Changed {
			changed++
		}
		return in.printProvisioned(p)
	})
	if in.json {
		return err
	}
	what := "changed"
	if m.dryRun {
		what = "would be changed"
	}
	if err == nil || all > 0 {
		fmt.Fprintf(in.stdout, "%s: %d of %d mailboxes\n", what, changed, all)
	}
	return err
}

// readLines reads a file with mailboxes, "-" for the standard input, and returns the name that errors give it.
func (in *invocation) readLines(path string) (name string, text []byte, err error) {
	if path == "-" {
		text, err = io.ReadAll(io.LimitReader(in.stdin, archive.MaxLines+1))
		return "standard input", text, err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", nil, fmt.Errorf("%w: -from: %w", errUsage, err)
	}
	defer f.Close()
	text, err = io.ReadAll(io.LimitReader(f, archive.MaxLines+1))
	return path, text, err
}

// printProvisioned prints a mailbox of many, if it changes.
func (in *invocation) printProvisioned(p archive.Provisioned) error {
	if in.json {
		return in.printJSON(p)
	}
	if !p.Changed {
		return nil
	}
	fmt.Fprintf(in.stdout, "%-40s archive %s", p.Mailbox, p.Archive)
	for _, c := range p.Changes {
		if c.Key != policy.KeyArchive {
			fmt.Fprintf(in.stdout, ", %s=%s", c.Key, printable(c.After))
		}
	}
	fmt.Fprintln(in.stdout)
	return nil
}

const usageHelp = `Usage: copialettere usage [-domain D] [-csv] [-config FILE] [-json]
       copialettere usage ADDR [-csv] [-config FILE] [-json]

Shows what each mailbox takes, for billing, or what one mailbox holds by month of arrival, for a chart. It reads counters only, so it is quick.

  -domain D  only the mailboxes of this domain
  -csv       comma-separated values (RFC 4180), with a header line; sizes in bytes, times in UTC

The columns: mailbox, domain, archive (on, paused, off), since, entries, bytes, quota (empty for none), percent of the quota. By month: mailbox,
month, entries, bytes, then entries and bytes of received, sent, trash, archived and imports. These are the folders INBOX, Sent, Trash, Archived (by hand)
and Imported (with those in it), where messages are now.

Example: copialettere usage -domain alpha.test -csv
`

func defineUsage(flags *flag.FlagSet) runner {
	domain, asCSV := flags.String("domain", "", ""), flags.Bool("csv", false, "")
	return func(ctx context.Context, in *invocation, args []string) error {
		if *asCSV && in.json {
			return fmt.Errorf("%w: -csv and -json are two forms: give one", errUsage)
		}
		if len(args) == 0 {
			var query url.Values
			if *domain != "" {
				query = url.Values{"domain": {*domain}}
			}
			header := []string{"mailbox", "domain", "archive", "since", "entries", "bytes", "quota", "percent"}
			return report(in, ctx, "/usage", query, *asCSV, header, usageFields, in.printUsage)
		}
		if err := want(args, "ADDR"); err != nil {
			return err
		}
		if *domain != "" {
			return fmt.Errorf("%w: -domain and ADDR: give one", errUsage)
		}
		header := []string{"mailbox", "month", "entries", "bytes", "received_entries", "received_bytes", "sent_entries", "sent_bytes",
			"trash_entries", "trash_bytes", "archived_entries", "archived_bytes", "imports_entries", "imports_bytes"}
		return report(in, ctx, mailboxPath+"/usage", url.Values{"mailbox": {args[0]}}, *asCSV, header, monthFields, in.printMonth)
	}
}

// report shows the answer of a route, as CSV if asked for.
func report[T any](in *invocation, ctx context.Context, path string, query url.Values, asCSV bool, header []string, fields func(T) []string,
	print func(T)) error {
	if !asCSV {
		return show(in, ctx, path, query, print)
	}
	w := csv.NewWriter(in.stdout)
	w.UseCRLF = true
	if err := w.Write(header); err != nil {
		return err
	}
	err := show(in, ctx, path, query, func(v T) { w.Write(fields(v)) })
	w.Flush()
	if err == nil {
		err = w.Error()
	}
	return err
}

func usageFields(u archive.Usage) []string {
	since, quota, percent := "", "", ""
	if u.Since != nil {
		since = u.Since.UTC().Format(time.RFC3339)
	}
	if u.Quota > 0 {
		quota = strconv.FormatInt(u.Quota, 10)
	}
	if u.Percent != nil {
		percent = strconv.FormatFloat(*u.Percent, 'f', 1, 64)
	}
	return []string{u.Mailbox, u.Domain, u.Archive, since, number(u.Entries), number(u.Bytes), quota, percent}
}

func monthFields(u archive.MonthUsage) []string {
	return []string{u.Mailbox, string(u.Month), number(u.Entries), number(u.Bytes), number(u.Received.Entries), number(u.Received.Bytes),
		number(u.Sent.Entries), number(u.Sent.Bytes), number(u.Trash.Entries), number(u.Trash.Bytes),
		number(u.Archived.Entries), number(u.Archived.Bytes), number(u.Imports.Entries), number(u.Imports.Bytes)}
}

func number(n uint64) string { return strconv.FormatUint(n, 10) }

func (in *invocation) printUsage(u archive.Usage) {
	of := "no quota"
	if u.Percent != nil {
		of = fmt.Sprintf("%.1f%% of %s", *u.Percent, policy.English.Size(uint64(u.Quota)))
	}
	fmt.Fprintf(in.stdout, "%-40s %-6s %9d entries %10s, %s\n", u.Mailbox, u.Archive, u.Entries, policy.English.Size(u.Bytes), of)
}

func (in *invocation) printMonth(u archive.MonthUsage) {
	var parts []string
	for _, part := range []struct {
		name    string
		entries uint64
		bytes   uint64
	}{
		{"received", u.Received.Entries, u.Received.Bytes}, {"sent", u.Sent.Entries, u.Sent.Bytes}, {"archived by hand", u.Archived.Entries, u.Archived.Bytes},
		{"imported from files or servers", u.Imports.Entries, u.Imports.Bytes}, {"in the trash", u.Trash.Entries, u.Trash.Bytes},
	} {
		if part.entries > 0 {
			parts = append(parts, fmt.Sprintf("%s %d, %s", part.name, part.entries, policy.English.Size(part.bytes)))
		}
	}
	fmt.Fprintf(in.stdout, "%s %9d entries %10s  (%s)\n", u.Month, u.Entries, policy.English.Size(u.Bytes), strings.Join(parts, "; "))
}
