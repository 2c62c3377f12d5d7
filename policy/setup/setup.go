// Package setup tells mail programs and telephones how to set themselves up for an account: for the archive of a mailbox, and for the live mailbox
// itself. It writes what each of them understands:
//
//	autoconfig     Thunderbird, K-9 and others: the XML of config-v1.1.xml
//	autodiscover   Outlook: the XML of [MS-OXDSCLI], and the JSON that says where it is
//	SRV records    of RFC 6186 and RFC 8314, as lines of a zone file (RFC 1035 section 5)
//	mobileconfig   Apple: a configuration profile, signed (CMS, RFC 5652) where there is a certificate
//	QR code        of a link to such a profile, which works once (Links)
//	Parameters     for people, and for the provider's panel
//
// What anybody may ask (Discovery) depends on the domain alone, so no answer tells whether a mailbox exists. No output holds a password.
//
// # Keys
//
// Links that wait are in the settings store of the engine, under a prefix that belongs to this package:
//
//	p <SHA-256 of the token>     a JSON object with "archive" (the name of the archive), "account", "incoming" and "until" (RFC 3339, UTC)
//
// The space is for readability. The token itself is stored nowhere. Update and sweep of these keys share one lock.
package setup

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"copialettere/policy"
)

// Errors that callers act on. They are wrapped with what was being done.
var (
	// ErrNotOffered means that the configuration names no server for what was asked.
	ErrNotOffered = errors.New("not offered")
	// ErrChoice means that there is no such account or protocol.
	ErrChoice = errors.New("no such choice")
)

// Account says which of the two accounts of a mailbox is meant. Others script against the values.
type Account string

// The accounts.
const (
	AccountArchive Account = "archive"
	AccountMailbox Account = "mailbox" // the live one
)

// Protocol is a protocol of mail programs. Others script against the values, which are those of the setting protocols.
type Protocol string

// The protocols.
const (
	IMAP Protocol = "imap"
	POP3 Protocol = "pop3"
	SMTP Protocol = "smtp"
)

// Security is how a connection is protected. Others script against the values.
type Security string

// The ways to protect a connection.
const (
	TLS      Security = "tls"      // from the first byte
	STARTTLS Security = "starttls" // after a command
)

// Endpoint is where a server is reached; the zero value for none.
type Endpoint struct {
	Host     string // in ASCII
	Port     uint16
	Security Security
}

// NewEndpoint returns where a server is reached. The ports 110, 143, 25 and 587 mean STARTTLS, and all others TLS from the first byte (RFC 8314
// section 3).
func NewEndpoint(host string, port uint16) Endpoint {
	e := Endpoint{strings.ToLower(host), port, TLS}
	switch port {
	case 25, 110, 143, 587:
		e.Security = STARTTLS
	}
	return e
}

// ParseEndpoint reads "HOST:PORT", as NewEndpoint takes it.
func ParseEndpoint(s string) (Endpoint, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return Endpoint{}, fmt.Errorf("%.100q: want HOST:PORT", s)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return Endpoint{}, fmt.Errorf("%.100q: want a port from 1 to 65535", s)
	}
	return NewEndpoint(host, uint16(n)), nil
}

// Servers are those of an account.
type Servers struct{ IMAP, POP3, SMTP Endpoint }

// incoming returns the servers from which mail is read, the better one first.
func (s Servers) incoming() []Server {
	var list []Server
	if s.IMAP != (Endpoint{}) {
		list = append(list, Server{IMAP, s.IMAP.Host, s.IMAP.Port, s.IMAP.Security, ""})
	}
	if s.POP3 != (Endpoint{}) {
		list = append(list, Server{POP3, s.POP3.Host, s.POP3.Port, s.POP3.Security, ""})
	}
	return list
}

// outgoing returns the server that takes mail; nil where there is none.
func (s Servers) outgoing() *Server {
	if s.SMTP == (Endpoint{}) {
		return nil
	}
	return &Server{SMTP, s.SMTP.Host, s.SMTP.Port, s.SMTP.Security, ""}
}

// Domain is what programs are told of a mail domain.
type Domain struct {
	Mailbox Servers // of the live mailboxes
	Archive Servers // of their archives
	// ArchiveHost is the host in the names of archives as accounts of their own, in canonical form: see policy.Policy.ArchiveAccount. "" for none.
	ArchiveHost string
}

// Config is what a Guide knows.
type Config struct {
	// PublicURL is where the listener for browsers is reached, without a slash at its end; "" where it is not told.
	PublicURL string
	Domains   map[string]Domain // by canonical name
	Signer    Signer            // of profiles; the zero value for none
}

// Guide answers how to set up. It is immutable.
type Guide struct {
	config Config
	hosts  map[string]Servers // of the archives by archive host
}

// NewGuide returns the Guide of a configuration.
func NewGuide(c Config) *Guide {
	g := &Guide{config: c, hosts: make(map[string]Servers)}
	for _, d := range c.Domains {
		if d.ArchiveHost != "" {
			g.hosts[d.ArchiveHost] = d.Archive
		}
	}
	return g
}

// PublicURL returns where the listener for browsers is reached; "" where that is not told.
func (g *Guide) PublicURL() string { return g.config.PublicURL }

// Server is a server with which an account is set up. Others script against its names.
type Server struct {
	Protocol Protocol `json:"protocol"`
	Host     string   `json:"host"`
	Port     uint16   `json:"port"`
	Security Security `json:"security"`
	User     string   `json:"user"` // the name with which to sign in
}

// Parameters are what a person, or the provider's panel, types into a mail program. Others script against its names.
type Parameters struct {
	Mailbox  string  `json:"mailbox"`
	Account  Account `json:"account"`
	Incoming Server  `json:"incoming"`
	Outgoing *Server `json:"outgoing,omitempty"`
	// AppPassword says that the program needs an app password: the second factor of the mailbox is on.
	AppPassword bool `json:"app_password,omitempty"`
	// Closed says why the account cannot be opened with these parameters as long as the settings of the mailbox stay as they are; nil if it can.
	Closed *policy.Label `json:"closed,omitempty"`
}

// Choice is the account for which to set up, and the protocol by which it is read: empty for the better one that is there.
type Choice struct {
	Account  Account
	Incoming Protocol
}

// Parameters returns those of the account of a mailbox. archiveName is the name by which its archive signs in. The error wraps ErrNotOffered or
// ErrChoice.
func (g *Guide) Parameters(mailbox policy.Address, archiveName string, c Choice) (Parameters, error) {
	fail := func(err error, why string) (Parameters, error) {
		return Parameters{}, fmt.Errorf("set up %s of %s: %w: %s", c.Account, mailbox, err, why)
	}
	d := g.config.Domains[mailbox.Domain]
	p := Parameters{Mailbox: mailbox.String(), Account: c.Account}
	servers, name := d.Mailbox, p.Mailbox
	missing := "the configuration has no [mailbox_servers]"
	switch c.Account {
	case AccountArchive:
		servers, name, missing = d.Archive, archiveName, "the configuration has no [imap]"
	case AccountMailbox:
	default:
		return fail(ErrChoice, fmt.Sprintf("account %.20q: want %s or %s", c.Account, AccountArchive, AccountMailbox))
	}
	incoming := servers.incoming()
	if len(incoming) == 0 {
		return fail(ErrNotOffered, missing)
	}
	p.Incoming = incoming[0]
	switch c.Incoming {
	case "", p.Incoming.Protocol:
	case IMAP, POP3:
		if len(incoming) == 1 {
			return fail(ErrNotOffered, "it can be read by "+string(p.Incoming.Protocol)+" only")
		}
		p.Incoming = incoming[1]
	default:
		return fail(ErrChoice, fmt.Sprintf("protocol %.20q: want %s or %s", c.Incoming, IMAP, POP3))
	}
	p.Incoming.User = name
	if p.Outgoing = servers.outgoing(); p.Outgoing != nil {
		p.Outgoing.User = name
		if c.Account == AccountArchive && p.Outgoing.Host == d.Mailbox.SMTP.Host && p.Outgoing.Port == d.Mailbox.SMTP.Port {
			p.Outgoing.User = p.Mailbox // the provider's own server knows no names of archives
		}
	}
	return p, nil
}

// Discovery is what everybody may learn of a domain: how an account of an address in it is set up.
type Discovery struct {
	Domain   string // in ASCII
	Account  Account
	Incoming []Server // the better one first; without User, which is the address
	Outgoing *Server  // nil for none
}

// Discover returns what is known of a domain: an archive host has archives, a mail domain has live mailboxes. It returns false where nothing is
// known.
func (g *Guide) Discover(domain string) (Discovery, bool) {
	canonical, err := policy.CanonicalDomain(domain)
	if err != nil {
		return Discovery{}, false
	}
	account := AccountArchive
	servers, ok := g.hosts[canonical]
	if !ok {
		account, servers = AccountMailbox, g.config.Domains[canonical].Mailbox
	}
	d := Discovery{policy.ASCIIDomain(canonical), account, servers.incoming(), servers.outgoing()}
	return d, len(d.Incoming) > 0
}

// label names an account for people.
func (a Account) label() policy.Label {
	if a == AccountArchive {
		return policy.Label{Italian: "Archivio di sicurezza", English: "Security archive"}
	}
	return policy.Label{Italian: "Casella di posta", English: "Mailbox"}
}
