package level

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/syndtr/goleveldb/leveldb/storage"
	"github.com/syndtr/goleveldb/leveldb/util"

	"copialettere/journal/kv"
)

// modelled is a closed engine whose volume and settings hold what a model says.
type modelled struct {
	onFiles
	folder string            // of the volume
	model  map[string]string // of the volume: the latest values
	gone   map[string]bool   // keys that were there and are deleted
}

// smallTables make many tables in several levels.
var smallTables = Options{WriteBuffer: 32 << 10, TableSize: 16 << 10}

// newModelled writes and deletes at random, so that the tables of all levels, and the log, hold values, older values and deletions.
func newModelled(t testing.TB, opts Options, r *rand.Rand, updates int) *modelled {
	t.Helper()
	m := &modelled{onFiles: onFiles{dir: t.TempDir(), opts: opts}, model: make(map[string]string), gone: make(map[string]bool)}
	m.folder = filepath.Join(m.dir, string(recoveryMonth))
	e := m.Open(t)
	s := openVolume(t, e, recoveryMonth)
	for i := range updates {
		m.change(t, s, r, i)
		if i < updates*2/3 && r.IntN(updates/4) == 0 {
			db := s.(*store).current.db
			if err := db.CompactRange(util.Range{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	settings, err := e.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		putOne(t, settings, fmt.Sprintf("setting %03d", i), strings.Repeat("s", 500))
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return m
}

// change makes one update of the volume and the model.
func (m *modelled) change(t testing.TB, s kv.Store, r *rand.Rand, i int) {
	t.Helper()
	type write struct{ key, value string }
	var writes []write
	for range 1 + r.IntN(30) {
		w := write{key: fmt.Sprintf("%c %03d", "cde"[r.IntN(3)], r.IntN(200))}
		if r.IntN(3) > 0 {
			w.value = fmt.Sprintf("%d ", i) + strings.Repeat("v", r.IntN(600))
		}
		writes = append(writes, w)
	}
	err := s.Update(t.Context(), nil, func(tx kv.Tx) error {
		for _, w := range writes {
			if w.value == "" {
				tx.Delete([]byte(w.key))
			} else {
				tx.Put([]byte(w.key), []byte(w.value))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range writes {
		if w.value == "" {
			delete(m.model, w.key)
			m.gone[w.key] = true
		} else {
			m.model[w.key] = w.value
			delete(m.gone, w.key)
		}
	}
}

// copied returns a copy in another folder.
func (m *modelled) copied(t testing.TB) *modelled {
	t.Helper()
	c := *m
	c.dir = t.TempDir()
	c.folder = filepath.Join(c.dir, string(recoveryMonth))
	if err := os.CopyFS(c.dir, os.DirFS(m.dir)); err != nil {
		t.Fatal(err)
	}
	return &c
}

// surveyed returns what Examine knows of the store in the folder.
func (m *modelled) surveyed(t testing.TB) *survey {
	t.Helper()
	x, err := newExaminer(m.dir, m.opts, false)
	if err != nil {
		t.Fatal(err)
	}
	defer x.close()
	s, err := x.survey(t.Context(), filepath.Base(m.folder))
	if err != nil || s == nil {
		t.Fatalf("survey: %v, %v", s, err)
	}
	return s
}

// olderManifest writes a manifest whose tables are merged and gone, while newer ones are there. It returns the path of the copy of the right one.
func (m *modelled) olderManifest(t testing.TB) (copied string) {
	t.Helper()
	path := glob(t.(*testing.T), m.folder, "MANIFEST-*")
	fd, _ := parseFileName(filepath.Base(path))
	older := version{next: 3, sequence: 1, levels: levels{{{number: 1, size: 100, least: internalKey([]byte("a"), 1, 1), most: internalKey([]byte("b"), 1, 1)}}}}
	key := m.surveyKey(t)
	remove(t, path)
	if err := writeManifest((&mending{path: m.folder, engine: &Engine{}}).storage(key), fd, older); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(m.folder, copyName(fd))
}

// surveyKey returns the key of the volume.
func (m *modelled) surveyKey(t testing.TB) *[32]byte {
	t.Helper()
	_, key, err := (&Engine{opts: m.opts}).readKey(m.folder)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// aTable returns the path of the largest table of a level.
func (m *modelled) aTable(t testing.TB, level int) (string, table) {
	t.Helper()
	v := m.surveyed(t).version
	if len(v.levels) <= level || len(v.levels[level]) == 0 {
		t.Fatalf("no table in level %d", level)
	}
	tables := v.levels[level]
	largest := slices.MaxFunc(tables, func(a, b table) int { return int(a.size - b.size) })
	return filepath.Join(m.folder, fileName(storage.FileDesc{Type: storage.TypeTable, Num: largest.number})), largest
}

// part of a table to damage.
type part int

const (
	partData part = iota
	partFilter
	partMeta
	partIndex
	partFooter
)

// damagePart flips a bit in a part of a table.
func (m *modelled) damagePart(t testing.TB, level int, p part) {
	t.Helper()
	path, tab := m.aTable(t, level)
	s := m.surveyed(t)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	r := &tableReader{table: tab, file: f, have: info.Size()}
	if s.key != nil {
		if err := s.unseal(r, f); err != nil {
			t.Fatal(err)
		}
	}
	meta, index, err := r.footer()
	if err != nil {
		t.Fatal(err)
	}
	blocks, err := r.index(index, meta.offset)
	if err != nil {
		t.Fatal(err)
	}
	at := map[part]int64{
		partData: blocks[len(blocks)/2].offset + 100, partFilter: blocks[len(blocks)-1].end() + 2, partMeta: meta.offset + 3,
		partIndex: index.offset + 10, partFooter: tab.size - 3,
	}[p]
	if s.key != nil {
		at = int64(sealHead) + at/sealBlock*(sealBlock+sealTag) + at%sealBlock
	}
	flip(t.(*testing.T), path, func(int) int { return int(at) })
}

// faultsOf returns the kinds of the faults of a store, leaving out what is none.
func faultsOf(t testing.TB, m *modelled) (list []Fault) {
	t.Helper()
	before := fingerprint(t, m.dir)
	faults, err := Examine(t.Context(), m.dir, m.opts)
	if err != nil {
		t.Fatal(err)
	}
	if after := fingerprint(t, m.dir); after != before {
		t.Errorf("examined, the folder is\n%s\nand was\n%s", after, before)
	}
	return slices.DeleteFunc(faults, func(f Fault) bool { return f.Kind == FaultAside })
}

// fingerprint names all files under a folder with their sizes and times.
func fingerprint(t testing.TB, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			fmt.Fprintln(&b, path, info.Size(), info.ModTime())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func writeTo(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
}

// damages are what can happen to a store, and what Examine says of it.
var damages = []struct {
	name     string
	damage   func(t *testing.T, m *modelled)
	kind     FaultKind
	mendable bool
	loses    bool // or whether it does depends on where bytes happen to lie, when sealed
	where    string
}{
	{"sound", func(*testing.T, *modelled) {}, "", false, false, ""},
	{"data block", func(t *testing.T, m *modelled) { m.damagePart(t, 1, partData) }, FaultTable, true, true, ".ldb"},
	{"data block of level 0", func(t *testing.T, m *modelled) { m.damagePart(t, 0, partData) }, FaultTable, true, true, ".ldb"},
	{"filter block", func(t *testing.T, m *modelled) { m.damagePart(t, 1, partFilter) }, FaultTable, true, false, ".ldb"},
	{"meta block", func(t *testing.T, m *modelled) { m.damagePart(t, 1, partMeta) }, FaultTable, true, false, ".ldb"},
	{"index block", func(t *testing.T, m *modelled) { m.damagePart(t, 1, partIndex) }, FaultTable, true, false, ".ldb"},
	{"footer", func(t *testing.T, m *modelled) { m.damagePart(t, 1, partFooter) }, FaultTable, true, false, ".ldb"},
	{"table cut off", func(t *testing.T, m *modelled) {
		path, tab := m.aTable(t, 1)
		if err := os.Truncate(path, tab.size/2); err != nil {
			t.Fatal(err)
		}
	}, FaultTable, true, true, ".ldb"},
	{"table empty", func(t *testing.T, m *modelled) { path, _ := m.aTable(t, 1); writeTo(t, path, nil) }, FaultTable, true, true, ".ldb"},
	{"table missing", func(t *testing.T, m *modelled) { path, _ := m.aTable(t, 1); remove(t, path) }, FaultMissing, true, true, ".ldb"},
	{"manifest damaged", func(t *testing.T, m *modelled) { flip(t, glob(t, m.folder, "MANIFEST-*"), middle) }, FaultManifest, true, false, "MANIFEST"},
	{"manifest missing", func(t *testing.T, m *modelled) { remove(t, glob(t, m.folder, "MANIFEST-*")) }, FaultManifest, true, false, "MANIFEST"},
	{"manifest and copy damaged", func(t *testing.T, m *modelled) {
		flip(t, glob(t, m.folder, "MANIFEST-*"), middle)
		flip(t, glob(t, m.folder, "COPY-MANIFEST-*"), middle)
	}, FaultManifest, false, false, "MANIFEST"},
	{"copy damaged", func(t *testing.T, m *modelled) { flip(t, glob(t, m.folder, "COPY-MANIFEST-*"), middle) }, "", false, false, ""},
	{"an older manifest", func(t *testing.T, m *modelled) { remove(t, m.olderManifest(t)) }, FaultManifest, false, false, ""},
	{"an older manifest, with its copy", func(t *testing.T, m *modelled) { m.olderManifest(t) }, FaultManifest, true, false, "MANIFEST"},
	{"CURRENT missing", func(t *testing.T, m *modelled) { remove(t, filepath.Join(m.folder, "CURRENT")) }, FaultCurrent, true, false, "CURRENT"},
	{"CURRENT garbage", func(t *testing.T, m *modelled) { writeTo(t, filepath.Join(m.folder, "CURRENT"), []byte("\x00\x00")) }, FaultCurrent, true, false, "CURRENT"},
	{"log damaged", func(t *testing.T, m *modelled) { flip(t, newestLog(t, m.folder), middle) }, FaultLog, true, true, ".log"},
	{"mark damaged", func(t *testing.T, m *modelled) { writeTo(t, filepath.Join(m.folder, markName), []byte("x")) }, FaultMark, true, false, markName},
	{"absent", func(t *testing.T, m *modelled) { remove(t, m.folder) }, FaultAbsent, false, false, "2026-11"},
	{"another store's tag", func(t *testing.T, m *modelled) { writeTo(t, filepath.Join(m.folder, tagName), []byte("other\n")) }, FaultStranger, false, false, tagName},
	{"register damaged", func(t *testing.T, m *modelled) { writeTo(t, filepath.Join(m.dir, registerName), []byte("{")) }, FaultRegister, false, false, registerName},
	{"foreign file", func(t *testing.T, m *modelled) { writeTo(t, filepath.Join(m.folder, "notes.txt"), nil) }, FaultForeign, false, false, "notes.txt"},
	{"foreign folder", func(t *testing.T, m *modelled) { writeTo(t, filepath.Join(m.dir, "lost+found"), nil) }, FaultForeign, false, false, "lost+found"},
	{"half dropped", func(t *testing.T, m *modelled) { writeTo(t, filepath.Join(m.dir, "2026-10.dropped"), nil) }, FaultHalf, true, false, "2026-10.dropped"},
	{"a stranger's month", func(t *testing.T, m *modelled) { writeTo(t, filepath.Join(m.dir, "2026-09"), nil) }, FaultStranger, false, false, "2026-09"},
}

func TestExamine(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		opts := smallTables
		if sealed {
			opts.Keys = []Key{key1}
		}
		whole := newModelled(t, opts, rand.New(rand.NewPCG(1, 1)), 200)
		for _, test := range damages {
			t.Run(fmt.Sprintf("%s, sealed %v", test.name, sealed), func(t *testing.T) {
				m := whole.copied(t)
				test.damage(t, m)
				faults := faultsOf(t, m)
				if test.kind == "" {
					if len(faults) > 0 {
						t.Errorf("a sound store has faults: %+v", faults)
					}
					return
				}
				if len(faults) != 1 {
					t.Fatalf("faults: %+v, want one", faults)
				}
				f := faults[0]
				if f.Kind != test.kind || f.Mendable != test.mendable || f.Loses != test.loses && !sealed || !strings.Contains(f.File, test.where) {
					t.Errorf("fault %+v, want kind %s of %s, mendable %v, loses %v", f, test.kind, test.where, test.mendable, test.loses)
				}
			})
		}
	}
}

func TestExamineKey(t *testing.T) {
	opts := smallTables
	opts.Keys = []Key{key1}
	whole := newModelled(t, opts, rand.New(rand.NewPCG(1, 1)), 50)
	tests := []struct {
		name   string
		damage func(m *modelled)
	}{
		{"missing", func(m *modelled) { remove(t, filepath.Join(m.folder, keyName)) }},
		{"damaged", func(m *modelled) { writeTo(t, filepath.Join(m.folder, keyName), []byte("x\n")) }},
		{"of another key", func(m *modelled) { m.opts.Keys = []Key{key2} }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := whole.copied(t)
			test.damage(m)
			faults := faultsOf(t, m)
			if len(faults) == 0 || faults[0].Kind != FaultKey || faults[0].Mendable || !errors.Is(faults[0].Err, ErrSealed) {
				t.Errorf("faults: %+v, want the key, and not mendable", faults)
			}
		})
	}
}

func TestExamineInUse(t *testing.T) {
	f := &onFiles{dir: t.TempDir()}
	e := f.Open(t)
	defer e.Close()
	if _, err := Examine(t.Context(), f.dir, Options{}); !errors.Is(err, ErrInUse) {
		t.Errorf("Examine of a folder in use: %v, want %v", err, ErrInUse)
	}
}
