package e2e

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"copialettere/cmd/copialettere/e2e/rig"
)

// testSent submits mail as users who have logged in. Of these, anna and elena are listed in copialettere_senders.
func testSent(t *testing.T, s *system) {
	// The entries that the mailboxes must hold of a submitted message.
	type holds = map[string][]string
	for _, c := range []struct {
		name        string
		login, from string
		to          []string
		header      []string
		entries     holds
		reasons     map[string]string // why a mailbox does not hold its message
		copies      map[string]int
	}{
		{name: "between-two", login: anna, from: anna, to: []string{elena},
			entries: holds{anna: {"sent"}, elena: {"received"}}, copies: map[string]int{elena: 1}},
		{name: "bcc", login: anna, from: anna, to: []string{dario, elena}, header: []string{"Bcc: elena@beta.test\r\n"},
			entries: holds{anna: {"sent"}, elena: {"received"}}, copies: map[string]int{dario: 1, elena: 1}},
		{name: "from-an-alias", login: anna, from: "info@alpha.test", to: []string{dario},
			entries: holds{anna: {"sent"}}, copies: map[string]int{dario: 1}},
		{name: "from-another", login: anna, from: elena, to: []string{dario},
			entries: holds{anna: {"sent"}, elena: {}}, copies: map[string]int{dario: 1}},
		{name: "null-sender", login: anna, from: "", to: []string{dario},
			entries: holds{anna: {"sent"}}, copies: map[string]int{dario: 1}},
		{name: "to-a-group", login: anna, from: anna, to: []string{"staff@alpha.test"},
			entries: holds{anna: {"sent"}, bruno: {}}, reasons: map[string]string{anna: "alias", bruno: "alias"},
			copies: map[string]int{anna: 1, bruno: 1, dario: 1}},
		{name: "to-oneself", login: anna, from: anna, to: []string{anna},
			entries: holds{anna: {"received", "sent"}}, copies: map[string]int{anna: 1}},
		{name: "to-an-alias-of-oneself", login: anna, from: anna, to: []string{"info@alpha.test"},
			entries: holds{anna: {"sent"}}, reasons: map[string]string{anna: "alias"}, copies: map[string]int{anna: 1}},
		{name: "login-not-in-the-list", login: bruno, from: bruno, to: []string{elena},
			entries: holds{bruno: {}, elena: {"received"}}, copies: map[string]int{elena: 1}},
		{name: "forged-login-header", login: anna, from: anna, to: []string{dario},
			header:  []string{"X-Copialettere-Login: bruno@alpha.test\r\n"},
			entries: holds{anna: {"sent"}, bruno: {}}, copies: map[string]int{dario: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			mark := s.submit(t, c.login, c.from, c.to, c.header...)
			for mailbox, directions := range c.entries {
				s.expect(t, mailbox, mark, directions...)
			}
			for mailbox, reason := range c.reasons {
				s.expectReason(t, mailbox, mark, reason)
			}
			for mailbox, want := range c.copies {
				s.expectCopies(t, mailbox, mark, want)
				for _, stored := range s.dovecot.Copies(t, mailbox, "Message-ID: <"+mark+"@") {
					if bytes.Contains(stored, []byte("X-Copialettere-Login: "+c.login)) {
						t.Errorf("the login header has reached %s", mailbox)
					}
					if bytes.Contains(stored, []byte("\nBcc:")) {
						t.Errorf("the Bcc header has reached %s", mailbox)
					}
				}
			}
			for _, entry := range s.hook.Find(t, c.login, mark+"@ext.test") {
				if bytes.Contains(s.hook.Cat(t, entry), []byte("X-Copialettere-Login: "+c.login)) {
					t.Error("the login header is in the journal")
				}
			}
		})
	}
	t.Run("outsider-as-anna", func(t *testing.T) {
		mark := s.newMark(t)
		rig.Send(t, s.postfix.SMTP, rig.Mail{From: anna, To: []string{elena}, Message: message(mark, "X-Copialettere-Login: "+anna+"\r\n")})
		s.postfix.Drain(t)
		s.expect(t, anna, mark)
		s.expect(t, elena, mark, "received")
	})
	t.Run("bounced", func(t *testing.T) { testBounced(t, s) })
	t.Run("recipients", func(t *testing.T) { testRecipients(t, s) })
}

// testBounced sends to a user that only Postfix knows. The journal must hold the message as sent, and its bounce as received.
func testBounced(t *testing.T, s *system) {
	mark := s.submit(t, anna, anna, []string{"ghost@alpha.test"})
	s.expect(t, anna, mark, "sent")
	var bounces []rig.Entry
	for _, entry := range s.hook.List(t, anna) {
		if entry.Direction == "received" && entry.MailFrom == "" && bytes.Contains(s.hook.Cat(t, entry), []byte(mark)) {
			bounces = append(bounces, entry)
		}
	}
	if len(bounces) != 1 {
		t.Errorf("%d bounces were journaled", len(bounces))
	}
}

// testRecipients sends to 120 recipients. One entry must name them all.
func testRecipients(t *testing.T, s *system) {
	var to []string
	for i := range 120 {
		to = append(to, fmt.Sprintf("lettore%03d@ext.test", i))
	}
	mark := s.submit(t, elena, elena, to)
	s.expect(t, elena, mark, "sent")
	for _, entry := range s.hook.Find(t, elena, mark+"@ext.test") {
		got := slices.Clone(entry.Recipients)
		slices.Sort(got)
		if !slices.Equal(got, to) {
			t.Errorf("the entry names %d recipients: %s", len(got), strings.Join(got, " "))
		}
	}
}
