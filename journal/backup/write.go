package backup

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"copialettere/journal/datafolder"
	"copialettere/journal/durable"
)

// Source is what Write copies.
type Source struct {
	Archive string
	Data    string // the data folder
	// Freeze freezes the journal. What it returns holds until ctx ends. It is called when the files beside the journal are copied: the spool of gaps
	// must come first, as its records may be on their way into the journal. Keys come afterwards, as the journal may need those that are made meanwhile.
	Freeze func(ctx context.Context) (*Frozen, error)
}

// Frozen is the journal as it was at one instant.
type Frozen struct {
	Taken  time.Time
	Files  []SourceFile
	Unread map[string]string // stores that could not be read, with what is wrong
}

// SourceFile is a file of the journal.
type SourceFile struct {
	Name    string // path in the data folder
	Path    string // where it can be read now
	Size    int64
	Changed time.Time // see kv.SnapshotFile
}

// Report says what Write did.
type Report struct {
	Taken time.Time `json:"taken"`
	Files int       `json:"files"`
	Bytes int64     `json:"bytes"`
	New   int64     `json:"new"` // bytes that were copied; all others were there
	// Unread are the stores that could not be read, with what is wrong; they are as in an earlier generation, if that had them.
	Unread      map[string]string `json:"unread,omitempty"`
	Generations int               `json:"generations"` // that there are now
}

// Write adds a generation to a backup. It may be called again after any error or crash.
func Write(ctx context.Context, dir string, source Source, o Options) (*Report, error) {
	o = o.withDefaults()
	if o.Begin {
		if err := begin(dir, source.Archive); err != nil {
			return nil, err
		}
	}
	f, err := Open(dir, o)
	if errors.Is(err, ErrNoBackup) {
		err = fmt.Errorf("%w; to begin one there: \"copialettere backup %s -begin\"", err, dir)
	}
	if err != nil {
		return nil, err
	}
	report, err := f.write(ctx, source)
	if errors.Is(err, syscall.ENOSPC) {
		err = fmt.Errorf("%w: make room on the disk of %s, or have it keep fewer backups; the ones that are there are whole, and the next one goes on from here", err, dir)
	}
	return report, errors.Join(err, f.Close())
}

func (f *Folder) write(ctx context.Context, source Source) (*Report, error) {
	if f.archive != source.Archive {
		return nil, fmt.Errorf("%s is a backup of archive %s, and not of %s: name another folder", f.dir, f.archive, source.Archive)
	}
	earlier, err := f.Generations()
	if err != nil {
		f.options.Logger.Error("part of the backup cannot be read; the new generation does not rest on it", "error", err)
	}
	if err := f.clean(); err != nil {
		return nil, err
	}
	w := writer{Folder: f, ctx: ctx, begun: time.Now(), known: make(map[string]File), synced: make(map[string]bool), report: new(Report)}
	if n := len(earlier); n > 0 {
		w.last = earlier[n-1]
		for _, file := range w.last.Files {
			w.known[file.Name] = file
		}
	}
	if err := w.beside(source.Data); err != nil {
		return nil, fmt.Errorf("copy the data folder: %w", err)
	}
	frozen, err := source.Freeze(ctx)
	if err != nil {
		return nil, err
	}
	w.generation.Archive, w.generation.Taken = f.archive, frozen.Taken
	if w.last != nil && !frozen.Taken.After(w.last.Taken) {
		return nil, fmt.Errorf("the clock of the machine is behind the last backup, of %s: set it right", w.last.Taken.Format(time.RFC3339))
	}
	for _, name := range datafolder.KeyFiles() {
		if err := w.copy(SourceFile{Name: name, Path: filepath.Join(source.Data, name), Size: -1}); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("copy the keys: %w", err)
		}
	}
	if err := w.journal(frozen); err != nil {
		return nil, fmt.Errorf("copy the journal: %w", err)
	}
	if err := w.finish(); err != nil {
		return nil, fmt.Errorf("finish the backup: %w", err)
	}
	if err := w.scrub(earlier); err != nil {
		return w.report, fmt.Errorf("the backup is done, but keys that were destroyed are still in earlier ones: %w", err)
	}
	if err := f.prune(); err != nil {
		return w.report, fmt.Errorf("the backup is done, but earlier ones could not be removed: %w", err)
	}
	names, err := f.generations()
	w.report.Generations = len(names)
	return w.report, err
}

// writer writes one generation.
type writer struct {
	*Folder
	ctx        context.Context
	generation Generation
	last       *Generation     // nil: none
	known      map[string]File // files of last
	synced     map[string]bool // folders with new names: false until they are durable
	report     *Report
	begun      time.Time
	read       int64 // bytes
}

// journalFolder is the folder of the engine in a data folder.
const journalFolder = "journal"

// beside copies what lies beside the journal.
func (w *writer) beside(data string) error {
	return filepath.WalkDir(data, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path != data {
			return nil
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(data, path)
		if err != nil {
			return err
		}
		if name == journalFolder || entry.IsDir() && name == "lost+found" {
			return filepath.SkipDir
		}
		if !entry.Type().IsRegular() || strings.HasSuffix(name, ".new") || name == "check" || slices.Contains(datafolder.KeyFiles(), name) {
			return nil
		}
		err = w.copy(SourceFile{Name: filepath.ToSlash(name), Path: path, Size: -1})
		if errors.Is(err, fs.ErrNotExist) {
			return nil // replaced or removed meanwhile
		}
		return err
	})
}

// journal copies the frozen journal, and takes over from the last generation what could not be read.
func (w *writer) journal(frozen *Frozen) error {
	w.report.Unread = frozen.Unread
	tag := func(store string) string { return journalFolder + "/" + store + "/STORE" }
	digests := make(map[string]string) // of the tags, by name
	files := slices.Clone(frozen.Files)
	// The tags come first: what lies in another store of the same name is not the same.
	slices.SortStableFunc(files, func(a, b SourceFile) int {
		return cmp.Compare(b2i(!strings.HasSuffix(a.Name, "/STORE")), b2i(!strings.HasSuffix(b.Name, "/STORE")))
	})
	for _, file := range files {
		store, _, _ := strings.Cut(strings.TrimPrefix(file.Name, journalFolder+"/"), "/")
		same := digests[store] != "" && digests[store] == w.known[tag(store)].SHA256
		if known, ok := w.known[file.Name]; ok && same && w.unchanged(file, known) {
			w.generation.Files = append(w.generation.Files, known)
			continue
		}
		if err := w.copy(file); err != nil {
			return err
		}
		if file.Name == tag(store) {
			digests[store] = w.generation.Files[len(w.generation.Files)-1].SHA256
		}
	}
	for _, store := range slices.Sorted(maps.Keys(frozen.Unread)) {
		taken := 0
		for _, file := range w.known {
			if !strings.HasPrefix(file.Name, journalFolder+"/"+store+"/") {
				continue
			}
			if file.AsOf.IsZero() {
				file.AsOf = w.last.Taken
			}
			w.generation.Files = append(w.generation.Files, file)
			taken++
		}
		w.options.Logger.Error("a store cannot be read, and is not in the backup as it is now", "store", store, "error", frozen.Unread[store],
			"files_of_an_earlier_backup", taken)
	}
	return nil
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// unchanged reports whether a file is the one that the last generation has, and that one's content is there.
func (w *writer) unchanged(file SourceFile, known File) bool {
	if file.Changed.IsZero() || !file.Changed.Equal(known.Changed) || file.Size != known.Size {
		return false
	}
	info, err := os.Stat(w.content(known.SHA256))
	return err == nil && info.Size() == known.Size
}

// copy copies a file to the contents, unless they have it.
func (w *writer) copy(file SourceFile) error {
	r, err := os.Open(file.Path)
	if err != nil {
		return err
	}
	defer r.Close()
	temporary := filepath.Join(w.dir, contentName, rand.Text()+unfinished)
	sum, size, err := w.writeNew(temporary, r)
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", file.Name, err), removeIfThere(temporary))
	}
	if file.Size >= 0 && size != file.Size {
		return errors.Join(fmt.Errorf("%s has %d bytes, and had %d", file.Path, size, file.Size), removeIfThere(temporary))
	}
	one := File{Name: file.Name, Size: size, SHA256: sum, Changed: file.Changed}
	w.generation.Files = append(w.generation.Files, one)
	there, err := w.holds(one)
	if there && err == nil {
		return os.Remove(temporary)
	}
	if err == nil {
		err = w.name(temporary, one)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("%s: %w", file.Name, err), removeIfThere(temporary))
	}
	w.report.New += size
	return nil
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// writeNew writes a file, at the rate of the options, makes its bytes durable, and returns their digest and number.
func (w *writer) writeNew(path string, r io.Reader) (sum string, size int64, err error) {
	if err := w.options.step("write " + path); err != nil {
		return "", 0, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", 0, err
	}
	h := sha256.New()
	buf := make([]byte, 256<<10)
	for err == nil {
		var n int
		n, err = r.Read(buf)
		h.Write(buf[:n])
		size += int64(n)
		if _, failed := f.Write(buf[:n]); failed != nil {
			err = failed
		}
		if err == nil {
			err = w.pace(n)
		}
	}
	if err == io.EOF {
		err = w.options.step("sync " + path)
	}
	if err == nil {
		err = f.Sync()
	}
	return hex.EncodeToString(h.Sum(nil)), size, errors.Join(err, f.Close())
}

// pace waits so that no more is read than the rate allows.
func (w *writer) pace(n int) error {
	w.read += int64(n)
	if w.options.Rate <= 0 {
		return w.ctx.Err()
	}
	ahead := time.Duration(float64(w.read)/float64(w.options.Rate)*float64(time.Second)) - time.Since(w.begun)
	if ahead <= 0 {
		return w.ctx.Err()
	}
	select {
	case <-time.After(ahead):
		return nil
	case <-w.ctx.Done():
		return w.ctx.Err()
	}
}

// holds reports whether the contents have a file, whole. One that is damaged is replaced.
func (w *writer) holds(file File) (bool, error) {
	err := w.compare(w.content(file.SHA256), file)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrDamaged) {
		return false, nil
	}
	return err == nil, err
}

// name compares what was written with what is on the disk, and gives it its place among the contents.
func (w *writer) name(temporary string, file File) error {
	if err := w.compare(temporary, file); err != nil {
		return err
	}
	path := w.content(file.SHA256)
	if err := w.options.step("rename " + path); err != nil {
		return err
	}
	folder := filepath.Dir(path)
	if err := durable.MakeFolder(folder); err != nil {
		return err
	}
	w.synced[folder] = false
	return os.Rename(temporary, path)
}

// compare reads a file back from the disk. The error is ErrDamaged if it is not as it should be.
func (f *Folder) compare(path string, file File) error {
	if err := f.options.step("read " + path); err != nil {
		return err
	}
	r, err := os.Open(path)
	if err != nil {
		return err
	}
	defer r.Close()
	// Otherwise the memory of the machine would answer, and not the disk. Where the file system cannot do that, nothing is lost.
	_ = unix.Fadvise(int(r.Fd()), 0, 0, unix.FADV_DONTNEED)
	h := sha256.New()
	size, err := io.Copy(h, r)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if sum := hex.EncodeToString(h.Sum(nil)); size != file.Size || sum != file.SHA256 {
		return fmt.Errorf("%w: %s has %d bytes with the SHA-256 %s, and not %d with %s", ErrDamaged, path, size, sum, file.Size, file.SHA256)
	}
	return nil
}

// finish makes the names of the contents durable, writes the generation, and reads it back.
func (w *writer) finish() error {
	for folder, done := range w.synced {
		if done {
			continue
		}
		if err := w.options.step("sync " + folder); err != nil {
			return err
		}
		if err := durable.SyncFolder(folder); err != nil {
			return err
		}
		w.synced[folder] = true
	}
	if err := durable.SyncFolder(filepath.Join(w.dir, contentName)); err != nil {
		return err
	}
	g := &w.generation
	slices.SortFunc(g.Files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	b, err := g.encode()
	if err != nil {
		return err
	}
	if err := durable.Write(filepath.Join(w.dir, g.name()), bytes.NewReader(b), w.options.step); err != nil {
		return err
	}
	if _, err := w.Folder.read(g.name()); err != nil {
		return err
	}
	w.report.Taken, w.report.Files, w.report.Bytes = g.Taken, len(g.Files), g.Bytes
	return nil
}
