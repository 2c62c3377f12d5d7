package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"time"

	"copialettere/cmd/copialettere/config"
	"copialettere/journal"
	"copialettere/journal/datafolder"
	"copialettere/journal/doctor"
	"copialettere/journal/kv"
)

const doctorHelp = `Usage: copialettere doctor [-mend] [-config FILE] [-json]

Says what is wrong with a data folder, what that means for owners and mail, and what to do. It reads all of the journal's files and changes nothing.
Stop the daemon first; while it runs, "copialettere check" and "copialettere verify" tell what can be told. Run it as the daemon's user.

  -mend   mend what can be mended. A damaged file of a month is written anew with all that can be read in it. What the disk has lost stays lost: each
          message that is known to be gone is named, and goes on record as a gap, which its owner sees; where nobody can say which messages are gone,
          the gap is over the month. What was deleted or erased stays so. Then counters and indexes are recreated, and the month is verified.
          The damaged files are kept aside, and named. If it breaks off, run it again: until it is done, nothing else opens the data folder

Make a copy of the data folder before -mend where you can. The settings are mended only where nothing of them is lost. contrib/operating.md says when
a backup is the better choice. The exit status is 0 if nothing is wrong, 1 if something is, or is left after -mend, and 2 if it could not look.

Example: sudo -u copialettere copialettere doctor
`

func defineDoctor(flags *flag.FlagSet) runner {
	mend := flags.Bool("mend", false, "")
	return func(ctx context.Context, in *invocation, args []string) error {
		if err := want(args); err != nil {
			return err
		}
		c, err := config.Load(in.configFile)
		if err != nil {
			return err
		}
		d := &doctoring{in: in, c: c, options: doctor.Options{Folder: c.Data, SigningKey: c.Evidence.KeyFile}}
		return d.run(ctx, *mend)
	}
}

// doctoring is one run of the command.
type doctoring struct {
	in      *invocation
	c       *config.Config
	options doctor.Options
}

func (d *doctoring) run(ctx context.Context, mend bool) error {
	if err := noDaemon(d.c); err != nil {
		return unseen(fmt.Errorf("%w. While it runs, \"copialettere check\" and \"copialettere verify\" tell what can be told", err))
	}
	if mend {
		if err := ownerOnly(d.c.Data); err != nil {
			return unseen(err)
		}
	}
	d.options.Keys, d.options.KeysErr = encryptionKeys(ctx, d.c.Encryption)
	found, err := doctor.Examine(ctx, d.options)
	if err != nil {
		return unseen(err)
	}
	for _, f := range found {
		if err := d.print(f); err != nil {
			return err
		}
	}
	if !mend {
		return d.end(found)
	}
	return d.mend(ctx, found)
}

// unseen is the error of a doctor that could not look.
func unseen(err error) error { return fmt.Errorf("%w: %w", errUnseen, err) }

func (d *doctoring) print(f doctor.Finding) error {
	if d.in.json {
		return d.in.printJSON(f)
	}
	mark := "FAULT"
	if !f.Fault {
		mark = "note "
	}
	fmt.Fprintf(d.in.stdout, "%s  ", mark)
	if f.File != "" {
		fmt.Fprintf(d.in.stdout, "%s: ", f.File)
	}
	fmt.Fprintln(d.in.stdout, f.What)
	if f.Means != "" {
		fmt.Fprintf(d.in.stdout, "       That means: %s.\n", f.Means)
	}
	if f.Remedy != "" {
		fmt.Fprintf(d.in.stdout, "       What to do: %s.\n", f.Remedy)
	}
	return nil
}

// end says in short what was found.
func (d *doctoring) end(found []doctor.Finding) error {
	n := doctor.Faults(found)
	if !d.in.json && n == 0 {
		fmt.Fprintln(d.in.stdout, "nothing is wrong with the files; \"copialettere verify\" checks what is in them")
	} else if !d.in.json {
		fmt.Fprintln(d.in.stdout, counted(n, "fault", "faults"))
	}
	if n > 0 {
		return errFailed
	}
	return nil
}

// mend mends what was found, puts on record what is lost, and verifies what was mended.
func (d *doctoring) mend(ctx context.Context, found []doctor.Finding) error {
	if !slices.ContainsFunc(found, func(f doctor.Finding) bool { return f.Mendable || doctor.LeftByLog(f) }) {
		return d.end(found)
	}
	done, mendErr := doctor.Mend(ctx, d.options, found)
	report, err := d.settle(ctx, found, done)
	if err := errors.Join(mendErr, err); err != nil {
		return fmt.Errorf("%w; once that is seen to, run it again", err)
	}
	for _, one := range done {
		if err := d.printMending(one); err != nil {
			return err
		}
	}
	if d.in.json {
		err = d.in.printJSON(report)
	} else {
		d.in.printReport(report)
	}
	if err != nil {
		return err
	}
	left, err := doctor.Examine(ctx, d.options)
	if err != nil {
		return unseen(err)
	}
	n := 0
	for _, f := range left {
		if f.Fault || f.Kind == string(datafolder.FaultAside) && !d.in.json {
			n++
			if err := d.print(f); err != nil {
				return err
			}
		}
	}
	if doctor.Faults(left) > 0 || report.Faults > 0 {
		return errFailed
	}
	return nil
}

// settle opens the data folder, settles what was mended, and verifies it.
func (d *doctoring) settle(ctx context.Context, found []doctor.Finding, done []doctor.Mending) (*journal.Report, error) {
	a, err := openMended(ctx, d.c, d.in.logger())
	if err != nil {
		return nil, err
	}
	defer a.close()
	if err := doctor.Settle(ctx, a.journal, done); err != nil {
		return nil, err
	}
	var months []kv.Month
	for _, f := range found {
		if f.Month != "" && (f.Mendable || doctor.LeftByLog(f)) && !slices.Contains(months, f.Month) {
			months = append(months, f.Month)
		}
	}
	slices.Sort(months)
	o, err := a.checkpoints.Evidence()
	if err != nil {
		d.in.logger().Warn("not all of the evidence is judged", "error", err)
	}
	report, err := a.journal.VerifyMonths(ctx, months, o, func(m kv.Month, entries int64) {
		d.in.progress(fmt.Sprintf("%s: %d entries checked ", m, entries))
	})
	d.in.progress("")
	return report, err
}

func (d *doctoring) printMending(one doctor.Mending) error {
	if d.in.json {
		return d.in.printJSON(one)
	}
	name := "the settings"
	if one.Month != "" {
		name = string(one.Month)
	}
	l := one.Losses
	if l == nil {
		fmt.Fprintf(d.in.stdout, "mended %s, and nothing of it is lost\n", name)
		return nil
	}
	fmt.Fprintf(d.in.stdout, "mended %s: %s known to be lost\n", name, counted(l.Count, "message", "messages"))
	for _, m := range l.Messages {
		fmt.Fprintf(d.in.stdout, "  %s %s %d", m.Mailbox, m.Folder, m.UID)
		if !m.Time.IsZero() {
			fmt.Fprintf(d.in.stdout, "  %s", m.Time.UTC().Format(time.DateTime))
		}
		if m.From != "" || m.Subject != "" {
			fmt.Fprintf(d.in.stdout, "  %s: %s", printable(m.From), printable(m.Subject))
		}
		if m.Deleted {
			fmt.Fprint(d.in.stdout, " (its owner had deleted it)")
		}
		if m.Held {
			fmt.Fprint(d.in.stdout, " (it was under a legal hold)")
		}
		fmt.Fprintln(d.in.stdout)
	}
	if n := l.Count - int64(len(l.Messages)); n > 0 {
		fmt.Fprintf(d.in.stdout, "  and %d more\n", n)
	}
	for _, mailbox := range l.Gaps {
		if mailbox == "" {
			mailbox = "mailboxes of which nothing is left"
		}
		fmt.Fprintf(d.in.stdout, "  more may be lost of %s: a gap over the month is on record\n", mailbox)
	}
	if l.Logs > 0 {
		fmt.Fprintf(d.in.stdout, "  %s lost leaves, ended, and begun anew with what is there\n", counted(l.Logs, "log", "logs"))
	}
	if l.Holds > 0 {
		fmt.Fprintf(d.in.stdout, "  %s placed again, as on record\n", counted(l.Holds, "legal hold", "legal holds"))
	}
	for _, note := range l.Notes {
		fmt.Fprintf(d.in.stdout, "  also in the lost part may have been: %s\n", note)
	}
	return nil
}
