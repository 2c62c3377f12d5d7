package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"copialettere/cmd/copialettere/config"
	"copialettere/journal"
	"copialettere/journal/durable"
	"copialettere/journal/httpd"
	"copialettere/journal/kv"
	"copialettere/journal/kv/level"
	"copialettere/journal/metrics"
	"copialettere/policy"
	"copialettere/policy/archive"
	"copialettere/policy/notice"
	"copialettere/policy/postfix"
)

// What lies in the data folder beside the admin socket.
const (
	identityFile  = "identity" // says that this is a data folder: an empty mount point has none
	journalFolder = "journal"
	gapSpoolFile  = "gaps" // gaps that the journal could not take yet
)

// Formats of a data folder. The number is in its identity, and says how to read all that is in it. This program opens every one from 1 to
// formatNewest, and refuses one with a higher number. What an earlier program would misread, or lose, takes a new number, which is raised
// before anything of the new format is written; testdata/folders then gets a folder of the format before.
const (
	formatUnregistered = 1 // the journal may be from before it had a register, or not be made yet
	formatRegistered   = 2 // the journal is there, with a register
	formatNewest       = formatRegistered
)

const (
	unspoolTimeout = 20 * time.Second // for taking the spool in at the start
	closeTimeout   = 25 * time.Second // for closing the stores; together with stopTimeout below what systemd waits
)

// identity is what the identity file holds.
type identity struct {
	Format  int       `json:"format"` // of the folder
	ID      string    `json:"id"`     // of the archive, as in the register of its journal
	Created time.Time `json:"created"`
}

const initHelp = `Usage: copialettere init [-config FILE]

Makes the data folder that the configuration names, with mode 0700, and an empty journal in it. It is a step of its own, so that a daemon
never starts an empty archive where a disk is not mounted. A folder that is one already is left as it is. Run it as the daemon's user.

Example: sudo -u copialettere copialettere init
`

func runInit(ctx context.Context, in *invocation, args []string) error {
	if err := want(args); err != nil {
		return err
	}
	c, err := config.Load(in.configFile)
	if err != nil {
		return err
	}
	made, err := initData(ctx, c.Data)
	if err != nil {
		return err
	}
	if in.json {
		return in.printJSON(map[string]any{"data": c.Data, "made": made})
	}
	if made {
		fmt.Fprintln(in.stdout, "made", c.Data)
	} else {
		fmt.Fprintln(in.stdout, c.Data, "is a data folder already")
	}
	return nil
}

// initData makes a data folder. The identity says last that it is whole, so that after a crash it is called again.
func initData(ctx context.Context, folder string) (made bool, err error) {
	id, err := readIdentity(folder)
	switch {
	case err == nil && id.Format == formatNewest:
		return false, nil
	case errors.Is(err, os.ErrNotExist):
		id, err = makeDataFolder(folder)
	}
	if err != nil {
		return false, err
	}
	journal := filepath.Join(folder, journalFolder)
	_, before := os.Stat(journal)
	engine, err := level.Open(journal, level.Options{Archive: id.ID, Create: true, TakeIn: true})
	if err != nil {
		return false, fmt.Errorf("make journal: %w", err)
	}
	_, err = engine.Settings(ctx)
	if err = errors.Join(err, engine.Close()); err != nil {
		return false, fmt.Errorf("make journal: %w", err)
	}
	return before != nil, writeIdentity(folder, id, formatNewest)
}

// makeDataFolder makes the folder with its identity, and nothing else in it.
func makeDataFolder(folder string) (identity, error) {
	id := identity{ID: rand.Text(), Created: time.Now().UTC()}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return id, fmt.Errorf("make data folder: %w", err)
	}
	list, err := os.ReadDir(folder)
	if err != nil {
		return id, fmt.Errorf("make data folder: %w", err)
	}
	for _, entry := range list {
		if entry.Name() != identityFile+".new" { // which an init has left that was broken off
			return id, fmt.Errorf("%s is not empty and is no data folder: name another one, or empty it", folder)
		}
	}
	if err := os.Chmod(folder, 0o700); err != nil {
		return id, fmt.Errorf("make data folder: %w", err)
	}
	return id, writeIdentity(folder, id, formatUnregistered)
}

func writeIdentity(folder string, id identity, format int) error {
	id.Format = format
	b, err := json.Marshal(id)
	if err != nil {
		return err
	}
	if err := durable.Write(filepath.Join(folder, identityFile), bytes.NewReader(append(b, '\n')), nil); err != nil {
		return fmt.Errorf("write identity of the data folder: %w", err)
	}
	return nil
}

func readIdentity(folder string) (identity, error) {
	var id identity
	b, err := os.ReadFile(filepath.Join(folder, identityFile))
	if err != nil {
		return id, err
	}
	// The format first: all else may be another thing in a newer one.
	var number struct {
		Format int `json:"format"`
	}
	err = json.NewDecoder(bytes.NewReader(b)).Decode(&number)
	switch {
	case err != nil:
	case number.Format > formatNewest:
		return id, fmt.Errorf("%s has format %d, and this program knows 1 to %d: use the copialettere that wrote it, or a newer one",
			folder, number.Format, formatNewest)
	case number.Format < 1:
		err = errors.New("no format")
	default:
		if err = json.NewDecoder(bytes.NewReader(b)).Decode(&id); err == nil && id.ID == "" {
			err = errors.New("no id")
		}
	}
	if err != nil {
		err = fmt.Errorf("%s is damaged (%w): put it back from a backup", filepath.Join(folder, identityFile), err)
	}
	return id, err
}

// networkFileSystems are those on which neither locks nor fsync hold what they promise, by the magic number of statfs(2).
var networkFileSystems = map[int64]string{0x6969: "NFS", 0xff534d42: "CIFS", 0xfe534d42: "SMB2", 0x517b: "SMB", 0x01021997: "9P", 0x5346414f: "AFS"}

// checkFolder says whether a data folder can be used, and why not.
func checkFolder(folder string) error {
	if _, err := readIdentity(folder); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s is no data folder: if its disk is mounted, make it with \"copialettere init\"", folder)
	} else if err != nil {
		return err
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(folder, &fs); err != nil {
		return fmt.Errorf("look at the file system of %s: %w", folder, err)
	}
	if name, ok := networkFileSystems[int64(uint32(fs.Type))]; ok {
		return fmt.Errorf("%s lies on %s: a journal needs a local file system", folder, name)
	}
	return nil
}

// dataFolder is an open data folder, with what stands on it.
type dataFolder struct {
	engine   *level.Engine
	settings kv.Store
	journal  *journal.Journal
	policy   *policy.Policy
	metrics  *metrics.Registry
	notices  *notice.Pump    // nil where none are configured
	postfix  *postfix.Keeper // nil where there is no [postfix]
}

// openArchive opens the data folder, which only one process can.
func openArchive(ctx context.Context, c *config.Config, log *slog.Logger) (*dataFolder, error) {
	if err := checkFolder(c.Data); err != nil {
		return nil, err
	}
	a := &dataFolder{metrics: new(metrics.Registry)}
	if err := a.open(ctx, c, log); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

func (a *dataFolder) open(ctx context.Context, c *config.Config, log *slog.Logger) (err error) {
	if err := a.openEngine(ctx, c.Data, log); err != nil {
		return err
	}
	if a.policy, err = policy.Open(ctx, a.settings, policyConfig(c)); err != nil {
		return err
	}
	a.notices = newPump(c, a, log)
	a.postfix = newPostfix(c, a, log)
	a.policy.OnChange(a.postfix.Changed)
	a.journal, err = journal.Open(a.engine, journal.Options{
		Logger: log, Metrics: a.metrics, GapSpool: filepath.Join(c.Data, gapSpoolFile), Recorded: a.notices.Recorded,
		Settings: &journal.Settings{Lock: policy.SettingsLock, Open: policy.ArchiveOn, Held: policy.AnyHeld},
	})
	if err != nil {
		return err
	}
	// What keeps the gaps from being taken in must not keep mail from being delivered.
	ctx, cancel := context.WithTimeout(ctx, unspoolTimeout)
	defer cancel()
	if err := a.journal.Unspool(ctx); err != nil {
		log.Error("gaps are still spooled", "error", err)
	}
	return nil
}

// openEngine opens the journal of a data folder, which must be there with its settings.
func (a *dataFolder) openEngine(ctx context.Context, folder string, log *slog.Logger) error {
	id, err := readIdentity(folder)
	if err != nil {
		return err
	}
	o := level.Options{Metrics: a.metrics, Logger: log, Archive: id.ID, TakeIn: id.Format == formatUnregistered}
	a.engine, err = level.Open(filepath.Join(folder, journalFolder), o)
	switch {
	case errors.Is(err, level.ErrAbsent) && o.TakeIn:
		return fmt.Errorf("%w: mount its disk, or put it back from a backup; where no mail was ever archived, make it with \"copialettere init\"", err)
	case errors.Is(err, level.ErrAbsent):
		return fmt.Errorf("%w: mount its disk, or put it back from a backup; where the register alone is lost, write \"format\":%d into %s, "+
			"and what is in the folder then counts as all that must be there", err, formatUnregistered, filepath.Join(folder, identityFile))
	case err != nil:
		return err
	}
	if a.settings, err = a.engine.Settings(ctx); err != nil {
		return err
	}
	if o.TakeIn {
		log.Info("the journal of an earlier version has a register now", "data", folder)
		err = writeIdentity(folder, id, formatNewest)
	}
	return err
}

// close closes the data folder. It does not wait for ever for a disk that does not answer: what was acknowledged is durable, and the rest
// ends with the process.
func (a *dataFolder) close() error {
	closed := make(chan error, 1)
	go func() { closed <- a.closeStores() }()
	select {
	case err := <-closed:
		return err
	case <-time.After(closeTimeout):
		return fmt.Errorf("the disk of the journal does not answer for %s: left without closing it", closeTimeout)
	}
}

func (a *dataFolder) closeStores() error {
	var errs []error
	if a.journal != nil {
		errs = append(errs, a.journal.Close())
	}
	a.notices.Close()
	if a.engine != nil {
		errs = append(errs, a.engine.Close())
	}
	return errors.Join(errs...)
}

// archive is what may be done with the data folder, by a configuration. changed may be nil.
func (a *dataFolder) archive(c *config.Config, changed func()) *archive.Archive {
	return archive.New(archive.Options{
		Journal: a.journal, Policy: a.policy, Grace: c.Erase.Grace, MaxShare: float64(c.Retention.MaxShare) / 100,
		Changed: changed, Expired: a.notices.Expired, Postfix: a.postfix,
	})
}

// backend is what the admin interface stands on.
func (a *dataFolder) backend(acts *archive.Archive, log *slog.Logger) httpd.Backend {
	return httpd.Backend{Archive: acts, Metrics: a.metrics, Version: version, Logger: log}
}

func policyConfig(c *config.Config) policy.Config {
	p := policy.Config{Rights: c.Rights}
	for _, d := range c.Domains {
		p.Domains = append(p.Domains, policy.Domain{
			Name: d.Name, RecipientDelimiter: d.RecipientDelimiter, Postmasters: d.Postmasters, Defaults: d.Defaults,
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
