package policy

import (
	"context"
	"fmt"
	"strings"
)

// ArchiveHost returns the host in the names by which the archives of a domain go as accounts of their own, in canonical form; "" where they have
// no such names.
func (p *Policy) ArchiveHost(domain string) string { return p.rules().archiveHost(domain) }

// IsArchiveHost reports whether a canonical domain is the archive host of any domain.
func (p *Policy) IsArchiveHost(host string) bool { return p.rules().archiveHosts[host] }

// ArchiveAccount returns the name by which the archive of a mailbox goes as an account of its own, beside that of the live mailbox:
// mario_alpha.test@ARCHIVE_HOST. It returns false where the domain has no archive host.
func (p *Policy) ArchiveAccount(mailbox Address) (Address, bool) {
	host := p.ArchiveHost(mailbox.Domain)
	if host == "" || mailbox.Closed != "" {
		return Address{}, false
	}
	return Address{Local: mailbox.Local + "_" + ASCIIDomain(mailbox.Domain), Domain: host}, true
}

// AccountMailboxes returns the mailboxes that a name means, with which somebody signs in. That is the address itself, if it does not lie at an
// archive host. There, it is each mailbox with an archive whose ArchiveAccount has that name: none for a name without a meaning, and more than one
// only if a domain has an underscore. If none of them has an archive, all are returned: whoever signs in is to be told so.
//
// It looks at the places of the underscores in the name, and never lists mailboxes.
func (p *Policy) AccountMailboxes(ctx context.Context, name Address) ([]Address, error) {
	r := p.rules()
	if !r.archiveHosts[name.Domain] {
		return []Address{name}, nil
	}
	var possible, archived []Address
	// No domain is longer than maxDomain, so only the end of the name can be one.
	for i := max(1, len(name.Local)-maxDomain-1); i < len(name.Local); i++ {
		if name.Local[i] != '_' {
			continue
		}
		domain, err := CanonicalDomain(name.Local[i+1:])
		if err != nil || r.archiveHost(domain) != name.Domain {
			continue
		}
		mailbox := Address{Local: name.Local[:i], Domain: domain}
		s, err := p.Settings(ctx, mailbox)
		if err != nil {
			return nil, fmt.Errorf("archive account %s: %w", name, err)
		}
		possible = append(possible, mailbox)
		if s.State() != StateOff {
			archived = append(archived, mailbox)
		}
	}
	if len(archived) == 0 {
		return possible, nil
	}
	return archived, nil
}

// archiveHost returns the archive host of a canonical domain, or "".
func (r *rules) archiveHost(domain string) string {
	if _, ok := r.delimiters[domain]; !ok {
		return ""
	}
	if host := r.domainHosts[domain]; host != "" {
		return host
	}
	return r.allHost
}

// takeHosts takes the archive hosts of a configuration that is valid.
func (r *rules) takeHosts(c Config) {
	r.domainHosts, r.archiveHosts = make(map[string]string), make(map[string]bool)
	take := func(host string) string {
		canonical, err := CanonicalDomain(host)
		if host == "" || err != nil {
			return ""
		}
		r.archiveHosts[canonical] = true
		return canonical
	}
	r.allHost = take(c.ArchiveHost)
	for _, d := range c.Domains {
		name, _ := CanonicalDomain(d.Name)
		if host := take(d.ArchiveHost); host != "" {
			r.domainHosts[name] = host
		}
	}
}

// validateHosts returns all errors in the archive hosts.
func (c Config) validateHosts() []error {
	var errs []error
	mail := make(map[string]bool) // the mail domains
	for _, d := range c.Domains {
		name, _ := CanonicalDomain(d.Name)
		mail[name] = true
	}
	check := func(where, host string) {
		canonical, err := CanonicalDomain(host)
		switch {
		case host == "":
		case err != nil:
			errs = append(errs, fmt.Errorf("%sarchive host: %w", where, err))
		case strings.HasPrefix(canonical, "["):
			errs = append(errs, fmt.Errorf("%sarchive host %q: want a host name", where, host))
		case mail[canonical]:
			errs = append(errs, fmt.Errorf("%sarchive host %q: it is a mail domain, whose addresses are mailboxes: choose another name", where, host))
		}
	}
	check("", c.ArchiveHost)
	for _, d := range c.Domains {
		check(fmt.Sprintf("domain %q: ", d.Name), d.ArchiveHost)
	}
	return errs
}
