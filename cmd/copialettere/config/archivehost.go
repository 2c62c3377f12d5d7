package config

import (
	"cmp"
	"slices"
)

// ArchiveHost is a host at which archives are accounts of their own, beside those of the live mailboxes: the archive of mario@alpha.test goes by the
// name mario_alpha.test@NAME.
type ArchiveHost struct {
	// Name is the host, in lower case.
	Name string
	// Domains are the mail domains whose archives it has, in lower case; nil for that of [auth], which has all that no other host has.
	Domains []string
	// IMAP and Submission are the names of the servers that its mail programs are given.
	IMAP, Submission string
	// Certificate and Key are the absolute paths of the certificate for these names; "" where that of [tls] is for them too.
	Certificate, Key string
}

// ArchiveHost returns the archive host of a mail domain, given in lower case. It returns false where the archives of the domain have only the
// addresses of their mailboxes.
func (c *Config) ArchiveHost(domain string) (ArchiveHost, bool) {
	for _, h := range c.ArchiveHosts {
		if slices.Contains(h.Domains, domain) {
			return h, true
		}
	}
	if c.Auth == nil || c.Auth.ArchiveHost == "" {
		return ArchiveHost{}, false
	}
	h := ArchiveHost{Name: c.Auth.ArchiveHost, IMAP: c.Auth.ArchiveHost}
	if c.IMAP != nil {
		h.IMAP = c.IMAP.Name
	}
	if h.Submission = h.IMAP; c.Submission != nil {
		h.Submission = c.Submission.Name
	}
	return h, true
}

// archiveHosts reads each [[archive_host]], and checks them and auth.archive_host against the domains.
func (r *reader) archiveHosts(top, auth *table, c *Config) (hosts []ArchiveHost) {
	const example = "archivio.beta.test"
	names := make(map[string]int)  // lines of the archive hosts
	owners := make(map[string]int) // lines of the hosts of domains
	check := func(t *table, key, name string) {
		switch {
		case slices.ContainsFunc(c.Domains, func(d Domain) bool { return d.Name == name }):
			t.fail(key, faultf(`choose another name, such as "archivio.`+name+`"`, "%s is a [[domain]], whose addresses are mailboxes", quote(name)))
		case names[name] > 0:
			t.fail(key, faultf("remove one of the two", "%s is already the archive host of line %d", quote(name), names[name]))
		}
		names[name] = t.lineOf(key)
	}
	if c.Auth != nil && c.Auth.ArchiveHost != "" {
		check(auth, "archive_host", c.Auth.ArchiveHost)
	}
	for _, t := range top.list("archive_host") {
		t.require("name", `name = "`+example+`"`)
		t.require("domains", `domains = ["beta.test"]`)
		h := ArchiveHost{Name: t.host("name", example)}
		if h.Name != "" {
			check(t, "name", h.Name)
		}
		h.Domains = list(t, "domains", "beta.test", func(s string) (string, *fault) {
			domain, f := parseDomain(s)
			switch {
			case f != nil:
			case !slices.ContainsFunc(c.Domains, func(d Domain) bool { return d.Name == domain }):
				f = faultf(`write the name of a [[domain]], or add one`, "there is no [[domain]] %s", quote(domain))
			case owners[domain] > 0:
				f = faultf("remove one of the two", "the archives of %s are at the host of line %d already", quote(domain), owners[domain])
			}
			owners[domain] = cmp.Or(owners[domain], t.line)
			return domain, f
		}, func(s string) string { return s })
		if t.has("domains") && t.length("domains") == 0 {
			t.fail("domains", faultf(`write domains = ["beta.test"]`, "the list is empty"))
		}
		h.IMAP = cmp.Or(t.host("imap", example), h.Name)
		h.Submission = cmp.Or(t.host("submission", example), h.IMAP)
		h.Certificate = t.path("certificate", "/etc/ssl/copialettere/beta.pem")
		h.Key = t.path("key", "/etc/ssl/copialettere/beta.key")
		t.pair(c)
		if !t.absent {
			hosts = append(hosts, h)
			if c.Auth == nil {
				t.reader.warn(t.line, t.name, "it has no effect without [auth]", "add the section [auth]")
			}
		}
	}
	return hosts
}

// pair checks that a host has both a certificate and its key, or neither.
func (t *table) pair(c *Config) {
	switch {
	case t.has("certificate") && !t.has("key"):
		t.fail("certificate", faultf(`add key = "/etc/ssl/copialettere/beta.key"`, "it has no key"))
	case t.has("key") && !t.has("certificate"):
		t.fail("key", faultf(`add certificate = "/etc/ssl/copialettere/beta.pem"`, "it has no certificate"))
	case t.has("certificate") && c.TLS == nil:
		t.fail("certificate", faultf("add the section [tls]", "programs that name no host are shown the certificate of [tls], and there is none"))
	}
}
