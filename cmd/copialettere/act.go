package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"copialettere/journal"
	"copialettere/journal/httpd"
)

const deleteHelp = `Usage: copialettere delete ADDR FOLDER UID ... [-undo] [-config FILE] [-json]

Deletes messages of one folder, where the settings of their mailbox allow it (write=on or manual_delete=on). They are no longer listed, and no
quota counts them. UIDs are numbers and ranges: 17 20-31,40.

-undo brings messages back under new UIDs, for 72 hours. After that they are gone for good; only a hold on the whole mailbox keeps them.
Messages under a legal hold are not deleted: the command names them, and the exit status is 1. UIDs that are not there are passed over.
However many messages it deletes, this is one act in "copialettere mailbox log", with their number. If it breaks off, the log tells what was
deleted; run it again for the rest.

Example: copialettere delete mario@alpha.test INBOX/2026-11 17 20-31
`

const emptyHelp = `Usage: copialettere empty ADDR FOLDER [-config FILE] [-json]

Deletes all messages of a folder, as "copialettere delete" does: one act, with their number, that "copialettere delete -undo" takes back for
72 hours. The folder stays, with 0 messages. What arrives meanwhile stays too, and so do messages under a legal hold.

Example: copialettere empty mario@alpha.test Trash/2026-11
`

const moveHelp = `Usage: copialettere move ADDR FOLDER UID ... FOLDER [-config FILE] [-json]

Moves messages to another folder of their month, where the settings of their mailbox allow it (write=on). The folders are INBOX, Sent and
Trash; no others can be made. The messages get new UIDs. UIDs are numbers and ranges, as for "copialettere delete".

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
		act := "/delete"
		if *undo {
			act = "/undelete"
		}
		return in.actOnSeveral(ctx, act, args, nil)
	}
}

func runEmpty(ctx context.Context, in *invocation, args []string) error {
	if err := want(args, "ADDR", "FOLDER"); err != nil {
		return err
	}
	return in.act(ctx, mailboxPath+"/messages/{folder}/empty", url.Values{"mailbox": {args[0]}, "folder": {args[1]}})
}

func runMove(ctx context.Context, in *invocation, args []string) error {
	if len(args) < 4 {
		return want(args, "ADDR", "FOLDER", "UID", "FOLDER")
	}
	to := len(args) - 1
	return in.actOnSeveral(ctx, "/move", args[:to], url.Values{"to": args[to:]})
}

func defineHold(flags *flag.FlagSet) runner {
	reason, release := flags.String("reason", "", ""), flags.Bool("release", false, "")
	return func(ctx context.Context, in *invocation, args []string) error {
		act := "/hold"
		if *release {
			act = "/release"
		}
		if *reason == "" {
			return fmt.Errorf("%w: say why: -reason \"case 12/2026\"", errUsage)
		}
		if err := want(args, "ADDR", "FOLDER", "UID"); err != nil {
			return err
		}
		return in.act(ctx, messagePath+act, url.Values{"mailbox": {args[0]}, "folder": {args[1]}, "uid": {args[2]}, "reason": {*reason}})
	}
}

// actOnSeveral carries out an act on the messages that ADDR FOLDER UID ... name.
func (in *invocation) actOnSeveral(ctx context.Context, act string, args []string, query url.Values) error {
	if len(args) < 3 {
		return want(args, "ADDR", "FOLDER", "UID")
	}
	if query == nil {
		query = make(url.Values)
	}
	query.Set("mailbox", args[0])
	query.Set("folder", args[1])
	query.Set("uids", strings.Join(args[2:], ","))
	return in.act(ctx, mailboxPath+"/messages/{folder}"+act, query)
}

// act carries out an act on messages and prints the result. The error is errFailed if some that were meant were left.
func (in *invocation) act(ctx context.Context, route string, query url.Values) error {
	query.Set("who", whoami())
	c, err := in.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	left := false
	_, err = each(in, ctx, c, http.MethodPost, route, query, func(v httpd.ActView) error {
		left = v.Held != nil || v.Gone != nil || v.Damaged != nil
		if in.json {
			return in.printJSON(v)
		}
		in.printAct(v)
		return nil
	})
	if err == nil && left {
		return errFailed
	}
	return err
}

func (in *invocation) printAct(v httpd.ActView) {
	fmt.Fprintf(in.stdout, "%s: %s %s", v.Act, v.Mailbox, v.Folder)
	them := "it"
	if v.Count > 0 {
		fmt.Fprintf(in.stdout, " %s", v.UIDs)
	}
	if v.Count != 1 {
		fmt.Fprintf(in.stdout, " (%d messages)", v.Count)
		them = "them"
	}
	if v.ToUID > 0 {
		fmt.Fprintf(in.stdout, ", now %s %s", v.ToFolder, v.ToUIDs)
	}
	if v.Until != nil {
		fmt.Fprintf(in.stdout, "; \"copialettere delete -undo\" brings %s back until %s", them, localTime(v.Until))
	}
	fmt.Fprintln(in.stdout)
	for _, left := range []struct {
		uids journal.UIDs
		why  string
	}{
		{v.Held, "under a legal hold"}, {v.Gone, "deleted more than 72 hours ago, and gone for good"},
		{v.Damaged, "cannot be read; \"copialettere verify\" tells more"},
	} {
		if left.uids != nil {
			fmt.Fprintf(in.stdout, "  left out %s (%d): %s\n", left.uids, left.uids.Count(), left.why)
		}
	}
}
