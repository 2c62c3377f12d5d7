package main

import (
	"context"
	"log/slog"

	"copialettere/cmd/copialettere/config"
	"copialettere/policy/auth"
)

// newAuthenticator returns what signs people in, nil if the configuration has no [auth].
func newAuthenticator(c *config.Config, a *opened, log *slog.Logger) *auth.Authenticator {
	if c.Auth == nil {
		return nil
	}
	return auth.New(auth.Options{Source: c.Auth.Source, Policy: a.policy, Logger: log})
}

// checkAuth tries the source of passwords, if the configuration names one.
func (in *invocation) checkAuth(ctx context.Context, c *config.Auth) bool {
	if c == nil {
		return true
	}
	a := auth.New(auth.Options{Source: c.Source, Logger: slog.New(slog.DiscardHandler)})
	defer a.Close()
	detail, err := a.Probe(ctx)
	ok := in.checked("logins", detail, err)
	for _, problem := range a.Problems() {
		ok = in.checked("logins", "", problem) && ok
	}
	return ok
}
