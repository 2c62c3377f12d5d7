package main

import (
	"context"
	"crypto/tls"
	"fmt"

	"copialettere/cmd/copialettere/config"
	"copialettere/lmtp/submission"
	"copialettere/policy"
)

// startSubmission opens the listeners of [submission], if the configuration has it.
func (d *daemon) startSubmission(sockets *systemdSockets) error {
	c := d.config.Load().Submission
	if c == nil {
		return nil
	}
	d.submission = submission.NewServer(submission.Config{
		Logins: d.archive.auth, Language: d.language, Name: c.Name, Relay: c.Relay, TLS: d.tls, InsecureLoopback: c.InsecureLoopback,
		MaxConnections: c.MaxConnections, MaxPerAddress: c.MaxPerAddress, Logger: d.log, Metrics: d.archive.metrics,
	})
	for _, l := range c.Listen {
		list, err := listen([]config.Listener{l.Listener}, 0, "", sockets)
		if err != nil {
			return fmt.Errorf("submission: %w", err)
		}
		var fromFirstByte *tls.Config
		if l.TLS {
			fromFirstByte = d.tls
		}
		for _, nl := range list {
			d.log.Info("listening", "serves", "submission", "address", nl.Addr().String(), "tls", l.TLS)
			d.run(func() error { return d.submission.Serve(nl, fromFirstByte) })
		}
	}
	return nil
}

// language returns the language of a mailbox.
func (d *daemon) language(ctx context.Context, mailbox policy.Address) policy.Language {
	s, err := d.archive.policy.Settings(ctx, mailbox)
	if err != nil {
		return policy.Italian
	}
	return s.Language
}

// checkRelay connects to the relay of [submission], if the configuration names one.
func (in *invocation) checkRelay(ctx context.Context, c *config.Submission) bool {
	if c == nil || c.Relay == (submission.Relay{}) {
		return true
	}
	detail, err := c.Relay.Check(ctx, c.Name)
	return in.checked("relay "+c.Relay.String(), detail, err)
}
