package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/journal/httpd"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/pec"
)

const listHelp = `Usage: copialettere list ADDR [-folder F] [-since DATE] [-until DATE] [-newest N] [-after UID] [-all] [-config FILE] [-json]

Lists the entries of a mailbox, by month, folder and UID. For certified mail it shows the sender and subject of the message inside, the class,
the result of the signature, and whether the header contradicts the certificate. For notifications about electronic invoices (SdI) it shows
their kind and the invoice. -json adds the envelope, the certification data, and why a signature is not verified.

The state is shown unless it is "delivered":
  deferred    the entry waits for the MTA's retry
  unknown     the mailstore's answer is not known
  refused     the mailstore refused the message for good; the entry is kept because it is held
  superseded  the MTA took the message in anew while it waited ("postsuper -r"), and a newer entry replaces this one. It was never delivered
              and is not counted. Only -all shows these, after the others.

An entry that was brought in by hand is marked "imported", with the date of the message itself; its time is that of the import.

-folder is INBOX/2026-11, INBOX, or 2026-11. The days of -since and -until are included; either may be a time, such as 2026-11-29T08:30:00Z, and then
-until is the end. -newest lists only the last N of all that, the newest first. -after lists what has come since the entry with that UID, of a -folder
with its month.

Example: copialettere list mario@alpha.test -newest 20
`

func defineList(flags *flag.FlagSet) runner {
	query := make(url.Values)
	for _, name := range []string{"folder", "newest", "after"} {
		flags.Func(name, "", func(text string) error {
			query.Set(name, text)
			return nil
		})
	}
	for name, days := range map[string]int{"since": 0, "until": 1} {
		flags.Func(name, "", func(text string) error {
			t, err := time.Parse(time.RFC3339, text)
			if err != nil {
				t, err = dayOf(text, days)
			}
			query.Set(name, t.Format(time.RFC3339))
			return err
		})
	}
	all := flags.Bool("all", false, "")
	return func(ctx context.Context, in *invocation, args []string) error {
		if err := want(args, "ADDR"); err != nil {
			return err
		}
		query.Set("mailbox", args[0])
		if *all {
			query.Set("all", "true")
		}
		return show(in, ctx, mailboxPath+"/entries", query, in.printEntry)
	}
}

// dayOf returns the start of a day in the time zone of this machine, or of one so many days later.
func dayOf(text string, later int) (time.Time, error) {
	t, err := time.ParseInLocation(time.DateOnly, text, time.Local)
	if err != nil {
		return t, errors.New("want a day, such as 2026-11-29")
	}
	return t.AddDate(0, 0, later), nil
}

func (in *invocation) printEntry(e httpd.EntryView) {
	who, subject := e.From, e.Subject
	switch pec.Class(e.Class) {
	case pec.PostaCertificata, pec.Anomalia, pec.REM:
		// The outer sender and subject are the provider's, and unsigned.
		who, subject = cmp.Or(e.InnerFrom, who), cmp.Or(e.InnerSubject, subject)
	}
	if e.Direction == journal.Sent.String() {
		who = "to " + e.RcptTo
	}
	note := ""
	if notes := notesOf(e); len(notes) > 0 {
		note = " [" + printable(strings.Join(notes, ", ")) + "]"
	}
	fmt.Fprintf(in.stdout, "%-16s %6d  %s  %9s  %-32s  %s%s\n", e.Folder, e.UID, e.Time.Local().Format(time.DateTime),
		policy.English.Size(uint64(e.Size)), printable(who), printable(subject), note)
}

// notesOf returns what is special about an entry, in words.
func notesOf(e httpd.EntryView) []string {
	var notes []string
	if e.Imported != nil {
		note := "imported, dated " + e.Imported.Date.Format(time.DateOnly)
		if e.Imported.Source != "" {
			note += ", from " + e.Imported.Source
		}
		notes = append(notes, note)
	}
	if e.Class != "" && e.Class != string(pec.Ordinary) || e.Signature != "" && e.Signature != string(pec.ResultUnsigned) {
		notes = append(notes, e.Class, e.Signature)
	}
	if c := e.Certification; c != nil {
		for _, n := range c.InvoiceNotices {
			text := strings.TrimSpace(fmt.Sprintf("SdI %s, %s: %s %s", n.Kind, n.Name, n.Invoice, n.Identifier))
			if !n.FromExchange {
				text += " (not certified as sent by the exchange system)"
			}
			notes = append(notes, text)
		}
		if len(c.Contradictions) > 0 {
			notes = append(notes, "header contradicts the certificate")
		}
	}
	if e.State != journal.Delivered.String() {
		state := e.State
		if e.SupersededBy != nil {
			state += fmt.Sprintf(" by %s %d", e.SupersededBy.Folder, e.SupersededBy.UID)
		}
		notes = append(notes, state)
	}
	return notes
}

// show asks the route at path and prints the objects of the answer, as JSON or by human. The error is errNothing when there are none.
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

const catHelp = `Usage: copialettere cat ADDR FOLDER UID [-config FILE]

Writes the exact bytes of a message, as they were received, to standard output. "copialettere list" shows FOLDER and UID. A terminal shows
question marks in place of control characters and of marks that change the direction of text.

Example: copialettere cat mario@alpha.test INBOX/2026-11 17 > message.eml
`

func runCat(ctx context.Context, in *invocation, args []string) error {
	if err := want(args, "ADDR", "FOLDER", "UID"); err != nil {
		return err
	}
	return in.writeContent(ctx, messagePath+"/raw", messageQuery(args))
}

const whyHelp = `Usage: copialettere why ADDR [-message-id ID] [-config FILE] [-json]

Shows for each message to or from a mailbox whether it was journaled or skipped, and why: alias, forward, redirect, copy, list, refused ...
Gaps, the times when the archive was off, and changes of the address are shown too. Skips are kept on record for a limited time (keep_skips in the configuration).

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
	return show(in, ctx, mailboxPath+"/why", query, in.printVerdict)
}

func (in *invocation) printVerdict(v archive.Verdict) {
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

Reads the whole journal, recomputes the SHA-256 of every message and shared chunk, and follows every reference both ways. Deliveries go on
meanwhile. The exit status is 1 when there is a fault. Orphans are no fault: they are chunks that no entry needs, as a sender leaves them
when it breaks off.

The daemon does the same in the background, more slowly ([verify] in the configuration). This is for when you want to know now.

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
	var report *journal.Report
	_, err = each(in, ctx, c, http.MethodGet, "/verify", nil, func(l httpd.VerifyLine) error {
		if l.Progress != nil {
			in.progress(fmt.Sprintf("%s: %d entries checked ", l.Progress.Month, l.Progress.Entries))
		}
		report = l.Report
		return nil
	})
	in.progress("")
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
	fmt.Fprintf(in.stdout, "%s, %s of %s, %s of %s stored, %s\n", counted(r.Volumes, "volume", "volumes"), counted(r.Entries, "entry", "entries"),
		policy.English.Size(uint64(r.Bytes)), counted(r.Chunks, "chunk", "chunks"), policy.English.Size(uint64(r.Stored)), counted(r.Orphans, "orphan", "orphans"))
	fmt.Fprintf(in.stdout, "%s of unknown delivery, %d deferred, %s\n", counted(r.Unknown, "entry", "entries"), r.Deferred, counted(r.Gaps, "gap", "gaps"))
	if r.Imported > 0 {
		fmt.Fprintf(in.stdout, "%s imported, the others journaled\n", counted(r.Imported, "entry", "entries"))
	}
	in.printEvidence(r)
	for _, d := range r.Details {
		fmt.Fprintln(in.stdout, "FAULT", d)
	}
	if r.Faults == 0 {
		fmt.Fprintln(in.stdout, "sound")
	} else {
		fmt.Fprintln(in.stdout, counted(r.Faults, "fault", "faults"))
	}
}

// counted returns a number with what it counts.
func counted[N int | int64](n N, one, several string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, several)
}

// printEvidence tells of the logs and the checkpoints.
func (in *invocation) printEvidence(r *journal.Report) {
	fmt.Fprintf(in.stdout, "%s of %s", counted(r.Logs, "log", "logs"), counted(r.Leaves, "leaf", "leaves"))
	if r.LogsSince != nil {
		fmt.Fprintf(in.stdout, ", kept since %s", r.LogsSince.UTC().Format(time.DateTime))
	}
	if r.Unlogged > 0 {
		fmt.Fprintf(in.stdout, "; %s from before in no log yet", counted(r.Unlogged, "entry", "entries"))
	}
	if r.PutBack > 0 {
		fmt.Fprintf(in.stdout, "; %s put back to an earlier state by a restore from a backup, as is on record", counted(r.PutBack, "log", "logs"))
	}
	if r.LostSince != nil {
		fmt.Fprintf(in.stdout, "\n%s lost with a damaged disk, %s begun anew, as is on record since %s", counted(r.Lost, "message", "messages"),
			counted(r.LogsLost, "log", "logs"), r.LostSince.UTC().Format(time.DateTime))
	}
	fmt.Fprintf(in.stdout, "\n%s, %d with a time stamp, %d compared that are kept outside", counted(r.Checkpoints, "checkpoint", "checkpoints"), r.Stamped, r.Outside)
	if r.LastCheckpoint != nil {
		fmt.Fprintf(in.stdout, "; the last is of %s", r.LastCheckpoint.Format(time.DateTime))
	}
	fmt.Fprintln(in.stdout)
}

const statsHelp = `Usage: copialettere stats [ADDR] [-config FILE] [-json]

Shows how many entries and bytes every folder holds, of one mailbox or of all. The bytes are those of the messages themselves. Sharing and
compression make the journal smaller: "copialettere verify" shows the bytes stored.

Example: copialettere stats mario@alpha.test
`

func runStats(ctx context.Context, in *invocation, args []string) error {
	path, query := "/stats", url.Values{}
	switch len(args) {
	case 0:
	case 1:
		path = mailboxPath + "/folders"
		query.Set("mailbox", args[0])
	default:
		return want(args, "ADDR")
	}
	return show(in, ctx, path, query, func(f journal.FolderStats) {
		imported := ""
		if f.Imported > 0 {
			imported = fmt.Sprintf(", %d of them imported", f.Imported)
		}
		fmt.Fprintf(in.stdout, "%-40s %-16s %8d entries %10s%s\n", f.Mailbox, f.Folder+"/"+string(f.Month), f.Entries, policy.English.Size(f.Bytes), imported)
	})
}
