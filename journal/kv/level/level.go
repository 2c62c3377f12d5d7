// Package level keeps the volumes of the journal in LevelDB, one database for each month, through goleveldb. It is the embedded
// engine behind package kv, and the only package that names goleveldb.
//
// # Layout on disk
//
// In the folder that Open gets; all folders have mode 0700:
//
//	LOCK                     locked (flock) by the process that has the folder open
//	REGISTER                 the stores that the archive has, in JSON: see below
//	2026-11/                 a volume: one LevelDB database
//	2026-11.dropped/         a volume whose erasure was interrupted; Open finishes it
//	settings/                the settings store: one LevelDB database
//	2026-11.mending/         the fresh store that Mend is making of a damaged one; its STORE is written last
//	2026-11.damaged-<unix time>/   the damaged store that Mend has replaced, kept aside until a person removes it, or the volume is dropped. Tables
//	                         that are whole are the same files as in the fresh store
//	snapshot/                while there is a snapshot: the register in it
//
// In the folder of a database:
//
//	STORE                    its tag, a line: archive, name and 26 random characters, separated by slashes, as in the register
//	CURRENT MANIFEST-* *.log *.ldb LOCK LOG     LevelDB's own files
//	COPY-MANIFEST-*          a copy of the manifest, for mending: see manifestcopy.go
//	KEY                      the key of the store, where it is sealed: see sealkey.go. LevelDB's files are then sealed, as seal.go tells
//	ACKNOWLEDGED             the acknowledged mark, 16 bytes: "acK1", then the sequence number of the newest acknowledged update
//	                         (8 bytes, big-endian), then the CRC-32C of these 12 bytes. It is written in place after each
//	                         commit and synced now and then: exact after a crash of the process, older after a power cut.
//	MENDED                   what was lost when the store was mended, until Mended.Settle: see mendmarks.go
//	snapshot/                while there is a snapshot (kv.Copier): links to the tables in it, and copies of the other files
//	damaged-<unix time>-<name>   a copy of a log that was damaged, made before LevelDB replayed and removed it. Nothing reads it; a
//	                         person may look at it and delete it.
//
// Keys of the engine, beside those of callers. Numbers are big-endian, times are nanoseconds since 1970 in 8 bytes, and 0 is no
// time:
//
//	ff 'f'                   version (1 byte, 1), floor (8), time of the batch at the floor (8), oldest 'q' that may be left (8)
//	ff 'l' <seq 8>           a loss, by its first missing sequence number: found (8), after (8), before (8), count (8)
//	ff 'q' <seq 8>           a batch, by the sequence number of its last update: time (8), number of updates (4)
//
// # What must be there
//
// The register says which stores the archive has, by the tags in their folders: {"format": 1, "archive": ID, "stores": {NAME:
// {"tag": TAG, "state": STATE}}}. A store without a state must be there. If its folder is absent, empty, or has another tag, opening
// the store is an error that names the folder. The store is never recreated; it is tried again, at most once a second, until it is
// back. The folders of open stores are checked once a minute.
//
// Mend renames the damaged store and then the fresh one. If a crash comes between, the store is absent until Mend is called again.
//
// A store is made in this order: register with the state "making", folder, tag, database, register without the state. Only then does
// a caller get it. It is dropped in this order: rename, register, removal of the files. If a crash comes between, Open finishes the
// work, or the next caller who asks for the store. The register is written under another name, synced, and renamed; then its folder
// is synced.
//
// With Options.TakeIn a folder from before registers gets one: whatever is in it must be there from then on. A store that cannot be
// given a tag yet has the state "untagged". If the register lacks a volume of this archive, perhaps one from a backup, Open takes it
// in; another archive's volume is an error until it is moved away.
//
// # Durability
//
// Each store has one goroutine that writes, the committer. It gathers the waiting Updates, lets them run one after the other, and
// writes their changes as one batch with one fsync. It answers them all when that is durable.
//
// There is one client, so locks and fences are in memory. Updates of one store run one after the other and need no lock among
// themselves; those of another store wait until the last holder of a lock is answered. A fence ends with the process. Staged pairs
// are made durable at once: when LevelDB rotates its log it would lose what is unsynced and keep what was written after it.
//
// After a failed write or fsync goleveldb may drop a later write that it reported durable. So the committer answers
// kv.ErrUnavailable, closes the database, and opens it again, which writes the contents of the log to new files; only then does it
// go on. A batch whose fsync failed may be there afterwards. It was not acknowledged, which is all that kv promises.
//
// A database that cannot be opened for writing, as on a full disk, is opened for reading if it is whole. Updates try again, at
// most once a second.
//
// goleveldb replays a log that is damaged in the middle and does not say what it left out. So updates have sequence numbers, and
// every batch carries a 'q' key with its own. When a database is opened, the numbers above the floor must have no gap and reach the
// acknowledged mark; whatever is missing is recorded under 'l' and reported by Store.Lost from then on. The floor is the newest batch
// known to be in tables, whose blocks carry checksums; 'q' keys up to it are deleted a few at a time.
package level

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/syndtr/goleveldb/leveldb/storage"

	"copialettere/journal/durable"
	"copialettere/journal/kv"
	"copialettere/journal/metrics"
)

// ErrInUse says that another process, or another Engine of this one, has the folder open.
var ErrInUse = errors.New("another process has the folder open")

const (
	settingsName  = "settings"
	droppedSuffix = ".dropped"
	lockName      = "LOCK"
)

// Options configures an Engine. The zero value is good for tests.
type Options struct {
	Metrics *metrics.Registry // nil: not counted
	Logger  *slog.Logger      // nil: slog.Default

	// Storage opens the files of a store, by the name of its folder, instead of those on disk. Tests inject faults with it. The
	// acknowledged mark stays a file on disk. nil: files on disk.
	Storage func(name string) (storage.Storage, error)

	// Archive is the id of the archive that the folder must belong to. It is an error if the folder or its register is absent, or another
	// archive's. Empty, for tests: any archive will do, and a folder without stores becomes a new one's.
	Archive string
	// Keys are the operator's keys. The first wraps the keys of new stores, which are then sealed, and Open has it wrap those that another of them has
	// wrapped. Without a key the journal is in the clear, and a sealed store cannot be opened: the error is ErrSealed.
	Keys []Key
	// Create gives a folder without stores to Archive. Only init sets it.
	Create bool
	// TakeIn gives a register to a folder from before registers.
	TakeIn bool

	step func(what string) error // for tests: called before each change of names, which fails with its error

	// WriteBuffer is how many bytes of the newest volume LevelDB gathers in memory before it writes a table. Two such buffers may be
	// in use, and a third kept for reuse. Opening the volume again replays as much. Older volumes have far smaller ones. 0: 10 MiB,
	// which holds the largest update.
	WriteBuffer int
	// TableSize is the size in bytes of the tables that compaction writes. Writing one takes as much memory. 0: 4 MiB, which makes
	// 25,000 files of 100 GB.
	TableSize int
	// IdleAfter is the time without a call after which an older volume is closed. 0: five minutes.
	IdleAfter time.Duration
	// KeepOpen is how many of the newest volumes stay open when idle. 0: two.
	KeepOpen int
	// MaxOpen is how many volumes may be open before those not used in the last second are closed early. 0: 64.
	MaxOpen int
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Metrics == nil {
		o.Metrics = new(metrics.Registry)
	}
	if o.WriteBuffer == 0 {
		o.WriteBuffer = 10 << 20
	}
	if o.TableSize == 0 {
		o.TableSize = 4 << 20
	}
	if o.IdleAfter == 0 {
		o.IdleAfter = 5 * time.Minute
	}
	if o.KeepOpen == 0 {
		o.KeepOpen = 2
	}
	if o.MaxOpen == 0 {
		o.MaxOpen = 64
	}
	return o
}

// Engine is the kv.Engine on a folder.
type Engine struct {
	dir     string
	archive string // its id
	opts    Options
	meters  *meters
	lock    *os.File
	stop    chan struct{}  // closed by Close
	janitor sync.WaitGroup // the goroutine that closes idle volumes

	mu       sync.Mutex
	closed   bool                     // guarded by mu
	stores   map[string]*store        // by folder name; guarded by mu
	grown    map[*store]bool          // older volumes with a large buffer; guarded by mu
	dropping map[string]chan struct{} // closed when the erasure is done; guarded by mu

	locks locks // held by Updates, over all stores

	registering sync.Mutex       // held while the register is written
	register    register         // changed under registering and mu
	strangers   map[string]error // by name: folders of volumes that are not the archive's; guarded by mu

	snapshots chan struct{} // holds one element while there is a snapshot
}

var (
	_ kv.Engine = (*Engine)(nil)
	_ kv.Copier = (*Engine)(nil)
)

// Open opens the engine on a folder, as Options.Archive says, and finishes interrupted erasures. The error is ErrInUse if another
// process has the folder open, and ErrAbsent if the folder, its stores or its register are not there. Stores open on first use.
func Open(dir string, opts Options) (*Engine, error) {
	// Create no lock file in an absent folder: its disk may be mounted later.
	if _, _, err := planRegister(dir, opts); err != nil {
		return nil, err
	}
	if err := durable.MakeFolder(dir); err != nil {
		return nil, err
	}
	lock, err := lockFolder(dir)
	if err != nil {
		return nil, err
	}
	e := &Engine{
		dir: dir, opts: opts.withDefaults(), lock: lock,
		stop: make(chan struct{}), stores: make(map[string]*store), grown: make(map[*store]bool), dropping: make(map[string]chan struct{}),
		strangers: make(map[string]error), snapshots: make(chan struct{}, 1),
	}
	e.meters = newMeters(e)
	err = e.openRegister()
	if err == nil && len(opts.Keys) > 1 {
		err = e.rewrap()
	}
	if err != nil {
		unlockFolder(lock)
		return nil, err
	}
	if err := e.removeSnapshots(); err != nil {
		e.opts.Logger.Warn("what is left of a snapshot could not be removed", "error", err)
	}
	e.janitor.Go(e.closeIdle)
	return e, nil
}

func lockFolder(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock journal folder: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = ErrInUse
		}
		return nil, fmt.Errorf("lock journal folder %s: %w", dir, err)
	}
	return f, nil
}

// unlockFolder releases the lock explicitly. Closing f is not enough: a child process that is just being started holds copies of all
// files until it becomes its program.
func unlockFolder(f *os.File) error {
	return errors.Join(syscall.Flock(int(f.Fd()), syscall.LOCK_UN), f.Close())
}

func (e *Engine) finishDrops() error {
	entries, err := os.ReadDir(e.dir)
	if err != nil {
		return fmt.Errorf("open journal folder: %w", err)
	}
	for _, entry := range entries {
		name, dropped := strings.CutSuffix(entry.Name(), droppedSuffix)
		if _, err := kv.ParseMonth(name); !dropped || err != nil {
			continue
		}
		e.opts.Logger.Info("erasure of a volume was interrupted, finishing it", "volume", name)
		if err := e.finishDrop(name); err != nil {
			return fmt.Errorf("finish erasing volume %s: %w", name, err)
		}
	}
	return nil
}

func (e *Engine) finishDrop(name string) error {
	dropped := e.path(name) + droppedSuffix
	if entry, ok := e.register.Stores[name]; ok {
		// Leave the register alone if the volume was made again since, or if this is the rest of an earlier one.
		tag, err := readTag(dropped)
		_, there := os.Lstat(e.path(name))
		if errors.Is(there, fs.ErrNotExist) && (entry.State == stateUntagged || err == nil && tag == entry.Tag) {
			if err := e.enter(name, nil); err != nil {
				return err
			}
		}
	}
	return os.RemoveAll(dropped)
}

// Volume implements kv.Engine.
func (e *Engine) Volume(ctx context.Context, m kv.Month, create bool) (kv.Store, error) {
	if err := checkMonth(m); err != nil {
		return nil, err
	}
	return e.store(ctx, string(m), create)
}

// Settings implements kv.Engine.
func (e *Engine) Settings(ctx context.Context) (kv.Store, error) {
	return e.store(ctx, settingsName, true)
}

// checkMonth keeps anything but a month out of the names of folders.
func checkMonth(m kv.Month) error {
	_, err := kv.ParseMonth(string(m))
	return err
}

func (e *Engine) store(ctx context.Context, name string, create bool) (kv.Store, error) {
	for {
		s, wait, err := e.find(name, create)
		if err != nil {
			return nil, err
		}
		if wait != nil {
			select {
			case <-wait:
				continue
			case <-ctx.Done():
				return nil, fmt.Errorf("open store %s: waiting for its erasure: %w", name, ctx.Err())
			}
		}
		h, err := s.acquire(ctx)
		if errors.Is(err, kv.ErrClosed) {
			continue // dropped just now, or the engine is closed: find knows which
		}
		if err != nil {
			return nil, err
		}
		h.release()
		return s, nil
	}
}

// find returns the store of a folder, or a channel to wait on while its volume is being dropped.
func (e *Engine) find(name string, create bool) (*store, <-chan struct{}, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, nil, fmt.Errorf("open store %s: %w", name, kv.ErrClosed)
	}
	if wait, ok := e.dropping[name]; ok {
		return nil, wait, nil
	}
	if e.strangers[name] != nil {
		if some, err := holdsAnything(e.path(name)); err == nil && !some {
			delete(e.strangers, name) // moved away since
		}
	}
	if !create && !e.has(name) {
		return nil, nil, noVolume(name)
	}
	s, ok := e.stores[name]
	if !ok {
		s = newStore(e, name, e.path(name))
		e.stores[name] = s
	}
	return s, nil, nil
}

// noVolume is the error of a month without a volume. It formats its text late: each message is looked for in the months beside its
// own, and mostly ends here.
type noVolume string

func (n noVolume) Error() string { return "volume " + string(n) + ": " + kv.ErrNoVolume.Error() }

// Is reports whether target is kv.ErrNoVolume.
func (n noVolume) Is(target error) bool { return target == kv.ErrNoVolume }

// has reports whether the archive has a store, or a stranger in its place. The caller holds mu.
func (e *Engine) has(name string) bool {
	entry, ok := e.register.Stores[name]
	return ok && entry.State != stateMaking || e.strangers[name] != nil
}

// Volumes implements kv.Engine.
func (e *Engine) Volumes(ctx context.Context) ([]kv.Month, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, fmt.Errorf("list volumes: %w", kv.ErrClosed)
	}
	var months []kv.Month
	for name, entry := range e.register.Stores {
		if _, dropping := e.dropping[name]; name != settingsName && entry.State != stateMaking && !dropping {
			months = append(months, kv.Month(name))
		}
	}
	for name := range e.strangers {
		months = append(months, kv.Month(name))
	}
	slices.Sort(months)
	return months, nil
}

// Alone implements kv.Engine: the folder is locked.
func (e *Engine) Alone() bool { return true }

// Close implements kv.Engine. It returns the errors of the stores, joined.
func (e *Engine) Close() error {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil
	}
	e.closed = true
	stores := e.stores
	e.stores = nil
	var drops []chan struct{}
	for _, done := range e.dropping {
		drops = append(drops, done)
	}
	e.mu.Unlock()
	close(e.stop)
	e.janitor.Wait()
	for _, done := range drops {
		<-done
	}
	var errs []error
	for _, s := range stores {
		errs = append(errs, s.close())
	}
	errs = append(errs, unlockFolder(e.lock))
	return errors.Join(errs...)
}

// closeIdle closes idle volumes and syncs the acknowledged marks, until the engine is closed.
func (e *Engine) closeIdle() {
	tick := time.NewTicker(max(e.opts.IdleAfter/5, time.Second))
	defer tick.Stop()
	for {
		select {
		case <-e.stop:
			return
		case <-tick.C:
		}
		open := e.openStores()
		slices.SortFunc(open, func(a, b *store) int { return strings.Compare(b.name, a.name) })
		volumes := 0
		for _, s := range open {
			s.syncMark()
			keep := s.name == settingsName || volumes < e.opts.KeepOpen
			if s.name != settingsName {
				volumes++
			}
			s.closeIfIdle(idleCheck{since: time.Now().Add(-e.opts.IdleAfter), keep: keep, gone: e.gone(s.name)})
		}
	}
}

// gone returns what is wrong with the folder of an open store, or nil. If the folder was moved away, the open files would still take
// writes, and nobody would find them again.
func (e *Engine) gone(name string) error {
	entry, ok := e.entry(name)
	if !ok {
		return nil // it is being dropped
	}
	return e.checkTag(name, entry)
}

// openStores returns the stores whose database is open.
func (e *Engine) openStores() []*store {
	e.mu.Lock()
	defer e.mu.Unlock()
	var open []*store
	for _, s := range e.stores {
		if s.isOpen() {
			open = append(open, s)
		}
	}
	return open
}

// newest reports whether no volume is newer than the month of that name. Mail is written to the newest.
func (e *Engine) newest(name string) bool { return e.newer(name) == 0 }

// newer counts the volumes newer than the month of that name.
func (e *Engine) newer(name string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := 0
	for other := range e.register.Stores {
		if other != settingsName && other > name {
			n++
		}
	}
	return n
}
