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
	"sync"
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
)

// conn is the connection layer: it stands between the network and go-smtp, the protocol engine, which sees through it a client that says
// only simple things. go-smtp keeps the order of commands, and answers all that is the same for every server. What it would refuse, or do
// in its own way, although the next hop is to decide, it does not get to see (shown.go). These lines it sees changed, or not at all:
//
//	MAIL       "MAIL FROM:<>" instead. go-smtp refuses odd addresses and parameters that a mailstore takes. The real line is in
//	           conn.command, from where the session hands it on unparsed. Where it comes at the wrong time or cannot be read, conn answers.
//	RCPT       "RCPT TO:<recipient@hook.invalid>" instead, for the same reason; go-smtp also refuses an odd ORCPT and a quoted local part.
//	DATA       not at all where no recipient was accepted: go-smtp has seen all of them accepted. conn answers.
//	message    "." instead, an empty message. The session reads the real one straight from conn, in large blocks and with every byte: the
//	           reader of go-smtp takes them one by one, and loses the CR behind a dot that begins a line. The session also gives the 354, once
//	           the next hop has, and the final replies: go-smtp has one for each address, and where two lines name the same, each wants its own.
//	XFORWARD   not at all: go-smtp does not know it. conn answers.
//	BDAT       not at all: CHUNKING is not offered, and a chunk must not be read as commands. conn answers and closes.
//	LHLO, EHLO and HELO with a name of more than maxHello bytes: not at all, since no domain name is longer. conn answers.
//	A line of more than maxCommandLine bytes, and a torn one at the end of the connection: not at all. conn closes, after a 500 for the first.
//	Every line end is made CRLF.
//
// And these replies of go-smtp the client does not see:
//
//	250 to LHLO, EHLO    Server.keywords instead: go-smtp offers CHUNKING, and knows no XFORWARD
//	250 to MAIL, RCPT    the reply of the next hop instead
//	354, and all from there to the next command: none; the session gives its own
//
// All other replies pass. The client gets them in the order of its commands, but only when conn has no more whole lines of it: so MAIL, RCPT
// and DATA that came in one packet go to the next hop in one packet.
//
// All fields without a lock belong to the goroutine in which go-smtp serves the connection; it runs the session too.
type conn struct {
	net.Conn
	server *Server
	log    *slog.Logger
	in     *bufio.Reader

	// What go-smtp sees and says.
	line     string // what is left of the line that it is shown
	written  []byte // what it has written of its reply
	phase    phase
	greeting bool                                // it was shown LHLO or EHLO
	instead  func(context.Context) nexthop.Reply // reads the reply that goes out instead of its next one; nil: its own does
	session  *session
	forward  xforward
	command  path // the MAIL or RCPT line that it is dealing with

	replies replyQueue
	bodyEnd time.Time // when the message must be in; zero outside of one
	dead    error     // why nothing more is read or written

	mu     sync.Mutex
	idle   bool // waiting for a command with no transaction begun
	closed bool
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
		if c.line, err = c.nextLine(); err != nil {
			return 0, err
		}
	}
	n = copy(p, c.line)
	c.line = c.line[n:]
	return n, nil
}

// nextLine returns the next line that go-smtp is to see, or nothing where it is to see none for the one that has come.
func (c *conn) nextLine() (string, error) {
	if c.dead != nil {
		return "", c.dead
	}
	if c.phase == phaseMessage {
		c.phase = phaseReplies
		return shownBody, nil
	}
	c.phase = phaseCommands
	line, err := c.readLine()
	if err != nil {
		c.dead = err
		return "", err
	}
	shown, err := c.shown(line)
	if err != nil {
		c.dead = err
	}
	return shown, err
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

// say queues a reply of our own.
func (c *conn) say(r nexthop.Reply) { c.replies.addReply(r) }

// readReplies waits for the replies of the next hop that are queued.
func (c *conn) readReplies() error {
	if c.dead != nil {
		return c.dead
	}
	if len(c.replies.waiting) > 0 {
		ctx, cancel := c.server.replyTime()
		defer cancel()
		c.replies.readAll(ctx)
	}
	return nil
}

// flush gives the client all replies that are queued.
func (c *conn) flush() error {
	if err := c.readReplies(); err != nil || len(c.replies.ready) == 0 {
		return err
	}
	c.Conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := c.Conn.Write(c.replies.ready); err != nil {
		level := slog.LevelWarn
		if bytes.HasPrefix(c.replies.ready, []byte("221")) {
			level = slog.LevelDebug // many do not wait for the reply to QUIT
		}
		c.log.Log(context.Background(), level, "client did not take its replies", "error", err)
		c.dead = io.EOF
	}
	c.replies.given()
	return c.dead
}

// giveUp ends the connection for a fault in the hook itself, with the replies that were ready before it.
func (c *conn) giveUp() {
	c.replies.waiting = nil
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
