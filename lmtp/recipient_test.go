package lmtp

import (
	"bufio"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"copialettere/policy"
)

// BenchmarkRecipient measures how fast a hook answers a recipient, with one mailbox enabled and with 5,000, in turn. It reports the medians, and
// their ratio: 1 means that 5,000 mailboxes cost nothing.
func BenchmarkRecipient(b *testing.B) {
	hooks := []*answering{newAnswering(b, 1, false), newAnswering(b, 5000, true)}
	for i := 0; b.Loop(); i++ {
		for n := range hooks {
			hooks[(i+n)%len(hooks)].ask(i) // whoever comes first finds the caches of the processor colder
		}
	}
	few, many := hooks[0].median(), hooks[1].median()
	b.ReportMetric(float64(few.Nanoseconds())/1000, "µs/1-mailbox")
	b.ReportMetric(float64(many.Nanoseconds())/1000, "µs/5000-mailboxes")
	b.ReportMetric(float64(few)/float64(many), "ratio")
}

// answering is a hook that is asked for its mailboxes, one after the other.
type answering struct {
	c         *client
	mailboxes int
	took      []time.Duration
}

func newAnswering(tb testing.TB, mailboxes int, beside bool) *answering {
	tb.Helper()
	r := newRig(tb, rigOptions{beside: beside, hop: func(tb testing.TB) string { return "lmtp:" + startHop(tb, serveSink) }})
	orders := make([]policy.Order, mailboxes)
	for i := range orders {
		address, err := policy.ParseAddress(recipient(i))
		if err != nil {
			tb.Fatal(err)
		}
		orders[i] = policy.Order{Mailbox: address, Enable: true}
	}
	for _, err := range r.policy.CarryOut(tb.Context(), policy.Actor{Role: policy.RoleOperator, Name: "op"}, orders) {
		if err != nil {
			tb.Fatal(err)
		}
	}
	nc, err := net.Dial("tcp", r.address)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { nc.Close() })
	a := &answering{c: &client{tb: tb, nc: nc, in: bufio.NewReader(nc)}, mailboxes: mailboxes}
	a.c.want("220")
	a.c.say("LHLO mx.test\n")
	a.c.want("250")
	for i := range mailboxes { // the hook has met them all
		a.ask(i)
	}
	a.took = nil
	return a
}

func recipient(i int) string { return fmt.Sprintf("m%04d@alpha.test", i) }

// ask begins a transaction, takes the time of the answer to its recipient, and breaks it off.
func (a *answering) ask(i int) {
	a.c.say("MAIL FROM:<ext@ext.test>\n")
	a.c.want("250")
	path := recipient(i * 7919 % a.mailboxes)
	begun := time.Now()
	a.c.say("RCPT TO:<" + path + "> ORCPT=rfc822;" + path + "\n")
	a.c.want("250")
	a.took = append(a.took, time.Since(begun))
	a.c.say("RSET\n")
	a.c.want("250")
}

// median returns the median of the times.
func (a *answering) median() time.Duration {
	slices.Sort(a.took)
	return a.took[len(a.took)/2]
}
