package main

import (
	"context"
	"flag"
	"fmt"
	"net/url"
	"strings"
	"time"

	"copialettere/policy/pec"
	"copialettere/policy/pec/practice"
)

const practiceHelp = `Usage: copialettere practice ADDR [UID] [-message-id ID] [-config FILE] [-json]

Shows the practices of a mailbox: each certified message that it sent, with what the receipts say of every recipient: accepted, delivered
(when, and by which kind of receipt), not accepted or failed (when, and why), late (when that was told), or waiting, past 12 or 24 hours.
"failed-unnamed": a receipt tells of a failure without saying for which recipient, and nothing else is known of this one.
With a UID, only sent messages with that UID are shown; with -message-id only what has to do with that id: the Message-ID of the sent message or of a
receipt, or the identifier that the provider gave. "sent by" names a sender that is not the mailbox.

Receipts count when pec.trust believes them, those put in by hand only with the signature of a trusted provider; the others are named with the
reason. Where no id leads to the sent message, but sender,
recipients, subject and time fit, it is shown as a guess.

A brief delivery receipt is compared part by part with the archived message. It is a match when every part is there, equal or by its hash;
otherwise the parts that differ are named.

Example: copialettere practice mario@alpha.test 17
`

func definePractice(flags *flag.FlagSet) runner {
	messageID := flags.String("message-id", "", "")
	return func(ctx context.Context, in *invocation, args []string) error {
		return runPractice(ctx, in, args, *messageID)
	}
}

func runPractice(ctx context.Context, in *invocation, args []string, messageID string) error {
	query := url.Values{}
	if messageID != "" {
		query.Set("message_id", messageID)
	}
	switch len(args) {
	case 2:
		query.Set("uid", args[1])
		fallthrough
	case 1:
		query.Set("mailbox", args[0])
	default:
		return want(args, "ADDR")
	}
	return show(in, ctx, mailboxPath+"/practices", query, in.printPractice)
}

func (in *invocation) printPractice(p practice.Practice) {
	where := "not archived"
	if p.Folder != "" {
		where = fmt.Sprintf("%s %d, %s", p.Folder, p.UID, p.Time.Local().Format(time.DateTime))
		if p.Imported {
			where += ", put in by hand"
		}
		if p.LinkedBy == pec.MatchGuess {
			where += ", a guess: no id leads there"
		}
	}
	if p.Sender != "" && p.Sender != p.Mailbox {
		where += ", sent by " + printable(p.Sender)
	}
	id := p.Identifier
	if id == "" {
		id = "no receipt yet"
	}
	fmt.Fprintf(in.stdout, "%s  (%s)  %s\n", printable(p.Subject), where, printable(id))
	for _, r := range p.Recipients {
		status := string(r.Status)
		if status == "" {
			status = "nothing known"
		}
		fmt.Fprintf(in.stdout, "  %-36s %s", printable(r.Address), status)
		if r.Delivered != nil {
			fmt.Fprint(in.stdout, " ", r.Delivered.Local().Format(time.DateTime))
		}
		if r.Receipt != "" {
			fmt.Fprintf(in.stdout, " (%s)", printable(r.Receipt))
		}
		if t := timeOfStatus(r); t != nil {
			fmt.Fprint(in.stdout, " ", t.Local().Format(time.DateTime))
		}
		if r.Brief != "" {
			fmt.Fprintf(in.stdout, ", compared with the archived message: %s%s", r.Brief, briefParts(r.Brief, r.BriefParts))
		}
		if r.Reason != "" {
			fmt.Fprintf(in.stdout, ": %s", printable(r.Reason))
		}
		if r.Waiting != "" {
			fmt.Fprintf(in.stdout, ", waiting (%s)", r.Waiting)
		}
		if r.Kind == pec.KindExternal {
			fmt.Fprint(in.stdout, ", no PEC address: no receipt will come")
		}
		fmt.Fprintln(in.stdout)
	}
	for _, r := range p.Receipts {
		name := printable(strings.Join(append([]string{r.Class}, r.Events...), " "))
		switch {
		case r.NotBelieved != "":
			fmt.Fprintf(in.stdout, "  does not count: %s (%s %d): %s\n", name, r.Folder, r.UID, printable(r.NotBelieved))
		case r.Imported:
			fmt.Fprintf(in.stdout, "  put in by hand, and signed: %s (%s %d)\n", name, r.Folder, r.UID)
		}
	}
	if p.MoreNotBelieved > 0 {
		fmt.Fprintf(in.stdout, "  does not count: %d more\n", p.MoreNotBelieved)
	}
}

// briefParts names the parts on which a brief receipt differs from the message, each with its result where that is not the result of the whole.
func briefParts(whole string, parts []practice.BriefPart) string {
	var b strings.Builder
	for i, p := range parts {
		if b.WriteString(", "); i == 0 {
			b.Reset()
			b.WriteString(" (")
		}
		switch {
		case p.Field != "":
			b.WriteString(p.Field)
		case p.Part != "":
			b.WriteString("part " + p.Part)
		default:
			b.WriteString("part " + p.ReceiptPart + " of the receipt")
		}
		if p.Name != "" {
			fmt.Fprintf(&b, " %q", printable(p.Name))
		}
		if p.Result != whole {
			b.WriteString(" " + p.Result)
		}
	}
	if len(parts) > 0 {
		b.WriteString(")")
	}
	return b.String()
}

// timeOfStatus returns when a message was refused, failed or reported late, if that is its status; otherwise nil.
func timeOfStatus(r practice.Outcome) *time.Time {
	switch r.Status {
	case pec.StatusRefused:
		return r.Refused
	case pec.StatusFailed:
		return r.Failed
	case pec.StatusLate12, pec.StatusLate24:
		return r.Late
	}
	return nil
}
