package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"copialettere/cmd/copialettere/config"
	"copialettere/journal/httpd"
	"copialettere/journal/httpd/clamd"
	"copialettere/journal/httpd/pages"
	"copialettere/journal/metrics"
	"copialettere/policy/archive"
	"copialettere/policy/housekeeping"
	"copialettere/policy/setup"
)

// startWeb opens the listeners of [web], if the configuration has it.
func (d *daemon) startWeb(sockets *systemdSockets) error {
	c := d.config.Load().Web
	if c == nil {
		return nil
	}
	d.web = httpd.NewServer(httpd.ServerConfig{
		Handler: http.HandlerFunc(d.serveWeb), TLS: d.tls, MaxConnections: c.MaxConnections, MaxPerAddress: c.MaxPerAddress,
		Logger: d.log, Metrics: d.archive.metrics,
	})
	for _, l := range c.Listen {
		list, err := listen([]config.Listener{l.Listener}, 0, "", sockets)
		if err != nil {
			return fmt.Errorf("web: %w", err)
		}
		for _, nl := range list {
			d.log.Info("listening", "serves", "web", "address", nl.Addr().String(), "tls", l.TLS)
			d.run(func() error { return d.web.Serve(nl, l.TLS) })
		}
	}
	return nil
}

// newPages returns the pages under a configuration, and nothing if they cannot be made: mail goes on without them.
func (d *daemon) newPages(acts *archive.Archive, brands *brands) http.Handler {
	o := pages.Options{Archive: acts, Pulls: d.archive.pulls, Auth: d.archive.auth, Search: d.archive.search, Exports: d.archive.exports, Logger: d.log, Brand: brands.of, Version: version}
	if c := d.config.Load().Scan; c.Address != "" {
		o.Scanner = clamd.New(c.Network, c.Address)
	}
	p, err := pages.New(o)
	if err != nil {
		d.log.Error("the pages cannot be shown", "error", err)
		return nil
	}
	return p
}

// brands is how the provider presents itself under a configuration.
type brands struct {
	config *config.Config
	logos  []httpd.Logo
	paths  map[string]string // of logos, by file
}

// newBrands reads the logos. One that cannot be used is not shown.
func newBrands(c *config.Config, log *slog.Logger) *brands {
	b := &brands{c, nil, make(map[string]string)}
	served := make(map[string]bool)
	for _, file := range logosOf(c) {
		logo, err := httpd.ReadLogo(file)
		if err != nil {
			log.Warn("the pages show no logo", "error", err)
			continue
		}
		b.paths[file] = logo.Path
		if !served[logo.Path] {
			served[logo.Path] = true
			b.logos = append(b.logos, logo)
		}
	}
	return b
}

// logosOf returns the files of all logos of a configuration.
func logosOf(c *config.Config) (files []string) {
	if c.Web == nil {
		return nil
	}
	for _, domain := range append([]config.Domain{{Brand: c.Web.Brand}}, c.Domains...) {
		if domain.Brand.Logo != "" {
			files = append(files, domain.Brand.Logo)
		}
	}
	slices.Sort(files)
	return slices.Compact(files)
}

// of returns how the provider presents itself in a domain.
func (b *brands) of(domain string) pages.Brand {
	own := b.config.Brand(domain)
	return pages.Brand{Title: own.Title, Logo: b.paths[own.Logo], SupportURL: own.SupportURL, MoreRoomURL: own.MoreRoomURL}
}

// checkPages warns of a proxy that is not named, and of logos that cannot be shown.
func (in *invocation) checkPages(c *config.Config) {
	if c.Web == nil {
		return
	}
	if len(c.TrustedProxies()) == 0 && !slices.ContainsFunc(c.Web.Listen, func(l config.SecureListener) bool { return l.TLS }) {
		in.checked("warning", "[web] listens without TLS alone, and names no proxy: all people seem to come from its address; write trusted_proxies = [\"127.0.0.1/32\"]", nil)
	}
	for _, file := range logosOf(c) {
		if _, err := httpd.ReadLogo(file); err != nil {
			in.checked("warning", "the pages show no picture: "+err.Error(), nil)
		}
	}
}

// serveWeb answers under the configuration that is in force when the request comes.
func (d *daemon) serveWeb(w http.ResponseWriter, r *http.Request) { (*d.pages.Load()).ServeHTTP(w, r) }

// checkSetUp warns of names that the set-up of programs tells and the certificates are not for, and of keys that all can read. It tries the signature of
// profiles.
func (in *invocation) checkSetUp(c *config.Config) bool {
	in.warnOfKeys(c)
	if c.TLS != nil {
		certificate, err := housekeeping.OpenCertificate("certificate", c.TLS.Certificate, c.TLS.Key, new(metrics.Registry), slog.New(slog.DiscardHandler))
		if err != nil && c.Profile == nil {
			return true // checkTLS has said so
		}
		if err == nil {
			in.warnOfNames(certificate, namesOf(c))
		}
	}
	signer := c.SetUp().Signer
	if signer == (setup.Signer{}) {
		return true
	}
	return in.checked("signature of profiles", signer.Certificate, signer.Check())
}

// warnOfNames warns of names that a certificate is not for.
func (in *invocation) warnOfNames(certificate *housekeeping.Certificate, names []toldName) {
	for _, name := range names {
		if err := certificate.For(name.host); err != nil {
			in.checked("warning", fmt.Sprintf("programs are told to connect to %s (%s), and will not trust that: %v", name.host, name.key, err), nil)
		}
	}
}

// warnOfKeys warns of private keys that every user of the machine can read.
func (in *invocation) warnOfKeys(c *config.Config) {
	var keys []string
	if c.TLS != nil {
		keys = append(keys, c.TLS.Key)
	}
	if c.Profile != nil {
		keys = append(keys, c.Profile.Key)
	}
	for _, h := range c.ArchiveHosts {
		if h.Key != "" {
			keys = append(keys, h.Key)
		}
	}
	for _, key := range keys {
		if info, err := os.Stat(key); err == nil && info.Mode().Perm()&0o007 != 0 {
			in.checked("warning", fmt.Sprintf("every user of the machine can read the private key %s: chmod 0640, in the group of the daemon's user", key), nil)
		}
	}
}

// toldName is a host to which programs are told to connect, and where the configuration has it.
type toldName struct{ host, key string }

// namesOf returns the hosts for which the certificate of [tls] has to be.
func namesOf(c *config.Config) (names []toldName) {
	if c.IMAP != nil {
		names = append(names, toldName{c.IMAP.Name, "[imap] name"})
	}
	if c.Submission != nil {
		names = append(names, toldName{c.Submission.Name, "[submission] name"})
	}
	for _, h := range c.ArchiveHosts {
		if h.Certificate == "" {
			names = append(names, toldName{h.IMAP, "[[archive_host]] imap"}, toldName{h.Submission, "[[archive_host]] submission"})
		}
	}
	if w := c.Web; w != nil && slices.ContainsFunc(w.Listen, func(l config.SecureListener) bool { return l.TLS }) {
		if u, err := url.Parse(w.PublicURL); err == nil && u.Hostname() != "" {
			names = append(names, toldName{u.Hostname(), "[web] public_url"})
		}
	}
	slices.SortStableFunc(names, func(a, b toldName) int { return strings.Compare(a.host, b.host) })
	return slices.CompactFunc(names, func(a, b toldName) bool { return a.host == b.host })
}
