// Package auth says who somebody is. It checks the name and the password that a mail program or a browser sends, and tells which mailbox's archive
// they open, and in which role. What that role may do there is decided by package archive (Archive.May), for every face.
//
// Passwords are the provider's own. They come from one Source: a password file in the form of Dovecot's passwd-file, or Dovecot itself, over the
// socket by which Postfix asks it too. Nothing here writes a password or a name into a log.
//
// # Logins
//
// A login is an address. Its owner opens the archive of the mailbox of that name. Whether a mail program gets in is decided by the settings of the
// mailbox, at each login and again by Permitted: its archive must not be off, imap must be on, and protocols must have imap.
//
// # The password file
//
// One user a line, as passwd(5) has it: ADDRESS:{SCHEME}HASH, with more fields behind that are Dovecot's. Empty lines and those that begin with #
// are comments. Of two lines of one address the first counts, as in Dovecot. The schemes are ARGON2ID, BLF-CRYPT (bcrypt), SHA512-CRYPT, and CRYPT
// for the latter two; without a scheme it is CRYPT. A line that cannot be used is nobody's login, and Problems tells why. The file is read again
// when it has another size, time or inode.
package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"

	"copialettere/policy"
)

// Errors of Login and Permitted. Only a *Refusal says more than these to the person.
var (
	// ErrDenied means that the name or the password is wrong. Nobody is told which.
	ErrDenied = errors.New("wrong name or password")
	// ErrClosed means that the person is known, but the mailbox is closed to the protocol. The error is a *Refusal.
	ErrClosed = errors.New("closed")
	// ErrUnavailable means that nothing could be found out, because the source does not answer. A later try may succeed.
	ErrUnavailable = errors.New("logins are not possible at the moment")
)

// Protocol is what somebody signs in to.
type Protocol string

// The protocols.
const (
	ProtocolIMAP       Protocol = "imap"       // the archive in a mail program
	ProtocolSubmission Protocol = "submission" // the outgoing server that mail programs want beside it
	ProtocolWeb        Protocol = "web"        // pages
)

// maxSecret is the longest login, and the longest password, in bytes. A request to Dovecot must fit in 8192.
const maxSecret = 1024

// Attempt is one try to sign in.
type Attempt struct {
	Login    string // as typed
	Password string
	// Authorize is the authorization identity of SASL (RFC 4616): the mailbox to open. Empty means that of the login.
	Authorize string
	Remote    netip.Addr // of the client; the zero Addr if it is unknown
	Protocol  Protocol
}

// Identity is somebody who has signed in.
type Identity struct {
	Login   policy.Address // who it is
	Mailbox policy.Address // whose archive is opened
	Actor   policy.Actor   // in which role: for Archive.May, and for what goes on record
}

// Options are what an Authenticator works with. Policy is required.
type Options struct {
	Source Source
	Policy *policy.Policy
	Logger *slog.Logger // slog.Default where nil
}

// Authenticator signs people in. Its methods may be called concurrently. A nil Authenticator lets nobody in.
type Authenticator struct {
	options Options
	source  passwords
}

// passwords is where passwords are checked.
type passwords interface {
	// verify returns the address of the login if the password is right. Otherwise the error wraps ErrDenied, after as much work for a login
	// that does not exist as for one that does, or ErrUnavailable. The zero login does not exist.
	verify(ctx context.Context, a Attempt, login policy.Address) (policy.Address, error)
	// probe says in short what there is, or why it cannot be used.
	probe(ctx context.Context) (detail string, err error)
	// problems lists what is wrong, but keeps only some people out.
	problems() []error
	close() error
}

// New returns an Authenticator over a source, which it does not touch yet. Close it.
func New(o Options) *Authenticator {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	a := &Authenticator{options: o}
	if o.Source.Kind == SourceFile {
		a.source = newFile(o.Source.Address, o.Logger)
	} else {
		a.source = newDovecot(o.Source, o.Logger)
	}
	return a
}

// Close ends the connections to the source, and waits for them. Logins under way become ErrUnavailable.
func (a *Authenticator) Close() error {
	if a == nil {
		return nil
	}
	return a.source.close()
}

// Probe says in short what the source has, or why it cannot be used.
func (a *Authenticator) Probe(ctx context.Context) (detail string, err error) {
	return a.source.probe(ctx)
}

// Problems lists, after Probe, what keeps some people out, such as a hash of an unknown scheme.
func (a *Authenticator) Problems() []error { return a.source.problems() }

// Login checks a name and a password, and whether the mailbox is open to the protocol. The error wraps ErrDenied, ErrClosed or ErrUnavailable.
func (a *Authenticator) Login(ctx context.Context, try Attempt) (Identity, error) {
	if a == nil {
		return Identity{}, ErrDenied
	}
	// Some directories take an empty password for a login without a name (RFC 4513 section 5.1.2).
	if try.Password == "" || len(try.Login) > maxSecret || len(try.Password) > maxSecret || strings.ContainsRune(try.Password, 0) {
		return Identity{}, ErrDenied
	}
	login, err := policy.ParseAddress(try.Login)
	if err != nil || login.Domain == "" {
		login = policy.Address{}
	}
	login, err = a.source.verify(ctx, try, login)
	if err != nil {
		return Identity{}, err
	}
	id := Identity{Login: login, Mailbox: login, Actor: policy.Actor{Role: policy.RoleOwner, Name: login.String()}}
	if try.Authorize != "" {
		if mailbox, err := policy.ParseAddress(try.Authorize); err != nil || mailbox != login {
			return Identity{}, fmt.Errorf("%w: not allowed to sign in for somebody else", ErrDenied)
		}
	}
	return id, a.Permitted(ctx, id, try.Protocol)
}

// Permitted returns nil if somebody who has signed in may go on to use a protocol, under the settings as they are now. It is cheap: ask it again
// while a connection is open. Otherwise the error wraps ErrClosed and is a *Refusal, or ErrUnavailable.
func (a *Authenticator) Permitted(ctx context.Context, id Identity, protocol Protocol) error {
	if protocol == ProtocolWeb {
		return nil
	}
	s, err := a.options.Policy.Settings(ctx, id.Mailbox)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return Open(s)
}

// Open returns nil if a mailbox with these settings is open to mail programs. Otherwise the error wraps ErrClosed and is a *Refusal.
func Open(s policy.Settings) error {
	switch {
	case s.State() == policy.StateOff:
		return &Refusal{ErrClosed, noArchive, s.Language}
	case !s.IMAP:
		return &Refusal{ErrClosed, imapAccessOff, s.Language}
	case s.Protocols&policy.ProtocolIMAP == 0:
		return &Refusal{ErrClosed, imapProtocolOff, s.Language}
	}
	return nil
}
