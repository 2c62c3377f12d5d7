package level

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/storage"

	"copialettere/journal/durable"
	"copialettere/journal/kv"
)

// goleveldb's own repair makes one level of all tables that it finds, and goes by sequence numbers. So a key that was deleted is back if the table with
// the deletion is damaged, or if a table is left over that was merged with its deletion before. Mend goes by the manifest instead, which tells what is
// newer: LevelDB keeps the entries of a key such that what is in a level is newer than what is in deeper ones, and in level 0 what is in a table of a
// higher number. So in a span of keys that cannot be read in one table, what newer tables and the logs have of a key stands, and what older ones have of
// it does not: the damaged table may have held its deletion. The table's Bloom filters tell most keys that it did not hold.
//
// The fresh store is made of links to the tables and logs that are whole, which nobody changes any more, and of new tables in place of those that are
// not, or have entries that do not stand. So mending takes the room and time of the damage, and once those of reading all.
//
// Without its manifest nothing tells which tables are left over, and a store is not mended.

// ErrLoss says that a store is not mended because that would lose keys.
var ErrLoss = errors.New("mending would lose keys")

// Span is a span of keys, half-open.
type Span struct{ From, To []byte }

// Mended is what Mend has done.
type Mended struct {
	Tables int    // of LevelDB, that are new or given up
	Kept   int64  // entries that could be read in damaged tables
	Lost   []Span // in which keys may be missing that were there, ascending
	Old    string // path of the damaged store, kept aside; empty where nothing had to be mended

	record string // path of the file that says all this
}

// Settle says that what was lost is on record elsewhere: Examine and Mend do not tell it again.
func (m *Mended) Settle() error {
	if m.record == "" {
		return nil
	}
	if err := os.Remove(m.record); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return durable.SyncFolder(filepath.Dir(m.record))
}

// Mend makes a fresh store of all that can be had of a damaged one, in the folder of an engine that nobody has open. It proves the fresh store, puts it
// in the place of the damaged one, and keeps that aside. An empty month means the settings. After a crash or an error, and again until Mended.Settle,
// the same call goes on and returns the same. A damaged log is left to whoever opens the store next: see FaultLog.
//
// The error names what cannot be mended. It is ErrLoss for settings that would lose a key: a lost erasure cannot be told from one that never was.
func Mend(ctx context.Context, dir string, month kv.Month, opts Options) (*Mended, error) {
	name := cmp.Or(string(month), settingsName)
	mended, err := mend(ctx, dir, name, opts)
	if err != nil {
		return nil, fmt.Errorf("mend store %s: %w", name, err)
	}
	return mended, nil
}

func mend(ctx context.Context, dir, name string, opts Options) (*Mended, error) {
	x, err := newExaminer(dir, opts, true)
	if err != nil {
		return nil, err
	}
	defer x.close()
	entry, ok := x.engine.register.Stores[name]
	switch {
	case !ok && len(x.faults) == 0, entry.State == stateMaking:
		return nil, noVolume(name)
	case entry.State == stateUntagged:
		return nil, refusal(append(x.faults, Fault{Kind: FaultRegister, File: filepath.Join(dir, registerName), Err: errors.New("it does not know the store yet")}))
	}
	if err := x.finishSwap(name, entry); err != nil {
		return nil, err
	}
	s, err := x.survey(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := refusal(x.faults); err != nil {
		return nil, err
	}
	earlier, err := s.readMended()
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(s.faults, func(f Fault) bool { return needsMending(f) }) {
		return earlier, nil
	}
	m := &mending{
		engine: x.engine, survey: s, path: x.engine.path(name) + mendingSuffix, shadows: make(map[int64]holes), tag: entry.Tag,
		mended: Mended{Lost: earlier.Lost},
	}
	err = m.build(ctx)
	if err == nil {
		err = m.prove(ctx)
	}
	if err == nil {
		err = m.swap()
	}
	if err != nil {
		return nil, err
	}
	return &m.mended, nil
}

// needsMending reports whether Mend has to make a fresh store for a fault.
func needsMending(f Fault) bool {
	switch f.Kind {
	case FaultCurrent, FaultManifest, FaultMissing, FaultTable:
		return true
	case FaultLog:
		return isReadError(f.Err)
	}
	return false
}

// isReadError reports whether the system could not read a file, as against what is in it.
func isReadError(err error) bool {
	var path *fs.PathError
	return errors.As(err, &path)
}

// refusal returns why a store cannot be mended, or nil.
func refusal(faults []Fault) error {
	var errs []error
	for _, f := range faults {
		switch {
		case f.Mendable, f.Kind == FaultAside, f.Kind == FaultForeign:
		case f.Loses:
			errs = append(errs, fmt.Errorf("%s: %w: put the store back from a backup: %w", f.File, ErrLoss, f.Err))
		default:
			errs = append(errs, fmt.Errorf("%s (%s) cannot be mended: put it back from a backup: %w", f.File, f.Kind, cmp.Or(f.Err, ErrAbsent)))
		}
	}
	return errors.Join(errs...)
}

// finishSwap ends a mending that was interrupted between the two renames, and removes what is left of one that was interrupted before.
func (x *examiner) finishSwap(name string, entry registered) error {
	path, fresh := x.engine.path(name), x.engine.path(name)+mendingSuffix
	_, err := os.Lstat(path)
	switch tag, tagErr := readTag(fresh); {
	case err == nil:
		return os.RemoveAll(fresh)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	case tagErr != nil || tag != entry.Tag:
		return nil // it is absent
	}
	return x.engine.rename(fresh, path)
}

// rename renames a folder of the engine, durably.
func (e *Engine) rename(from, to string) error {
	if err := e.step("rename " + from); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return e.syncNames(e.dir)
}

// mending makes the fresh store.
type mending struct {
	engine  *Engine
	survey  *survey
	path    string // of the fresh store
	tag     string
	files   storage.Storage // of the fresh store
	shadows map[int64]holes // of newer tables, by the number of the table whose entries do not stand there
	fresh   version
	written map[int64]int64 // how many entries are in the tables that are not links, by number
	mended  Mended
}

// build makes the fresh store in its folder. Its tag is written last.
func (m *mending) build(ctx context.Context) error {
	s := m.survey
	if err := m.folder(); err != nil {
		return err
	}
	m.plan()
	m.written = make(map[int64]int64)
	m.fresh = version{log: s.version.log, prevLog: s.version.prevLog, next: s.version.next, sequence: s.version.sequence, levels: make(levels, len(s.version.levels))}
	for n, tables := range s.version.levels {
		for _, t := range tables {
			kept, err := m.table(ctx, t)
			if err != nil {
				return fmt.Errorf("table %d: %w", t.number, err)
			}
			if kept != nil {
				m.fresh.levels[n] = append(m.fresh.levels[n], *kept)
			}
		}
	}
	for _, fd := range s.logs {
		if err := m.log(fd); err != nil {
			return fmt.Errorf("log %d: %w", fd.Num, err)
		}
	}
	if err := m.nextNumber(); err != nil {
		return err
	}
	if err := m.keepMarks(); err != nil {
		return fmt.Errorf("sequence numbers: %w", err)
	}
	m.mended.Old = m.asideName()
	return m.finish()
}

// folder makes the folder of the fresh store.
func (m *mending) folder() error {
	err := m.engine.step("make " + m.path)
	if err == nil {
		err = durable.MakeFolder(m.path)
	}
	if err != nil {
		return err
	}
	m.files = m.storage(m.survey.key)
	return nil
}

// storage returns where the files of the fresh store are written, with the key of the store.
func (m *mending) storage(key *[32]byte) storage.Storage {
	if key == nil {
		return m.medium()
	}
	return &sealed{m.medium(), *key}
}

// plan finds out which entries of older tables do not stand, and what is lost.
func (m *mending) plan() {
	type placed struct {
		level int
		table
	}
	var newestFirst []placed
	for n, tables := range m.survey.version.levels {
		for _, t := range tables {
			newestFirst = append(newestFirst, placed{n, t})
		}
	}
	slices.SortStableFunc(newestFirst, func(a, b placed) int {
		if a.level == 0 && b.level == 0 {
			return cmp.Compare(b.number, a.number)
		}
		return cmp.Compare(a.level, b.level)
	})
	for i, t := range newestFirst {
		damaged := m.survey.tables[t.number]
		if damaged == nil {
			continue
		}
		for _, h := range damaged.holes {
			m.mended.Lost = addSpan(m.mended.Lost, h)
			for _, older := range newestFirst[i:] {
				if bytes.Compare(h.from, older.last) <= 0 && bytes.Compare(older.first, h.to) < 0 {
					m.shadows[older.number] = append(m.shadows[older.number], h)
				}
			}
		}
	}
	m.mended.Lost = union(m.mended.Lost)
}

// addSpan adds what a hole has of the keys of callers.
func addSpan(list []Span, h hole) []Span {
	end := []byte{kv.Reserved}
	if bytes.Compare(h.from, end) >= 0 {
		return list
	}
	return append(list, Span{h.from, least(h.to, end)})
}

// union joins spans that overlap or touch.
func union(list []Span) []Span {
	slices.SortFunc(list, func(a, b Span) int { return bytes.Compare(a.From, b.From) })
	var joined []Span
	for _, s := range list {
		if n := len(joined); n > 0 && bytes.Compare(s.From, joined[n-1].To) <= 0 {
			joined[n-1].To = most(joined[n-1].To, s.To)
			continue
		}
		joined = append(joined, s)
	}
	return joined
}

// table links a table that is as it should be, or writes a new one. It returns nil if nothing is left of it.
func (m *mending) table(ctx context.Context, t table) (*table, error) {
	damaged, shadows := m.survey.tables[t.number], m.shadows[t.number]
	switch {
	case damaged == nil && len(shadows) == 0:
		return &t, m.link(storage.FileDesc{Type: storage.TypeTable, Num: t.number})
	case damaged != nil && damaged.kind == FaultMissing:
		m.mended.Tables++
		return nil, nil
	}
	kept, dropped, err := m.write(ctx, t, shadows, damaged)
	if err != nil {
		return nil, err
	}
	if damaged == nil && dropped == 0 {
		delete(m.written, t.number)
		if err := m.drop(t); err != nil {
			return nil, err
		}
		return &t, m.link(storage.FileDesc{Type: storage.TypeTable, Num: t.number})
	}
	m.mended.Tables++
	if kept == nil {
		return nil, m.drop(t)
	}
	return kept, nil
}

// drop removes a new table again.
func (m *mending) drop(t table) error {
	path := filepath.Join(m.path, fileName(storage.FileDesc{Type: storage.TypeTable, Num: t.number}))
	if err := m.engine.step("remove " + path); err != nil {
		return err
	}
	return os.Remove(path)
}

// link links a file that is whole into the fresh store.
func (m *mending) link(fd storage.FileDesc) error {
	to := filepath.Join(m.path, fileName(fd))
	if err := m.engine.step("link " + to); err != nil {
		return err
	}
	return os.Link(filepath.Join(m.survey.folder, fileName(fd)), to)
}

// errOtherwise says that a file did not read as it had before.
var errOtherwise = errors.New("it reads otherwise than it did just before: see to the disk, and try again")

// write writes a new table of those entries of another one that stand, and counts those that do not. It returns nil if none does.
func (m *mending) write(ctx context.Context, t table, shadows holes, damaged *surveyed) (kept *table, dropped int64, err error) {
	w, err := newTableWriter(m.files, t.number)
	if err != nil {
		return nil, 0, err
	}
	found, err := m.survey.readTable(ctx, t, func(key, value []byte) error {
		if shadows.mayHold(userKey(key)) {
			dropped++
			return nil
		}
		if damaged != nil {
			m.mended.Kept++
		}
		return w.append(key, value)
	})
	if err == nil && !found.same(damaged) {
		err = errOtherwise
	}
	kept, closeErr := w.finish(err == nil)
	if kept != nil {
		m.written[t.number] = int64(w.table.EntriesLen())
	}
	return kept, dropped, errors.Join(err, closeErr)
}

// same reports whether a table was found the same twice.
func (s *surveyed) same(other *surveyed) bool {
	if other == nil {
		return len(s.wrong) == 0
	}
	equal := func(a, b hole) bool { return bytes.Equal(a.from, b.from) && bytes.Equal(a.to, b.to) }
	return len(s.wrong) == len(other.wrong) && slices.EqualFunc(s.holes, other.holes, equal)
}

// log links a log into the fresh store, or copies one that the disk does not read in full.
func (m *mending) log(fd storage.FileDesc) error {
	name := filepath.Join(m.survey.folder, fileName(fd))
	unread := func(f Fault) bool { return f.File == name && isReadError(f.Err) }
	if !slices.ContainsFunc(m.survey.faults, unread) {
		return m.link(fd)
	}
	r, err := os.Open(name)
	if err != nil {
		return err
	}
	defer r.Close()
	info, err := r.Stat()
	if err != nil {
		return err
	}
	w, err := m.medium().Create(fd)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, io.NewSectionReader(patched{r}, 0, info.Size()))
	if err == nil {
		err = w.Sync()
	}
	return errors.Join(err, w.Close())
}

// medium is where the files of the fresh store are written as they are.
func (m *mending) medium() building { return building{readOnly{folder: m.path}, m.engine} }

// patched reads what cannot be read as damage.
type patched struct{ io.ReaderAt }

// sector is the least part of a disk that may be damaged alone, in bytes.
const sector = 512

// ReadAt implements io.ReaderAt.
func (p patched) ReadAt(b []byte, off int64) (int, error) {
	for n := 0; n < len(b); {
		part := b[n:min(len(b), n+sector-int((off+int64(n))%sector))]
		read, err := p.ReaderAt.ReadAt(part, off+int64(n))
		if err == io.EOF {
			return n + read, err
		}
		if err != nil {
			for i := range part {
				part[i] = damagedByte
			}
		}
		n += len(part)
	}
	return len(b), nil
}

// nextNumber finds the least number that no file in either folder has.
func (m *mending) nextNumber() error {
	all, err := readOnly{folder: m.survey.folder}.List(storage.TypeAll)
	for _, fd := range all {
		m.fresh.next = max(m.fresh.next, uint64(fd.Num)+1)
	}
	return err
}

// asideName returns a free path for the damaged store.
func (m *mending) asideName() string {
	for at := time.Now().Unix(); ; at++ {
		path := fmt.Sprintf("%s%s%d", m.survey.folder, asideInfix, at)
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			return path
		}
	}
}

// finish writes all but tables and logs.
func (m *mending) finish() error {
	manifest := storage.FileDesc{Type: storage.TypeManifest, Num: int64(m.fresh.next)}
	m.fresh.next++
	if err := writeManifest(m.files, manifest, m.fresh); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	record, err := m.mended.encode(m.survey.key)
	if err != nil {
		return err
	}
	for _, file := range []struct {
		name    string
		content []byte
	}{
		{keyName, m.copied(keyName)}, {markName, m.copied(markName)}, {mendedName, record},
		{currentName, []byte(fileName(manifest) + "\n")}, {tagName, []byte(m.tag + "\n")},
	} {
		if file.content == nil {
			continue
		}
		if err := m.engine.write(filepath.Join(m.path, file.name), file.content); err != nil {
			return err
		}
	}
	m.mended.record = filepath.Join(m.survey.folder, mendedName)
	return nil
}

// copied returns the content of a small file of the damaged store; nil where it is missing or damaged, which the survey would have refused if it mattered.
func (m *mending) copied(name string) []byte {
	b, err := os.ReadFile(filepath.Join(m.survey.folder, name))
	if err != nil {
		return nil
	}
	if _, ok := decodeMark(b); name == markName && !ok {
		return nil
	}
	return b
}

// prove reads the fresh store as it is on the disk: its manifest, all that is new in it, and all of it as LevelDB opens it.
func (m *mending) prove(ctx context.Context) error {
	s := &survey{name: m.survey.name, folder: m.path, key: m.survey.key, files: m.files, tables: make(map[int64]*surveyed)}
	entries, err := os.ReadDir(m.path)
	if err != nil {
		return err
	}
	if !s.lookAtManifest(entries) {
		return fmt.Errorf("the new manifest is not sound: %w", s.faults[0].Err)
	}
	if !bytes.Equal(s.version.encode(), m.fresh.encode()) {
		return errors.New("the new manifest does not say what was written")
	}
	for _, tables := range s.version.levels {
		for _, t := range tables {
			entries, ok := m.written[t.number]
			if !ok {
				continue
			}
			found, err := s.readTable(ctx, t, func(_, _ []byte) error { return nil })
			if err == nil && (len(found.wrong) > 0 || found.entries != entries) {
				err = errors.Join(append(found.wrong, fmt.Errorf("it has %d entries, and %d were written", found.entries, entries))...)
			}
			if err != nil {
				return fmt.Errorf("the new table %d is not sound: %w", t.number, err)
			}
		}
	}
	db, err := leveldb.Open(&named{s.files, storage.FileDesc{Type: storage.TypeManifest, Num: s.manifest}}, &opt.Options{
		ReadOnly: true, ErrorIfMissing: true, Compression: opt.NoCompression, Strict: opt.DefaultStrict, WriteBuffer: restWriteBuffer,
		BlockCacheCapacity: restBlockCache, OpenFilesCacheCapacity: restOpenFiles,
	})
	if err != nil {
		return fmt.Errorf("open the fresh store: %w", err)
	}
	_, err = (&database{db: db}).check(0)
	if err := errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("check the fresh store: %w", err)
	}
	return nil
}

// swap puts the fresh store in the place of the damaged one.
func (m *mending) swap() error {
	if err := m.engine.syncNames(m.path); err != nil {
		return err
	}
	if err := m.engine.rename(m.survey.folder, m.mended.Old); err != nil {
		return err
	}
	return m.engine.rename(m.path, m.survey.folder)
}

// asides returns the damaged stores that were kept aside when a store was mended, and what is left of a mending.
func (e *Engine) asides(name string) ([]string, error) {
	entries, err := os.ReadDir(e.dir)
	var list []string
	for _, entry := range entries {
		if entry.Name() == name+mendingSuffix || strings.HasPrefix(entry.Name(), name+asideInfix) {
			list = append(list, e.path(entry.Name()))
		}
	}
	return list, err
}
