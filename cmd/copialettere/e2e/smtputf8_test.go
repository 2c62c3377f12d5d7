package e2e

import (
	"bytes"
	"testing"

	"copialettere/cmd/copialettere/e2e/rig"
)

// testSMTPUTF8 sends what was declared as internationalized to a Dovecot without SMTPUTF8: what needs it is refused for good by the hook, as
// Postfix would do without it, and what does not need it arrives.
func testSMTPUTF8(t *testing.T, s *system) {
	send := func(from string, change func([]byte) []byte) (mark string) {
		t.Helper()
		mark = s.newMark(t)
		session, err := rig.Dial("tcp", s.postfix.SMTP, "EHLO")
		if err != nil {
			t.Fatal(err)
		}
		defer session.Close()
		for _, c := range []string{"MAIL FROM:<" + from + "> SMTPUTF8", "RCPT TO:<" + anna + ">", "DATA"} {
			if reply, err := session.Command("%s", c); err != nil || reply.Code > 354 {
				t.Fatalf("%s: %v %v", c, reply, err)
			}
		}
		if err := session.Body(change(message(mark))); err != nil {
			t.Fatal(err)
		}
		if reply, err := session.Reply(); err != nil || reply.Code != 250 {
			t.Fatalf("message: %v %v", reply, err)
		}
		s.postfix.Drain(t)
		return mark
	}
	same := func(b []byte) []byte { return b }
	ascii := send(ester, same)
	s.expect(t, anna, ascii, "received")
	s.expectCopies(t, anna, ascii, 1)

	body := send(ester, func(b []byte) []byte { return append(b, "perché\r\n"...) })
	s.expect(t, anna, body, "received")
	s.expectCopies(t, anna, body, 1)

	header := send(ester, func(b []byte) []byte { return append([]byte("Comments: perché\r\n"), b...) })
	s.expect(t, anna, header)
	s.expectCopies(t, anna, header, 0)
	s.expectLogged(t, "to=<anna@alpha.test>", "said: 554 5.6.9 ")

	sender := send("jörg@ext.test", same)
	s.expect(t, anna, sender)
	s.expectCopies(t, anna, sender, 0)
	s.expectLogged(t, "to=<anna@alpha.test>", "said: 550 5.6.7 ")

	undeclared := s.newMark(t)
	rig.Send(t, s.postfix.SMTP, rig.Mail{From: ester, To: []string{anna}, Message: bytes.Join([][]byte{[]byte("Comments: perché\r\n"), message(undeclared)}, nil)})
	s.postfix.Drain(t)
	s.expect(t, anna, undeclared, "received")
	s.expectCopies(t, anna, undeclared, 1)
}
