package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"copialettere/cmd/copialettere/config"
	"copialettere/journal/datafolder"
	"copialettere/lmtp/nexthop"
	"copialettere/policy"
	"copialettere/policy/auth"
)

const demoHelp = `Usage: copialettere demo DIR [-messages FOLDER]

Tries the hook out on loopback. It writes a configuration into the new folder DIR, starts the daemon with a Maildir as next hop, delivers the
.eml files of FOLDER (testdata/messages by default) by LMTP, and prints what was journaled, what was skipped, and why. It opens an archive to
mail programs by IMAP, with a certificate of its own. The daemon runs until you press Ctrl-C. The demo needs nothing but this program and
touches nothing outside DIR.

Example: copialettere demo run
`

const demoConfig = `# Made by "copialettere demo". contrib/copialettere.toml explains every key.
data = "%[1]s/data"

[received]
listen   = ["tcp:127.0.0.1:%[2]d"]
next_hop = "maildir:%[1]s/mail"

[admin]
listen = ["unix:admin.sock", "tcp:127.0.0.1:%[3]d"]

[auth]
source = "file:%[1]s/passwd"

[tls]
certificate = "%[1]s/certificate.pem"
key         = "%[1]s/key.pem"

[imap]
listen = ["tls:127.0.0.1:%[4]d"]

[[domain]]
name        = "alpha.test"
postmasters = ["postmaster@alpha.test"]
`

// Ports of the demonstration.
const (
	demoLMTP  = 2424
	demoAdmin = 9180
	demoIMAP  = 9930
)

// demoDeliveries are the recipients of the demonstration, in turn. orcpt is the address as the sender wrote it, which an MTA gives as ORCPT.
var demoDeliveries = []struct{ rcpt, orcpt, remark string }{
	{"anna@alpha.test", "anna@alpha.test", "direct, enabled"},
	{"bruno@alpha.test", "bruno+2Binvoices@alpha.test", "direct with an extension, enabled"},
	{"carla@alpha.test", "carla@alpha.test", "direct, not enabled"},
	{"anna@alpha.test", "info@alpha.test", "through the alias info@alpha.test, enabled"},
}

func defineDemo(flags *flag.FlagSet) runner {
	messages := flags.String("messages", "testdata/messages", "")
	return func(ctx context.Context, in *invocation, args []string) error {
		if err := want(args, "DIR"); err != nil {
			return err
		}
		return runDemo(ctx, in, args[0], *messages)
	}
}

func runDemo(ctx context.Context, in *invocation, dir, messages string) error {
	files, err := filepath.Glob(filepath.Join(messages, "*.eml"))
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("no .eml files in %s", messages)
	}
	if err != nil {
		return err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	in.configFile = filepath.Join(dir, "copialettere.toml")
	text := fmt.Sprintf(demoConfig, dir, demoLMTP, demoAdmin, demoIMAP)
	if err := os.WriteFile(in.configFile, []byte(text), 0o600); err != nil {
		return err
	}
	if err := demoCertificate(dir); err != nil {
		return fmt.Errorf("make a certificate: %w", err)
	}
	password, err := demoPassword(dir)
	if err != nil {
		return err
	}
	c, err := config.Load(in.configFile)
	if err != nil {
		return err
	}
	if _, err := datafolder.Make(ctx, c.Data); err != nil {
		return err
	}
	logFile, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer logFile.Close()
	serving, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		done <- serve(serving, c, newLogger(&invocation{stderr: logFile}, c, c.Log.Level), reloading{})
	}()
	err = in.demonstrate(ctx, c, files, done)
	if err == nil {
		in.demoSteps(dir, password)
		select {
		case <-ctx.Done():
		case err = <-done:
			stop()
			return err
		}
	}
	stop()
	if stopErr := <-done; err == nil {
		err = stopErr
	}
	return err
}

// demonstrate enables two mailboxes, delivers the files, and prints the verdicts. It fails when done tells that the daemon has ended.
func (in *invocation) demonstrate(ctx context.Context, c *config.Config, files []string, done <-chan error) error {
	if err := awaitSocket(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", demoLMTP), done); err != nil {
		return err
	}
	for _, mailbox := range []string{"anna@alpha.test", "bruno@alpha.test"} {
		if err := runMailbox(ctx, in, []string{"enable", mailbox}, mailboxFlags{}); err != nil {
			return err
		}
	}
	if err := runMailbox(ctx, in, []string{"set", demoReader, "imap=on"}, mailboxFlags{}); err != nil {
		return err
	}
	fmt.Fprintf(in.stdout, "\nDelivering %d messages by LMTP to 127.0.0.1:%d\n", len(files), demoLMTP)
	spec, err := nexthop.ParseSpec(fmt.Sprintf("lmtp:127.0.0.1:%d", demoLMTP))
	if err != nil {
		return err
	}
	conn, err := nexthop.New(spec, nexthop.Options{}).Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Quit()
	for i, file := range files {
		to := demoDeliveries[i%len(demoDeliveries)]
		reply, err := demoDeliver(ctx, conn, file, to.rcpt, to.orcpt)
		if err != nil {
			return fmt.Errorf("deliver %s: %w", file, err)
		}
		fmt.Fprintf(in.stdout, "  %-28s to %-17s %-44s %s\n", filepath.Base(file), to.rcpt, to.remark, reply)
	}
	for _, mailbox := range []string{"anna@alpha.test", "bruno@alpha.test", "carla@alpha.test"} {
		fmt.Fprintf(in.stdout, "\nWhat became of the mail to %s (copialettere why %s)\n", mailbox, mailbox)
		if err := showVerdicts(ctx, in, mailbox, ""); err != nil {
			return err
		}
	}
	fmt.Fprintln(in.stdout, "\nIs the journal sound? (copialettere verify)")
	return runVerify(ctx, in, nil)
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

func demoDeliver(ctx context.Context, conn nexthop.Conn, file, rcpt, orcpt string) (nexthop.Reply, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nexthop.Reply{}, err
	}
	conn.Mail("sender@ext.test", nil)
	conn.Rcpt(rcpt, []string{"ORCPT=rfc822;" + orcpt})
	conn.Data()
	for range 3 {
		if r, err := conn.Reply(ctx); err != nil || r.Code >= 400 {
			return r, err
		}
	}
	// The files may have either line end; an MTA sends CRLF.
	message := strings.ReplaceAll(strings.ReplaceAll(string(b), "\r\n", "\n"), "\n", "\r\n")
	if _, err := conn.Write([]byte(message)); err != nil {
		return nexthop.Reply{}, err
	}
	if err := conn.Flush(); err != nil {
		return nexthop.Reply{}, err
	}
	if err := conn.End(ctx); err != nil {
		return nexthop.Reply{}, err
	}
	return conn.Reply(ctx)
}

// demoReader is the mailbox whose archive a mail program may open.
const demoReader = "anna@alpha.test"

// demoPassword sets a password of that mailbox, another one each time, and returns it.
func demoPassword(dir string) (string, error) {
	a, err := policy.ParseAddress(demoReader)
	if err != nil {
		return "", err
	}
	password := rand.Text()
	return password, auth.SetPassword(filepath.Join(dir, "passwd"), a, password)
}

// demoCertificate makes a certificate for localhost, which its own key has signed.
func demoCertificate(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := time.Now()
	template := x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(0, 1, 0), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	write := func(name, kind string, b []byte) error {
		return os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600)
	}
	return errors.Join(write("certificate.pem", "CERTIFICATE", certificate), write("key.pem", "PRIVATE KEY", private))
}

func (in *invocation) demoSteps(dir, password string) {
	fmt.Fprintf(in.stdout, `
The hook is up. In another terminal:
  bin/copialettere list anna@alpha.test -config %[1]s/copialettere.toml
  bin/copialettere cat anna@alpha.test INBOX/%[2]s 1 -config %[1]s/copialettere.toml
  swaks --protocol LMTP --server 127.0.0.1:%[3]d --from me@ext.test --to anna@alpha.test
  curl http://127.0.0.1:%[4]d/metrics
  curl --cacert %[1]s/certificate.pem -u %[6]s:%[7]s "imaps://localhost:%[5]d/INBOX/%[2]s;MAILINDEX=1"
A mail program opens the archive as an account: IMAP, server localhost, port %[5]d, SSL/TLS, user %[6]s, password
%[7]s. It warns of the certificate, which the demo has made by itself.
Mail is in %[1]s/mail, the journal in %[1]s/data, the log in %[1]s/log. Ctrl-C stops it.
`, dir, time.Now().UTC().Format("2006-01"), demoLMTP, demoAdmin, demoIMAP, demoReader, password)
}
