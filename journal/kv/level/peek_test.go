package level

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"copialettere/journal/kv"
)

// contents returns the names, sizes and times of all files in a folder.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		found[path] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestPeek reads a store that nobody has open, in the clear and sealed, and changes no file.
func TestPeek(t *testing.T) {
	for name, keys := range map[string][]Key{"in the clear": nil, "sealed": {{1}}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			opts := Options{Keys: keys}
			e, err := Open(dir, opts)
			if err != nil {
				t.Fatal(err)
			}
			s, err := e.Settings(t.Context())
			if err == nil {
				err = s.Update(t.Context(), nil, func(tx kv.Tx) error { tx.Put([]byte("a"), []byte("b")); return nil })
			}
			if err != nil {
				t.Fatal(err)
			}
			see := func() (v []byte, err error) {
				err = Peek(t.Context(), dir, "", opts, func(view kv.View) (err error) {
					v, err = view.Get([]byte("a"))
					if _, err := view.Get([]byte("c")); !errors.Is(err, kv.ErrNotFound) {
						t.Errorf("another key: %v", err)
					}
					return err
				})
				return v, err
			}
			if _, err := see(); !errors.Is(err, ErrInUse) {
				t.Errorf("while it is open: %v", err)
			}
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			before := contents(t, dir)
			if v, err := see(); string(v) != "b" || err != nil {
				t.Errorf("%q, %v", v, err)
			}
			after := contents(t, dir)
			if len(after) != len(before) {
				t.Errorf("%d files, and there were %d", len(after), len(before))
			}
			for path, b := range before {
				if after[path] != b {
					t.Errorf("%s was changed", path)
				}
			}
			if keys != nil {
				if err := Peek(t.Context(), dir, "", Options{}, func(kv.View) error { return nil }); !errors.Is(err, ErrSealed) {
					t.Errorf("without its key: %v", err)
				}
			}
		})
	}
}
