package lmtp

import (
	"context"
	"errors"

	"copialettere/lmtp/nexthop"
)

// leg is the part of a transaction that goes to one next hop.
type leg struct {
	s    *session
	hop  *nexthop.Hop
	conn *hopConn

	fresh    bool                 // the connection was made for this transaction
	commands []func(nexthop.Conn) // sent so far, to be sent again should a kept connection turn out to be dead
	replies  int                  // read so far

	greeted  bool          // the reply to MAIL was read
	mail     nexthop.Reply // that reply
	asked    bool          // DATA is queued or sent
	ready    bool          // 354: the message can be written
	finished bool          // all final replies were read
	err      error         // the first failure; nothing is known of the hop from then on
}

// newLeg connects to a next hop, or takes the connection that is kept.
func newLeg(s *session, hop *nexthop.Hop) *leg {
	l := &leg{s: s, hop: hop, conn: s.hops[hop]}
	if l.conn != nil && !l.conn.ready(s.c.server.ctx) {
		l.conn.Abort()
		l.conn = nil
	}
	if l.conn == nil {
		l.connect()
	}
	if l.err == nil {
		l.conn.dirty = true
	}
	return l
}

// ready ends what an earlier transaction has left, and says whether the connection can take another one.
func (h *hopConn) ready(ctx context.Context) bool {
	if !h.Alive() {
		return false
	}
	if h.dirty {
		h.Reset()
		r, err := h.Reply(ctx)
		h.dirty = false
		return err == nil && r.Positive()
	}
	return true
}

func (l *leg) connect() {
	c, err := l.hop.Connect(l.s.c.server.ctx)
	if err != nil {
		l.fail(err)
		delete(l.s.hops, l.hop)
		return
	}
	l.conn, l.fresh = &hopConn{Conn: c, dirty: true}, true
	l.s.hops[l.hop] = l.conn
}

func (l *leg) queue(command func(nexthop.Conn)) {
	if l.err != nil {
		return
	}
	l.commands = append(l.commands, command)
	command(l.conn)
}

// fail breaks the leg off: the hop must not deliver. Errors of the connection name the hop themselves.
func (l *leg) fail(err error) {
	if l.err == nil {
		l.err = err
	}
	if l.conn != nil {
		l.conn.Abort()
		delete(l.s.hops, l.hop)
	}
}

// reply returns the reply to the next command; ours, where the hop gives none.
func (l *leg) reply(ctx context.Context) (nexthop.Reply, error) {
	if l.err != nil {
		return nexthop.Reply{}, l.err
	}
	r, err := l.conn.Reply(ctx)
	// A hop that is slow, and not gone, must not be waited for twice: the MTA does not.
	slow := ctx.Err() != nil || errors.Is(err, nexthop.ErrTimeout)
	if (err != nil || r.Code == 421) && !slow && l.replies == 0 && !l.fresh {
		// The hop has closed a kept connection meanwhile, or does so now.
		l.conn.Abort()
		if l.connect(); l.err != nil {
			return nexthop.Reply{}, l.err
		}
		for _, command := range l.commands {
			command(l.conn)
		}
		r, err = l.conn.Reply(ctx)
	}
	if err != nil {
		l.fail(err)
		return nexthop.Reply{}, l.err
	}
	l.replies++
	return r, nil
}

// begin queues what opens the transaction at the hop.
func (l *leg) begin(t *transaction) {
	if l.err != nil {
		return
	}
	// What a hop announces may be another thing after a reconnect.
	l.queue(func(c nexthop.Conn) {
		if len(t.forward) > 0 && len(c.Announced().XForward) > 0 {
			c.XForward(t.forward.attributes())
		}
		c.Mail(t.from.address, mailParams(t.from, c.Announced()))
	})
}

// mailParams returns the parameters of a MAIL line that a hop understands.
func mailParams(from path, a nexthop.Announced) []string {
	return from.only(func(key string) bool {
		switch key {
		case "BODY":
			return a.EightBitMIME
		case "SIZE":
			return a.Size >= 0
		case "SMTPUTF8":
			return a.SMTPUTF8
		case "RET", "ENVID":
			return a.DSN
		}
		return false
	})
}

// rcptParams returns the parameters of a RCPT line that a hop understands.
func rcptParams(to path, a nexthop.Announced) []string {
	return to.only(func(key string) bool { return a.DSN && (key == "NOTIFY" || key == "ORCPT") })
}

// mailReply returns the reply to MAIL, which it reads at the first call.
func (l *leg) mailReply(t *transaction) nexthop.Reply {
	if !l.greeted {
		l.greeted = true
		r, err := l.reply(t.ctx)
		if err != nil {
			t.log.Warn("transaction not handed on", "error", err)
			r = faultReply(err, t.id)
		}
		l.mail = r
	}
	return l.mail
}

// rcpt queues RCPT.
func (l *leg) rcpt(p path) {
	if l.err != nil {
		return
	}
	l.queue(func(c nexthop.Conn) { c.Rcpt(p.address, rcptParams(p, c.Announced())) })
}

// askData queues DATA, once.
func (l *leg) askData() {
	if !l.asked && l.err == nil {
		l.asked = true
		l.queue(func(c nexthop.Conn) { c.Data() })
	}
}

// close leaves the connection for the next transaction, unless it is in the middle of a message.
func (l *leg) close() {
	switch {
	case l.err != nil || l.conn == nil:
	case l.ready && !l.finished:
		l.fail(errAborted)
	case l.conn.Pending() > 0:
		// Replies that nobody will ask for.
		l.fail(errAborted)
	default:
		l.conn.dirty = !l.finished
	}
}
