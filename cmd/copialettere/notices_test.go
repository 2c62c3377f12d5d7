package main

import (
	"fmt"
	"mime"
	"net/mail"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/lmtp/nexthop/nexthoptest"
	"copialettere/policy"
)

// noticePlace is a place whose daemon mails notices through a relay.
func noticePlace(t *testing.T, script nexthoptest.Script) (*place, *nexthoptest.Server) {
	t.Helper()
	script.SMTP = true
	relay := nexthoptest.Start(t, script)
	p := pecPlace(t, "headers", nil)
	p.configure(fmt.Sprintf("[notices]\nrelay = %q\nfrom = \"archivio@alpha.test\"\n", relay.Spec()))
	return p, relay
}

const noticeAddress = "anna@ext.test"

// notify sets the address for notices of anna, and further settings, while no daemon runs, and confirms it.
func (p *place) notify(address string, settings ...string) {
	p.t.Helper()
	p.must(append([]string{"mailbox", "set", anna, "notify=" + address}, settings...)...)
	p.must("mailbox", "confirm", anna, "-confirmed")
}

// subjects waits until the relay has that many messages, and returns their subjects, sorted.
func subjects(t *testing.T, relay *nexthoptest.Server, count int) []string {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for len(relay.Messages()) < count && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	var list []string
	for _, m := range relay.Messages() {
		if m.From != "archivio@alpha.test" || !slices.Equal(m.Recipients, []string{noticeAddress}) {
			t.Errorf("notice from %s to %v", m.From, m.Recipients)
		}
		parsed, err := mail.ReadMessage(strings.NewReader(string(m.Body)))
		if err != nil {
			t.Fatal(err)
		}
		subject, err := new(mime.WordDecoder).DecodeHeader(parsed.Header.Get("Subject"))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, subject)
	}
	if len(list) != count {
		t.Fatalf("%d notices, want %d: %q", len(list), count, list)
	}
	slices.Sort(list)
	return list
}

// TestNotices delivers a certified message, and then so much mail that the archive is full.
func TestNotices(t *testing.T) {
	_, c := chain(t)
	p, relay := noticePlace(t, nexthoptest.Script{})
	p.must("mailbox", "enable", anna)
	p.notify(noticeAddress, "notify_on=certified,full,gap")
	stop := p.daemon()
	p.deliver(message, anna, anna)
	p.deliver(string(c.Envelope), anna, anna)
	p.deliver(string(c.Acceptance), anna, anna)
	certified := "Messaggio certificato per anna@alpha.test: Contratto"
	if got := subjects(t, relay, 1); got[0] != certified {
		t.Errorf("got %q", got)
	}
	for _, m := range relay.Messages() {
		if strings.Contains(string(m.Body), "In allegato") {
			t.Errorf("the notice has the content of the message:\n%s", m.Body)
		}
	}
	used := 0
	for _, e := range p.entries(anna) {
		used += int(e.Size)
	}
	p.must("mailbox", "set", anna, "language=en", fmt.Sprintf("quota=%dB", 2*used))
	filler := func(name string, size int) string {
		head := "From: s@ext.test\r\nMessage-ID: <" + name + "@ext.test>\r\n\r\n"
		return head + strings.Repeat("x", size-len(head)-2) + "\r\n"
	}
	p.deliver(filler("a", used*85/100), anna, anna)
	p.deliver(filler("b", used/4), anna, anna)
	p.deliver(filler("c", used/4), anna, anna)
	got := subjects(t, relay, 3)
	stop()
	want := []string{certified, "Mail for anna@alpha.test was not archived", "The archive of anna@alpha.test is 90% full"}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	p.must("verify")
}

// TestQuotaWarning warns of mailboxes that fill up, as Dovecot does: it never fails for a mailbox that nobody is told of.
func TestQuotaWarning(t *testing.T) {
	p, relay := noticePlace(t, nexthoptest.Script{})
	p.must("mailbox", "enable", anna)
	p.notify(noticeAddress, "notify_on=mailbox-full", "language=en")
	stop := p.daemon()
	for _, c := range []struct{ address, percent, want string }{
		{anna, "80", "anna@alpha.test is 80% full: the owner is told\n"},
		{"ANNA@alpha.test", "90", "anna@alpha.test is 90% full: the owner is told\n"}, // today's second
		{anna, "100", "anna@alpha.test is 100% full: the owner is told\n"},
		{"bruno@alpha.test", "80", "bruno@alpha.test is 80% full: the owner gets no such notices\n"},
		{"someone@elsewhere.test", "80", "someone@elsewhere.test is 80% full: the owner gets no such notices\n"},
	} {
		if got := p.must("quota-warning", c.address, c.percent); got != c.want {
			t.Errorf("quota-warning %s %s says %q, want %q", c.address, c.percent, got, c.want)
		}
	}
	p.fails(2, []string{"want a number from 1 to 100"}, "quota-warning", anna, "0")
	p.fails(2, []string{"want a number from 1 to 100"}, "quota-warning", anna, "101")
	p.fails(2, []string{"want a whole number"}, "quota-warning", anna, "eighty")
	p.fails(2, []string{"not a mailbox address"}, "quota-warning", "anna", "80")
	want := []string{"The mailbox anna@alpha.test is 80% full", "The mailbox anna@alpha.test is full"}
	if got := subjects(t, relay, 2); !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
	stop()
}

// TestNoticesToUnicodeDomain sends notices to a domain in Unicode through a relay without SMTPUTF8: the relay gets the ASCII form.
func TestNoticesToUnicodeDomain(t *testing.T) {
	_, c := chain(t)
	for _, notify := range []string{"x@xn--citt-3na.test", "x@città.test"} {
		p, relay := noticePlace(t, nexthoptest.Script{})
		p.must("mailbox", "enable", anna)
		p.notify(notify, "notify_on=certified")
		stop := p.daemon()
		p.deliver(string(c.Envelope), anna, anna)
		p.await("the notice", func() bool { return len(relay.Messages()) > 0 })
		stop()
		m := relay.Messages()[0]
		if want := "x@xn--citt-3na.test"; !slices.Equal(m.Recipients, []string{want}) || !strings.Contains(string(m.Body), "\r\nTo: <"+want+">\r\n") {
			t.Errorf("notify=%s: sent to %q:\n%s", notify, m.Recipients, m.Body)
		}
		for _, c := range relay.Connections() {
			if strings.Contains(strings.Join(c.Commands, " "), "SMTPUTF8") {
				t.Errorf("notify=%s: the relay was told %q", notify, c.Commands)
			}
		}
	}
}

// TestNoticesRelayDown has the relay refuse everything for now. Mail is delivered all the same, and the next daemon sends the notices, none of
// them twice.
func TestNoticesRelayDown(t *testing.T) {
	_, c := chain(t)
	p, relay := noticePlace(t, nexthoptest.Script{Greeting: "421 4.3.2 down"})
	p.must("mailbox", "enable", anna)
	p.notify(noticeAddress, "notify_on=certified")
	stop := p.daemon()
	p.deliver(string(c.Envelope), anna, anna)
	stop()
	if n := len(p.entries(anna)); n != 1 {
		t.Errorf("%d entries, want 1", n)
	}
	relay.SetScript(nexthoptest.Script{SMTP: true})
	k, _ := keeperOf(t, p)
	n := k.archive.notices
	for range 2 {
		if err := n.Deliver(t.Context(), time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	subjects(t, relay, 1)
}

// TestNoticeReplies refuses a notice at every step. What the relay refuses for good is given up, the rest waits.
func TestNoticeReplies(t *testing.T) {
	final := func(reply string) map[string][]string { return map[string][]string{"": {reply}} }
	rcpt := func(reply string) map[string][]string { return map[string][]string{noticeAddress: {reply}} }
	for _, c := range []struct {
		name   string
		script nexthoptest.Script
		left   bool
	}{
		{"taken", nexthoptest.Script{}, false},
		{"greeting 421", nexthoptest.Script{Greeting: "421 down"}, true},
		{"greeting 554", nexthoptest.Script{Greeting: "554 no"}, true},
		{"MAIL 451", nexthoptest.Script{Mail: "451 later"}, true},
		{"MAIL 550", nexthoptest.Script{Mail: "550 no"}, false},
		{"RCPT 450", nexthoptest.Script{Rcpt: rcpt("450 later")}, true},
		{"RCPT 550", nexthoptest.Script{Rcpt: rcpt("550 nobody")}, false},
		{"DATA 451", nexthoptest.Script{Data: "451 later"}, true},
		{"dot 452", nexthoptest.Script{Final: final("452 full")}, true},
		{"dot 554", nexthoptest.Script{Final: final("554 spam")}, false},
		{"dies in the message", nexthoptest.Script{Die: nexthoptest.Body}, true},
		{"dies at the dot", nexthoptest.Script{Die: nexthoptest.Dot}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, relay := noticePlace(t, c.script)
			k, _ := keeperOf(t, p)
			enableNotices(t, k)
			n := k.archive.notices
			n.Expired(&journal.ExpireReport{Time: time.Now(), Expired: []journal.Expired{
				{Mailbox: anna, Month: "2026-01", Removed: journal.Removed{Entries: 2, Bytes: 2000}},
				{Mailbox: anna, Month: "2026-02", Removed: journal.Removed{Entries: 3, Bytes: 3000}},
				{Mailbox: "bruno@alpha.test", Month: "2026-02", Removed: journal.Removed{Entries: 3, Bytes: 3000}},
			}})
			deliver := func(after time.Duration) {
				if err := n.Deliver(t.Context(), time.Now().Add(after)); err != nil {
					t.Fatal(err)
				}
			}
			deliver(0)
			before := len(relay.Messages())
			relay.SetScript(nexthoptest.Script{SMTP: true})
			deliver(time.Hour)
			if got := len(relay.Messages()) > before; got != c.left {
				t.Errorf("sent again: %v, want %v", got, c.left)
			}
			for _, m := range relay.Messages() {
				if !strings.Contains(string(m.Body), "Messaggi:   5\r\n") {
					t.Errorf("the notice does not tell of 5 messages:\n%s", m.Body)
				}
			}
		})
	}
}

func enableNotices(t *testing.T, k *daemon) {
	t.Helper()
	a, err := policy.ParseAddress(anna)
	if err != nil {
		t.Fatal(err)
	}
	who := policy.Actor{Role: policy.RoleOperator, Name: "test"}
	if _, err := k.archive.policy.Enable(t.Context(), a, who); err != nil {
		t.Fatal(err)
	}
	if _, err := k.archive.policy.Set(t.Context(), a, who, []policy.Assignment{{Key: policy.KeyNotify, Value: noticeAddress}}); err != nil {
		t.Fatal(err)
	}
	address, err := policy.ParseAddress(noticeAddress)
	if err == nil {
		err = k.archive.policy.ConfirmNotify(t.Context(), a, who, address)
	}
	if err != nil {
		t.Fatal(err)
	}
}
