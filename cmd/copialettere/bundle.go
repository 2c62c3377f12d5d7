package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strconv"

	"copialettere/journal/durable"
	"copialettere/journal/evidence"
	"copialettere/journal/export/bundle"
	"copialettere/policy/pec"
)

const bundleHelp = `Usage: copialettere bundle ADDR FOLDER UID -to FILE.zip [-practice] [-config FILE]

Writes an evidence bundle of a message: its exact bytes, the envelope, digests, daticert.xml and postacert.eml, what was found of the signature with
its certificates, what the logs tell of it, a sheet for people in Italian (scheda.html, to be read or printed), and in VERIFY.txt the exact commands by
which anybody can check all this. With -practice it is of all the practice that the message belongs to: what was sent, the receipts, and a table of what
they say. "copialettere list" shows FOLDER and UID.

FILE must not exist. It is synced to the disk, then read back and checked. "copialettere mailbox log" tells of each bundle.

The exit status is 1 when something cannot be read: INCOMPLETE.txt in the bundle names it.

Example: copialettere bundle mario@alpha.test Sent/2026-11 17 -practice -to contratto.zip
`

const verifyBundleHelp = `Usage: copialettere verify-bundle FILE.zip [-strict] [-trust FILE.pem] [-key KEY] [-tsa FILE.pem] [-json]

Checks an evidence bundle, a ZIP or the folder that it was unpacked into, and says each check in a line. It needs no configuration, no data folder and
no network. All digests, parts and copies are made anew, each signature is verified again, and what the receipts say is worked out again.

Signatures are verified under the authority that the archive trusted, which the bundle brings and the line names with its SHA-256. With -trust it is one
of your own file, such as the certificates of AgID. In the same way -key names the verifier key of the checkpoints of the archive (evidence.pub in its
data folder), and -tsa the root certificates of the authority that stamps their time; without them, those of the bundle count.

Exit status: 0 all checks are ok, 1 one has failed, 2 there is no bundle to check. "skipped" is what the bundle does not claim. With -strict, as for a
court, it fails where a message has no proof, its checkpoint no time stamp, or the bundle lacks the key or the certificates that these are judged by.

Example: copialettere verify-bundle contratto.zip
`

func defineBundle(flags *flag.FlagSet) runner {
	to := flags.String("to", "", "")
	whole := flags.Bool("practice", false, "")
	return func(ctx context.Context, in *invocation, args []string) error {
		if err := want(args, "ADDR", "FOLDER", "UID"); err != nil {
			return err
		}
		if *to == "" {
			return fmt.Errorf("%w: say where: -to contratto.zip", errUsage)
		}
		return in.runBundle(ctx, args, *to, *whole)
	}
}

func (in *invocation) runBundle(ctx context.Context, args []string, to string, whole bool) error {
	to, err := in.outside(to)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(to); !errors.Is(err, os.ErrNotExist) {
		return errors.Join(fmt.Errorf("%w: %s exists: choose another file", errUsage, to), err)
	}
	c, err := in.open(ctx)
	if err != nil {
		return err
	}
	defer c.close()
	values := messageQuery(args)
	values.Set("practice", strconv.FormatBool(whole))
	values.Set("who", whoami())
	body, err := in.do(ctx, c, http.MethodPost, messagePath+"/bundle", values, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := durable.Write(to, body, nil); err != nil {
		os.Remove(to + ".new") // a part of a bundle is of no use: it cannot be resumed
		return fmt.Errorf("write %s: %w", to, err)
	}
	return in.checkBundle(ctx, to, bundle.VerifyOptions{}, func(check bundle.Check) error {
		if check.Outcome == bundle.Failed {
			return in.printCheck(check)
		}
		return nil
	}, func() {
		if !in.json {
			fmt.Fprintf(in.stdout, "%s: written, read back and checked\n", to)
		}
	})
}

func defineVerifyBundle(flags *flag.FlagSet) runner {
	trust := flags.String("trust", "", "")
	key := flags.String("key", "", "")
	tsa := flags.String("tsa", "", "")
	strict := flags.Bool("strict", false, "")
	return func(ctx context.Context, in *invocation, args []string) error {
		if err := want(args, "FILE.zip"); err != nil {
			return err
		}
		o := bundle.VerifyOptions{Strict: *strict}
		if *trust != "" {
			text, err := os.ReadFile(*trust)
			if err == nil {
				o.Anchors, err = pec.ParseBundle(text)
			}
			if err != nil {
				return fmt.Errorf("%w: -trust %s: %w", errUsage, *trust, err)
			}
		}
		if *key != "" {
			if _, err := evidence.KeyName(*key); err != nil {
				return fmt.Errorf("%w: -key: %w", errUsage, err)
			}
			o.Keys = []string{*key}
		}
		if *tsa != "" {
			text, err := os.ReadFile(*tsa)
			if err == nil {
				o.StampRoots, err = bundle.ParseStampRoots(text)
			}
			if err != nil {
				return fmt.Errorf("%w: -tsa %s: %w", errUsage, *tsa, err)
			}
		}
		return in.checkBundle(ctx, args[0], o, in.printCheck, func() {})
	}
}

// checkBundle checks the bundle at a path, tells of each check, and calls good if none has failed. The error is errFailed if one has, and wraps errUsage if
// there is no bundle.
func (in *invocation) checkBundle(ctx context.Context, path string, o bundle.VerifyOptions, tell func(bundle.Check) error, good func()) error {
	files, close, err := bundle.OpenPath(path)
	if err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	defer close()
	var told error
	o.Program = "copialettere " + version
	ok, err := bundle.Verify(ctx, files, o, func(c bundle.Check) { told = errors.Join(told, tell(c)) })
	switch {
	case errors.Is(err, bundle.ErrNoBundle):
		return fmt.Errorf("%w: %s: %w", errUsage, path, err)
	case err != nil:
		return err
	case told != nil:
		return told
	case !ok:
		return errFailed
	}
	good()
	return nil
}

// printCheck prints one check.
func (in *invocation) printCheck(c bundle.Check) error {
	if in.json {
		return in.printJSON(c)
	}
	text := printable(c.What)
	if c.Why != "" {
		text += ": " + printable(c.Why)
	}
	_, err := fmt.Fprintf(in.stdout, "%-8s %s\n", c.Outcome, text)
	return err
}
