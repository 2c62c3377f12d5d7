package level

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/syndtr/goleveldb/leveldb/storage"
	"github.com/syndtr/goleveldb/leveldb/util"

	"copialettere/journal/kv"
)

func TestManifestCopy(t *testing.T) {
	for _, keys := range [][]Key{nil, {key1}} {
		f, folder := closedVolume(t, Options{WriteBuffer: 16 << 10, TableSize: 16 << 10, Keys: keys}, 60)
		for round := range 3 {
			manifest, err := os.ReadFile(glob(t, folder, "MANIFEST-*"))
			copied, copyErr := os.ReadFile(glob(t, folder, "COPY-MANIFEST-*"))
			if err != nil || copyErr != nil || !bytes.Equal(manifest, copied) || len(manifest) == 0 {
				t.Errorf("round %d: the copy of a manifest of %d bytes has %d: %v, %v", round, len(manifest), len(copied), err, copyErr)
			}
			e := f.Open(t)
			putOne(t, openVolume(t, e, recoveryMonth), "more", strings.Repeat("v", 20<<10))
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestManifestCopyFails(t *testing.T) {
	dir := t.TempDir()
	files, err := storage.OpenFile(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	failures := 0
	d := onDisk{files, dir, func(error) { failures++ }}
	manifest := func(n int64) storage.FileDesc { return storage.FileDesc{Type: storage.TypeManifest, Num: n} }
	write := func(w storage.Writer, err error) {
		t.Helper()
		if err == nil {
			_, err = w.Write([]byte("edit"))
			err = errors.Join(err, w.Sync(), w.Close())
		}
		if err != nil {
			t.Fatalf("the manifest failed with its copy: %v", err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, copyName(manifest(1))), 0o700); err != nil {
		t.Fatal(err)
	}
	write(d.Create(manifest(1)))
	if failures != 1 {
		t.Errorf("%d failures are told of a copy that cannot be made", failures)
	}
	w, err := d.Create(manifest(2))
	if err != nil {
		t.Fatal(err)
	}
	w.(*copied).copy.Close()
	write(w, nil)
	if _, err := os.Lstat(filepath.Join(dir, copyName(manifest(2)))); failures != 2 || err == nil {
		t.Errorf("a copy that cannot be written: %d failures are told; it is left: %v", failures, err == nil)
	}
	write(d.Create(manifest(3)))
	for n := int64(1); n <= 3; n++ {
		if err := d.Remove(manifest(n)); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(dir, copyPrefix+"*")); err != nil || len(left) > 0 {
		t.Errorf("copies of manifests that are gone: %q, %v", left, err)
	}
}

// TestLeftOverTable shows why a store is not mended without its manifest: a table may be left over that has the value of a key whose deletion is gone.
func TestLeftOverTable(t *testing.T) {
	f := &onFiles{dir: t.TempDir()}
	e := f.Open(t)
	putOne(t, openVolume(t, e, recoveryMonth), "secret", "what was erased")
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = f.Open(t) // makes a table of the log
	s := openVolume(t, e, recoveryMonth)
	if err := s.Update(t.Context(), nil, func(tx kv.Tx) error { tx.Delete([]byte("secret")); return nil }); err != nil {
		t.Fatal(err)
	}
	db := s.(*store).current.db
	if err := db.CompactRange(util.Range{}); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	m := &modelled{onFiles: *f, folder: filepath.Join(f.dir, string(recoveryMonth))}
	sv := m.surveyed(t)
	live := make(map[string]bool)
	for _, tab := range slices.Concat(sv.version.levels...) {
		live[fmt.Sprintf("%06d.ldb", tab.number)] = true
	}
	paths, err := filepath.Glob(filepath.Join(m.folder, "*.ldb"))
	if err != nil {
		t.Fatal(err)
	}
	leftOver := false
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if value := bytes.Contains(b, []byte("what was erased")); value && live[filepath.Base(path)] {
			t.Errorf("%s is in use, and has the value", path)
		} else if value {
			leftOver = true
		}
	}
	if !leftOver {
		t.Error("no table is left over with the value: LevelDB now removes them at once, and a store could be mended without its manifest")
	}
}
