package config

import (
	"fmt"
	"reflect"
	"slices"

	"copialettere/policy/auth"
	"copialettere/policy/setup"
)

// Change is a key whose value differs between two configurations. It does not hold the values, because some are secrets.
type Change struct {
	Key     string // dotted, as "received.keep_skips"; for a domain as in `domain "alpha.test".postmasters`
	Restart bool   // the new value is in force only after a restart
}

// Reloadable returns the keys whose new values a running daemon takes, in the order of the file. "domain" stands for all keys of a [[domain]]
// except next_hop, and for a [[domain]] that is added or removed, if it has no next_hop.
func Reloadable() []string {
	var list []string
	for _, k := range keys() {
		if k.take != nil {
			list = append(list, k.name)
		}
	}
	return append(list, "domain")
}

// Reloaded returns the configuration of a daemon that runs with c and takes what it can from file, and all differences in the order of the
// file. It changes neither c nor file.
func (c *Config) Reloaded(file *Config) (*Config, []Change) {
	next := *c
	if c.Received != nil {
		received := *c.Received
		next.Received = &received
	}
	if c.Sent != nil {
		sent := *c.Sent
		next.Sent = &sent
	}
	if c.Postfix != nil {
		postfix := *c.Postfix
		next.Postfix = &postfix
	}
	if c.IMAP != nil {
		imap := *c.IMAP
		next.IMAP = &imap
	}
	if c.Submission != nil {
		submission := *c.Submission
		next.Submission = &submission
	}
	if c.Profile != nil {
		profile := *c.Profile
		next.Profile = &profile
	}
	if c.MailboxServers != nil {
		servers := *c.MailboxServers
		next.MailboxServers = &servers
	}
	if c.Web != nil {
		web := *c.Web
		next.Web = &web
	}
	if c.Auth != nil {
		auth := *c.Auth
		next.Auth = &auth
	}
	var changes []Change
	for _, k := range keys() {
		was, is := k.value(c), k.value(file)
		if (was == nil) != (is == nil) {
			// The section came or went.
			if section := k.section(); !slices.ContainsFunc(changes, func(ch Change) bool { return ch.Key == section }) {
				changes = append(changes, Change{section, true})
			}
			continue
		}
		if was == nil || reflect.DeepEqual(was, is) {
			continue
		}
		if k.take != nil {
			k.take(&next, file)
		}
		changes = append(changes, Change{k.name, k.take == nil})
	}
	if !reflect.DeepEqual(c.ArchiveHosts, file.ArchiveHosts) {
		changes = append(changes, Change{"archive_host", true})
	}
	next.Warnings = file.Warnings
	return &next, append(changes, next.reloadDomains(file.Domains)...)
}

// reloadDomains takes the domains of a file. A next hop that would have to be opened or closed stays as it was.
func (c *Config) reloadDomains(file []Domain) []Change {
	var changes []Change
	var domains []Domain
	for _, d := range file {
		name := fmt.Sprintf("domain %q", d.Name)
		i := slices.IndexFunc(c.Domains, func(old Domain) bool { return old.Name == d.Name })
		if i < 0 {
			whole := d.NextHop == Domain{}.NextHop
			if changes = append(changes, Change{name, !whole}); whole {
				domains = append(domains, d)
			}
			continue
		}
		old := c.Domains[i]
		for _, k := range []struct {
			name    string
			was, is any
			restart bool
		}{
			{"recipient_delimiter", old.RecipientDelimiter, d.RecipientDelimiter, false},
			{"postmasters", old.Postmasters, d.Postmasters, false},
			{"next_hop", old.NextHop, d.NextHop, true},
			{"defaults", old.Defaults, d.Defaults, false},
			{"max_mailboxes", old.Limits.Archives, d.Limits.Archives, false},
			{"quota_total", old.Limits.QuotaTotal, d.Limits.QuotaTotal, false},
			{"quota_max", old.Limits.Quota, d.Limits.Quota, false},
			{"retention_max", old.Limits.Retention, d.Limits.Retention, false},
			{"rights", old.Rights, d.Rights, false},
			{"mailbox_servers", old.MailboxServers, d.MailboxServers, false},
			{"title", old.Brand.Title, d.Brand.Title, false},
			{"support_url", old.Brand.SupportURL, d.Brand.SupportURL, false},
			{"more_room_url", old.Brand.MoreRoomURL, d.Brand.MoreRoomURL, false},
			{"logo", old.Brand.Logo, d.Brand.Logo, false},
			{"trusted_proxies", old.TrustedProxies, d.TrustedProxies, false},
			{"from", old.NoticesFrom, d.NoticesFrom, false},
			{"require_second_factor", old.RequireSecondFactor, d.RequireSecondFactor, false},
		} {
			if !reflect.DeepEqual(k.was, k.is) {
				changes = append(changes, Change{name + "." + k.name, k.restart})
			}
		}
		d.NextHop = old.NextHop
		domains = append(domains, d)
	}
	for _, old := range c.Domains {
		if slices.ContainsFunc(file, func(d Domain) bool { return d.Name == old.Name }) {
			continue
		}
		gone := old.NextHop == Domain{}.NextHop
		if changes = append(changes, Change{fmt.Sprintf("domain %q", old.Name), !gone}); !gone {
			domains = append(domains, old)
		}
	}
	c.Domains = domains
	return changes
}

// reloadKey is a key of the file outside of [[domain]].
type reloadKey struct {
	name  string
	value func(*Config) any           // nil where the section is not there
	take  func(running, file *Config) // nil where a change needs a restart
}

func (k reloadKey) section() string {
	for i := range k.name {
		if k.name[i] == '.' {
			return k.name[:i]
		}
	}
	return k.name
}

func ofReceived(value func(*Received) any) func(*Config) any {
	return func(c *Config) any {
		if c.Received == nil {
			return nil
		}
		return value(c.Received)
	}
}

func ofSent(value func(*Sent) any) func(*Config) any {
	return func(c *Config) any {
		if c.Sent == nil {
			return nil
		}
		return value(c.Sent)
	}
}

func ofNotices(value func(*Notices) any) func(*Config) any {
	return func(c *Config) any {
		if c.Notices == nil {
			return nil
		}
		return value(c.Notices)
	}
}

func ofPostfix(value func(*Postfix) any) func(*Config) any {
	return func(c *Config) any {
		if c.Postfix == nil {
			return nil
		}
		return value(c.Postfix)
	}
}

func ofAuth(value func(*Auth) any) func(*Config) any {
	return func(c *Config) any {
		if c.Auth == nil {
			return nil
		}
		return value(c.Auth)
	}
}

func ofTLS(value func(*TLS) any) func(*Config) any {
	return func(c *Config) any {
		if c.TLS == nil {
			return nil
		}
		return value(c.TLS)
	}
}

func ofIMAP(value func(*IMAP) any) func(*Config) any {
	return func(c *Config) any {
		if c.IMAP == nil {
			return nil
		}
		return value(c.IMAP)
	}
}

func ofDovecot(value func(*Dovecot) any) func(*Config) any {
	return func(c *Config) any {
		if c.Dovecot == nil {
			return nil
		}
		return value(c.Dovecot)
	}
}

func ofWeb(value func(*Web) any) func(*Config) any {
	return func(c *Config) any {
		if c.Web == nil {
			return nil
		}
		return value(c.Web)
	}
}

func ofIMAPC(value func(*auth.Master) any) func(*Config) any {
	return func(c *Config) any {
		if c.IMAPC == nil {
			return nil
		}
		return value(c.IMAPC)
	}
}

func ofProfile(value func(*Profile) any) func(*Config) any {
	return func(c *Config) any {
		if c.Profile == nil {
			return nil
		}
		return value(c.Profile)
	}
}

func ofMailboxServers(value func(*setup.Servers) any) func(*Config) any {
	return func(c *Config) any {
		if c.MailboxServers == nil {
			return nil
		}
		return value(c.MailboxServers)
	}
}

func ofSubmission(value func(*Submission) any) func(*Config) any {
	return func(c *Config) any {
		if c.Submission == nil {
			return nil
		}
		return value(c.Submission)
	}
}

func ofDovecotPolicy(value func(*DovecotPolicy) any) func(*Config) any {
	return func(c *Config) any {
		if c.DovecotPolicy == nil {
			return nil
		}
		return value(c.DovecotPolicy)
	}
}

// hookKeys returns the keys that [received] and [sent] share.
func hookKeys(section string, hook func(*Config) *Hook) []reloadKey {
	key := func(name string, value func(*Hook) any) reloadKey {
		return reloadKey{name: section + "." + name, value: func(c *Config) any {
			if h := hook(c); h != nil {
				return value(h)
			}
			return nil
		}}
	}
	onJournalError := key("on_journal_error", func(h *Hook) any { return h.OnJournalError })
	onJournalError.take = func(running, file *Config) { hook(running).OnJournalError = hook(file).OnJournalError }
	return []reloadKey{
		key("listen", func(h *Hook) any { return h.Listen }),
		key("socket_mode", func(h *Hook) any { return h.SocketMode }),
		key("socket_group", func(h *Hook) any { return h.SocketGroup }),
		key("next_hop", func(h *Hook) any { return h.NextHop }),
		key("max_message_size", func(h *Hook) any { return h.MaxMessageSize }),
		key("max_recipients", func(h *Hook) any { return h.MaxRecipients }),
		key("max_connections", func(h *Hook) any { return h.MaxConnections }),
		onJournalError,
		key("hello_name", func(h *Hook) any { return h.HelloName }),
		key("connect_timeout", func(h *Hook) any { return h.Timeouts.Connect }),
		key("command_timeout", func(h *Hook) any { return h.Timeouts.Command }),
		key("data_timeout", func(h *Hook) any { return h.Timeouts.Data }),
		key("journal_timeout", func(h *Hook) any { return h.Timeouts.Journal }),
		key("final_timeout", func(h *Hook) any { return h.Timeouts.Final }),
		key("idle_timeout", func(h *Hook) any { return h.Timeouts.Idle }),
	}
}

func receivedHook(c *Config) *Hook {
	if c.Received == nil {
		return nil
	}
	return &c.Received.Hook
}

func sentHook(c *Config) *Hook {
	if c.Sent == nil {
		return nil
	}
	return &c.Sent.Hook
}

// keys returns all keys of the file outside of [[domain]], in the order of the file.
func keys() []reloadKey {
	list := append([]reloadKey{{name: "data", value: func(c *Config) any { return c.Data }}}, hookKeys("received", receivedHook)...)
	list = append(list, receivedKeys()...)
	list = append(list, hookKeys("sent", sentHook)...)
	list = append(list, sentKeys()...)
	return append(list, otherKeys()...)
}

func receivedKeys() []reloadKey {
	return []reloadKey{
		{"received.origin", ofReceived(func(r *Received) any { return r.Origin }), nil},
		{"received.redirect_header", ofReceived(func(r *Received) any { return r.RedirectHeader }),
			func(running, file *Config) { running.Received.RedirectHeader = file.Received.RedirectHeader }},
		{"received.redirect_from", ofReceived(func(r *Received) any { return r.RedirectFrom }),
			func(running, file *Config) { running.Received.RedirectFrom = file.Received.RedirectFrom }},
		{"received.keep_skips", ofReceived(func(r *Received) any { return r.KeepSkips }),
			func(running, file *Config) { running.Received.KeepSkips = file.Received.KeepSkips }},
	}
}

func sentKeys() []reloadKey {
	return []reloadKey{
		{"sent.identity", ofSent(func(s *Sent) any { return s.Identity }), nil},
		{"sent.login_header", ofSent(func(s *Sent) any { return s.LoginHeader }), nil},
		{"sent.login_domain", ofSent(func(s *Sent) any { return s.LoginDomain }),
			func(running, file *Config) { running.Sent.LoginDomain = file.Sent.LoginDomain }},
	}
}

func otherKeys() []reloadKey {
	return []reloadKey{
		{"admin.listen", func(c *Config) any { return c.Admin.Listen }, nil},
		{"admin.socket_mode", func(c *Config) any { return c.Admin.SocketMode }, nil},
		{"admin.socket_group", func(c *Config) any { return c.Admin.SocketGroup }, nil},
		{"log.level", func(c *Config) any { return c.Log.Level }, func(running, file *Config) { running.Log.Level = file.Log.Level }},
		{"log.format", func(c *Config) any { return c.Log.Format }, nil},
		{"rights.owner", func(c *Config) any { return c.Rights.Owner }, func(running, file *Config) { running.Rights = file.Rights }},
		{"pec.trust", func(c *Config) any { return c.PEC.Trust }, func(running, file *Config) { running.PEC.Trust = file.PEC.Trust }},
		{"pec.domains_file", func(c *Config) any { return c.PEC.DomainsFile },
			func(running, file *Config) { running.PEC.DomainsFile = file.PEC.DomainsFile }},
		{"pec.provider_index", func(c *Config) any { return c.PEC.ProviderIndex },
			func(running, file *Config) { running.PEC.ProviderIndex = file.PEC.ProviderIndex }},
		{"pec.trust_bundle", func(c *Config) any { return c.PEC.TrustBundle },
			func(running, file *Config) { running.PEC.TrustBundle = file.PEC.TrustBundle }},
		{"pec.sha1_chains", func(c *Config) any { return c.PEC.SHA1Chains },
			func(running, file *Config) { running.PEC.SHA1Chains = file.PEC.SHA1Chains }},
		{"pec.crl_folder", func(c *Config) any { return c.PEC.CRLFolder },
			func(running, file *Config) { running.PEC.CRLFolder = file.PEC.CRLFolder }},
		{"notices.relay", ofNotices(func(n *Notices) any { return n.Relay }), nil},
		{"notices.from", ofNotices(func(n *Notices) any { return n.From }), nil},
		{"notices.max_per_day", ofNotices(func(n *Notices) any { return n.MaxPerDay }), nil},
		{"notices.operator", ofNotices(func(n *Notices) any { return n.Operator }), nil},
		{"postfix.maps", ofPostfix(func(p *Postfix) any { return p.Maps }), func(running, file *Config) { running.Postfix.Maps = file.Postfix.Maps }},
		{"postfix.received", ofPostfix(func(p *Postfix) any { return p.Received }),
			func(running, file *Config) { running.Postfix.Received = file.Postfix.Received }},
		{"postfix.sent", ofPostfix(func(p *Postfix) any { return p.Sent }), func(running, file *Config) { running.Postfix.Sent = file.Postfix.Sent }},
		{"auth.source", ofAuth(func(a *Auth) any { return a.Source }), nil},
		{"auth.operators", ofAuth(func(a *Auth) any { return a.Operators }), func(running, file *Config) { running.Auth.Operators = file.Auth.Operators }},
		{"auth.archive_host", ofAuth(func(a *Auth) any { return a.ArchiveHost }),
			func(running, file *Config) { running.Auth.ArchiveHost = file.Auth.ArchiveHost }},
		{"tls.certificate", ofTLS(func(t *TLS) any { return t.Certificate }), nil},
		{"tls.key", ofTLS(func(t *TLS) any { return t.Key }), nil},
		{"imap.listen", ofIMAP(func(m *IMAP) any { return m.Listen }), nil},
		{"imap.name", ofIMAP(func(m *IMAP) any { return m.Name }), nil},
		{"imap.public_port", ofIMAP(func(m *IMAP) any { return m.PublicPort }),
			func(running, file *Config) { running.IMAP.PublicPort = file.IMAP.PublicPort }},
		{"imap.insecure_loopback", ofIMAP(func(m *IMAP) any { return m.InsecureLoopback }), nil},
		{"imap.max_connections", ofIMAP(func(m *IMAP) any { return m.MaxConnections }), nil},
		{"imap.max_per_address", ofIMAP(func(m *IMAP) any { return m.MaxPerAddress }), nil},
		{"imap.max_per_mailbox", ofIMAP(func(m *IMAP) any { return m.MaxPerMailbox }), nil},
		{"web.listen", ofWeb(func(w *Web) any { return w.Listen }), nil},
		{"web.public_url", ofWeb(func(w *Web) any { return w.PublicURL }), func(running, file *Config) { running.Web.PublicURL = file.Web.PublicURL }},
		{"web.trusted_proxies", ofWeb(func(w *Web) any { return w.TrustedProxies }),
			func(running, file *Config) { running.Web.TrustedProxies = file.Web.TrustedProxies }},
		{"web.title", ofWeb(func(w *Web) any { return w.Brand.Title }), func(running, file *Config) { running.Web.Brand.Title = file.Web.Brand.Title }},
		{"web.support_url", ofWeb(func(w *Web) any { return w.Brand.SupportURL }),
			func(running, file *Config) { running.Web.Brand.SupportURL = file.Web.Brand.SupportURL }},
		{"web.more_room_url", ofWeb(func(w *Web) any { return w.Brand.MoreRoomURL }),
			func(running, file *Config) { running.Web.Brand.MoreRoomURL = file.Web.Brand.MoreRoomURL }},
		{"web.logo", ofWeb(func(w *Web) any { return w.Brand.Logo }), func(running, file *Config) { running.Web.Brand.Logo = file.Web.Brand.Logo }},
		{"profile.certificate", ofProfile(func(p *Profile) any { return p.Certificate }),
			func(running, file *Config) { running.Profile.Certificate = file.Profile.Certificate }},
		{"profile.key", ofProfile(func(p *Profile) any { return p.Key }), func(running, file *Config) { running.Profile.Key = file.Profile.Key }},
		{"mailbox_servers.imap", ofMailboxServers(func(s *setup.Servers) any { return s.IMAP }),
			func(running, file *Config) { running.MailboxServers.IMAP = file.MailboxServers.IMAP }},
		{"mailbox_servers.pop3", ofMailboxServers(func(s *setup.Servers) any { return s.POP3 }),
			func(running, file *Config) { running.MailboxServers.POP3 = file.MailboxServers.POP3 }},
		{"mailbox_servers.smtp", ofMailboxServers(func(s *setup.Servers) any { return s.SMTP }),
			func(running, file *Config) { running.MailboxServers.SMTP = file.MailboxServers.SMTP }},
		{"web.max_connections", ofWeb(func(w *Web) any { return w.MaxConnections }), nil},
		{"web.max_per_address", ofWeb(func(w *Web) any { return w.MaxPerAddress }), nil},
		{"imapc.master_user", ofIMAPC(func(m *auth.Master) any { return m.User }), nil},
		{"imapc.key_file", ofIMAPC(func(m *auth.Master) any { return m.KeyFile }), nil},
		{"imapc.from", ofIMAPC(func(m *auth.Master) any { return m.From }), nil},
		{"submission.listen", ofSubmission(func(s *Submission) any { return s.Listen }), nil},
		{"submission.name", ofSubmission(func(s *Submission) any { return s.Name }), nil},
		{"submission.relay", ofSubmission(func(s *Submission) any { return s.Relay }), nil},
		{"submission.public_port", ofSubmission(func(s *Submission) any { return s.PublicPort }),
			func(running, file *Config) { running.Submission.PublicPort = file.Submission.PublicPort }},
		{"submission.insecure_loopback", ofSubmission(func(s *Submission) any { return s.InsecureLoopback }), nil},
		{"submission.max_connections", ofSubmission(func(s *Submission) any { return s.MaxConnections }), nil},
		{"submission.max_per_address", ofSubmission(func(s *Submission) any { return s.MaxPerAddress }), nil},
		{"dovecot.files", ofDovecot(func(d *Dovecot) any { return d.Files }), nil},
		{"dovecot.user", ofDovecot(func(d *Dovecot) any { return d.User }), nil},
		{"dovecot_policy.listen", ofDovecotPolicy(func(p *DovecotPolicy) any { return p.Listen }), nil},
		{"dovecot_policy.key_file", ofDovecotPolicy(func(p *DovecotPolicy) any { return p.KeyFile }), nil},
		{"dovecot_policy.webmail", ofDovecotPolicy(func(p *DovecotPolicy) any { return p.Webmail }), nil},
		{"disk.warn", func(c *Config) any { return c.Disk.Warn }, func(running, file *Config) { running.Disk.Warn = file.Disk.Warn }},
		{"disk.stop", func(c *Config) any { return c.Disk.Stop }, func(running, file *Config) { running.Disk.Stop = file.Disk.Stop }},
		{"retention.at", func(c *Config) any { return [2]int{c.Retention.Hour, c.Retention.Minute} },
			func(running, file *Config) {
				running.Retention.Hour, running.Retention.Minute = file.Retention.Hour, file.Retention.Minute
			}},
		{"retention.max_share", func(c *Config) any { return c.Retention.MaxShare },
			func(running, file *Config) { running.Retention.MaxShare = file.Retention.MaxShare }},
		{"erase.grace", func(c *Config) any { return c.Erase.Grace }, func(running, file *Config) { running.Erase.Grace = file.Erase.Grace }},
		{"logs.keep", func(c *Config) any { return c.Logs.Keep }, func(running, file *Config) { running.Logs.Keep = file.Logs.Keep }},
		{"verify.every", func(c *Config) any { return c.Verify.Every }, func(running, file *Config) { running.Verify.Every = file.Verify.Every }},
		{"verify.rate", func(c *Config) any { return c.Verify.Rate }, func(running, file *Config) { running.Verify.Rate = file.Verify.Rate }},
		{"pull.allow_private", func(c *Config) any { return c.Pull.AllowPrivate }, func(running, file *Config) { running.Pull.AllowPrivate = file.Pull.AllowPrivate }},
		{"exports.keep", func(c *Config) any { return c.Exports.Keep }, func(running, file *Config) { running.Exports.Keep = file.Exports.Keep }},
		{"exports.max_size", func(c *Config) any { return c.Exports.MaxSize }, func(running, file *Config) { running.Exports.MaxSize = file.Exports.MaxSize }},
		{"encryption.key_file", func(c *Config) any { return c.Encryption.KeyFile }, nil},
		{"encryption.key_command", func(c *Config) any { return c.Encryption.KeyCommand }, nil},
		{"evidence.signing_key", func(c *Config) any { return c.Evidence.KeyFile }, func(running, file *Config) { running.Evidence.KeyFile = file.Evidence.KeyFile }},
		{"evidence.verifier_keys", func(c *Config) any { return c.Evidence.VerifierKeys },
			func(running, file *Config) { running.Evidence.VerifierKeys = file.Evidence.VerifierKeys }},
		{"evidence.timestamp_url", func(c *Config) any { return c.Evidence.StampURL }, func(running, file *Config) { running.Evidence.StampURL = file.Evidence.StampURL }},
		{"evidence.timestamp_ca", func(c *Config) any { return c.Evidence.StampCA }, func(running, file *Config) { running.Evidence.StampCA = file.Evidence.StampCA }},
		{"evidence.checkpoints", func(c *Config) any { return c.Evidence.Folder }, func(running, file *Config) { running.Evidence.Folder = file.Evidence.Folder }},
		{"evidence.mail", func(c *Config) any { return c.Evidence.Mail }, func(running, file *Config) { running.Evidence.Mail = file.Evidence.Mail }},
		{"preservation.drop", func(c *Config) any { return c.Preservation.Drop },
			func(running, file *Config) { running.Preservation.Drop = file.Preservation.Drop }},
		{"preservation.receipts", func(c *Config) any { return c.Preservation.Receipts },
			func(running, file *Config) { running.Preservation.Receipts = file.Preservation.Receipts }},
		{"preservation.agent", func(c *Config) any { return c.Preservation.Agent },
			func(running, file *Config) { running.Preservation.Agent = file.Preservation.Agent }},
		{"preservation.domains", func(c *Config) any { return c.Preservation.Domains },
			func(running, file *Config) { running.Preservation.Domains = file.Preservation.Domains }},
		{"preservation.mailboxes", func(c *Config) any { return c.Preservation.Mailboxes },
			func(running, file *Config) { running.Preservation.Mailboxes = file.Preservation.Mailboxes }},
		{"preservation.overdue", func(c *Config) any { return c.Preservation.Overdue },
			func(running, file *Config) { running.Preservation.Overdue = file.Preservation.Overdue }},
		{"scan.clamd", func(c *Config) any { return c.Scan }, func(running, file *Config) { running.Scan = file.Scan }},
	}
}
