// Package nexthoptest is a next hop for tests: an LMTP or SMTP server on loopback or a unix socket. A Script can make it refuse, be slow, or
// die at any point. It records what it gets, byte for byte.
package nexthoptest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Message is one message that came with its dot.
type Message struct {
	From       string   // MAIL FROM, without angle brackets and parameters
	Recipients []string // the accepted RCPT lines, in the same form
	Body       []byte   // the bytes, dots unstuffed; nil with Script.Discard
	Size       int64    // of the body, in bytes
	Replies    []string // the final replies, one per recipient in LMTP; fewer if the server died
}

// Connection is the record of one connection.
type Connection struct {
	Commands []string  // the command lines without their line ends
	Messages []Message // those that came with their dot
	Partial  []byte    // of a message that came without its dot: the bytes so far
	Closed   bool      // the connection has ended
}

// Server is a scripted next hop. Its methods may be called concurrently.
type Server struct {
	listener net.Listener
	lmtp     bool
	done     chan struct{} // closed by Close
	work     sync.WaitGroup

	mu          sync.Mutex
	script      Script                // guarded by mu
	deaths      int                   // guarded by mu: in this script
	open        map[net.Conn]struct{} // guarded by mu
	connections []*Connection         // guarded by mu, and all in them
	closed      bool                  // guarded by mu
}

// Start runs a server on a free TCP port of 127.0.0.1 until the test ends. If it cannot listen, the test fails.
func Start(tb testing.TB, script Script) *Server {
	tb.Helper()
	return Listen(tb, "tcp", "127.0.0.1:0", script)
}

// Listen runs a server on an address of the network "tcp" or "unix" until the test ends. If it cannot listen, the test fails.
func Listen(tb testing.TB, network, address string, script Script) *Server {
	tb.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		tb.Fatalf("scripted next hop: %v", err)
	}
	s := &Server{listener: l, lmtp: !script.SMTP, done: make(chan struct{}), open: make(map[net.Conn]struct{})}
	s.SetScript(script)
	s.work.Go(s.accept)
	tb.Cleanup(s.Close)
	return s
}

// Spec returns the server's next hop as the configuration writes it, for example "lmtp:127.0.0.1:2424".
func (s *Server) Spec() string {
	scheme := "smtp:"
	if s.lmtp {
		scheme = "lmtp:"
	}
	if a := s.listener.Addr(); a.Network() == "unix" {
		return scheme + "unix:" + a.String()
	}
	return scheme + s.Addr()
}

// Addr returns the address that the server listens on: "127.0.0.1:2424", or the path of the socket.
func (s *Server) Addr() string { return s.listener.Addr().String() }

// SetScript gives the server another script from now on. It cannot change between LMTP and SMTP.
func (s *Server) SetScript(script Script) {
	s.mu.Lock()
	defer s.mu.Unlock()
	script.Rcpt, script.Final = maps.Clone(script.Rcpt), maps.Clone(script.Final)
	s.script, s.deaths = script, 0
}

// Connections returns a copy of the records so far, oldest connection first.
func (s *Server) Connections() []Connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Connection, len(s.connections))
	for i, c := range s.connections {
		list[i] = *c
		list[i].Commands, list[i].Messages = slices.Clone(c.Commands), slices.Clone(c.Messages)
	}
	return list
}

// Messages returns the messages of all connections so far, in the order of the connections.
func (s *Server) Messages() []Message {
	var list []Message
	for _, c := range s.Connections() {
		list = append(list, c.Messages...)
	}
	return list
}

// Close stops listening, breaks all connections, and waits for every goroutine. It may be called twice.
func (s *Server) Close() {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.done)
		s.listener.Close()
		for nc := range s.open {
			nc.Close()
		}
	}
	s.mu.Unlock()
	s.work.Wait()
}

func (s *Server) accept() {
	for {
		nc, err := s.listener.Accept()
		if err != nil {
			return
		}
		c := s.enter(nc)
		if c == nil {
			return
		}
		s.work.Go(func() {
			defer s.leave(c)
			c.serve()
		})
	}
}

// enter starts the record of a connection. It returns nil after Close.
func (s *Server) enter(nc net.Conn) *session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		nc.Close()
		return nil
	}
	s.open[nc] = struct{}{}
	record := new(Connection)
	s.connections = append(s.connections, record)
	return &session{server: s, nc: nc, in: bufio.NewReader(nc), out: bufio.NewWriter(nc), record: record}
}

func (s *Server) leave(c *session) {
	c.nc.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c.nc)
	c.record.Closed = true
}

// scripted calls f with the script, under the lock.
func (s *Server) scripted(f func(*Script)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.script)
}

// session is one connection. Its fields belong to its goroutine, except the record.
type session struct {
	server     *Server
	nc         net.Conn
	in         *bufio.Reader
	out        *bufio.Writer
	record     *Connection // guarded by server.mu
	from       string
	recipients []string
}

// errDead ends a session.
var errDead = errors.New("dead by script")

// reach waits at a stage, and returns errDead, if the script says so.
func (c *session) reach(stage Stage) error {
	var delay time.Duration
	var die bool
	c.server.scripted(func(s *Script) {
		delay = s.Delay[stage]
		if s.Die == stage && (s.Deaths == 0 || c.server.deaths < s.Deaths) {
			die = true
			c.server.deaths++
		}
	})
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-c.server.done:
			return errDead
		}
	}
	if die {
		return errDead
	}
	return nil
}

// say buffers a reply. Like a pipelining server, it sends once all that the client has sent is read.
func (c *session) say(reply string) error {
	c.out.WriteString(strings.ReplaceAll(reply, "\n", "\r\n") + "\r\n")
	if c.in.Buffered() > 0 {
		return nil
	}
	return c.out.Flush()
}

func (c *session) serve() {
	if c.reach(Greet) != nil {
		return
	}
	var greeting string
	c.server.scripted(func(s *Script) { greeting = orElse(s.Greeting, "220 nexthop.test ready") })
	if c.say(greeting) != nil {
		return
	}
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		c.server.scripted(func(*Script) { c.record.Commands = append(c.record.Commands, line) })
		if err := c.command(line); err != nil {
			return
		}
	}
}

// command answers one command line. An error ends the connection.
func (c *session) command(line string) error {
	verb, rest, _ := strings.Cut(line, " ")
	var reply string
	switch strings.ToUpper(verb) {
	case "LHLO", "EHLO":
		if err := c.reach(Hello); err != nil {
			return err
		}
		c.server.scripted(func(s *Script) { reply = hello(s) })
	case "MAIL":
		if err := c.reach(Mail); err != nil {
			return err
		}
		c.server.scripted(func(s *Script) { reply = orElse(s.Mail, "250 2.1.0 ok") })
		c.from, c.recipients = path(rest), nil
	case "RCPT":
		if err := c.reach(Rcpt); err != nil {
			return err
		}
		to := path(rest)
		c.server.scripted(func(s *Script) { reply = next(s.Rcpt, to, "250 2.1.5 ok") })
		if reply[0] == '2' {
			c.recipients = append(c.recipients, to)
		}
	case "DATA":
		return c.data()
	case "RSET":
		reply, c.recipients = "250 2.0.0 ok", nil
	case "NOOP", "XFORWARD":
		reply = "250 2.0.0 ok"
	case "QUIT":
		c.say("221 2.0.0 bye")
		return errDead
	default:
		reply = "500 5.5.2 unknown command"
	}
	return c.say(reply)
}

func hello(s *Script) string {
	if s.Hello != "" {
		return s.Hello
	}
	lines := []string{"nexthop.test", "PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME"}
	if s.Keywords != nil {
		lines = append(lines[:1], s.Keywords...)
	}
	last := len(lines) - 1
	for i, line := range lines {
		lines[i] = "250-" + line
		if i == last {
			lines[i] = "250 " + line
		}
	}
	return strings.Join(lines, "\n")
}

// data answers DATA, reads the message and answers it.
func (c *session) data() error {
	if err := c.reach(Data); err != nil {
		return err
	}
	reply := "354 go ahead"
	if len(c.recipients) == 0 {
		reply = "503 5.5.1 no valid recipients"
	}
	c.server.scripted(func(s *Script) { reply = orElse(s.Data, reply) })
	if err := c.say(reply); err != nil || reply[0] != '3' {
		return err
	}
	message := Message{From: c.from, Recipients: c.recipients}
	var err error
	if message.Body, message.Size, err = c.body(); err != nil {
		return err
	}
	c.server.scripted(func(*Script) { c.record.Messages = append(c.record.Messages, message) })
	c.from, c.recipients = "", nil
	if err := c.reach(Dot); err != nil {
		return err
	}
	if !c.server.lmtp {
		return c.finalReplies([]string{""})
	}
	return c.finalReplies(message.Recipients)
}

// finalReplies answers the last message, once for each address.
func (c *session) finalReplies(addresses []string) error {
	for i, to := range addresses {
		var reply string
		c.server.scripted(func(s *Script) {
			reply = next(s.Final, to, fmt.Sprintf("250 2.0.0 <%s> stored", to))
			m := &c.record.Messages[len(c.record.Messages)-1]
			m.Replies = append(m.Replies, reply)
		})
		if err := c.say(reply); err != nil {
			return err
		}
		if i == 0 {
			if err := c.reach(Replied); err != nil {
				return errors.Join(err, c.out.Flush())
			}
		}
	}
	return nil
}

// body reads a message up to its dot and removes dot-stuffing (RFC 5321 section 4.5.2). Only CRLF ends a line.
func (c *session) body() (message []byte, size int64, err error) {
	discard, wire, limit := false, 0, -1
	c.server.scripted(func(s *Script) {
		discard = s.Discard
		if s.Die == Body || s.Delay[Body] > 0 {
			limit = s.BodyBytes
		}
	})
	defer func() {
		if err != nil {
			c.server.scripted(func(*Script) { c.record.Partial = message })
		} else if discard {
			message = nil
		}
	}()
	for start := true; ; {
		if limit >= 0 && wire >= limit {
			limit = -1
			if err := c.reach(Body); err != nil {
				return message, size, err
			}
		}
		piece, err := c.in.ReadSlice('\n')
		wire += len(piece)
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return append(message, piece...), size, err
		}
		if start && string(piece) == ".\r\n" {
			return message, size, nil
		}
		if start && len(piece) > 0 && piece[0] == '.' {
			piece = piece[1:]
		}
		message, size = append(message, piece...), size+int64(len(piece))
		// A piece may end between CR and LF, so look at the whole message.
		start = bytes.HasSuffix(message, []byte("\r\n"))
		if keep := len("\r\n"); discard && len(message) > keep {
			message = append(message[:0], message[len(message)-keep:]...)
		}
	}
}

// path returns the address between the angle brackets of "FROM:<a@alpha.test> SIZE=1". A quoted ">" does not end it.
func path(s string) string {
	_, s, _ = strings.Cut(s, "<")
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '>' && !quoted:
			return s[:i]
		}
	}
	return s
}

func orElse(s, otherwise string) string {
	if s != "" {
		return s
	}
	return otherwise
}
