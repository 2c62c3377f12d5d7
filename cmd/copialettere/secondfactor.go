package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"copialettere/policy/archive"
	"copialettere/policy/auth"
)

const secondFactorHelp = `Usage: copialettere second-factor on ADDR [CODE] [-config FILE] [-json]
       copialettere second-factor show ADDR
       copialettere second-factor off ADDR

Whoever signs in to pages by ADDR gives, beside the password, a code of an authenticator app. Mail programs need an app password from then on
(copialettere app-password); the password of the mailbox opens the archive to none of them.

on      makes a new secret and shows it, once: as text to type into the app, and as an otpauth: address for a QR code. It is in force when CODE, of
        the app, confirms it within an hour. That shows ten recovery codes, once: each signs in one time, when the phone is lost.
        If the second factor is on, the old secret and the old recovery codes stay good until then.
show    tells whether it is on, and how many recovery codes are left
off     turns it off, as for somebody who has lost phone and codes. Make sure that it is the person who asks. The owner is told,
        if there is an address for notices

All changes go on record (copialettere mailbox log; those of a login that is no mailbox, in the log of the daemon). A domain can require it: require_second_factor of [[domain]].

Example: copialettere second-factor on mario@alpha.test
Example: copialettere second-factor on mario@alpha.test 287082
`

// runSecondFactor runs an act on the second factor of a login.
func runSecondFactor(ctx context.Context, in *invocation, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("%w: say what to do: on, off or show", errUsage)
	}
	act, args := args[0], args[1:]
	names := []string{"ADDR"}
	if act == "on" && len(args) > 1 {
		names = append(names, "CODE")
	}
	if err := want(args, names...); err != nil {
		return err
	}
	query := url.Values{"mailbox": {args[0]}}
	if act == "show" {
		return show(in, ctx, mailboxPath+"/second-factor", query, in.printSecondFactor)
	}
	query.Set("who", whoami())
	switch {
	case act == "on" && len(args) == 2:
		query.Set("code", args[1])
		return in.changeSecondFactor(ctx, "confirm", query)
	case act == "on":
		return in.changeSecondFactor(ctx, "begin", query)
	case act == "off":
		return in.changeSecondFactor(ctx, "end", query)
	}
	return fmt.Errorf("%w: %q: want on, off or show", errUsage, act)
}

func (in *invocation) changeSecondFactor(ctx context.Context, act string, query url.Values) error {
	c, err := in.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	_, err = each(in, ctx, c, http.MethodPost, mailboxPath+"/second-factor/"+act, query, func(v archive.SecondFactor) error {
		switch {
		case in.json:
			return in.printJSON(v)
		case v.New != nil:
			fmt.Fprintf(in.stdout, "%s\n%s\n", v.New.Text, v.New.URI)
			fmt.Fprintf(in.stderr, "This is the new secret of %s. It is not shown again. Until %s a code of the app puts it in force:\ncopialettere second-factor on %[1]s CODE\n",
				v.Mailbox, localTime(&v.New.Until))
		case len(v.Codes) > 0:
			fmt.Fprintln(in.stdout, strings.Join(v.Codes, "\n"))
			fmt.Fprintf(in.stderr, "The second factor of %s is on. These are its recovery codes, each for one time. They are not shown again.\n", v.Mailbox)
		default:
			in.printSecondFactor(v)
		}
		for _, note := range v.Notes {
			fmt.Fprintln(in.stderr, note.English)
		}
		return nil
	})
	return err
}

func (in *invocation) printSecondFactor(v archive.SecondFactor) {
	fmt.Fprintf(in.stdout, "%s: the second factor is ", v.Mailbox)
	in.printSecondFactorState(v.SecondFactor)
}

// printSecondFactorState ends a line.
func (in *invocation) printSecondFactorState(v auth.SecondFactor) {
	switch {
	case v.On:
		fmt.Fprintf(in.stdout, "on since %s, recovery codes left: %d", localTime(v.Since), v.RecoveryCodes)
	case v.Required:
		fmt.Fprint(in.stdout, "off, and its domain requires it")
	default:
		fmt.Fprint(in.stdout, "off")
	}
	if v.Waiting != nil {
		fmt.Fprintf(in.stdout, "; a new secret waits for its code until %s", localTime(v.Waiting))
	}
	fmt.Fprintln(in.stdout)
}
