package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"copialettere/cmd/copialettere/config"
	"copialettere/journal"
	"copialettere/journal/datafolder"
	"copialettere/journal/export/jobs"
	"copialettere/journal/export/preserve"
	"copialettere/journal/export/pull"
	"copialettere/journal/httpd"
	"copialettere/journal/metrics"
	"copialettere/journal/search"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/auth"
	"copialettere/policy/checkpoint"
	"copialettere/policy/dovecot"
	"copialettere/policy/housekeeping"
	"copialettere/policy/notice"
	"copialettere/policy/postfix"
	"copialettere/policy/preservation"
	"copialettere/policy/setup"
	"copialettere/policy/source"
)

const (
	unspoolTimeout = 20 * time.Second // for taking in the gap spool at the start
	closeTimeout   = 25 * time.Second // for closing the stores; together with stopTimeout what systemd waits
)

// opened is an open data folder, with everything that stands on it.
type opened struct {
	folder  *datafolder.Folder
	journal *journal.Journal
	policy  *policy.Policy
	metrics *metrics.Registry
	log     *slog.Logger
	notices *notice.Pump        // nil where none are configured
	postfix *postfix.Keeper     // nil where not configured
	auth    *auth.Authenticator // nil where not configured
	dovecot *dovecot.Keeper     // nil where not configured
	search  *search.Index

	checkpoints *checkpoint.Maker
	types       *archive.Types
	survey      *archive.Survey
	exports     *jobs.Jobs // nil where their folder cannot be read
	known       *archive.Known
	sources     *source.Store
	pulls       *pull.Service
	packages    *preservation.Ledger
	preserve    *preserve.Service
	disk        atomic.Pointer[housekeeping.DiskWatch] // nil where no daemon runs

	leaving chan struct{} // closed when the daemon stops
	mending bool          // datafolder.Options.Mending

	certification func() archive.Certification // what is known about certified mail now; nil where no daemon runs
}

// openArchive opens the data folder and everything on it. Only one process can have it open: the error is then datafolder.ErrInUse.
func openArchive(ctx context.Context, c *config.Config, log *slog.Logger) (*opened, error) {
	a := &opened{metrics: new(metrics.Registry), log: log, leaving: make(chan struct{})}
	if err := a.open(ctx, c, log); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

// openUnserved opens the data folder for a command that found no daemon to ask.
func openUnserved(ctx context.Context, c *config.Config, log *slog.Logger) (*opened, error) {
	if err := ownerOnly(c.Data); err != nil {
		return nil, err
	}
	a, err := openArchive(ctx, c, log)
	if errors.Is(err, datafolder.ErrInUse) {
		return nil, fmt.Errorf("%w and does not answer at %s", err, c.Admin.Socket())
	}
	return a, err
}

// openMended is openArchive for a data folder of which a month was mended and is to be settled.
func openMended(ctx context.Context, c *config.Config, log *slog.Logger) (*opened, error) {
	a := &opened{metrics: new(metrics.Registry), log: log, leaving: make(chan struct{}), mending: true}
	if err := a.open(ctx, c, log); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

// outside makes the path that a command is to write to absolute, and refuses one in the data folder: a backup would copy it, and nothing there is in the
// clear where there is a key.
func (in *invocation) outside(path string) (string, error) {
	c, err := config.Load(in.configFile)
	if err != nil {
		return "", err
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", err
	}
	data, err := os.Stat(c.Data)
	if err != nil {
		return path, nil // what is wrong with the folder is told when it is opened
	}
	// Of a path that is not there yet, links are followed as far as it is.
	above := path
	resolved, err := filepath.EvalSymlinks(above)
	for errors.Is(err, os.ErrNotExist) && above != filepath.Dir(above) {
		above = filepath.Dir(above)
		resolved, err = filepath.EvalSymlinks(above)
	}
	if err != nil {
		return path, nil // whoever writes there tells
	}
	for {
		if info, err := os.Stat(resolved); err == nil && os.SameFile(info, data) {
			return "", fmt.Errorf("%w: %s is in the data folder %s: choose a place elsewhere", errUsage, path, c.Data)
		}
		if resolved == filepath.Dir(resolved) {
			return path, nil
		}
		resolved = filepath.Dir(resolved)
	}
}

// ownerOnly refuses root the data folder of somebody else: files that root makes in it keep the daemon from starting, and with it all mail from coming.
func ownerOnly(data string) error {
	info, err := os.Stat(data)
	if err != nil || os.Geteuid() != 0 {
		return nil // what is wrong with the folder is told when it is opened
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid == 0 {
		return nil
	}
	name := "#" + strconv.FormatUint(uint64(owner.Uid), 10)
	if u, err := user.LookupId(name[1:]); err == nil {
		name = u.Username
	}
	return fmt.Errorf("no daemon answers, and the data folder %s belongs to %s: files of root in it would keep the daemon from starting: start the daemon, "+
		"or run the command as that user (sudo -u %s)", data, name, name)
}

func (a *opened) open(ctx context.Context, c *config.Config, log *slog.Logger) (err error) {
	keys, err := encryptionKeys(ctx, c.Encryption)
	if err != nil {
		return err
	}
	if a.folder, err = datafolder.Open(ctx, c.Data, datafolder.Options{Metrics: a.metrics, Logger: log, Keys: keys, Mending: a.mending}); err != nil {
		return err
	}
	if a.policy, err = policy.Open(ctx, a.folder.Settings, policyConfig(c)); err != nil {
		return err
	}
	a.exports = newExports(c, a, log)
	a.notices, a.types, a.survey, a.search = newPump(c, a, log), archive.NewTypes(), archive.NewSurvey(), search.New(search.Options{})
	a.known = archive.NewKnown()
	sealer := source.Sealer{Path: a.folder.SourceKey, Box: a.folder.Box}
	if err := sealer.Renew(); err != nil {
		log.Error("the passwords of sources are not sealed as they should be", "error", err)
	}
	a.sources, a.pulls = source.New(a.folder.Settings, sealer), pull.NewService(log, a.metrics)
	a.packages = preservation.New(a.folder.Settings)
	a.preserve = newPreserve(a, log)
	a.postfix = newPostfix(c, a, log)
	a.auth = newAuthenticator(c, a, log)
	a.dovecot = newDovecot(c, a, log)
	a.policy.OnChange(a.settingsChanged)
	a.auth.OnChange(a.dovecot.Changed)
	a.auth.OnChange(func() { a.exports.Wake() })
	if a.notices != nil {
		a.policy.OnRevision(a.notices.Revised)
	}
	a.journal, err = journal.Open(a.folder.Engine, journal.Options{
		Logger: log, Metrics: a.metrics, GapSpool: a.folder.GapSpool, SpoolKeys: a.folder.SpoolKeys, Recorded: a.notices.Recorded,
		Settings: &journal.Settings{Lock: policy.SettingsLock, Open: policy.ArchiveOn, Held: policy.AnyHeld},
	})
	if err != nil {
		return err
	}
	a.checkpoints = newCheckpoints(c, a, log)
	// A spool that cannot be taken in must not keep mail from being delivered.
	ctx, cancel := context.WithTimeout(ctx, unspoolTimeout)
	defer cancel()
	if err := a.journal.Unspool(ctx); err != nil {
		log.Error("gaps are still spooled", "error", err)
	}
	// Nor must logs that cannot begin yet: the housekeeping tries again.
	if err := a.journal.BeginLogs(ctx); err != nil {
		log.Error("the logs of the archive do not begin yet", "error", err)
	}
	if _, err := a.journal.LastBackup(ctx); err != nil {
		log.Error("the metrics do not know of the last backup", "error", err)
	}
	return nil
}

// newExports returns the exports that the daemon writes in the background. Where they cannot be read there are none: mail goes on without them.
func newExports(c *config.Config, a *opened, log *slog.Logger) *jobs.Jobs {
	exports, err := jobs.New(jobs.Options{Folder: filepath.Join(c.Data, "exports"), Box: a.folder.Box, Logger: log, Program: version, Room: func() (int64, error) { return a.disk.Load().Spare() }})
	if err != nil {
		log.Error("no exports in the background", "error", err)
		return nil
	}
	return exports
}

// settingsChanged tells all who go by the settings that they may have changed. It does not block.
func (a *opened) settingsChanged() {
	a.postfix.Changed()
	a.dovecot.Changed()
	a.notices.Wake()
	a.exports.Wake()
}

// close closes the data folder. It gives up on a disk that does not answer within closeTimeout: what was acknowledged is durable, and the
// rest ends with the process.
func (a *opened) close() error {
	closed := make(chan error, 1)
	go func() { closed <- a.closeStores() }()
	select {
	case err := <-closed:
		return err
	case <-time.After(closeTimeout):
		return fmt.Errorf("the disk of the journal does not answer for %s: left without closing it", closeTimeout)
	}
}

func (a *opened) closeStores() error {
	errs := []error{a.auth.Close()}
	if a.journal != nil {
		errs = append(errs, a.journal.Close())
	}
	a.notices.Close()
	if a.folder != nil {
		errs = append(errs, a.folder.Close())
	}
	return errors.Join(errs...)
}

// acts returns the acts on the archive under a configuration. changed, which may be nil, is called when an archive may have to be erased now.
func (a *opened) acts(c *config.Config, changed func()) *archive.Archive {
	acts := archive.New(archive.Options{
		Journal: a.journal, Policy: a.policy, Grace: c.Erase.Grace, MaxShare: float64(c.Retention.MaxShare) / 100,
		KeepLogs: c.Logs.Keep, KeepSkips: keepSkips(c),
		Changed: changed, Expired: a.notices.Expired, Notices: a.notices, Postfix: a.postfix, Auth: a.auth, Dovecot: a.dovecot, Types: a.types, Survey: a.survey, Known: a.known, Sources: a.sources, Disk: a.diskState,
		MaxMessage: maxMessage(c), Certification: a.certification, Mailstore: mailstore(c, a.log), Checkpoints: a.checkpoints,
		Freeze: a.freeze(c.Data), Leaving: a.leaving,
		Guide: setup.NewGuide(c.SetUp()), Links: setup.NewLinks(a.folder.Settings),
		Exports: a.exportsOf, Preservation: a.packages, Overdue: overdue(c),
	})
	a.exports.Configure(jobs.Config{Archive: acts, Keep: c.Exports.Keep, MaxSize: c.Exports.MaxSize})
	return acts
}

// exportsOf returns the exports of an archive that lie in the data folder.
func (a *opened) exportsOf(name string) (list []archive.Exported) {
	for _, one := range a.exports.Of(name) {
		list = append(list, archive.Exported{Asked: one.Asked, Size: one.Size})
	}
	return list
}

// diskState tells whether the disk of the journal has room.
func (a *opened) diskState() archive.DiskState {
	watch := a.disk.Load()
	if watch == nil {
		return archive.DiskUnknown
	}
	switch low, full := watch.State(); {
	case full:
		return archive.DiskFull
	case low:
		return archive.DiskLow
	}
	return archive.DiskEnough
}

// maxMessage returns the largest message that is put in by hand. The key of [received] covers it.
func maxMessage(c *config.Config) int64 {
	if c.Received == nil {
		return archive.DefaultMaxMessage
	}
	return c.Received.MaxMessageSize
}

// keepSkips returns how long records of skips are kept. The key of [received] covers sent mail too.
func keepSkips(c *config.Config) time.Duration {
	if c.Received == nil {
		return config.DefaultKeepSkips
	}
	return c.Received.KeepSkips
}

// backend returns what the admin interface needs.
func (a *opened) backend(acts *archive.Archive, log *slog.Logger) httpd.Backend {
	return httpd.Backend{Archive: acts, Metrics: a.metrics, Version: version, Logger: log, Search: a.search, Pulls: a.pulls}
}

func policyConfig(c *config.Config) policy.Config {
	p := policy.Config{Grace: c.Erase.Grace, Rights: c.Rights}
	if c.Auth != nil {
		p.ArchiveHost, p.Operators = c.Auth.ArchiveHost, c.Auth.Operators
	}
	for _, d := range c.Domains {
		host := ""
		if h, ok := c.ArchiveHost(d.Name); ok {
			host = h.Name
		}
		p.Domains = append(p.Domains, policy.Domain{
			Name: d.Name, RecipientDelimiter: d.RecipientDelimiter, Postmasters: d.Postmasters, Defaults: d.Defaults, Limits: d.Limits,
			Rights: d.Rights, RequireSecondFactor: d.RequireSecondFactor, NoticesFrom: d.NoticesFrom, ArchiveHost: host,
		})
	}
	if c.Received != nil {
		p.Origin = policy.OriginSource(c.Received.Origin)
		p.RedirectHeader = c.Received.RedirectHeader
		p.RedirectFrom = c.Received.RedirectFrom
	}
	if c.Sent != nil {
		p.LoginDomain = c.Sent.LoginDomain
	}
	return p
}
