package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"copialettere/cmd/copialettere/config"
	"copialettere/journal"
	"copialettere/lmtp/nexthop"
	"copialettere/policy"
	"copialettere/policy/archive"
)

const giveBackHelp = `Usage: copialettere give-back ADDR FOLDER UID ... [-again] [-config FILE] [-json]

Hands messages to the live mailbox once more, through the next hop of received mail: with their original bytes, and not journaled again. They stay in
the archive. It prints what the mailstore says of each, in its own words. UIDs are numbers and ranges: 17 20-31,40.

The envelope sender is empty, so nobody gets an automatic answer. "copialettere mailbox log" tells who gave back what.

If one of the messages was given back before, none is, the command tells when, and the exit status is 1; -again gives them back all the same. The exit
status is also 1 if the mailstore did not take all.

Example: copialettere give-back mario@alpha.test INBOX/2026-11 17
`

func defineGiveBack(flags *flag.FlagSet) runner {
	again := flags.Bool("again", false, "")
	return func(ctx context.Context, in *invocation, args []string) error {
		if len(args) < 3 {
			return want(args, "ADDR", "FOLDER", "UID")
		}
		query := url.Values{"mailbox": {args[0]}, "folder": {args[1]}, "uids": {strings.Join(args[2:], ",")}, "who": {whoami()}}
		if *again {
			query.Set("again", "true")
		}
		err := in.giveBack(ctx, query)
		if err != nil && strings.Contains(err.Error(), archive.ErrGivenBack.Error()) {
			err = fmt.Errorf("%w; nothing was done: the same command with -again gives them back all the same", err)
		}
		return err
	}
}

// giveBack asks for messages to be given back and prints what became of each. The error is errFailed if one was not.
func (in *invocation) giveBack(ctx context.Context, query url.Values) error {
	c, err := in.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	left := false
	_, err = each(in, ctx, c, http.MethodPost, mailboxPath+"/messages/{folder}/give-back", query, func(g archive.GivenBack) error {
		left = left || g.State != archive.GivenBackDone
		if in.json {
			return in.printJSON(g)
		}
		fmt.Fprintf(in.stdout, "%s: %s %s %d", g.State, g.Mailbox, g.Folder, g.UID)
		if g.Reply != "" {
			fmt.Fprintf(in.stdout, ": %s", printable(g.Reply))
		}
		fmt.Fprintln(in.stdout, givenBackHint[g.State])
		return nil
	})
	if err == nil && left {
		return errFailed
	}
	return err
}

// givenBackHint says what to do, by state.
var givenBackHint = map[string]string{
	archive.GivenBackUnknown: "; it may be in the mailbox: look there before you give it back again",
	archive.GivenBackDamaged: "; it cannot be read whole: \"copialettere verify\" tells more",
	archive.GivenBackAbsent:  "; it is not there any more",
}

// mailstore returns what gives messages back: the next hops of received mail. It is nil where none is configured.
func mailstore(c *config.Config, log *slog.Logger) archive.Mailstore {
	if c.Received == nil {
		return nil
	}
	hop := func(spec nexthop.Spec) *nexthop.Hop {
		return newHop(spec, c.Received.Hook, nexthop.Options{Logger: log})
	}
	usual := hop(c.Received.NextHop)
	domains := make(map[string]*nexthop.Hop)
	for _, d := range c.Domains {
		if d.NextHop != (nexthop.Spec{}) {
			domains[d.Name] = hop(d.NextHop)
		}
	}
	return func(ctx context.Context, to policy.Address, size int64, message io.WriterTo, commit func() error) (string, error) {
		h := domains[to.Domain]
		if h == nil {
			h = usual
		}
		var unrecorded error
		reply, err := h.Deliver(ctx, nexthop.Message{To: to.String(), Body: message, Size: size, EightBit: true, BeforeDot: func() error {
			unrecorded = commit()
			return unrecorded
		}})
		switch refused, _ := errors.AsType[*nexthop.RefusedError](err); {
		case err == nil:
			return reply.String(), nil
		case refused != nil:
			return refused.Reply.String(), fmt.Errorf("%w: %w", archive.ErrMailstoreRefused, err)
		case errors.Is(err, nexthop.ErrUnknown):
			log.Warn("a message was given back, and the mailstore did not answer", "mailbox", to.String(), "error", err)
			return "", fmt.Errorf("%w: %w", archive.ErrMailstoreUnknown, err)
		case unrecorded != nil, errors.Is(err, journal.ErrDamaged), ctx.Err() != nil:
			return "", err
		}
		// What is wrong with the machine is not for whoever asked.
		log.Error("a message cannot be given back", "mailbox", to.String(), "next_hop", h.Spec().String(), "error", err)
		return "", fmt.Errorf("%w now; the log has more", archive.ErrMailstore)
	}
}
