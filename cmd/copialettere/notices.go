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
	"copialettere/policy"
	"copialettere/policy/notice"
)

// newPump returns the pump that mails the notices, nil where none are configured.
func newPump(c *config.Config, a *opened, log *slog.Logger) *notice.Pump {
	if c.Notices == nil {
		return nil
	}
	o := noticeOptions(c, a.policy, log)
	o.Metrics = a.metrics
	o.Expiring = func(ctx context.Context, mailbox string, months int, at time.Time) (journal.Removed, time.Time, error) {
		loss, err := a.journal.Expiring(ctx, mailbox, months, at) // it is opened after this
		return loss.Removed, loss.Oldest, err
	}
	queue := notice.New(a.folder.Settings, o)
	relay := nexthop.New(c.Notices.Relay, nexthop.Options{Logger: log, Metrics: a.metrics})
	return notice.NewPump(queue, sendThrough(relay), log)
}

// noticeOptions returns what the configuration says of notices, where it has any.
func noticeOptions(c *config.Config, p *policy.Policy, log *slog.Logger) notice.Options {
	host, err := os.Hostname()
	if err != nil {
		host = "this machine"
	}
	return notice.Options{Policy: p, From: c.Notices.From, MaxPerDay: c.Notices.MaxPerDay, Operator: c.Notices.Operator, Host: host, Logger: log}
}

// queueGaps queues notices of gaps that went on record, for the daemon to mail.
func queueGaps(ctx context.Context, queue *notice.Queue, gaps []journal.Record, now time.Time) error {
	for i := range gaps {
		if n, ok := notice.OfGap(&gaps[i], now); ok {
			if err := queue.Add(ctx, n); err != nil {
				return fmt.Errorf("queue a notice of a gap: %w", err)
			}
		}
	}
	return nil
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
