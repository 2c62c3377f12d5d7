package e2e

import (
	"slices"
	"testing"

	"copialettere/cmd/copialettere/e2e/rig"
)

const jorg = "jörg@alpha.test"

// TestInternational sends to an internationalised mailbox, with and without a tag: by port 25, where Postfix makes the ORCPT itself, and by a
// port that takes the ORCPT of its client and writes it in its own way (RFC 6533 section 3). Both ways are direct mail. An ORCPT of another
// address is not.
func TestInternational(t *testing.T) {
	s, store := newRecorded(t, []string{"SMTPUTF8"}, jorg)
	for _, c := range []struct{ name, port, rcpt, wire, reason string }{
		{"Postfix", s.postfix.SMTP, "<jörg@alpha.test>", "<jörg@alpha.test> ORCPT=rfc822;j+C3+B6rg@alpha.test", ""},
		{"Postfix with tag", s.postfix.SMTP, "<jörg+spese@alpha.test>", "<jörg+spese@alpha.test> ORCPT=rfc822;j+C3+B6rg+2Bspese@alpha.test", ""},
		{"Postfix with upper case", s.postfix.SMTP, "<JÖRG@alpha.test>", "<JÖRG@alpha.test> ORCPT=rfc822;J+C3+96RG@alpha.test", ""},
		{"Postfix with alias", s.postfix.SMTP, "<börse@alpha.test>", "<jörg@alpha.test> ORCPT=rfc822;b+C3+B6rse@alpha.test", "alias"},
		{"client", s.postfix.Sent, `<jörg@alpha.test> ORCPT=utf-8;j\x{F6}rg@alpha.test`, `<jörg@alpha.test> ORCPT=utf-8;j\x{F6}rg@alpha.test`, ""},
		{"client with tag", s.postfix.Sent, `<jörg+spese@alpha.test> ORCPT=utf-8;j\x{F6}rg\x{2B}spese@alpha.test`,
			`<jörg+spese@alpha.test> ORCPT=utf-8;j\x{F6}rg\x{2B}spese@alpha.test`, ""},
		{"client with a plus as it is", s.postfix.Sent, `<jörg+spese@alpha.test> ORCPT=utf-8;j\x{F6}rg+2Bspese@alpha.test`,
			`<jörg+spese@alpha.test> ORCPT=utf-8;j\x{F6}rg\x{2B}2Bspese@alpha.test`, ""},
		{"client raw", s.postfix.Sent, `<jörg@alpha.test> ORCPT=utf-8;jörg@alpha.test`, `<jörg@alpha.test> ORCPT=utf-8;j\x{F6}rg@alpha.test`, ""},
		{"client with another address", s.postfix.Sent, `<jörg@alpha.test> ORCPT=utf-8;b\x{F6}rse@alpha.test`,
			`<jörg@alpha.test> ORCPT=utf-8;b\x{F6}rse@alpha.test`, "alias"},
	} {
		t.Run(c.name, func(t *testing.T) {
			mark := s.newMark(t)
			session, err := rig.Dial("tcp", c.port, "EHLO")
			if err != nil {
				t.Fatal(err)
			}
			defer session.Close()
			for _, step := range []struct {
				code int
				line string
			}{{250, "MAIL FROM:<ester@ext.test> SMTPUTF8 BODY=8BITMIME"}, {250, "RCPT TO:" + c.rcpt}, {354, "DATA"}} {
				if reply, err := session.Command("%s", step.line); err != nil || reply.Code != step.code {
					t.Fatalf("%s: %v, %v", step.line, reply, err)
				}
			}
			if err := session.Body(message(mark, "X-To: jörg\r\n")); err != nil {
				t.Fatal(err)
			}
			if reply, err := session.Reply(); err != nil || reply.Code != 250 {
				t.Fatalf("the message: %v, %v", reply, err)
			}
			s.postfix.Drain(t)
			list := s.hook.Find(t, jorg, mark+"@ext.test")
			verdicts := s.hook.Why(t, jorg, mark+"@ext.test")
			if len(verdicts) != 1 || verdicts[0].Reason != c.reason {
				t.Fatalf("verdicts %+v, want the reason %q", verdicts, c.reason)
			}
			if v := verdicts[0]; "<"+v.RcptTo+"> ORCPT="+v.ORCPT != c.wire {
				t.Errorf("the hook was told <%s> ORCPT=%s, want %s", v.RcptTo, v.ORCPT, c.wire)
			}
			if c.reason == "" && (len(list) != 1 || list[0].State != "delivered" || slices.Contains(list[0].Flags, "origin-unknown")) {
				t.Errorf("entries: %+v", list)
			}
			if len(store.find(mark)) != 1 {
				t.Errorf("the mailstore has it %d times", len(store.find(mark)))
			}
		})
	}
}
