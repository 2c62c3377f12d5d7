// Package level keeps the volumes of the journal in LevelDB, one database for each month, by way of goleveldb. It is the embedded
// engine behind package kv, and the only package that names goleveldb.
//
// # Layout on disk
//
// Under the folder that is handed to Open, all folders with mode 0700:
//
//	LOCK                     locked (flock) by the process that has the folder open
//	REGISTER                 the stores that the archive has, in JSON: see register.go
//	2026-11/                 a volume: one LevelDB database
//	2026-11.dropped/         a volume whose erasure was interrupted; Open finishes it
//	settings/                the settings store: one LevelDB database
//
// In the folder of a database:
//
//	STORE                    its tag, a line: archive, name and 26 random characters, with slashes between, as in the register
//	CURRENT MANIFEST-* *.log *.ldb LOCK LOG     LevelDB's own files
//	ACKNOWLEDGED             the acknowledged mark, 16 bytes: "acK1", then the sequence number of the newest update that was
//	                         acknowledged (8 bytes, big-endian), then the CRC-32C of these 12 bytes. It is written in place after
//	                         each commit and synced now and then: exact after a crash of the process, older after a power cut.
//	damaged-<unix time>-<name>   a copy of a log that was found damaged before LevelDB replayed and removed it. Nothing reads it
//	                         again; it is for a person to look at, and to delete.
//
// Keys of the engine, beside those of the caller, which never begin with the byte ff. Numbers are big-endian, times are
// nanoseconds since 1970 in 8 bytes, and 0 is no time:
//
//	ff 'f'                   version (1 byte, 1), floor (8), time of the batch at the floor (8), oldest 'q' that may be left (8)
//	ff 'l' <seq 8>           a loss, by its first missing sequence number: found (8), after (8), before (8), count (8)
//	ff 'q' <seq 8>           a batch, by the sequence number of its last update: time (8), number of updates (4)
//
// # What must be there
//
// The register says which stores the archive has, by the tags in their folders. It is {"format": 1, "archive": ID, "stores": {NAME:
// {"tag": TAG, "state": STATE}}}. A store without a state must be there: where its folder is absent, empty, or has another tag, the store is
// an error that names it, and never made anew; it is tried again, at most once a second, until it is back. Of an open store that is looked at
// each minute. A store is made in the order of:
// register with the state "making", folder, tag, database, register without the state; only then it is handed out. It is dropped in the order
// of: rename, register, removal of the files. A crash between leaves what Open, or the next one who asks for it, finishes. The register is
// written under another name, synced, and renamed, and its folder is synced.
//
// With Options.TakeIn a folder from before there was a register gets one: what is in it counts as what must be there. A store of it that cannot
// be given a tag yet has the state "untagged". A volume of this archive that the register does not have, as a backup brings it back, is
// taken in by Open; another archive's is an error until it is moved away.
//
// # Durability
//
// One goroutine for each store, the committer, writes. It gathers the Updates that wait, has them run one after the other, and
// writes what they wrote as one batch with one fsync. All of them are answered when it is durable.
//
// The locks of Updates are in memory, as there is one client: those of one store need none, as they run one after the other, and those of
// another store wait until the last that holds a lock is answered. A fence is in memory too, and ends with the process. What is staged is made
// durable at once: LevelDB, when it rotates its log, would lose what is not synced and keep what is written behind it.
//
// After a failed write or fsync goleveldb may later drop a write that it reported durable. So the committer answers
// kv.ErrUnavailable, closes the database, and opens it again, which writes what the log held into new files; only then it goes on.
// A batch whose fsync failed may be found then. It was not acknowledged, which is all that kv promises.
//
// Where the database cannot be opened for writing, as on a full disk, it is opened for reading if it is whole; an Update tries
// again, at most once a second.
//
// goleveldb replays a log that is damaged in the middle without a word about what it left out. So updates have sequence numbers,
// and every batch carries a 'q' key with those of its own. When a database is opened, the numbers above the floor must be without
// a gap and reach the acknowledged mark; what is missing is recorded under 'l' and reported by Store.Lost from then on. The floor
// is the newest batch that is known to be in tables, whose blocks carry checksums; the 'q' keys up to it are deleted a few at a
// time.
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

// Options are the choices of an Engine. The zero value is good.
type Options struct {
	Metrics *metrics.Registry // nil: not counted
	Logger  *slog.Logger      // nil: slog.Default

	// Storage opens the files of a store, by the name of its folder, in place of those on disk. It is for tests that inject
	// faults; the acknowledged mark stays a file on disk. nil: files.
	Storage func(name string) (storage.Storage, error)

	// Archive is the id of the archive whose folder it is. A folder that is absent, or has no register, or that of another archive, is
	// then an error. Empty: whatever archive; and a folder in which there is no store becomes that of a new one, as tests want it.
	Archive string
	// Create makes the folder that of Archive if there is no store in it; only init may.
	Create bool
	// TakeIn lets the folder be from before there was a register, and gives it one.
	TakeIn bool

	step func(what string) error // called before each change of names; an error of it is that of the change. For tests

	// WriteBuffer is how many bytes of the newest volume LevelDB gathers in memory before it writes a table; two such buffers may
	// exist at a time, and one more be kept for the next. Every store that is opened again replays as much. 0: 10 MiB, which holds
	// the largest update. Older volumes have far smaller ones.
	WriteBuffer int
	// TableSize is the size in bytes of the tables that compaction writes, each of which takes as much memory while it is written.
	// 0: 4 MiB, which makes 25,000 files of 100 GB.
	TableSize int
	// IdleAfter is after what time without a call an older volume is closed. 0: five minutes.
	IdleAfter time.Duration
	// KeepOpen is how many of the newest volumes stay open even so. 0: two.
	KeepOpen int
	// MaxOpen is from how many open volumes on those that were not used in the last second are closed at once. 0: 64.
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

	locks locks // of the Updates of all stores

	registering sync.Mutex       // held while the register is written
	register    register         // changed under registering and mu
	strangers   map[string]error // by name, folders of volumes that are not the archive's; guarded by mu
}

var _ kv.Engine = (*Engine)(nil)

// Open opens the engine on a folder: see Options.Archive. It finishes erasures that were interrupted. The error is ErrInUse where another
// process has the folder open, and ErrAbsent where it, or its register, is not there. Stores are opened when they are first asked for.
func Open(dir string, opts Options) (*Engine, error) {
	// What is absent must not get a lock file: its disk may be mounted later.
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
		strangers: make(map[string]error),
	}
	e.meters = newMeters(e)
	if err := e.openRegister(); err != nil {
		unlockFolder(lock)
		return nil, err
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

// unlockFolder ends the lock itself: the lock would outlive f in a process that is just being started, which has copies of all files
// until it becomes its program.
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
		// The volume may have been made again since; or it is absent, and this is what an earlier one left.
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
			continue // dropped just now, or the engine is closed: find tells
		}
		if err != nil {
			return nil, err
		}
		h.release()
		return s, nil
	}
}

// find returns the store of a folder, or what to wait for before it can be told.
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

// noVolume is the error of a month without a volume. It is made with every message, which is looked for in the months beside its own.
type noVolume string

func (n noVolume) Error() string { return "volume " + string(n) + ": " + kv.ErrNoVolume.Error() }

// Is reports whether target is kv.ErrNoVolume.
func (n noVolume) Is(target error) bool { return target == kv.ErrNoVolume }

// has says whether the archive has a store, or a stranger is in its place. The caller holds mu.
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

// closeIdle closes volumes that nobody uses, and syncs the acknowledged marks, until the engine is closed.
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

// gone says what is wrong with the folder of an open store; nil for nothing. Its files would take writes although nobody finds them again.
func (e *Engine) gone(name string) error {
	entry, ok := e.entry(name)
	if !ok {
		return nil // it is being dropped
	}
	return e.checkTag(name, entry)
}

// openStores returns the stores whose database is open now.
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

// newest tells whether no volume is newer than the month of that name; it is the one that mail is written to.
func (e *Engine) newest(name string) bool { return e.newer(name) == 0 }

// newer counts the volumes that are newer than the month of that name.
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
