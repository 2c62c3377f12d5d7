package notice

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/policy"
)

const operator = "operator@ext.test"

// operated is a rig whose operator is told of faults.
func operated(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	r.queue = New(r.store, Options{Policy: r.policy, From: sender, MaxPerDay: 3, Operator: operator, Host: "mx.alpha.test"})
	return r
}

// fault returns a notice for the operator.
func fault(text string, at time.Duration) Notice {
	return OfOperator(CauseFaults, text, start().Add(at))
}

// TestOperator tells the operator of faults: each once a day, after a restart too, in the mail that the operator reads.
func TestOperator(t *testing.T) {
	r := operated(t)
	for _, n := range []Notice{
		fault("one", 0), fault("one", time.Hour), fault("two", time.Hour), OfOperator(CauseRetention, "one", start().Add(time.Hour)),
	} {
		r.add(n)
	}
	r.expect("queued", 0, 3)
	// The archive of a mailbox with the operator's address has no say.
	r.enable("carla@alpha.test")
	r.deliver(start().Add(time.Hour))
	r.expect("sent", 3, 0)
	r.add(fault("one", Window))
	r.deliver(start().Add(Window))
	r.expect("once more the next day", 4, 0)
	subject, body := decoded(t, []byte(r.sent[0].message))
	want := "21 November 2026, 10:30 (+0100)\n\none\n\n" +
		"This notice was sent by the program copialettere on mx.alpha.test to the address notices.operator of its configuration.\n"
	if subject != "copialettere on mx.alpha.test: the archive has faults" || body != want || r.sent[0].to != operator {
		t.Errorf("to %s\n%s\n%s", r.sent[0].to, subject, body)
	}
}

// TestNoOperator tells faults while the configuration names no operator, and delivers one after the name was taken out.
func TestNoOperator(t *testing.T) {
	r := operated(t)
	r.add(fault("one", 0))
	r.restart(3)
	r.add(fault("two", 0))
	r.expect("the second is not wanted", 0, 1)
	r.deliver(start())
	r.expect("the first is dropped", 0, 0)
}

// TestOperatorUnicode names an operator in a domain in Unicode: the relay gets the ASCII form.
func TestOperatorUnicode(t *testing.T) {
	r := newRig(t)
	r.queue = New(r.store, Options{Policy: r.policy, From: sender, MaxPerDay: 3, Operator: "x@città.test"})
	r.add(fault("one", 0))
	r.deliver(start())
	if len(r.sent) != 1 || r.sent[0].to != "x@xn--citt-3na.test" {
		t.Errorf("sent %+v", r.sent)
	}
}

// TestOperatorTexts checks the notices that the program itself sends the operator.
func TestOperatorTexts(t *testing.T) {
	many := make([]string, maxItems+5)
	for i := range many {
		many[i] = fmt.Sprintf("m%d@alpha.test", i)
	}
	for _, c := range []struct {
		name    string
		tell    func(*Pump)
		subject string
		body    []string
	}{
		{"retention", func(n *Pump) { n.RetentionRefused([]string{"500 of 900 entries", "the clock"}) }, "a run of the retention was refused", []string{
			"nothing was deleted:\n- 500 of 900 entries\n- the clock\n\nWhat it would delete: copialettere retention -dry-run\n",
		}},
		{"faults", func(n *Pump) {
			n.Faulty(700, []string{"mario@alpha.test INBOX/2026-11 5: the SHA-256 of its bytes is another one"})
		}, "the archive has faults", []string{
			"has found 700 faults:\n- mario@alpha.test INBOX/2026-11 5: the SHA-256 of its bytes is another one\n\nAll that is wrong now: copialettere verify\n",
		}},
		{"one fault", func(n *Pump) { n.Faulty(1, []string{"month 2026-11: it is passed over"}) }, "the archive has faults", []string{"has found 1 fault:\n"}},
		{"routes", func(n *Pump) { n.Unrouted([]string{anna}) }, "mailboxes are enabled, but not routed through the hook", []string{
			"\n- " + anna + "\n\n", "copialettere check ADDR\n",
		}},
		{"many routes", func(n *Pump) { n.Unrouted(many) }, "mailboxes are enabled, but not routed through the hook", []string{
			"\n- m99@alpha.test\n- and 5 more\n",
		}},
		{"faults", func(n *Pump) { n.Operator(CauseFaults, "a\r\nBcc: x@ext.test\n\n\x1b[2J\u202eb") }, "the archive has faults", []string{
			"\n\na\nBcc: x@ext.test\n\n[2Jb\n\n",
		}},
		{"long", func(n *Pump) { n.Operator(CauseFaults, strings.Repeat("è ", maxOperatorText)) }, "the archive has faults", []string{"è…\n"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := operated(t)
			n := NewPump(r.queue, r.send, nil)
			c.tell(n)
			n.Close()
			r.deliver(time.Now())
			if len(r.sent) != 1 {
				t.Fatalf("sent %+v", r.sent)
			}
			subject, body := decoded(t, []byte(r.sent[0].message))
			if subject != "copialettere on mx.alpha.test: "+c.subject {
				t.Errorf("subject %q", subject)
			}
			for _, want := range c.body {
				if !strings.Contains(body, want) {
					t.Errorf("the body has no %q:\n%s", want, body)
				}
			}
			if slices.ContainsFunc([]byte(r.sent[0].message), func(b byte) bool { return b > '~' }) {
				t.Errorf("not in ASCII:\n%s", r.sent[0].message)
			}
		})
	}
	var none *Pump
	none.Unrouted([]string{anna})
	none.RetentionRefused(nil)
}

// TestOperatorIsNoMailbox keeps the notices of mailboxes and of the operator apart.
func TestOperatorIsNoMailbox(t *testing.T) {
	r := operated(t)
	for i := range 5 {
		r.add(fault(fmt.Sprint(i), 0))
	}
	r.add(Notice{Mailbox: anna, Event: policy.NotifyFull, ID: "75", Percent: 75})
	if err := Forget(t.Context(), r.store, anna); err != nil {
		t.Fatal(err)
	}
	r.deliver(start())
	if got := len(r.sent); got != 3 {
		t.Errorf("%d sent, want the 3 of the operator within the daily limit", got)
	}
}
