package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/url"

	"copialettere/journal/httpd"
)

const deleteHelp = `Usage: copialettere delete ADDR FOLDER UID [-undo] [-config FILE] [-json]

Deletes a message, where the settings of its mailbox allow it (write=on or manual_delete=on). It is no longer listed or counted.

-undo brings it back under a new UID. This works until the retention purges the message for good, 72 hours later at the earliest.
A message under a legal hold is not deleted. "copialettere mailbox log" shows who deleted what.

Example: copialettere delete mario@alpha.test INBOX/2026-11 17
`

const moveHelp = `Usage: copialettere move ADDR FOLDER UID FOLDER [-config FILE] [-json]

Moves a message to another folder of its month, where the settings of its mailbox allow it (write=on). The folders are INBOX, Sent and
Trash; no others can be made. The message gets a new UID.

Example: copialettere move mario@alpha.test INBOX/2026-11 17 Trash/2026-11
`

const holdHelp = `Usage: copialettere hold ADDR FOLDER UID -reason TEXT [-release] [-config FILE] [-json]

Places a legal hold on one message. As long as it stands, neither the retention, nor the quota, nor a person can delete the message, and the
archive of its mailbox is not erased. -release lifts it. "copialettere mailbox hold" holds a whole mailbox.

Example: copialettere hold mario@alpha.test INBOX/2026-11 17 -reason "case 12/2026"
`

func defineDelete(flags *flag.FlagSet) runner {
	undo := flags.Bool("undo", false, "")
	return func(ctx context.Context, in *invocation, args []string) error {
		act := "delete"
		if *undo {
			act = "undelete"
		}
		return in.act(ctx, act, args, nil)
	}
}

func runMove(ctx context.Context, in *invocation, args []string) error {
	if err := want(args, "ADDR", "FOLDER", "UID", "FOLDER"); err != nil {
		return err
	}
	return in.act(ctx, "move", args[:3], url.Values{"to": {args[3]}})
}

func defineHold(flags *flag.FlagSet) runner {
	reason, release := flags.String("reason", "", ""), flags.Bool("release", false, "")
	return func(ctx context.Context, in *invocation, args []string) error {
		act := "hold"
		if *release {
			act = "release"
		}
		if *reason == "" {
			return fmt.Errorf("%w: say why: -reason \"case 12/2026\"", errUsage)
		}
		return in.act(ctx, act, args, url.Values{"reason": {*reason}})
	}
}

// act carries out an act on one message and prints the result.
func (in *invocation) act(ctx context.Context, act string, args []string, query url.Values) error {
	if err := want(args, "ADDR", "FOLDER", "UID"); err != nil {
		return err
	}
	if query == nil {
		query = make(url.Values)
	}
	query.Set("mailbox", args[0])
	query.Set("folder", args[1])
	query.Set("uid", args[2])
	query.Set("who", whoami())
	c, err := in.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	_, err = each(in, ctx, c, http.MethodPost, "/message/"+act, query, func(v httpd.ActView) error {
		if in.json {
			return in.printJSON(v)
		}
		fmt.Fprintf(in.stdout, "%s: %s %s %d", v.Act, v.Mailbox, v.Folder, v.UID)
		if v.ToUID > 0 {
			fmt.Fprintf(in.stdout, ", now %s %d", v.ToFolder, v.ToUID)
		}
		fmt.Fprintln(in.stdout)
		return nil
	})
	return err
}
