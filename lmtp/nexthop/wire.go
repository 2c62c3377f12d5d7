package nexthop

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// bufferSize is how many message bytes a connection collects before it writes, and the most it hands to one write.
	bufferSize = 32 << 10
	// maxBatch bounds the commands that are sent ahead of their replies. A hop stops reading commands when its socket is full of
	// unread replies; then both sides would wait for each other (RFC 2920 section 3.1).
	maxBatch = 100
	// maxXForward is the longest XFORWARD line that we send, in bytes, line end included.
	maxXForward = 512
	// dataReplyTimeout is the most that a hop has for its reply to DATA: Postfix waits 120 s (lmtp_data_init_timeout).
	dataReplyTimeout = 110 * time.Second
	// fresh is how long a hop that has just replied is taken to be there still.
	fresh = time.Second
	// quitTime bounds sending QUIT, and reading what a hop said unasked.
	quitTime = time.Second
)

// Verbs of the commands. Each outstanding reply is known by one.
const (
	verbMail     = "MAIL"
	verbRcpt     = "RCPT"
	verbData     = "DATA"
	verbReset    = "RSET"
	verbXForward = "XFORWARD"
	verbMessage  = "the message" // no command: a reply after the dot
)

// stage is where a transaction stands.
type stage int

const (
	inCommands stage = iota // commands are queued, sent and answered
	inData                  // DATA is queued or sent, and not answered
	inMessage               // 354 was read; the message is being written
	inFinal                 // the dot was sent; replies are outstanding
)

// command waits to be sent. Its line includes the CRLF.
type command struct{ verb, line string }

// wire is a Conn over a network connection. All fields but nc, aborted and those with a lock belong to the goroutine that uses it.
type wire struct {
	hop       *Hop
	nc        net.Conn
	in        *bufio.Reader
	out       []byte // commands or message bytes that wait to be written
	lmtp      bool
	announced Announced

	stage    stage
	queue    []command // not sent yet
	unread   []string  // verbs sent whose replies are not read yet
	pending  int       // see Pending
	accepted int       // RCPT lines of this transaction that got a 2xx
	line     lineState // of the message
	ended    time.Time // when End began
	heard    time.Time // when the newest reply was read
	begun    bool      // some of the message was written

	err     error // the first failure, wrapped in ErrBroken
	aborted atomic.Bool

	watched <-chan struct{} // of the context that Watch was called with; nil for none
	mu      sync.Mutex
	unwatch func() bool // ends the watch; nil for none; guarded by mu
}

func newWire(h *Hop, nc net.Conn) *wire {
	return &wire{
		hop: h, nc: nc, lmtp: h.spec.LMTP(),
		in:  bufio.NewReaderSize(nc, maxReplyLine),
		out: make([]byte, 0, bufferSize),
	}
}

// greet reads the greeting, says LHLO or EHLO, and keeps what the hop announces. Only ctx limits it.
func (c *wire) greet(ctx context.Context) error {
	defer c.unlimit(ctx, c.limit(ctx, time.Time{}))
	if _, err := c.opening(ctx, "greeting"); err != nil {
		return err
	}
	verb := "EHLO"
	if c.lmtp {
		verb = "LHLO"
	}
	if _, err := io.WriteString(c.nc, verb+" "+c.hop.options.HelloName+"\r\n"); err != nil {
		return c.fail(ctx, "sending "+verb, err)
	}
	reply, err := c.opening(ctx, verb)
	if err != nil {
		return err
	}
	c.announced = parseAnnounced(reply)
	return nil
}

// opening reads a reply that comes before the first transaction. One that is not positive becomes a *ReplyError.
func (c *wire) opening(ctx context.Context, what string) (Reply, error) {
	reply, err := readReply(c.in)
	if err != nil {
		return Reply{}, c.fail(ctx, "waiting for the reply to "+what, err)
	}
	if !reply.Positive() {
		return Reply{}, &ReplyError{Stage: what, Reply: reply}
	}
	return reply, nil
}

// limit bounds all reads and writes by a deadline (none if zero) and by the end of ctx, until unlimit is called with what it returns.
func (c *wire) limit(ctx context.Context, deadline time.Time) (stop func() bool) {
	c.nc.SetDeadline(deadline)
	if done := ctx.Done(); done == nil || done != c.watched {
		return context.AfterFunc(ctx, c.interrupt)
	}
	if ctx.Err() != nil {
		c.interrupt() // the deadline may have come behind the one that the end of ctx set
	}
	return nil
}

// unlimit ends what limit began. If ctx has ended before that, the connection is broken: the deadline that interrupts it may still take effect later.
func (c *wire) unlimit(ctx context.Context, stop func() bool) {
	ended := stop == nil && ctx.Err() != nil || stop != nil && !stop()
	if ended && c.err == nil {
		c.fail(ctx, "after the call", os.ErrDeadlineExceeded)
	}
}

// interrupt ends reads and writes under way, and those to come: their deadline is past.
func (c *wire) interrupt() { c.nc.SetDeadline(time.Unix(1, 0)) }

// Watch implements Conn.
func (c *wire) Watch(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unwatch == nil && !c.aborted.Load() {
		c.watched, c.unwatch = ctx.Done(), context.AfterFunc(ctx, c.interrupt)
	}
}

// close closes the connection, and ends the watch of the context.
func (c *wire) close() {
	c.nc.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unwatch != nil {
		c.unwatch()
	}
}

// fail breaks the connection and returns the error, with the hop and what was being done.
func (c *wire) fail(ctx context.Context, doing string, err error) error {
	switch {
	case c.aborted.Load():
		err = fmt.Errorf("%w: it was aborted", ErrBroken)
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = ErrTimeout
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		err = fmt.Errorf("the hop closed the connection: %w", io.ErrUnexpectedEOF)
	}
	err = fmt.Errorf("next hop %s: %s: %w", c.hop.spec, doing, err)
	if c.err == nil {
		c.err = fmt.Errorf("%w: %w", ErrBroken, err)
	}
	c.close()
	return err
}

// usable returns nil, or why the connection is broken.
func (c *wire) usable() error {
	if c.err == nil && c.aborted.Load() {
		c.fail(context.Background(), "before the call", ErrBroken)
	}
	return c.err
}

// Announced implements Conn.
func (c *wire) Announced() Announced { return c.announced }

// LMTP implements Conn.
func (c *wire) LMTP() bool { return c.lmtp }

// Pending implements Conn.
func (c *wire) Pending() int { return c.pending }

// Broken implements Conn.
func (c *wire) Broken() bool { return c.usable() != nil }

// XForward implements Conn. It splits the attributes over several lines: Postfix documents a limit of maxXForward bytes each.
func (c *wire) XForward(attributes []string) {
	line := verbXForward
	for _, a := range attributes {
		name, _, _ := strings.Cut(a, "=")
		if !slices.Contains(c.announced.XForward, strings.ToUpper(name)) {
			continue
		}
		if line != verbXForward && len(line)+len(a)+len(" \r\n") > maxXForward {
			c.enqueue(verbXForward, line)
			line = verbXForward
		}
		line += " " + a
	}
	if line != verbXForward {
		c.enqueue(verbXForward, line)
	}
}

// Mail implements Conn.
func (c *wire) Mail(from string, params []string) {
	c.enqueue(verbMail, "MAIL FROM:<"+from+">", params...)
}

// Rcpt implements Conn.
func (c *wire) Rcpt(to string, params []string) {
	c.enqueue(verbRcpt, "RCPT TO:<"+to+">", params...)
}

// Data implements Conn.
func (c *wire) Data() {
	c.enqueue(verbData, verbData)
	c.stage = inData
}

// Reset implements Conn.
func (c *wire) Reset() { c.enqueue(verbReset, verbReset) }

func (c *wire) enqueue(verb, line string, params ...string) {
	if c.usable() != nil {
		return
	}
	if c.stage != inCommands {
		c.fail(context.Background(), "queueing "+verb, ErrSequence)
		return
	}
	for _, p := range params {
		line += " " + p
	}
	if strings.ContainsAny(line, "\r\n\x00") {
		c.fail(context.Background(), "queueing "+verb, fmt.Errorf("%w: a line end or NUL in it", ErrSequence))
		return
	}
	c.queue = append(c.queue, command{verb, line + "\r\n"})
	if verb != verbXForward {
		c.pending++
	}
}

// Reply implements Conn.
func (c *wire) Reply(ctx context.Context) (Reply, error) {
	if err := c.usable(); err != nil {
		return Reply{}, err
	}
	if c.pending == 0 {
		return Reply{}, ErrNotPending
	}
	deadline := time.Now().Add(c.hop.options.Timeouts.Command)
	switch {
	case c.stage == inFinal:
		deadline = c.ended.Add(c.hop.options.Timeouts.Final)
	case c.stage == inData && c.pending == 1:
		deadline = time.Now().Add(min(c.hop.options.Timeouts.Command, dataReplyTimeout))
	}
	defer c.unlimit(ctx, c.limit(ctx, deadline))
	for {
		if err := c.send(ctx); err != nil {
			return Reply{}, err
		}
		verb := c.unread[0]
		reply, err := readReply(c.in)
		if err != nil {
			return Reply{}, c.fail(ctx, "waiting for the reply to "+verb, err)
		}
		c.unread, c.heard = c.unread[1:], time.Now()
		if verb == verbXForward && reply.Code != 421 {
			if !reply.Positive() {
				c.hop.options.Logger.Warn("the next hop refuses XFORWARD", "reply", reply.String())
			}
			continue
		}
		c.pending--
		return reply, c.take(ctx, verb, reply)
	}
}

// send writes queued commands, unless the hop still owes replies: up to maxBatch in one write if the hop announced PIPELINING, else one.
func (c *wire) send(ctx context.Context) error {
	most := 1
	if c.announced.Pipelining {
		most = maxBatch
	}
	n := min(len(c.queue), most)
	if n == 0 || len(c.unread) > 0 {
		return nil
	}
	for _, q := range c.queue[:n] {
		c.out = append(c.out, q.line...)
		c.unread = append(c.unread, q.verb)
	}
	c.queue = slices.Delete(c.queue, 0, n)
	if err := c.drain(); err != nil {
		return c.fail(ctx, "sending commands", err)
	}
	return nil
}

// take updates the state by a reply. The error wraps ErrProtocol, for a reply that does not fit its command.
func (c *wire) take(ctx context.Context, verb string, reply Reply) error {
	unfit := func() error {
		return c.fail(ctx, "reading the reply to "+verb, fmt.Errorf("%w: %s", ErrProtocol, reply))
	}
	if reply.Code == 421 {
		// The hop closes now, whatever the command was (RFC 5321 section 3.8).
		c.fail(ctx, "reading the reply to "+verb, &ReplyError{Stage: verb, Reply: reply})
		return nil
	}
	if verb == verbData {
		c.stage = inCommands
		switch {
		case reply.Code == 354 && (c.accepted > 0 || !c.lmtp):
			c.stage, c.line, c.begun = inMessage, lineStart, false
			return nil
		case reply.Code/100 <= 3:
			// After a 354 in LMTP without an accepted recipient, no reply would follow the dot (RFC 2033 section 4.2).
			return unfit()
		}
		return nil
	}
	if reply.Code/100 == 3 {
		return unfit()
	}
	switch verb {
	case verbMail, verbReset:
		c.accepted = 0
	case verbRcpt:
		if reply.Positive() {
			c.accepted++
		}
	case verbMessage:
		if c.pending == 0 {
			c.stage = inCommands
			c.hop.answerTime.Observe(time.Since(c.ended))
		}
	}
	return nil
}

// Write implements Conn.
func (c *wire) Write(p []byte) (int, error) {
	if err := c.message(); err != nil {
		return 0, err
	}
	if err := c.stuff(p); err != nil {
		return 0, c.failMessage(err)
	}
	return len(p), nil
}

// Flush implements Conn.
func (c *wire) Flush() error {
	if err := c.message(); err != nil {
		return err
	}
	c.begun = c.begun || len(c.out) > 0
	c.nc.SetWriteDeadline(time.Now().Add(c.hop.options.Timeouts.Data))
	if err := c.drain(); err != nil {
		return c.failMessage(err)
	}
	return nil
}

// End implements Conn.
func (c *wire) End(ctx context.Context) error {
	if err := c.message(); err != nil {
		return fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	c.ended = time.Now()
	// A hop that has seen nothing of the message has nothing to say, unless it has lost patience.
	if (c.begun || !c.justHeard(c.ended)) && c.spoke() {
		return fmt.Errorf("%w: %w", ErrNotSent, c.unasked(ctx))
	}
	defer c.unlimit(ctx, c.limit(ctx, c.ended.Add(c.hop.options.Timeouts.Final)))
	if c.line != lineStart {
		c.out = append(c.out, "\r\n"...)
	}
	c.out = append(c.out, ".\r\n"...)
	if err := c.drain(); err != nil {
		return c.fail(ctx, "sending the end of the message", err)
	}
	c.stage = inFinal
	replies := 1
	if c.lmtp {
		replies = c.accepted
	}
	for range replies {
		c.unread = append(c.unread, verbMessage)
	}
	c.pending, c.accepted = replies, 0
	return nil
}

// message returns an error unless message bytes may be written.
func (c *wire) message() error {
	if err := c.usable(); err != nil {
		return err
	}
	if c.stage != inMessage {
		return fmt.Errorf("%w: no DATA was answered by 354", ErrSequence)
	}
	return nil
}

// failMessage breaks the connection after a failed write of message bytes. A hop that closes inside a message may have said why.
func (c *wire) failMessage(err error) error {
	if !c.aborted.Load() && !errors.Is(err, os.ErrDeadlineExceeded) && c.spoke() {
		return c.unasked(context.Background())
	}
	return c.fail(context.Background(), "sending the message", err)
}

// unasked reads what a hop said before its turn, and breaks the connection: that reply must not be taken for the one to the dot.
func (c *wire) unasked(ctx context.Context) error {
	defer c.unlimit(ctx, c.limit(ctx, time.Now().Add(quitTime)))
	reply, err := readReply(c.in)
	if err == nil {
		err = &ReplyError{Stage: verbMessage, Reply: reply}
	}
	return c.fail(ctx, "before the end of the message", err)
}

// Alive implements Conn. If the hop has closed the connection right behind its last reply, the next one will tell.
func (c *wire) Alive() bool {
	return c.usable() == nil && c.stage == inCommands && c.pending == 0 && len(c.unread) == 0 && (c.justHeard(time.Now()) || !c.spoke())
}

// justHeard reports whether the hop's newest reply is too fresh to look for another.
func (c *wire) justHeard(now time.Time) bool { return c.in.Buffered() == 0 && now.Sub(c.heard) < fresh }

// spoke reports whether there is something to read: bytes, or the end of the connection.
func (c *wire) spoke() bool { return c.in.Buffered() > 0 || readable(c.nc) }

// Quit implements Conn.
func (c *wire) Quit() {
	if c.usable() == nil && c.stage == inCommands {
		c.nc.SetDeadline(time.Now().Add(quitTime))
		// No error matters: the hop has nothing left to do for us.
		io.WriteString(c.nc, "QUIT\r\n")
	}
	c.Abort()
}

// Abort implements Conn.
func (c *wire) Abort() {
	c.aborted.Store(true)
	c.close()
}
