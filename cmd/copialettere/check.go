package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	"copialettere/cmd/copialettere/config"
	"copialettere/journal/datafolder"
	"copialettere/lmtp/nexthop"
	"copialettere/policy/housekeeping"
	"copialettere/policy/pec/files"
)

const checkHelp = `Usage: copialettere check [ADDR] [-config FILE] [-json]

Tests everything that the daemon needs, before you switch mail to it. It reads the configuration and the files that [pec] names, writes to the
data folder, opens it unless the daemon has it open, connects to every next hop, and shows what the hop announces. It tries whatever [auth]
checks passwords by, reads the certificates, warns of names that programs are told and a certificate is not for, signs a profile, connects to the
relay of [submission], and looks whether Dovecot finds the files of [dovecot] and can read them. It warns if nothing keeps the clock of the machine
right: the time of arrival is evidence. Run it as the daemon's user.
The exit status is 0 when all is well, 2 when the configuration is wrong, and 1 when anything else is.

A running daemon takes changed files of [pec] into use by itself, but not a file that has lost more than half of its content. Its log says
which files are in force.

With ADDR it asks Postfix whether the mail of that mailbox passes through the hook, received and sent, and says what to do if it does not. The
configuration must have [postfix]. The exit status is 0 if the mailbox has an archive and its mail passes through the hook, and 1
otherwise, also if Postfix could not be asked.

Example: sudo -u copialettere copialettere check
Example: sudo -u copialettere copialettere check mario@alpha.test
`

// checkLine is the result of one check, as -json prints it.
type checkLine struct {
	Check  string `json:"check"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail"`
}

func runCheck(ctx context.Context, in *invocation, args []string) error {
	if len(args) == 1 {
		return in.checkRoute(ctx, args[0])
	}
	if err := want(args); err != nil {
		return err
	}
	c, err := config.Load(in.configFile)
	if err != nil {
		return err
	}
	ok := in.checked("configuration", in.configFile, nil)
	for _, w := range c.Warnings {
		in.checked("warning", w.Error(), nil)
	}
	detail, err := checkData(ctx, c)
	ok = in.checked("data folder", detail, err) && ok
	in.checkClock()
	ok = in.checkPEC(c.PEC) && ok
	ok = in.checkMaps(c.Postfix) && ok
	ok = in.checkAuth(ctx, c) && ok
	ok = in.checkDovecot(c.Dovecot) && ok
	ok = in.checkDovecotPolicy(c.DovecotPolicy) && ok
	ok = in.checkTLS(c) && ok
	ok = in.checkIMAPC(c.IMAPC) && ok
	ok = in.checkSetUp(c) && ok
	in.checkPages(c)
	ok = in.checkRelay(ctx, c.Submission) && ok
	for _, hop := range hopsOf(c) {
		detail, err := checkHop(ctx, hop)
		ok = in.checked("next hop "+hop.Spec().String(), detail, err) && ok
	}
	if !ok {
		return errFailed
	}
	return nil
}

// checked prints the result of one check and reports whether it was good.
func (in *invocation) checked(check, detail string, err error) bool {
	if err != nil {
		detail = err.Error()
	}
	if in.json {
		in.printJSON(checkLine{check, err == nil, detail})
	} else {
		mark := "ok  "
		if err != nil {
			mark = "FAIL"
		}
		fmt.Fprintf(in.stdout, "%s  %s: %s\n", mark, check, detail)
	}
	return err == nil
}

// checkData probes the data folder, and the journal in it when no daemon has it open.
func checkData(ctx context.Context, c *config.Config) (string, error) {
	took, err := datafolder.Probe(c.Data)
	if err != nil {
		return "", err
	}
	detail := fmt.Sprintf("%s, a durable write took %s", c.Data, took.Round(10*time.Microsecond))
	if nc, err := net.DialTimeout("unix", c.Admin.Socket(), time.Second); err == nil {
		nc.Close()
		return detail + ", the daemon has it open", nil
	}
	a, err := openUnserved(ctx, c, slog.New(slog.DiscardHandler))
	if err != nil {
		return "", err
	}
	defer a.close()
	volumes, err := a.folder.ProbeVolumes(ctx)
	if err != nil {
		return "", err
	}
	return detail + ", " + counted(volumes, "volume", "volumes"), nil
}

// checkClock says whether something keeps the clock of the machine right. If nothing does, that is a warning: the archive works, but its times are
// weak evidence.
func (in *invocation) checkClock() {
	clock, err := housekeeping.ReadClock()
	switch {
	case err != nil:
		in.checked("warning", "clock: "+err.Error(), nil)
	case !clock.Synchronised:
		in.checked("warning", "clock: "+clock.String(), nil)
	default:
		in.checked("clock", clock.String(), nil)
	}
}

// checkPEC reads the files that [pec] names and prints their contents in short.
func (in *invocation) checkPEC(c config.PEC) bool {
	ok := true
	set := files.Read(sourcesOf(c), func(name, detail string, err error) { ok = in.checked(name, detail, err) && ok })
	for _, warning := range set.Warnings(time.Now()) {
		in.checked("warning", warning, nil)
	}
	return ok
}

// hopsOf returns the next hops of the configuration, each once.
func hopsOf(c *config.Config) []*nexthop.Hop {
	var hops []*nexthop.Hop
	seen := make(map[nexthop.Spec]bool)
	add := func(spec nexthop.Spec, h config.Hook) {
		if spec != (nexthop.Spec{}) && !seen[spec] {
			seen[spec] = true
			hops = append(hops, newHop(spec, h, nexthop.Options{}))
		}
	}
	if c.Received != nil {
		add(c.Received.NextHop, c.Received.Hook)
		for _, d := range c.Domains {
			add(d.NextHop, c.Received.Hook)
		}
	}
	if c.Sent != nil {
		add(c.Sent.NextHop, c.Sent.Hook)
	}
	return hops
}

func checkHop(ctx context.Context, hop *nexthop.Hop) (string, error) {
	a, err := hop.Probe(ctx)
	if err != nil {
		return "", err
	}
	detail := "announces " + strings.Join(a.Keywords, ", ")
	if len(a.Keywords) == 0 {
		detail = "answers"
	}
	if !a.SMTPUTF8 {
		detail += "; no SMTPUTF8, so mail that needs it is refused for its recipients"
	}
	return detail, nil
}
