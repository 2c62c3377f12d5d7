package level

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/syndtr/goleveldb/leveldb/storage"

	"copialettere/journal/kv"
)

// FaultKind says what is wrong.
type FaultKind string

// Kinds of faults. Unless the comment says who mends it, Mend does, where it can be mended.
const (
	FaultRegister FaultKind = "register" // the register cannot be read: it is to be put back from a backup
	FaultStranger FaultKind = "stranger" // the folder is in the place of a store, and is not that store's, or of none: it is to be moved away
	FaultAbsent   FaultKind = "absent"   // the folder of the store is not there, or empty
	FaultUnread   FaultKind = "unread"   // the file or folder is there, and the system does not let it be read
	FaultKey      FaultKind = "key"      // the key of a sealed store is missing or damaged, or wrapped by a key that was not given
	FaultCurrent  FaultKind = "current"  // CURRENT is missing or damaged
	FaultManifest FaultKind = "manifest" // the manifest is missing or damaged
	FaultMissing  FaultKind = "missing"  // a table is missing
	FaultTable    FaultKind = "table"    // a table is damaged
	FaultLog      FaultKind = "log"      // a log is damaged: whoever opens the store next keeps a copy, reads what can be read, and records what is lost
	FaultMark     FaultKind = "mark"     // the acknowledged mark is missing or damaged: it is made anew when the store is opened
	FaultHalf     FaultKind = "half"     // a mending, a drop or a snapshot was interrupted. Mend ends the mending, Open all else
	FaultMended   FaultKind = "mended"   // it was mended, and nobody has settled yet what that has lost: Mend tells it again
	FaultAside    FaultKind = "aside"    // no fault: what was kept aside when a store was mended, or a log. It may be removed
	FaultForeign  FaultKind = "foreign"  // a file or folder that copialettere has not made. It does no harm
)

// Fault is what is wrong with one file or store in the folder of an engine.
type Fault struct {
	Month    kv.Month // of the store; empty for the settings and for what belongs to no store
	Store    string   // name of its folder; empty for what belongs to no store
	Kind     FaultKind
	File     string // path
	Err      error  // what is wrong in particular; nil where Kind says all
	Mendable bool   // it can be mended without anything being put back
	Loses    bool   // keys may be lost by the mending, because they were by the damage
}

// Examine looks at all stores in the folder of an engine that nobody has open, and reads all that is in them. It changes nothing. The faults come by
// store, the months first, and by file. The error is ErrInUse if the folder is open, and says otherwise why Examine could not look.
func Examine(ctx context.Context, dir string, opts Options) ([]Fault, error) {
	x, err := newExaminer(dir, opts, false)
	if err != nil {
		return nil, fmt.Errorf("examine %s: %w", dir, err)
	}
	defer x.close()
	for _, name := range slices.Sorted(maps.Keys(x.engine.register.Stores)) {
		if _, err := x.survey(ctx, name); err != nil {
			return nil, fmt.Errorf("examine store %s: %w", name, err)
		}
	}
	if err := x.others(); err != nil {
		return nil, fmt.Errorf("examine %s: %w", dir, err)
	}
	return x.faults, nil
}

// examiner looks at the folder of an engine. Its engine is not open: it is there for the names and keys of stores.
type examiner struct {
	engine *Engine
	lock   *os.File // nil where there is none to take
	faults []Fault
}

// newExaminer locks the folder of an engine. Unless it is to be changed, nothing is made in it: without a lock file nobody has it open.
func newExaminer(dir string, opts Options, change bool) (*examiner, error) {
	if opts.Storage != nil {
		return nil, errors.New("the stores are not on files")
	}
	x := &examiner{engine: &Engine{dir: dir, opts: opts.withDefaults()}}
	if _, err := os.ReadDir(dir); err != nil {
		return nil, err
	}
	if _, err := os.Lstat(filepath.Join(dir, lockName)); err == nil || change {
		lock, err := lockFolder(dir)
		if err != nil {
			return nil, err
		}
		x.lock = lock
	}
	if err := x.readRegister(); err != nil {
		x.close()
		return nil, err
	}
	return x, nil
}

func (x *examiner) close() {
	if x.lock != nil {
		unlockFolder(x.lock)
	}
}

// readRegister reads the register. Where it cannot, the folders that may be stores are.
func (x *examiner) readRegister() error {
	r, err := readRegister(x.engine.dir)
	if err == nil && x.engine.opts.Archive != "" && r.Archive != x.engine.opts.Archive {
		return fmt.Errorf("%s belongs to archive %s, and not to %s: put the right one back", x.engine.dir, r.Archive, x.engine.opts.Archive)
	}
	if err == nil {
		x.engine.register, x.engine.archive = r, r.Archive
		return nil
	}
	entries, readErr := os.ReadDir(x.engine.dir)
	if readErr != nil {
		return readErr
	}
	x.faults = append(x.faults, Fault{Kind: FaultRegister, File: filepath.Join(x.engine.dir, registerName), Err: err})
	x.engine.register.Stores = make(map[string]registered)
	for _, entry := range entries {
		if name := entry.Name(); isStoreName(name) {
			x.engine.register.Stores[name] = registered{State: stateUntagged}
		}
	}
	return nil
}

// others looks for what is in the folder besides the stores of the register.
func (x *examiner) others() error {
	entries, err := os.ReadDir(x.engine.dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := entry.Name()
		f := Fault{File: x.engine.path(name)}
		store, rest, _ := strings.Cut(name, ".")
		if isStoreName(store) {
			f.Store, f.Month = store, monthOfStore(store)
		}
		_, registered := x.engine.register.Stores[name]
		switch {
		case registered, name == registerName, name == lockName:
			continue
		case name == registerName+".new", name == snapshotName, f.Store != "" && rest == strings.TrimPrefix(droppedSuffix, "."):
			f.Kind, f.Mendable = FaultHalf, true
		case f.Store != "" && rest == strings.TrimPrefix(mendingSuffix, "."):
			f.Kind, f.Mendable = FaultHalf, true
		case f.Store != "" && strings.HasPrefix("."+rest, asideInfix):
			f.Kind = FaultAside
		case isStoreName(name):
			if some, err := holdsAnything(f.File); err == nil && !some {
				continue
			}
			tag, err := readTag(f.File)
			if err == nil && ofStore(tag, x.engine.archive, name) {
				continue // the next Open takes it in
			}
			f.Kind, f.Err = FaultStranger, errStranger(f.File)
		default:
			f.Kind = FaultForeign
		}
		x.faults = append(x.faults, f)
	}
	return nil
}

func monthOfStore(name string) kv.Month {
	if name == settingsName {
		return ""
	}
	return kv.Month(name)
}

// survey is what was found in the folder of a store.
type survey struct {
	name     string
	folder   string
	files    storage.Storage // as LevelDB has written them
	key      *[32]byte       // nil where the store is not sealed
	version  version
	manifest int64 // its number
	logs     []storage.FileDesc
	tables   map[int64]*surveyed // those that are missing or damaged
	marks    []markEntry
	faults   []Fault
}

// surveyed is what was found in a table.
type surveyed struct {
	kind    FaultKind
	wrong   []error
	holes   holes
	entries int64 // that could be read
}

// loses reports whether keys of a caller may be lost.
func (s *surveyed) loses() bool {
	return slices.ContainsFunc(s.holes, func(h hole) bool { return h.from[0] != kv.Reserved })
}

// survey examines a store. It returns nil where there is nothing that could be mended.
func (x *examiner) survey(ctx context.Context, name string) (*survey, error) {
	entry := x.engine.register.Stores[name]
	if entry.State == stateMaking {
		return nil, nil // nothing was ever acknowledged in it
	}
	s := &survey{name: name, folder: x.engine.path(name), tables: make(map[int64]*surveyed)}
	found, err := x.look(ctx, s, entry)
	x.faults = append(x.faults, s.faults...)
	if err != nil || !found {
		return nil, err
	}
	return s, nil
}

func (s *survey) fault(kind FaultKind, file string, err error) *Fault {
	s.faults = append(s.faults, Fault{Month: monthOfStore(s.name), Store: s.name, Kind: kind, File: filepath.Join(s.folder, file), Err: err})
	return &s.faults[len(s.faults)-1]
}

// look examines a store from its folder down to its tables. It reports whether it came down to the tables.
func (x *examiner) look(ctx context.Context, s *survey, entry registered) (found bool, err error) {
	entries, err := os.ReadDir(s.folder)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && len(entries) == 0:
		tag, err := readTag(s.folder + mendingSuffix)
		s.fault(FaultAbsent, "", nil).Mendable = err == nil && tag == entry.Tag && len(entries) == 0
		return false, nil
	case errors.Is(err, syscall.ENOTDIR):
		s.fault(FaultStranger, "", err)
		return false, nil
	case err != nil:
		s.fault(FaultUnread, "", err)
		return false, nil
	}
	if err := x.engine.matches(s.name, entry); entry.State == "" && err != nil {
		s.fault(FaultStranger, tagName, err)
		return false, nil
	}
	s.foreign(entries)
	s.lookAtMark()
	if !x.lookAtKey(s, entries) {
		return false, nil
	}
	s.files = s.storage(false)
	s.lookAtMended()
	if !s.lookAtManifest(entries) {
		return false, nil
	}
	if err := s.lookAtLogs(); err != nil {
		return false, err
	}
	return true, s.lookAtTables(ctx)
}

// ours are the names of files that copialettere or goleveldb makes in the folder of a store.
var ours = regexp.MustCompile(`^(STORE|KEY|MENDED|CURRENT(\.bak|\.\d+)?|ACKNOWLEDGED|LOCK|LOG(\.old)?|(COPY-)?MANIFEST-\d+|\d+\.(log|ldb|tmp))$`)

// foreign looks for what else is in the folder.
func (s *survey) foreign(entries []fs.DirEntry) {
	for _, entry := range entries {
		name := entry.Name()
		switch {
		case ours.MatchString(name):
		case name == snapshotName, strings.HasSuffix(name, ".new") && ours.MatchString(strings.TrimSuffix(name, ".new")):
			s.fault(FaultHalf, name, nil).Mendable = true
		case strings.HasPrefix(name, "damaged-"):
			s.fault(FaultAside, name, nil)
		default:
			s.fault(FaultForeign, name, nil)
		}
	}
}

func (s *survey) lookAtMark() {
	b, err := os.ReadFile(filepath.Join(s.folder, markName))
	if err == nil {
		if _, ok := decodeMark(b); ok {
			return
		}
		err = errors.New("not in the form of a mark")
	}
	s.fault(FaultMark, markName, err).Mendable = true
}

// lookAtKey finds the key of a sealed store, and reports whether the files can be read.
func (x *examiner) lookAtKey(s *survey, entries []fs.DirEntry) bool {
	var err error
	if _, s.key, err = x.engine.readKey(s.folder); err != nil {
		s.fault(FaultKey, keyName, err)
		return false
	}
	if s.key != nil {
		return true
	}
	for _, entry := range entries {
		fd, ok := parseFileName(entry.Name())
		if !ok {
			continue
		}
		head := make([]byte, len(sealMagic))
		f, err := os.Open(filepath.Join(s.folder, entry.Name()))
		if err != nil {
			continue // whoever reads it is told
		}
		_, err = f.ReadAt(head, 0)
		f.Close()
		if err == nil && string(head) == sealMagic && fd.Type != storage.TypeTemp {
			s.fault(FaultKey, keyName, fmt.Errorf("%w, and its key is missing: put it back from a backup", ErrSealed))
			return false
		}
	}
	return true
}

// storage returns the files of the store as LevelDB has written them, with the copies of manifests instead of these if so wanted.
func (s *survey) storage(copies bool) storage.Storage {
	plain := readOnly{folder: s.folder, copies: copies}
	if s.key != nil {
		return &sealed{plain, *s.key}
	}
	return plain
}

// lookAtManifest reads the manifest, or its copy, and reports whether there is one that can be relied on.
func (s *survey) lookAtManifest(entries []fs.DirEntry) bool {
	current, currentErr := s.readCurrent()
	chosen := current
	if currentErr != nil {
		var err error
		if chosen, err = s.otherManifest(entries); err != nil {
			s.fault(FaultCurrent, currentName, errors.Join(currentErr, err))
			return false
		}
	}
	v, err := readManifest(s.files, chosen)
	if err == nil && !s.hasTables(v) {
		// One that was cut off may read as an older one.
		if newer, copyErr := readManifest(s.storage(true), chosen); copyErr == nil && s.hasTables(newer) {
			err = errors.New("it names tables that are not there, and its copy does not")
		}
	}
	if err != nil {
		kind := FaultManifest
		if errors.Is(err, fs.ErrPermission) {
			kind = FaultUnread
		}
		var copyErr error
		if v, copyErr = readManifest(s.storage(true), chosen); copyErr != nil {
			s.fault(kind, fileName(chosen), fmt.Errorf("%w; its copy: %w", err, copyErr))
			return false
		}
		s.fault(kind, fileName(chosen), err).Mendable = true
	}
	if currentErr != nil {
		s.fault(FaultCurrent, currentName, currentErr).Mendable = true
	}
	s.version, s.manifest = v, chosen.Num
	return true
}

// hasTables reports whether all tables that a manifest names are there.
func (s *survey) hasTables(v version) bool {
	for _, t := range slices.Concat(v.levels...) {
		if _, err := os.Lstat(filepath.Join(s.folder, fileName(storage.FileDesc{Type: storage.TypeTable, Num: t.number}))); err != nil {
			return false
		}
	}
	return true
}

const currentName = "CURRENT"

// readCurrent returns the manifest that CURRENT names.
func (s *survey) readCurrent() (storage.FileDesc, error) {
	b, err := os.ReadFile(filepath.Join(s.folder, currentName))
	if err != nil {
		return storage.FileDesc{}, err
	}
	fd, ok := parseFileName(strings.TrimSuffix(string(b), "\n"))
	if !ok || fd.Type != storage.TypeManifest || !bytes.HasSuffix(b, []byte("\n")) {
		return fd, fmt.Errorf("it names no manifest: %.100q", b)
	}
	return fd, nil
}

// otherManifest finds the manifest in a folder without CURRENT. LevelDB removes the one before when CURRENT names a new one, which is whole by then. So
// the newest counts, unless it was just being made.
func (s *survey) otherManifest(entries []fs.DirEntry) (newest storage.FileDesc, err error) {
	var found []storage.FileDesc
	for _, entry := range entries {
		name := strings.TrimPrefix(entry.Name(), copyPrefix)
		if fd, ok := parseFileName(name); ok && fd.Type == storage.TypeManifest && !slices.Contains(found, fd) {
			found = append(found, fd)
		}
	}
	slices.SortFunc(found, func(a, b storage.FileDesc) int { return cmp.Compare(b.Num, a.Num) })
	if len(found) == 0 {
		return newest, errors.New("there is no manifest either")
	}
	if len(found) > 1 && begun(s.files, found[0]) && begun(s.storage(true), found[0]) {
		return found[1], nil
	}
	return found[0], nil
}

// begun reports whether a manifest was just being made, or not even begun.
func begun(files storage.Storage, fd storage.FileDesc) bool {
	_, err := readManifest(files, fd)
	return errors.Is(err, errBegun) || errors.Is(err, fs.ErrNotExist)
}

// errBegun says that a manifest was just being made.
var errBegun = errors.New("it ends before it says anything")

// readManifest reads a manifest. The error is nil only if it is whole.
func readManifest(files storage.Storage, fd storage.FileDesc) (version, error) {
	damage, err := inspectFile(files, fd)
	if err == nil && damage != "" {
		err = errors.New(damage)
	}
	if err != nil {
		return version{}, err
	}
	r, err := files.Open(fd)
	if err != nil {
		return version{}, err
	}
	defer r.Close()
	v, err := parseVersion(r, nil)
	if err == nil && v.next == 0 {
		err = errBegun
	}
	return v, err
}

// lookAtLogs reads the logs that LevelDB would.
func (s *survey) lookAtLogs() error {
	logs, err := s.files.List(storage.TypeJournal)
	if err != nil {
		return err
	}
	slices.SortFunc(logs, func(a, b storage.FileDesc) int { return cmp.Compare(a.Num, b.Num) })
	for _, fd := range logs {
		if uint64(fd.Num) < s.version.log && uint64(fd.Num) != s.version.prevLog {
			continue
		}
		s.logs = append(s.logs, fd)
		damage, err := inspectFile(s.files, fd)
		if err == nil && damage == "" {
			continue
		}
		if err == nil {
			err = errors.New(damage)
		}
		if errors.Is(err, fs.ErrPermission) {
			s.fault(FaultUnread, fileName(fd), err)
			continue
		}
		f := s.fault(FaultLog, fileName(fd), err)
		f.Mendable, f.Loses = true, true
	}
	return nil
}

// lookAtTables reads all tables.
func (s *survey) lookAtTables(ctx context.Context) error {
	unknown, err := s.unknownTables()
	if err != nil {
		return err
	}
	for _, tables := range s.version.levels {
		for _, t := range tables {
			if err := s.lookAtTable(ctx, t, unknown); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *survey) lookAtTable(ctx context.Context, t table, unknown bool) error {
	name := fileName(storage.FileDesc{Type: storage.TypeTable, Num: t.number})
	found, err := s.readTable(ctx, t, func(key, value []byte) error {
		if key[0] == kv.Reserved {
			s.marks = append(s.marks, markEntry{t.number, bytes.Clone(key), bytes.Clone(value)})
		}
		return nil
	})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errCompressed):
		s.fault(FaultTable, name, err)
		return nil
	case errors.Is(err, fs.ErrNotExist) && unknown:
		s.fault(FaultManifest, "", fmt.Errorf("the manifest names %s, which is not there, and does not name tables that are: it is older than they are", name))
		return nil
	case errors.Is(err, fs.ErrNotExist):
		found.kind, found.wrong = FaultMissing, []error{err}
		found.holes.add(hole{from: t.first, to: successor(t.last)})
	case err != nil:
		s.fault(FaultUnread, name, err)
		return nil
	case len(found.wrong) == 0:
		return nil
	}
	s.tables[t.number] = found
	f := s.fault(found.kind, name, errors.Join(found.wrong...))
	f.Loses = found.loses()
	f.Mendable = !f.Loses || s.name != settingsName
	return nil
}

// unknownTables reports whether there are tables newer than the manifest.
func (s *survey) unknownTables() (bool, error) {
	tables, err := s.files.List(storage.TypeTable)
	return slices.ContainsFunc(tables, func(fd storage.FileDesc) bool { return uint64(fd.Num) >= s.version.next }), err
}

// readTable reads a table as tableReader.read does. The error is also that of opening the file.
func (s *survey) readTable(ctx context.Context, t table, each func(key, value []byte) error) (*surveyed, error) {
	found := &surveyed{kind: FaultTable}
	f, err := os.Open(filepath.Join(s.folder, fileName(storage.FileDesc{Type: storage.TypeTable, Num: t.number})))
	if err != nil {
		return found, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return found, err
	}
	r := &tableReader{table: t, file: f, have: info.Size()}
	want := t.size
	if s.key != nil {
		want = sealedSize(t.size)
		if err := s.unseal(r, f); err != nil {
			r.damage("%w", err)
			r.holes.add(hole{from: t.first, to: successor(t.last)})
			found.wrong, found.holes = r.wrong, r.holes
			return found, nil
		}
	}
	if info.Size() != want {
		r.damage("the file has %d bytes, and the manifest says %d", info.Size(), want)
	}
	err = r.read(ctx, each)
	found.wrong, found.holes, found.entries = r.wrong, r.holes, r.entries
	return found, err
}

// unseal has a sealed table read in the clear. The size that the manifest says tells which of its blocks is the last: the file may be cut off.
func (s *survey) unseal(r *tableReader, f *os.File) error {
	head := make([]byte, sealHead)
	if err := readFull(f, head, 0); err != nil {
		return err
	}
	if string(head[:len(sealMagic)]) != sealMagic {
		return errSealed
	}
	aead, err := (&sealed{key: *s.key}).fileCipher(head[len(sealMagic):])
	if err != nil {
		return err
	}
	blocks := newBlockReader(storage.FileDesc{Type: storage.TypeTable, Num: r.number}, f, aead, sealedSize(r.size))
	have := newBlockReader(blocks.fd, f, aead, r.have).size
	r.file, r.have = blocks, have
	return nil
}

// Names of what mending makes beside the folder of a store.
const (
	mendingSuffix = ".mending"  // the fresh store, until it takes its place
	asideInfix    = ".damaged-" // and the Unix time: the damaged store, kept aside
)
