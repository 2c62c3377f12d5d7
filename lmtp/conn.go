package lmtp

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"copialettere/lmtp/nexthop"
)

// Limits on what a client may say, beside those of Config.
const (
	maxCommandLine = 64 << 10         // bytes
	maxHello       = 255              // bytes of the name behind LHLO: a domain name
	maxDataTime    = 25 * time.Minute // for one message: the journal takes no draft that is older than half an hour
	writeTimeout   = 2 * time.Minute
	readBuffer     = 64 << 10
	maxKeptReplies = 16 << 10 // bytes of room for replies that a connection keeps
)

// conn is the connection layer between the network and go-smtp, which sees through it a client that says only simple things. It reads
// the command lines and hands them on one by one: MAIL and RCPT are parsed here, because an odd address or parameter must never become
// a refusal, and go-smtp is given a harmless line in their place; XFORWARD and BDAT are answered here. It holds the replies back, so that
// MAIL, RCPT and DATA that came in one packet go to the next hop in one packet, and gives the client the next hop's own replies in
// their order. The message behind a 354 is read by the session straight from here; go-smtp sees an empty one.
//
// All fields without a lock belong to the goroutine that go-smtp serves the connection with; during DATA that is the session's.
type conn struct {
	net.Conn
	server  *Server
	log     *slog.Logger
	in      *bufio.Reader
	line    string        // what is left of the line handed to go-smtp
	reply   []byte        // what go-smtp has written of its reply
	out     []byte        // replies that the client can be given
	replies []queuedReply // the first that is to be waited for, and all behind it
	session *session
	forward xforward
	command path // the MAIL or RCPT line that go-smtp is dealing with
	later   func(context.Context) nexthop.Reply
	hello   bool // the reply to LHLO or EHLO comes next

	bodyEnd time.Time // when the message must be in; zero outside of one

	data  bool        // between a 354 of go-smtp and the end of what it reads as the message
	quiet atomic.Bool // replies of go-smtp are dropped: the session has given its own
	dead  error       // why nothing more is read or written

	mu     sync.Mutex
	idle   bool // waiting for a command with no transaction begun
	closed bool
}

// queuedReply is a reply that can not be given yet, because it or one before it is to be waited for: text, or what later returns.
type queuedReply struct {
	text  []byte
	later func(context.Context) nexthop.Reply
}

func newConn(nc net.Conn, s *Server) *conn {
	c := &conn{Conn: nc, server: s, log: s.log.With("peer", peerName(nc)), forward: make(xforward)}
	c.in = bufio.NewReaderSize(source{c}, readBuffer)
	return c
}

func peerName(nc net.Conn) string {
	if a := nc.RemoteAddr(); a != nil && a.String() != "" && a.String() != "@" {
		return a.String()
	}
	return "unix"
}

// Read gives go-smtp its next line.
func (c *conn) Read(p []byte) (n int, err error) {
	// go-smtp recovers the panics of its commands. This is the way to all others, which must not end the other connections.
	defer func() {
		if cause := recover(); cause != nil {
			c.log.Error("panic", "cause", cause, "stack", string(debug.Stack()))
			c.giveUp()
			n, err = 0, c.dead
		}
	}()
	for len(c.line) == 0 {
		if c.dead != nil {
			return 0, c.dead
		}
		if c.data {
			// go-smtp reads what it takes for the rest of the message: the session has read it.
			c.data = false
			c.line = ".\r\n"
			break
		}
		c.quiet.Store(false)
		line, err := c.readLine()
		if err == nil {
			c.line, err = c.dispatch(line)
		}
		if err != nil {
			c.dead = err
			return 0, err
		}
	}
	n = copy(p, c.line)
	c.line = c.line[n:]
	return n, nil
}

// readLine returns the next command line with its line end. Before it waits for one, the client gets all replies.
func (c *conn) readLine() ([]byte, error) {
	if buffered, _ := c.in.Peek(c.in.Buffered()); indexLF(buffered) < 0 {
		if err := c.flush(); err != nil {
			return nil, err
		}
		if !c.await() {
			return nil, c.refuse(faultReply(errShutdown, ""))
		}
	}
	line, err := c.in.ReadSlice('\n')
	c.mu.Lock()
	c.idle = false
	c.mu.Unlock()
	switch {
	case errors.Is(err, bufio.ErrBufferFull) || len(line) > maxCommandLine:
		return nil, c.refuse(ourReply(500, "5.5.2", "Line too long", ""))
	case errors.Is(err, os.ErrDeadlineExceeded) && c.server.stopping():
		return nil, c.refuse(faultReply(errShutdown, ""))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, c.refuse(ourReply(421, "4.4.2", "Idle for too long, closing", ""))
	case err != nil:
		// A torn line is no command, and how a client leaves is no fault of ours.
		return nil, io.EOF
	}
	return line, nil
}

// await sets the deadline of the next command. It reports false when the server is stopping and no transaction is begun.
func (c *conn) await() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = c.session == nil || !c.session.begun()
	if c.idle && c.server.stopping() {
		return false
	}
	c.Conn.SetReadDeadline(time.Now().Add(c.server.config.IdleTimeout))
	return true
}

// stop wakes the connection up if it is idle, so that it ends; one with a transaction ends after it.
func (c *conn) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle {
		c.Conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// refuse gives a last reply and returns the error that ends the connection.
func (c *conn) refuse(r nexthop.Reply) error {
	c.say(r)
	if err := c.flush(); err != nil {
		return err
	}
	return io.EOF
}

// dispatch deals with one command line. It returns the line that go-smtp is to see, or nothing where all is done.
func (c *conn) dispatch(line []byte) (string, error) {
	text := string(bytes.TrimRight(line, "\r\n"))
	verb, rest, _ := strings.Cut(text, " ")
	verb = strings.ToUpper(verb)
	switch verb {
	case "MAIL", "HELO", "LHLO", "EHLO", "RSET", "QUIT", "XFORWARD":
		// What ends a transaction, or depends on whether there is one, comes after the replies of the next hop.
		if err := c.settle(); err != nil {
			return "", err
		}
	}
	switch verb {
	case "HELO", "LHLO", "EHLO":
		if len(rest) > maxHello {
			c.say(ourReply(501, "5.5.4", "Name too long", ""))
			return "", nil
		}
		c.hello = verb != "HELO"
	case "MAIL":
		return c.path(rest, "FROM:", "MAIL FROM:<>\r\n", c.session.canMail), nil
	case "RCPT":
		return c.path(rest, "TO:", "RCPT TO:<recipient@hook.invalid>\r\n", c.session.canRcpt), nil
	case "DATA":
		if c.session != nil && strings.TrimSpace(rest) == "" {
			return c.beginData()
		}
	case "XFORWARD":
		c.say(c.xforward(rest))
		return "", nil
	case "BDAT":
		// Nobody who reads our keywords sends it, and its chunk must not be read as commands.
		return "", c.refuse(ourReply(502, "5.5.1", "CHUNKING is not offered", ""))
	}
	return text + "\r\n", nil
}

// path reads a MAIL or RCPT line, and returns the harmless line that stands for it.
func (c *conn) path(rest, keyword, harmless string, allowed func() (nexthop.Reply, bool)) string {
	if c.session == nil {
		return harmless // go-smtp refuses it: no greeting yet
	}
	if r, ok := allowed(); !ok {
		c.say(r)
		return ""
	}
	rest = strings.TrimLeft(rest, " \t")
	if len(rest) < len(keyword) || !strings.EqualFold(rest[:len(keyword)], keyword) {
		c.say(ourReply(501, "5.5.4", "Syntax: "+keyword+"<address>", ""))
		return ""
	}
	p, err := parsePath(rest[len(keyword):])
	if err != nil || (keyword == "TO:" && p.address == "") {
		c.say(ourReply(501, "5.1.3", "Bad address syntax", ""))
		return ""
	}
	c.command = p
	return harmless
}

// xforward takes what the MTA says of its client. It holds for one transaction.
func (c *conn) xforward(rest string) nexthop.Reply {
	switch {
	case c.session == nil || c.session.begun():
		return ourReply(503, "5.5.1", "XFORWARD not allowed now", "")
	case c.forward.parse(rest) != nil:
		return ourReply(501, "5.5.4", "Bad XFORWARD attribute", "")
	}
	return ourReply(250, "2.0.0", "Ok", "")
}

// beginData lets DATA through to go-smtp when there is a recipient to take the message.
func (c *conn) beginData() (string, error) {
	c.session.pipelineData()
	if err := c.settle(); err != nil {
		return "", err
	}
	if r, ok := c.session.canData(); !ok {
		c.say(r)
		return "", nil
	}
	return "DATA\r\n", nil
}

// Write takes what go-smtp writes, and puts each whole reply into the queue.
func (c *conn) Write(p []byte) (int, error) {
	if c.quiet.Load() {
		return len(p), nil
	}
	c.reply = append(c.reply, p...)
	for {
		end, last := 0, false
		for !last {
			n := indexLF(c.reply[end:])
			if n < 0 {
				return len(p), nil
			}
			last = len(c.reply) > end+3 && c.reply[end+3] == ' '
			end += n + 1
		}
		c.replied(c.reply[:end])
		c.reply = append(c.reply[:0], c.reply[end:]...)
	}
}

// replied deals with one whole reply of go-smtp, which is valid until it returns.
func (c *conn) replied(text []byte) {
	switch {
	case bytes.HasPrefix(text, []byte("354")):
		// The next hop is asked first; the session says 354 itself.
		c.data = true
		c.quiet.Store(true)
		return
	case c.hello && bytes.HasPrefix(text, []byte("250")):
		text = c.server.keywords()
	case c.later != nil:
		c.replies = append(c.replies, queuedReply{later: c.later})
		c.later = nil
		return
	}
	c.hello = false
	if len(c.replies) == 0 {
		c.out = append(c.out, text...)
	} else {
		c.replies = append(c.replies, queuedReply{text: bytes.Clone(text)})
	}
	if bytes.HasPrefix(text, []byte("221")) || bytes.HasPrefix(text, []byte("421")) {
		c.flush()
	}
}

// say queues a reply of our own.
func (c *conn) say(r nexthop.Reply) {
	if len(c.replies) == 0 {
		c.out = appendReply(c.out, r)
	} else {
		c.replies = append(c.replies, queuedReply{text: appendReply(nil, r)})
	}
}

// settle waits for the replies of the next hop that are queued.
func (c *conn) settle() error {
	if c.dead != nil {
		return c.dead
	}
	if len(c.replies) == 0 {
		return nil
	}
	ctx, cancel := c.server.replyTime()
	defer cancel()
	for i, q := range c.replies {
		if q.later != nil {
			c.out = appendReply(c.out, q.later(ctx))
		} else {
			c.out = append(c.out, q.text...)
		}
		c.replies[i] = queuedReply{}
	}
	c.replies = c.replies[:0]
	return nil
}

// flush gives the client all replies that are queued.
func (c *conn) flush() error {
	if err := c.settle(); err != nil || len(c.out) == 0 {
		return err
	}
	c.Conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := c.Conn.Write(c.out); err != nil {
		level := slog.LevelWarn
		if bytes.HasPrefix(c.out, []byte("221")) {
			level = slog.LevelDebug // many do not wait for the reply to QUIT
		}
		c.log.Log(context.Background(), level, "client did not take its replies", "error", err)
		c.dead = io.EOF
	}
	if c.out = c.out[:0]; cap(c.out) > maxKeptReplies {
		c.out = nil
	}
	return c.dead
}

// giveUp ends the connection for a fault in the hook itself, with the replies that were ready before it.
func (c *conn) giveUp() {
	c.replies = nil
	c.say(faultReply(errInternal, ""))
	c.flush()
	c.dead = io.EOF
}

// body returns the message, to be read up to its end. Each wait for bytes has the data timeout, and all of them maxDataTime.
func (c *conn) body() *bodyReader {
	c.bodyEnd = time.Now().Add(maxDataTime)
	return &bodyReader{r: c.in}
}

// endBody goes back to reading commands.
func (c *conn) endBody() { c.bodyEnd = time.Time{} }

// source reads from the network for in.
type source struct{ c *conn }

func (s source) Read(p []byte) (int, error) {
	if end := s.c.bodyEnd; !end.IsZero() {
		if deadline := time.Now().Add(s.c.server.config.DataTimeout); deadline.Before(end) {
			end = deadline
		}
		s.c.Conn.SetReadDeadline(end)
	}
	return s.c.Conn.Read(p)
}

// Close is called by go-smtp when the connection is at its end, perhaps more than once, from the goroutine that serves it.
func (c *conn) Close() error {
	c.mu.Lock()
	closed := c.closed
	c.closed = true
	c.mu.Unlock()
	if closed {
		return nil
	}
	// go-smtp closes right behind the last of its replies.
	c.flush()
	c.dead = io.EOF
	err := c.Conn.Close()
	c.server.removeConn(c)
	return err
}

func indexLF(b []byte) int { return bytes.IndexByte(b, '\n') }
