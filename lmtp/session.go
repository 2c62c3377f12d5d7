package lmtp

import (
	"context"
	"errors"
	"io"
	"strconv"

	"github.com/emersion/go-smtp"

	"copialettere/journal"
	"copialettere/lmtp/nexthop"
)

// session is the smtp.Session that go-smtp drives, one per connection from the MTA. It keeps the connections to the next hops for as long.
// The arguments that go-smtp passes come from the harmless line that conn shows it; the real one is in conn.command.
type session struct {
	c           *conn
	hops        map[*nexthop.Hop]*hopConn
	transaction *transaction
}

// hopConn is a connection to a next hop between transactions.
type hopConn struct {
	nexthop.Conn
	dirty bool // a transaction began and did not end: RSET must come first
}

func newSession(c *conn) *session { return &session{c: c, hops: make(map[*nexthop.Hop]*hopConn)} }

// begun reports whether a transaction is under way. One whose MAIL was refused does not count: it was kept only to answer the commands that
// the client sent after MAIL without waiting.
func (s *session) begun() bool {
	if s.transaction != nil && s.transaction.refused {
		s.end()
	}
	return s.transaction != nil
}

func (s *session) canMail() (nexthop.Reply, bool) {
	if s.begun() {
		return ourReply(503, "5.5.1", "Nested MAIL command", ""), false
	}
	return nexthop.Reply{}, true
}

func (s *session) canRcpt() (nexthop.Reply, bool) {
	switch {
	case s.transaction == nil || s.transaction.refused:
		return ourReply(503, "5.5.1", "MAIL first", ""), false
	case len(s.transaction.lines) >= s.c.server.config.MaxRecipients:
		return ourReply(452, "4.5.3", "Too many recipients in one transaction", s.transaction.id), false
	}
	return nexthop.Reply{}, true
}

// canData reports whether any recipient was accepted. If not, the reply is a 503 (RFC 2033 section 4.2).
func (s *session) canData() (nexthop.Reply, bool) {
	if s.transaction != nil && s.transaction.accepted() > 0 {
		return nexthop.Reply{}, true
	}
	if s.transaction != nil {
		s.transaction.dropData()
	}
	return ourReply(503, "5.5.1", "No valid recipients", ""), false
}

// pipelineData sends DATA to the next hops together with the commands still queued for them.
func (s *session) pipelineData() {
	if s.transaction != nil {
		s.transaction.pipelineData()
	}
}

// Mail begins a transaction.
func (s *session) Mail(string, *smtp.MailOptions) error {
	command := s.c.command
	if size, ok := command.param("SIZE"); ok {
		// A number that does not fit 63 bits is too large as well.
		n, err := strconv.ParseUint(size, 10, 63)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			s.c.instead = func(context.Context) nexthop.Reply { return ourReply(501, "5.5.4", "Bad SIZE", "") }
			return nil
		}
		if err != nil || int64(n) > s.c.server.config.MaxMessageSize {
			s.c.instead = func(context.Context) nexthop.Reply { return faultReply(errTooLarge, "") }
			return nil
		}
	}
	t := newTransaction(s, command)
	s.transaction = t
	s.c.instead = t.mail()
	return nil
}

// Rcpt adds a recipient to the transaction.
func (s *session) Rcpt(string, *smtp.RcptOptions) error {
	s.c.instead = s.transaction.rcpt(s.c.command)
	return nil
}

// Data takes the message in, also by LMTP: the transaction gives the replies per recipient itself, and without an LMTPData method go-smtp
// stays in one goroutine. The reader is empty: see conn.
func (s *session) Data(io.Reader) error {
	defer func() {
		if cause := recover(); cause != nil {
			// Durable entries stay, with their outcome unknown. go-smtp logs the panic and closes.
			s.c.giveUp()
			panic(cause)
		}
	}()
	s.transaction.data()
	s.end()
	return nil
}

// Reset ends the transaction. go-smtp calls it on RSET and after each message.
func (s *session) Reset() { s.end() }

// end drops the transaction, and what XFORWARD said about its client.
func (s *session) end() {
	if s.transaction != nil {
		s.transaction.close()
		s.transaction = nil
	}
	clear(s.c.forward)
}

// Logout ends the transaction and the connections to the next hops. go-smtp calls it when the connection ends, whichever side ends it.
func (s *session) Logout() error {
	s.end()
	for _, h := range s.hops {
		h.Quit()
	}
	clear(s.hops)
	return nil
}

func (s *session) direction() journal.Direction { return s.c.server.config.Direction }
