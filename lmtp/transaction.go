package lmtp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"time"

	"copialettere/journal"
	"copialettere/lmtp/nexthop"
	"copialettere/policy"
	"copialettere/policy/notice"
	"copialettere/policy/pec"
)

var errAborted = errors.New("transaction given up")

// dataReplyTimeout is how long the next hops have to answer DATA: Postfix waits for 120 s (lmtp_data_init_timeout).
const dataReplyTimeout = 110 * time.Second

// line is one RCPT line. Each has its own reply, also where two name the same address.
type line struct {
	path
	leg      *leg
	accepted bool
	enabled  bool          // its mailbox may want the message
	unfit    bool          // the next hop was not asked: it takes no such address
	final    nexthop.Reply // reply to the message, zero until it is known
	held     bool          // final is ours, and the next hop must not get the message for this line
	unknown  bool          // the message went out and no reply came
}

// transaction is one MAIL with its recipients and message.
type transaction struct {
	s       *session
	id      string
	log     *slog.Logger
	ctx     context.Context
	from    path
	forward xforward
	pec     PEC
	refused bool // MAIL was
	legs    []*leg
	lines   []*line

	patience *patience // with the journal and the settings
	head     headFilter
	utf8     utf8Header     // of a message that came with SMTPUTF8
	draft    *journal.Draft // nil when nobody wants the message
	decided  bool           // whether there is a draft
	fault    error          // a fault of our own, for which the message is refused for now
	size     int64
	class    *classification // of the message; nil until it is whole
	sentTo   policy.SentTo   // of sent mail; empty until it was asked for
	complete time.Time       // when the last byte came
	entries  []*pendingEntry
	skips    int
	notices  []notice.Notice // for the owners, once the final replies are given
}

func newTransaction(s *session, from path) *transaction {
	server := s.c.server
	t := &transaction{s: s, id: newTransactionID(), ctx: server.ctx, from: from, forward: maps.Clone(s.c.forward)}
	t.patience = newPatience(t.ctx, server.config.JournalTimeout)
	t.log = s.c.log.With("transaction", t.id)
	t.head.header = server.config.Origin
	if server.config.PEC != nil {
		t.pec = server.config.PEC()
	}
	if t.pec.Verifier == nil {
		t.pec.Verifier = pec.NewVerifier(nil, nil)
	}
	return t
}

// mail starts the transaction. With one next hop MAIL goes there at once; with several, the recipients decide, and MAIL goes out
// before the first of them.
func (t *transaction) mail() func(context.Context) nexthop.Reply {
	if len(t.s.c.server.hops) > 1 {
		return func(context.Context) nexthop.Reply { return ourReply(250, "2.1.0", "Sender ok", "") }
	}
	l := t.leg(t.s.c.server.config.NextHop)
	return func(ctx context.Context) nexthop.Reply {
		r := l.mailReply(ctx)
		t.refused = !r.Positive()
		return r
	}
}

func (t *transaction) leg(hop *nexthop.Hop) *leg {
	for _, l := range t.legs {
		if l.hop == hop {
			return l
		}
	}
	l := newLeg(t, hop)
	t.legs = append(t.legs, l)
	return l
}

// rcpt hands a recipient on. The function that it returns reads the next hop's reply.
func (t *transaction) rcpt(p path) func(context.Context) nexthop.Reply {
	server := t.s.c.server
	n := &line{path: p}
	if server.config.Direction == journal.Received {
		v, err := t.settingsOf(p.address)
		if err != nil {
			t.log.Error("settings cannot be read", "rcpt_to", p.address, "error", err)
			return func(context.Context) nexthop.Reply { return faultReply(errPolicy, t.id) }
		}
		n.enabled = v.Enabled
	}
	n.leg = t.leg(server.hop(p.address))
	n.leg.rcpt(n)
	t.lines = append(t.lines, n)
	return func(ctx context.Context) nexthop.Reply {
		mail := n.leg.mailReply(ctx)
		r, err := n.leg.rcptReply(ctx, n)
		switch {
		case !mail.Positive():
			return mail
		case err != nil:
			t.log.Warn("recipient not handed on", "rcpt_to", p.address, "error", err)
			return faultReply(err, t.id)
		}
		n.accepted = r.Positive()
		return r
	}
}

// settingsOf says what is known of a line when it comes in. Whether the message is archived for it only the end of the message tells.
func (t *transaction) settingsOf(address string) (policy.Verdict, error) {
	defer t.patience.end()
	return t.s.c.server.config.Policy.Wanted(t.patience.begin(), address)
}

func (t *transaction) accepted() int {
	n := 0
	for _, l := range t.lines {
		if l.accepted {
			n++
		}
	}
	return n
}

// pipelineData sends DATA along with commands whose replies are still outstanding.
func (t *transaction) pipelineData() {
	for _, l := range t.legs {
		if l.pending() {
			l.askData()
		}
	}
}

// dropData reads the reply to a pipelined DATA that nobody wants any more.
func (t *transaction) dropData() {
	for _, l := range t.legs {
		if !l.asked || l.err != nil {
			continue
		}
		l.asked = false
		if r, err := l.reply(t.ctx); err == nil && r.Code == 354 {
			l.fail(errAborted)
		}
	}
}

// data takes the message in. The client has sent DATA and got no reply yet.
func (t *transaction) data() {
	if refusal, ok := t.openData(); !ok {
		t.s.c.say(refusal)
		return
	}
	t.s.c.say(nexthop.Reply{Code: 354, Lines: []string{"Go ahead, end with <CR><LF>.<CR><LF>"}})
	if t.s.c.flush() != nil {
		return
	}
	if err := t.stream(); err != nil {
		// Nothing was delivered and nothing journaled: the sender has the message.
		t.log.Warn("message broken off by the client", "bytes", t.size, "error", err)
		t.s.c.server.m.outcome("broken-off")
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.s.c.say(ourReply(421, "4.4.2", "Message does not come in, closing", t.id))
			t.s.c.flush()
		}
		t.s.c.dead = io.EOF
		return
	}
	t.complete = time.Now()
	t.finish()
	t.report()
}

// openData asks the next hops for the message. It is refused when none of them wants it.
func (t *transaction) openData() (refusal nexthop.Reply, ok bool) {
	for _, l := range t.legs {
		if t.wants(l) {
			l.askData()
		}
	}
	ctx, cancel := context.WithTimeout(t.ctx, dataReplyTimeout)
	defer cancel()
	for _, l := range t.legs {
		if !l.asked {
			continue
		}
		r, err := l.reply(ctx)
		if !t.wants(l) {
			// All its recipients were refused while DATA was under way.
			if r.Code == 354 {
				l.fail(errAborted)
			}
			continue
		}
		if err != nil {
			t.log.Warn("message not handed on", "error", err)
			r = faultReply(err, t.id)
		}
		if l.ready = r.Code == 354; l.ready {
			ok = true
			continue
		}
		// One reply is for all: a hop that refuses for good must not speak for one that refuses for now.
		if !refusal.Temporary() {
			refusal = r
		}
		t.setFinal(l, r)
	}
	return refusal, ok
}

// wants says whether the leg has a recipient for the message.
func (t *transaction) wants(l *leg) bool {
	for _, n := range t.lines {
		if n.leg == l && n.accepted {
			return true
		}
	}
	return false
}

// setFinal gives this reply to the recipients of a leg that have no final one yet.
func (t *transaction) setFinal(l *leg, r nexthop.Reply) {
	for _, n := range t.lines {
		if n.leg == l && n.accepted && n.final.Code == 0 {
			n.final = r
		}
	}
}

// stream reads the message to its end and hands it on. The error says that the client broke off.
func (t *transaction) stream() error {
	body := t.s.c.body()
	defer t.s.c.endBody()
	defer t.abortWithContext()()
	for {
		p, err := body.next()
		if err == io.EOF {
			t.pass(t.head.rest())
			t.decide()
			t.s.c.server.m.bytes.Add(t.size)
			return nil
		}
		if err != nil {
			return fmt.Errorf("read message: %w", err)
		}
		if t.size += int64(len(p)); t.size > t.s.c.server.config.MaxMessageSize {
			t.refuse(errTooLarge)
			continue
		}
		t.pass(t.head.take(p))
	}
}

// abortWithContext has the end of the transaction's context interrupt the writes to the next hops, until the returned function is called.
func (t *transaction) abortWithContext() (release func() bool) {
	var conns []*hopConn
	for _, l := range t.legs {
		if l.ready && l.err == nil {
			conns = append(conns, l.conn)
		}
	}
	return context.AfterFunc(t.ctx, func() {
		for _, c := range conns {
			c.Abort()
		}
	})
}

// pass gives bytes of the message to the journal and to the next hops.
func (t *transaction) pass(p []byte) {
	if len(p) == 0 || t.fault != nil {
		return
	}
	t.decide()
	t.utf8.write(p)
	if t.draft != nil {
		t.patience.begin()
		t.draft.Write(p)
		t.patience.end()
	}
	for _, l := range t.legs {
		if l.ready && l.err == nil {
			if _, err := l.conn.Write(p); err != nil {
				l.fail(err)
			}
		}
	}
}

// decide begins a draft if the message may be wanted: at its first byte, when the header that the MTA prepended has been read.
func (t *transaction) decide() {
	if t.decided || t.fault != nil {
		return
	}
	t.decided = true
	_, declared := t.from.param("SMTPUTF8")
	t.utf8.done = !declared
	defer t.patience.end()
	ctx := t.patience.begin()
	wanted, err := t.wanted()
	if err != nil {
		t.log.Error("settings cannot be read", "error", err)
		t.refuse(errPolicy)
		return
	}
	if wanted {
		t.draft = t.s.c.server.config.Journal.NewDraft(ctx)
	}
}

// refuse gives the message up for a fault of our own, while the rest of it is still coming in.
func (t *transaction) refuse(fault error) {
	if t.fault != nil {
		return
	}
	t.fault = fault
	for _, l := range t.legs {
		if l.ready {
			l.fail(fault)
		}
	}
	t.discard()
}

func (t *transaction) discard() {
	t.patience.stop()
	if t.draft != nil {
		t.draft.Discard()
		t.draft = nil
	}
}

// finish is all that happens between the last byte and the final replies.
func (t *transaction) finish() {
	t.refuseUTF8()
	// What no next hop can take now comes again, and is journaled then.
	if t.fault == nil && t.flush() {
		t.commit()
		t.holdBack()
		t.deliver()
		t.conclude()
	}
	for _, n := range t.lines {
		if n.accepted && n.final.Code == 0 {
			err := t.fault
			if err == nil {
				err = n.leg.err
			}
			n.final = faultReply(err, t.id)
		}
	}
	t.answer()
}

// smallMessage is up to how many bytes a message can go to the next hops in one write with the dot.
const smallMessage = 16 << 10

// flush sends what the connections still buffer, so that the next hops have it while it is made durable; where nothing is, it goes with
// the dot. It reports whether any of the connections can be given the dot.
func (t *transaction) flush() (open bool) {
	// Where there is other work meanwhile, a write saved is worth more than what the next hop could do with a small message.
	together := t.size <= smallMessage && t.s.c.server.open.Load() > 1
	for _, l := range t.legs {
		if l.ready && l.err == nil && t.draft != nil && !together {
			if err := l.conn.Flush(); err != nil {
				l.fail(err)
			}
		}
		switch {
		case !l.ready:
		case l.err == nil:
			open = true
		default:
			t.log.Warn("next hop failed", "error", l.err)
		}
	}
	return open
}

// deliver sends the final dot and reads the next hops' replies.
func (t *transaction) deliver() {
	for _, l := range t.legs {
		if l.ready && l.err == nil {
			err := l.conn.End(t.ctx)
			if !errors.Is(err, nexthop.ErrNotSent) {
				t.markSent(l)
			}
			if err != nil {
				l.fail(err)
				t.log.Warn("next hop failed", "error", l.err)
			}
		}
	}
	for _, l := range t.legs {
		if l.ready && l.err == nil {
			if t.finalReplies(l); l.err != nil {
				t.log.Warn("next hop failed", "error", l.err)
			}
		}
	}
}

// markSent notes that from now on the leg's recipients may have the message.
func (t *transaction) markSent(l *leg) {
	for _, n := range t.lines {
		if n.leg == l && n.accepted {
			n.unknown = true
		}
	}
}

func (t *transaction) finalReplies(l *leg) {
	if !l.conn.LMTP() {
		if r, err := l.conn.Reply(t.ctx); err != nil {
			l.fail(err)
		} else {
			t.setFinal(l, r)
		}
	} else {
		for _, n := range t.lines {
			if n.leg != l || !n.accepted || n.final.Code != 0 {
				continue
			}
			r, err := l.conn.Reply(t.ctx)
			if err != nil {
				l.fail(err)
				break
			}
			n.final = r
		}
	}
	for _, n := range t.lines {
		if n.leg == l && n.final.Code != 0 {
			n.unknown = false
		}
	}
	l.finished = l.err == nil
}

// answer gives the client its final replies: one per accepted recipient by LMTP (RFC 2033 section 4.2), one in all by SMTP.
func (t *transaction) answer() {
	defer func() {
		if !t.complete.IsZero() {
			t.s.c.server.m.finish.Observe(time.Since(t.complete))
		}
	}()
	if t.s.direction() == journal.Received {
		for _, n := range t.lines {
			if n.accepted {
				t.s.c.say(n.final)
			}
		}
		return
	}
	var worst nexthop.Reply
	for _, n := range t.lines {
		// A refusal for now brings the message again, for all its recipients.
		if n.accepted && (worst.Code == 0 || worst.Positive() || n.final.Temporary()) {
			worst = n.final
		}
	}
	t.s.c.say(worst)
}

// close frees what the transaction holds.
func (t *transaction) close() {
	t.discard()
	for _, l := range t.legs {
		l.close()
	}
}

// report logs the transaction and counts it.
func (t *transaction) report() {
	delivered, deferred, refused := 0, 0, 0
	for _, n := range t.lines {
		switch {
		case !n.accepted:
		case n.final.Positive():
			delivered++
		case n.final.Permanent():
			refused++
		default:
			deferred++
		}
	}
	t.notify()
	outcome := "delivered"
	switch {
	case deferred > 0:
		outcome = "deferred"
	case refused > 0:
		outcome = "refused"
	}
	t.s.c.server.m.outcome(outcome)
	t.log.Info("message", "direction", t.s.direction().String(), "outcome", outcome, "mail_from", t.from.address,
		"recipients", t.accepted(), "delivered", delivered, "deferred", deferred, "refused", refused,
		"journaled", len(t.entries), "skipped", t.skips, "bytes", t.size, "queue_id", t.forward["IDENT"],
		"milliseconds", time.Since(t.complete).Milliseconds())
}
