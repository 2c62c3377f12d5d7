package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"copialettere/cmd/copialettere/config"
	"copialettere/journal"
	"copialettere/lmtp/nexthop"
	"copialettere/policy/notice"
)

// newPump returns the pump that mails the notices, nil where none are configured.
func newPump(c *config.Config, a *opened, log *slog.Logger) *notice.Pump {
	if c.Notices == nil {
		return nil
	}
	host, err := os.Hostname()
	if err != nil {
		host = "this machine"
	}
	queue := notice.New(a.folder.Settings, notice.Options{
		Policy: a.policy, From: c.Notices.From, MaxPerDay: c.Notices.MaxPerDay, Operator: c.Notices.Operator, Host: host,
		Expiring: func(ctx context.Context, mailbox string, months int, at time.Time) (journal.Removed, time.Time, error) {
			loss, err := a.journal.Expiring(ctx, mailbox, months, at) // it is opened after this
			return loss.Removed, loss.Oldest, err
		},
		Logger: log, Metrics: a.metrics,
	})
	relay := nexthop.New(c.Notices.Relay, nexthop.Options{Logger: log, Metrics: a.metrics})
	return notice.NewPump(queue, sendThrough(relay), log)
}

// sendThrough returns a notice.Send that submits to a relay. It gives the relay's errors the names that notice decides on.
func sendThrough(relay *nexthop.Hop) notice.Send {
	return func(ctx context.Context, from, to string, message []byte) error {
		err := relay.Submit(ctx, from, to, message)
		if _, ok := errors.AsType[*nexthop.ConnectError](err); ok {
			return fmt.Errorf("%w: %w", notice.ErrUnreachable, err)
		}
		if errors.Is(err, nexthop.ErrUnknown) {
			return fmt.Errorf("%w: %w", notice.ErrUnknown, err)
		}
		if refused, ok := errors.AsType[*nexthop.RefusedError](err); ok && refused.Reply.Permanent() {
			return fmt.Errorf("%w: %w", notice.ErrRefused, err)
		}
		return err
	}
}
