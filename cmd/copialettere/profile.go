package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/setup"
)

const profileHelp = `Usage: copialettere profile ADDR [-account archive|mailbox] [-incoming imap|pop3] [-config FILE]
       copialettere profile ADDR -json
       copialettere profile ADDR -qr [-json]
       copialettere profile ADDR -png

Writes to standard output with what somebody sets a mail program up for the archive of a mailbox, or with -account mailbox for the live mailbox.
There is no password in any of it.

(without flags)   a configuration profile (.mobileconfig) for iPhone, iPad and Mac, signed by the certificate of [profile], else of [tls]
-json             the parameters: servers, ports, user name
-qr               a link to the profile as a QR code for the terminal, and as text; with -json also as a PNG in base64. The link works once, within
                  15 minutes, without a sign-in, and only the newest one of an account works. It shows a page first, so a preview does not use it up.
-png              the QR code of such a link, as a PNG
-incoming         how the live mailbox is read, where it can be read in two ways

Example: copialettere profile mario@alpha.test >mario.mobileconfig
Example: copialettere profile mario@alpha.test -account mailbox -incoming pop3 -json
`

// profileFlags are the flags of the command.
type profileFlags struct {
	account, incoming string
	qr, png           bool
}

func defineProfile(flags *flag.FlagSet) runner {
	var f profileFlags
	flags.StringVar(&f.account, "account", string(setup.AccountArchive), "")
	flags.StringVar(&f.incoming, "incoming", "", "")
	flags.BoolVar(&f.qr, "qr", false, "")
	flags.BoolVar(&f.png, "png", false, "")
	return func(ctx context.Context, in *invocation, args []string) error {
		if err := want(args, "ADDR"); err != nil {
			return err
		}
		return runProfile(ctx, in, args[0], f)
	}
}

func runProfile(ctx context.Context, in *invocation, mailbox string, f profileFlags) error {
	query := url.Values{"mailbox": {mailbox}, "account": {f.account}}
	if f.incoming != "" {
		query.Set("incoming", f.incoming)
	}
	switch {
	case f.qr && f.png, f.png && in.json:
		return fmt.Errorf("%w: choose one of -qr, -png and -json; -qr -json has both", errUsage)
	case f.qr, f.png:
		query.Set("who", whoami())
		return in.makeSetUpLink(ctx, query, f.png)
	case !in.json:
		return in.writeContent(ctx, mailboxPath+"/set-up/profile", query)
	}
	c, err := in.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	_, err = each(in, ctx, c, http.MethodGet, mailboxPath+"/set-up", query, func(p setup.Parameters) error { return in.printJSON(p) })
	return err
}

// makeSetUpLink makes a link and prints it, or its QR code as a PNG.
func (in *invocation) makeSetUpLink(ctx context.Context, query url.Values, png bool) error {
	c, err := in.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	_, err = each(in, ctx, c, http.MethodPost, mailboxPath+"/set-up/link", query, func(l archive.SetUpLink) error {
		switch {
		case in.json:
			return in.printJSON(l)
		case png:
			_, err := in.content().Write(l.PNG)
			in.tellClosed(l.Closed)
			return err
		}
		lines, err := setup.QRText(l.Link)
		if err != nil {
			return err
		}
		for _, line := range lines {
			in.printInk(line)
		}
		fmt.Fprintln(in.stdout, l.Link)
		fmt.Fprintf(in.stderr, "This sets up the %s of %s, once, until %s.\n", l.Account, l.Mailbox, localTime(&l.Until))
		in.tellClosed(l.Closed)
		return nil
	})
	return err
}

// tellClosed says, beside what was asked for, why an account cannot be opened now.
func (in *invocation) tellClosed(why *policy.Label) {
	if why != nil {
		fmt.Fprintln(in.stderr, "It cannot be opened now:", why.English)
	}
}

// printInk prints a line dark on bright, whatever the colours of the terminal are.
func (in *invocation) printInk(line string) {
	if s, ok := in.stdout.(*screen); ok && isTerminal(s) {
		io.WriteString(s.to, "\x1b[30;107m"+printable(line)+"\x1b[0m\n")
		return
	}
	fmt.Fprintln(in.stdout, strings.TrimRight(line, " "))
}
