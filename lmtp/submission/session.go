package submission

import (
	"errors"
	"io"
	"strings"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"copialettere/policy"
	"copialettere/policy/auth"
)

// maxFailures is how many passwords a connection may get wrong.
const maxFailures = 3

// session answers what go-smtp asks. All is on the goroutine of its connection.
type session struct {
	conn     *conn
	mailbox  policy.Address // whoever has signed in; zero before
	failures int
}

var _ smtp.AuthSession = (*session)(nil)

// AuthMechanisms implements smtp.AuthSession.
func (s *session) AuthMechanisms() []string { return []string{sasl.Plain, sasl.Login} }

// Auth implements smtp.AuthSession.
func (s *session) Auth(mechanism string) (sasl.Server, error) {
	switch mechanism {
	case sasl.Plain:
		return wellFormed{sasl.NewPlainServer(func(identity, name, password string) error {
			return s.signIn(auth.Attempt{Login: name, Password: password, Authorize: identity})
		})}, nil
	case sasl.Login:
		return &loginServer{signIn: func(name, password string) error { return s.signIn(auth.Attempt{Login: name, Password: password}) }}, nil
	}
	return nil, reply(504, smtp.EnhancedCode{5, 5, 4}, "Only PLAIN and LOGIN are offered")
}

// wellFormed answers responses that the mechanism cannot read.
type wellFormed struct{ sasl.Server }

// Next implements sasl.Server.
func (w wellFormed) Next(response []byte) (challenge []byte, done bool, err error) {
	challenge, done, err = w.Server.Next(response)
	if _, ours := err.(*smtp.SMTPError); err != nil && !ours {
		err = reply(501, smtp.EnhancedCode{5, 5, 2}, "Malformed response")
	}
	return challenge, done, err
}

// loginServer is the server of the mechanism LOGIN, which Outlook uses (draft-murchison-sasl-login).
type loginServer struct {
	signIn func(name, password string) error
	name   *string
	asked  bool
}

// Next implements sasl.Server.
func (l *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	switch {
	case response == nil && !l.asked:
		l.asked = true
		return []byte("Username:"), false, nil
	case l.name == nil:
		name := string(response)
		l.name = &name
		return []byte("Password:"), false, nil
	}
	return nil, true, l.signIn(*l.name, string(response))
}

// signIn signs somebody in, here and at the relay, or says in both languages why not.
func (s *session) signIn(try auth.Attempt) error {
	server := s.conn.server
	try.Remote, try.Protocol = s.conn.remote, auth.ProtocolSubmission
	id, err := server.config.Logins.Login(s.conn.ctx, try)
	if err == nil && server.config.Relay != (Relay{}) {
		err = s.signInAtRelay(id, try.Password)
	}
	if err == nil {
		s.mailbox = id.Mailbox
		s.conn.log.Info("signed in", "serves", "submission", "login", id.Login.String(), "relayed", s.conn.relay != nil)
		return nil
	}
	refusal := s.refusal(err)
	if refusal.Code/100 == 5 {
		if s.failures++; s.failures >= maxFailures {
			s.conn.last = true
		}
	}
	return refusal
}

// signInAtRelay connects to the relay and signs in there, under the address of whoever has signed in here.
func (s *session) signInAtRelay(id auth.Identity, password string) error {
	server := s.conn.server
	relay, err := server.config.Relay.connect(s.conn.ctx, server.config.Name, server.config.RelayTLS)
	if err == nil {
		if err = relay.signIn(s.conn.ctx, id.Login.String(), password); err != nil {
			relay.Close()
		}
	}
	if err != nil {
		return &relayError{err}
	}
	s.conn.relay = relay
	server.relayed.Inc()
	return nil
}

// relayError says that the relay did not take somebody.
type relayError struct{ err error }

func (e *relayError) Error() string { return "relay: " + e.err.Error() }
func (e *relayError) Unwrap() error { return e.err }

// refusal returns the reply to a login that failed.
func (s *session) refusal(err error) *smtp.SMTPError {
	var refused *ReplyError
	var closed *auth.Refusal
	switch {
	case errors.As(err, &refused):
		s.conn.log.Warn("the relay refuses a login that is right here", "error", err)
		return asGiven(refused)
	case errors.As(err, new(*relayError)):
		s.conn.server.relayFailed.Inc()
		s.conn.log.Error("the relay cannot be used", "relay", s.conn.server.config.Relay.String(), "error", err)
		return reply(454, smtp.EnhancedCode{4, 7, 0}, inBoth(sentenceRelayDown))
	case errors.Is(err, auth.ErrThrottled) && errors.As(err, &closed):
		return reply(454, smtp.EnhancedCode{4, 7, 0}, inBoth(closed.Sentence))
	case errors.As(err, &closed):
		return reply(535, smtp.EnhancedCode{5, 7, 8}, inBoth(closed.Sentence))
	case errors.Is(err, auth.ErrUnavailable):
		return reply(454, smtp.EnhancedCode{4, 7, 0}, inBoth(sentenceUnavailable))
	case errors.Is(err, auth.ErrDenied), errors.Is(err, policy.ErrForbidden):
		return reply(535, smtp.EnhancedCode{5, 7, 8}, inBoth(sentenceDenied))
	}
	s.conn.log.Error("nobody can be signed in", "error", err)
	return reply(454, smtp.EnhancedCode{4, 7, 0}, inBoth(sentenceUnavailable))
}

func reply(code int, enhanced smtp.EnhancedCode, text string) *smtp.SMTPError {
	return &smtp.SMTPError{Code: code, EnhancedCode: enhanced, Message: text}
}

// asGiven returns a reply of the relay. Its enhanced code, if it has one, stays in its text.
func asGiven(r *ReplyError) *smtp.SMTPError {
	return reply(r.Code, smtp.NoEnhancedCode, strings.ReplaceAll(printable(r.Text), "\n", " "))
}

// printable replaces control characters, of which a CR could make two replies out of one.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}

// Mail implements smtp.Session. Nobody sends from here.
func (s *session) Mail(string, *smtp.MailOptions) error {
	if s.mailbox == (policy.Address{}) {
		return reply(530, smtp.EnhancedCode{5, 7, 0}, "Sign in first")
	}
	s.conn.server.refusedMail.Inc()
	return reply(550, smtp.EnhancedCode{5, 7, 1}, policy.ASCII(sentenceNoSending.In(s.conn.server.config.Language(s.conn.ctx, s.mailbox))))
}

// Rcpt implements smtp.Session. go-smtp does not call it after a MAIL that was refused.
func (s *session) Rcpt(string, *smtp.RcptOptions) error {
	return reply(503, smtp.EnhancedCode{5, 5, 1}, "MAIL comes first")
}

// Data implements smtp.Session, as Rcpt does.
func (s *session) Data(io.Reader) error {
	return reply(503, smtp.EnhancedCode{5, 5, 1}, "MAIL comes first")
}

// Reset implements smtp.Session.
func (s *session) Reset() {}

// Logout implements smtp.Session.
func (s *session) Logout() error { return nil }
