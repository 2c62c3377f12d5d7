package submission

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"
)

// Limits on what a program may say, and on time.
const (
	maxLine          = 12288 + 64 // bytes of a line: RFC 4954 section 4 allows 12288 for a response
	handshakeTimeout = 30 * time.Second
	idleTimeout      = 5 * time.Minute // for one command (RFC 5321 section 4.5.3.2.7)
	writeTimeout     = 2 * time.Minute
)

// conn is the connection layer between the network and go-smtp. TLS lies below it.
//
// It gives go-smtp one line at a time, and never a byte of the next: when go-smtp reads again, the line before is answered. go-smtp sees neither
// STARTTLS, which conn answers, nor BDAT, nor a password before TLS, nor anything but EHLO and HELO at first. The reply to EHLO is conn's own: go-smtp
// offers CHUNKING, and does not know where TLS is. What go-smtp says is collected, and sent when no whole line is left to answer.
//
// When the session has signed in at the relay, the next Read passes bytes between both until either has ended, and returns io.EOF.
//
// Fields without a lock belong to the goroutine on which go-smtp serves the connection.
type conn struct {
	server *Server
	log    *slog.Logger
	ctx    context.Context // ends with the connection
	cancel context.CancelFunc
	in     *bufio.Reader
	remote netip.Addr
	tls    *tls.Config // of a listener with TLS from the first byte, until the handshake; else nil

	secure  bool     // passwords may be sent
	greeted bool     // the program has said EHLO or HELO since TLS began
	hello   bool     // go-smtp is answering EHLO
	line    []byte   // what go-smtp has not read of its line
	said    []byte   // by go-smtp, since its line
	ready   []byte   // to be sent
	last    bool     // the connection ends when ready is sent
	relay   *relayed // the relay has taken the password

	stop chan struct{} // closed by interrupt

	mu       sync.Mutex
	nc       net.Conn // guarded by mu
	stopping bool     // guarded by mu
	passing  bool     // bytes pass between the program and the relay; guarded by mu
	closed   bool     // guarded by mu
}

func newConn(nc net.Conn, secure *tls.Config, s *Server) *conn {
	c := &conn{server: s, log: s.log.With("peer", nc.RemoteAddr().String()), nc: nc, tls: secure, stop: make(chan struct{})}
	if a, err := netip.ParseAddrPort(nc.RemoteAddr().String()); err == nil {
		c.remote = a.Addr().Unmap()
	}
	c.ctx, c.cancel = context.WithCancel(s.ctx)
	c.secure = s.config.InsecureLoopback && c.remote.IsLoopback()
	c.in = bufio.NewReaderSize(source{c}, 16<<10)
	return c
}

// source is where conn.in reads from: the network.
type source struct{ c *conn }

func (s source) Read(p []byte) (int, error) { return s.c.transport().Read(p) }

func (c *conn) transport() net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nc
}

func (c *conn) overTLS() bool {
	_, ok := c.transport().(*tls.Conn)
	return ok
}

// Read gives go-smtp the next bytes of its line. It returns io.EOF once the connection is at its end.
func (c *conn) Read(p []byte) (n int, err error) {
	// go-smtp recovers panics in its commands only. A panic here must not end the other connections.
	defer func() {
		if cause := recover(); cause != nil {
			c.log.Error("panic", "cause", cause, "stack", string(debug.Stack()))
			n, err = 0, io.EOF
		}
	}()
	for len(c.line) == 0 {
		if err := c.next(); err != nil {
			c.last = true
			c.flush()
			return 0, io.EOF
		}
	}
	n = copy(p, c.line)
	c.line = c.line[n:]
	return n, nil
}

// next gets the next line for go-smtp, or answers one by itself and gets none.
func (c *conn) next() error {
	c.settle()
	if c.last {
		return io.EOF
	}
	if c.tls != nil {
		if err := c.handshake(c.tls); err != nil {
			return err
		}
	}
	if c.relay != nil {
		if err := c.flush(); err != nil {
			return err
		}
		c.pass()
		return io.EOF
	}
	line, err := c.readLine()
	if err != nil {
		return err
	}
	verb, _, _ := strings.Cut(strings.TrimRight(string(line), " \r\n"), " ")
	switch verb = strings.ToUpper(verb); {
	case verb == "STARTTLS":
		return c.startTLS()
	case verb == "BDAT":
		return c.end("502 5.5.1 BDAT is not offered")
	case verb == "AUTH" && c.greeted && !c.secure:
		c.answer("538 5.7.11 Send the password over TLS only")
	case (verb == "AUTH" || verb == "MAIL") && !c.greeted:
		c.answer("503 5.5.1 Say EHLO first")
	default:
		c.hello = verb == "EHLO"
		c.greeted = c.greeted || c.hello || verb == "HELO"
		c.line = line
	}
	return nil
}

// settle takes what go-smtp has said to its line.
func (c *conn) settle() {
	if c.hello && bytes.HasPrefix(c.said, []byte("250")) {
		c.said = []byte(c.keywords())
	}
	c.ready = append(c.ready, c.said...)
	c.said, c.hello = nil, false
}

// keywords returns the reply to EHLO.
func (c *conn) keywords() string {
	lines := append([]string{c.server.config.Name}, needed()...)
	if c.server.config.TLS != nil && !c.overTLS() {
		lines = append(lines, "STARTTLS")
	}
	if c.secure {
		lines = append(lines, "AUTH PLAIN LOGIN")
	}
	return "250-" + strings.Join(lines[:len(lines)-1], "\r\n250-") + "\r\n250 " + lines[len(lines)-1] + "\r\n"
}

// answer gives a reply of one line.
func (c *conn) answer(reply string) { c.ready = append(c.ready, reply+"\r\n"...) }

// end gives the last reply.
func (c *conn) end(reply string) error {
	c.answer(reply)
	return io.EOF
}

// readLine returns the next line with its line end, which becomes CRLF. If that is yet to come it first sends what is to be sent.
func (c *conn) readLine() ([]byte, error) {
	if buffered, _ := c.in.Peek(c.in.Buffered()); bytes.IndexByte(buffered, '\n') < 0 {
		if err := c.flush(); err != nil {
			return nil, err
		}
		c.deadline(time.Now().Add(idleTimeout))
	}
	line, err := c.in.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull) || len(line) > maxLine:
		return nil, c.end("500 5.5.6 Line too long")
	case errors.Is(err, os.ErrDeadlineExceeded) && c.isStopping():
		return nil, c.end(restarting)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, c.end("421 4.4.2 Idle for too long")
	case err != nil:
		return nil, io.EOF // a torn line is no command, and a program that leaves is no fault of ours
	}
	line = bytes.TrimRight(line, "\r\n")
	return append(bytes.Clone(line), '\r', '\n'), nil
}

const restarting = "421 4.3.2 The server is restarting, try again in a minute"

// startTLS answers STARTTLS (RFC 3207).
func (c *conn) startTLS() error {
	switch {
	case c.server.config.TLS == nil || c.overTLS():
		c.answer("502 5.5.1 TLS is not offered here")
		return nil
	case c.in.Buffered() > 0:
		// What was sent in the clear must not count as sent over TLS.
		return c.end("503 5.5.1 Nothing may follow STARTTLS before TLS has begun")
	}
	c.answer("220 2.0.0 Begin TLS now")
	if err := c.flush(); err != nil {
		return err
	}
	c.greeted = false
	return c.handshake(c.server.config.TLS)
}

// handshake begins TLS.
func (c *conn) handshake(config *tls.Config) error {
	c.tls = nil
	secure := tls.Server(c.transport(), config)
	c.mu.Lock()
	c.nc = secure
	c.mu.Unlock()
	c.deadline(time.Now().Add(handshakeTimeout))
	ctx, cancel := context.WithTimeout(c.ctx, handshakeTimeout)
	defer cancel()
	if err := secure.HandshakeContext(ctx); err != nil {
		c.ready = nil
		return err
	}
	c.secure = true
	return nil
}

// deadline sets the deadline of reading, unless the connection is to stop.
func (c *conn) deadline(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.stopping {
		c.nc.SetReadDeadline(t)
	}
}

// interrupt makes a connection that waits for a command end, one with a command under way end after it, and one that passes bytes end when nobody
// waits for an answer.
func (c *conn) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopping {
		return
	}
	c.stopping = true
	close(c.stop)
	if !c.passing {
		c.nc.SetReadDeadline(time.Unix(1, 0))
	}
}

func (c *conn) isStopping() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopping
}

// flush sends what is ready.
func (c *conn) flush() error {
	if len(c.ready) == 0 || c.tls != nil {
		return nil
	}
	nc := c.transport()
	nc.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err := nc.Write(c.ready)
	c.ready = nil
	return err
}

// Write takes what go-smtp says.
func (c *conn) Write(p []byte) (int, error) {
	c.said = append(c.said, p...)
	return len(p), nil
}

// Close ends the connection. go-smtp calls it, perhaps more than once.
func (c *conn) Close() error {
	c.mu.Lock()
	closed := c.closed
	c.closed = true
	c.mu.Unlock()
	if closed {
		return nil
	}
	c.settle()
	c.flush()
	c.cancel()
	if c.relay != nil {
		c.relay.Close()
	}
	err := c.transport().Close()
	c.server.remove(c)
	return err
}

// SetReadDeadline implements net.Conn. Deadlines are conn's own.
func (c *conn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(time.Time) error { return nil }

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return c.transport().LocalAddr() }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return c.transport().RemoteAddr() }
