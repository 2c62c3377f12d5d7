package e2e

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"copialettere/cmd/copialettere/e2e/rig"
)

const (
	anna  = "anna@alpha.test"
	bruno = "bruno@alpha.test"
	carla = "carla@alpha.test"
	dario = "dario@alpha.test"
	elena = "elena@beta.test"
	ester = "ester@ext.test"
)

// TestDelivery sends all kinds of mail through one Postfix, hook and Dovecot. After each part the queue must be empty and the journal sound.
func TestDelivery(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "", anna, bruno, carla, elena)
	for _, part := range []struct {
		name string
		test func(*testing.T, *system)
	}{
		{"rows", testRows},
		{"forged", testForged},
		{"switched", testSwitched},
		{"sent", testSent},
		{"bytes", testBytes},
		{"smtputf8", testSMTPUTF8},
		{"refused", testRefused},
		{"down", testDown},
		{"restarted", testRestarted},
		{"smoke", testSmoke},
	} {
		t.Run(part.name, func(t *testing.T) {
			part.test(t, s)
			s.postfix.Drain(t)
			s.hook.Verify(t)
		})
	}
}

// testRows sends every row of the table of direct and indirect mail and asks for the verdicts.
func testRows(t *testing.T, s *system) {
	for _, row := range rows {
		row.send(t, s.postfix, "")
	}
	s.postfix.Drain(t)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			for mailbox, reason := range row.verdicts {
				if reason == "" {
					s.expect(t, mailbox, row.name, "received")
					s.expectJournaled(t, mailbox, row.name)
				} else {
					s.expect(t, mailbox, row.name)
					s.expectReason(t, mailbox, row.name, reason)
				}
			}
			for mailbox, want := range row.copies {
				s.expectCopies(t, mailbox, row.name, want)
			}
		})
	}
}

// expectJournaled fails the test unless "why" says that the marked message is journaled once.
func (s *system) expectJournaled(t *testing.T, mailbox, mark string) {
	t.Helper()
	journaled := 0
	for _, verdict := range s.hook.Why(t, mailbox, mark+"@ext.test") {
		if verdict.Verdict == "journaled" {
			journaled++
		}
	}
	if journaled != 1 {
		t.Errorf("\"why\" says %d times that %s is journaled in %s, expected 1", journaled, mark, mailbox)
	}
}

// testForged tries to make alias mail look direct, and direct mail look like a copy, from the outside and as a user.
func testForged(t *testing.T, s *system) {
	for _, port := range []struct{ name, address, login string }{
		{"port 25", s.postfix.SMTP, ""}, {"submission", s.postfix.Submission, bruno},
	} {
		session, err := rig.Dial("tcp", port.address, "EHLO")
		if err != nil {
			t.Fatal(err)
		}
		if port.login != "" {
			if reply, err := session.Login(port.login); err != nil || reply.Code != 235 {
				t.Fatalf("login: %v %v", reply, err)
			}
		}
		if reply, err := session.Command("MAIL FROM:<ester@ext.test>"); err != nil || reply.Code != 250 {
			t.Fatalf("MAIL: %v %v", reply, err)
		}
		for _, line := range []string{
			"<info@alpha.test> ORCPT=rfc822;anna@alpha.test", "<anna@alpha.test> ORCPT=rfc822;x@gmail.test", "<anna@alpha.test> NOTIFY=NEVER",
		} {
			if reply, err := session.Command("RCPT TO:%s", line); err != nil || reply.Code/100 != 5 {
				t.Errorf("%s accepts RCPT TO:%s: %v %v", port.name, line, reply, err)
			}
		}
		session.Close()
	}
}

// testSwitched enables and disables a mailbox between two messages.
func testSwitched(t *testing.T, s *system) {
	before := s.receive(t, dario)
	s.hook.Enable(t, dario)
	within := s.receive(t, dario)
	s.expect(t, dario, before)
	s.expect(t, dario, within, "received")
	s.hook.Must(t, "mailbox", "disable", dario, "-confirm", dario)
	after := s.receive(t, dario)
	s.expect(t, dario, after)
	for _, mark := range []string{before, within, after} {
		s.expectCopies(t, dario, mark, 1)
	}
}

// bodies are the messages that must arrive byte for byte: those of testdata, and some that do not keep well in a file.
func bodies(t *testing.T) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(rig.ModuleFolder(), "testdata", "messages", "*.eml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no messages in testdata: %v", err)
	}
	list := make(map[string][]byte)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		// Postfix puts an empty line above a message without a header. The bytes then differ, but for Dovecot and us alike.
		list[strings.TrimSuffix(filepath.Base(file), ".eml")] = text
	}
	const head = "From: ester@ext.test\r\nSubject: prova\r\n\r\n"
	list["nul"] = []byte(head + "un \x00 e due \x00\x00\r\n")
	list["every-byte"] = []byte(head + everyByte() + "\r\n")
	list["megabyte-line"] = []byte(head + strings.Repeat("lunghissima ", 90_000) + "\r\n")
	list["dots"] = []byte(head + ".\r\n..\r\n...\r\n.a\r\n\r\n.\r\n")
	list["empty-body"] = []byte("From: ester@ext.test\r\nSubject: senza corpo\r\n\r\n")
	list["header-only"] = []byte("From: ester@ext.test\r\nSubject: solo intestazione\r\n")
	list["20-megabytes"] = append([]byte(head), randomLines(20<<20)...)
	return list
}

// everyByte returns all bytes but CR and LF, which are SMTP's own.
func everyByte() string {
	var text strings.Builder
	for b := range 256 {
		if b != '\r' && b != '\n' {
			text.WriteByte(byte(b))
		}
	}
	return text.String()
}

// randomLines returns about that many bytes of base64 lines, which hardly compress.
func randomLines(size int) []byte {
	raw := make([]byte, size*3/4)
	rand.Read(raw)
	text := base64.StdEncoding.AppendEncode(nil, raw)
	var lines bytes.Buffer
	for len(text) > 0 {
		n := min(76, len(text))
		lines.Write(text[:n])
		lines.WriteString("\r\n")
		text = text[n:]
	}
	return lines.Bytes()
}

// testBytes sends odd messages. The sent bytes, those that Dovecot stored and those that the journal gives back must be the same.
func testBytes(t *testing.T, s *system) {
	list := bodies(t)
	for name, body := range list {
		rig.Send(t, s.postfix.SMTP, rig.Mail{From: "bytes-" + name + "@ext.test", To: []string{anna}, Message: body})
	}
	s.postfix.Drain(t)
	entries := make(map[string][]rig.Entry)
	for _, entry := range s.hook.List(t, anna) {
		entries[entry.MailFrom] = append(entries[entry.MailFrom], entry)
	}
	for name, body := range list {
		t.Run(name, func(t *testing.T) {
			from := "bytes-" + name + "@ext.test"
			found := entries[from]
			if len(found) != 1 {
				t.Fatalf("%d entries", len(found))
			}
			journaled := s.hook.Cat(t, found[0])
			if !bytes.HasSuffix(journaled, body) {
				t.Errorf("the journal does not hold what was sent; it ends in %.200q", tail(journaled, 200))
			}
			if digest := sha256.Sum256(journaled); hex.EncodeToString(digest[:]) != found[0].SHA256 || int64(len(journaled)) != found[0].Size {
				t.Errorf("%d bytes with digest %x, but the entry says %d and %s", len(journaled), digest, found[0].Size, found[0].SHA256)
			}
			copies := s.dovecot.Copies(t, anna, "Return-Path: <"+from+">")
			if len(copies) != 1 {
				t.Fatalf("%d copies in Dovecot", len(copies))
			}
			if err := sameAsStored(journaled, copies[0]); err != nil {
				t.Error(err)
			}
		})
	}
}

// sameAsStored returns an error that says where Dovecot's file differs from the journal's bytes, the trace header on top aside.
func sameAsStored(journaled, stored []byte) error {
	if !bytes.HasSuffix(stored, journaled) {
		return fmt.Errorf("Dovecot's copy of %d bytes does not end in the journal's %d bytes; it ends in %.200q",
			len(stored), len(journaled), tail(stored, 200))
	}
	for line := range strings.SplitSeq(string(stored[:len(stored)-len(journaled)]), "\r\n") {
		field, _, _ := strings.Cut(line, ":")
		switch {
		case line == "" || line[0] == '\t' || line[0] == ' ':
		case field == "Return-Path" || field == "Delivered-To" || field == "Received":
		default:
			return fmt.Errorf("above the journal's bytes Dovecot's copy has the line %q", line)
		}
	}
	return nil
}

func tail(text []byte, n int) []byte { return text[max(0, len(text)-n):] }

// testRefused sends messages that Dovecot refuses: at RCPT (unknown user) and after the dot (quota).
func testRefused(t *testing.T, s *system) {
	s.receive(t, "ghost@alpha.test")
	s.expectLogged(t, "to=<ghost@alpha.test>", "said: 550 5.1.1 ")

	mark := s.newMark(t)
	large := append(message(mark), bytes.Repeat([]byte("troppo per una casella piccola\r\n"), 400)...)
	rig.Send(t, s.postfix.SMTP, rig.Mail{From: ester, To: []string{anna, carla, "ghost@alpha.test"}, Message: large})
	s.postfix.Drain(t)
	s.expect(t, anna, mark, "received")
	s.expectCopies(t, anna, mark, 1)
	s.expect(t, carla, mark)
	s.expectCopies(t, carla, mark, 0)
	s.expectReason(t, carla, mark, "refused")
	s.expectLogged(t, "to=<carla@alpha.test>", "said: 552 5.2.2 ")

	small := s.receive(t, carla)
	s.expect(t, carla, small, "received")
	s.expectCopies(t, carla, small, 1)
}

// testDown stops Dovecot, then takes the hook away. Mail must wait, and come once.
func testDown(t *testing.T, s *system) {
	marks := map[string]string{s.newMark(t): anna, s.newMark(t): "info@alpha.test", s.newMark(t): elena}
	send := func() {
		t.Helper()
		for mark, to := range marks {
			rig.Send(t, s.postfix.SMTP, rig.Mail{From: ester, To: []string{to}, Message: message(mark)})
		}
		s.postfix.AwaitDeferred(t, len(marks))
	}
	check := func() {
		t.Helper()
		s.postfix.Flush(t)
		for mark, to := range marks {
			switch to {
			case "info@alpha.test":
				s.expect(t, anna, mark)
				s.expectReason(t, anna, mark, "alias")
				s.expectCopies(t, anna, mark, 1)
			default:
				s.expect(t, to, mark, "received")
				s.expectCopies(t, to, mark, 1)
			}
		}
	}

	s.dovecot.Stop()
	send()
	s.postfix.Command(t, "postsuper", "-r", "ALL") // a new queue id does not make a new message
	s.postfix.AwaitDeferred(t, len(marks))
	s.dovecot.Start(t)
	check()

	marks = map[string]string{s.newMark(t): anna, s.newMark(t): "info@alpha.test", s.newMark(t): elena}
	// Stop the daemon too, or Postfix would use a connection that it has kept.
	s.hook.Stop(t)
	away := s.postfix.Socket + ".away"
	if err := os.Rename(s.postfix.Socket, away); err != nil {
		t.Fatal(err)
	}
	send()
	// Only mail for the mailboxes of the map waits. This one is not in it.
	other := s.newMark(t)
	rig.Send(t, s.postfix.SMTP, rig.Mail{From: ester, To: []string{"fabio@beta.test", "bccsource@beta.test"}, Message: message(other)})
	s.postfix.AwaitDeferred(t, len(marks)+2) // the redirect and the copy into anna's mailbox wait as well
	s.expectCopies(t, "bccsource@beta.test", other, 1)
	if err := os.Rename(away, s.postfix.Socket); err != nil {
		t.Fatal(err)
	}
	s.hook.Start(t)
	check()
	s.expectCopies(t, anna, other, 2)
	s.expect(t, anna, other)
}

// testRestarted restarts the hook while mail comes in. Its sockets stay open, as under systemd, so nothing may be deferred.
func testRestarted(t *testing.T, s *system) {
	deferred := func() int { return strings.Count(readText(t, s.postfix.Log), "status=deferred") }
	before := deferred()
	s.hook.Stop(t)
	var marks []string
	for range 3 {
		mark := s.newMark(t)
		rig.Send(t, s.postfix.SMTP, rig.Mail{From: ester, To: []string{anna}, Message: message(mark)})
		rig.Send(t, s.postfix.Submission, rig.Mail{Login: anna, From: anna, To: []string{elena}, Message: message(mark + "-sent")})
		marks = append(marks, mark)
	}
	// With the daemon down the commands work on the data folder.
	s.hook.Verify(t)
	s.hook.Start(t)
	s.postfix.Drain(t)
	for _, mark := range marks {
		s.expect(t, anna, mark, "received")
		s.expectCopies(t, anna, mark, 1)
		s.expect(t, anna, mark+"-sent", "sent")
		s.expect(t, elena, mark+"-sent", "received")
		s.expectCopies(t, elena, mark+"-sent", 1)
	}
	if now := deferred(); now != before {
		t.Errorf("%d deliveries were deferred", now-before)
	}
}

// expectLogged fails the test unless a line of Postfix's log has both texts.
func (s *system) expectLogged(t *testing.T, recipient, text string) {
	t.Helper()
	for line := range strings.Lines(readText(t, s.postfix.Log)) {
		if strings.Contains(line, recipient) && strings.Contains(line, text) {
			return
		}
	}
	t.Errorf("Postfix has logged no line with %q and %q", recipient, text)
}

func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestAllMail sends all mail through the hook (virtual_transport), not that of single mailboxes.
func TestAllMail(t *testing.T) {
	s := variant{allMail: true}.start(t, anna)
	mark := s.receive(t, anna, "info@alpha.test", "bccsource@beta.test")
	s.expect(t, anna, mark, "received")
	s.expectCopies(t, anna, mark, 1) // direct, by the alias, and the copy of bccsource's mail, all in one transaction
	s.expectCopies(t, "bccsource@beta.test", mark, 1)
	s.expectLogged(t, "to=<bccsource@beta.test>", "relay=mx.alpha.test[private/copialettere]")
	s.hook.Verify(t)
}
