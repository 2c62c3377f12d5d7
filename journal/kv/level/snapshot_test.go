package level

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"copialettere/journal/kv"
)

// copyOf copies a snapshot to a new folder, renews it, and releases it.
func copyOf(t *testing.T, s *kv.Snapshot) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, f := range s.Files {
		b, err := os.ReadFile(f.Path)
		if err != nil {
			t.Fatal(err)
		}
		if int64(len(b)) != f.Size {
			t.Errorf("%s has %d bytes, and the snapshot says %d", f.Name, len(b), f.Size)
		}
		path := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := s.Release(); err != nil {
			t.Fatal(err)
		}
	}
	if err := Renew(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestSnapshot takes snapshots while numbers are written to three stores, one after the other. Each copy has every number acknowledged before it
// was begun, and no number in a store without having it in the store before.
func TestSnapshot(t *testing.T) { testSnapshot(t) }

func TestSnapshotSealed(t *testing.T) { testSnapshot(t, key1) }

func testSnapshot(t *testing.T, keys ...Key) {
	f := &onFiles{dir: t.TempDir(), opts: Options{WriteBuffer: 16 << 10, TableSize: 16 << 10, Keys: keys}}
	e := f.Open(t).(*Engine)
	defer e.Close()
	settings, err := e.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	putOne(t, openVolume(t, e, "2025-01"), "old", "month")
	stores := []kv.Store{settings, openVolume(t, e, "2026-10"), openVolume(t, e, "2026-11")}
	old, err := e.Volume(t.Context(), "2025-01", false)
	if err != nil {
		t.Fatal(err)
	}
	if err := old.(*store).inCommitter(t.Context(), old.(*store).closeDatabase); err != nil {
		t.Fatal(err)
	}
	value := strings.Repeat("v", 2000)
	var written atomic.Int64
	var writer sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	writer.Go(func() {
		for n := 1; ctx.Err() == nil; n++ {
			for _, s := range stores {
				if err := tryPut(t, s, fmt.Sprintf("n%06d", n), value); err != nil {
					t.Error(err)
					return
				}
				// Kept few: the tables of the deleted keys go.
				err := s.Update(t.Context(), nil, func(tx kv.Tx) error { tx.Delete(fmt.Appendf(nil, "n%06d", n-100)); return nil })
				if err != nil {
					t.Error(err)
					return
				}
			}
			written.Store(int64(n))
		}
	})
	for range 8 {
		begun := written.Load()
		s, err := e.Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Unread) > 0 {
			t.Errorf("not read: %v", s.Unread)
		}
		checkCopy(t, copyOf(t, s), begun, keys...)
	}
	stop()
	writer.Wait()
	left, err := filepath.Glob(filepath.Join(f.dir, "*", snapshotName))
	if _, there := os.Stat(filepath.Join(f.dir, snapshotName)); err != nil || len(left) > 0 || !errors.Is(there, fs.ErrNotExist) {
		t.Errorf("left of the snapshots: %v (%v, %v)", left, err, there)
	}
}

func checkCopy(t *testing.T, dir string, begun int64, wrapping ...Key) {
	t.Helper()
	e := (&onFiles{dir: dir, opts: Options{Keys: wrapping}}).Open(t)
	defer e.Close()
	settings, err := e.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := int64(1 << 62)
	for i, s := range []kv.Store{settings, openVolume(t, e, "2026-10"), openVolume(t, e, "2026-11")} {
		var newest int64
		keys := int64(0)
		for p, err := range s.Scan(t.Context(), []byte("n"), nil) {
			if err != nil {
				t.Fatal(err)
			}
			fmt.Sscanf(string(p.Key), "n%d", &newest)
			keys++
		}
		if newest < begun || newest > before || keys < min(newest, 100) {
			t.Errorf("store %d holds %d keys up to %d; %d was acknowledged, and the store before has %d", i, keys, newest, begun, before)
		}
		if l := lost(t, s); len(l) > 0 {
			t.Errorf("store %d misses %v", i, l)
		}
		before = newest
	}
	if v, err := openVolume(t, e, "2025-01").Get(t.Context(), []byte("old")); string(v) != "month" {
		t.Errorf("the month that was closed: %q, %v", v, err)
	}
}

// TestSnapshotUnread leaves out what is absent or damaged, and nothing else.
func TestSnapshotUnread(t *testing.T) {
	tests := []struct {
		name   string
		damage func(folder string) error
	}{
		{"absent", os.RemoveAll},
		{"no CURRENT", func(folder string) error { return os.Remove(filepath.Join(folder, "CURRENT")) }},
		{"another store", func(folder string) error { return os.WriteFile(filepath.Join(folder, tagName), []byte("x\n"), 0o600) }},
		{"cut table", func(folder string) error { return os.Truncate(glob(t, folder, "*.ldb"), 10) }},
		{"no table", func(folder string) error { return os.Remove(glob(t, folder, "*.ldb")) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f, folder := closedVolume(t, Options{}, 20)
			e := f.Open(t)
			openVolume(t, e, recoveryMonth) // makes a table of the log
			if err := e.Close(); err != nil {
				t.Fatal(err)
			}
			if err := test.damage(folder); err != nil {
				t.Fatal(err)
			}
			e = f.Open(t)
			defer e.Close()
			s, err := e.(*Engine).Snapshot(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer s.Release()
			if len(s.Unread) != 1 || s.Unread[string(recoveryMonth)] == "" {
				t.Errorf("not read: %v", s.Unread)
			}
			for _, file := range s.Files {
				if strings.HasPrefix(file.Name, string(recoveryMonth)) {
					t.Errorf("the snapshot has %s", file.Name)
				}
			}
		})
	}
}

// TestSnapshotOfTheIdle says that a store that nobody used since the last snapshot has the same files, names and times.
func TestSnapshotOfTheIdle(t *testing.T) {
	f, _ := closedVolume(t, Options{}, 20)
	e := f.Open(t).(*Engine)
	defer e.Close()
	var lists [2]string
	for i := range lists {
		s, err := e.Snapshot(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range s.Files {
			if strings.HasPrefix(file.Name, string(recoveryMonth)) {
				lists[i] += fmt.Sprintln(file.Name, file.Size, file.Changed)
			}
		}
		if err := s.Release(); err != nil {
			t.Fatal(err)
		}
	}
	if lists[0] != lists[1] || lists[0] == "" {
		t.Errorf("first\n%sthen\n%s", lists[0], lists[1])
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.Snapshot(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
}
