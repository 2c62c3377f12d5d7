package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
	"copialettere/journal"
	"copialettere/journal/httpd"
)

// newRecorded returns a system with a recorder in place of the mailstore.
func newRecorded(t *testing.T, keywords []string, mailboxes ...string) (*system, *recorder) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	store := record(listener, keywords...)
	t.Cleanup(store.stop)
	return variant{nextHop: "lmtp:" + listener.Addr().String()}.start(t, mailboxes...), store
}

// listed returns the marked entries of a mailbox as "INBOX 1 delivered", without their months. With all, it returns superseded ones too.
func (s *system) listed(t *testing.T, mailbox, mark string) (shown, all []string) {
	t.Helper()
	for _, arguments := range [][]string{{"list", mailbox, "-json"}, {"list", mailbox, "-all", "-json"}} {
		stdout, _, _ := s.hook.Command(t, arguments...)
		var list []string
		for line := range bytes.Lines(stdout) {
			var e httpd.EntryView
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatalf("%v: %s", err, line)
			}
			if e.MessageID != "<"+mark+"@ext.test>" {
				continue
			}
			folder, _, err := journal.ParseFolder(e.Folder)
			if err != nil {
				t.Fatal(err)
			}
			text := fmt.Sprintf("%s %d %s", folder, e.UID, e.State)
			if e.SupersededBy != nil {
				text += fmt.Sprintf(" by %d", e.SupersededBy.UID)
			}
			list = append(list, text)
		}
		shown, all = all, list
	}
	return shown, all
}

// TestRequeued defers messages after the dot and has Postfix requeue them. One entry of each must be left, even for a message from a local
// program, one through an alias of aliases(5), and one that was requeued twice without a try in between.
func TestRequeued(t *testing.T) {
	t.Parallel()
	s, store := newRecorded(t, nil, anna, bruno)
	store.refusing.Store(true)
	direct, local, list := s.newMark(t), s.newMark(t), s.newMark(t)
	rig.Send(t, s.postfix.SMTP, rig.Mail{From: ester, To: []string{"anna+x@alpha.test", bruno}, Message: message(direct)})
	s.postfix.SendMail(t, ester, message(local), anna)
	rig.Send(t, s.postfix.SMTP, rig.Mail{From: ester, To: []string{"mlist@local.test"}, Message: message(list)})
	s.postfix.AwaitDeferred(t, 3)
	requeue := func(times int) {
		tries := func() int {
			return min(len(store.find(direct+"@")), len(store.find(local+"@")), len(store.find(list+"@")))
		}
		for range times {
			s.postfix.Command(t, "postsuper", "-r", "ALL")
		}
		before := tries()
		rig.Wait(t, 20*time.Second, "the next try", func() bool { return tries() > before })
		s.postfix.AwaitDeferred(t, 3)
	}
	requeue(1)
	requeue(2)
	if shown, _ := s.listed(t, anna, direct); len(shown) != 1 || shown[0][len(shown[0])-8:] != "deferred" {
		t.Errorf("while it waits, list shows %q", shown)
	}
	store.refusing.Store(false)
	s.postfix.Flush(t)
	for _, c := range []struct{ mailbox, mark string }{{anna, direct}, {bruno, direct}, {anna, local}} {
		shown, all := s.listed(t, c.mailbox, c.mark)
		if len(shown) != 1 || shown[0][len(shown[0])-9:] != "delivered" {
			t.Errorf("%s: list shows of %s %q", c.mailbox, c.mark, shown)
		}
		var uid uint32
		fmt.Sscanf(shown[0], "INBOX %d", &uid)
		for _, one := range all[1:] {
			if one[len("INBOX 1 "):] != fmt.Sprintf("superseded by %d", uid) {
				t.Errorf("%s: list -all shows of %s %q", c.mailbox, c.mark, all)
			}
		}
		if len(all) < 2 {
			t.Errorf("%s: list -all shows of %s %q", c.mailbox, c.mark, all)
		}
		s.expectJournaled(t, c.mailbox, c.mark)
	}
	if _, all := s.listed(t, anna, list); len(all) > 0 {
		t.Errorf("the message of a list was journaled: %q", all)
	}
	s.expectReason(t, anna, list, "list")
	s.hook.Verify(t)
}
