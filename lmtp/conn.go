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
	maxHello       = 255              // bytes of the name after LHLO: a domain name
	maxDataTime    = 25 * time.Minute // for one message: the journal refuses drafts older than half an hour
	writeTimeout   = 2 * time.Minute
	readBuffer     = 64 << 10
)

// conn is the connection layer between the network and go-smtp, the protocol engine. go-smtp checks the order of commands and answers what
// every server answers alike. conn hides from it what the next hop should decide (shown.go). go-smtp sees these lines changed, or not at
// all:
//
//	MAIL       as "MAIL FROM:<>". go-smtp refuses odd addresses and parameters that a mailstore accepts. The real line is in conn.command;
//	           the session hands it on unparsed. If it comes at the wrong time or cannot be read, conn answers.
//	RCPT       as "RCPT TO:<recipient@hook.invalid>", for the same reason; go-smtp also refuses an odd ORCPT and a quoted local part.
//	DATA       not at all if no recipient was accepted: go-smtp saw all of them accepted. conn answers.
//	message    as ".", an empty message. The session reads the real one straight from conn, in large blocks and with every byte: go-smtp
//	           reads byte by byte, and loses the CR after a dot that begins a line. The session also gives the 354, once the next hop
//	           has, and the final replies: go-smtp has one reply per address, but two lines of one address need two.
//	XFORWARD   not at all: go-smtp does not know it. conn answers.
//	BDAT       not at all: CHUNKING is not offered, and a chunk must not be read as commands. conn answers and closes.
//	LHLO, EHLO and HELO with a name over maxHello bytes: not at all, because no domain name is longer. conn answers.
//	A line over maxCommandLine bytes: not at all. conn answers 500 and closes.
//	A torn line at the end of the connection: not at all. conn closes.
//	Every line end becomes CRLF.
//
// The client does not see these replies of go-smtp:
//
//	250 to LHLO, EHLO    Server.keywords instead: go-smtp offers CHUNKING, and knows no XFORWARD
//	250 to MAIL, RCPT    the reply of the next hop instead
//	354, and all from there to the next command: none; the session gives its own
//
// All other replies pass, in the order of the commands. conn writes them only when it has read every whole line that has arrived, so MAIL,
// RCPT and DATA that came in one packet go to the next hop in one packet.
//
// Fields without a lock belong to the goroutine in which go-smtp serves the connection. It runs the session too.
type conn struct {
	net.Conn
	server *Server
	log    *slog.Logger
	in     *bufio.Reader

	// What go-smtp sees and says.
	line     string // the part of the shown line that it has not read yet
	written  []byte // the part of its reply that it has written so far
	phase    phase
	greeting bool                                // it was shown LHLO or EHLO
	instead  func(context.Context) nexthop.Reply // reads the reply that replaces its next one; nil: its own goes out
	session  *session
	forward  xforward
	command  path // the real MAIL or RCPT line

	replies replyQueue
	bodyEnd time.Time // when the message must be in; zero outside of one
	dead    error     // why the connection has ended

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

// Read gives go-smtp its next line. It returns io.EOF once the connection is dead.
func (c *conn) Read(p []byte) (n int, err error) {
	// go-smtp recovers panics in its commands only. A panic here must not end the other connections.
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

// nextLine takes the client's next line and returns the one that go-smtp sees for it, or "" if it sees none.
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

// readLine returns the next command line with its line end. Before it waits for one, it gives the client all replies.
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
		// A torn line is no command, and a client that leaves is no fault of ours.
		return nil, io.EOF
	}
	return line, nil
}

// await sets the deadline of the next command. It reports false if the server is stopping and no transaction has begun.
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

// stop wakes an idle connection, which then ends. One with a transaction under way ends after it.
func (c *conn) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle {
		c.Conn.SetReadDeadline(time.Unix(1, 0))
	}
}

// refuse gives the last reply and returns the error that ends the connection.
func (c *conn) refuse(r nexthop.Reply) error {
	c.say(r)
	if err := c.flush(); err != nil {
		return err
	}
	return io.EOF
}

// say queues a reply of our own.
func (c *conn) say(r nexthop.Reply) { c.replies.addReply(r) }

// readReplies waits for the queued replies of the next hop.
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

// flush gives the client all queued replies.
func (c *conn) flush() error {
	if err := c.readReplies(); err != nil || len(c.replies.ready) == 0 {
		return err
	}
	c.Conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := c.Conn.Write(c.replies.ready); err != nil {
		level := slog.LevelWarn
		if bytes.HasPrefix(c.replies.ready, []byte("221")) {
			level = slog.LevelDebug // many clients do not wait for the reply to QUIT
		}
		c.log.Log(context.Background(), level, "client did not take its replies", "error", err)
		c.dead = io.EOF
	}
	c.replies.given()
	return c.dead
}

// giveUp ends the connection after a panic. The client gets the replies that were ready before it, and a 421.
func (c *conn) giveUp() {
	c.replies.waiting = nil
	c.say(faultReply(errInternal, ""))
	c.flush()
	c.dead = io.EOF
}

// body returns a reader of the message. Each wait for bytes has the data timeout, and all of them together maxDataTime.
func (c *conn) body() *bodyReader {
	c.bodyEnd = time.Now().Add(maxDataTime)
	return &bodyReader{r: c.in}
}

// endBody goes back to reading commands.
func (c *conn) endBody() { c.bodyEnd = time.Time{} }

// source is where conn.in reads from: the network, under the deadlines of a message.
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

// Close ends the connection. go-smtp calls it from the goroutine that serves the connection, perhaps more than once.
func (c *conn) Close() error {
	c.mu.Lock()
	closed := c.closed
	c.closed = true
	c.mu.Unlock()
	if closed {
		return nil
	}
	// go-smtp closes right after its last reply.
	c.flush()
	c.dead = io.EOF
	err := c.Conn.Close()
	c.server.removeConn(c)
	return err
}

func indexLF(b []byte) int { return bytes.IndexByte(b, '\n') }
