// Package auth says who somebody is. It checks the name and the password that a mail program or a browser sends, and tells which mailbox's archive
// they open, and in which role. What that role may do there is decided by package archive (Archive.May), for every face.
//
// Passwords are the provider's own. They come from one Source: a password file in the form of Dovecot's passwd-file, or Dovecot itself, over the
// socket by which Postfix asks it too. Nothing here writes a password or a name into a log.
//
// # Logins
//
// A login is an address. Its owner opens the archive of the mailbox of that name. Where the domain has an archive host, the name of the archive as an
// account of its own (policy.ArchiveAccount) does as well. A name that several mailboxes share opens none of them. Whether a mail program gets in is decided by the settings of the
// mailbox, at each login and again by Permitted: its archive must not be off, imap must be on, and protocols must have imap.
//
// For a program there are app passwords, which a mailbox may have beside its password: random, named, shown once, revoked one by one. They open
// the archive to mail programs, not to pages, whatever the source says.
//
// A login may have a second factor: a secret that an authenticator app turns into a code of six digits, for pages (secondfactor.go, totp.go). Each
// code, and each recovery code, is taken once. Where it is on, or the domain asks for it, mail programs must use an app password.
//
// A program of the provider has a token (token.go), by which it acts in all mailboxes of one domain, over the API: it signs in to none. That it reads a
// mailbox is in the access log of that, so that its owner sees it.
//
// Each login is counted in the metrics and goes on record in the access log of the mailbox (Accesses): within the minute for one that failed, at once
// for one that succeeded. Failures that are alike make one record a minute, so that nobody who guesses fills the disk. Guessing is held up: see
// throttle.go.
//
// # The password file
//
// One user a line, as passwd(5) has it: ADDRESS:{SCHEME}HASH, with more fields behind that are Dovecot's. Empty lines and those that begin with #
// are comments. Of two lines of one address the first counts, as in Dovecot. The schemes are ARGON2ID, BLF-CRYPT (bcrypt), SHA512-CRYPT, and CRYPT
// for the latter two; without a scheme it is CRYPT. A line that cannot be used is nobody's login, and Problems tells why. The file is read again
// when it has another size, time or inode.
//
// # Keys
//
// Everything is in the settings store of the engine under the prefix i, which belongs to this package:
//
//	i h <archive>                    the extent of its access log, a JSON object with "ok" and "failed", each with "first" and "next"
//	i a <archive> 0x00 <kind> <n>    a record of its access log, a JSON object with the fields of Access; kind is s for a login that succeeded and f
//	                                 for others; n is 8 bytes, big-endian, from "first" up to "next" without a hole
//	i c <archive>                    what its login signs in by beside the password, a JSON object; absent where there is nothing. "app_passwords" is a
//	                                 list with the fields of AppPassword and the SHA-256 of the password as it was shown ("shown") and without
//	                                 its hyphens ("bare"). "second_factor" has "secret", "since", "step" (of the newest code that was taken,
//	                                 in units of 30 s since 1970), "recovery" (the SHA-256 of each recovery code that is left) and "waiting" (a
//	                                 new "secret", with the time "until" which a code can put it in force)
//	i d <archive>                    its delegates, a JSON object; absent where it has none. "delegates" is a list with the fields of Delegate and the
//	                                 name of the archive of the person ("archive") and the time at which the archive to be read was turned on
//	                                 ("opened"): one entry for each who may read, and one for each request
//	i s <sha256>                     a session of the pages by the SHA-256 of its secret, a JSON object: "login" and the name of its archive ("archive"),
//	                                 "opened" and "seen", "remote" and "agent" of the browser, "mark" of the password, "by", "factor" and
//	                                 "recovery_codes" as in Identity
//	i t <name>                       a token, a JSON object with the fields of Token and the SHA-256 of its secret ("sha256")
//	i k <sha256>                     a link by which an owner signs in once, by the SHA-256 of its secret, a JSON object: "login" and the name of its
//	                                 archive ("archive"), "role" and "name" of who made it, and "until"
//	i b <sha256>                     the name of the token whose secret has that SHA-256 (32 bytes). Both keys come and go in one Update
//
// Sessions and links that are over, and waiting secrets that nobody confirmed, are removed by ForgetEnded, which the housekeeping calls every hour.
//
// The spaces are for readability. An archive goes by its name (policy.Mailbox.Archive), so what is here goes along when a mailbox is renamed, and
// stays with the archive when its address is handed over to somebody else.
package auth

import (
	"context"
	"crypto/cipher"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"copialettere/journal/kv"
	"copialettere/journal/metrics"
	"copialettere/policy"
	"copialettere/policy/notice"
)

// Errors of Login and Permitted, beside ErrSecondFactor and ErrCode. Only a *Refusal says more than these to the person.
var (
	// ErrDenied means that the name or the password is wrong. Nobody is told which.
	ErrDenied = errors.New("wrong name or password")
	// ErrClosed means that the person is known, but the mailbox is closed to the protocol. The error is a *Refusal.
	ErrClosed = errors.New("closed")
	// ErrThrottled means that too many tries have failed, and nothing was looked at. The error is a *Refusal.
	ErrThrottled = errors.New("too many failures")
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
	ProtocolAPI        Protocol = "api"        // requests with a token
)

// maxSecret is the longest login, and the longest password, in bytes. A request to Dovecot must fit in 8192.
const maxSecret = 1024

// Attempt is one try to sign in.
type Attempt struct {
	Login    string // as typed
	Password string
	// Authorize is the authorization identity of SASL (RFC 4616): the mailbox to open. Empty means that of the login, or MAILBOX of a Login with the
	// form MAILBOX*LOGIN.
	Authorize string
	Remote    netip.Addr // of the client; the zero Addr if it is unknown
	Protocol  Protocol
	// Code is that of the second factor, or a recovery code, for pages. Without one, Login says by ErrSecondFactor that it is wanted.
	Code string

	slow bool   // many have failed where it comes from
	by   string // who signs the person in, in place of the password: see LoginByLink
	to   string // with by: the archive that the login must still lead to
	link string // with by: the key of the link, which lets in once
}

// Identity is somebody who has signed in.
type Identity struct {
	Login   policy.Address // who it is
	Mailbox policy.Address // whose archive is opened
	Actor   policy.Actor   // in which role: for Archive.May, and for what goes on record
	// AppPassword is the name of the app password that was used; empty for the password of the login.
	AppPassword string
	appPassword string // its SHA-256: another may have its name later
	// By is ByMaster if a Master has signed in for somebody, and role and name of who made the link by which somebody has signed in; else empty.
	By string
	// SecondFactor says what was given beside the password; empty for nothing.
	SecondFactor Factor
	// RecoveryCodes is how many are left, where one was used.
	RecoveryCodes int
	// SetUpSecondFactor says that the domain asks for a second factor, and it is not on: pages then let somebody do nothing but turn it on.
	SetUpSecondFactor bool
}

// Factor is what was given beside a password.
type Factor string

// The factors.
const (
	FactorCode     Factor = "code"          // of an authenticator app
	FactorRecovery Factor = "recovery-code" // written down for the day on which the phone is lost
)

// Options are what an Authenticator works with. Policy and Settings are required.
type Options struct {
	Source   Source
	Policy   *policy.Policy
	Settings kv.Store          // the settings store
	Logger   *slog.Logger      // slog.Default where nil
	Metrics  *metrics.Registry // nothing is shown where nil
	Master   *Master           // who may sign in for others; nobody where nil
	Notices  *notice.Pump      // takes what owners are to be told; nobody is told where nil
	Now      func() time.Time  // the clock that codes and delegates go by; time.Now where nil
}

// Authenticator signs people in. Its methods may be called concurrently. A nil Authenticator lets nobody in.
type Authenticator struct {
	options  Options
	source   passwords
	throttle *throttle
	slow     *slowLane
	access   *accessLog
	now      func() time.Time // the clock of Options
	steps    cipher.AEAD      // seals what waits for a code
	spent    spentLinks

	told    sync.Mutex
	changed []func() // who is told of changes; guarded by told
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
	// mark changes when the password of a login does; it is always empty where the source cannot tell.
	mark(login policy.Address) (string, error)
	close() error
}

// New returns an Authenticator over a source, which it does not touch yet, and tells the Policy what tokens may do. Close it.
func New(o Options) *Authenticator {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Metrics == nil {
		o.Metrics = new(metrics.Registry)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	a := &Authenticator{
		options: o, source: open(o.Source, o.Logger), throttle: newThrottle(), slow: newSlowLane(), access: newAccessLog(o.Settings, o.Logger, o.Metrics),
		now: o.Now, steps: newStepSeal(),
	}
	// The question has no context: it is that of a single key, and policy asks it in the middle of a change.
	o.Policy.KnowTokens(func(name string) (policy.Token, error) { return a.Grant(context.Background(), name) })
	return a
}

// open returns a source, which it does not touch yet.
func open(s Source, log *slog.Logger) passwords {
	switch s.Kind {
	case SourceFile:
		return newFile(s.Address, log)
	case SourceDovecot:
		return newDovecot(s, log)
	}
	return nobody{}
}

// Check says in short what a source has, or why it cannot be used. Problems keep only some people out, such as a hash of an unknown scheme.
func Check(ctx context.Context, s Source) (detail string, problems []error, err error) {
	source := open(s, slog.New(slog.DiscardHandler))
	defer source.close()
	detail, err = source.probe(ctx)
	return detail, source.problems(), err
}

// Close writes what is to go on record, ends the connections to the source, and waits for both. Logins under way become ErrUnavailable.
func (a *Authenticator) Close() error {
	if a == nil {
		return nil
	}
	a.access.close()
	return a.source.close()
}

// Login checks a name and a password, a code where a second factor is on, and whether the mailbox is open to the protocol. The error wraps ErrDenied,
// ErrClosed, ErrSecondFactor (with ErrCode for a wrong code), ErrThrottled or ErrUnavailable. How it ended goes on record.
func (a *Authenticator) Login(ctx context.Context, try Attempt) (Identity, error) {
	if a == nil {
		return Identity{}, ErrDenied
	}
	if try.by == "" && a.isMaster(try) {
		return a.byMaster(ctx, try)
	}
	if login, mailbox, ok := parted(try.Login); ok && try.Authorize == "" {
		try.Login, try.Authorize = login, mailbox
	}
	logins, err := a.logins(ctx, try.Login)
	if err == nil {
		try.Authorize, err = a.authorized(ctx, try.Authorize)
	}
	if err != nil {
		a.record(ctx, policy.Address{}, try, Identity{}, err)
		return Identity{}, err
	}
	if len(logins) > 1 {
		return Identity{}, a.refuseShared(ctx, logins, try)
	}
	id, err := a.throttled(ctx, logins[0], try)
	a.record(ctx, logins[0], try, id, err)
	if err != nil {
		return Identity{}, err
	}
	return id, nil
}

// throttled holds up those who guess.
func (a *Authenticator) throttled(ctx context.Context, login policy.Address, try Attempt) (Identity, error) {
	trial, wait, err := a.throttle.begin(ctx, login.String(), try)
	switch {
	case err != nil:
		return Identity{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	case wait > 0:
		return Identity{}, a.tooMany(ctx, login, wait)
	}
	try.slow = trial.slow
	id, err := a.verified(ctx, login, try)
	// Whoever is told that the mailbox is closed knows the password.
	trial.end(err == nil || errors.Is(err, ErrClosed), errors.Is(err, ErrDenied) || errors.Is(err, ErrCode))
	return id, err
}

// verified signs somebody in by the password. With an error that wraps ErrClosed it returns who it is.
func (a *Authenticator) verified(ctx context.Context, login policy.Address, try Attempt) (Identity, error) {
	if try.by != "" {
		return a.verifiedByLink(ctx, login, try)
	}
	// Some directories take an empty password for a login without a name (RFC 4513 section 5.1.2).
	if try.Password == "" || len(try.Password) > maxSecret || strings.ContainsRune(try.Password, 0) {
		return Identity{}, ErrDenied
	}
	app, byApp, err := a.byAppPassword(ctx, login, try)
	if err == nil && !byApp {
		login, err = a.verify(ctx, try, login)
	}
	if err != nil {
		return Identity{}, err
	}
	id, err := a.identity(ctx, login, try)
	if err != nil {
		return Identity{}, err
	}
	if byApp {
		id.AppPassword, id.appPassword = app.Name, string(app.Bare)
	}
	if err := a.Permitted(ctx, id, try.Protocol); err != nil || try.Protocol != ProtocolWeb {
		return id, err
	}
	return id, a.secondFactor(ctx, try, &id)
}

// verifiedByLink is verified for somebody whom another signs in: only the second factor is asked for.
func (a *Authenticator) verifiedByLink(ctx context.Context, login policy.Address, try Attempt) (Identity, error) {
	ok, err := a.stillBy(ctx, try.by, login)
	if err != nil {
		return Identity{}, err
	}
	m, err := a.options.Policy.Mailbox(ctx, login)
	switch {
	case err != nil:
		return Identity{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	case !ok || m.Archive != try.to || try.Protocol != ProtocolWeb || try.Authorize != "":
		return Identity{}, ErrDenied
	}
	id, err := a.identity(ctx, login, try)
	if err != nil {
		return Identity{}, err
	}
	id.By = try.by
	if err := a.secondFactor(ctx, try, &id); err != nil {
		return id, err
	}
	if !a.spent.add(try.link, a.now()) {
		return Identity{}, ErrDenied
	}
	return id, nil
}

// tooMany returns the refusal of a try that came too soon.
func (a *Authenticator) tooMany(ctx context.Context, login policy.Address, wait time.Duration) error {
	language := policy.Italian
	if login.Domain != "" {
		if s, err := a.options.Policy.Settings(ctx, login); err == nil {
			language = s.Language
		}
	}
	return &Refusal{ErrThrottled, tooManyFailures(wait), language}
}

// record counts a login, and puts it into the access log. A failure goes into that of the mailbox, if it has an archive: whoever makes up names must
// not fill the disk.
func (a *Authenticator) record(ctx context.Context, login policy.Address, try Attempt, id Identity, err error) {
	result := resultOf(err)
	a.count(result, try.Protocol).Inc()
	mailbox := login
	if id.Mailbox != (policy.Address{}) {
		mailbox = id.Mailbox
	}
	if result == ResultUnavailable || mailbox.Domain == "" {
		return
	}
	m, err := a.options.Policy.Mailbox(ctx, mailbox)
	if err != nil || result != ResultOK && m.Settings.State() == policy.StateOff {
		return
	}
	one := Access{Time: time.Now(), Login: login.String(), Role: id.Actor.Role, Protocol: try.Protocol, Result: result, AppPassword: id.AppPassword, SecondFactor: id.SecondFactor, By: id.By}
	if id.Login != (policy.Address{}) {
		one.Login = id.Login.String()
	}
	if try.Remote.IsValid() {
		one.Address = try.Remote.Unmap().WithZone("").String()
	}
	a.access.add(m.Archive, one)
}

// count returns the number of logins that have ended in one way.
func (a *Authenticator) count(result Result, protocol Protocol) *metrics.Counter {
	return a.options.Metrics.Counter("copialettere_logins_total", "Logins to archives, by how they ended.",
		"result", string(result), "protocol", string(protocol))
}

func resultOf(err error) Result {
	switch {
	case err == nil:
		return ResultOK
	case errors.Is(err, ErrSecondFactor):
		return ResultSecondFactor
	case errors.Is(err, ErrDenied):
		return ResultDenied
	case errors.Is(err, ErrClosed):
		return ResultClosed
	case errors.Is(err, ErrThrottled):
		return ResultThrottled
	}
	return ResultUnavailable
}

// Accesses yields the access log of a mailbox, oldest first.
func (a *Authenticator) Accesses(ctx context.Context, mailbox policy.Address) iter.Seq2[Access, error] {
	return func(yield func(Access, error) bool) {
		if a == nil {
			return
		}
		m, err := a.options.Policy.Mailbox(ctx, mailbox)
		if err != nil {
			yield(Access{}, err)
			return
		}
		a.access.write(ctx, true)
		// What a token reads is written late, under the time of the first of it.
		var list []Access
		for _, part := range []iter.Seq2[Access, error]{
			a.access.read(ctx, m.Archive, kindOK), a.access.read(ctx, m.Archive, kindFailed), a.access.waiting(m.Archive),
		} {
			for one, err := range part {
				if err != nil {
					yield(Access{}, err)
					return
				}
				list = append(list, one)
			}
		}
		slices.SortStableFunc(list, func(a, b Access) int { return a.Time.Compare(b.Time) })
		for _, one := range list {
			if !yield(one, nil) {
				return
			}
		}
	}
}

// ForgetAccesses removes the records of all access logs from before a time, and returns how many they were.
func (a *Authenticator) ForgetAccesses(ctx context.Context, before time.Time) (removed int, err error) {
	if a == nil {
		return 0, nil
	}
	return a.access.forgetAll(ctx, before)
}

// OpenTo returns nil if a mailbox with these settings is open to a protocol: to pages, where its archive is not off; otherwise see Open.
func OpenTo(s policy.Settings, protocol Protocol) error {
	if protocol == ProtocolWeb && s.State() != policy.StateOff {
		return nil
	}
	return Open(s)
}

// Open returns nil if a mailbox with these settings is open to mail programs. Otherwise the error wraps ErrClosed and is a *Refusal.
func Open(s policy.Settings) error {
	switch {
	case s.State() == policy.StateOff && s.Erasure.State == policy.ErasureDue:
		return &Refusal{ErrClosed, archiveClosing, s.Language}
	case s.State() == policy.StateOff:
		return &Refusal{ErrClosed, noArchive, s.Language}
	case !s.IMAP:
		return &Refusal{ErrClosed, imapAccessOff, s.Language}
	case s.Protocols&policy.ProtocolIMAP == 0:
		return &Refusal{ErrClosed, imapProtocolOff, s.Language}
	}
	return nil
}
