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

// checkAuth tries the source of passwords, if the configuration names one.
func (in *invocation) checkAuth(ctx context.Context, c *config.Auth) bool {
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
