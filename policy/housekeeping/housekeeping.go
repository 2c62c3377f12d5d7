// Package housekeeping does what is due in the archive beside the mail: it erases what was disabled, runs the retention at its hour, forgets the
// records of skips, takes spooled gaps in, gives the room of deleted messages back, and keeps the disk from filling up. Each step goes on where
// it was broken off, by a stop or an error: there is nothing to undo, and nothing of its own is stored. It sees the journal and the settings,
// and knows no listener: whoever runs it says how to wait for the messages that were judged so far.
package housekeeping

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/policy"
	"copialettere/policy/archive"
)

// How often the house is kept, the keeper forgets the records of skips, and gives the room of deleted messages back.
const (
	keepEvery   = time.Minute
	expireEvery = time.Hour
	sweepEvery  = 90 * time.Minute // a chunk goes in the second sweep, at least an hour after the first
	sweepAllDay = time.Sunday      // when a sweep reads the whole journal, for what broken transfers have left
	remindEvery = 24 * time.Hour   // how often it is logged that a hold stands in the way of an erasure
)

// Options are what a Keeper stands on. All but Look and AwaitVerdicts are required.
type Options struct {
	Journal  *journal.Journal
	Policy   *policy.Policy
	Settings kv.Store // in which the notices wait
	Logger   *slog.Logger
	// AwaitVerdicts blocks until every message judged so far has been archived or given up: one that was judged while an archive was on must not
	// come behind its erasure. May be nil where no messages come.
	AwaitVerdicts func(context.Context) error
	// Look is called whenever the house is kept, before all else. May be nil.
	Look func(now time.Time)
}

// Schedule is what a configuration says.
type Schedule struct {
	Archive      *archive.Archive // by whose Expire the retention runs
	Hour, Minute int              // of the retention's daily run, in the time zone of the machine
	KeepSkips    time.Duration    // for how long records of skips are kept
}

// Keeper keeps house. Configure and EraseSoon may be called at any time; Keep and Run have one caller at a time.
type Keeper struct {
	options  Options
	log      *slog.Logger
	schedule atomic.Pointer[Schedule]
	erasing  chan struct{} // has room for one: an archive may have to be erased at once

	expired time.Time // when skips were last expired
	tried   time.Time // when the retention last ran, or was refused
	swept   time.Time // when the last sweep was
	all     time.Time // when the last one of everything was

	erasures sync.Mutex           // held while archives are erased
	reminded map[string]time.Time // by mailbox: when it was logged that it cannot be erased; guarded by erasures
}

// New returns a Keeper. Configure comes before Keep and Run.
func New(o Options) *Keeper {
	return &Keeper{options: o, log: o.Logger, erasing: make(chan struct{}, 1), reminded: make(map[string]time.Time)}
}

// Configure puts a schedule in force.
func (k *Keeper) Configure(s Schedule) { k.schedule.Store(&s) }

// EraseSoon has Run erase at once what is to be erased. It does not wait.
func (k *Keeper) EraseSoon() {
	select {
	case k.erasing <- struct{}{}:
	default:
	}
}

// Run keeps house until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	// What is to be erased at once does not wait for a sweep or a run of the retention.
	var erasing sync.WaitGroup
	erasing.Go(func() { k.eraseWhenAsked(ctx) })
	defer erasing.Wait()
	for {
		k.Keep(ctx, time.Now())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Keep does what is due now.
func (k *Keeper) Keep(ctx context.Context, now time.Time) {
	if k.options.Look != nil {
		k.options.Look(now)
	}
	if err := k.options.Journal.Unspool(ctx); err != nil {
		k.failed(ctx, "gaps are still spooled", err)
	}
	if now.Sub(k.expired) >= expireEvery {
		k.expired = now
		k.expireSkips(ctx, now)
	}
	k.erase(ctx, now)
	k.retain(ctx, now)
	if now.Sub(k.swept) >= sweepEvery {
		k.swept = now
		k.sweep(ctx, now)
	}
}

// failed logs an error, unless it is that the program is being stopped: the next start goes on.
func (k *Keeper) failed(ctx context.Context, what string, err error, more ...any) {
	if ctx.Err() == nil {
		k.log.Error(what, append(more, "error", err)...)
	}
}

// sweep gives the room of deleted messages back.
func (k *Keeper) sweep(ctx context.Context, now time.Time) {
	all := now.Weekday() == sweepAllDay && now.Hour() >= k.schedule.Load().Hour && now.Sub(k.all) >= 24*time.Hour
	report, err := k.options.Journal.Sweep(ctx, journal.SweepOptions{All: all})
	if errors.Is(err, journal.ErrDamaged) {
		k.failed(ctx, "sweep without some months", err)
		err = nil
	}
	switch {
	case err != nil:
		k.failed(ctx, "sweep broken off, will be tried again", err)
	case all:
		k.all = now
		fallthrough
	case report.Deleted > 0:
		k.log.Info("sweep", "chunks", report.Deleted, "bytes", report.Bytes, "all", all)
	}
}

func (k *Keeper) expireSkips(ctx context.Context, now time.Time) {
	n, err := k.options.Journal.ExpireSkips(ctx, now.Add(-k.schedule.Load().KeepSkips))
	if err != nil {
		k.failed(ctx, "records of skips not expired", err)
	} else if n > 0 {
		k.log.Info("records of skips expired", "records", n)
	}
}

// retain runs the retention once a day, at its hour or as soon after it as the daemon is up.
func (k *Keeper) retain(ctx context.Context, now time.Time) {
	r := k.schedule.Load()
	due := time.Date(now.Year(), now.Month(), now.Day(), r.Hour, r.Minute, 0, 0, now.Location())
	if now.Before(due) {
		due = due.AddDate(0, 0, -1)
	}
	// A clock that was ahead must not put the next run off to where it was.
	if !k.tried.Before(due) && !k.tried.After(now) {
		return
	}
	last, err := k.options.Journal.LastRun(ctx, now)
	if err == nil && !last.Before(due) {
		k.tried = last
		return
	}
	if err != nil {
		k.failed(ctx, "retention not run", err)
		return
	}
	report, err := r.Archive.Expire(ctx, archive.ExpireRequest{})
	if report != nil && errors.Is(err, journal.ErrDamaged) {
		k.failed(ctx, "retention without some months", err)
		err = nil
	}
	switch {
	case err == nil:
		k.tried = now
		k.log.Info("retention run", "entries", report.Removed.Entries, "bytes", report.Removed.Bytes, "months_dropped", len(report.Dropped))
	case errors.Is(err, journal.ErrAbnormal):
		k.tried = now
		k.log.Error("retention refused: look at it with \"copialettere retention -dry-run\"", "reasons", report.Abnormal)
	default:
		k.failed(ctx, "retention broken off, will be tried again", err)
	}
}
