// Package backup keeps copies of a whole data folder in another folder, such as one on an external disk, and restores from there.
//
// A copy, called a generation, is of one instant: the engine freezes all its stores at once (kv.Copier), so settings and months agree. It is
// incremental: a file that has the same content as one of an earlier generation is not stored again, and a table that has not changed since the last
// generation is not even read. A table of LevelDB never changes, so a month that nobody writes to costs nothing.
//
// # Layout on disk
//
// In the folder of the backup. All folders have mode 0700 and all files 0600. Nothing is needed of the file system but names, fsync and rename: no
// links, no modes.
//
//	BACKUP                         one line of JSON: {"format": 1, "archive": ID}. A folder without it is no backup, so an empty mount point is never
//	                               taken for one. ID is that of the archive, as in the identity of the data folder.
//	LOCK                           locked (flock) by whoever writes to the folder or restores from it
//	generation-20261130T063853.123456789Z   a generation, by the time at which it was taken: JSON lines, as below
//	content/ab/abcd...             the content of a file, under its SHA-256 in hexadecimal and the first two digits of that
//	content/*.damaged              a content that Check found damaged; nothing reads it, and a person may delete it
//	content/*.new                  a file that was being written when a backup broke off; the next backup removes it
//
// The lines of a generation are the header {"format": 1, "archive": ID, "taken": TIME}; one for each file, {"name": NAME, "size": BYTES,
// "sha256": DIGEST, "changed": TIME, "as_of": TIME}; and last {"files": NUMBER, "bytes": BYTES, "sha256": DIGEST}, whose digest is that of all lines
// before it. A name is the path in the data folder. as_of stands where a month could not be read and the file was taken over from an earlier
// generation, and is the time of that.
//
// # Order of writing
//
// Contents come first. Each is written under another name, synced, read back from the disk and compared, and renamed. Then all folders are synced, and
// only then the generation is written, in the same way. Whatever is interrupted leaves the earlier generations as they were, and orphan contents, which
// the next backup uses or removes. Only when a generation is whole, the oldest ones beyond Options.Keep go, and contents that none refers to.
//
// # What is copied
//
// All of the data folder: the journal with the settings, and every other file, such as the identity, the spool of gaps, keys and maps; but no
// sockets. Not copied is what lies elsewhere: the configuration, and the files that it names.
//
// A generation that is written stays as it is, but for the keys of mailboxes of an encrypted archive: those that are destroyed in the newest one are destroyed
// in all. See keys.go.
package backup

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"copialettere/journal/durable"
)

// Errors that a caller decides on. The error that wraps one names the path and the remedy.
var (
	// ErrNoBackup says that a folder is no backup.
	ErrNoBackup = errors.New("no backup")
	// ErrInUse says that another process writes to the backup, or restores from it.
	ErrInUse = errors.New("the backup is in use by another process")
	// ErrDamaged says that something in the backup is not as it was written.
	ErrDamaged = errors.New("the backup is damaged")
)

const (
	format           = 1
	identityName     = "BACKUP"
	lockName         = "LOCK"
	contentName      = "content"
	generationPrefix = "generation-"
	generationTime   = "20060102T150405.000000000Z"
	unfinished       = ".new"
	damaged          = ".damaged"
)

// LeastKept is how many generations are kept at least: while the newest is written, the one before is whole.
const LeastKept = 2

// Options are those of Write and Check.
type Options struct {
	Begin  bool         // Write may make a new backup of an absent or empty folder
	Keep   int          // how many generations Write keeps; LeastKept where less
	Rate   int64        // bytes that Write reads a second; 0: no limit
	Logger *slog.Logger // slog.Default where nil

	step func(what string) error // called before everything that can fail: "write NAME", "sync NAME", "read NAME", "rename NAME"; tests make it fail
}

func (o Options) withDefaults() Options {
	o.Keep = max(o.Keep, LeastKept)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.step == nil {
		o.step = func(string) error { return nil }
	}
	return o
}

// Generation is one copy of the data folder.
type Generation struct {
	Archive string
	Taken   time.Time // to which everything is in it, but for files with AsOf
	Files   []File    // by name
	Bytes   int64     // of all files
}

// File is a file of a generation.
type File struct {
	Name    string    `json:"name"` // path in the data folder, with slashes
	Size    int64     `json:"size"`
	SHA256  string    `json:"sha256"`
	Changed time.Time `json:"changed,omitzero"` // see kv.SnapshotFile
	AsOf    time.Time `json:"as_of,omitzero"`   // where taken over from an earlier generation
}

func (g *Generation) name() string { return generationPrefix + g.Taken.UTC().Format(generationTime) }

// Folder is an open backup. Its methods are for one goroutine at a time.
type Folder struct {
	dir     string
	archive string
	lock    *os.File
	options Options
}

// Open opens a backup that is there. The caller closes it.
func Open(dir string, o Options) (*Folder, error) {
	o = o.withDefaults()
	archive, err := readIdentity(dir)
	if err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock backup: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s: %w: wait until it is done", dir, ErrInUse)
		}
		return nil, fmt.Errorf("lock backup %s: %w", dir, err)
	}
	return &Folder{dir: dir, archive: archive, lock: lock, options: o}, nil
}

// Close gives the backup free for others.
func (f *Folder) Close() error {
	return errors.Join(syscall.Flock(int(f.lock.Fd()), syscall.LOCK_UN), f.lock.Close())
}

// Archive returns the id of the archive that the backup is of.
func (f *Folder) Archive() string { return f.archive }

// begin makes a folder the backup of an archive, unless it is one.
func begin(dir, archive string) error {
	if _, err := readIdentity(dir); !errors.Is(err, ErrNoBackup) {
		return err
	}
	if err := durable.MakeFolder(dir); err != nil {
		return fmt.Errorf("make backup: %w", err)
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("make backup: %w", err)
	}
	for _, entry := range list {
		// lost+found is what a new file system has; the others are left by a beginning that broke off.
		if name := entry.Name(); name != "lost+found" && name != contentName && name != identityName+unfinished {
			return fmt.Errorf("%s is not empty, and no backup: name another folder, or empty it", dir)
		}
	}
	if err := durable.MakeFolder(filepath.Join(dir, contentName)); err != nil {
		return fmt.Errorf("make backup: %w", err)
	}
	return writeIdentity(dir, archive)
}

// generations returns the names of the files of all generations, oldest first.
func (f *Folder) generations() ([]string, error) {
	list, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, fmt.Errorf("list backup: %w", err)
	}
	var names []string
	for _, entry := range list {
		if name := entry.Name(); strings.HasPrefix(name, generationPrefix) && !strings.HasSuffix(name, unfinished) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// Generations returns all generations that can be read, oldest first, and an error that is ErrDamaged and names those that cannot.
func (f *Folder) Generations() ([]*Generation, error) {
	names, err := f.generations()
	if err != nil {
		return nil, err
	}
	var list []*Generation
	var errs []error
	for _, name := range names {
		g, err := f.read(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		list = append(list, g)
	}
	return list, errors.Join(errs...)
}

// content returns the path of a content, by its digest.
func (f *Folder) content(sha string) string { return filepath.Join(f.dir, contentName, sha[:2], sha) }
