package e2e

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"

	"copialettere/cmd/copialettere/e2e/rig"
)

// system is Postfix, the hook and Dovecot, set up with the files of contrib. The hook gets its sockets from the test, as it would from systemd,
// and has a listener of its own for LMTP on TCP.
type system struct {
	postfix *rig.Postfix
	dovecot *rig.Dovecot
	hook    *rig.Daemon
	lmtp    string // address of the hook's own listener
	mark    int    // of the last message of this system
}

const hookConfig = `
[received]
listen          = ["systemd:received", "tcp:%s"]
next_hop        = %q
redirect_header = %q
%s
[sent]
listen   = ["systemd:sent"]
next_hop = "smtp:%s"

[admin]
listen = ["unix:admin.sock"]

[[domain]]
name = "alpha.test"
recipient_delimiter = "+"

[[domain]]
name = "beta.test"
recipient_delimiter = "+"
`

// newSystem starts the three. received holds further keys of [received].
func newSystem(t *testing.T, received string, mailboxes ...string) *system {
	t.Helper()
	return variant{received: received}.start(t, mailboxes...)
}

// variant is how a system differs from that of newSystem.
type variant struct {
	nextHop  string // of received mail, in place of Dovecot
	received string // further keys of [received]
	allMail  bool   // all mail passes through the hook (B of contrib/postfix/main.cf), not that of single mailboxes
	ownMaps  bool   // the daemon writes the maps, which are empty at the start, and asks this Postfix
	further  string // sections behind all others
}

func (v variant) start(t *testing.T, mailboxes ...string) *system {
	t.Helper()
	folder := rig.Folder(t)
	s := &system{lmtp: fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t))}
	sent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sent.Close() })
	s.dovecot = rig.StartDovecot(t, folder+"/dovecot", accounts)
	nextHop := v.nextHop
	if nextHop == "" {
		nextHop = "lmtp:unix:" + s.dovecot.LMTP
	}
	settings := postfixConfig(s.dovecot, sent.Addr().(*net.TCPAddr).Port)
	settings.ReceivedAll = v.allMail
	if v.ownMaps {
		settings.Transport, settings.Senders = "", ""
	}
	s.postfix = rig.StartPostfix(t, folder, settings)
	unix := rig.ListenUnix(t, s.postfix.Socket)
	t.Cleanup(func() { unix.Close() })
	config := fmt.Sprintf(hookConfig, s.lmtp, nextHop, rig.RedirectTag, v.received, s.postfix.Sent) + v.further
	if v.ownMaps {
		config += fmt.Sprintf("[postfix]\nmaps = %q\n", s.postfix.Maps)
	}
	s.hook = rig.Install(t, program, folder+"/hook", config,
		rig.Activated{Name: "received", File: rig.Descriptor(t, unix)}, rig.Activated{Name: "sent", File: rig.Descriptor(t, sent)})
	s.hook.Environment = []string{"MAIL_CONFIG=" + s.postfix.Config}
	s.hook.Start(t)
	s.hook.Enable(t, mailboxes...)
	return s
}

// newMark makes a Message-ID, without its domain, that no other message has.
func (s *system) newMark(t *testing.T) string {
	s.mark++
	return fmt.Sprintf("%s-%d", strings.NewReplacer("/", "-", "#", "-").Replace(t.Name()), s.mark)
}

// receive sends a message from outside, waits until it is delivered, and returns its mark.
func (s *system) receive(t *testing.T, to ...string) string {
	t.Helper()
	mark := s.newMark(t)
	rig.Send(t, s.postfix.SMTP, rig.Mail{From: "ester@ext.test", To: to, Message: message(mark)})
	s.postfix.Drain(t)
	return mark
}

// submit sends a message as a user who has logged in, waits until it is delivered, and returns its mark.
func (s *system) submit(t *testing.T, login, from string, to []string, header ...string) string {
	t.Helper()
	mark := s.newMark(t)
	rig.Send(t, s.postfix.Submission, rig.Mail{Login: login, From: from, To: to, Message: message(mark, header...)})
	s.postfix.Drain(t)
	return mark
}

// entries returns the directions of a mailbox's entries of the marked message, sorted. All must be in the state delivered.
func (s *system) entries(t *testing.T, mailbox, mark string) []string {
	t.Helper()
	directions := []string{}
	for _, entry := range s.hook.Find(t, mailbox, mark+"@ext.test") {
		if entry.State != "delivered" {
			t.Errorf("the %s entry of %s in %s is in state %q", entry.Direction, mark, mailbox, entry.State)
		}
		directions = append(directions, entry.Direction)
	}
	slices.Sort(directions)
	return directions
}

// expect fails the test unless the mailbox holds entries of the marked message in exactly these directions.
func (s *system) expect(t *testing.T, mailbox, mark string, directions ...string) {
	t.Helper()
	if got := s.entries(t, mailbox, mark); !slices.Equal(got, directions) {
		t.Errorf("%s holds of %s: %v, expected %v", mailbox, mark, got, directions)
	}
}

// expectReason fails the test unless "why" gives only this reason why the mailbox does not hold the marked message.
func (s *system) expectReason(t *testing.T, mailbox, mark, reason string) {
	t.Helper()
	var got []string
	for _, verdict := range s.hook.Why(t, mailbox, mark+"@ext.test") {
		if verdict.Verdict == "skipped" {
			got = append(got, verdict.Reason)
		}
	}
	if got = slices.Compact(got); !slices.Equal(got, []string{reason}) {
		t.Errorf("%s is told that %s is missing because of %q, expected %q", mailbox, mark, got, reason)
	}
}

// expectCopies fails the test unless Dovecot holds that many copies of the marked message.
func (s *system) expectCopies(t *testing.T, mailbox, mark string, want int) {
	t.Helper()
	if got := len(s.dovecot.Copies(t, mailbox, "Message-ID: <"+mark+"@ext.test>")); got != want {
		t.Errorf("Dovecot holds %d copies of %s in %s, expected %d", got, mark, mailbox, want)
	}
}
