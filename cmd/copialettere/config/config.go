// Package config reads copialettere.toml, the one configuration file of the program.
//
// It is strict. An unknown key, a value of the wrong type, a duration or size without a unit, and a malformed address are errors. Each error
// names the file, the line, the key, what is wrong, and what to write instead. All errors of a file are reported at once; only broken TOML
// syntax hides what follows it. Keys are case sensitive.
//
// Durations and sizes are text with a unit, never bare numbers. Durations: ms, s, m, h, d (24 hours), also combined as "1h30m". Sizes:
// B, kB, MB, GB (powers of 1000) and KiB, MiB, GiB (powers of 1024).
//
// Load and Parse read the file and the machine's host name, and nothing else: the check command finds out whether a folder, a group or a next
// hop exists. LoadDomains reads a list that the file names. contrib/copialettere.toml shows every key with its default.
package config

import (
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"copialettere/lmtp/nexthop"
	"copialettere/policy"
	"copialettere/policy/auth"
	"copialettere/policy/checkpoint"
	"copialettere/policy/preservation"
	"copialettere/policy/setup"
)

// DefaultKeepSkips is how long the record of a skipped message is kept unless the file says otherwise.
const DefaultKeepSkips = 21 * 24 * time.Hour

// maxFile is the largest configuration file in bytes. Ten thousand domains take about one megabyte.
const maxFile = 8 << 20

// Config is the whole file. It does not change after Parse has returned it.
type Config struct {
	// Data is the data folder, an absolute path.
	Data string
	// Received is the LMTP hook for mail that arrives; nil where the file has no [received].
	Received *Received
	// Sent is the SMTP hook for mail that users send; nil where the file has no [sent]. Received and Sent are never both nil.
	Sent *Sent
	// Admin is the listener of the sub-commands and of the metrics.
	Admin Admin
	// Log is what the daemon writes to its standard error.
	Log Log
	// Rights lists what the owner of a mailbox may change. Its list is never nil.
	Rights policy.Rights
	// PEC is how certified mail is recognised.
	PEC PEC
	// Notices is how notices are mailed; nil where the file has no [notices], and then none are mailed.
	Notices *Notices
	// Postfix says how Postfix's routing follows the settings of mailboxes; nil if the file has no [postfix].
	Postfix *Postfix
	// Auth says who may open an archive; nil where the file has no [auth], and then nobody can sign in.
	Auth *Auth
	// ArchiveHosts are the hosts with archives as accounts of their own, in the order of the file, without that of Auth. See Config.ArchiveHost.
	ArchiveHosts []ArchiveHost
	// TLS is the certificate of the listeners for mail programs and browsers; nil where the file has no [tls].
	TLS *TLS
	// IMAP is how archives are opened with mail programs; nil where the file has no [imap].
	IMAP *IMAP
	// DovecotPolicy is where Dovecot asks before it signs somebody in; nil where the file has no [dovecot_policy].
	DovecotPolicy *DovecotPolicy
	// Dovecot says how Dovecot obeys the switches of mailboxes; nil if the file has no [dovecot].
	Dovecot *Dovecot
	// Web is the listener for browsers; nil where the file has no [web].
	Web *Web
	// IMAPC is how the provider's Dovecot signs in to [imap] for its users; nil where the file has no [imapc].
	IMAPC *auth.Master
	// Profile is what signs configuration profiles; nil where the file has no [profile], and then TLS does.
	Profile *Profile
	// MailboxServers are the servers of live mailboxes, where their domain names none; nil where the file has no [mailbox_servers].
	MailboxServers *setup.Servers
	// Submission is the outgoing server that mail programs want; nil where the file has no [submission].
	Submission *Submission
	// Disk is how much of the disk stays free.
	Disk Disk
	// Retention is when expired messages are deleted.
	Retention Retention
	// Erase is how disabled archives are erased.
	Erase Erase
	// Logs is how long records of who did what are kept.
	Logs Logs
	// Verify is how the daemon verifies the archive in the background.
	Verify Verify
	// Pull is the import of mail from other servers.
	Pull Pull
	// Exports is how long ZIPs stay that the daemon has written.
	Exports Exports
	// Encryption names the key with which the journal is encrypted.
	Encryption Encryption
	// Evidence says how checkpoints are made, and where they are kept.
	Evidence checkpoint.Settings
	// Preservation says whose certified mail is handed to legal preservation, and where.
	Preservation preservation.Settings
	// Scan is what examines files before they are downloaded.
	Scan Scan
	// Domains are the mail domains in the order of the file. Their names differ.
	Domains []Domain
	// Warnings point out settings that are allowed but seldom wanted, in the order of their lines.
	Warnings []Error
}

// Received is the LMTP hook between the MTA's final delivery and the mailstore.
type Received struct {
	Hook
	// Origin is where the hook learns the address that a message was first sent to.
	Origin Origin
	// RedirectHeader is the header "Name: value" that the MTA prepends to mail that Sieve redirects; "" where it does not. It holds a secret:
	// never log it.
	RedirectHeader string
	// RedirectFrom are the networks of the hosts whose Sieve redirects come back through the MTA.
	RedirectFrom []netip.Prefix
	// KeepSkips is how long the record of a skipped message is kept.
	KeepSkips time.Duration
}

// Sent is the SMTP hook between the submission service and the MTA's reinjection port.
type Sent struct {
	Hook
	// Identity is where the hook learns the sender's mailbox.
	Identity Identity
	// LoginHeader is the name of the header that the MTA prepends with the login; "" with IdentityMailFrom.
	LoginHeader string
	// LoginDomain completes a login that has no domain, in lower case; "" where such a login belongs to no mailbox.
	LoginDomain string
}

// Hook holds the keys that [received] and [sent] share.
type Hook struct {
	// Listen are the listeners, at least one.
	Listen []Listener
	// SocketMode is the file mode of the unix sockets of Listen.
	SocketMode os.FileMode
	// SocketGroup is the name of the group that the unix sockets of Listen are given; "" leaves the daemon's own.
	SocketGroup string
	// NextHop is where messages are handed on.
	NextHop nexthop.Spec
	// MaxMessageSize is the largest message in bytes.
	MaxMessageSize int64
	// MaxRecipients is how many recipients one transaction may have.
	MaxRecipients int
	// MaxConnections is how many connections all listeners of the hook have together.
	MaxConnections int
	// OnJournalError is what happens to a message that the journal cannot take.
	OnJournalError JournalErrorAction
	// HelloName is the name that the hook gives itself in its greeting and towards the next hop.
	HelloName string
	// Timeouts bound every wait.
	Timeouts Timeouts
}

// Timeouts bound the waits of one transaction. Each is long enough for a slow next hop. Together they end before Postfix gives up and sends
// the message again.
type Timeouts struct {
	// Connect is the time for connecting to the next hop, all its addresses and its greeting included.
	Connect time.Duration
	// Command is the time for one reply of the next hop before the message. Connect and Command together stay below
	// the 300 seconds of Postfix's lmtp_mail_timeout and lmtp_rcpt_timeout.
	Command time.Duration
	// Data is the time for which one write of message bytes to the next hop may block. It stays below the 180 seconds of
	// Postfix's lmtp_data_xfer_timeout.
	Data time.Duration
	// Journal is the time for making the entries durable after the last byte.
	Journal time.Duration
	// Final is the time from the dot to the last reply of the next hop. Journal and Final together stay below the 600 seconds of Postfix's
	// lmtp_data_done_timeout.
	Final time.Duration
	// Idle is how long a connection to the hook may be silent between commands.
	Idle time.Duration
}

// Admin is the listener of the sub-commands (unix sockets) and of the metrics (unix sockets and TCP).
type Admin struct {
	// Listen are the listeners. At least one is a unix socket; TCP listeners serve metrics only.
	Listen []Listener
	// SocketMode is the file mode of the unix sockets of Listen. Only owner and group can have access.
	SocketMode os.FileMode
	// SocketGroup is the name of the group that the unix sockets of Listen are given; "" leaves the daemon's own.
	SocketGroup string
}

// Socket returns the path of the first unix socket, over which the sub-commands reach the daemon.
func (a Admin) Socket() string {
	for _, l := range a.Listen {
		if l.Network == "unix" {
			return l.Address
		}
	}
	return ""
}

// Log is what the daemon writes to its standard error.
type Log struct {
	// Level is the lowest level that is written.
	Level slog.Level
	// Format is how a line is written.
	Format LogFormat
}

// Domain is one mail domain whose mailboxes may be archived.
type Domain struct {
	// Name is the domain in lower case.
	Name string
	// RecipientDelimiter are the characters that begin an extension of the local part; "" where there are no extensions.
	RecipientDelimiter string
	// Postmasters are the addresses whose owners administer the domain, in lower case.
	Postmasters []string
	// NextHop is where received mail of this domain is handed on; the zero Spec stands for the next hop of Received.
	NextHop nexthop.Spec
	// Defaults are the settings that a mailbox of the domain gets when it is set up, in the order of policy.Keys, without notify.
	Defaults []policy.Assignment
	// Limits bound what the archives of the domain may take.
	Limits policy.Limits
	// Rights lists what the owner of a mailbox of the domain may change; its list is nil where those of Config apply.
	Rights policy.Rights
	// RequireSecondFactor says that whoever signs in by an address of the domain needs a second factor.
	RequireSecondFactor bool
	// NoticesFrom is the sender address of the notices to the owners of the domain; "" for that of [notices].
	NoticesFrom string
	// MailboxServers are the servers of the live mailboxes of the domain; nil where they are those of Config.
	MailboxServers *setup.Servers
	// Brand is how the provider presents itself to the people of the domain.
	Brand Brand
	// TrustedProxies are more networks as those of Web.TrustedProxies: see Config.TrustedProxies.
	TrustedProxies []netip.Prefix
}

// Origin is where the hook learns the address that a message was first sent to.
type Origin string

// The values of received.origin.
const (
	// OriginORCPT reads the ORCPT parameter. The MTA sets it by itself if it discards the DSN parameters of its clients.
	OriginORCPT Origin = "orcpt"
	// OriginXOriginalTo reads the X-Original-To header that Postfix's LMTP flag O prepends.
	OriginXOriginalTo Origin = "x-original-to"
	// OriginNone trusts nothing: every message counts as direct, and is flagged.
	OriginNone Origin = "none"
)

// Identity is where the hook learns the mailbox of a sender.
type Identity string

// The values of sent.identity.
const (
	// IdentityLoginHeader takes the login from the header that the MTA prepends.
	IdentityLoginHeader Identity = "login-header"
	// IdentityMailFrom takes the envelope sender. The MTA must let a login use its own addresses only.
	IdentityMailFrom Identity = "mail-from"
)

// JournalErrorAction is what happens to a message that the journal cannot take.
type JournalErrorAction string

// The values of on_journal_error.
const (
	// JournalErrorDefer answers 451: the MTA keeps the message and tries again.
	JournalErrorDefer JournalErrorAction = "defer"
	// JournalErrorDeliver hands the message on without an entry, and records a gap.
	JournalErrorDeliver JournalErrorAction = "deliver"
)

// LogFormat is how a log line is written.
type LogFormat string

// The values of log.format.
const (
	LogText LogFormat = "text"
	LogJSON LogFormat = "json"
)

// Load reads the file at path. The error is of type Errors unless the file cannot be read.
func Load(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	r := &reader{file: path, exposed: info.Mode()&0o004 != 0}
	return r.parse(string(text))
}

// Parse reads a configuration file that is in memory. The error is of type Errors and names the file as name.
func Parse(name string, text []byte) (*Config, error) {
	r := &reader{file: name}
	return r.parse(string(text))
}

func (r *reader) parse(text string) (*Config, error) {
	c := r.read(text)
	if len(r.errors) > 0 {
		r.errors.sort()
		return nil, r.errors
	}
	Errors(r.warnings).sort()
	c.Warnings = r.warnings
	return c, nil
}
