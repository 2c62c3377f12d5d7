package level

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/syndtr/goleveldb/leveldb/storage"

	"copialettere/journal/kv"
	"copialettere/journal/kv/kvtest"
)

var key1, key2 = Key{1}, Key{2}

func TestContractSealed(t *testing.T) {
	kvtest.Run(t, func(t testing.TB) kvtest.Fixture {
		return &onFiles{dir: t.TempDir(), opts: Options{WriteBuffer: 64 << 10, TableSize: 64 << 10, Keys: []Key{key1}}}
	})
}

// secret is what must not be on the disk.
const secret = "segretissimo"

// fillSealed writes pairs whose keys and values have the secret, into tables and a log, and closes the engine.
func fillSealed(t *testing.T, f *onFiles) {
	t.Helper()
	e := f.Open(t)
	s, err := e.Volume(t.Context(), "2026-11", true)
	if err != nil {
		t.Fatal(err)
	}
	settings, err := e.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		err := s.Update(t.Context(), nil, func(tx kv.Tx) error {
			tx.Put(fmt.Appendf(nil, "e%s%04d", secret, i), bytes.Repeat([]byte(secret), 100))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	err = settings.Update(t.Context(), nil, func(tx kv.Tx) error { tx.Put([]byte("m"+secret), []byte(secret)); return nil })
	if err := errors.Join(err, e.Close()); err != nil {
		t.Fatal(err)
	}
}

// clear returns the files under a folder that have the secret in the clear.
func clearFiles(t *testing.T, dir string) (list []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(secret)) {
			list = append(list, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestNothingInTheClear(t *testing.T) {
	sealed := &onFiles{dir: t.TempDir(), opts: Options{WriteBuffer: 64 << 10, TableSize: 64 << 10, Keys: []Key{key1}}}
	fillSealed(t, sealed)
	if list := clearFiles(t, sealed.dir); len(list) > 0 {
		t.Errorf("in the clear: %q", list)
	}
	plain := &onFiles{dir: t.TempDir(), opts: Options{WriteBuffer: 64 << 10, TableSize: 64 << 10}}
	fillSealed(t, plain)
	if len(clearFiles(t, plain.dir)) == 0 {
		t.Error("the test finds nothing in a journal in the clear")
	}
	// A journal from before stays as it is, and goes on.
	plain.opts.Keys = []Key{key1}
	e := plain.Open(t)
	defer e.Close()
	s, err := e.Volume(t.Context(), "2026-11", false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), []byte("e"+secret+"0007")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(plain.dir, "2026-11", keyName)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a store in the clear has a key: %v", err)
	}
}

// opens says whether a volume can be opened and read.
func opens(t *testing.T, f *onFiles) error {
	t.Helper()
	e := f.Open(t)
	defer e.Close()
	s, err := e.Volume(t.Context(), "2026-11", false)
	if err == nil {
		_, err = s.Get(t.Context(), []byte("e"+secret+"0007"))
	}
	return err
}

func TestSealedKeys(t *testing.T) {
	f := &onFiles{dir: t.TempDir(), opts: Options{Keys: []Key{key1}}}
	fillSealed(t, f)
	with := func(keys ...Key) error {
		f.opts.Keys = keys
		return opens(t, f)
	}
	for name, err := range map[string]error{"no key": with(), "another key": with(key2)} {
		if !errors.Is(err, ErrSealed) || !strings.Contains(err.Error(), key1.ID()) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A new key comes first; from then on the old one is not needed.
	if err := with(key2, key1); err != nil {
		t.Errorf("with its key as the second: %v", err)
	}
	if err := with(key2); err != nil {
		t.Errorf("with the new key: %v", err)
	}
	if err := with(key1); !errors.Is(err, ErrSealed) {
		t.Errorf("with the old key: %v", err)
	}
	file := filepath.Join(f.dir, "2026-11", keyName)
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{"altered": bytes.Replace(content, []byte("1 "+key2.ID()+" "), []byte("1 "+key2.ID()+" AAAA"), 1), "empty": nil, "malformed": []byte("x\n")} {
		if err := os.WriteFile(file, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := with(key2); !errors.Is(err, ErrSealed) || !strings.Contains(err.Error(), "put it back from a backup") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// changeKey opens an archive whose key has changed.
func changeKey(_ testing.TB, dir string, o Options) error {
	o.Keys = []Key{key2, key1}
	e, err := Open(dir, o)
	if err != nil {
		return err
	}
	return e.Close()
}

// TestChangeOfKeyKilled kills the process at each step of a change of the key. The next start ends the change, and the new key suffices from then on.
func TestChangeOfKeyKilled(t *testing.T) {
	for n, killed := 1, true; killed; n++ {
		f := closedArchive(t, key1)
		killed = killedAt(t, f.dir, "key", n)
		for _, keys := range [][]Key{{key2, key1}, {key2}} {
			f.opts.Keys = keys
			e := f.Open(t)
			for _, name := range []string{settingsName, "2026-10", "2026-11"} {
				wantName(t, e, name)
			}
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if !killed && n <= 3*3 {
			t.Errorf("there were %d steps only", n-1)
		}
	}
}

// TestSealedDamage flips one bit in each file of a sealed volume: what is read afterwards is right, or an error, or on record as lost.
func TestSealedDamage(t *testing.T) {
	f := &onFiles{dir: t.TempDir(), opts: Options{WriteBuffer: 64 << 10, TableSize: 64 << 10, Keys: []Key{key1}}}
	fillSealed(t, f)
	folder := filepath.Join(f.dir, "2026-11")
	files, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, path := range files {
		if name := filepath.Base(path); !strings.HasSuffix(name, ".ldb") && !strings.HasSuffix(name, ".log") && !strings.HasPrefix(name, "MANIFEST") {
			continue
		}
		copied := &onFiles{dir: t.TempDir(), opts: f.opts}
		if err := os.CopyFS(copied.dir, os.DirFS(f.dir)); err != nil {
			t.Fatal(err)
		}
		damaged := filepath.Join(copied.dir, "2026-11", filepath.Base(path))
		b, err := os.ReadFile(damaged)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) <= sealHead {
			continue
		}
		b[(len(b)+sealHead)/2] ^= 1
		if err := os.WriteFile(damaged, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if wrong := copied.readAll(t); wrong {
			found++
		}
	}
	if found < 3 {
		t.Errorf("damage was found in %d files only", found)
	}
}

// readAll reads the volume, and says whether it was seen that something is wrong.
func (f *onFiles) readAll(t *testing.T) (seen bool) {
	t.Helper()
	e := f.Open(t)
	defer e.Close()
	s, err := e.Volume(t.Context(), "2026-11", false)
	if err != nil {
		return true
	}
	lost, err := s.Lost(t.Context())
	if err != nil || len(lost) > 0 {
		return true
	}
	for i := range 300 {
		v, err := s.Get(t.Context(), fmt.Appendf(nil, "e%s%04d", secret, i))
		if err != nil {
			if errors.Is(err, kv.ErrNotFound) {
				t.Errorf("key %d is gone, and nothing says so", i)
			}
			seen = true
		} else if !bytes.Equal(v, bytes.Repeat([]byte(secret), 100)) {
			t.Errorf("key %d has another value", i)
		}
	}
	return seen
}

// memoryFile is a file of storage.NewMemStorage with chosen content.
func memoryFile(t testing.TB, fd storage.FileDesc, content []byte) storage.Storage {
	t.Helper()
	s := storage.NewMemStorage()
	w, err := s.Create(fd)
	if err == nil {
		_, err = w.Write(content)
		err = errors.Join(err, w.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// FuzzSealed writes a file, alters what is on the medium, and reads it: a table reads as it was or fails, a log reads as it was but for damage.
func FuzzSealed(f *testing.F) {
	f.Add([]byte("one two three"), uint16(40), byte(1), false)
	f.Add(bytes.Repeat([]byte("x"), 9000), uint16(8000), byte(0), true)
	f.Add([]byte{}, uint16(0), byte(7), true)
	f.Fuzz(func(t *testing.T, content []byte, at uint16, flip byte, table bool) {
		fd := storage.FileDesc{Type: storage.TypeJournal, Num: 1}
		if table {
			fd.Type = storage.TypeTable
		}
		medium := storage.NewMemStorage()
		s := &sealed{medium, [32]byte{9}}
		w, err := s.Create(fd)
		for part := range bytes.SplitSeq(content, []byte{0}) {
			if err == nil && len(part) > 0 {
				_, err = w.Write(part)
			}
		}
		if err := errors.Join(err, w.Sync(), w.Close()); err != nil {
			t.Fatal(err)
		}
		want := bytes.ReplaceAll(content, []byte{0}, nil)
		raw := readFile(t, medium, fd)
		if got := readFile(t, s, fd); !bytes.Equal(got, want) {
			t.Fatalf("%d bytes are read, want %d", len(got), len(want))
		}
		if flip == 0 || int(at) >= len(raw) {
			return
		}
		raw[at] ^= flip
		r, err := (&sealed{memoryFile(t, fd, raw), [32]byte{9}}).Open(fd)
		if err != nil {
			return
		}
		got := new(bytes.Buffer)
		if _, err := got.ReadFrom(r); err == nil && table && len(want) > 0 && int(at) >= sealHead {
			t.Errorf("an altered table is read")
		}
		for i, c := range got.Bytes() {
			if (i >= len(want) || c != want[i]) && (table || c != damagedByte) {
				t.Fatalf("an altered file reads as %q, which was %q, at byte %d", got, want, i)
			}
		}
	})
}

func readFile(t testing.TB, s storage.Storage, fd storage.FileDesc) []byte {
	t.Helper()
	r, err := s.Open(fd)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b := new(bytes.Buffer)
	if _, err := b.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
