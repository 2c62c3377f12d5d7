// Package policy decides who is archived and what. It keeps the settings of each mailbox with the log of their changes, and says who may
// change them. For every recipient line it says whether the message is direct mail to an enabled mailbox whose filter wants it, and if
// not, why not.
//
// Mail is direct when the recipient as originally given is the mailbox. Nothing that a sender can write excludes a message. Verdicts rest
// on what the MTA says in the envelope (where it is configured to pass on only its own words) and on the trusted region of the header:
// the fields above the first Received that names a client. A message whose original recipient is unknown counts as direct, and its
// verdict is flagged. To change what counts as an alias, a forward, a list or a copy, see direct.go; for the evidence, see header.go.
//
// Every decision reads the settings from the store, so a change is in force from the next message, whichever process made it.
//
// # The life of an archive
//
//	off --Enable--> on --Disable--> closing --Erasing--> being erased --Erased--> off
//	                 ^                 |
//	                 +-----Restore-----+
//
//	on --Pause--> paused --Resume--> on
//
// A paused archive takes no mail, and all that it holds stays. A closing archive takes no mail either and waits for its grace to end; Disable
// closes a paused archive too, and Restore gives the pause back. A legal hold (Hold) refuses Pause, Disable and Erasing. Pauses tells for which
// times the archive is empty as a result.
//
// # Address and archive
//
// An archive has a name, under which the journal and the notices keep what belongs to it, and here its settings and its log. The name is the
// address under which the mailbox was set up, or, if that is the name of another archive already, the address with "/2", "/3" and so on behind it.
// It never changes. What changes is the address that leads to the archive:
//
//	Rename      another address leads to it, and the old one to none
//	HandOver    the address leads to a new archive, and the old one is reached by ADDRESS~DAY, which is no address of mail
//
// Every question and act names an address. Only what goes by the journal (Erasing, MailboxOf, and what the journal asks itself) names an archive.
//
// # Keys
//
// Everything is in the settings store of the engine, under four prefixes that belong to this package:
//
//	m <archive>              settings of the mailbox, a JSON object
//	l <archive> 0x00 <n>     change number n of the mailbox, a JSON object; n is 8 bytes, big-endian, from 1; 0 for the start of the log
//	n <address>              where an address leads, a JSON object; absent where it leads to the archive of the same name, or to none
//	r <address>              what acceptance receipts say about a recipient, a JSON object
//	d <domain>               tally of the archives of a domain, a JSON object; absent for none. "d" alone says that all domains were counted
//
// The spaces are for readability. An address is written as by Address.String. Neither it nor the name of an archive contains a zero byte.
//
// The settings object has "version" (1), "enabled", "since" (RFC 3339, UTC; absent where there is no archive), "paused" (RFC 3339, UTC; since when
// the archive is paused, absent where it is not), "changes" (the number of the newest change), "hold" (an object with "reason", "who" and
// "since"; absent without a hold), "erasure" (absent, "due " and a time, "running" or "done"), "address" (the address that leads to the archive;
// absent where that is its name), "notify_pending" (an address, " until " and a time; absent where none waits), "retention_delay" (months or "all",
// " until " and a time; absent where there was none), and each key of Keys with the text that Set takes. An absent setting has the default of the program. Fields unknown
// to this version are kept when the object is rewritten. An object of a newer version is refused.
//
// A change object has "time", "role", "who", "cause", "key", "before" and "after". It is written in the same Update as the change itself,
// and never rewritten, until it is so old that it is removed or loses its author (ExpireLogs). Numbers have no hole but for those removed, and
// none is used again. Where any was, the start of the log is an object with "before", "removed", "values" (see LogStart), "through" (the number
// of the newest change that was removed or lost its author) and "time" (of that change). Replaying the log of a mailbox over the values of its start, and those over the defaults of the program, gives its settings. The key
// "address" tells of a change of the address.
//
// The object of an address has "archive" (the name of the archive that it leads to; absent for none) and "former" (the name of the archive that left
// it last; absent for none). The address is then in the settings of that archive. Both change in one Update.
//
// A tally object has "archives" (how many the domain has, closed ones included until they are erased), "no_quota" (how many of them have
// quota=none) and "quota" (the sum of the other quotas, in bytes). It changes in the Update of the mailbox that it counts. A store of an
// earlier version has none: the first change that needs one counts all domains.
//
// A recipient object has "certified" and "time", the time of the newest receipt, accurate to a day. Each address has one object, however
// many receipts came.
package policy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"copialettere/journal/kv"
)

// Errors that callers act on. They are wrapped with what was being done.
var (
	// ErrAddress means that a text is not a mailbox address.
	ErrAddress = errors.New("not a mailbox address")
	// ErrUnknownDomain means that an address lies in no configured domain.
	ErrUnknownDomain = errors.New("domain not configured")
	// ErrSetting means that there is no setting with such a key, or it cannot have such a value. A *SettingError says which.
	ErrSetting = errors.New("bad setting")
	// ErrForbidden means that the actor may not change that setting of that mailbox.
	ErrForbidden = errors.New("not allowed")
	// ErrConfirmation means that the typed confirmation is not the address.
	ErrConfirmation = errors.New("not confirmed: type the address of the mailbox in full, in lower case")
	// ErrHeld means that a legal hold forbids the act.
	ErrHeld = errors.New("under a legal hold")
	// ErrNotOn means that an archive is to be paused or resumed, and it is off.
	ErrNotOn = errors.New("the archive is off")
	// ErrErasing means that the archive is being erased, and that cannot be stopped.
	ErrErasing = errors.New("the archive is being erased")
	// ErrNotClosing means that the archive is not to be erased now.
	ErrNotClosing = errors.New("the archive is not closing")
	// errNoAuthor means that a change names nobody who answers for it.
	errNoAuthor = errors.New("change of settings without an author")
	// ErrVersion means that a newer version of this program wrote the stored settings.
	ErrVersion = errors.New("settings of a newer version")
)

// OriginSource says where to read the original recipient of a line.
type OriginSource string

// The sources of the original recipient.
const (
	// OriginORCPT takes the ORCPT parameter, and NOTIFY=NEVER as the mark of a bcc-map copy (RFC 3461). The MTA must discard the DSN
	// parameters of its clients, so that both are its own.
	OriginORCPT OriginSource = "orcpt"
	// OriginXOriginalTo takes the X-Original-To field that the MTA's LMTP client prepends as the very first field (flags=O), with one
	// recipient in each transaction. It ignores ORCPT and NOTIFY.
	OriginXOriginalTo OriginSource = "x-original-to"
	// OriginNone excludes nothing: every message to an enabled mailbox is journaled and flagged.
	OriginNone OriginSource = "none"
)

// DefaultRecipientDelimiter is the delimiter of a domain that is not configured.
const DefaultRecipientDelimiter = "+"

// Config is what the operator decides for the whole program.
type Config struct {
	Domains []Domain
	// Origin says where to read the original recipient; empty means OriginORCPT.
	Origin OriginSource
	// RedirectHeader is the field, as "Name: value", that Sieve's reinjection port prepends to the messages it takes in. It counts only in
	// the trusted region. Empty means that there is no such field.
	RedirectHeader string
	// RedirectFrom holds the addresses that Sieve redirects come from. A message from one of them is a redirect if an
	// X-Sieve-Redirected-From field stands between the Received field of that hop and the next one.
	RedirectFrom []netip.Prefix
	// LoginDomain completes a login without a domain. If it is empty, such a login belongs to no mailbox.
	LoginDomain string
	// Rights says what the owners of mailboxes may change, where their domain does not.
	Rights Rights
	// Grace is how long a shorter retention waits if the owner is told of it; zero means DefaultGrace.
	Grace time.Duration
	// Operators are the addresses of those who are operators when they sign in, as to the pages.
	Operators []string
	// ArchiveHost is the host in the names of archives as accounts of their own (ArchiveAccount), where their domain has none itself. Empty means
	// that there are no such names.
	ArchiveHost string
}

// Domain is a mail domain with archives.
type Domain struct {
	Name string
	// RecipientDelimiter is a set of characters. Each divides a local part from its extension, as in Postfix's recipient_delimiter. Empty
	// means that there are no extensions.
	RecipientDelimiter string
	// Postmasters are the addresses of those who may change the settings of mailboxes in the domain.
	Postmasters []string
	// Defaults are the settings that a mailbox of the domain starts with. They may have any key that Set takes except "notify", because an
	// address belongs to one person.
	Defaults []Assignment
	// Limits bound what the archives of the domain may take.
	Limits Limits
	// Rights says what the owners of mailboxes of the domain may change; without a list, Config.Rights does.
	Rights Rights
	// RequireSecondFactor says that whoever signs in by an address of the domain needs a second factor.
	RequireSecondFactor bool
	// NoticesFrom is the sender address of the notices to the owners of the domain; empty for that of all.
	NoticesFrom string
	// ArchiveHost is the archive host of the domain; empty means that of Config.
	ArchiveHost string
}

// Validate returns all errors of the configuration, joined, or nil.
func (c Config) Validate() error {
	var errs []error
	switch c.Origin {
	case "", OriginORCPT, OriginXOriginalTo, OriginNone:
	default:
		errs = append(errs, fmt.Errorf("origin %q: want %q, %q or %q", c.Origin, OriginORCPT, OriginXOriginalTo, OriginNone))
	}
	if c.RedirectHeader != "" {
		if _, _, ok := splitField(c.RedirectHeader); !ok {
			errs = append(errs, fmt.Errorf("redirect header %q: want \"Name: value\"", c.RedirectHeader))
		}
	}
	for _, prefix := range c.RedirectFrom {
		if !prefix.IsValid() {
			errs = append(errs, errors.New("redirect from: invalid address prefix"))
		}
	}
	if c.LoginDomain != "" {
		if _, err := CanonicalDomain(c.LoginDomain); err != nil {
			errs = append(errs, fmt.Errorf("login domain: %w", err))
		}
	}
	for _, operator := range c.Operators {
		if a, err := ParseAddress(operator); err != nil || a.Domain == "" {
			errs = append(errs, fmt.Errorf("operator %q: %w: want an address with its domain", operator, ErrAddress))
		}
	}
	seen := make(map[string]bool)
	for _, d := range c.Domains {
		name, err := CanonicalDomain(d.Name)
		switch {
		case err != nil:
			errs = append(errs, err)
		case seen[name]:
			errs = append(errs, fmt.Errorf("domain %q is given twice", d.Name))
		}
		seen[name] = true
		if i := strings.IndexFunc(d.RecipientDelimiter, notDelimiter); i >= 0 {
			errs = append(errs, fmt.Errorf("domain %q: recipient delimiter %q: want ASCII punctuation such as + or -, and not @, \\ or \"",
				d.Name, d.RecipientDelimiter))
		}
		for _, postmaster := range d.Postmasters {
			if a, err := ParseAddress(postmaster); err != nil {
				errs = append(errs, fmt.Errorf("domain %q: postmaster: %w", d.Name, err))
			} else if a.Domain == "" {
				errs = append(errs, fmt.Errorf("domain %q: postmaster %q: want an address with its domain", d.Name, postmaster))
			}
		}
		errs = append(errs, d.validateDefaults()...)
		for _, err := range d.Rights.validate() {
			errs = append(errs, fmt.Errorf("domain %q: %w", d.Name, err))
		}
	}
	errs = append(errs, c.validateHosts()...)
	return errors.Join(append(errs, c.Rights.validate()...)...)
}

// validateDefaults returns all errors in the defaults and the limits of a domain.
func (d Domain) validateDefaults() []error {
	var errs []error
	var scratch Settings
	if err := scratch.assign(d.Defaults); err != nil {
		for _, one := range err.(interface{ Unwrap() []error }).Unwrap() {
			errs = append(errs, fmt.Errorf("domain %q: default: %w", d.Name, one))
		}
	}
	for _, assignment := range d.Defaults {
		if assignment.Key == KeyNotify {
			errs = append(errs, fmt.Errorf("domain %q: default: %w", d.Name,
				&SettingError{KeyNotify, assignment.Value, "an address belongs to one mailbox: set it there"}))
		}
	}
	defaults := programDefaults()
	if defaults.assign(d.Defaults) == nil {
		for _, err := range d.Limits.validate(defaults) {
			errs = append(errs, fmt.Errorf("domain %q: %w", d.Name, err))
		}
	}
	return errs
}

func notDelimiter(r rune) bool {
	letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
	return r <= ' ' || r > '~' || letter || r == '@' || r == '"' || r == '\\'
}

// Policy answers what is to be archived. Its methods may be called concurrently, and by several processes on one store.
type Policy struct {
	store   kv.Store
	current atomic.Pointer[rules]
	changed atomic.Pointer[func()] // nil where nobody is told
	revised atomic.Pointer[func(kv.Tx, Revision) error]
	tokens  atomic.Pointer[func(name string) (Token, error)] // nil where there are none
	decoded decodedRecords
}

// rules is a Config in the form that decisions need. It is immutable, so a decision that takes it once is consistent.
type rules struct {
	origin        OriginSource
	redirectName  string
	redirectValue string
	redirectFrom  []netip.Prefix
	loginDomain   string
	grace         time.Duration
	allOwnerKeys  []string // of the domains without rights of their own
	// By canonical name of the configured domains.
	delimiters     map[string]string
	postmasters    map[string][]Address
	domainDefaults map[string]Settings
	limits         map[string]Limits
	// domainOwnerKeys has the domains with rights of their own.
	domainOwnerKeys map[string][]string
	// secondFactor has the domains that ask for a second factor.
	secondFactor map[string]bool
	noticesFrom  map[string]string // by domain, without those that have none of their own
	operators    []Address
	// allHost is the archive host of the domains that are not in domainHosts. archiveHosts has all of both.
	allHost      string
	domainHosts  map[string]string
	archiveHosts map[string]bool
}

// Open returns the policy over a settings store. The caller keeps the store and closes it.
func Open(ctx context.Context, store kv.Store, c Config) (*Policy, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p := &Policy{store: store}
	if err := p.Reconfigure(c); err != nil {
		return nil, err
	}
	return p, nil
}

// Reconfigure puts another configuration in force from the next decision. After an error the old one stays in force.
func (p *Policy) Reconfigure(c Config) error {
	r, err := newRules(c)
	if err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	p.current.Store(r)
	return nil
}

// HasDomain reports whether the configuration in force has a domain, given by its canonical name.
func (p *Policy) HasDomain(domain string) bool {
	_, ok := p.rules().delimiters[domain]
	return ok
}

func (p *Policy) rules() *rules { return p.current.Load() }

func newRules(c Config) (*rules, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	p := &rules{
		origin: c.Origin, grace: cmp.Or(c.Grace, DefaultGrace), redirectFrom: c.RedirectFrom, allOwnerKeys: slices.Clone(c.Rights.Owner), domainOwnerKeys: make(map[string][]string),
		delimiters: make(map[string]string), postmasters: make(map[string][]Address), domainDefaults: make(map[string]Settings),
		limits: make(map[string]Limits), secondFactor: make(map[string]bool), noticesFrom: make(map[string]string),
	}
	for _, operator := range c.Operators {
		a, _ := ParseAddress(operator)
		p.operators = append(p.operators, a)
	}
	if p.origin == "" {
		p.origin = OriginORCPT
	}
	if c.Rights.Owner == nil {
		p.allOwnerKeys = DefaultRights().Owner
	}
	if c.RedirectHeader != "" {
		p.redirectName, p.redirectValue, _ = splitField(c.RedirectHeader)
	}
	if c.LoginDomain != "" {
		p.loginDomain, _ = CanonicalDomain(c.LoginDomain)
	}
	for _, d := range c.Domains {
		name, _ := CanonicalDomain(d.Name)
		p.delimiters[name] = d.RecipientDelimiter
		for _, postmaster := range d.Postmasters {
			a, _ := ParseAddress(postmaster)
			p.postmasters[name] = append(p.postmasters[name], a)
		}
		defaults := programDefaults()
		if err := defaults.assign(d.Defaults); err != nil {
			return nil, fmt.Errorf("domain %q: %w", d.Name, err)
		}
		p.domainDefaults[name] = defaults
		p.limits[name] = d.Limits
		if d.NoticesFrom != "" {
			p.noticesFrom[name] = d.NoticesFrom
		}
		if d.RequireSecondFactor {
			p.secondFactor[name] = true
		}
		if d.Rights.Owner != nil {
			p.domainOwnerKeys[name] = slices.Clone(d.Rights.Owner)
		}
	}
	p.takeHosts(c)
	return p, nil
}

// delimiter returns the recipient delimiters of a canonical domain.
func (p *rules) delimiter(domain string) string {
	if d, ok := p.delimiters[domain]; ok {
		return d
	}
	return DefaultRecipientDelimiter
}
