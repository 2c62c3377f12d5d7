package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	"copialettere/policy/archive"
)

const appPasswordHelp = `Usage: copialettere app-password add ADDR NAME [-config FILE] [-json]
       copialettere app-password list ADDR
       copialettere app-password revoke ADDR NAME

App passwords open the archive of a mailbox to mail programs, beside the password of the mailbox: one for each program, so that it can be taken
from a lost phone alone. They do not open pages. With [dovecot] in the configuration, Dovecot and Postfix take them for the mailbox itself too; the
day of the last use there is known with [dovecot_policy].

add     makes one, and shows it: 28 characters in groups, to type or to copy. It is not stored and cannot be shown again. Its owner is told
        (notify_on=security). NAME says which program it is for.
list    lists them, with the day of their last use
revoke  ends one at once

Both changes go on record (copialettere mailbox log). A mailbox has at most 20. When the person of an address changes (mailbox hand-over), those of the
former person open nothing.

Example: copialettere app-password add mario@alpha.test "new phone"
`

// runAppPassword runs an act on app passwords.
func runAppPassword(ctx context.Context, in *invocation, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("%w: say what to do: add, list or revoke", errUsage)
	}
	act, args := args[0], args[1:]
	names := []string{"ADDR", "NAME"}
	if act == "list" {
		names = names[:1]
	}
	if err := want(args, names...); err != nil {
		return err
	}
	query := url.Values{"mailbox": {args[0]}}
	switch act {
	case "list":
		return show(in, ctx, mailboxPath+"/app-passwords", query, in.printAppPassword)
	case "add", "revoke":
		query.Set("name", args[1])
		query.Set("who", whoami())
		return in.changeAppPassword(ctx, act, query)
	}
	return fmt.Errorf("%w: %q: want add, list or revoke", errUsage, act)
}

func (in *invocation) changeAppPassword(ctx context.Context, act string, query url.Values) error {
	c, err := in.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	method, path := http.MethodPost, mailboxPath+"/app-passwords"
	if act == "revoke" {
		method, path = http.MethodDelete, path+"/{name}"
	}
	_, err = each(in, ctx, c, method, path, query, func(v archive.AppPassword) error {
		switch {
		case in.json:
			return in.printJSON(v)
		case v.Revoked:
			fmt.Fprintf(in.stdout, "%s: the app password %q is revoked\n", v.Mailbox, v.Name)
		default:
			fmt.Fprintf(in.stdout, "%s\n", v.Password)
			fmt.Fprintf(in.stderr, "This is the app password %q of %s. It is not shown again.\n", v.Name, v.Mailbox)
			if v.Closed != nil {
				fmt.Fprintln(in.stderr, "It opens no archive now:", v.Closed.English)
			}
		}
		return nil
	})
	return err
}

func (in *invocation) printAppPassword(a archive.AppPassword) {
	used := "never used"
	if !a.Used.IsZero() {
		used = "last used on " + a.Used.Format("2006-01-02")
	}
	fmt.Fprintf(in.stdout, "%-24s  made %s by %s, %s\n", printable(a.Name), localTime(&a.Created), printable(a.Who), used)
}
