package backup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"copialettere/journal"
	"copialettere/journal/datafolder"
	"copialettere/journal/durable"
	"copialettere/journal/kv"
)

// A restore works in the folder "restoring" inside the data folder, which is no data folder yet: its identity comes last. First the files are written
// there, read back and synced. Then the journal is opened there and made fit for use: see journal.Journal.Restored. Then the file "restoring/DONE" is
// written, with the report in it, and from then on everything is only moved up, the identity last. Before DONE an interrupted restore begins anew; after it, it goes on.

const (
	restoringName = datafolder.RestoringFolder
	doneName      = "DONE"
	newerName     = "newer" // in restoring: the newest generation, as long as it is compared
)

// RestoreOptions are those of Restore.
type RestoreOptions struct {
	Generation time.Time // which generation; zero: the newest
	// Alone restores an older generation without a look at the newest one: its settings are those of then, and what was deleted since comes back.
	Alone bool
	// Archives returns the names of the archives that are on, by the settings, and of those that were erased. It is asked once.
	Archives func(ctx context.Context, settings kv.Store) (on, erased []string, err error)
	// Gaps is told of the gaps that the restore puts on record, with the restored settings, in which it may leave what owners are to be told. May be nil.
	Gaps func(ctx context.Context, settings kv.Store, gaps []journal.Record) error
	// Keys open what is encrypted; the first wraps the keys of the months from now on.
	Keys   []datafolder.Key
	Logger *slog.Logger
	Now    func() time.Time // time.Now where nil

	step func(what string) error // as in Options
}

// Restored says what Restore did.
type Restored struct {
	Taken    time.Time       `json:"taken"`
	Restored time.Time       `json:"restored"`
	Files    int             `json:"files"`
	Bytes    int64           `json:"bytes"`
	Removed  journal.Removed `json:"removed"` // entries that were deleted after this generation was taken
	Gaps     int             `json:"gaps"`    // archives that have the time since on record as a gap
	// Older are the stores of which the generation had only an earlier state, with the time of that.
	Older map[string]time.Time `json:"older,omitempty"`
}

// Restore makes a data folder of a generation. The folder must be absent or empty. What was deleted or erased before the newest generation was taken
// stays so, whatever generation is restored: the settings are those of the newest one, and what it does not hold is removed. Nobody may have the data
// folder open. After an error or a crash call it again.
func Restore(ctx context.Context, dir, data string, o RestoreOptions) (*Restored, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	f, err := Open(dir, Options{Logger: o.Logger, step: o.step})
	if err != nil {
		return nil, err
	}
	r := restorer{Folder: f, ctx: ctx, data: data, at: filepath.Join(data, restoringName), o: o, report: new(Restored)}
	err = r.restore()
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	return r.report, nil
}

type restorer struct {
	*Folder
	ctx    context.Context
	data   string
	at     string // the folder "restoring"
	o      RestoreOptions
	report *Restored
	gaps   []journal.Record // that were put on record
}

func (r *restorer) restore() error {
	done, err := r.begin()
	if err != nil {
		return err
	}
	if !done {
		if err := r.restoreBeside(); err != nil {
			return err
		}
	}
	if err := r.moveUp(); err != nil {
		return fmt.Errorf("move what was restored to its place: %w", err)
	}
	return nil
}

// restoreBeside makes a data folder in restoring.
func (r *restorer) restoreBeside() error {
	list, err := r.Generations()
	if err != nil {
		if !errors.Is(err, ErrDamaged) {
			return err
		}
		r.o.Logger.Error("part of the backup cannot be read", "error", err)
	}
	g, newest, err := r.choose(list)
	if err != nil {
		return err
	}
	r.report.Taken, r.report.Restored, r.report.Files, r.report.Bytes = g.Taken, r.o.Now().UTC(), len(g.Files), g.Bytes
	if err := r.prepare(g, newest); err != nil {
		return fmt.Errorf("restore the backup of %s: %w", g.Taken.Format(time.RFC3339), err)
	}
	return nil
}

// begin checks that the data folder can be restored to, and makes it. It reports whether an interrupted restore has only to be moved up.
func (r *restorer) begin() (done bool, err error) {
	if err := durable.MakeFolder(r.data); err != nil {
		return false, fmt.Errorf("make data folder: %w", err)
	}
	if err := os.Chmod(r.data, 0o700); err != nil {
		return false, fmt.Errorf("make data folder: %w", err)
	}
	b, doneErr := os.ReadFile(filepath.Join(r.at, doneName))
	list, err := os.ReadDir(r.data)
	if err != nil {
		return false, fmt.Errorf("restore: %w", err)
	}
	for _, entry := range list {
		name := entry.Name()
		if name == restoringName || name == "lost+found" || entry.Type()&fs.ModeSocket != 0 || doneErr == nil {
			continue
		}
		return false, fmt.Errorf("%s is not empty: there is %s; move what is there away, and keep it until the restored archive is checked", r.data, name)
	}
	if doneErr == nil {
		return true, json.Unmarshal(b, r.report)
	}
	if err := os.RemoveAll(r.at); err != nil {
		return false, fmt.Errorf("remove what is left of a restore: %w", err)
	}
	return false, durable.MakeFolder(r.at)
}

// choose returns the generation to restore, and the newest one; nil where that is not to be looked at.
func (r *restorer) choose(list []*Generation) (g, newest *Generation, err error) {
	if len(list) == 0 {
		return nil, nil, fmt.Errorf("%s holds no whole generation: %w", r.dir, ErrDamaged)
	}
	newest = list[len(list)-1]
	if r.o.Generation.IsZero() {
		return newest, newest, nil
	}
	for _, one := range list {
		if one.Taken.Equal(r.o.Generation) {
			g = one
		}
	}
	if g == nil {
		return nil, nil, fmt.Errorf("%s has no backup of %s: \"copialettere backup %[1]s -list\" shows those it has", r.dir, r.o.Generation.UTC().Format(time.RFC3339Nano))
	}
	if r.o.Alone {
		newest = g
	}
	return g, newest, nil
}

// prepare makes a data folder in restoring.
func (r *restorer) prepare(g, newest *Generation) error {
	older := g != newest
	if free, err := room(r.data); err != nil {
		return err
	} else if free < g.Bytes {
		return fmt.Errorf("the disk of %s has %d bytes free, and the backup takes %d: make room, or name a data folder on another disk", r.data, free, g.Bytes)
	}
	settings := func(name string) bool {
		return !strings.HasPrefix(name, journalFolder+"/") || strings.HasPrefix(name, journalFolder+"/settings/")
	}
	take := func(g *Generation, want func(name string) bool) error {
		for _, file := range g.Files {
			if !want(file.Name) {
				continue
			}
			if err := r.put(file, r.at); err != nil {
				return err
			}
			if !file.AsOf.IsZero() {
				if r.report.Older == nil {
					r.report.Older = make(map[string]time.Time)
				}
				store, _, _ := strings.Cut(strings.TrimPrefix(file.Name, journalFolder+"/"), "/")
				r.report.Older[store] = file.AsOf
			}
		}
		return nil
	}
	err := take(newest, settings)
	if err == nil {
		err = take(g, func(name string) bool { return !settings(name) })
	}
	if err == nil && older {
		err = r.mergeKeys(g)
	}
	if err == nil {
		err = syncTree(r.at)
	}
	if err == nil {
		err = datafolder.Renew(r.at)
	}
	if err == nil && older {
		err = r.lay(newest, filepath.Join(r.at, newerName))
	}
	if err == nil {
		err = r.makeFit(older)
	}
	if err == nil {
		err = os.RemoveAll(filepath.Join(r.at, newerName))
	}
	if err == nil {
		var b []byte
		if b, err = json.Marshal(r.report); err == nil {
			err = durable.Write(filepath.Join(r.at, doneName), bytes.NewReader(b), r.options.step)
		}
	}
	return err
}

// put writes a file of a generation into a folder, and compares it with its digest.
func (r *restorer) put(file File, folder string) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	path := filepath.Join(folder, filepath.FromSlash(file.Name))
	if err := r.options.step("write " + path); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	content, err := os.Open(r.content(file.SHA256))
	if err != nil {
		return fmt.Errorf("%w: %s: %w: restore another generation", ErrDamaged, file.Name, err)
	}
	defer content.Close()
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	h := sha256.New()
	size, err := io.Copy(io.MultiWriter(w, h), content)
	if err == nil {
		err = r.options.step("sync " + path)
	}
	if err == nil {
		err = w.Sync()
	}
	if err := errors.Join(err, w.Close()); err != nil {
		return fmt.Errorf("%s: %w", file.Name, err)
	}
	if size != file.Size || hex.EncodeToString(h.Sum(nil)) != file.SHA256 {
		return fmt.Errorf("%w: %s of %s is not as it was written: restore another generation", ErrDamaged, file.Name, r.content(file.SHA256))
	}
	return nil
}

// lay makes a data folder of a generation without copying its tables: they are links into the backup, which nobody writes to.
func (r *restorer) lay(g *Generation, folder string) error {
	backup, err := filepath.Abs(r.dir)
	if err != nil {
		return err
	}
	for _, file := range g.Files {
		if !strings.HasSuffix(file.Name, ".ldb") {
			if err := r.put(file, folder); err != nil {
				return err
			}
			continue
		}
		path := filepath.Join(folder, filepath.FromSlash(file.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.Symlink(filepath.Join(backup, contentName, file.SHA256[:2], file.SHA256), path); err != nil {
			return err
		}
	}
	return datafolder.Renew(folder)
}

// makeFit opens the restored journal and makes it fit for use.
func (r *restorer) makeFit(older bool) (err error) {
	folder, j, err := r.open(r.at)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.Close(), folder.Close()) }()
	on, erased, err := r.o.Archives(r.ctx, folder.Settings)
	if err != nil {
		return fmt.Errorf("read the settings: %w", err)
	}
	if older {
		if err := r.applyDeletions(j); err != nil {
			return fmt.Errorf("compare with the newest backup: %w: if that is damaged, restore with -alone; what was deleted since then comes back", err)
		}
	}
	if !older && len(r.report.Older) == 0 {
		erased = nil // settings and months are of the same instant
	}
	for _, archive := range erased {
		gone, err := j.Erase(r.ctx, archive, journal.EraseOptions{KeepGaps: true})
		if err != nil && !errors.Is(err, journal.ErrDamaged) {
			return fmt.Errorf("erase what was erased: %w", err)
		}
		r.report.Removed.Entries += gone.Entries
		r.report.Removed.Bytes += gone.Bytes
	}
	r.report.Gaps = len(on)
	if err := j.Restored(r.ctx, journal.Restoration{Taken: r.report.Taken, At: r.report.Restored, Mailboxes: on}); err != nil || r.o.Gaps == nil {
		return err
	}
	return r.o.Gaps(r.ctx, folder.Settings, r.gaps)
}

func (r *restorer) applyDeletions(j *journal.Journal) (err error) {
	folder, newer, err := r.open(filepath.Join(r.at, newerName))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, newer.Close(), folder.Close()) }()
	r.report.Removed, err = j.ApplyDeletions(r.ctx, newer)
	return err
}

func (r *restorer) open(folder string) (*datafolder.Folder, *journal.Journal, error) {
	f, err := datafolder.Open(r.ctx, folder, datafolder.Options{Logger: r.o.Logger, Keys: r.o.Keys})
	if err != nil {
		return nil, nil, err
	}
	// No settings: what was deleted before a hold was placed is to go all the same.
	j, err := journal.Open(f.Engine, journal.Options{
		Logger: r.o.Logger, Now: r.o.Now, Recorded: func(gaps []journal.Record) { r.gaps = append(r.gaps, gaps...) },
	})
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, j, nil
}

// moveUp moves what was restored to its place, the identity last.
func (r *restorer) moveUp() error {
	list, err := os.ReadDir(r.at)
	if err != nil {
		return err
	}
	var identity string
	for _, entry := range list {
		switch name := entry.Name(); name {
		case doneName, newerName:
		case datafolder.IdentityFile:
			identity = name
		default:
			if err := r.move(name); err != nil {
				return err
			}
		}
	}
	if err := durable.SyncFolder(r.data); err != nil {
		return err
	}
	if identity != "" {
		if err := r.move(identity); err != nil {
			return err
		}
	}
	if err := durable.SyncFolder(r.data); err != nil {
		return err
	}
	return os.RemoveAll(r.at)
}

func (r *restorer) move(name string) error {
	to := filepath.Join(r.data, name)
	if err := r.options.step("rename " + to); err != nil {
		return err
	}
	return os.Rename(filepath.Join(r.at, name), to)
}

// syncTree makes all names in a folder durable.
func syncTree(folder string) error {
	return filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		return durable.SyncFolder(path)
	})
}

// room returns how many bytes a file system has free for the user of this process, or an error.
func room(path string) (int64, error) {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(path, &stat); err != nil {
		return 0, err
	}
	return int64(stat.Bavail) * stat.Bsize, nil
}
