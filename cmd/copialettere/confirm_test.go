package main

import (
	"io"
	"mime/quotedprintable"
	"net/mail"
	"regexp"
	"slices"
	"strings"
	"testing"

	"copialettere/lmtp/nexthop/nexthoptest"
)

// mailed waits until the relay has that many messages, and returns the recipient and the text of the last one.
func (p *place) mailed(relay *nexthoptest.Server, count int) (to, body string) {
	p.t.Helper()
	p.await("a mail", func() bool { return len(relay.Messages()) >= count })
	m := relay.Messages()[count-1]
	parsed, err := mail.ReadMessage(strings.NewReader(string(m.Body)))
	if err != nil {
		p.t.Fatal(err)
	}
	text, err := io.ReadAll(quotedprintable.NewReader(parsed.Body))
	if err != nil {
		p.t.Fatal(err)
	}
	return strings.Join(m.Recipients, " "), string(text)
}

// TestConfirm gives a mailbox an address for notices, confirms it by the code that comes by mail, and then moves on to another one.
func TestConfirm(t *testing.T) {
	p, relay := noticePlace(t, nexthoptest.Script{})
	stop := p.daemon()
	p.must("mailbox", "enable", anna)
	out := p.must("mailbox", "set", anna, "notify="+noticeAddress, "notify_on=before-loss,security", "language=en")
	for _, want := range []string{"A code is sent to " + noticeAddress + ".", "notify_pending from none to " + noticeAddress + " until "} {
		if !strings.Contains(out, want) {
			t.Errorf("set does not say %q:\n%s", want, out)
		}
	}
	to, body := p.mailed(relay, 1)
	found := regexp.MustCompile(`copialettere mailbox confirm anna@alpha.test ([0-9A-Z-]+)\r?\n`).FindStringSubmatch(body)
	if to != noticeAddress || found == nil {
		t.Fatalf("to %s:\n%s", to, body)
	}
	if out := p.must("mailbox", "show", anna); !strings.Contains(out, "notify_pending") || !strings.Contains(out, "  notify         none ") {
		t.Errorf("show:\n%s", out)
	}
	p.fails(2, []string{"want 2 arguments"}, "mailbox", "confirm", anna)
	p.fails(2, []string{"has no flag -confirmed"}, "mailbox", "enable", anna, "-confirmed")
	p.fails(1, []string{"that is not the code sent to " + noticeAddress + "; 4 more tries"}, "mailbox", "confirm", anna, "ABCDE-FGHJK")
	p.fails(1, []string{"no such address for notices waits"}, "mailbox", "confirm", "bruno@alpha.test", "-confirmed")
	p.must("mailbox", "confirm", anna, found[1])
	p.fails(1, []string{"no such address for notices waits"}, "mailbox", "confirm", anna, found[1])
	if out := p.must("mailbox", "show", anna); strings.Contains(out, "notify_pending") || !strings.Contains(out, noticeAddress) {
		t.Errorf("show:\n%s", out)
	}

	if out := p.must("mailbox", "set", anna, "retention=12"); !strings.Contains(out, "The owner is told. The shorter retention is in force from ") {
		t.Errorf("set retention:\n%s", out)
	}
	if to, body := p.mailed(relay, 2); to != noticeAddress || !strings.Contains(body, "Messages: 0\n") && !strings.Contains(body, "Messages: 0\r\n") {
		t.Errorf("to %s:\n%s", to, body)
	}
	p.must("mailbox", "set", anna, "notify=new@ext.test")
	if to, _ := p.mailed(relay, 3); to != "new@ext.test" {
		t.Errorf("the second code went to %s", to)
	}
	p.must("mailbox", "confirm", anna, "-confirmed")
	if to, body := p.mailed(relay, 4); to != noticeAddress || !strings.Contains(body, "The new one: new@ext.test.") {
		t.Errorf("to %s:\n%s", to, body)
	}
	p.must("mailbox", "disable", anna, "-confirm", anna)
	if to, body := p.mailed(relay, 5); to != "new@ext.test" || !strings.Contains(body, "was disabled") {
		t.Errorf("to %s:\n%s", to, body)
	}
	stop()
	log := p.must("mailbox", "log", anna)
	for _, want := range []string{"notify_pending from none to " + noticeAddress, "notify from none to " + noticeAddress, "retention_delay from none to all until ",
		"notify from " + noticeAddress + " to new@ext.test"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log has no %q:\n%s", want, log)
		}
	}
	if n := len(relay.Messages()); n != 5 {
		t.Errorf("%d mails", n)
	}
	p.must("verify")
}

// TestConfirmWithoutNotices sets an address where no notices can be sent: it waits, and the answer says what to do.
func TestConfirmWithoutNotices(t *testing.T) {
	p := newPlace(t)
	p.must("init")
	p.must("mailbox", "enable", anna)
	out := p.must("mailbox", "set", anna, "notify="+noticeAddress, "notify_on=before-loss")
	if want := "Without [notices] in the configuration no code can be sent: copialettere mailbox confirm " + anna + " -confirmed"; !strings.Contains(out, want) {
		t.Errorf("set does not say %q:\n%s", want, out)
	}
	p.fails(1, []string{"no code was sent, because the configuration has no [notices]"}, "mailbox", "confirm", anna, "ABCDE-FGHJK")
	p.must("mailbox", "confirm", anna, "-confirmed")
	// Nobody can be told, so nothing waits.
	if out := p.must("mailbox", "set", anna, "retention=6"); strings.Contains(out, "retention_delay") {
		t.Errorf("set retention:\n%s", out)
	}
	if !slices.Contains(strings.Fields(p.must("mailbox", "show", anna)), noticeAddress) {
		t.Error("the address is not in force")
	}
}
