package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// testMessage returns a message of testdata/practice.
func testMessage(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "practice", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestWhyMessageID looks for messages by an id that is written differently in the message.
func TestWhyMessageID(t *testing.T) {
	p := newPlace(t)
	p.must("init")
	defer p.daemon()()
	p.must("mailbox", "enable", anna)
	p.deliver(testMessage(t, "message-id-comment.eml"), anna, anna)
	p.deliver("Message-ID: < 2@e.test >\r\n\r\nx\r\n", anna, anna)
	p.deliver("Message-ID: <3@\r\n e.test>\r\n\r\nx\r\n", anna, anna)
	p.deliver("Message-ID: (first) <4@e.test>\r\n\r\nx\r\n", anna, "info@alpha.test")
	for _, id := range []string{
		"comm@e.test", "<comm@e.test>", "<comm@e.test> (added by postmaster@mx.test)", "< comm@e.test >", "comm@e.test (x)",
		"2@e.test", "<2@e.test>", "3@e.test", "4@e.test",
	} {
		if code, out, errs := p.run("why", anna, "-message-id", id); code != 0 || strings.Count(out, "\n") != 1 {
			t.Errorf("why -message-id %q: exit status %d\n%s%s", id, code, out, errs)
		}
	}
	p.deliver("Subject: no id\r\n\r\nx\r\n", anna, anna)
	for _, id := range []string{"(comm@e.test)", "<>", " "} {
		p.fails(2, []string{"holds no id"}, "why", anna, "-message-id", id)
	}
	for _, id := range []string{"postmaster@mx.test", "COMM@e.test", "first"} {
		if code, out, _ := p.run("why", anna, "-message-id", id); code != 1 {
			t.Errorf("why -message-id %q: exit status %d\n%s", id, code, out)
		}
	}
}
