package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"time"

	"copialettere/journal/export"
	"copialettere/journal/export/sincro"
	"copialettere/policy"
	"copialettere/policy/archive"
)

const exportHelp = `Usage: copialettere export ADDR -to PATH [-format eml|mbox|maildir|zip] [-folder F] [-class C] [-since DATE] [-until DATE] [-sincro WHO] [-config FILE] [-json]

Writes messages of a mailbox, with the exact bytes that were journaled, to a new folder PATH, or with -format zip to a file; the folder above it must
be there. eml is a file for each message in a folder for each month, mbox (mboxrd) a file for each month, maildir a Maildir for each month. Beside
them are manifest.csv, gaps.csv (what the archive lacks of that time) and SHA256SUMS, which "sha256sum -c" checks. What mbox changes of a message is
in the manifest.

Everything is synced to the disk, read back and compared. If it breaks off, run the same command again: what is there and right is kept.
-folder is INBOX/2026-11, INBOX, or 2026-11; -class one of the classes of "list", or of the filter; the days of -since and -until are included.
Without any of these, all is exported, the trash too.

-sincro adds PIndex.xml (SInCRO, UNI 11386) for who hands the export to a preservation service; WHO answers for it: ID,NAME,DOCUMENT.

The exit status is 1 when a message cannot be read; the rest is exported, and INCOMPLETE.txt names it. It is also 1 when there is nothing to export;
for a mailbox that has no archive nothing is written. Each export is in "copialettere mailbox log".

Example: copialettere export mario@alpha.test -to /mnt/disk/mario -format eml
`

func defineExport(flags *flag.FlagSet) runner {
	var to, form, who string
	flags.StringVar(&who, "sincro", "", "")
	var selection exportFlags
	flags.StringVar(&to, "to", "", "")
	flags.StringVar(&form, "format", string(export.FormEML), "")
	flags.StringVar(&selection.folder, "folder", "", "")
	flags.StringVar(&selection.class, "class", "", "")
	flags.StringVar(&selection.since, "since", "", "")
	flags.StringVar(&selection.until, "until", "", "")
	return func(ctx context.Context, in *invocation, args []string) error {
		var agent *sincro.Agent
		if who != "" {
			var err error
			if agent, err = sincro.ParseAgent(who); err != nil {
				return fmt.Errorf("%w: -sincro %w", errUsage, err)
			}
		}
		return runExport(ctx, in, args, to, export.Form(form), selection, agent)
	}
}

// exportFlags are the flags that select messages.
type exportFlags struct{ folder, class, since, until string }

// selection reads the flags. Days are those of the time zone of this machine.
func (f exportFlags) selection() (export.Selection, error) {
	s := export.Selection{Folder: f.folder, Class: f.class}
	for _, day := range []struct {
		name, text string
		days       int // later
		into       *time.Time
	}{{"since", f.since, 0, &s.Since}, {"until", f.until, 1, &s.Until}} {
		if day.text == "" {
			continue
		}
		t, err := dayOf(day.text, day.days)
		if err != nil {
			return s, fmt.Errorf("%w: -%s %q: %w", errUsage, day.name, day.text, err)
		}
		*day.into = t
	}
	if err := s.Check(); err != nil {
		return s, fmt.Errorf("%w: %w", errUsage, err)
	}
	return s, nil
}

func runExport(ctx context.Context, in *invocation, args []string, to string, form export.Form, flags exportFlags, agent *sincro.Agent) error {
	if err := want(args, "ADDR"); err != nil {
		return err
	}
	if to == "" {
		return fmt.Errorf("%w: say where: -to /mnt/disk/mario", errUsage)
	}
	if !slices.Contains(export.Forms(), form) {
		return fmt.Errorf("%w: -format %.20q: want one of %q", errUsage, form, export.Forms())
	}
	selection, err := flags.selection()
	if err != nil {
		return err
	}
	address, err := policy.ParseMailbox(args[0])
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if to, err = in.outside(to); err != nil {
		return err
	}
	c, err := in.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	if err := in.hasArchive(ctx, c, address); err != nil {
		return err
	}
	// It holds little and reads much, so by default it would look for what is no longer held time and again.
	debug.SetGCPercent(400)
	report, err := export.Run(ctx, export.Options{
		Source: &archiveSource{in, c, address.String(), selection}, Mailbox: address.String(), Selection: selection, Form: form, To: to,
		Sincro: agent, Program: version,
		Told: in.tellExported, Progress: in.exportProgress(),
	})
	in.progress("")
	if err != nil {
		return err
	}
	return in.printExported(to, report)
}

// hasArchive returns an error if a mailbox has no archive, and nothing is left of an earlier one: an empty export would look like one of an empty archive.
func (in *invocation) hasArchive(ctx context.Context, c *client, address policy.Address) error {
	_, err := each(in, ctx, c, http.MethodGet, mailboxPath, url.Values{"mailbox": {address.String()}}, func(m archive.Mailbox) error {
		if m.Archive == string(policy.StateOff) && m.Entries == 0 && m.Since == nil && len(m.PassedOver) == 0 && m.Moved == "" {
			return fmt.Errorf("%s: %w: nothing is exported", address, policy.ErrNoArchive)
		}
		return nil
	})
	return err
}

// tellExported tells what became of a message: with -json of each, else only of those that are not exported.
func (in *invocation) tellExported(r export.Result) error {
	if r.Status == export.StatusDamaged || r.Status == export.StatusGone {
		in.progress("")
		why := "cannot be read; \"copialettere verify\" tells more"
		if r.Status == export.StatusGone {
			why = "was moved or deleted meanwhile; the same command again finds where it is"
		}
		fmt.Fprintf(in.stderr, "copialettere: %s %s %d %s\n", r.Mailbox, r.Folder, r.UID, why)
	}
	if in.json {
		return in.printJSON(r)
	}
	return nil
}

// exportProgress returns a function that shows how far an export has come.
func (in *invocation) exportProgress() func(export.Progress) {
	var shown time.Time
	return func(p export.Progress) {
		if now := time.Now(); now.Sub(shown) > 200*time.Millisecond {
			shown = now
			in.progress(fmt.Sprintf("%d of %d messages, %s of %s ", p.Messages, p.Of, policy.English.Size(uint64(p.Bytes)), policy.English.Size(uint64(p.OfAll))))
		}
	}
}

// printExported prints what an export did. The error is errFailed if something is missing, and errNothing if there was nothing.
func (in *invocation) printExported(to string, r *export.Report) error {
	for _, text := range r.Unreadable {
		fmt.Fprintln(in.stderr, "copialettere:", printable(text))
	}
	if !in.json {
		fmt.Fprintf(in.stdout, "%s: %d messages of %s, read back and compared", to, r.Messages, policy.English.Size(uint64(r.Bytes)))
		if r.Kept > 0 {
			fmt.Fprintf(in.stdout, "; %d of them were there already", r.Kept)
		}
		fmt.Fprintln(in.stdout)
		if r.SHA256 != "" {
			fmt.Fprintf(in.stdout, "SHA-256 %s\n", r.SHA256)
		}
		if missing := r.Damaged + r.Gone; missing > 0 {
			fmt.Fprintf(in.stdout, "%d messages are missing: see INCOMPLETE.txt\n", missing)
		}
	}
	switch {
	case !r.Complete():
		return errFailed
	case r.Messages == 0:
		return errNothing
	}
	return nil
}
