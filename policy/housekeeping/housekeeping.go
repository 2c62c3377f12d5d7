// Package housekeeping does the archive's work beside the mail: it erases disabled archives, runs the retention at its hour, expires the
// records of skips and of who did what, sessions that are over, links and codes that nobody used, moves spooled gaps into the journal, removes what was deleted by hand once its grace is over, frees the
// space of deleted messages, verifies and indexes the archive, keeps the disk from filling up, and warns of a clock that nothing keeps right. After a stop or
// an error each step resumes where it broke off. Nothing needs undoing, and the package stores nothing. It sees the journal and the settings but
// no listener: its owner tells it how to wait for the messages judged so far.
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
	"copialettere/journal/metrics"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/checkpoint"
	"copialettere/policy/notice"
	"copialettere/policy/setup"
)

// How often a Keeper does what.
const (
	keepEvery   = time.Minute
	expireEvery = time.Hour        // the records of skips, and what is short-lived: links, codes, sessions
	purgeEvery  = time.Hour        // what was deleted by hand and can no longer be brought back
	sweepEvery  = 90 * time.Minute // a chunk goes in the second sweep, at least an hour after the first
	sweepAllDay = time.Sunday      // when a sweep reads the whole journal, for what broken transfers left
	remindEvery = 24 * time.Hour   // how often the log repeats that an erasure is blocked
)

// Options are what a Keeper works with. All but Made, Metrics, Look, Erased, Refused, Faulty and AwaitVerdicts are required.
type Options struct {
	Journal  *journal.Journal
	Policy   *policy.Policy
	Settings kv.Store  // where notices wait
	Made     time.Time // when the data folder was made
	Logger   *slog.Logger
	Metrics  *metrics.Registry // nothing is counted where nil
	// AwaitVerdicts blocks until every transaction judged so far has committed or failed: a message judged while an archive was on must not be
	// journaled after its erasure. May be nil where no messages come in.
	AwaitVerdicts func(context.Context) error
	// Refused is called when the daily run of the retention was refused as abnormal, with the reasons. It must not block. May be nil.
	Refused func(reasons []string)
	// Faulty is called when a verification in the background has found its first fault, and when it has ended with faults: with their number, and
	// the first ones in words. It must not block. May be nil.
	Faulty func(faults int64, details []string)
	// Checkpoints makes the daily checkpoint; nil for none.
	Checkpoints *checkpoint.Maker
	// Erased is called when the journal holds nothing more of an archive, with its name (policy.Mailbox.Archive), before the erasure is a fact: whoever
	// keeps something of its messages in memory forgets it. It must not block. May be nil.
	Erased func(archive string)
	// Look is called first in every Keep. May be nil.
	Look func(now time.Time)
}

// Schedule is the part of the configuration that a Keeper follows.
type Schedule struct {
	Archive      *archive.Archive // its Expire runs the retention
	Hour, Minute int              // of the retention's daily run, in the time zone of the machine
	KeepSkips    time.Duration    // how long records of skips are kept
	KeepLogs     int              // for how many months changes of settings, acts on messages and what receipts said of recipients are kept
	VerifyEvery  time.Duration    // from the start of a verification in the background to the next; 0 for never
	VerifyRate   int64            // how many bytes a second it reads at most
}

// due returns when the retention was last due.
func (s *Schedule) due(now time.Time) time.Time {
	due := time.Date(now.Year(), now.Month(), now.Day(), s.Hour, s.Minute, 0, 0, now.Location())
	if now.Before(due) {
		due = due.AddDate(0, 0, -1)
	}
	return due
}

// Keeper keeps house. Configure and EraseSoon may be called at any time; Keep, Verify and Run must each have one caller at a time, and Run calls
// the other two.
type Keeper struct {
	options  Options
	log      *slog.Logger
	schedule atomic.Pointer[Schedule]
	erasing  chan struct{} // has room for one: an archive may be due for erasure

	expired time.Time // when skips were last expired
	tried   time.Time // when the retention last ran, or was refused
	purged  time.Time // when what was deleted by hand was last purged
	swept   time.Time // when the last sweep was
	checked time.Time // when a checkpoint was last made, or failed
	all     time.Time // when the last sweep of the whole journal was

	named map[string]bool // the faults that the log has named of the verification under way; belongs to the caller of Verify

	erasures sync.Mutex           // held while archives are erased
	reminded map[string]time.Time // by mailbox: when the log last said that its erasure is blocked; guarded by erasures
}

// New returns a Keeper. Call Configure before Keep and Run.
func New(o Options) *Keeper {
	if o.Metrics == nil {
		o.Metrics = new(metrics.Registry)
	}
	if o.Faulty == nil {
		o.Faulty = func(int64, []string) {}
	}
	if o.Erased == nil {
		o.Erased = func(string) {}
	}
	return &Keeper{
		options: o, log: o.Logger, erasing: make(chan struct{}, 1), named: make(map[string]bool), reminded: make(map[string]time.Time),
	}
}

// Configure puts a schedule in force.
func (k *Keeper) Configure(s Schedule) { k.schedule.Store(&s) }

// EraseSoon makes Run erase the archives that are due at once. It does not wait.
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
	// An erasure that is asked for does not wait for a sweep or a retention run.
	var erasing sync.WaitGroup
	erasing.Go(func() { k.eraseWhenAsked(ctx) })
	defer erasing.Wait()
	// A verification takes days, and nothing waits for it.
	var verifying sync.WaitGroup
	verifying.Go(func() { k.verifyWhenDue(ctx) })
	defer verifying.Wait()
	// So does taking an archive from before the logs into them.
	verifying.Go(func() { k.adopt(ctx) })
	verifying.Go(func() {
		k.options.Journal.KeepIndexed(ctx, func(err error) {
			k.failed(ctx, "some entries are not indexed yet, and take longer to find; will be tried again", err)
		})
	})
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
	begun := time.Now()
	defer func() { k.log.Debug("housekeeping done", "duration", time.Since(begun)) }()
	if k.options.Look != nil {
		k.options.Look(now)
	}
	if err := k.options.Journal.Unspool(ctx); err != nil {
		k.failed(ctx, "gaps are still spooled", err)
	}
	if now.Sub(k.expired) >= expireEvery {
		k.expired = now
		k.expireSkips(ctx, now)
		if _, err := setup.NewLinks(k.options.Settings).Sweep(ctx, now); err != nil {
			k.failed(ctx, "set-up links not swept, will be tried again", err)
		}
		if _, err := k.schedule.Load().Archive.ForgetEnded(ctx); err != nil {
			k.failed(ctx, "sessions and sign-in links that are over not removed, will be tried again", err)
		}
		if _, err := notice.ForgetCodes(ctx, k.options.Settings, now); err != nil {
			k.failed(ctx, "codes that are too old not removed, will be tried again", err)
		}
	}
	k.erase(ctx, now)
	k.retain(ctx, now)
	k.checkpoint(ctx, now)
	if now.Sub(k.purged) >= purgeEvery {
		k.purged = now
		k.purge(ctx)
	}
	if now.Sub(k.swept) >= sweepEvery {
		k.swept = now
		k.sweep(ctx, now)
	}
}

// failed logs an error, unless the program is being stopped: the next start resumes the work.
func (k *Keeper) failed(ctx context.Context, what string, err error, more ...any) {
	if ctx.Err() == nil {
		k.log.Error(what, append(more, "error", err)...)
	}
}

// purge removes what was deleted by hand and can no longer be brought back.
func (k *Keeper) purge(ctx context.Context) {
	purged, err := k.options.Journal.PurgeDeleted(ctx)
	if purged.Entries > 0 || purged.Damaged > 0 {
		k.log.Info("deleted messages are gone for good", "entries", purged.Entries, "bytes", purged.Bytes, "damaged", purged.Damaged)
	}
	switch {
	case errors.Is(err, journal.ErrAbnormal):
		k.log.Error("deleted messages are kept until the retention has run: look at it with \"copialettere retention -dry-run\"", "error", err)
	case err != nil:
		k.failed(ctx, "deleted messages not all removed, will be tried again", err)
	}
}

// sweep frees the space of deleted messages.
func (k *Keeper) sweep(ctx context.Context, now time.Time) {
	all := now.Weekday() == sweepAllDay && now.Hour() >= k.schedule.Load().Hour && now.Sub(k.all) >= 24*time.Hour
	report, err := k.options.Journal.Sweep(ctx, journal.SweepOptions{All: all})
	if errors.Is(err, journal.ErrDamaged) {
		k.failed(ctx, "sweep left out damaged months", err)
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

// retain runs the retention once a day, at its hour, or as soon afterwards as the daemon is up.
func (k *Keeper) retain(ctx context.Context, now time.Time) {
	r := k.schedule.Load()
	due := r.due(now)
	// If the clock was ahead, tried lies in the future; that must not delay the next run.
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
		k.failed(ctx, "retention left out damaged months", err)
		err = nil
	}
	switch {
	case err == nil:
		k.tried = now
		k.log.Info("retention run", "entries", report.Removed.Entries, "bytes", report.Removed.Bytes, "months_dropped", len(report.Dropped))
		k.expireLogs(ctx, now)
	case errors.Is(err, journal.ErrAbnormal):
		k.tried = now
		k.log.Error("retention refused: look at it with \"copialettere retention -dry-run\"", "reasons", report.Abnormal)
		if k.options.Refused != nil {
			k.options.Refused(report.Abnormal)
		}
	default:
		k.failed(ctx, "retention broken off, will be tried again", err)
	}
}
