package imapd

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2/imapserver"

	"copialettere/policy"
)

// Limits on time.
const (
	handshakeTimeout = 30 * time.Second
	writeTimeout     = 2 * time.Minute // for one write to the network
)

// conn is the connection layer between the network and go-imap. TLS lies below it.
//
// Towards go-imap it is a net.Conn. Read gives the bytes of one command, and never a byte of the next: when go-imap has answered a command and
// reads again, no command is under way, and that is where conn answers commands of its own. So the order of pipelined commands is kept. A
// command is read whole, with its literals, before go-imap sees its first byte (see frame.go): if go-imap refuses it half-way, the rest is
// dropped and never taken for a command. Only the message of APPEND comes to go-imap as it comes from the network: it may be large.
//
// What go-imap writes is collected, and sent when it waits for the next command, when much has come together, or at once while IDLE runs. On the
// way conn looks for the tagged reply, and changes a few lines (see output.go).
//
// Nothing that a program sent is ever logged.
//
// Fields without a lock belong to the goroutine on which go-imap serves the connection.
type conn struct {
	server *Server
	log    *slog.Logger
	ctx    context.Context // ends with the connection
	cancel context.CancelFunc
	in     *bufio.Reader
	remote netip.Addr
	tls    *tls.Config // of a listener with TLS from the first byte, until start; else nil

	session backend
	secure  bool     // passwords may be sent
	pieces  [][]byte // of the command under way, what go-imap has not read yet
	message int64    // of APPEND: bytes of the message that follow the pieces and have not come yet, and then the end of the line
	command command  // under way, or the one before
	dead    bool     // go-imap gets no more

	messageEnd string // what stands on that line: nothing, or ")"

	out  output
	turn turn

	mu     sync.Mutex
	nc     net.Conn // guarded by mu
	reason string   // guarded by mu: why interrupt was called
	closed bool     // guarded by mu
}

// backend is what conn asks of the session that go-imap talks to, beside what go-imap asks of it.
type backend interface {
	imapserver.Session
	signedIn() bool
	readOnly() bool // nothing may be changed in the selected folder
	// appendRefused returns the reply to APPEND of so many bytes into a folder, where it is given before the message is sent; else nothing.
	appendRefused(folder string, size int64) string
	idles() <-chan struct{}             // has a value once Idle has begun
	aboutFolders(cmd *command) []string // the reply to a command of QUOTA or ACL
	say(sentence policy.Label) string   // in the language of whoever has signed in
}

func newConn(nc net.Conn, secure *tls.Config, s *Server) *conn {
	c := &conn{server: s, log: s.log.With("peer", nc.RemoteAddr().String()), nc: nc, tls: secure}
	if a, err := netip.ParseAddrPort(nc.RemoteAddr().String()); err == nil {
		c.remote = a.Addr().Unmap()
	}
	c.ctx, c.cancel = context.WithCancel(s.ctx)
	c.turn = turn{turns: s.turns, delivering: func() bool { return s.config.Archive().Delivering() }}
	c.in = bufio.NewReaderSize(source{c}, 4<<10)
	c.out.conn = c
	c.out.expect(command{verb: greeting})
	return c
}

// source is where conn.in reads from: the network.
type source struct{ c *conn }

func (s source) Read(p []byte) (int, error) { return s.c.transport().Read(p) }

// start makes the connection ready for its greeting.
func (c *conn) start() error {
	c.secure = c.tls != nil || c.server.config.InsecureLoopback && c.remote.IsLoopback()
	if c.tls == nil {
		return nil
	}
	return c.handshake(c.tls)
}

// handshake begins TLS.
func (c *conn) handshake(config *tls.Config) error {
	secure := tls.Server(c.transport(), config)
	c.mu.Lock()
	c.nc = secure
	c.mu.Unlock()
	secure.SetDeadline(time.Now().Add(handshakeTimeout))
	ctx, cancel := context.WithTimeout(c.ctx, handshakeTimeout)
	defer cancel()
	if err := secure.HandshakeContext(ctx); err != nil {
		c.dead = true
		return err
	}
	secure.SetDeadline(time.Time{})
	c.tls, c.secure = nil, true
	return nil
}

// overTLS reports whether the connection has TLS.
func (c *conn) overTLS() bool {
	_, ok := c.transport().(*tls.Conn)
	return ok
}

func (c *conn) transport() net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nc
}

// Read gives go-imap the next bytes of the command under way, or of the next command. It returns io.EOF once the connection is dead.
func (c *conn) Read(p []byte) (int, error) {
	if (len(c.pieces) > 0 || c.message > 0) && c.out.answered() {
		// go-imap has refused the command before it read all of it.
		if err := c.dropMessage(); err != nil {
			c.dead = true
			c.out.flush()
			return 0, io.EOF
		}
		c.pieces = nil
	}
	for len(c.pieces) == 0 {
		if c.dead {
			return 0, io.EOF
		}
		if c.message > 0 {
			n, err := c.readMessage(p)
			if err != nil {
				c.dead = true
			}
			return n, err
		}
		if err := c.more(); err != nil {
			c.dead = true
			c.out.flush()
			return 0, io.EOF
		}
	}
	n := copy(p, c.pieces[0])
	if c.pieces[0] = c.pieces[0][n:]; len(c.pieces[0]) == 0 {
		c.pieces = c.pieces[1:]
	}
	return n, nil
}

// more gets the next bytes for go-imap, or answers a command by itself and gets none.
func (c *conn) more() error {
	answered := c.out.answered()
	switch {
	case !answered && c.command.verb == "IDLE":
		return c.idle()
	case !answered && c.command.verb == "AUTHENTICATE":
		return c.authenticate()
	case !answered:
		// go-imap takes for unfinished what is a whole command. Whatever comes next must not be taken for the rest of it.
		return c.bye("Command not understood")
	}
	return c.next()
}

// idle reads the line that ends IDLE. It first waits until the session idles: what comes after the line waits until it does no more.
func (c *conn) idle() error {
	<-c.session.idles()
	line, err := c.readLine(maxCommand)
	if err != nil {
		return err
	}
	if strings.EqualFold(strings.TrimRight(string(line), " \r\n"), "DONE") {
		c.pieces = [][]byte{[]byte("DONE\r\n")}
	} else {
		c.pieces = [][]byte{[]byte("?\r\n")} // go-imap reads one short line, and refuses this one
	}
	c.command.verb = "DONE"
	return nil
}

// maxResponse is how long a line of AUTHENTICATE may be, in bytes: go-imap reads no longer one.
const maxResponse = 4000

// authenticate reads what the program answers to a challenge.
func (c *conn) authenticate() error {
	line, err := c.readLine(maxResponse)
	if err != nil {
		return err
	}
	c.pieces = [][]byte{line}
	return nil
}

// readLine returns the next line with its line end. If that is yet to come it first sends what is to be sent. Over max bytes it ends the
// connection.
func (c *conn) readLine(max int) ([]byte, error) {
	if buffered, _ := c.in.Peek(c.in.Buffered()); bytes.IndexByte(buffered, '\n') < 0 {
		if err := c.out.flush(); err != nil {
			return nil, err
		}
	}
	var line []byte
	for {
		piece, err := c.in.ReadSlice('\n')
		line = append(line, piece...)
		switch {
		case len(line) > max:
			return nil, c.bye("Line too long")
		case err == nil:
			return line, nil
		case errors.Is(err, bufio.ErrBufferFull):
		default:
			return nil, c.leave(err)
		}
	}
}

// leave says BYE where waiting for the program has ended, and returns an error that ends the connection.
func (c *conn) leave(err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err // a program that leaves in the middle of a line is no fault of ours
	}
	c.mu.Lock()
	reason := c.reason
	c.mu.Unlock()
	return c.bye(cmp.Or(reason, "Idle for too long"))
}

// bye ends the connection with a reason.
func (c *conn) bye(reason string) error {
	c.out.say("* BYE " + reason + "\r\n")
	c.out.fail(io.EOF) // nothing follows, such as the end of an IDLE
	return io.EOF
}

// Write takes what go-imap says.
func (c *conn) Write(p []byte) (int, error) { return c.out.write(p) }

// Close ends the connection. go-imap calls it, perhaps more than once.
func (c *conn) Close() error {
	c.mu.Lock()
	closed := c.closed
	c.closed = true
	c.mu.Unlock()
	if closed {
		return nil
	}
	c.out.flush()
	c.cancel()
	err := c.transport().Close()
	c.server.remove(c)
	return err
}

// interrupt makes a connection that waits for a command end, and one with a command under way end after it. The program is told the reason.
func (c *conn) interrupt(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reason = cmp.Or(c.reason, reason)
	c.nc.SetReadDeadline(time.Unix(1, 0))
}

// SetReadDeadline implements net.Conn. go-imap sets one for each command.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reason != "" {
		return nil
	}
	return c.nc.SetReadDeadline(t)
}

// SetWriteDeadline implements net.Conn. Deadlines of writes are output's.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return c.transport().LocalAddr() }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return c.transport().RemoteAddr() }
