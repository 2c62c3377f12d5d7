package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"copialettere/policy/archive"
)

const tokenHelp = `Usage: copialettere token add NAME -domain DOMAIN -scope read|write [-until DATE] [-config FILE] [-json]
       copialettere token list [-domain DOMAIN]
       copialettere token revoke NAME

A token is the key of a program of yours, such as a customer panel or a webmail, to the API: it acts in all mailboxes of one domain. The program sends it
in each request, as "Authorization: Bearer TOKEN", to the listener of [web].

add     makes one, and shows it. It is not stored and cannot be shown again. NAME says which program it is for. With the scope read, the program looks
        into the mailboxes and reads their messages; with write it may also change what a postmaster may, do what the settings let an owner do, and
        sign owners in. It never makes delegates. With -until it ends with that day
list    lists them, with the hour of their last use
revoke  ends one at once

Owners see in the access log of their mailbox which token reads it (copialettere access), and what a token changes goes on record under its name
(copialettere mailbox log). That a token is made or revoked is in the log of the daemon.

Example: copialettere token add panel -domain alpha.test -scope write
`

// defineToken runs an act on tokens.
func defineToken(flags *flag.FlagSet) runner {
	domain := flags.String("domain", "", "")
	scope := flags.String("scope", "", "")
	until := flags.String("until", "", "")
	return func(ctx context.Context, in *invocation, args []string) error {
		if len(args) == 0 {
			return fmt.Errorf("%w: say what to do: add, list or revoke", errUsage)
		}
		act, args := args[0], args[1:]
		if !slices.Contains([]string{"add", "list", "revoke"}, act) {
			return fmt.Errorf("%w: %q: want add, list or revoke", errUsage, act)
		}
		var names []string
		if act != "list" {
			names = []string{"NAME"}
		}
		if err := want(args, names...); err != nil {
			return err
		}
		query := url.Values{}
		for name, value := range map[string]string{"domain": *domain, "scope": *scope, "until": *until} {
			switch {
			case value == "":
			case act == "revoke" || act == "list" && name != "domain":
				return fmt.Errorf("%w: -%s is not for %s", errUsage, name, act)
			default:
				query.Set(name, value)
			}
		}
		if act == "list" {
			return show(in, ctx, "/tokens", query, in.printToken)
		}
		if act == "add" && (*domain == "" || *scope == "") {
			return fmt.Errorf("%w: say for which domain, and how much it may do: -domain alpha.test -scope read", errUsage)
		}
		query.Set("name", args[0])
		query.Set("who", whoami())
		return in.changeToken(ctx, act, query)
	}
}

func (in *invocation) changeToken(ctx context.Context, act string, query url.Values) error {
	c, err := in.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	method, path := http.MethodPost, "/tokens"
	if act == "revoke" {
		method, path = http.MethodDelete, path+"/{name}"
	}
	_, err = each(in, ctx, c, method, path, query, func(v archive.Token) error {
		switch {
		case in.json:
			return in.printJSON(v)
		case v.Revoked:
			fmt.Fprintf(in.stdout, "the token %q is revoked\n", v.Name)
		default:
			fmt.Fprintf(in.stdout, "%s\n", v.Secret)
			fmt.Fprintf(in.stderr, "This is the token %q for %s, with the scope %s. It is not shown again.\n", v.Name, v.Domain, v.Scope)
		}
		return nil
	})
	return err
}

func (in *invocation) printToken(t archive.Token) {
	used := "never used"
	if !t.Used.IsZero() {
		used = "last used at " + localTime(&t.Used)
	}
	if !t.Until.IsZero() {
		used += ", until " + endDay(t.Until)
	}
	fmt.Fprintf(in.stdout, "%-24s  %s, %s, made %s by %s, %s\n", printable(t.Name), t.Domain, t.Scope, localTime(&t.Created), printable(t.Who), used)
}
