package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"copialettere/cmd/copialettere/config"
	"copialettere/journal/httpd"
	"copialettere/policy/archive"
	"copialettere/policy/checkpoint"
	"copialettere/policy/notice"
)

// newCheckpoints returns what makes the checkpoints of an archive.
func newCheckpoints(c *config.Config, a *opened, log *slog.Logger) *checkpoint.Maker {
	o := checkpoint.Options{
		Journal: a.journal, KeyFile: a.folder.EvidenceKey, PublicFile: a.folder.EvidencePublic, Name: keyName(a.folder.ID), Logger: log, Metrics: a.metrics,
	}
	if a.notices != nil {
		o.Mail = func(text string) { a.notices.Operator(notice.CauseCheckpoint, text) }
	}
	return checkpoint.New(o, c.Evidence)
}

// keyName returns the name of a signing key that is made for an archive: the host, and the beginning of its id, since a host may have several.
func keyName(id string) string {
	host, err := os.Hostname()
	if host = strings.Map(keepPrintable, host); err != nil || host == "" || len(host) > 64 {
		host = "copialettere"
	}
	return host + "/" + strings.ToLower(id[:min(len(id), 8)])
}

// keepPrintable keeps the characters that the name of a key may have.
func keepPrintable(r rune) rune {
	if r <= ' ' || r > '~' || r == '+' || r == '/' {
		return -1
	}
	return r
}

const checkpointHelp = `Usage: copialettere checkpoint [-list | -new-key] [-config FILE] [-json]

Makes a checkpoint now: a signed word on all logs of the archive, as the daemon makes one every day after the retention. Where [evidence] names them, an
authority stamps its time, and its note is kept outside the data folder too. The exit status is 1 where one of these did not succeed.

  -list      list the checkpoints so far
  -new-key   make another signing key in place of evidence.key in the data folder, which is lost for good; it prints the verifier key

"copialettere verify" checks all checkpoints. contrib/operating.md tells what they prove.

Example: copialettere checkpoint -json
`

type checkpointFlags struct{ list, newKey bool }

func defineCheckpoint(flags *flag.FlagSet) func(ctx context.Context, in *invocation, args []string) error {
	var f checkpointFlags
	flags.BoolVar(&f.list, "list", false, "")
	flags.BoolVar(&f.newKey, "new-key", false, "")
	return func(ctx context.Context, in *invocation, args []string) error { return runCheckpoint(ctx, in, args, f) }
}

func runCheckpoint(ctx context.Context, in *invocation, args []string, f checkpointFlags) error {
	if err := want(args); err != nil {
		return err
	}
	if f.list && f.newKey {
		return fmt.Errorf("%w: -list and -new-key do not go together", errUsage)
	}
	c, err := in.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	switch {
	case f.list:
		n, err := each(in, ctx, c, http.MethodGet, "/checkpoints", nil, in.printCheckpoint)
		if err == nil && n == 0 {
			return errNothing
		}
		return err
	case f.newKey:
		_, err := each(in, ctx, c, http.MethodPost, "/checkpoints/key", nil, func(k httpd.SigningKey) error {
			if in.json {
				return in.printJSON(k)
			}
			fmt.Fprintln(in.stdout, k.Verifier)
			return nil
		})
		return err
	}
	var faults []string
	_, err = each(in, ctx, c, http.MethodPost, "/checkpoints", nil, func(made archive.Checkpoint) error {
		faults = made.Faults
		return in.printCheckpoint(made)
	})
	for _, fault := range faults {
		fmt.Fprintln(in.stderr, fault)
	}
	if err == nil && len(faults) > 0 {
		return errFailed
	}
	return err
}

func (in *invocation) printCheckpoint(c archive.Checkpoint) error {
	if in.json {
		return in.printJSON(c)
	}
	fmt.Fprintf(in.stdout, "checkpoint %d  %s  %d heads", c.Number, c.Time.Format(time.DateTime), c.Heads)
	if c.Stamped != nil {
		fmt.Fprintf(in.stdout, "  stamped %s", c.Stamped.Format(time.DateTime))
	}
	if c.Outside != "" {
		fmt.Fprintf(in.stdout, "  %s", c.Outside)
	}
	fmt.Fprintln(in.stdout)
	return nil
}
