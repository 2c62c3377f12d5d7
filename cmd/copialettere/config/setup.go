package config

import (
	"copialettere/policy"
	"copialettere/policy/setup"
)

// Profile is what signs configuration profiles.
type Profile struct {
	// Certificate is the absolute path of the certificate and of those between it and its authority, in PEM, and Key that of its private key.
	Certificate, Key string
}

// profile reads [profile]; nil if the section is absent.
func (t *table) profile() *Profile {
	const certificate, key = "/etc/ssl/copialettere/profile.pem", "/etc/ssl/copialettere/profile-key.pem"
	t.require("certificate", `certificate = "`+certificate+`"`)
	t.require("key", `key = "`+key+`"`)
	p := &Profile{Certificate: t.path("certificate", certificate), Key: t.path("key", key)}
	if t.absent {
		return nil
	}
	return p
}

// mailboxServers reads the servers of live mailboxes; nil if the section is absent.
func (t *table) mailboxServers() *setup.Servers {
	server := func(key, example string) setup.Endpoint {
		s, ok := t.text(key, example)
		if !ok {
			return setup.Endpoint{}
		}
		e, err := setup.ParseEndpoint(s)
		if err != nil || !isDomain(e.Host) {
			t.fail(key, faultf(`write the name of the server and its port, as "`+example+`"`, "%s is not a server with its port", quote(s)))
		}
		return e
	}
	s := &setup.Servers{IMAP: server("imap", "imap.alpha.test:993"), POP3: server("pop3", "pop.alpha.test:995"), SMTP: server("smtp", "smtp.alpha.test:465")}
	if !t.absent && !t.has("imap") && !t.has("pop3") {
		t.lacks("imap", "there is neither imap nor pop3", `add imap = "imap.alpha.test:993"`)
	}
	if t.absent {
		return nil
	}
	return s
}

// SetUp returns what programs are told when they set themselves up.
func (c *Config) SetUp() setup.Config {
	s := setup.Config{Domains: make(map[string]setup.Domain)}
	if c.Web != nil {
		s.PublicURL = c.Web.PublicURL
	}
	switch {
	case c.Profile != nil:
		s.Signer = setup.Signer{Certificate: c.Profile.Certificate, Key: c.Profile.Key}
	case c.TLS != nil:
		s.Signer = setup.Signer{Certificate: c.TLS.Certificate, Key: c.TLS.Key}
	}
	for _, d := range c.Domains {
		name, err := policy.CanonicalDomain(d.Name)
		if err != nil {
			continue // Parse has refused it
		}
		s.Domains[name] = c.setUpDomain(d)
	}
	return s
}

// setUpDomain returns what programs are told of a domain.
func (c *Config) setUpDomain(d Domain) setup.Domain {
	var s setup.Domain
	switch {
	case d.MailboxServers != nil:
		s.Mailbox = *d.MailboxServers
	case c.MailboxServers != nil:
		s.Mailbox = *c.MailboxServers
	}
	if c.IMAP == nil {
		return s
	}
	host, ok := c.ArchiveHost(d.Name)
	if ok {
		s.ArchiveHost, _ = policy.CanonicalDomain(host.Name)
	} else if host.IMAP = c.IMAP.Name; c.Submission != nil {
		host.Submission = c.Submission.Name
	}
	s.Archive.IMAP = publicEndpoint(host.IMAP, c.IMAP.Listen, c.IMAP.PublicPort, 993, 143)
	if s.Archive.SMTP = s.Mailbox.SMTP; c.Submission != nil {
		s.Archive.SMTP = publicEndpoint(host.Submission, c.Submission.Listen, c.Submission.PublicPort, 465, 587)
	}
	return s
}

// publicEndpoint returns where programs reach one of several listeners: the one with TLS from the first byte rather than the other, and one that
// other machines reach rather than one that they do not. A socket of systemd has the usual port. Where the file tells the port, that is all.
func publicEndpoint(host string, listen []SecureListener, told int, secure, starttls uint16) setup.Endpoint {
	if told > 0 {
		return setup.NewEndpoint(host, uint16(told))
	}
	best, score := setup.Endpoint{}, 0
	for _, l := range listen {
		e := setup.Endpoint{Host: host, Port: starttls, Security: setup.STARTTLS}
		if l.TLS {
			e.Port, e.Security = secure, setup.TLS
		}
		if a, ok := tcpAddress(l.Address); ok && l.Network == "tcp" {
			e.Port = a.Port()
		}
		n := 1
		if l.Network == "systemd" || !l.loopback() {
			n += 2
		}
		if l.TLS {
			n++
		}
		if n > score {
			best, score = e, n
		}
	}
	return best
}
