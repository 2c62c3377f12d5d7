package main

import (
	"context"
	"fmt"
	"net/url"

	"copialettere/policy/auth"
)

const accessHelp = `Usage: copialettere access ADDR [-config FILE] [-json]

Shows who signed in to the archive of a mailbox, and who failed to, oldest first: when, by which protocol, as whom and in which role, from which
address, and how it ended:

  ok             signed in
  denied         wrong name or password
  closed         right, but the settings of the mailbox close its archive to mail programs
  second-factor  right password, but no code of the second factor or a wrong one, or a mail program that needs an app password
  throttled      too many failures before: the password was not even looked at

A program of the provider with a token, which does not sign in, has a line for the first time of a day that it reads messages, and one for the others.
Logins that are alike within a short time are one line with their number. The newest 5000 that succeeded and the newest 1000 others are kept.

Example: copialettere access mario@alpha.test
`

func runAccess(ctx context.Context, in *invocation, args []string) error {
	if err := want(args, "ADDR"); err != nil {
		return err
	}
	return show(in, ctx, mailboxPath+"/access", url.Values{"mailbox": {args[0]}}, in.printAccess)
}

func (in *invocation) printAccess(a auth.Access) {
	from := a.Address
	if from == "" {
		from = "many or unknown addresses"
	}
	fmt.Fprintf(in.stdout, "%s  %-13s  %-10s  %s", localTime(&a.Time), a.Result, a.Protocol, printable(a.Login))
	if a.Role != "" {
		fmt.Fprintf(in.stdout, " (%s)", a.Role)
	}
	fmt.Fprintf(in.stdout, " from %s", printable(from))
	if a.AppPassword != "" {
		fmt.Fprintf(in.stdout, ", by the app password %q", a.AppPassword)
	}
	switch a.By {
	case "":
	case auth.ByMaster:
		fmt.Fprint(in.stdout, ", by the mail server (imapc)")
	default:
		fmt.Fprintf(in.stdout, ", by a link of %s", printable(a.By))
	}
	if a.SecondFactor == auth.FactorRecovery {
		fmt.Fprint(in.stdout, ", by a recovery code")
	}
	if a.Count > 1 {
		fmt.Fprintf(in.stdout, ", %d times until %s", a.Count, localTime(&a.Until))
	}
	fmt.Fprintln(in.stdout)
}
