package main

import (
	"context"
	"flag"
	"fmt"
	"net/url"
	"strings"

	"copialettere/policy"
	"copialettere/policy/archive"
)

const privacyHelp = `Usage: copialettere privacy ADDR [-others] [-config FILE] [-json]

Says what is held of a person by an address, whether or not it is a mailbox: how much, since when, for what purpose, on what legal basis and until
when. It is the material for an answer by GDPR article 15; whoever is responsible for the archive confirms the legal basis.

It tells of the settings, the messages, deleted ones included, the logs, skips, gaps and notices of the mailbox, and of what names the address
elsewhere: in the settings and changes of other mailboxes, in receipts, as a postmaster. What is not held is left out; what was not searched
is said.

  -others    search the messages, skips and gaps of all other mailboxes too, for the address as sender or recipient. This reads all entries, which
             takes a while. The text of messages is never searched.

Example: copialettere privacy mario@alpha.test -others
`

func definePrivacy(flags *flag.FlagSet) runner {
	others := flags.Bool("others", false, "")
	return func(ctx context.Context, in *invocation, args []string) error {
		if err := want(args, "ADDR"); err != nil {
			return err
		}
		query := url.Values{"mailbox": {args[0]}}
		if *others {
			query.Set("others", "true")
		}
		return show(in, ctx, mailboxPath+"/privacy", query, in.printHolding)
	}
}

// printHolding prints one kind of what is held of a person.
func (in *invocation) printHolding(h archive.Holding) {
	head := fmt.Sprintf("%s: %s", h.Kind, printable(h.What))
	if !h.Searched {
		fmt.Fprintf(in.stdout, "%s: not searched\n", head)
	} else {
		amount := fmt.Sprint(h.Count)
		if h.Bytes > 0 {
			amount += ", " + policy.English.Size(h.Bytes)
		}
		if h.Oldest != nil {
			amount += ", from " + localTime(h.Oldest) + " to " + localTime(h.Newest)
		}
		fmt.Fprintf(in.stdout, "%s: %s\n", head, amount)
	}
	for _, line := range []struct{ name, text string }{
		{"in", strings.Join(h.Mailboxes, " ")}, {"detail", h.Detail}, {"why", h.Why}, {"basis", h.Basis}, {"until", h.Until},
	} {
		if line.text != "" {
			fmt.Fprintf(in.stdout, "  %-7s %s\n", line.name, printable(line.text))
		}
	}
	if len(h.PassedOver) > 0 {
		fmt.Fprintf(in.stdout, "  without the months %v, which cannot be read\n", h.PassedOver)
	}
}
