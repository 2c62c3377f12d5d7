// Command copialettere is a security archive for mail: a hook between the MTA and the mailstore that journals every message delivered
// to, or sent from, an enabled mailbox, and the tools to read and check the journal.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"copialettere/cmd/copialettere/config"
)

// version is set by the linker: see the Makefile.
var version = "development"

const usage = `copialettere: a security archive for mail

Usage: copialettere COMMAND [ARGUMENTS] [-config FILE] [-json]

  init                          make the data folder; once, before the first serve
  serve                         run the hook
  check                         test the configuration, the data folder and the next hops
  check ADDR                    ask Postfix whether the mail of a mailbox passes through the hook
  mailbox enable|disable ADDR   archive a mailbox from now on; close its archive (with -confirm ADDR)
  mailbox set ADDR KEY=VALUE    change settings of a mailbox
  mailbox show|log ADDR         show its settings; who changed them, and when
  mailbox enable|set -from FILE enable many mailboxes, or change their settings, from a list
  mailbox list                  list all mailboxes; "mailbox -h" has restore, hold and release
  list ADDR                     list the entries of a mailbox
  cat ADDR FOLDER UID           write the exact bytes of a message
  import ADDR -from PATH        put older mail from files into an archive: .eml, mbox, Maildir, ZIP; or imaps://USER@HOST
  pull add ADDR NAME            import from an IMAP account again and again; also test, run, list and remove
  export ADDR -to PATH          write the messages of a mailbox to a folder or a ZIP, with a manifest
  bundle ADDR FOLDER UID        write an evidence bundle of a message, or of its practice
  verify-bundle FILE.zip        check an evidence bundle, without a configuration or a network
  parts ADDR FOLDER UID         list its parts, those of enclosed messages included
  part ADDR FOLDER UID N        write the content of one part, such as daticert.xml
  why ADDR [-message-id ID]     show what was journaled, what was skipped, and why
  gaps ADDR                     show what the archive of a mailbox lacks, and why
  delete ADDR FOLDER UID ...    delete messages where the mailbox allows it, or undo that
  empty ADDR FOLDER             delete all messages of a folder where the mailbox allows it
  move ADDR FOLDER UID FOLDER   move messages where the mailbox allows it
  hold ADDR FOLDER UID          place a legal hold on a message, or lift it
  give-back ADDR FOLDER UID ... hand messages to the live mailbox once more
  practice ADDR [UID]           show sent certified messages, and what became of them
  retention [-dry-run]          delete messages past the retention of their mailbox
  verify                        check every digest, every reference, every log and every checkpoint of the journal
  encryption-key                make a key with which the journal is encrypted
  checkpoint                    make a checkpoint over all logs now, or list them
  preservation [ADDR]           list the packages handed to legal preservation, and their receipts
  backup DIR                    copy the whole archive, with the daemon running; -list, -check
  restore-backup DIR            make the data folder anew from a backup
  doctor                        say what is wrong with a data folder, and mend it; with the daemon stopped
  rebuild                       recreate counters and indexes from the messages
  volume forget MONTH           give up for good a month whose folder is lost
  quota-warning ADDR PERCENT    tell the owner that the live mailbox fills up; for Dovecot
  stats [ADDR]                  count entries and bytes by mailbox, folder and month
  access ADDR                   show who signed in to a mailbox, and who failed to
  usage [-csv] [ADDR]           show what each mailbox takes, for billing; or one mailbox by month
  privacy ADDR                  say what is held of a person, why and until when
  app-password add ADDR NAME    make a password by which one program signs in; also list and revoke
  delegate add ADDR PERSON      let somebody else read an archive until a day; also list and revoke
  token add NAME -domain D      make a key to the API for a program of yours; also list and revoke
  second-factor on|off ADDR     have pages ask for a code beside the password, or not; also show
  password ADDR                 set the password by which somebody signs in
  dns DOMAIN                    print the DNS records by which mail programs find their servers
  profile ADDR                  write a profile that sets a telephone up; or its QR code, or the parameters
  demo DIR                      try the hook out on this machine, in the new folder DIR
  version                       print the version

"copialettere help COMMAND" tells more. FILE is /etc/copialettere/copialettere.toml by default. Commands ask the running daemon over its
admin socket; without one they open the data folder themselves. -json prints one JSON object a line.
Exit status: 0 done, 1 the check failed or nothing was found, 2 wrong usage or configuration.

Example: copialettere why mario@alpha.test -message-id 20261114.4711@mail.beta.test
`

const defaultConfig = "/etc/copialettere/copialettere.toml"

// Outcomes of a command other than success.
var (
	errUsage   = errors.New("wrong usage")        // exit status 2; the message says what
	errNothing = errors.New("nothing found")      // exit status 1, nothing is printed
	errFailed  = errors.New("the check failed")   // exit status 1, the check has printed why
	errUnseen  = errors.New("could not look")     // exit status 2; the message says why
	errHelp    = errors.New("help was asked for") // exit status 0
)

// invocation is one run of the program.
type invocation struct {
	stdin          io.Reader
	stdout, stderr io.Writer // screens
	configFile     string
	json           bool
}

// command is one sub-command. define adds its flags, and returns the function that runs it on the remaining arguments.
type command struct {
	help   string
	define func(*flag.FlagSet) func(ctx context.Context, in *invocation, args []string) error
}

func commands() map[string]command {
	return map[string]command{
		"init":           {initHelp, noFlags(runInit)},
		"serve":          {serveHelp, noFlags(runServe)},
		"check":          {checkHelp, noFlags(runCheck)},
		"mailbox":        {mailboxHelp, defineMailbox},
		"list":           {listHelp, defineList},
		"cat":            {catHelp, noFlags(runCat)},
		"export":         {exportHelp, defineExport},
		"bundle":         {bundleHelp, defineBundle},
		"verify-bundle":  {verifyBundleHelp, defineVerifyBundle},
		"import":         {importHelp, defineImport},
		"pull":           {pullHelp, definePull},
		"parts":          {partsHelp, noFlags(runParts)},
		"part":           {partHelp, noFlags(runPart)},
		"why":            {whyHelp, defineWhy},
		"gaps":           {gapsHelp, noFlags(runGaps)},
		"retention":      {retentionHelp, defineRetention},
		"delete":         {deleteHelp, defineDelete},
		"empty":          {emptyHelp, noFlags(runEmpty)},
		"move":           {moveHelp, noFlags(runMove)},
		"hold":           {holdHelp, defineHold},
		"give-back":      {giveBackHelp, defineGiveBack},
		"practice":       {practiceHelp, definePractice},
		"verify":         {verifyHelp, noFlags(runVerify)},
		"encryption-key": {encryptionKeyHelp, noFlags(runEncryptionKey)},
		"checkpoint":     {checkpointHelp, defineCheckpoint},
		"preservation":   {preservationHelp, noFlags(runPreservation)},
		"quota-warning":  {quotaWarningHelp, noFlags(runQuotaWarning)},
		"access":         {accessHelp, noFlags(runAccess)},
		"app-password":   {appPasswordHelp, noFlags(runAppPassword)},
		"delegate":       {delegateHelp, defineDelegate},
		"token":          {tokenHelp, defineToken},
		"second-factor":  {secondFactorHelp, noFlags(runSecondFactor)},
		"password":       {passwordHelp, noFlags(runPassword)},
		"stats":          {statsHelp, noFlags(runStats)},
		"privacy":        {privacyHelp, definePrivacy},
		"usage":          {usageHelp, defineUsage},
		"volume":         {volumeHelp, defineVolume},
		"backup":         {backupHelp, defineBackup},
		"restore-backup": {restoreBackupHelp, defineRestoreBackup},
		"doctor":         {doctorHelp, defineDoctor},
		"rebuild":        {rebuildHelp, noFlags(runRebuild)},
		"dns":            {dnsHelp, noFlags(runDNS)},
		"profile":        {profileHelp, defineProfile},
		"demo":           {demoHelp, defineDemo},
		"version":        {"Usage: copialettere version\n\nPrints the version of the program.\n\nExample: copialettere version\n", noFlags(runVersion)},
	}
}

// topics returns the help of each act that has a help of its own, by command and act.
func topics() map[string]string {
	return map[string]string{"mailbox set": setHelp(), "mailbox enable": enableHelp}
}

type runner = func(ctx context.Context, in *invocation, args []string) error

func noFlags(run runner) func(*flag.FlagSet) runner { return func(*flag.FlagSet) runner { return run } }

func main() {
	// LevelDB makes files that everybody can read.
	syscall.Umask(0o077)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run runs the program and returns its exit status.
func run(ctx context.Context, args []string, out, errs io.Writer) int {
	if len(args) > 1 && args[0] == "help" {
		args = append(args[1:], "-h")
	}
	stdout, stderr := &screen{to: out}, &screen{to: errs}
	defer stdout.close()
	defer stderr.close()
	if len(args) == 0 || args[0] == "-h" || args[0] == "-help" || args[0] == "--help" || args[0] == "help" {
		fmt.Fprint(stdout, usage)
		if len(args) == 0 {
			return 2
		}
		return 0
	}
	c, ok := commands()[args[0]]
	if !ok {
		fmt.Fprintf(stderr, "copialettere: no command %q; \"copialettere help\" lists them\n", args[0])
		return 2
	}
	in := &invocation{stdin: os.Stdin, stdout: stdout, stderr: stderr}
	err := in.execute(ctx, args[0], c, args[1:])
	var bad config.Errors
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errHelp):
		if own, ok := topics()[strings.Join(args[:min(2, len(args))], " ")]; ok {
			c.help = own
		}
		fmt.Fprint(stdout, c.help)
		return 0
	case errors.Is(err, errNothing), errors.Is(err, errFailed):
		return 1
	case errors.As(err, &bad):
		fmt.Fprintln(stderr, bad.Error())
		return 2
	case errors.Is(err, errUsage):
		fmt.Fprintf(stderr, "copialettere %s: %v; \"copialettere %s -h\" tells more\n", args[0], err, args[0])
		return 2
	}
	fmt.Fprintf(stderr, "copialettere %s: %v\n", args[0], err)
	if errors.Is(err, errUnseen) {
		return 2
	}
	return 1
}

func (in *invocation) execute(ctx context.Context, name string, c command, args []string) error {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&in.configFile, "config", defaultConfig, "")
	flags.BoolVar(&in.json, "json", false, "")
	run := c.define(flags)
	// Parse stops at the first argument, but flags may follow it.
	var rest []string
	for len(args) > 0 {
		if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
			return errHelp
		} else if err != nil {
			return fmt.Errorf("%w: %v", errUsage, err)
		}
		args = flags.Args()
		if len(args) > 0 {
			rest, args = append(rest, args[0]), args[1:]
		}
	}
	return run(ctx, in, rest)
}

// want checks the number of arguments.
func want(args []string, names ...string) error {
	if len(args) != len(names) {
		return fmt.Errorf("%w: want %d arguments %v, got %d", errUsage, len(names), names, len(args))
	}
	return nil
}

func runVersion(_ context.Context, in *invocation, args []string) error {
	if err := want(args); err != nil {
		return err
	}
	if in.json {
		return in.printJSON(map[string]string{"version": version})
	}
	fmt.Fprintln(in.stdout, "copialettere", version)
	return nil
}
