package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"copialettere/cmd/copialettere/e2e/rig"
)

// inside is a daemon whose archives Dovecot shows as folders of the live mailboxes.
type inside struct {
	hook *rig.Daemon
	lmtp string // address
	imap string // address of Dovecot

	dovecot *rig.Dovecot
}

// newInside gives anna and ugo the folder Archivio, and mario not. Only anna has an archive.
func newInside(t *testing.T) *inside {
	t.Helper()
	folder := rig.Folder(t)
	const on = "userdb_namespace/archivio/disabled=no"
	dovecot := rig.StartDovecot(t, filepath.Join(folder, "dovecot"),
		[]rig.Account{{Address: anna, Fields: on}, {Address: "mario@alpha.test"}, {Address: "ugo@alpha.test", Fields: on}})
	key := filepath.Join(folder, "imapc.key")
	if err := os.WriteFile(key, []byte("3f1c9a0d5b7e2468ace013579bdf2468\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(key, 65534, 65534); err != nil { // nobody, the daemon's user
		t.Fatal(err)
	}
	s := &inside{lmtp: fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t)), dovecot: dovecot}
	port := rig.FreePort(t)
	s.hook = rig.NewDaemon(t, program, filepath.Join(folder, "hook"), fmt.Sprintf(`
[received]
listen = ["tcp:%s"]
next_hop = "maildir:%s"
[auth]
source = "dovecot:unix:%s"
[imap]
insecure_loopback = true
listen = ["tcp:127.0.0.1:%d"]
[imapc]
master_user = "copialettere-imapc"
key_file = %q
[[domain]]
name = "alpha.test"
`, s.lmtp, filepath.Join(folder, "hook", "mail"), dovecot.Auth, port, key))
	s.hook.Enable(t, anna)
	s.hook.Must(t, "mailbox", "set", anna, "imap=on")
	dovecot.ShowArchives(t, port, key)
	s.imap = dovecot.ServeIMAP(t, anna, []string{oldLetter})
	return s
}

// open signs in to Dovecot.
func (s *inside) open(t *testing.T, user string) *imapclient.Client {
	t.Helper()
	nc, err := net.Dial("tcp", s.imap)
	if err != nil {
		t.Fatal(err)
	}
	c := imapclient.New(nc, nil)
	t.Cleanup(func() { c.Close() })
	if err := c.Login(user, rig.Password).Wait(); err != nil {
		t.Fatal(err)
	}
	return c
}

// folders lists all folders.
func folders(c *imapclient.Client) (names []string, err error) {
	list, err := c.List("", "*", nil).Collect()
	for _, one := range list {
		names = append(names, one.Mailbox)
	}
	return names, err
}

func choose(t *testing.T, c *imapclient.Client, folder string) *imap.SelectData {
	t.Helper()
	data, err := c.Select(folder, nil).Wait()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestArchiveInsideMailbox reads an archive as the folder Archivio of the live mailbox, in a real Dovecot.
func TestArchiveInsideMailbox(t *testing.T) {
	s := newInside(t)
	var want []string
	for _, text := range fixtureMessages(t) {
		replies, err := rig.Deliver("tcp", s.lmtp, rig.Mail{From: "ext@ext.test", To: []string{"<" + anna + "> ORCPT=rfc822;" + anna}, Message: text})
		if err != nil || replies[0].Code != 250 {
			t.Fatalf("%v, %v", replies, err)
		}
		want = append(want, digestOf(text))
	}
	folder := "Archivio/" + s.hook.List(t, anna)[0].Folder
	if out := string(s.hook.Must(t, "check")); !strings.Contains(out, "ok    imapc: ") {
		t.Errorf("check:\n%s", out)
	}
	c := s.open(t, anna)
	t.Run("list", func(t *testing.T) {
		got, err := folders(c)
		for _, name := range []string{"INBOX", "Archivio/INBOX", folder, "Archivio/Posta inviata"} {
			if err != nil || !slices.Contains(got, name) {
				t.Errorf("no %s in %q, %v", name, got, err)
			}
		}
		if got, err := folders(s.open(t, "mario@alpha.test")); err != nil || !slices.Equal(got, []string{"INBOX"}) {
			t.Errorf("a user without the folder sees %q, %v", got, err)
		}
	})
	t.Run("open", func(t *testing.T) { readAll(t, c, folder, want) })
	t.Run("search", func(t *testing.T) {
		choose(t, c, folder)
		for _, q := range []struct {
			name     string
			criteria imap.SearchCriteria
		}{
			{"subject", imap.SearchCriteria{Header: []imap.SearchCriteriaHeaderField{{Key: "Subject", Value: "lana"}}}},
			{"text", imap.SearchCriteria{Text: []string{"lana"}}},
		} {
			data, err := c.Search(&q.criteria, nil).Wait()
			if err != nil || len(data.AllSeqNums()) == 0 || len(data.AllSeqNums()) == len(want) {
				t.Errorf("%s: %v, %v", q.name, data.AllSeqNums(), err)
			}
		}
	})
	t.Run("refused", func(t *testing.T) { s.refused(t, c, folder, want) })
	t.Run("copied out", func(t *testing.T) {
		choose(t, c, folder)
		if _, err := c.Copy(imap.SeqSetNum(1), "INBOX").Wait(); err != nil {
			t.Error(err)
		}
		if n := choose(t, c, "INBOX").NumMessages; n != 2 {
			t.Errorf("%d messages in the INBOX", n)
		}
	})
	t.Run("archived by hand", func(t *testing.T) { s.byHand(t) })
	t.Run("on record", func(t *testing.T) {
		if out := string(s.hook.Must(t, "access", anna)); !strings.Contains(out, anna+" (owner) from 127.0.0.1, by the mail server (imapc)") {
			t.Errorf("access log:\n%s", out)
		}
	})
	t.Run("no archive", func(t *testing.T) {
		c := s.open(t, "ugo@alpha.test")
		if got, err := folders(c); err == nil {
			t.Errorf("listed %q", got)
		}
		choose(t, c, "INBOX")
	})
	t.Run("archive down", func(t *testing.T) { s.down(t, folder) })
	s.hook.Verify(t)
}

// readAll downloads every message of a folder: the bytes are those that were journaled.
func readAll(t *testing.T, c *imapclient.Client, folder string, want []string) {
	t.Helper()
	if n := choose(t, c, folder).NumMessages; int(n) != len(want) {
		t.Fatalf("%d messages, want %d", n, len(want))
	}
	section := &imap.FetchItemBodySection{Peek: true}
	got, err := c.Fetch(imap.SeqSet{{Start: 1, Stop: 0}}, &imap.FetchOptions{RFC822Size: true, BodySection: []*imap.FetchItemBodySection{section}}).Collect()
	if err != nil || len(got) != len(want) {
		t.Fatalf("%d messages, %v", len(got), err)
	}
	for i, m := range got {
		text := m.FindBodySection(section)
		if digestOf(text) != want[i] || m.RFC822Size != int64(len(text)) {
			t.Errorf("message %d: %d bytes of %d, not those that were journaled", i+1, len(text), m.RFC822Size)
		}
	}
}

// refused tries to change the archive by Dovecot. Nothing is changed, and nothing is left in the live mailbox.
func (s *inside) refused(t *testing.T, c *imapclient.Client, folder string, want []string) {
	choose(t, c, folder)
	// Dovecot answers OK to flags without asking the archive.
	if err := c.Store(imap.SeqSetNum(1, 2), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close(); err != nil {
		t.Errorf("store: %v", err)
	}
	if err := c.Expunge().Close(); err != nil {
		t.Errorf("expunge: %v", err)
	}
	if _, err := c.Move(imap.SeqSetNum(1), "INBOX").Wait(); err == nil || !strings.HasPrefix(err.Error(), "imap: NO ") {
		t.Errorf("move: %v", err)
	}
	if n := choose(t, c, "INBOX").NumMessages; n != 1 {
		t.Errorf("%d messages in the INBOX", n)
	}
	for name, act := range map[string]func() error{
		"delete":       func() error { return c.Delete(folder).Wait() },
		"create":       func() error { return c.Create("Archivio/x", nil).Wait() },
		"rename":       func() error { return c.Rename(folder, "Archivio/x", nil).Wait() },
		"copy into it": func() error { _, err := c.Copy(imap.SeqSetNum(1), "Archivio/INBOX").Wait(); return err },
	} {
		if err := act(); err == nil || !strings.HasPrefix(err.Error(), "imap: NO ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	readAll(t, s.open(t, anna), folder, want)
	if n := len(s.hook.List(t, anna)); n != len(want) {
		t.Errorf("%d entries, want %d", n, len(want))
	}
}

// byHand copies the old letter of the INBOX into the archive. Its bytes are those of the live mailbox, and it is on record as imported.
func (s *inside) byHand(t *testing.T) {
	s.hook.Must(t, "mailbox", "set", anna, "append=on")
	before := s.hook.List(t, anna)
	c := s.open(t, anna)
	choose(t, c, "INBOX")
	if _, err := c.Copy(imap.SeqSetNum(1), "Archivio/Archiviati a mano").Wait(); err != nil {
		t.Fatal(err)
	}
	entries := s.hook.List(t, anna)
	if len(entries) != len(before)+1 {
		t.Fatalf("%d entries, want one more than %d", len(entries), len(before))
	}
	added := slices.DeleteFunc(entries, func(e rig.Entry) bool {
		return slices.ContainsFunc(before, func(b rig.Entry) bool { return b.Folder == e.Folder && b.UID == e.UID })
	})[0]
	if text := s.hook.Cat(t, added); string(text) != oldLetter {
		t.Errorf("archived %q", text)
	}
	if out := string(s.hook.Must(t, "list", anna, "-json")); strings.Count(out, `"imported":{"by":"owner `+anna+` (imap)","date":"`) != 1 {
		t.Errorf("list:\n%s", out)
	}
}

// oldLetter is in the INBOX of anna before there is an archive.
const oldLetter = "Subject: vecchia lettera\r\nFrom: a@ext.test\r\nDate: Mon, 2 Mar 2020 09:00:00 +0100\r\n\r\nda conservare\r\n"

// down stops the archive. The user's own mail can be opened and written to; listing all folders fails, as far as Dovecot goes.
func (s *inside) down(t *testing.T, folder string) {
	s.hook.Stop(t)
	c := s.open(t, anna)
	if got, err := folders(c); err == nil {
		t.Errorf("Dovecot lists %q: say so in contrib/dovecot/README.md", got)
	}
	if list, err := c.List("", "INBOX", nil).Collect(); err != nil || len(list) != 1 {
		t.Errorf("list of INBOX: %d, %v", len(list), err)
	}
	if n := choose(t, c, "INBOX").NumMessages; n != 2 {
		t.Errorf("%d messages in the INBOX", n)
	}
	text := []byte("Subject: y\r\n\r\ny\r\n")
	w := c.Append("INBOX", int64(len(text)), nil)
	_, err := w.Write(text)
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		_, err = w.Wait()
	}
	if err != nil {
		t.Errorf("append: %v", err)
	}
	if replies, err := rig.Deliver("unix", s.dovecot.Direct, rig.Mail{From: "ext@ext.test", To: []string{"<" + anna + ">"}, Message: text}); err != nil || replies[0].Code != 250 {
		t.Errorf("delivery: %v, %v", replies, err)
	}
	if _, err := c.Select(folder, nil).Wait(); err == nil {
		t.Error("a folder of the archive was opened")
	}
	s.hook.Start(t)
	if got, err := folders(s.open(t, anna)); err != nil || !slices.Contains(got, folder) {
		t.Errorf("up again: %q, %v", got, err)
	}
}
