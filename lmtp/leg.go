package lmtp

import (
	"context"
	"errors"
	"fmt"

	"copialettere/lmtp/nexthop"
)

// leg is the part of a transaction that goes to one next hop.
type leg struct {
	t       *transaction
	s       *session
	hop     *nexthop.Hop
	conn    *hopConn
	dialing chan dialed        // delivers the connection being made; nil if none is
	hangUp  context.CancelFunc // ends dialing

	fresh    bool                 // the connection was made for this transaction
	commands []func(nexthop.Conn) // queued so far; sent again if a kept connection turns out to be dead
	replies  int                  // read so far

	resets   bool          // RSET comes first: an earlier transaction on the connection did not end
	refusal  nexthop.Reply // ours, to all commands, if the hop announces that it does not take the message
	greeted  bool          // the reply to MAIL was read
	mail     nexthop.Reply // that reply
	asked    bool          // DATA is queued or sent
	ready    bool          // 354: the message can be written
	finished bool          // all final replies were read
	err      error         // the first failure; the leg is over
}

type dialed struct {
	conn nexthop.Conn
	err  error
}

// newLeg takes the kept connection to a next hop, or makes one, and queues the commands that open the transaction. It waits for the
// connection only if there is a single hop and the message is not in yet: recipients of several hops must not wait for one another, and
// after the dot time is short.
func newLeg(t *transaction, hop *nexthop.Hop) *leg {
	s := t.s
	l := &leg{t: t, s: s, hop: hop, conn: s.hops[hop]}
	if l.conn != nil && !l.conn.Alive() {
		l.conn.Abort()
		l.conn = nil
	}
	if l.resets = l.conn != nil && l.conn.dirty; l.resets {
		l.commands = append(l.commands, nexthop.Conn.Reset)
	}
	// Decided when sent: after a reconnect the hop may announce something else.
	l.commands = append(l.commands, func(c nexthop.Conn) {
		if len(t.forward) > 0 && len(c.Announced().XForward) > 0 {
			c.XForward(t.forward.attributes())
		}
		c.Mail(t.from.address, mailParams(t.from, c.Announced()))
	})
	switch {
	case l.conn != nil:
		l.conn.dirty = true
		l.start()
	case len(s.c.server.hops) > 1 || !t.complete.IsZero():
		l.dial()
	default:
		l.connect()
	}
	return l
}

// connect makes a new connection and sends the queued commands.
func (l *leg) connect() {
	c, err := l.hop.Connect(l.s.c.server.ctx)
	l.connected(c, err)
}

// dial begins to connect. Call arrive before using the connection.
func (l *leg) dial() {
	ctx, cancel := context.WithCancel(l.s.c.server.ctx)
	dialing := make(chan dialed, 1)
	l.dialing, l.hangUp = dialing, cancel
	go func() {
		c, err := l.hop.Connect(ctx)
		dialing <- dialed{c, err}
	}()
}

// arrive waits for the connection that dial is making.
func (l *leg) arrive(ctx context.Context) {
	if l.dialing == nil {
		return
	}
	stop := context.AfterFunc(ctx, l.hangUp)
	d := <-l.dialing
	stop()
	l.hangUp()
	l.dialing = nil
	if d.err != nil && ctx.Err() != nil {
		d.err = fmt.Errorf("%w: %w", d.err, context.Cause(ctx))
	}
	l.connected(d.conn, d.err)
}

func (l *leg) connected(c nexthop.Conn, err error) {
	if err != nil {
		l.fail(err)
		delete(l.s.hops, l.hop)
		return
	}
	c.Watch(l.s.c.server.ctx)
	l.conn, l.fresh = &hopConn{Conn: c, dirty: true}, true
	l.s.hops[l.hop] = l.conn
	l.start()
}

// start sends the queued commands, unless the hop announces that it does not take the message.
func (l *leg) start() {
	if l.refusal = l.t.unfit(l.conn.Announced()); l.refusal.Code != 0 {
		return
	}
	for _, command := range l.commands {
		command(l.conn)
	}
}

func (l *leg) queue(command func(nexthop.Conn)) {
	if l.err != nil || l.refusal.Code != 0 {
		return
	}
	l.commands = append(l.commands, command)
	if l.dialing == nil {
		command(l.conn)
	}
}

// pending reports whether replies to commands are outstanding, or will be once the leg is connected.
func (l *leg) pending() bool {
	return l.err == nil && (l.dialing != nil || l.conn.Pending() > 0)
}

// fail breaks the leg off. Before the dot this keeps the hop from delivering. Errors of the connection already name the hop.
func (l *leg) fail(err error) {
	if l.err == nil {
		l.err = err
	}
	if l.dialing != nil {
		l.hangUp()
		if d := <-l.dialing; d.err == nil {
			d.conn.Abort()
		}
		l.dialing = nil
	}
	if l.conn != nil {
		l.conn.Abort()
		delete(l.s.hops, l.hop)
	}
}

// reply returns the reply to the next command. If the hop announces that it does not take the message, the reply is ours.
func (l *leg) reply(ctx context.Context) (nexthop.Reply, error) {
	l.arrive(ctx)
	if l.err != nil || l.refusal.Code != 0 {
		return l.refusal, l.err
	}
	r, err := l.conn.Reply(ctx)
	// Do not retry after a timeout: two waits would outlast the MTA's.
	slow := ctx.Err() != nil || errors.Is(err, nexthop.ErrTimeout)
	if (err != nil || r.Code == 421) && !slow && l.replies == 0 && !l.fresh {
		// The hop has closed the kept connection, or is closing it now.
		l.conn.Abort()
		if l.connect(); l.err != nil || l.refusal.Code != 0 {
			return l.refusal, l.err
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

// mailReply returns the reply to MAIL. The first call reads it.
func (l *leg) mailReply(ctx context.Context) nexthop.Reply {
	if !l.greeted {
		l.greeted = true
		var r nexthop.Reply
		err := l.reset(ctx)
		if err == nil {
			r, err = l.reply(ctx)
		}
		if err != nil {
			l.t.log().Warn("transaction not handed on", "error", err)
			r = faultReply(err, l.t.id)
		}
		l.mail = r
	}
	return l.mail
}

// reset reads the reply to RSET, if one was sent.
func (l *leg) reset(ctx context.Context) error {
	if !l.resets {
		return nil
	}
	r, err := l.reply(ctx)
	switch {
	case err != nil || l.refusal.Code != 0:
		return err
	case !r.Positive():
		l.fail(fmt.Errorf("next hop %s refuses RSET: %s", l.hop.Spec(), r))
		return l.err
	}
	// From here on the connection counts as clean: a retry sends no RSET.
	l.commands, l.replies = l.commands[1:], 0
	return nil
}

// rcpt queues RCPT for a line. It is not sent if the hop takes no such address.
func (l *leg) rcpt(n *line) {
	l.queue(func(c nexthop.Conn) {
		if n.unfit = l.t.needsUTF8(n.address) && !c.Announced().SMTPUTF8; !n.unfit {
			c.Rcpt(n.address, rcptParams(n.path, c.Announced()))
		}
	})
}

// rcptReply returns the reply to a line's RCPT. Call mailReply first.
func (l *leg) rcptReply(ctx context.Context, n *line) (nexthop.Reply, error) {
	if n.unfit && l.err == nil {
		return ourReply(553, "5.6.7", "Mail store of this recipient takes no internationalized addresses (SMTPUTF8)", l.t.id), nil
	}
	return l.reply(ctx)
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
	case l.err != nil:
	case l.dialing != nil:
		l.fail(errAborted)
	case l.ready && !l.finished:
		l.fail(errAborted)
	case l.conn.Pending() > 0:
		// Nobody will read these replies.
		l.fail(errAborted)
	default:
		l.conn.dirty = !l.finished
	}
}
