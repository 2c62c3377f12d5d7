package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/journal/httpd"
	"copialettere/policy/pec"
)

const listHelp = `Usage: copialettere list ADDR [-all] [-config FILE] [-json]

Lists the entries of a mailbox, by month, folder and UID. Of certified mail the class and the result of the signature are shown, and any
state other than "delivered": "deferred" entries wait for the MTA's retry, and of "unknown" ones the mailstore's answer is not known.
A message that the MTA took in anew while it waited ("postsuper -r") has one entry, the newest. -all shows the older ones too, behind the others:
they are "superseded", were never delivered, and count nowhere.
-json tells more: the envelope, the certification data, why a signature is not verified.

Example: copialettere list mario@alpha.test -json
`

func defineList(flags *flag.FlagSet) runner {
	all := flags.Bool("all", false, "")
	return func(ctx context.Context, in *invocation, args []string) error { return runList(ctx, in, args, *all) }
}

func runList(ctx context.Context, in *invocation, args []string, all bool) error {
	if err := want(args, "ADDR"); err != nil {
		return err
	}
	query := url.Values{"mailbox": {args[0]}}
	if all {
		query.Set("all", "true")
	}
	return show(in, ctx, "/v1/list", query, func(e httpd.EntryView) {
		var notes []string
		if e.Class != "" && e.Class != string(pec.Ordinary) || e.Signature != "" && e.Signature != string(pec.ResultUnsigned) {
			notes = append(notes, e.Class, e.Signature)
		}
		if e.State != journal.Delivered.String() {
			state := e.State
			if e.SupersededBy != nil {
				state += fmt.Sprintf(" by %s %d", e.SupersededBy.Folder, e.SupersededBy.UID)
			}
			notes = append(notes, state)
		}
		note := ""
		if len(notes) > 0 {
			note = " [" + strings.Join(notes, ", ") + "]"
		}
		who := e.From
		if e.Direction == journal.Sent.String() {
			who = "to " + e.RcptTo
		}
		fmt.Fprintf(in.stdout, "%-16s %6d  %s  %9s  %-32s  %s%s\n", e.Folder, e.UID, e.Time.Local().Format(time.DateTime),
			sizeText(uint64(e.Size)), printable(who), printable(e.Subject), note)
	})
}

// show prints the objects of an answer, as JSON or for people. It is errNothing when there are none.
func show[T any](in *invocation, ctx context.Context, path string, query url.Values, human func(T)) error {
	c, err := in.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	n, err := each(in, ctx, c, http.MethodGet, path, query, func(v T) error {
		if in.json {
			return in.printJSON(v)
		}
		human(v)
		return nil
	})
	if err == nil && n == 0 {
		return errNothing
	}
	return err
}

// printable makes a sender's text safe for a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u202e' || r == '\u2028' || r == '\u2029' {
			return '?'
		}
		return r
	}, s)
}

const catHelp = `Usage: copialettere cat ADDR FOLDER UID [-config FILE]

Writes the exact bytes of a message, as they were received, to standard output. "copialettere list" shows FOLDER and UID.

Example: copialettere cat mario@alpha.test INBOX/2026-11 17 > message.eml
`

func runCat(ctx context.Context, in *invocation, args []string) error {
	if err := want(args, "ADDR", "FOLDER", "UID"); err != nil {
		return err
	}
	c, err := in.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	body, err := in.do(ctx, c, http.MethodGet, "/v1/message", url.Values{"mailbox": {args[0]}, "folder": {args[1]}, "uid": {args[2]}})
	if err != nil {
		return err
	}
	defer body.Close()
	_, err = io.Copy(in.stdout, body)
	return err
}

const whyHelp = `Usage: copialettere why ADDR [-message-id ID] [-config FILE] [-json]

Tells of every message to or from a mailbox whether it was journaled or skipped, and why: alias, forward, redirect, copy, list, refused ...
Gaps are shown as well, and the times when the archive was off. Records of skips are kept for a limited time (keep_skips in the configuration).

Example: copialettere why mario@alpha.test -message-id 20261114.4711@mail.beta.test
`

func defineWhy(flags *flag.FlagSet) runner {
	messageID := flags.String("message-id", "", "")
	return func(ctx context.Context, in *invocation, args []string) error {
		if err := want(args, "ADDR"); err != nil {
			return err
		}
		return showVerdicts(ctx, in, args[0], *messageID)
	}
}

func showVerdicts(ctx context.Context, in *invocation, mailbox, messageID string) error {
	query := url.Values{"mailbox": {mailbox}}
	if messageID != "" {
		query.Set("message_id", messageID)
	}
	return show(in, ctx, "/v1/why", query, in.printVerdict)
}

func (in *invocation) printVerdict(v httpd.VerdictView) {
	when := localTime(&v.Time)
	if v.Until != nil {
		when += " to " + localTime(v.Until)
	}
	what := v.Verdict
	switch {
	case v.Folder != "":
		what += fmt.Sprintf(" as %s %d", v.Folder, v.UID)
	case v.Reason != "":
		what += ": " + v.Reason + countText(v.Entries, v.Bytes)
	}
	if v.Detail != "" {
		what += " (" + printable(v.Detail) + ")"
	}
	if first := strings.TrimPrefix(v.ORCPT, "rfc822;"); first != "" && v.Verdict == "skipped" && !strings.EqualFold(first, v.Mailbox) {
		what += ", first sent to " + printable(first)
	}
	fmt.Fprintf(in.stdout, "%-19s  %s", when, what)
	if v.MessageID != "" {
		fmt.Fprintf(in.stdout, "  %s", printable(v.MessageID))
	}
	if v.MailFrom != "" {
		fmt.Fprintf(in.stdout, "  from %s", printable(v.MailFrom))
	}
	fmt.Fprintln(in.stdout)
}

const verifyHelp = `Usage: copialettere verify [-config FILE] [-json]

Reads the whole journal: recomputes the SHA-256 of every message and shared chunk, and follows every reference both ways. It runs beside
deliveries. Orphans are chunks that no entry needs, as a sender leaves them who breaks off; they are no fault. The exit status is 1
when there is a fault.

Example: copialettere verify -json
`

func runVerify(ctx context.Context, in *invocation, args []string) error {
	if err := want(args); err != nil {
		return err
	}
	c, err := in.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	terminal := isTerminal(in.stderr)
	var report *journal.Report
	_, err = each(in, ctx, c, http.MethodGet, "/v1/verify", nil, func(l httpd.VerifyLine) error {
		if l.Progress != nil && terminal {
			fmt.Fprintf(in.stderr, "\r%s: %d entries checked ", l.Progress.Month, l.Progress.Entries)
		}
		report = l.Report
		return nil
	})
	if terminal {
		fmt.Fprint(in.stderr, "\r\x1b[K")
	}
	if err != nil {
		return err
	}
	if report == nil {
		return fmt.Errorf("the check broke off")
	}
	if in.json {
		err = in.printJSON(report)
	} else {
		in.printReport(report)
	}
	if err == nil && report.Faults > 0 {
		return errFailed
	}
	return err
}

func (in *invocation) printReport(r *journal.Report) {
	fmt.Fprintf(in.stdout, "%d volumes, %d entries of %s, %d chunks of %s stored, %d orphans\n",
		r.Volumes, r.Entries, sizeText(uint64(r.Bytes)), r.Chunks, sizeText(uint64(r.Stored)), r.Orphans)
	fmt.Fprintf(in.stdout, "%d entries of unknown delivery, %d deferred, %d gaps\n", r.Unknown, r.Deferred, r.Gaps)
	for _, d := range r.Details {
		fmt.Fprintln(in.stdout, "FAULT", d)
	}
	if r.Faults == 0 {
		fmt.Fprintln(in.stdout, "sound")
	} else {
		fmt.Fprintf(in.stdout, "%d faults\n", r.Faults)
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

const statsHelp = `Usage: copialettere stats [ADDR] [-config FILE] [-json]

Shows how many entries and bytes every folder holds, of one mailbox or of all. Bytes are those of the messages, as their owner counts
them; sharing and compression make the journal smaller ("copialettere verify" shows what is stored).

Example: copialettere stats mario@alpha.test
`

func runStats(ctx context.Context, in *invocation, args []string) error {
	query := url.Values{}
	switch len(args) {
	case 0:
	case 1:
		query.Set("mailbox", args[0])
	default:
		return want(args, "ADDR")
	}
	return show(in, ctx, "/v1/stats", query, func(f journal.FolderStats) {
		fmt.Fprintf(in.stdout, "%-40s %-16s %8d entries %10s\n", f.Mailbox, f.Folder+"/"+string(f.Month), f.Entries, sizeText(f.Bytes))
	})
}
