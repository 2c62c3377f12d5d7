// Package policy decides who is archived and what: it keeps the settings of each mailbox with the log of their changes, says who
// may change them, and says for every recipient line whether the message is direct mail to an enabled mailbox whose filter wants
// it, and if not, why not.
//
// The rule of direct mail is that the recipient as originally given is the mailbox. What a sender can write never excludes a
// message: verdicts rest on what the MTA says in the envelope (where it is configured to say only its own words) and on the
// trusted region of the header, which is above the first Received field that names a client. An original recipient that cannot
// be known counts as direct, and the verdict is flagged. What counts as an alias, a forward, a list or a copy instead stands in direct.go,
// and the evidence for it in header.go.
//
// Settings are read from the store for every decision, so that a change is in force from the next message, whichever process
// made it.
//
// # The life of an archive
//
//	off --Enable--> on --Disable--> closing --Erasing--> being erased --Erased--> off
//	                 ^                 |
//	                 +-----Restore-----+
//
// A closing archive takes no mail and waits for its grace to be over. A legal hold (Hold) refuses Disable, and Erasing. What the archive
// lacks from all this is told by Pauses.
//
// # Keys
//
// All lies in the settings store of the engine, under three prefixes that belong to this package:
//
//	m <mailbox>              settings of the mailbox, a JSON object
//	l <mailbox> 0x00 <n>     change number n of the mailbox, a JSON object; n is 8 bytes, big-endian, from 1 without a hole
//	r <address>              what acceptance receipts have taught of a recipient, a JSON object
//
// The spaces are for the eye: a key is the letter, the canonical address (Address.String, which holds no zero byte), and so on.
//
// The settings object has "version" (1), "enabled", "since" (RFC 3339, UTC; absent where there is no archive), "changes" (the number of the
// newest change), "hold" (an object with "reason", "who" and "since"; absent where none stands), "erasure" (absent, "due " and a time,
// "running" or "done"), and each key of Keys with the text that Set takes. A setting that is absent has the default of the
// program. Fields that this version does not know are kept when the object is written again; an object of a newer version is refused.
//
// A change object has "time", "role", "who", "cause", "key", "before" and "after". It is written in the same Update as the change that
// it tells of, and never again. The log of a mailbox, replayed over the defaults of the program, gives its settings.
//
// A recipient object has "certified" and "time", that of the newest receipt, to a day. There is one for each address, whatever the
// number of receipts.
package policy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync/atomic"

	"copialettere/journal/kv"
)

// Errors that a caller decides on. They are wrapped with what was being done.
var (
	// ErrAddress says that a text is not a mailbox address.
	ErrAddress = errors.New("not a mailbox address")
	// ErrUnknownDomain says that an address lies in no configured domain.
	ErrUnknownDomain = errors.New("domain not configured")
	// ErrSetting says that a setting has no such key, or cannot have such a value. A *SettingError tells which.
	ErrSetting = errors.New("bad setting")
	// ErrForbidden says that the actor may not change that setting of that mailbox.
	ErrForbidden = errors.New("not allowed")
	// ErrConfirmation says that the address was not typed in as it is.
	ErrConfirmation = errors.New("not confirmed: type the address of the mailbox in full, in lower case")
	// ErrHeld says that a legal hold stands against it.
	ErrHeld = errors.New("under a legal hold")
	// ErrErasing says that the archive is being erased, which cannot be stopped.
	ErrErasing = errors.New("the archive is being erased")
	// ErrNotClosing says that the archive is not to be erased now.
	ErrNotClosing = errors.New("the archive is not closing")
	// errNoAuthor says that nobody is named who would answer for a change.
	errNoAuthor = errors.New("change of settings without an author")
	// ErrVersion says that stored settings were written by a newer version of this program.
	ErrVersion = errors.New("settings of a newer version")
)

// OriginSource says where the original recipient of a line is read from.
type OriginSource string

// The sources of the original recipient.
const (
	// OriginORCPT takes the ORCPT parameter, and NOTIFY=NEVER as the mark of a bcc-map copy (RFC 3461). It needs an MTA that
	// discards the DSN parameters of its clients, so that both are its own.
	OriginORCPT OriginSource = "orcpt"
	// OriginXOriginalTo takes the X-Original-To field that the MTA's LMTP client prepends as the very first one (flags=O), one
	// recipient in a transaction. ORCPT and NOTIFY are ignored.
	OriginXOriginalTo OriginSource = "x-original-to"
	// OriginNone excludes nothing: every message to an enabled mailbox is journaled, and flagged.
	OriginNone OriginSource = "none"
)

// DefaultRecipientDelimiter is the delimiter of a domain that is not configured.
const DefaultRecipientDelimiter = "+"

// Config is what the operator decides for the whole program.
type Config struct {
	Domains []Domain
	// Origin is where the original recipient is read from; empty means OriginORCPT.
	Origin OriginSource
	// RedirectHeader is the field, as "Name: value", that the reinjection port of Sieve prepends to what it takes in. It counts in
	// the trusted region only. Empty means that no such field is known.
	RedirectHeader string
	// RedirectFrom holds the addresses from which Sieve redirects come in. A message from one of them is a redirect if an
	// X-Sieve-Redirected-From field stands between the Received field of that hop and the next one.
	RedirectFrom []netip.Prefix
	// LoginDomain completes a login without a domain. Empty means that such a login belongs to no mailbox.
	LoginDomain string
	// Rights is which settings an owner may change.
	Rights Rights
}

// Domain is a mail domain with archives.
type Domain struct {
	Name string
	// RecipientDelimiter holds the characters each of which divides a local part from its extension, as Postfix's
	// recipient_delimiter does; empty means that there are no extensions.
	RecipientDelimiter string
	// Postmasters are the addresses of those who may change the settings of the domain's mailboxes.
	Postmasters []string
	// Defaults are the settings that a mailbox of the domain gets when it is set up. Each key that Set takes may be there, save
	// "notify": an address is that of one person.
	Defaults []Assignment
}

// Validate returns all that is wrong with the configuration, joined, or nil.
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
	}
	return errors.Join(append(errs, c.Rights.validate()...)...)
}

// validateDefaults returns all that is wrong with the defaults of a domain.
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
				&SettingError{KeyNotify, assignment.Value, "an address is that of one mailbox: set it there"}))
		}
	}
	return errs
}

func notDelimiter(r rune) bool {
	letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
	return r <= ' ' || r > '~' || letter || r == '@' || r == '"' || r == '\\'
}

// Policy answers what is to be archived. Its methods may be called concurrently, also by several processes on one store.
type Policy struct {
	store   kv.Store
	now     atomic.Pointer[rules]
	decoded decodedRecords
}

// rules are a Config as decisions need it. They do not change: a decision that is made with one state of them is of one piece.
type rules struct {
	origin        OriginSource
	redirectName  string
	redirectValue string
	redirectFrom  []netip.Prefix
	loginDomain   string
	ownerKeys     []string
	// By canonical domain, for those that are configured.
	delimiters     map[string]string
	postmasters    map[string][]Address
	domainDefaults map[string]Settings
}

// Open returns the policy over a store of settings. The store stays the caller's to close.
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

// Reconfigure puts another configuration in force, from the next decision on. After an error the one before stays.
func (p *Policy) Reconfigure(c Config) error {
	r, err := newRules(c)
	if err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	p.now.Store(r)
	return nil
}

func (p *Policy) rules() *rules { return p.now.Load() }

func newRules(c Config) (*rules, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	p := &rules{
		origin: c.Origin, redirectFrom: c.RedirectFrom, ownerKeys: c.Rights.ownerKeys(),
		delimiters: make(map[string]string), postmasters: make(map[string][]Address), domainDefaults: make(map[string]Settings),
	}
	if p.origin == "" {
		p.origin = OriginORCPT
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
	}
	return p, nil
}

// delimiter returns the delimiters of a canonical domain.
func (p *rules) delimiter(domain string) string {
	if d, ok := p.delimiters[domain]; ok {
		return d
	}
	return DefaultRecipientDelimiter
}
