package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"copialettere/cmd/copialettere/config"
	"copialettere/journal/datafolder"
)

const demoHelp = `Usage: copialettere demo DIR [-messages FOLDER]

Tries the hook out on loopback. It writes a configuration into the new folder DIR, starts the daemon with a Maildir as next hop, delivers the
.eml files of FOLDER (testdata/messages by default) by LMTP, and prints what was journaled, what was skipped, and why. It then has an office write
certified mail, and ends with the page of its archive and two sign-ins to try, of its owner and of the postmaster. It opens the archive to mail
programs by IMAP, with a certificate of its own. The daemon runs until you press Ctrl-C. The demo needs nothing but this program and touches
nothing outside DIR.

Example: copialettere demo run
`

func defineDemo(flags *flag.FlagSet) runner {
	messages := flags.String("messages", "testdata/messages", "")
	return func(ctx context.Context, in *invocation, args []string) error {
		if err := want(args, "DIR"); err != nil {
			return err
		}
		dir, err := filepath.Abs(args[0])
		if err != nil {
			return err
		}
		d := &demo{invocation: in, dir: dir, ports: demoPorts{LMTP: 2424, Sent: 2525, Outbox: 2526, Admin: 9180, Web: 8180, IMAP: 9930}}
		return d.run(ctx, *messages)
	}
}

// demo is one run of the demonstration.
type demo struct {
	*invocation
	dir       string // absolute
	ports     demoPorts
	passwords map[string]string // by address
}

// run sets everything up in the folder, delivers the mail, and then serves until ctx ends.
func (d *demo) run(ctx context.Context, messages string) error {
	files, err := filepath.Glob(filepath.Join(messages, "*.eml"))
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("no .eml files in %s", messages)
	}
	if err != nil {
		return err
	}
	if err := d.setUp(); err != nil {
		return err
	}
	c, err := config.Load(d.configFile)
	if err != nil {
		return err
	}
	if _, err := datafolder.Make(ctx, c.Data, datafolder.Options{}); err != nil {
		return err
	}
	logFile, err := os.OpenFile(filepath.Join(d.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer logFile.Close()
	outbox, err := openOutbox(d.ports.Outbox, filepath.Join(d.dir, "outbox"))
	if err != nil {
		return err
	}
	defer outbox.Close()
	serving, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() {
		done <- serve(serving, c, newLogger(&invocation{stderr: logFile}, c, c.Log.Level), reloading{})
	}()
	err = d.deliver(ctx, files, done)
	if err == nil {
		err = d.office(ctx)
	}
	if err == nil {
		d.steps()
		select {
		case <-ctx.Done():
		case err = <-done:
			return err
		}
	}
	stop()
	if stopErr := <-done; err == nil {
		err = stopErr
	}
	return err
}

func awaitSocket(ctx context.Context, network, address string, done <-chan error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if nc, err := net.Dial(network, address); err == nil {
			return nc.Close()
		}
		select {
		case <-tick.C:
		case err := <-done:
			return fmt.Errorf("the daemon did not start: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// steps prints what to try.
func (d *demo) steps() {
	fmt.Fprintf(d.stdout, `
The hook is up. In another terminal:
  bin/copialettere list anna@alpha.test -config %[1]s/copialettere.toml
  bin/copialettere cat anna@alpha.test INBOX/%[2]s 1 -config %[1]s/copialettere.toml
  bin/copialettere practice %[6]s -config %[1]s/copialettere.toml
  swaks --protocol LMTP --server 127.0.0.1:%[3]d --from me@ext.test --to anna@alpha.test
  curl http://127.0.0.1:%[4]d/metrics
  curl --cacert %[1]s/certificate.pem -u %[6]s:%[7]s "imaps://localhost:%[5]d/INBOX/%[2]s;MAILINDEX=1"
A mail program opens the archive as an account: IMAP, server localhost, port %[5]d, SSL/TLS, user %[6]s, password
%[7]s. It warns of the certificate, which the demo has made by itself.
Mail is in %[1]s/mail, what is sent in %[1]s/outbox, the journal in %[1]s/data, the log in %[1]s/log.

Open the archive in a browser:  %[8]s
  its owner:       %[6]s   password %[7]s
  the postmaster:  %[9]s   password %[10]s
Ctrl-C stops it.
`, d.dir, time.Now().UTC().Format("2006-01"), d.ports.LMTP, d.ports.Admin, d.ports.IMAP, demoOwner, d.passwords[demoOwner], d.page(), demoPostmaster,
		d.passwords[demoPostmaster])
}
