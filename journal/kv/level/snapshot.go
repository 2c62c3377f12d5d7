package level

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/syndtr/goleveldb/leveldb/journal"
	"github.com/syndtr/goleveldb/leveldb/storage"

	"copialettere/journal/durable"
	"copialettere/journal/kv"
)

// A snapshot is made in two parts. While all committers stand still, between two batches, the logs and manifests of all stores are opened and
// their lengths noted. Then the committers go on, and what was noted is copied, and the tables are linked, to a folder beside them. LevelDB
// never changes a table, and only appends to logs and manifests. It may remove a table in between: then all is done again.
//
// A log that LevelDB is just making a table of needs no care: it removes the log after the manifest names the table, and logs are looked for
// before manifests.

const (
	snapshotName = "snapshot" // folder in that of a store; nothing outlives the next Open
	// pauseWait is how long committers wait for the slowest of them.
	pauseWait = time.Second
	// snapshotTries is how often a snapshot is tried, as stores are opened and tables are merged meanwhile.
	snapshotTries = 25
	snapshotPause = 20 * time.Millisecond // between two tries
)

// errMoved says that something changed while a snapshot was made.
var errMoved = errors.New("the stores changed meanwhile")

// frozen is what a snapshot keeps of one store while the committers stand still.
type frozen struct {
	name  string
	tag   string
	mark  []byte       // content of the acknowledged mark; nil: as it is on disk
	files []frozenFile // logs, then the manifest
	wrong error        // why the store cannot be copied

	wrapped []byte    // content of the KEY file; nil where the store is not sealed
	key     *[32]byte // the key in it
}

// frozenFile is the beginning of a file that LevelDB appends to.
type frozenFile struct {
	*os.File
	name    string
	size    int64
	changed time.Time
}

func (f *frozen) close() {
	for _, file := range f.files {
		file.Close()
	}
}

// Snapshot implements kv.Copier.
func (e *Engine) Snapshot(ctx context.Context) (*kv.Snapshot, error) {
	if e.opts.Storage != nil {
		return nil, errors.New("snapshot: the stores are not on files")
	}
	select {
	case e.snapshots <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("snapshot: wait for another one: %w", ctx.Err())
	}
	s, err := e.snapshot(ctx)
	if err != nil {
		err = errors.Join(err, e.removeSnapshots())
		<-e.snapshots
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	released := make(chan struct{}, 1)
	s.Release = func() error {
		select {
		case released <- struct{}{}:
		default:
			return nil
		}
		err := e.removeSnapshots()
		<-e.snapshots
		return err
	}
	return s, nil
}

func (e *Engine) snapshot(ctx context.Context) (*kv.Snapshot, error) {
	for try := 0; ; try++ {
		s, err := e.trySnapshot(ctx, try == snapshotTries)
		if !errors.Is(err, errMoved) || try == snapshotTries {
			return s, err
		}
		select {
		case <-time.After(snapshotPause):
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", err, ctx.Err())
		}
	}
}

// trySnapshot tries once. A file that is gone was removed meanwhile; on the last try it was absent.
func (e *Engine) trySnapshot(ctx context.Context, last bool) (*kv.Snapshot, error) {
	if err := e.removeSnapshots(); err != nil {
		return nil, err
	}
	reg, stores, err := e.freeze(ctx)
	defer func() {
		for _, f := range stores {
			f.close()
		}
	}()
	if err != nil {
		return nil, err
	}
	s := &kv.Snapshot{Taken: time.Now().UTC(), Unread: make(map[string]string)}
	for _, f := range stores {
		if f.wrong == nil {
			err := e.copyFrozen(ctx, s, f)
			if errors.Is(err, fs.ErrNotExist) && !last {
				err = errMoved
			}
			if errors.Is(err, errMoved) || ctx.Err() != nil || e.isClosed() {
				return nil, errors.Join(err, ctx.Err())
			}
			f.wrong = err
		}
		if f.wrong != nil {
			s.Unread[f.name] = f.wrong.Error()
			s.Files = slices.DeleteFunc(s.Files, func(file kv.SnapshotFile) bool { return strings.HasPrefix(file.Name, f.name+"/") })
		}
	}
	b, err := json.MarshalIndent(reg, "", "\t")
	if err == nil {
		err = os.MkdirAll(filepath.Join(e.dir, snapshotName), 0o700)
	}
	if err == nil {
		err = e.keep(s, filepath.Join(e.dir, snapshotName), registerName, registerName, append(b, '\n'))
	}
	slices.SortFunc(s.Files, func(a, b kv.SnapshotFile) int { return strings.Compare(a.Name, b.Name) })
	return s, err
}

func (e *Engine) isClosed() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.closed
}

// freeze stops the committers of all open stores and notes how all stores are. The error is errMoved if a store was just opened or closed.
func (e *Engine) freeze(ctx context.Context) (register, []*frozen, error) {
	open := e.openStores()
	ctx, cancel := context.WithTimeoutCause(ctx, pauseWait, errMoved)
	defer cancel()
	resume := make(chan struct{})
	defer close(resume)
	marks := make(map[string][]byte)
	for _, s := range open {
		standing := make(chan []byte, 1)
		job := func() {
			if s.current == nil {
				close(standing)
				return
			}
			standing <- encodeMark(s.current.seq)
			<-resume
		}
		select {
		case s.jobs <- job:
		case <-s.stop:
			return register{}, nil, errMoved
		case <-ctx.Done():
			return register{}, nil, context.Cause(ctx)
		}
		// A committer that took the job runs it at once.
		mark, ok := <-standing
		if !ok {
			return register{}, nil, errMoved
		}
		marks[s.name] = mark
	}
	reg, before, err := e.atRest(marks)
	if err != nil {
		return register{}, nil, err
	}
	var stores []*frozen
	for _, name := range slices.Sorted(maps.Keys(reg.Stores)) {
		stores = append(stores, e.freezeStore(name, reg.Stores[name], marks[name]))
	}
	_, after, err := e.atRest(marks)
	if err == nil && !maps.Equal(before, after) {
		err = errMoved
	}
	return reg, stores, err
}

// atRest returns the register as a copy has it, and how often each store that is not among the paused ones was opened so far. The error is
// errMoved if one of them is in use.
func (e *Engine) atRest(paused map[string][]byte) (register, map[string]uint64, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return register{}, nil, kv.ErrClosed
	}
	reg := e.register
	reg.Stores = maps.Clone(reg.Stores)
	maps.DeleteFunc(reg.Stores, func(_ string, entry registered) bool { return entry.State == stateMaking })
	uses := make(map[string]uint64)
	for name, s := range e.stores {
		if _, ok := paused[name]; ok {
			continue
		}
		if s.inUse.Load() {
			return reg, nil, errMoved
		}
		uses[name] = s.uses.Load()
	}
	maps.DeleteFunc(uses, func(_ string, n uint64) bool { return n == 0 })
	if len(e.dropping) > 0 {
		return reg, nil, errMoved
	}
	return reg, uses, nil
}

// freezeStore notes how a store is. What is wrong with it is in the result.
func (e *Engine) freezeStore(name string, entry registered, mark []byte) *frozen {
	f := &frozen{name: name, tag: entry.Tag, mark: mark}
	path := e.path(name)
	if f.wrong = e.matches(name, entry); f.wrong != nil {
		return f
	}
	if f.wrapped, f.key, f.wrong = e.readKey(path); f.wrong != nil {
		return f
	}
	logs, err := filepath.Glob(filepath.Join(path, "*.log"))
	if err != nil {
		f.wrong = err
		return f
	}
	for _, log := range logs {
		if err := f.add(log, mark == nil); err != nil && !errors.Is(err, fs.ErrNotExist) {
			f.wrong = err
			return f
		}
	}
	current, err := os.ReadFile(filepath.Join(path, "CURRENT"))
	manifest := strings.TrimSuffix(string(current), "\n")
	if err == nil && (!strings.HasPrefix(manifest, "MANIFEST-") || strings.ContainsRune(manifest, '/')) {
		err = fmt.Errorf("CURRENT of %s names no manifest: %.100q", path, manifest)
	}
	if err == nil {
		err = f.add(filepath.Join(path, manifest), mark == nil)
	}
	f.wrong = err
	return f
}

// matches checks the tag in the folder of a store without writing one.
func (e *Engine) matches(name string, entry registered) error {
	tag, err := readTag(e.path(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s is %w, or does not say which store it is", e.path(name), ErrAbsent)
	case err == nil && tag != entry.Tag:
		return fmt.Errorf("%s is another store (%.100q) than that of the archive (%q)", e.path(name), tag, entry.Tag)
	}
	return err
}

// add opens a file and notes its length; and its time if nobody can be writing to it.
func (f *frozen) add(path string, still bool) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return err
	}
	one := frozenFile{File: file, name: filepath.Base(path), size: info.Size()}
	if still {
		one.changed = info.ModTime()
	}
	f.files = append(f.files, one)
	return nil
}

// copyFrozen copies what was noted of a store, and links its tables.
func (e *Engine) copyFrozen(ctx context.Context, s *kv.Snapshot, f *frozen) error {
	folder := filepath.Join(e.path(f.name), snapshotName)
	if err := os.Mkdir(folder, 0o700); err != nil {
		return err
	}
	manifest := f.files[len(f.files)-1]
	content := make([]byte, manifest.size)
	if _, err := io.ReadFull(io.NewSectionReader(manifest, 0, manifest.size), content); err != nil {
		return err
	}
	if f.key != nil {
		var err error
		if content, err = unsealed(*f.key, storage.FileDesc{Type: storage.TypeManifest}, content); err != nil {
			return err
		}
	}
	if !wholeRecords(content) && f.mark != nil {
		return errMoved // LevelDB is just writing to it
	}
	tables, err := parseManifest(bytes.NewReader(content), nil)
	if err != nil {
		return fmt.Errorf("%s: %w", manifest.Name(), err)
	}
	for _, level := range tables {
		for _, t := range level {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := e.linkTable(s, f, folder, t); err != nil {
				return err
			}
		}
	}
	for _, file := range f.files {
		if err := e.keepFile(s, f.name, folder, file); err != nil {
			return err
		}
	}
	if err := e.keep(s, folder, f.name+"/CURRENT", "CURRENT", []byte(manifest.name+"\n")); err != nil {
		return err
	}
	if err := e.keep(s, folder, f.name+"/"+tagName, tagName, []byte(f.tag+"\n")); err != nil {
		return err
	}
	if f.key != nil {
		if err := e.keep(s, folder, f.name+"/"+keyName, keyName, f.wrapped); err != nil {
			return err
		}
	}
	mark := f.mark
	if mark == nil {
		if mark, err = os.ReadFile(filepath.Join(e.path(f.name), markName)); err != nil {
			return err
		}
	}
	return e.keep(s, folder, f.name+"/"+markName, markName, mark)
}

// wholeRecords reports whether a file in LevelDB's log format ends behind a record.
func wholeRecords(content []byte) bool {
	for log := journal.NewReader(bytes.NewReader(content), nil, true, true); ; {
		record, err := log.Next()
		if err == nil {
			_, err = io.Copy(io.Discard, record)
		}
		if err != nil {
			return errors.Is(err, io.EOF)
		}
	}
}

// linkTable links a table into the folder of the snapshot. The error is fs.ErrNotExist if LevelDB has removed it since.
func (e *Engine) linkTable(s *kv.Snapshot, f *frozen, folder string, t table) error {
	name := fmt.Sprintf("%06d.ldb", t.number)
	path := filepath.Join(folder, name)
	if err := os.Link(filepath.Join(e.path(f.name), name), path); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	size := t.size
	if f.key != nil {
		size = sealedSize(size)
	}
	if info.Size() != size {
		return fmt.Errorf("%s has %d bytes, and the manifest says %d", filepath.Join(e.path(f.name), name), info.Size(), size)
	}
	s.Files = append(s.Files, kv.SnapshotFile{Name: f.name + "/" + name, Path: path, Size: size, Changed: info.ModTime()})
	return nil
}

// keepFile copies the beginning of a file into the folder of the snapshot.
func (e *Engine) keepFile(s *kv.Snapshot, store, folder string, file frozenFile) error {
	path := filepath.Join(folder, file.name)
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(w, io.NewSectionReader(file, 0, file.size))
	if err == nil && n != file.size {
		err = io.ErrUnexpectedEOF
	}
	if err := errors.Join(err, w.Close()); err != nil {
		return err
	}
	s.Files = append(s.Files, kv.SnapshotFile{Name: store + "/" + file.name, Path: path, Size: n, Changed: file.changed})
	return nil
}

// keep writes a file of the snapshot.
func (e *Engine) keep(s *kv.Snapshot, folder, name, base string, content []byte) error {
	path := filepath.Join(folder, base)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return err
	}
	s.Files = append(s.Files, kv.SnapshotFile{Name: name, Path: path, Size: int64(len(content))})
	return nil
}

// removeSnapshots removes the folders of a snapshot.
func (e *Engine) removeSnapshots() error {
	paths, err := filepath.Glob(filepath.Join(e.dir, "*", snapshotName))
	if err != nil {
		return err
	}
	errs := []error{os.RemoveAll(filepath.Join(e.dir, snapshotName))}
	for _, path := range paths {
		if isStoreName(filepath.Base(filepath.Dir(path))) {
			errs = append(errs, os.RemoveAll(path))
		}
	}
	return errors.Join(errs...)
}

// Renew makes the copy of an engine in a folder that nobody has open an archive of its own line: each store gets a new tag. From then on the
// copy and its original are not taken for each other, though both go on from the same files. After a crash copy the files anew.
func Renew(dir string) error {
	r, err := readRegister(dir)
	if err != nil {
		return err
	}
	for name, entry := range r.Stores {
		entry.Tag = newTag(r.Archive, name)
		r.Stores[name] = entry
		some, err := holdsAnything(filepath.Join(dir, name))
		if err == nil && some {
			err = durable.Write(filepath.Join(dir, name, tagName), strings.NewReader(entry.Tag+"\n"), nil)
		}
		if err != nil {
			return fmt.Errorf("give store %s a new tag: %w", name, err)
		}
	}
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return durable.Write(filepath.Join(dir, registerName), bytes.NewReader(append(b, '\n')), nil)
}
