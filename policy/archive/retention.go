package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/policy"
)

// ExpireRequest says how to run the retention.
type ExpireRequest struct {
	DryRun bool // only count
	Yes    bool // go on even if the run is abnormal
	// Progress is called now and then. May be nil.
	Progress func(kv.Month, journal.Removed)
}

// lossFloor is how many messages a run may delete of any mailbox without its owner being told first.
const lossFloor = 10

// retention is what a run of the retention goes by in one mailbox.
type retention struct {
	months int
	held   bool
}

// Expire runs the retention with the current settings of all mailboxes. If it cannot read one, it deletes nothing. Of a mailbox of which it would
// delete more than MaxShare, and whose owner is to be told of that (policy.NotifyBeforeLoss), it deletes nothing until the grace is over. A dry
// run counts those messages too. The error wraps journal.ErrAbnormal if the run is refused as abnormal, and journal.ErrDamaged if it left out
// damaged months.
func (a *Archive) Expire(ctx context.Context, r ExpireRequest) (*journal.ExpireReport, error) {
	settings := make(map[string]retention)
	var told []policy.Mailbox // those whose owners are told before a loss
	for m, err := range a.policy.Mailboxes(ctx) {
		if err != nil {
			return nil, fmt.Errorf("settings for the retention: %w", err)
		}
		now := retention{m.Settings.RetentionAt(time.Now()), m.Settings.Held()}
		settings[m.Archive] = now
		if now.months > 0 && !now.held && m.Settings.Tells(policy.NotifyBeforeLoss) {
			told = append(told, m)
		}
	}
	options := journal.ExpireOptions{
		Mailboxes: func(mailbox string) (int, bool) { return settings[mailbox].months, settings[mailbox].held },
		Yes:       r.Yes, MaxShare: a.options.MaxShare,
	}
	if !r.DryRun && len(told) > 0 {
		if err := a.tellFirst(ctx, options, told, settings); err != nil {
			return nil, fmt.Errorf("look whose owners must be told before the retention: %w", err)
		}
	}
	options.DryRun, options.Progress = r.DryRun, r.Progress
	report, err := a.journal.Expire(ctx, options)
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

// tellFirst puts off the retention of those mailboxes of which a run would delete too much, and tells their owners. A run that will be refused
// tells nobody.
func (a *Archive) tellFirst(ctx context.Context, o journal.ExpireOptions, mailboxes []policy.Mailbox, settings map[string]retention) error {
	o.DryRun = true
	preview, err := a.journal.Expire(ctx, o)
	if preview == nil || len(preview.Abnormal) > 0 && !o.Yes {
		return err
	}
	gone := make(map[string]uint64)
	for _, e := range preview.Expired {
		gone[e.Mailbox] += e.Entries
	}
	for _, m := range mailboxes {
		if gone[m.Archive] <= lossFloor {
			continue
		}
		stats, err := a.journal.Stats(ctx, m.Archive)
		if err != nil && !errors.Is(err, journal.ErrDamaged) {
			return err
		}
		var all uint64
		for _, f := range stats {
			all += f.Entries
		}
		if float64(gone[m.Archive]) <= cmp.Or(o.MaxShare, journal.DefaultMaxShare)*float64(all) {
			continue
		}
		delayed, err := a.policy.DelayRetention(ctx, m.Address)
		if err != nil {
			return err
		}
		if delayed {
			settings[m.Archive] = retention{}
		}
	}
	return nil
}

// Runs yields the past runs of the retention, oldest first.
func (a *Archive) Runs(ctx context.Context) iter.Seq2[*journal.Run, error] {
	return a.journal.Runs(ctx)
}

// RetentionPreview is what a retention would delete of a mailbox now. Others script against its names.
type RetentionPreview struct {
	Mailbox   string     `json:"mailbox"`
	Retention string     `json:"retention"` // months, or "none"
	InForce   string     `json:"in_force"`  // the retention by which a run goes now
	Entries   uint64     `json:"entries"`   // that would be deleted; holds on single messages are not looked at
	Bytes     uint64     `json:"bytes"`
	Oldest    *time.Time `json:"oldest,omitempty"` // when the first of them arrived
	// Months has what would be deleted by month of arrival, oldest first.
	Months []journal.MonthLoss `json:"months,omitempty"`
	Held   *Held               `json:"hold,omitempty"` // the legal hold on the mailbox, because of which nothing is deleted
}

// PreviewRetention counts what a value of the setting retention would delete of a mailbox now; without one, what the retention in force would.
func (a *Archive) PreviewRetention(ctx context.Context, address policy.Address, value string) (RetentionPreview, error) {
	m, err := a.there(ctx, address)
	if err != nil {
		return RetentionPreview{}, err
	}
	now := time.Now()
	inForce := m.Settings.RetentionAt(now)
	months := inForce
	if value != "" {
		if months, err = policy.ParseRetention(value); err != nil {
			return RetentionPreview{}, &policy.SettingError{Key: policy.KeyRetention, Value: value, Remedy: err.Error()}
		}
	}
	v := RetentionPreview{Mailbox: address.String(), Retention: retentionText(months), InForce: retentionText(inForce)}
	if m.Settings.Held() {
		v.Held = &Held{m.Settings.Hold.Reason, m.Settings.Hold.Who, m.Settings.Hold.Since}
		return v, nil
	}
	if months == 0 {
		return v, nil
	}
	gone, err := a.journal.Expiring(ctx, m.Archive, months, now)
	if err != nil {
		return v, err
	}
	v.Entries, v.Bytes, v.Oldest, v.Months = gone.Entries, gone.Bytes, timeOrNil(gone.Oldest), gone.Months
	return v, nil
}

func retentionText(months int) string {
	if months == 0 {
		return "none"
	}
	return strconv.Itoa(months)
}
