package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"time"

	"copialettere/cmd/copialettere/config"
	"copialettere/journal/imapd"
	"copialettere/journal/metrics"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
	"copialettere/policy/housekeeping"
)

// keepTLS returns the certificates of [tls] and of each [[archive_host]] for listeners, nil if the configuration has none. Mail must flow whatever is wrong
// with them.
func keepTLS(c *config.Config, m *metrics.Registry, log *slog.Logger) *tls.Config {
	if c.TLS == nil {
		return nil
	}
	certificate := housekeeping.KeepCertificate("certificate", c.TLS.Certificate, c.TLS.Key, m, log)
	var others []*housekeeping.Certificate
	for _, h := range c.ArchiveHosts {
		if h.Certificate != "" {
			others = append(others, housekeeping.KeepCertificate("archive_host "+h.Name, h.Certificate, h.Key, m, log))
		}
	}
	return certificate.TLS(others...)
}

// startIMAP opens the listeners of [imap], if the configuration has it.
func (d *daemon) startIMAP(sockets *systemdSockets) error {
	running := d.config.Load()
	c := running.IMAP
	if c == nil {
		return nil
	}
	d.imap = imapd.NewServer(imapd.Config{
		Archive: func() *archive.Archive { return d.backend.Load().Archive }, Logins: d.archive.auth, Name: c.Name, TLS: d.tls,
		InsecureLoopback: c.InsecureLoopback, MaxConnections: c.MaxConnections, MaxPerAddress: c.MaxPerAddress, MaxPerMailbox: c.MaxPerMailbox,
		Logger: d.log, Metrics: d.archive.metrics,
	})
	d.archive.policy.OnChange(func() {
		d.archive.settingsChanged()
		d.imap.SettingsChanged()
	})
	d.archive.auth.OnChange(func() {
		d.archive.dovecot.Changed()
		d.imap.SettingsChanged()
	})
	for _, l := range c.Listen {
		list, err := listen([]config.Listener{l.Listener}, 0, "", sockets)
		if err != nil {
			return fmt.Errorf("imap: %w", err)
		}
		var fromFirstByte *tls.Config
		if l.TLS {
			fromFirstByte = d.tls
		}
		for _, nl := range list {
			d.log.Info("listening", "serves", "imap", "address", nl.Addr().String(), "tls", l.TLS)
			d.run(func() error { return d.imap.Serve(nl, fromFirstByte) })
		}
	}
	return nil
}

// checkTLS reads the certificates that the configuration has.
func (in *invocation) checkTLS(c *config.Config) bool {
	ok := true
	if c.TLS != nil {
		ok = in.checkCertificate("certificate", c.TLS.Certificate, c.TLS.Key)
	}
	for _, h := range c.ArchiveHosts {
		if h.Certificate != "" {
			ok = in.checkCertificate("certificate of "+h.Name, h.Certificate, h.Key, h.IMAP, h.Submission) && ok
		}
	}
	return ok
}

// checkCertificate reads a certificate, which must be for all of the hosts.
func (in *invocation) checkCertificate(name, file, key string, hosts ...string) bool {
	end := ""
	certificate, err := housekeeping.OpenCertificate(name, file, key, new(metrics.Registry), slog.New(slog.DiscardHandler))
	if err == nil {
		end = fmt.Sprintf("%s, ends %s", file, certificate.End().Format(time.DateOnly))
		if time.Now().After(certificate.End()) {
			err = fmt.Errorf("%s ended on %s: renew it", file, certificate.End().Format(time.DateOnly))
		}
	}
	for _, host := range hosts {
		if err == nil {
			err = certificate.For(host)
		}
	}
	return in.checked(name, end, err)
}

// checkIMAPC reads the password of the provider's Dovecot, if the configuration names its file.
func (in *invocation) checkIMAPC(m *auth.Master) bool {
	if m == nil {
		return true
	}
	return in.checked("imapc", m.KeyFile, m.Check())
}
