package archive

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"copialettere/journal"
	"copialettere/journal/kv"
)

// ExpireRequest says how to run the retention.
type ExpireRequest struct {
	DryRun bool // only count
	Yes    bool // go on even if the run is abnormal
	// Progress is called now and then. May be nil.
	Progress func(kv.Month, journal.Removed)
}

// Expire runs the retention with the current settings of all mailboxes. If it cannot read one, it deletes nothing. The error wraps
// journal.ErrAbnormal if the run is refused as abnormal, and journal.ErrDamaged if it left out damaged months.
func (a *Archive) Expire(ctx context.Context, r ExpireRequest) (*journal.ExpireReport, error) {
	type retention struct {
		months int
		held   bool
	}
	settings := make(map[string]retention)
	for m, err := range a.policy.Mailboxes(ctx) {
		if err != nil {
			return nil, fmt.Errorf("settings for the retention: %w", err)
		}
		settings[m.Archive] = retention{m.Settings.Retention, m.Settings.Held()}
	}
	report, err := a.journal.Expire(ctx, journal.ExpireOptions{
		Mailboxes: func(mailbox string) (int, bool) { return settings[mailbox].months, settings[mailbox].held },
		DryRun:    r.DryRun, Yes: r.Yes, MaxShare: a.options.MaxShare, Progress: r.Progress,
	})
	ran := report != nil && !r.DryRun && !errors.Is(err, journal.ErrAbnormal)
	if ran && len(report.Expired) > 0 && a.options.Expired != nil {
		a.options.Expired(report)
	}
	if report != nil {
		for i := range report.Expired {
			report.Expired[i].Mailbox = a.address(ctx, report.Expired[i].Mailbox)
		}
	}
	return report, err
}

// Runs yields the past runs of the retention, oldest first.
func (a *Archive) Runs(ctx context.Context) iter.Seq2[*journal.Run, error] {
	return a.journal.Runs(ctx)
}
