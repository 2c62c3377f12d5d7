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
// and no longer under DROP/.copialettere was renamed: it is not made again, also when the service has taken it away already.
package preserve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"copialettere/journal"
	"copialettere/journal/durable"
	"copialettere/journal/export"
	"copialettere/journal/export/sincro"
	"copialettere/journal/metrics"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/preservation"
)

const (
	lookEvery  = time.Minute
	retryAfter = 10 * time.Minute // after something failed
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
	// Step is called before each step that changes a disk, and what it returns ends the work on that package. May be nil.
	Step func(what string) error
}

// Service hands packages over. Configure may be called at any time; Run and Look have one caller.
type Service struct {
	options           Options
	log               *slog.Logger
	made, failed, got *metrics.Counter
	overdue           *metrics.Gauge
	wake              chan struct{} // has room for one: the configuration has changed

	mu     sync.Mutex
	config Config // guarded by mu
	anew   bool   // the configuration has changed since the last Look; guarded by mu

	// The rest belongs to the caller of Look.
	done    string               // the last day that was dealt with for all mailboxes
	tried   time.Time            // when a hand-over last failed
	unread  time.Time            // when the folder for receipts could last not be read
	counted time.Time            // when overdue packages were last counted
	seen    map[string]time.Time // the files in the folder for receipts that need no more looking at, with the time of their last change
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
		s.anew, s.done, s.tried, s.unread, s.counted, s.seen = false, "", time.Time{}, time.Time{}, time.Time{}, nil
	}
	s.mu.Unlock()
	if c.Settings.Drop == "" {
		return
	}
	now = now.UTC()
	if last := now.Add(-lag).AddDate(0, 0, -1).Format(time.DateOnly); s.done != last && now.Sub(s.tried).Abs() >= retryAfter {
		if s.handOver(ctx, c, last, now) {
			s.done = last
		} else {
			s.tried = now
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

// handOver hands over all days up to the last one. It reports whether nothing is left to do.
func (s *Service) handOver(ctx context.Context, c Config, last string, now time.Time) bool {
	const later = "not handed to legal preservation, will be tried again"
	if _, err := os.Stat(c.Settings.Drop); err != nil {
		s.fail(ctx, later, fmt.Errorf("[preservation] drop: %w", err))
		return false
	}
	agent, err := sincro.ParseAgent(c.Settings.Agent)
	if err != nil {
		s.fail(ctx, later, fmt.Errorf("[preservation] agent: %w", err))
		return false
	}
	whole := true
	for m, err := range c.Archive.Preserving(ctx, c.Settings) {
		if err == nil {
			err = s.mailbox(ctx, &maker{s, c, agent, m}, last, now)
		}
		if err != nil && !errors.Is(err, preservation.ErrForgotten) {
			s.fail(ctx, later, err, "mailbox", m.Address.String())
			whole = false
		}
		if ctx.Err() != nil {
			return false
		}
	}
	return whole
}

// mailbox hands over the days of one mailbox that are not done: those since the last one, or the last day alone.
func (s *Service) mailbox(ctx context.Context, m *maker, last string, now time.Time) error {
	day, err := s.options.Ledger.Through(ctx, m.mailbox.Archive)
	if err != nil {
		return err
	}
	if day == "" {
		day = last
	} else {
		day = next(day)
	}
	for ; day <= last; day = next(day) {
		if err := m.day(ctx, day, now); err != nil {
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

func next(day string) string { return start(day).AddDate(0, 0, 1).Format(time.DateOnly) }

// maker makes the packages of a mailbox.
type maker struct {
	service *Service
	Config
	agent   *sincro.Agent
	mailbox policy.Mailbox
}

// day hands over one day.
func (m *maker) day(ctx context.Context, day string, now time.Time) error {
	p, err := m.service.options.Ledger.Get(ctx, m.mailbox.Archive, day)
	if err != nil {
		return err
	}
	if p == nil {
		if p, err = m.make(ctx, day, now); err != nil {
			return err
		}
	}
	if p != nil {
		if err := m.place(p); err != nil {
			return err
		}
	}
	if err := m.service.options.Step("note " + day); err != nil {
		return err
	}
	if err := m.Archive.PackagesDone(ctx, m.mailbox.Archive, day, now); err != nil || p == nil {
		return err
	}
	m.service.made.Inc()
	m.service.log.Info("handed to legal preservation", "mailbox", m.mailbox.Address.String(), "package", p.Name, "messages", p.Messages, "bytes", p.Size, "missing", p.Missing)
	return nil
}

// work returns where a package is made.
func (m *maker) work(name string) string { return filepath.Join(m.Settings.Drop, workFolder, name) }

// make makes the package of a day, and puts it on record; nil where the day has none.
func (m *maker) make(ctx context.Context, day string, now time.Time) (*preservation.Package, error) {
	source := &source{m, start(day), start(next(day)), m.Archive.NewPace()}
	if any, err := source.any(ctx); err != nil || !any {
		return nil, err
	}
	name, err := m.name(ctx, day)
	if err != nil {
		return nil, err
	}
	step := m.service.options.Step
	if err := step("make " + name); err != nil {
		return nil, err
	}
	report, err := m.export(ctx, source, name)
	if err != nil {
		return nil, err
	}
	missing := report.Damaged + uint64(len(report.Unreadable))
	if report.Messages+missing == 0 {
		return nil, os.Remove(m.work(name)) // all were deleted meanwhile
	}
	info, err := os.Stat(m.work(name))
	if err != nil {
		return nil, err
	}
	p := preservation.Package{
		Day: day, Name: name, Messages: report.Messages, Missing: missing, Size: info.Size(), SHA256: report.SHA256, Made: now,
	}
	if err := step("record " + name); err != nil {
		return nil, err
	}
	was, err := m.Archive.AddPackage(ctx, m.mailbox.Archive, p)
	if was == nil {
		was = &p
	}
	return was, err
}

// export writes the package of a day. Where messages were moved meanwhile, it looks once more where they are.
func (m *maker) export(ctx context.Context, s *source, name string) (*export.Report, error) {
	for try := 0; ; try++ {
		report, err := export.Run(ctx, export.Options{
			Source: s, Mailbox: m.mailbox.Address.String(), Selection: export.Selection{Since: s.since, Until: s.until}, Form: export.FormZIP, To: m.work(name),
			Sincro: m.agent, Program: m.service.options.Version, Time: s.until,
		})
		if err != nil || report.Gone == 0 {
			return report, err
		}
		if try == 2 {
			return nil, errors.New("messages are being moved all the time")
		}
	}
}

// name returns the name of the package of a day, which no other package has.
func (m *maker) name(ctx context.Context, day string) (string, error) {
	const longest = 200
	base := day + "_" + export.PlainName(m.mailbox.Address.String(), longest)
	name := base + preservation.Extension
	for n := 2; ; n++ {
		at, err := m.service.options.Ledger.Named(ctx, name)
		if err != nil || at == (preservation.Place{}) {
			return name, err
		}
		name = base + "_" + strconv.Itoa(n) + preservation.Extension
	}
}

// place renames a package that is on record, unless that was done before.
func (m *maker) place(p *preservation.Package) error {
	step := m.service.options.Step
	file, err := os.OpenFile(m.work(p.Name), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	err = file.Chmod(0o640)
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := step("rename " + p.Name); err != nil {
		return err
	}
	if err := os.Rename(m.work(p.Name), filepath.Join(m.Settings.Drop, p.Name)); err != nil {
		return err
	}
	if err := step("sync " + p.Name); err != nil {
		return err
	}
	return durable.SyncFolder(m.Settings.Drop)
}

// source is the certified mail of a mailbox of a day: see export.Source.
type source struct {
	*maker
	since, until time.Time
	pace         *archive.Pace
}

// any reports whether there is any such mail, or something that cannot be read and may be.
func (s *source) any(ctx context.Context) (bool, error) {
	for e, err := range s.Archive.ArrivedIn(ctx, s.mailbox.Address, s.since, s.until) {
		if errors.Is(err, journal.ErrDamaged) {
			return true, nil
		}
		if err != nil || archive.Preservable(e) {
			return err == nil, err
		}
	}
	return false, nil
}

// Plan implements export.Source.
func (s *source) Plan(ctx context.Context) iter.Seq2[export.Line, error] {
	return func(yield func(export.Line, error) bool) {
		for e, err := range s.Archive.ArrivedIn(ctx, s.mailbox.Address, s.since, s.until) {
			var l export.Line
			switch {
			case errors.Is(err, journal.ErrDamaged):
				s.service.log.Error("left out of a package for legal preservation", "mailbox", s.mailbox.Address.String(), "error", err)
				err = fmt.Errorf("a part of the archive: %w", export.ErrUnreadable)
			case err != nil:
			case !archive.Preservable(e):
				continue
			default:
				l.Message = export.NewMessage(e)
				err = s.pace.Step(ctx)
			}
			if !yield(l, err) {
				return
			}
		}
		for g, err := range s.Archive.Gaps(ctx, s.mailbox.Address) {
			if err == nil && !export.GapWithin(&g, s.since, s.until) {
				continue
			}
			if errors.Is(err, journal.ErrDamaged) {
				err = fmt.Errorf("some gaps: %w", export.ErrUnreadable)
			}
			if !yield(export.Line{Gap: &g}, err) {
				return
			}
		}
	}
}

// Copy implements export.Source.
func (s *source) Copy(ctx context.Context, m *export.Message, to io.Writer) error {
	folder, month, err := journal.ParseFolder(m.Folder)
	if err != nil {
		return err
	}
	_, body, err := s.Archive.Message(ctx, journal.Ref{Mailbox: s.mailbox.Address.String(), Month: month, Folder: folder, UID: m.UID})
	if err == nil {
		_, err = body.WriteTo(s.pace.Writer(ctx, to))
	}
	switch {
	case errors.Is(err, journal.ErrNotFound):
		return export.ErrGone
	case errors.Is(err, journal.ErrDamaged):
		s.service.log.Error("message not read for legal preservation", "mailbox", m.Mailbox, "folder", m.Folder, "uid", m.UID, "error", err)
		return fmt.Errorf("%w: %w", export.ErrUnreadable, err)
	}
	return err
}
