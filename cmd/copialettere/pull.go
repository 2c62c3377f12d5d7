package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"copialettere/journal/export/pull"
	"copialettere/policy"
	"copialettere/policy/archive"
)

const pullHelp = `Usage: copialettere pull add ADDR NAME -from imaps://USER@HOST [-every 1d] [-folder F] [-delete-after 30d] [-ca FILE]
                         [-password-file FILE] [-config FILE] [-json]
       copialettere pull test|run|remove ADDR NAME
       copialettere pull list ADDR

Keeps a profile by which mail of an IMAP account elsewhere is imported into an archive again and again, as "import ADDR -from imaps://..." does once.

add     keeps a profile, or changes the one of that name and account: all is as said now, and what was imported is known. The password is asked for, or is the first line of standard input or of FILE. It is kept sealed and never shown again.
        -every runs it by itself, each so many hours (6h) or days (1d); without it, it runs only by hand. -folder is a folder there with all in it;
        it may come again. -delete-after deletes there what was imported so many days ago ("0": at once), each message only after it was fetched
        once more and is equal byte for byte to that of the archive. -ca names certificates of authorities to believe instead of the system's
test    signs in, and lists the folders of the account
run     runs it now. A run fetches what has come since the last one; one that was interrupted goes on
list    shows the profiles, and how their last runs went
remove  removes one. What it brought stays

The exit status of run is 1 when something was not taken: see "copialettere import -h".

Example: copialettere pull add mario@alpha.test aruba -from imaps://mario@pec.it@imaps.pec.aruba.it -every 1d
`

// accountFlags say from which account mail comes.
type accountFlags struct {
	from, deleteAfter, ca, passwordFile string
	folders                             []string
}

func (f *accountFlags) define(flags *flag.FlagSet) {
	flags.StringVar(&f.from, "from", "", "")
	flags.StringVar(&f.deleteAfter, "delete-after", "", "")
	flags.StringVar(&f.ca, "ca", "", "")
	flags.StringVar(&f.passwordFile, "password-file", "", "")
	flags.Func("folder", "", func(name string) error {
		f.folders = append(f.folders, name)
		return nil
	})
}

// values returns the flags as the members of a request, with the password.
func (f *accountFlags) values(in *invocation, mailbox string) (url.Values, error) {
	account, err := pull.ParseAccount(f.from)
	if err == nil {
		_, err = pull.ParseDays(f.deleteAfter)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	v := url.Values{"mailbox": {mailbox}, "from": {account.String()}, "folders": {strings.Join(f.folders, "\n")}, "delete_after": {f.deleteAfter}, "who": {whoami()}}
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return nil, err
		}
		v.Set("ca", string(pem))
	}
	var password string
	if f.passwordFile != "" {
		text, err := os.ReadFile(f.passwordFile)
		if err != nil {
			return nil, err
		}
		password, _, _ = strings.Cut(string(text), "\n")
		password = strings.TrimSuffix(password, "\r")
	} else if password, err = in.readSecret(in.secrets(), "Password of "+account.User+" at "+account.Host); err != nil {
		return nil, err
	}
	v.Set("password", password)
	return v, nil
}

// definePull runs an act on profiles.
func definePull(flags *flag.FlagSet) runner {
	var account accountFlags
	account.define(flags)
	every := flags.String("every", "", "")
	return func(ctx context.Context, in *invocation, args []string) error {
		acts := []string{"add", "test", "run", "list", "remove"}
		if len(args) == 0 || !slices.Contains(acts, args[0]) {
			return fmt.Errorf("%w: say what to do: add, test, run, list or remove", errUsage)
		}
		act, args := args[0], args[1:]
		names := []string{"ADDR", "NAME"}
		if act == "list" {
			names = names[:1]
		}
		if err := want(args, names...); err != nil {
			return err
		}
		if act != "add" && (account.from != "" || account.deleteAfter != "" || account.ca != "" || account.passwordFile != "" || len(account.folders) > 0 || *every != "") {
			return fmt.Errorf("%w: flags of a profile are for add: the same name and account again changes it", errUsage)
		}
		values := url.Values{"mailbox": {args[0]}, "who": {whoami()}}
		switch act {
		case "list":
			return show(in, ctx, mailboxPath+"/pulls", url.Values{"mailbox": {args[0]}}, in.printPull)
		case "add":
			var err error
			if values, err = account.values(in, args[0]); err != nil {
				return err
			}
			values.Set("every", *every)
		}
		values.Set("name", args[1])
		return in.pull(ctx, act, values)
	}
}

// pull makes a request about a profile.
func (in *invocation) pull(ctx context.Context, act string, values url.Values) error {
	c, err := in.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	const path = mailboxPath + "/pulls"
	switch act {
	case "run":
		return in.pulled(ctx, c, path+"/{name}/run", values)
	case "test":
		_, err = each(in, ctx, c, http.MethodPost, path+"/{name}/test", values, in.printFound)
		return err
	}
	method, at := http.MethodPost, path
	if act == "remove" {
		method, at = http.MethodDelete, path+"/{name}"
	}
	_, err = each(in, ctx, c, method, at, values, func(v pull.Pull) error {
		switch {
		case in.json:
			return in.printJSON(v)
		case v.Removed:
			fmt.Fprintf(in.stdout, "%s: the profile %q is removed\n", v.Mailbox, printable(v.Name))
			return nil
		}
		if v.Replaced {
			fmt.Fprintf(in.stdout, "%s: the profile %q is changed\n", v.Mailbox, printable(v.Name))
		}
		in.printPull(v)
		return nil
	})
	return err
}

func (in *invocation) printFound(f pull.Found) error {
	if in.json {
		return in.printJSON(f)
	}
	note := ""
	switch {
	case f.Detail != "":
		note = "  does not open: " + f.Detail
	case !f.Taken:
		note = "  (not imported)"
	}
	fmt.Fprintf(in.stdout, "%8d  %s%s\n", f.Messages, printable(f.Folder), printable(note))
	return nil
}

func (in *invocation) printPull(p pull.Pull) {
	when := "by hand"
	if p.Next != nil {
		when = "every " + p.Every + ", next " + localTime(p.Next)
	}
	fmt.Fprintf(in.stdout, "%-16s  %s, %s", printable(p.Name), printable(p.From), when)
	if p.DeleteAfter != "" {
		fmt.Fprintf(in.stdout, ", deleted there after %s", p.DeleteAfter)
	}
	fmt.Fprintln(in.stdout)
	switch r := p.Last; {
	case p.Running != nil:
		fmt.Fprintf(in.stdout, "    under way: %d of %d messages so far\n", p.Running.Done, p.Running.Messages)
	case r == nil:
		fmt.Fprintln(in.stdout, "    has not run yet")
	case r.Error != "":
		fmt.Fprintf(in.stdout, "    %s: imported %d, then: %s\n", localTime(&r.End), r.Imported, printable(r.Error))
		if p.Failures > 1 {
			fmt.Fprintf(in.stdout, "    %d runs in a row did not go through\n", p.Failures)
		}
	default:
		fmt.Fprintf(in.stdout, "    %s: imported %d, there already %d, not taken %d, deleted there %d\n", localTime(&r.End), r.Imported, r.Duplicates, r.Refused, r.Deleted)
	}
	if p.Last != nil {
		for _, note := range p.Last.Notes {
			fmt.Fprintf(in.stdout, "    %s\n", printable(note))
		}
	}
}

// isAccount reports whether what is imported is an account, and no path.
func isAccount(from string) bool {
	scheme, _, ok := strings.Cut(from, "://")
	return ok && strings.HasPrefix(strings.ToLower(scheme), "imap")
}

// importAccount imports the mail of an account once.
func importAccount(ctx context.Context, in *invocation, args []string, f *accountFlags, dry, plaintext bool) error {
	values, err := f.values(in, args[0])
	if err != nil {
		return err
	}
	if dry {
		values.Set("dry_run", "true")
	}
	if plaintext {
		values.Set("plaintext", "true")
	}
	c, err := in.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	return in.pulled(ctx, c, mailboxPath+"/pull", values)
}

// pulled makes a request that imports, and tells what became of it. The error is errFailed if something was not taken.
func (in *invocation) pulled(ctx context.Context, c *client, path string, values url.Values) error {
	var imported, already, refused, gone, deleted, would, folders int
	var bytes int64
	var shown time.Time
	_, err := each(in, ctx, c, http.MethodPost, path, values, func(r pull.Result) error {
		switch {
		case r.Failed():
			refused++
		case r.State == archive.KeptImported, r.State == archive.KeptNew:
			imported++
			bytes += r.Size
		case r.State == archive.KeptDuplicate:
			already++
		case r.State == pull.StateGone:
			gone++
		case r.State == pull.StateDeleted:
			deleted++
		case r.State == pull.StateWouldDelete:
			would++
		case r.State == pull.StateFolder:
			folders++
		case r.State == pull.StateWaiting:
			fmt.Fprintln(in.stderr, "copialettere: the server asks to wait,", printable(r.Detail))
		}
		if now := time.Now(); now.Sub(shown) > 200*time.Millisecond {
			shown = now
			in.progress(fmt.Sprintf("%s: imported %d, there already %d, not taken %d ", r.SourceFolder, imported, already, refused))
		}
		if in.json {
			return in.printJSON(r)
		}
		if r.Failed() {
			in.progress("")
			fmt.Fprintln(in.stderr, "copialettere:", printable(r.Words()))
		}
		return nil
	})
	in.progress("")
	if !in.json && (err == nil || imported+already+refused > 0) {
		verb := "imported"
		if values.Get("dry_run") != "" {
			verb = "would fetch"
		}
		fmt.Fprintf(in.stdout, "%d folders: %s %d messages of %s, there already %d, not taken %d", folders, verb, imported, policy.English.Size(uint64(bytes)), already, refused)
		for _, more := range []struct {
			n    int
			text string
		}{{gone, "gone meanwhile"}, {deleted, "deleted there"}, {would, "would be deleted there"}} {
			if more.n > 0 {
				fmt.Fprintf(in.stdout, ", %s %d", more.text, more.n)
			}
		}
		fmt.Fprintln(in.stdout)
	}
	switch {
	case err != nil:
		return fmt.Errorf("%w; the same command again goes on", err)
	case refused > 0:
		return errFailed
	}
	return nil
}
