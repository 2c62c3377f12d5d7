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

// errAborted ends a leg that has no fault, but whose hop must not get the message.
var errAborted = errors.New("transaction given up")

// dataReplyTimeout is how long several next hops together have to answer DATA, as one has: Postfix waits 120 s (lmtp_data_init_timeout).
const dataReplyTimeout = 110 * time.Second

// line is one RCPT line. Each has its own reply, even if two name the same address.
type line struct {
	path
	leg      *leg
	accepted bool
	enabled  bool          // its mailbox may want the message
	told     bool          // its owner wants to be told if the message is certified
	mailbox  string        // name of its archive when the line came in; "" if there was none
	unfit    bool          // RCPT was not sent: the next hop takes no such address
	final    nexthop.Reply // reply to the message; zero until known
	held     bool          // final is ours, and the next hop must not get the message for this line
	unknown  bool          // the message went out, and no reply came
}

// transaction is one MAIL with its recipients and message.
type transaction struct {
	s       *session
	id      string
	logger  *slog.Logger // see log; nil until something was logged
	ctx     context.Context
	from    path
	forward xforward
	pec     PEC
	refused bool // the reply to MAIL was not positive
	legs    []*leg
	lines   []*line

	patience *patience // with the journal and the settings
	head     headFilter
	utf8     utf8Header     // looks only at a message that came with SMTPUTF8
	draft    *journal.Draft // nil if no mailbox wants the message
	decided  bool           // draft is final
	fault    error          // why the message is refused to all recipients
	size     int64
	class    *pec.Classification // of the message; nil until all of it is in
	sentTo   policy.SentTo       // of sent mail; empty until the policy was asked
	sender   string              // of sent mail: the archive that the policy named first; empty if it was not on
	renamed  []wish              // of mailboxes that have gone on to another address
	complete time.Time           // when the last byte came
	entries  []*pendingEntry
	leftOut  []leftOut
	skips    int
	notices  []notice.Notice // for the owners, handed on after the final replies
}

func newTransaction(s *session, from path) *transaction {
	server := s.c.server
	t := &transaction{s: s, id: newTransactionID(), ctx: server.ctx, from: from, forward: maps.Clone(s.c.forward)}
	t.patience = newPatience(t.ctx, server.config.JournalTimeout)
	t.head.header = server.config.Origin
	if server.config.PEC != nil {
		t.pec = server.config.PEC()
	}
	if t.pec.Verifier == nil {
		t.pec.Verifier = pec.NewVerifier(nil, nil)
	}
	return t
}

// log returns the logger of the transaction. Most transactions have little to say.
func (t *transaction) log() *slog.Logger {
	if t.logger == nil {
		t.logger = t.s.c.log.With("transaction", t.id)
	}
	return t.logger
}

// mail starts the transaction and returns the function that reads the reply. A single next hop gets MAIL at once. Of several, each gets it
// before its first recipient.
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

// rcpt hands a recipient on and returns the function that reads the next hop's reply.
func (t *transaction) rcpt(p path) func(context.Context) nexthop.Reply {
	server := t.s.c.server
	n := &line{path: p}
	if server.config.Direction == journal.Received {
		v, err := t.settingsOf(p.address)
		if err != nil {
			t.log().Error("settings cannot be read", "rcpt_to", p.address, "error", err)
			return func(context.Context) nexthop.Reply { return faultReply(errPolicy, t.id) }
		}
		n.enabled, n.told = v.Enabled || v.Renamed, v.Told
		if v.State != policy.StateOff {
			n.mailbox = v.Mailbox
		}
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
			t.log().Warn("recipient not handed on", "rcpt_to", p.address, "error", err)
			return faultReply(err, t.id)
		}
		n.accepted = r.Positive()
		t.tellMailboxFull(n, r)
		return r
	}
}

// settingsOf returns the provisional verdict for a recipient. The end of the message brings the real one.
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

// pipelineData sends DATA along with the commands whose replies are still outstanding.
func (t *transaction) pipelineData() {
	for _, l := range t.legs {
		if l.pending() {
			l.askData()
		}
	}
}

// dropData reads the replies to pipelined DATA that no recipient was accepted for.
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
		// Nothing was delivered or journaled. The sender still has the message.
		t.log().Warn("message broken off by the client", "bytes", t.size, "error", err)
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

// openData sends DATA to the next hops. ok is false, and refusal is the client's reply, if none of them takes the message.
func (t *transaction) openData() (refusal nexthop.Reply, ok bool) {
	for _, l := range t.legs {
		if t.wants(l) {
			l.askData()
		}
	}
	ctx := t.ctx
	if len(t.legs) > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, dataReplyTimeout)
		defer cancel()
	}
	for _, l := range t.legs {
		if !l.asked {
			continue
		}
		r, err := l.reply(ctx)
		if !t.wants(l) {
			// Its recipients were all refused while DATA was under way.
			if r.Code == 354 {
				l.fail(errAborted)
			}
			continue
		}
		if err != nil {
			t.log().Warn("message not handed on", "error", err)
			r = faultReply(err, t.id)
		}
		if l.ready = r.Code == 354; l.ready {
			ok = true
			continue
		}
		// The client gets one reply for all. A hop that refuses for good must not speak for one that refuses for now.
		if !refusal.Temporary() {
			refusal = r
		}
		t.setFinal(l, r)
	}
	return refusal, ok
}

// wants reports whether the leg has an accepted recipient.
func (t *transaction) wants(l *leg) bool {
	for _, n := range t.lines {
		if n.leg == l && n.accepted {
			return true
		}
	}
	return false
}

// setFinal gives a final reply to the leg's accepted recipients that have none yet.
func (t *transaction) setFinal(l *leg, r nexthop.Reply) {
	for _, n := range t.lines {
		if n.leg == l && n.accepted && n.final.Code == 0 {
			n.final = r
		}
	}
}

// stream reads the message to its end and hands it on. An error means that the client broke off.
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

// abortWithContext makes the end of the transaction's context interrupt writes to the next hops. Call release after the last write.
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

// decide begins a draft if any mailbox may want the message. The first call counts; it comes after the header that the MTA prepended has
// been read.
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
		t.log().Error("settings cannot be read", "error", err)
		t.refuse(errPolicy)
		return
	}
	if wanted {
		t.draft = t.s.c.server.config.Journal.NewDraft(ctx)
	}
}

// refuse gives the message up while the rest of it is still coming in. The first fault decides the final replies.
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

// discard ends the work in the journal and drops the draft.
func (t *transaction) discard() {
	t.patience.stop()
	if t.draft != nil {
		t.draft.Discard()
		t.draft = nil
	}
}

// finish does all that happens between the last byte and the final replies.
func (t *transaction) finish() {
	t.refuseUTF8()
	// If no next hop can take the message now, it comes again, and is journaled then.
	if t.fault == nil && t.flush() {
		t.commit()
		t.commitRenamed()
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

// smallMessage is the size, in bytes, up to which a message may go to the next hops in one write with the dot.
const smallMessage = 16 << 10

// flush sends the bytes that the connections still buffer, so the next hops have them while the journal makes the message durable. If there
// is no draft, they go with the dot. It reports whether any connection can take the dot.
func (t *transaction) flush() (open bool) {
	together := t.size <= smallMessage // saving a write is worth more than an early start of the next hop
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
			t.log().Warn("next hop failed", "error", l.err)
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
				t.log().Warn("next hop failed", "error", l.err)
			}
		}
	}
	for _, l := range t.legs {
		if l.ready && l.err == nil {
			if t.finalReplies(l); l.err != nil {
				t.log().Warn("next hop failed", "error", l.err)
			}
		}
	}
}

// markSent notes that the leg's recipients may have the message from now on.
func (t *transaction) markSent(l *leg) {
	for _, n := range t.lines {
		if n.leg == l && n.accepted {
			n.unknown = true
		}
	}
}

// finalReplies reads a hop's replies to the message: one per accepted recipient by LMTP, one in all by SMTP.
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
			t.tellMailboxFull(n, n.final)
		}
	}
	l.finished = l.err == nil
}

// answer queues the final replies: one per accepted recipient by LMTP (RFC 2033 section 4.2), one in all by SMTP.
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
		// A temporary refusal comes first: it brings the message again, for all recipients.
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
	if !t.s.c.log.Enabled(t.ctx, slog.LevelInfo) {
		return
	}
	t.log().Info("message", "direction", t.s.direction().String(), "outcome", outcome, "mail_from", t.from.address,
		"recipients", t.accepted(), "delivered", delivered, "deferred", deferred, "refused", refused,
		"journaled", len(t.entries), "skipped", t.skips, "bytes", t.size, "queue_id", t.forward["IDENT"],
		"milliseconds", time.Since(t.complete).Milliseconds())
}
