package main

import (
	"log/slog"

	"copialettere/cmd/copialettere/config"
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
