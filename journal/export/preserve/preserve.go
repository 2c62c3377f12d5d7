// Package preserve hands certified mail to a service for legal preservation: once a day a package of the day before, for each mailbox that the
// configuration selects, and it notes the receipts that come back. What it knows of packages is kept by copialettere/policy/preservation.
//
// # Layout on disk
//
//	DROP/2026-11-29_mario@alpha.test.zip   the package of a mailbox and a day (UTC): a ZIP of export.FormZIP with PIndex.xml, mode 0640
//	DROP/.copialettere/NAME                the package while it is made: see copialettere/journal/export
//	RECEIPTS/2026-11-29_mario@alpha.test.* receipts, which the service puts there. They are read, and never changed
//
// A package has what was journaled on that day and is archive.Preservable. A day without such mail has none. The same day makes the same bytes, but for
// what has changed in the archive meanwhile. DROP is not made: the disk may not be mounted.
//
// # Once
//
// A package is made whole under DROP/.copialettere, then it is put on record, then renamed, and then the day is noted as done. A package that is on record
// and no longer under DROP/.copialettere was renamed: it is not made again, also when the service has taken it away already. Only where that folder is gone
// too, or the configuration names another one before the package was renamed, it is lost, and made again under the same name.
//
// # Every day
//
// A mailbox is dealt with from its last day on record on, however long the program or the folder was away. One that has none begins with the day before, or
// earlier where days were not done for all mailboxes: what is on record of that begins with the first look, whether that succeeds or not. A day on
// record that is still to come is of a clock that was wrong: it is taken back.
package preserve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"copialettere/journal/export/sincro"
	"copialettere/journal/metrics"
	"copialettere/policy/archive"
	"copialettere/policy/preservation"
)

const (
	lookEvery  = time.Minute
	retryAfter = 10 * time.Minute // after something failed
	alarmAfter = time.Hour        // for which the hand-over must have failed before the operator is told: a disk may be mounted late
	// lag is how long after midnight (UTC) a day is handed over: a message that came before it may still be committed.
	lag = time.Hour
	// workFolder is where packages are made, in the folder for them.
	workFolder = ".copialettere"
)

// Config is what may change while the program runs.
type Config struct {
	Archive  *archive.Archive
	Settings preservation.Settings
}

// Options are what a Service works with. Ledger and Logger are required.
type Options struct {
	Ledger  *preservation.Ledger
	Logger  *slog.Logger
	Metrics *metrics.Registry // nothing is counted where nil
	Version string            // of the program, for PIndex.xml
	// Tell tells the operator, in a text of several lines, and waits for nothing. May be nil.
	Tell func(text string)
	// Step is called before each step that changes a disk, and what it returns ends the work on that package. It is called by several
	// goroutines at once. May be nil.
	Step func(what string) error
}

// Service hands packages over. Configure may be called at any time; Run and Look have one caller.
type Service struct {
	options           Options
	log               *slog.Logger
	made, failed, got *metrics.Counter
	overdue, behind   *metrics.Gauge
	wake              chan struct{} // has room for one: the configuration has changed

	mu     sync.Mutex
	config Config // guarded by mu
	anew   bool   // the configuration has changed since the last Look; guarded by mu

	// The rest belongs to the caller of Look.
	done    string               // the last day that was dealt with for all mailboxes
	tried   time.Time            // when a hand-over last failed
	failing time.Time            // since when it fails; zero: it does not
	told    bool                 // the operator was told of that
	unread  time.Time            // when the folder for receipts could last not be read
	counted time.Time            // when overdue packages were last counted
	seen    map[string]time.Time // the files in the folder for receipts that need no more looking at, with the time of their last change
	refused map[string]time.Time // those that could not be read, with when that was tried
}

// New returns a Service. Call Configure before anything else.
func New(o Options) *Service {
	if o.Metrics == nil {
		o.Metrics = new(metrics.Registry)
	}
	if o.Tell == nil {
		o.Tell = func(string) {}
	}
	if o.Step == nil {
		o.Step = func(string) error { return nil }
	}
	m := o.Metrics
	return &Service{
		options: o, log: o.Logger, wake: make(chan struct{}, 1),
		made:    m.Counter("copialettere_preservation_packages_total", "Packages that were handed over for legal preservation."),
		failed:  m.Counter("copialettere_preservation_failures_total", "Packages for legal preservation, or looks for their receipts, that failed and are tried again."),
		got:     m.Counter("copialettere_preservation_receipts_total", "Receipts of packages for legal preservation that were noted."),
		overdue: m.Gauge("copialettere_preservation_overdue", "Packages for legal preservation whose receipt has not come in time."),
		behind:  m.Gauge("copialettere_preservation_days_behind", "Days whose certified mail is not handed over for all mailboxes yet, though it is due: over 0 while something fails."),
	}
}

// Configure puts a configuration in force.
func (s *Service) Configure(c Config) {
	s.mu.Lock()
	s.config, s.anew = c, true
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run hands packages over until ctx ends.
func (s *Service) Run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		s.Look(ctx, time.Now())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-s.wake:
		}
	}
}

// Look does what is due now.
func (s *Service) Look(ctx context.Context, now time.Time) {
	s.mu.Lock()
	c := s.config
	if s.anew {
		s.anew, s.done, s.tried, s.unread, s.counted, s.seen, s.refused = false, "", time.Time{}, time.Time{}, time.Time{}, nil, nil
	}
	s.mu.Unlock()
	if c.Settings.Drop == "" {
		return
	}
	now = now.UTC()
	if last := now.Add(-lag).AddDate(0, 0, -1).Format(time.DateOnly); s.done != last && now.Sub(s.tried).Abs() >= retryAfter {
		failed := s.handOver(ctx, c, last, now)
		s.measure(ctx, last)
		if failed == nil {
			s.done, s.failing, s.told = last, time.Time{}, false
		} else {
			s.tried = now
			s.alarm(ctx, failed, now)
		}
	}
	s.receipts(ctx, c, now)
	s.missing(ctx, c, now)
}

// fail logs and counts an error, unless the program is being stopped: the next start resumes the work.
func (s *Service) fail(ctx context.Context, what string, err error, more ...any) {
	if ctx.Err() == nil {
		s.failed.Inc()
		s.log.Error(what, append(more, "error", err)...)
	}
}

// measure says how far the hand-over is behind.
func (s *Service) measure(ctx context.Context, last string) {
	if day, err := s.options.Ledger.ThroughAll(ctx); err == nil && day != "" {
		s.behind.Set(max(0, int64(start(last).Sub(start(day))/(24*time.Hour))))
	}
}

// alarm tells the operator once that the hand-over fails, when it does so for too long.
func (s *Service) alarm(ctx context.Context, failed []string, now time.Time) {
	if s.failing.IsZero() {
		s.failing = now
	}
	if s.told || now.Sub(s.failing) < alarmAfter || ctx.Err() != nil {
		return
	}
	s.told = true
	var text strings.Builder
	text.WriteString("Certified mail is not handed to the service for legal preservation:\n")
	for _, one := range failed[:min(len(failed), mostTold)] {
		fmt.Fprintf(&text, "- %s\n", one)
	}
	if more := len(failed) - mostTold; more > 0 {
		fmt.Fprintf(&text, "- and %d more\n", more)
	}
	text.WriteString("It is tried again every ten minutes, and then catches up with all days. See that the folder of [preservation] drop is there, has room, and can be written to.")
	s.options.Tell(text.String())
}

// handOver hands over all days up to the last one. It returns what failed, in words; nil where nothing is left to do.
func (s *Service) handOver(ctx context.Context, c Config, last string, now time.Time) (failed []string) {
	fail := func(err error, more ...any) {
		s.fail(ctx, "not handed to legal preservation, will be tried again", err, more...)
		failed = append(failed, err.Error())
	}
	first, err := s.first(ctx, last)
	if err != nil {
		fail(err)
		return failed
	}
	if _, err := os.Stat(c.Settings.Drop); err != nil {
		fail(fmt.Errorf("[preservation] drop: %w", err))
		return failed
	}
	agent, err := sincro.ParseAgent(c.Settings.Agent)
	if err != nil {
		fail(fmt.Errorf("[preservation] agent: %w", err))
		return failed
	}
	for m, err := range c.Archive.Preserving(ctx, c.Settings) {
		if err == nil {
			err = s.mailbox(ctx, &maker{s, c, agent, m}, first, last, now)
		}
		if err != nil && !errors.Is(err, preservation.ErrForgotten) {
			fail(err, "mailbox", m.Address.String())
		}
		if ctx.Err() != nil {
			return append(failed, ctx.Err().Error())
		}
	}
	if failed == nil {
		if err := s.options.Ledger.AllDone(ctx, last); err != nil {
			fail(err)
		}
	}
	return failed
}

// first returns with which day a mailbox begins that has none on record: the last one, or an earlier one that is not done for all mailboxes.
func (s *Service) first(ctx context.Context, last string) (string, error) {
	day, err := s.options.Ledger.ThroughAll(ctx)
	if err != nil {
		return "", err
	}
	if day == "" || day > last {
		day = previous(last)
		err = s.options.Ledger.AllDone(ctx, day)
	}
	return min(next(day), last), err
}

// mailbox hands over the days of one mailbox that are not done: those since the last one, or for want of that since the first.
func (s *Service) mailbox(ctx context.Context, m *maker, first, last string, now time.Time) error {
	day, err := s.options.Ledger.Through(ctx, m.mailbox.Archive)
	switch {
	case err != nil:
		return err
	case day > last:
		s.log.Warn("days of legal preservation were on record that are still to come", "mailbox", m.mailbox.Address.String(), "day", day, "last", last)
		return m.Archive.PackagesDone(ctx, m.mailbox.Archive, last, time.Time{})
	case day == "":
		day = first
	default:
		day = next(day)
	}
	for ; day <= last; day = next(day) {
		if err := m.day(ctx, day, day == last, now); err != nil {
			return fmt.Errorf("%s: %w", day, err)
		}
	}
	return nil
}

// start returns when a day begins.
func start(day string) time.Time {
	t, _ := time.Parse(time.DateOnly, day) // it was formatted so
	return t
}

func next(day string) string     { return start(day).AddDate(0, 0, 1).Format(time.DateOnly) }
func previous(day string) string { return start(day).AddDate(0, 0, -1).Format(time.DateOnly) }
