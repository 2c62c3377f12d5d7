package durable

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestWrite(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "file")
	all := []string{"write " + path, "rename " + path, "sync " + folder}
	for _, content := range []string{"one\n", "a longer one\n", ""} {
		var steps []string
		err := Write(path, strings.NewReader(content), func(what string) error { steps = append(steps, what); return nil })
		if err != nil || !slices.Equal(steps, all) {
			t.Fatalf("steps %q, error %v", steps, err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != content {
			t.Errorf("read %q, %v, want %q", b, err, content)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if list, _ := os.ReadDir(folder); len(list) != 1 {
		t.Errorf("%d files, want 1", len(list))
	}
}

// TestWriteFaults fails a replacement at each of its steps. The file must be the old or the new one, and the next Write must succeed.
func TestWriteFaults(t *testing.T) {
	fault := errors.New("invented")
	for n, want := range []string{"old", "old", "new"} {
		path := filepath.Join(t.TempDir(), "file")
		if err := Write(path, strings.NewReader("old"), nil); err != nil {
			t.Fatal(err)
		}
		at := 0
		err := Write(path, strings.NewReader("new"), func(string) error {
			if at++; at == n+1 {
				return fault
			}
			return nil
		})
		if !errors.Is(err, fault) {
			t.Errorf("step %d: error %v", n, err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != want {
			t.Errorf("step %d: read %q, %v, want %q", n, b, err, want)
		}
		if err := Write(path, strings.NewReader("third"), nil); err != nil {
			t.Errorf("step %d: the next one: %v", n, err)
		}
	}
	// Content that ends in an error replaces nothing.
	path := filepath.Join(t.TempDir(), "file")
	if err := Write(path, strings.NewReader("old"), nil); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, brokenReader{}, nil); err == nil {
		t.Error("no error for content that ends in an error")
	}
	if b, _ := os.ReadFile(path); string(b) != "old" {
		t.Errorf("read %q", b)
	}
}

type brokenReader struct{}

func (brokenReader) Read(p []byte) (int, error) { return copy(p, "half"), errors.New("invented") }

func TestMakeFolder(t *testing.T) {
	top := t.TempDir()
	path := filepath.Join(top, "a", "b", "c")
	for range 2 { // the second time everything exists
		if err := MakeFolder(path); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(filepath.Join(top, "a")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(filepath.Join(top, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := MakeFolder(filepath.Join(top, "file", "below")); err == nil {
		t.Error("a folder below a file")
	}
	if err := SyncFolder(filepath.Join(top, "absent")); err == nil {
		t.Error("synced a folder that is not there")
	}
}
