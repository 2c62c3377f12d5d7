package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"copialettere/cmd/copialettere/config"
	"copialettere/journal/httpd"
	"copialettere/policy/auth"
	"copialettere/policy/dovecot"
)

// newDovecot returns what writes the files for Dovecot, nil if the configuration has no [dovecot].
func newDovecot(c *config.Config, a *opened, log *slog.Logger) *dovecot.Keeper {
	if c.Dovecot == nil {
		return nil
	}
	return dovecot.New(dovecot.Options{Folder: c.Dovecot.Files, Policy: a.policy, Auth: a.auth, Logger: log, Metrics: a.metrics})
}

// checkDovecot looks whether Dovecot finds and reads the files, if the configuration names a folder for them.
func (in *invocation) checkDovecot(c *config.Dovecot) bool {
	if c == nil {
		return true
	}
	problems := dovecot.Check(c.Files, c.User)
	for _, problem := range problems {
		in.checked("files for Dovecot", "", problem)
	}
	return len(problems) == 0 && in.checked("files for Dovecot", c.Files+", the user "+c.User+" reads them", nil)
}

// startDovecotPolicy opens the listeners of [dovecot_policy], if the configuration has it.
func (d *daemon) startDovecotPolicy(sockets *systemdSockets) error {
	c := d.config.Load().DovecotPolicy
	if c == nil {
		return nil
	}
	key, err := auth.ReadProviderKey(c.KeyFile)
	if err != nil {
		return fmt.Errorf("dovecot_policy: %w", err)
	}
	server := &http.Server{
		Handler:           httpd.DovecotPolicy(auth.NewProvider(d.archive.auth, c.Webmail), key, d.archive.metrics),
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 20 * time.Second, WriteTimeout: 20 * time.Second, IdleTimeout: 5 * time.Minute,
		ErrorLog: slog.NewLogLogger(d.log.Handler(), slog.LevelWarn),
	}
	d.admin = append(d.admin, server)
	for _, l := range c.Listen {
		list, err := listen([]config.Listener{l.Listener}, 0, "", sockets)
		if err != nil {
			return fmt.Errorf("dovecot_policy: %w", err)
		}
		for _, nl := range list {
			d.log.Info("listening", "serves", "Dovecot's policy requests", "address", nl.Addr().String(), "tls", l.TLS)
			if l.TLS {
				nl = tls.NewListener(nl, d.tls)
			}
			d.run(func() error { return server.Serve(nl) })
		}
	}
	return nil
}

// checkDovecotPolicy reads the key of [dovecot_policy], if the configuration has it.
func (in *invocation) checkDovecotPolicy(c *config.DovecotPolicy) bool {
	if c == nil {
		return true
	}
	_, err := auth.ReadProviderKey(c.KeyFile)
	return in.checked("key for Dovecot's policy requests", c.KeyFile, err)
}
