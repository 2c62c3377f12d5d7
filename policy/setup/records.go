package setup

import (
	"cmp"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"copialettere/policy"
)

// recordTTL is for how long resolvers keep the records, in seconds.
const recordTTL = 3600

// Record is a record of the DNS. Others script against its names.
type Record struct {
	Name string `json:"name"` // absolute, with its dot
	TTL  int    `json:"ttl"`  // seconds
	Type string `json:"type"` // SRV or CNAME
	Data string `json:"data"` // as in a zone file
	// About says what it is for.
	About string `json:"about"`
}

// String returns the record as a line of a zone file (RFC 1035 section 5.1).
func (r Record) String() string {
	return fmt.Sprintf("%-44s %d IN %-5s %s", r.Name, r.TTL, r.Type, r.Data)
}

// Records returns the records by which programs find the servers of a mail domain or an archive host: RFC 6186 and RFC 8314 section 5.1, and the
// names at which Thunderbird and Outlook ask. A service that is not offered has the target "." (RFC 2782), so that no program tries. The error
// wraps ErrNotOffered.
func (g *Guide) Records(domain string) ([]Record, error) {
	d, ok := g.Discover(domain)
	if !ok {
		return nil, fmt.Errorf("records of %.100s: %w: it is neither an archive host (of [auth] or [[archive_host]], with [imap]), nor a [[domain]] with [mailbox_servers]", domain, ErrNotOffered)
	}
	var list []Record
	servers := d.Incoming
	if d.Outgoing != nil {
		servers = append(servers[:len(servers):len(servers)], *d.Outgoing)
	}
	for _, s := range []struct {
		service  string
		protocol Protocol
		security Security
		priority int // the lower one is preferred: RFC 6186 section 3.4
		about    string
	}{
		{"imaps", IMAP, TLS, 0, "IMAP with TLS"}, {"imap", IMAP, STARTTLS, 0, "IMAP with STARTTLS"},
		{"pop3s", POP3, TLS, 10, "POP3 with TLS"}, {"pop3", POP3, STARTTLS, 10, "POP3 with STARTTLS"},
		{"submissions", SMTP, TLS, 0, "outgoing mail with TLS"}, {"submission", SMTP, STARTTLS, 0, "outgoing mail with STARTTLS"},
	} {
		r := Record{fmt.Sprintf("_%s._tcp.%s.", s.service, d.Domain), recordTTL, "SRV", "0 0 0 .", s.about + ": not offered"}
		for _, server := range servers {
			if server.Protocol == s.protocol && server.Security == s.security {
				r.Data, r.About = fmt.Sprintf("%d 1 %d %s.", s.priority, server.Port, strings.TrimSuffix(server.Host, ".")), s.about
			}
		}
		list = append(list, r)
	}
	u, err := url.Parse(g.config.PublicURL)
	if err != nil || u.Hostname() == "" {
		return list, nil
	}
	if _, err := netip.ParseAddr(u.Hostname()); err == nil {
		return list, nil // no record can lead to an address
	}
	host, port := policy.ASCIIDomain(u.Hostname())+".", cmp.Or(u.Port(), "443")
	for _, name := range []Record{
		{"autoconfig." + d.Domain + ".", recordTTL, "CNAME", host, "where Thunderbird asks, on port 443"},
		{"autodiscover." + d.Domain + ".", recordTTL, "CNAME", host, "where Outlook asks, on port 443"},
	} {
		if name.Name != host {
			list = append(list, name)
		}
	}
	return append(list, Record{"_autodiscover._tcp." + d.Domain + ".", recordTTL, "SRV", "0 1 " + port + " " + host, "where Outlook asks otherwise"}), nil
}
