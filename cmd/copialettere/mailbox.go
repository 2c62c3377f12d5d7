package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/policy"
	"copialettere/policy/archive"
)

const mailboxHelp = `Usage: copialettere mailbox COMMAND [ADDR] ... [-config FILE] [-json]

  list                             list all mailboxes that were ever set up
  show ADDR                        show its settings, since when it is archived, its size, and its legal holds
  log ADDR                         show who changed which setting, or moved or deleted a message, and when
  set ADDR KEY=VALUE ...           change settings, all or none, from the next message on
  confirm ADDR CODE                put its new address for notices in force, with the code that was sent to that address
  confirm ADDR -confirmed          the same without the code, because you know that the address is right
  enable ADDR                      archive it from the next message on; the configuration must have its domain
  pause ADDR                       stop archiving for a time; what is archived stays, and the time is on record as a gap
  resume ADDR                      undo pause: archive it from the next message on
  disable ADDR -confirm ADDR       close its archive at once, and erase it after the grace time (erase.grace)
  disable ADDR -confirm ADDR -now  close its archive, and erase it without a grace time; its owner is not told
  restore ADDR                     undo disable, as long as the archive is not erased
  hold ADDR -reason TEXT           place a legal hold: the archive cannot be disabled, and nothing in it expires
  release ADDR                     lift the legal hold
  rename OLD NEW                   give it another address, also of another domain; its archive goes along, and mail to OLD is archived no more
  hand-over ADDR -confirm ADDR     give ADDR to another person, who starts a new archive; the old one takes no more mail, and is kept until
                                   its retention is over under a name of its own, as mario@alpha.test~2026-11-29

"copialettere mailbox set -h" lists the settings and their values. "copialettere mailbox enable -h" tells how to enable or set many at once.

Example: copialettere mailbox enable mario@alpha.test
`

// setHelp returns the help of mailbox set. It has all settings with their labels and their values.
func setHelp() string {
	names := func(vocabulary string) string { return strings.Join(policy.Labels(vocabulary).Names(), ",") }
	values := map[string]string{
		policy.KeyFilter: "all, all-certified, receipts, or some of the classes below", policy.KeyRetention: "none, or 6, 12, 18 ... 48 months",
		policy.KeyQuota: "none, or 1GB", policy.KeyWhenFull: "one of " + names(policy.VocabularyWhenFull), policy.KeyNotify: "none, or ADDR",
		policy.KeyProtocols: "none, or some of " + names(policy.VocabularyProtocols),
		policy.KeyNotifyOn:  "none, or some of " + names(policy.VocabularyEvents), policy.KeyLanguage: "it or en",
		policy.KeyLayout: "month, or type: by year, month and type",
	}
	var help strings.Builder
	help.WriteString("Usage: copialettere mailbox set ADDR KEY=VALUE ... [-config FILE] [-json]\n" +
		"       copialettere mailbox set [-from FILE] [-domain D] [-dry-run] [KEY=VALUE ...] [-config FILE] [-json]\n\n" +
		"Changes settings of a mailbox, all or none, from the next message on; or of many (\"copialettere mailbox enable -h\").\n" +
		"The settings, and their values:\n\n")
	for _, key := range policy.Keys() {
		value, ok := values[key]
		if !ok {
			value = "on or off"
		}
		fmt.Fprintf(&help, "  %-14s %-36s  %s\n", key, policy.Labels(policy.VocabularySettings).Label(key).English, value)
	}
	help.WriteString("\nThe classes of a filter, with commas: " + names(policy.VocabularyClasses) + ". all-certified is\n" +
		"certified,acceptance,delivery,sent-certified, and receipts is acceptance,delivery.\n\n" +
		"Example: copialettere mailbox set mario@alpha.test retention=24 quota=5GB filter=all-certified\n")
	return help.String()
}

// mailboxFlags are the flags of all sub-commands of mailbox, as they were given.
type mailboxFlags struct {
	confirm, reason string
	now, confirmed  bool
	many            many
	given           []string // their names
}

func defineMailbox(flags *flag.FlagSet) runner {
	var f mailboxFlags
	flags.StringVar(&f.confirm, "confirm", "", "")
	flags.StringVar(&f.reason, "reason", "", "")
	flags.BoolVar(&f.now, "now", false, "")
	flags.BoolVar(&f.confirmed, "confirmed", false, "")
	flags.StringVar(&f.many.from, "from", "", "")
	flags.StringVar(&f.many.domain, "domain", "", "")
	flags.BoolVar(&f.many.dryRun, "dry-run", false, "")
	return func(ctx context.Context, in *invocation, args []string) error {
		flags.Visit(func(one *flag.Flag) {
			if one.Name != "config" && one.Name != "json" {
				f.given = append(f.given, one.Name)
			}
		})
		return runMailbox(ctx, in, args, f)
	}
}

// mailboxActs returns the sub-commands of mailbox, each with the flags that it takes.
func mailboxActs() map[string][]string {
	many := []string{"from", "domain", "dry-run"}
	return map[string][]string{
		"list": nil, "show": nil, "log": nil, "set": many, "enable": many, "pause": nil, "resume": nil, "disable": {"confirm", "now"}, "restore": nil, "hold": {"reason"},
		"release": nil, "confirm": {"confirmed"}, "rename": nil, "hand-over": {"confirm"},
	}
}

func runMailbox(ctx context.Context, in *invocation, args []string, f mailboxFlags) error {
	const acts = "want list, show, log, set, confirm, enable, pause, resume, disable, restore, hold, release, rename or hand-over"
	if len(args) == 0 {
		return fmt.Errorf("%w: %s", errUsage, acts)
	}
	act, args := args[0], args[1:]
	takes, ok := mailboxActs()[act]
	if !ok {
		return fmt.Errorf("%w: %q: %s", errUsage, act, acts)
	}
	for _, name := range f.given {
		if !slices.Contains(takes, name) {
			return fmt.Errorf("%w: mailbox %s has no flag -%s", errUsage, act, name)
		}
	}
	if act == "list" {
		if err := want(args); err != nil {
			return err
		}
		return show(in, ctx, "/mailboxes", nil, in.printMailbox)
	}
	if len(f.given) > 0 && (act == "set" || act == "enable") {
		return in.provision(ctx, act, f.many, args)
	}
	query := make(url.Values)
	if act == "set" {
		if len(args) < 2 {
			return fmt.Errorf("%w: want ADDR KEY=VALUE ...; the keys are %s", errUsage, strings.Join(policy.Keys(), ", "))
		}
		query["set"], args = args[1:], args[:1]
	}
	if act == "rename" {
		if err := want(args, "OLD", "NEW"); err != nil {
			return err
		}
		query.Set("to", args[1])
		args = args[:1]
	}
	if act == "confirm" && !f.confirmed {
		if err := want(args, "ADDR", "CODE"); err != nil {
			return err
		}
		query.Set("code", args[1])
		args = args[:1]
	}
	if err := want(args, "ADDR"); err != nil {
		return err
	}
	query.Set("mailbox", args[0])
	switch act {
	case "show":
		return show(in, ctx, mailboxPath, query, in.printSettings)
	case "log":
		return show(in, ctx, mailboxPath+"/log", query, in.printLogged)
	case "disable":
		if !slices.Contains(f.given, "confirm") {
			return unconfirmed(args[0], f.now)
		}
		query.Set("confirm", f.confirm)
		query.Set("now", strconv.FormatBool(f.now))
	case "confirm":
		if f.confirmed {
			query.Set("confirmed", "true")
		}
	case "hand-over":
		if !slices.Contains(f.given, "confirm") {
			return fmt.Errorf("%w: this closes the archive of %[2]s for its present person. If that is what you want, type "+
				"\"copialettere mailbox hand-over %[2]s -confirm %[2]s\"", errUsage, canonical(args[0]))
		}
		query.Set("confirm", f.confirm)
	case "hold":
		if f.reason == "" {
			return fmt.Errorf("%w: say why: -reason \"case 12/2026\"", errUsage)
		}
		query.Set("reason", f.reason)
	}
	return in.changeMailbox(ctx, act, query)
}

// unconfirmed returns the error of a disable without -confirm. It says what to type.
func unconfirmed(mailbox string, now bool) error {
	mailbox = canonical(mailbox)
	flags := ""
	if now {
		flags = " -now"
	}
	return fmt.Errorf("%w: this closes the archive of %[2]s. If that is what you want, type \"copialettere mailbox disable %[2]s -confirm %[2]s%[3]s\"",
		errUsage, mailbox, flags)
}

// canonical returns the canonical name of a mailbox; what names none stays as it is.
func canonical(mailbox string) string {
	if a, err := policy.ParseMailbox(mailbox); err == nil {
		return a.String()
	}
	return mailbox
}

// changeMailbox carries out an act on a mailbox and prints the mailbox afterwards.
func (in *invocation) changeMailbox(ctx context.Context, act string, query url.Values) error {
	c, err := in.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	query.Set("who", whoami())
	method, path := http.MethodPost, mailboxPath+"/"+act
	if act == "set" {
		method, path = http.MethodPatch, mailboxPath+"/settings"
	}
	_, err = each(in, ctx, c, method, path, query, func(m archive.Mailbox) error {
		if in.json {
			return in.printJSON(m)
		}
		in.printMailbox(m)
		for _, note := range m.Notes {
			fmt.Fprintln(in.stdout, "  "+note.English)
		}
		switch {
		case act == "set":
			for _, change := range m.Changes {
				in.printChange(change)
			}
		case m.Closed != "":
			fmt.Fprintf(in.stdout, "  the archive of the former person is kept as %s\n", m.Closed)
		case act == "disable" && len(m.HeldMessages) > 0:
			fmt.Fprintf(in.stdout, "  messages under a legal hold: %d; the archive is not erased before all of them are released (mailbox show)\n",
				len(m.HeldMessages))
		}
		return nil
	})
	return err
}

func (in *invocation) printMailbox(m archive.Mailbox) {
	state := "archive " + m.Archive
	switch policy.State(m.Archive) {
	case policy.StateOn:
		state += " since " + localTime(m.Since)
	case policy.StatePaused:
		state += " since " + localTime(m.Paused)
	}
	switch policy.ErasureState(m.Erasure) {
	case policy.ErasureDue:
		if policy.State(m.Archive) != policy.StateClosed {
			state += ", closed"
		}
		if m.EraseAt != nil && m.EraseAt.After(time.Now()) {
			state += ", can be restored until " + localTime(m.EraseAt)
		} else {
			state += ", the grace is over"
		}
	case policy.ErasureRunning:
		state += ", being erased"
	case policy.ErasureDone:
		state += ", erased"
	}
	if m.Hold != nil {
		state += ", under a legal hold"
	}
	if m.Changed != nil && !*m.Changed {
		state += ", nothing changed"
	}
	imported := ""
	if m.Imported > 0 {
		imported = fmt.Sprintf(" (%d imported)", m.Imported)
	}
	fmt.Fprintf(in.stdout, "%-40s %s, %d entries%s, %s", m.Mailbox, state, m.Entries, imported, policy.English.Size(m.Bytes))
	if len(m.PassedOver) > 0 {
		fmt.Fprintf(in.stdout, " without the months %v, which cannot be read", m.PassedOver)
	}
	fmt.Fprintln(in.stdout)
}

func (in *invocation) printSettings(m archive.Mailbox) {
	in.printMailbox(m)
	if m.Moved != "" {
		fmt.Fprintf(in.stdout, "  %-14s %s: no mailbox any more\n", "goes on as", m.Moved)
	}
	if len(m.Former) > 0 {
		fmt.Fprintf(in.stdout, "  %-14s %s\n", "formerly", strings.Join(m.Former, ", "))
	}
	if m.Name != "" {
		fmt.Fprintf(in.stdout, "  %-14s %s\n", "in the journal", m.Name)
	}
	for _, s := range m.Settings {
		in.printSetting(s)
	}
	in.printRoute(m)
	if m.SecondFactor != nil {
		fmt.Fprintf(in.stdout, "  %-14s ", "second factor")
		in.printSecondFactorState(*m.SecondFactor)
	}
	for _, d := range m.Delegates {
		fmt.Fprintf(in.stdout, "  %-14s ", "delegate")
		in.printDelegate(archive.Delegate{Delegate: d})
	}
	if m.Hold != nil {
		fmt.Fprintf(in.stdout, "held by %s since %s\n", printable(m.Hold.Who), localTime(&m.Hold.Since))
	}
	for _, h := range m.HeldMessages {
		fmt.Fprintf(in.stdout, "%s %d held by %s since %s: %s\n", h.Folder, h.UID, printable(h.Who), localTime(&h.Since), printable(h.Reason))
	}
}

// printSetting prints a setting with its value, and both in words where they say more.
func (in *invocation) printSetting(s archive.Setting) {
	words := ""
	if s.Label != nil {
		words = s.Label.English
	}
	if s.ValueLabel != nil && strings.ReplaceAll(s.ValueLabel.English, " ", "") != s.Value { // "5 GB" tells no more than 5GB
		words += ": " + s.ValueLabel.English
	}
	fmt.Fprintf(in.stdout, "  %-14s %-28s  %s\n", s.Key, printable(s.Value), printable(words))
	if s.Closes != nil {
		fmt.Fprintf(in.stdout, "  %-14s %-28s  %s\n", "", "", s.Closes.English)
	}
}

func (in *invocation) printChange(c policy.Change) {
	who := cmp.Or(strings.TrimSpace(string(c.Role)+" "+c.Who), "somebody whose name is no longer kept")
	switch c.Cause {
	case policy.CauseDomainDefault:
		who += " (default of the domain)"
	case policy.CauseHandOver:
		who += " (as before the hand-over)"
	}
	if c.Key == archive.KeyExport {
		fmt.Fprintf(in.stdout, "  %s  export of %s, by %s\n", localTime(&c.Time), printable(c.After), printable(who))
		return
	}
	if c.Key == archive.KeyImport {
		fmt.Fprintf(in.stdout, "  %s  import from %s, by %s\n", localTime(&c.Time), printable(c.After), printable(who))
		return
	}
	fmt.Fprintf(in.stdout, "  %s  %s from %s to %s, by %s\n", localTime(&c.Time), c.Key, printable(c.Before), printable(c.After), printable(who))
}

// printLogged prints a line of the log: a change of a setting, or an act on messages. Only changes have a number.
func (in *invocation) printLogged(c archive.Change) {
	if c.Number > 0 {
		in.printChange(c.Change)
		return
	}
	what := c.Key + " " + printable(c.Before)
	switch c.Key {
	case archive.KeyLog:
		what = printable(c.After)
	case journal.ActHold, journal.ActRelease, journal.ActNotGivenBack:
		what += ": " + printable(c.After)
	default:
		if c.After != "" {
			what += " to " + printable(c.After)
		}
	}
	if c.Messages > 1 {
		what += fmt.Sprintf(" (%d messages)", c.Messages)
	}
	if c.Who != "" { // nobody: the entry came back by itself
		what += ", by " + printable(c.Who)
	}
	fmt.Fprintf(in.stdout, "  %s  %s\n", localTime(&c.Time), what)
}

// localTime returns a time for people, in the time zone of the machine; "-" for none.
func localTime(t *time.Time) string {
	if t == nil || t.IsZero() {
		return "-"
	}
	return t.Local().Format(time.DateTime)
}

// whoami returns the user's name, for the change log.
func whoami() string {
	u, err := user.Current()
	if err != nil {
		return fmt.Sprintf("uid %d", os.Getuid())
	}
	return u.Username
}

const gapsHelp = `Usage: copialettere gaps ADDR [-config FILE] [-json]

Shows the times and the messages that the archive of a mailbox lacks, oldest first, and why:

  not-activated   the archive had never been on
  disabled        the archive was off
  paused          the archive was paused
  handed-over     the mailbox was handed over: since then, the mail goes into another archive
  renamed         the archive got another address
  erased          the archive was disabled and its content erased; how much, by month
  full            the archive was full when the message came (quota, with when_full = skip)
  made-room       the archive was full, and its oldest messages were deleted; how many (when_full = make-room)
  journal-fault   the message was delivered although the journal could not take it (on_journal_error in the configuration)
  restored        the archive was restored from a backup: what arrived between the backup and that is missing
  lost            the store lost updates, or a whole month, of this mailbox or of others

"spooled" marks a gap that the journal cannot take yet; a file beside it keeps the gap. Mail that was skipped by the filter, or because it is
not direct, is no gap: "copialettere why" shows it.

Example: copialettere gaps mario@alpha.test -json
`

func runGaps(ctx context.Context, in *invocation, args []string) error {
	if err := want(args, "ADDR"); err != nil {
		return err
	}
	return show(in, ctx, mailboxPath+"/gaps", url.Values{"mailbox": {args[0]}}, in.printGap)
}

func (in *invocation) printGap(g archive.Gap) {
	span := localTime(g.From)
	if g.From == nil {
		span = "the beginning"
	}
	switch {
	case g.Until != nil:
		span += " to " + localTime(g.Until)
	case g.Kind == archive.GapPause:
		span += " to now"
	}
	fmt.Fprintf(in.stdout, "%-42s  %s%s", span, g.Reason, countText(g.Entries, g.Bytes))
	if g.Detail != "" {
		fmt.Fprintf(in.stdout, " (%s)", printable(g.Detail))
	}
	if g.MessageID != "" {
		fmt.Fprintf(in.stdout, "  %s", printable(g.MessageID))
	}
	if g.MailFrom != "" {
		fmt.Fprintf(in.stdout, "  from %s", printable(g.MailFrom))
	}
	if g.Spooled {
		fmt.Fprint(in.stdout, "  spooled")
	}
	fmt.Fprintln(in.stdout)
}

// countText returns ", 3 entries, 12 kB"; "" for no entries.
func countText(entries, bytes uint64) string {
	if entries == 0 {
		return ""
	}
	return fmt.Sprintf(", %d entries, %s", entries, policy.English.Size(bytes))
}
