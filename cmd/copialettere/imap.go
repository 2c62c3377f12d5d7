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
	"copialettere/policy/housekeeping"
)

// openTLS returns the certificate of [tls], nil if the configuration has none.
func openTLS(c *config.TLS, m *metrics.Registry, log *slog.Logger) (*tls.Config, error) {
	if c == nil {
		return nil, nil
	}
	certificate, err := housekeeping.OpenCertificate(c.Certificate, c.Key, m, log)
	if err != nil {
		return nil, err
	}
	return certificate.TLS(), nil
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
		d.archive.postfix.Changed()
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

// checkTLS reads the certificate of [tls], if the configuration has it.
func (in *invocation) checkTLS(c *config.TLS) bool {
	if c == nil {
		return true
	}
	end := ""
	certificate, err := housekeeping.OpenCertificate(c.Certificate, c.Key, new(metrics.Registry), slog.New(slog.DiscardHandler))
	if err == nil {
		end = fmt.Sprintf("%s, ends %s", c.Certificate, certificate.End().Format(time.DateOnly))
		if time.Now().After(certificate.End()) {
			err = fmt.Errorf("%s ended on %s: renew it", c.Certificate, certificate.End().Format(time.DateOnly))
		}
	}
	return in.checked("certificate", end, err)
}
