package main

import (
	"context"
	"log/slog"

	"copialettere/cmd/copialettere/config"
	"copialettere/policy/auth"
)

// newAuthenticator returns what signs people in. It lets nobody in if the configuration has no [auth].
func newAuthenticator(c *config.Config, a *opened, log *slog.Logger) *auth.Authenticator {
	var source auth.Source
	if c.Auth != nil {
		source = c.Auth.Source
	}
	return auth.New(auth.Options{
		Source: source, Policy: a.policy, Settings: a.folder.Settings, Logger: log, Metrics: a.metrics, Notices: a.notices, Master: c.IMAPC,
	})
}

// checkAuth tries the source of passwords, if the configuration names one, and tells which domains require a second factor.
func (in *invocation) checkAuth(ctx context.Context, running *config.Config) bool {
	c := running.Auth
	for _, d := range running.Domains {
		switch {
		case d.RequireSecondFactor && c == nil:
			in.checked("warning", "require_second_factor of "+d.Name+" has no effect: without [auth] nobody signs in", nil)
		case d.RequireSecondFactor:
			in.checked("second factor", "required of whoever signs in by an address of "+d.Name, nil)
		}
	}
	if c == nil {
		return true
	}
	detail, problems, err := auth.Check(ctx, c.Source)
	ok := in.checked("logins", detail, err)
	for _, problem := range problems {
		ok = in.checked("logins", "", problem) && ok
	}
	return ok
}
