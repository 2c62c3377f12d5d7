package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"

	"copialettere/lmtp/nexthop"
	"copialettere/policy/pec/pectest"
)

// demoDeliveries are the recipients of the demonstration, in turn. orcpt is the address as the sender wrote it, which an MTA gives as ORCPT.
var demoDeliveries = []struct{ rcpt, orcpt, remark string }{
	{"anna@alpha.test", "anna@alpha.test", "direct, enabled"},
	{"bruno@alpha.test", "bruno+2Binvoices@alpha.test", "direct with an extension, enabled"},
	{"carla@alpha.test", "carla@alpha.test", "direct, not enabled"},
	{"anna@alpha.test", "info@alpha.test", "through the alias info@alpha.test, enabled"},
}

// deliver enables mailboxes, delivers the files, and prints the verdicts. It fails when done tells that the daemon has ended.
func (d *demo) deliver(ctx context.Context, files []string, done <-chan error) error {
	if err := awaitSocket(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", d.ports.LMTP), done); err != nil {
		return err
	}
	for _, mailbox := range []string{"anna@alpha.test", "bruno@alpha.test", demoOwner} {
		if err := runMailbox(ctx, d.invocation, []string{"enable", mailbox}, mailboxFlags{}); err != nil {
			return err
		}
	}
	if err := runMailbox(ctx, d.invocation, []string{"set", demoOwner, "imap=on", "manual_delete=on"}, mailboxFlags{}); err != nil {
		return err
	}
	fmt.Fprintf(d.stdout, "\nDelivering %d messages by LMTP to 127.0.0.1:%d\n", len(files), d.ports.LMTP)
	conn, err := demoConnect(ctx, fmt.Sprintf("lmtp:127.0.0.1:%d", d.ports.LMTP))
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
		fmt.Fprintf(d.stdout, "  %-28s to %-17s %-44s %s\n", filepath.Base(file), to.rcpt, to.remark, reply)
	}
	for _, mailbox := range []string{"anna@alpha.test", "bruno@alpha.test", "carla@alpha.test"} {
		fmt.Fprintf(d.stdout, "\nWhat became of the mail to %s (copialettere why %s)\n", mailbox, mailbox)
		if err := showVerdicts(ctx, d.invocation, mailbox, ""); err != nil {
			return err
		}
	}
	fmt.Fprintln(d.stdout, "\nIs the journal sound? (copialettere verify)")
	return runVerify(ctx, d.invocation, nil)
}

// office has the owner send and receive certified mail, and pauses his archive in between, which leaves a gap.
func (d *demo) office(ctx context.Context) error {
	story := pectest.Story(demoOwner, time.Now())
	fmt.Fprintf(d.stdout, "\nThe certified and ordinary mail of %s: %d messages\n", demoOwner, len(story))
	received, err := demoConnect(ctx, fmt.Sprintf("lmtp:127.0.0.1:%d", d.ports.LMTP))
	if err != nil {
		return err
	}
	defer received.Quit()
	sent, err := demoConnect(ctx, fmt.Sprintf("smtp:127.0.0.1:%d", d.ports.Sent))
	if err != nil {
		return err
	}
	defer sent.Quit()
	missed := len(story) - 2 // a letter that comes during the pause
	for i, step := range story {
		conn := received
		if step.Sent {
			conn = sent
		}
		if i == missed {
			err = runMailbox(ctx, d.invocation, []string{"pause", demoOwner}, mailboxFlags{})
		}
		var reply nexthop.Reply
		if err == nil {
			reply, err = demoSend(ctx, conn, step.From, step.To, step.To, step.Message)
		}
		if err == nil && !reply.Positive() {
			err = errors.New(reply.String())
		}
		if err != nil {
			return fmt.Errorf("%s: %w", step.Name, err)
		}
		fmt.Fprintf(d.stdout, "  %-36s %s\n", step.Name, reply)
		if i == missed {
			if err := runMailbox(ctx, d.invocation, []string{"resume", demoOwner}, mailboxFlags{}); err != nil {
				return err
			}
		}
	}
	fmt.Fprintf(d.stdout, "\nWhat became of the certified messages? (copialettere practice %s)\n", demoOwner)
	return runPractice(ctx, d.invocation, []string{demoOwner}, "")
}

func demoConnect(ctx context.Context, server string) (nexthop.Conn, error) {
	spec, err := nexthop.ParseSpec(server)
	if err != nil {
		return nil, err
	}
	return nexthop.New(spec, nexthop.Options{}).Connect(ctx)
}

func demoDeliver(ctx context.Context, conn nexthop.Conn, file, rcpt, orcpt string) (nexthop.Reply, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nexthop.Reply{}, err
	}
	// The files may have either line end; an MTA sends CRLF.
	message := strings.ReplaceAll(strings.ReplaceAll(string(b), "\r\n", "\n"), "\n", "\r\n")
	return demoSend(ctx, conn, "sender@ext.test", []string{rcpt}, []string{orcpt}, []byte(message))
}

// demoSend sends a message in CRLF, and returns the first refusal, or the last reply.
func demoSend(ctx context.Context, conn nexthop.Conn, from string, rcpts, orcpts []string, message []byte) (nexthop.Reply, error) {
	conn.Mail(from, nil)
	for i, rcpt := range rcpts {
		conn.Rcpt(rcpt, []string{"ORCPT=rfc822;" + orcpts[i]})
	}
	conn.Data()
	for range len(rcpts) + 2 {
		if r, err := conn.Reply(ctx); err != nil || r.Code >= 400 {
			return r, err
		}
	}
	if _, err := conn.Write(message); err != nil {
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

// outbox stands for the MTA that sends mail on: it takes every message by SMTP, and keeps it as a file.
type outbox struct {
	*smtp.Server
	running sync.WaitGroup
}

func openOutbox(port int, folder string) (*outbox, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, fmt.Errorf("the port of the outbox: %w", err)
	}
	o := &outbox{Server: smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &outboxSession{folder: folder}, nil }))}
	o.Domain, o.EnableSMTPUTF8, o.EnableDSN = "outbox.alpha.test", true, true
	o.running.Go(func() { o.Serve(listener) }) // ends with an error when the server is closed
	return o, nil
}

// Close stops taking mail.
func (o *outbox) Close() error {
	err := o.Server.Close()
	o.running.Wait()
	return err
}

// outboxSession is one SMTP session.
type outboxSession struct {
	folder     string
	recipients []string
}

// Mail implements smtp.Session.
func (s *outboxSession) Mail(string, *smtp.MailOptions) error { return nil }

// Rcpt implements smtp.Session.
func (s *outboxSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.recipients = append(s.recipients, to)
	return nil
}

// Data implements smtp.Session.
func (s *outboxSession) Data(r io.Reader) error {
	f, err := os.CreateTemp(s.folder, time.Now().Format("150405")+"-"+filepath.Base(slices.Max(s.recipients))+"-*.eml")
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

// Reset implements smtp.Session.
func (s *outboxSession) Reset() { s.recipients = nil }

// Logout implements smtp.Session.
func (s *outboxSession) Logout() error { return nil }
