package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"copialettere/policy/archive"
)

const delegateHelp = `Usage: copialettere delegate add ADDR PERSON -until DATE [-as LOGIN] [-config FILE] [-json]
       copialettere delegate list ADDR
       copialettere delegate revoke ADDR PERSON

Lets PERSON, who signs in by an address and password of his own, read the archive of the mailbox ADDR, and nothing else, until the end of a day. In a
mail program the user name is ADDR*PERSON, where the program cannot give an authorization identity; app passwords are those that PERSON has.

add     grants it in the name of the owner (-as ADDR), or asks for it: an operator, and a postmaster of the domain (-as LOGIN), must both do so
        within seven days, and the earlier date counts. With -as it reads the password of LOGIN from standard input, one line; where LOGIN has a
        second factor, a second line with a code. Its owner is told when it is granted, if there is an address for notices
list    shows who may read, until when and by whose word, and what waits for somebody's word
revoke  ends it at once, open connections too

All of it goes on record (copialettere mailbox log).

Example: copialettere delegate add mario@alpha.test lawyer@beta.test -until 2027-01-31 -as mario@alpha.test
`

// defineDelegate runs an act on delegates.
func defineDelegate(flags *flag.FlagSet) runner {
	until := flags.String("until", "", "")
	as := flags.String("as", "", "")
	return func(ctx context.Context, in *invocation, args []string) error {
		if len(args) == 0 {
			return fmt.Errorf("%w: say what to do: add, list or revoke", errUsage)
		}
		act, args := args[0], args[1:]
		if !slices.Contains([]string{"add", "list", "revoke"}, act) {
			return fmt.Errorf("%w: %q: want add, list or revoke", errUsage, act)
		}
		names := []string{"ADDR", "PERSON"}
		if act == "list" {
			names = names[:1]
		}
		if err := want(args, names...); err != nil {
			return err
		}
		if act != "add" && (*until != "" || *as != "") {
			return fmt.Errorf("%w: -until and -as are for add", errUsage)
		}
		query := url.Values{"mailbox": {args[0]}}
		if act == "list" {
			return show(in, ctx, mailboxPath+"/delegates", query, in.printDelegate)
		}
		query.Set("person", args[1])
		query.Set("who", whoami())
		if act == "revoke" {
			return in.changeDelegate(ctx, act, query)
		}
		if *until == "" {
			return fmt.Errorf("%w: say until when: -until 2027-01-31", errUsage)
		}
		query.Set("until", *until)
		if *as == "" {
			return in.changeDelegate(ctx, act, query)
		}
		query.Set("as", *as)
		if err := in.readLogin(*as, query); err != nil {
			return err
		}
		return in.changeDelegate(ctx, act, query)
	}
}

func (in *invocation) changeDelegate(ctx context.Context, act string, query url.Values) error {
	c, err := in.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	method, path := http.MethodPost, mailboxPath+"/delegates"
	if act == "revoke" {
		method, path = http.MethodDelete, path+"/{person}"
	}
	_, err = each(in, ctx, c, method, path, query, func(v archive.Delegate) error {
		switch {
		case in.json:
			return in.printJSON(v)
		case v.Revoked:
			fmt.Fprintf(in.stdout, "%s: %s may not read it any more\n", v.Mailbox, v.Person)
		default:
			fmt.Fprintf(in.stdout, "%s: ", v.Mailbox)
			in.printDelegate(v)
		}
		return nil
	})
	return err
}

func (in *invocation) printDelegate(d archive.Delegate) {
	by := strings.Join(d.Who, " and ")
	if d.WaitsFor != "" {
		fmt.Fprintf(in.stdout, "%s is asked for until %s, by %s; the %s has until %s to ask for it too\n", d.Person, endDay(d.Until), printable(by), d.WaitsFor,
			localTime(&d.Expires))
		return
	}
	fmt.Fprintf(in.stdout, "%s may read until %s, by %s\n", d.Person, endDay(d.Until), printable(by))
}

// endDay returns the last day before a time that is a midnight, and another time as it is.
func endDay(t time.Time) string {
	if at := t.Local(); at.Hour() == 0 && at.Minute() == 0 && at.Second() == 0 {
		return at.AddDate(0, 0, -1).Format(time.DateOnly)
	}
	return localTime(&t)
}

// readLogin reads a password from standard input, and a code of the second factor from the next line, if there is one, into the values of a request.
func (in *invocation) readLogin(login string, values url.Values) error {
	lines := in.secrets()
	password, err := in.readSecret(lines, "Password of "+login)
	if err != nil {
		return err
	}
	code, err := in.readSecret(lines, "Code of the second factor, or nothing")
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	values.Set("password", password)
	values.Set("code", code)
	return nil
}
