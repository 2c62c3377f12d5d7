package level

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/util"

	"copialettere/journal/kv"
)

const recoveryMonth = kv.Month("2026-11")

// closedVolume fills a volume on files with so many updates, one per batch, and closes it.
func closedVolume(t *testing.T, opts Options, updates int) (f *onFiles, folder string) {
	t.Helper()
	f = &onFiles{dir: t.TempDir(), opts: opts}
	e := f.Open(t)
	s := openVolume(t, e, recoveryMonth)
	for i := range updates {
		putOne(t, s, fmt.Sprintf("key %03d", i), strings.Repeat("v", 1000))
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return f, filepath.Join(f.dir, string(recoveryMonth))
}

// newestLog returns the newest log that has something. There are two where LevelDB was closed before it made a table of the older one.
func newestLog(t *testing.T, folder string) string {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(folder, "[0-9]*.log"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range slices.Backward(logs) {
		if info, err := os.Stat(path); err == nil && info.Size() > 0 {
			return path
		}
	}
	t.Fatalf("no log of %q has anything", logs)
	return ""
}

// glob returns the only file of a folder that matches.
func glob(t *testing.T, folder, pattern string) string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(folder, pattern))
	if err != nil || len(paths) != 1 {
		t.Fatalf("files %s: %v (%v), want one", pattern, paths, err)
	}
	return paths[0]
}

func flip(t *testing.T, path string, offset func(size int) int) (damaged []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[offset(len(b))] ^= 0x10
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return b
}

func middle(size int) int { return size / 2 }

// edit changes the database of a closed volume behind the engine's back.
func edit(t *testing.T, folder string, change func(db *leveldb.DB) error) {
	t.Helper()
	db, err := leveldb.OpenFile(folder, &opt.Options{ErrorIfMissing: true, Compression: opt.NoCompression})
	if err != nil {
		t.Fatal(err)
	}
	err = change(db)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

func lost(t *testing.T, s kv.Store) []kv.Loss {
	t.Helper()
	losses, err := s.Lost(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return losses
}

func TestInterruptedCreation(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
	}{
		{"empty folder", nil},
		{"manifest without CURRENT", map[string]string{"MANIFEST-000000": "begun", "LOG": "", "LOCK": ""}},
		{"CURRENT not renamed yet", map[string]string{"MANIFEST-000000": "begun", "CURRENT.0": "MANI"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := &onFiles{dir: t.TempDir()}
			e := f.Open(t).(*Engine)
			defer e.Close()
			if _, err := e.claim(string(recoveryMonth), true); err != nil {
				t.Fatal(err)
			}
			for name, content := range test.files {
				if err := os.WriteFile(filepath.Join(f.dir, string(recoveryMonth), name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := e.Volume(t.Context(), recoveryMonth, false); !errors.Is(err, kv.ErrNoVolume) {
				t.Errorf("the volume whose creation was interrupted: %v, want that there is none", err)
			}
			s, err := e.Volume(t.Context(), recoveryMonth, true)
			if err != nil {
				t.Fatalf("the volume whose creation was interrupted does not open: %v", err)
			}
			putOne(t, s, "a", "1")
		})
	}
}

func TestVanished(t *testing.T) {
	tests := []struct {
		name   string
		remove string // pattern
	}{
		{"CURRENT", "CURRENT*"},
		{"manifest", "MANIFEST-*"},
		{"all of LevelDB's files", "[^A]*"},
		{"tables", "*.ldb"},
		{"the mark and CURRENT", "*[TD]"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f, folder := closedVolume(t, Options{WriteBuffer: 16 << 10}, 50)
			paths, err := filepath.Glob(filepath.Join(folder, test.remove))
			if err != nil || len(paths) == 0 {
				t.Fatalf("files to remove: %v (%v)", paths, err)
			}
			for _, path := range paths {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
			before := names(t, folder)
			e := f.Open(t)
			defer e.Close()
			for _, create := range []bool{false, true} {
				if _, err := e.Volume(t.Context(), recoveryMonth, create); !errors.Is(err, kv.ErrUnavailable) {
					t.Errorf("Volume(create %v) of a folder that has lost %s: %v, want unavailable", create, test.name, err)
				}
			}
			if after := names(t, folder); !strings.Contains(after, before) && test.name != "tables" {
				t.Errorf("the folder held %s, and now %s", before, after)
			}
		})
	}
}

// names lists the tables, logs and manifests in a folder.
func names(t *testing.T, folder string) string {
	t.Helper()
	var list []string
	for _, pattern := range []string{"*.ldb", "*.log", "MANIFEST-*"} {
		paths, err := filepath.Glob(filepath.Join(folder, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			list = append(list, filepath.Base(path))
		}
	}
	return strings.Join(list, " ")
}

// TestVanishedWhileClosed removes the folder of a volume while the volume is closed and the engine open.
func TestVanishedWhileClosed(t *testing.T) {
	f := &onFiles{dir: t.TempDir()}
	e := f.Open(t)
	defer e.Close()
	s := openVolume(t, e, recoveryMonth)
	putOne(t, s, "a", "1")
	s.(*store).idle <- idleCheck{since: time.Now().Add(time.Hour)}
	for s.(*store).isOpen() {
		time.Sleep(time.Millisecond)
	}
	if err := os.RemoveAll(filepath.Join(f.dir, string(recoveryMonth))); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), []byte("a")); !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("Get: %v, want unavailable", err)
	}
	if err := tryPut(t, s, "a", "2"); !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("Update: %v, want unavailable", err)
	}
	if _, err := os.Stat(filepath.Join(f.dir, string(recoveryMonth))); err == nil {
		t.Error("the folder was created anew")
	}
}

func TestDamagedManifest(t *testing.T) {
	f, folder := closedVolume(t, Options{WriteBuffer: 16 << 10, TableSize: 16 << 10}, 100)
	flip(t, glob(t, folder, "MANIFEST-*"), middle)
	before := names(t, folder)
	e := f.Open(t)
	defer e.Close()
	_, err := e.Volume(t.Context(), recoveryMonth, false)
	if !errors.Is(err, kv.ErrUnavailable) || !strings.Contains(err.Error(), "MANIFEST") {
		t.Errorf("Volume: %v, want unavailable, with the name of the manifest", err)
	}
	if after := names(t, folder); after != before {
		t.Errorf("the folder held %s, and now %s", before, after)
	}
}

func TestDamagedTable(t *testing.T) {
	f, folder := closedVolume(t, Options{}, 50)
	edit(t, folder, func(db *leveldb.DB) error { return db.CompactRange(util.Range{}) })
	edit(t, folder, func(*leveldb.DB) error { return nil }) // opening removes unneeded tables
	flip(t, glob(t, folder, "*.ldb"), middle)
	e := f.Open(t)
	defer e.Close()
	s, err := e.Volume(t.Context(), recoveryMonth, false)
	if err != nil {
		t.Fatal(err)
	}
	unreadable := 0
	for i := range 50 {
		v, err := s.Get(t.Context(), fmt.Appendf(nil, "key %03d", i))
		switch {
		case errors.Is(err, kv.ErrUnavailable):
			unreadable++
		case err != nil || string(v) != strings.Repeat("v", 1000):
			t.Errorf("Get: %.20q, %v, want the value, or unavailable", v, err)
		}
	}
	if unreadable == 0 {
		t.Error("every value could be read from the damaged table")
	}
	err = nil
	for _, err = range s.Scan(t.Context(), nil, nil) {
	}
	if !errors.Is(err, kv.ErrUnavailable) {
		t.Errorf("Scan over the damaged block ended with %v, want unavailable", err)
	}
}

func TestDamagedLogIsKept(t *testing.T) {
	f, folder := closedVolume(t, Options{}, 100)
	damaged := flip(t, glob(t, folder, "*.log"), middle)
	e := f.Open(t)
	defer e.Close()
	s, err := e.Volume(t.Context(), recoveryMonth, false)
	if err != nil {
		t.Fatal(err)
	}
	if kept, err := os.ReadFile(glob(t, folder, "damaged-*.log")); err != nil || !bytes.Equal(kept, damaged) {
		t.Errorf("the copy of the log has %d bytes (%v), want the %d of the log", len(kept), err, len(damaged))
	}
	losses := lost(t, s)
	if len(losses) != 1 || losses[0].After.IsZero() || losses[0].Before.IsZero() {
		t.Errorf("losses: %v, want one in the middle", losses)
	}
	if got, err := e.Volumes(t.Context()); err != nil || len(got) != 1 {
		t.Errorf("Volumes: %v, %v", got, err)
	}
}

// TestMissingNumbers removes batches one by one, and checks the times of the losses.
func TestMissingNumbers(t *testing.T) {
	f, folder := closedVolume(t, Options{}, 20)
	at := make(map[uint64]time.Time)
	edit(t, folder, func(db *leveldb.DB) error {
		for _, seq := range []uint64{1, 4, 6, 7, 8, 10} {
			v, err := db.Get(seqKey(seq), nil)
			if err != nil {
				return err
			}
			at[seq] = time.Unix(0, int64(binary.BigEndian.Uint64(v))).UTC()
		}
		return errors.Join(db.Delete(seqKey(5), nil), db.Delete(seqKey(8), nil), db.Delete(seqKey(9), nil))
	})
	if err := os.WriteFile(filepath.Join(folder, markName), encodeMark(23), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the losses stay
		e := f.Open(t)
		s, err := e.Volume(t.Context(), recoveryMonth, false)
		if err != nil {
			t.Fatal(err)
		}
		losses := lost(t, s)
		if len(losses) != 3 {
			t.Fatalf("losses: %v, want three", losses)
		}
		for i, want := range []kv.Loss{
			{After: at[4], Before: at[6], Count: 1},
			{After: at[7], Before: at[10], Count: 2},
			{After: losses[2].After, Count: 3},
		} {
			want.Found = losses[i].Found
			if losses[i] != want {
				t.Errorf("loss %d is %v, want %v", i, losses[i], want)
			}
		}
		putOne(t, s, "more", "v")
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestMissingGroup removes a batch of more than one update.
func TestMissingGroup(t *testing.T) {
	f := &onFiles{dir: t.TempDir()}
	e := f.Open(t)
	s := openVolume(t, e, recoveryMonth)
	var wg sync.WaitGroup
	for w := range 64 {
		wg.Go(func() { putOne(t, s, fmt.Sprint(w), "v") })
	}
	wg.Wait()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	var total, taken uint64
	edit(t, filepath.Join(f.dir, string(recoveryMonth)), func(db *leveldb.DB) error {
		it := db.NewIterator(util.BytesPrefix(seqPrefix), nil)
		defer it.Release()
		for it.Next() {
			updates := uint64(binary.BigEndian.Uint32(it.Value()[8:]))
			total += updates
			if updates > 1 && taken == 0 {
				taken = updates
				if err := db.Delete(it.Key(), nil); err != nil {
					return err
				}
			}
		}
		return it.Error()
	})
	if total != 64 || taken == 0 {
		t.Fatalf("the batches hold %d updates, want 64; %d are taken", total, taken)
	}
	e = f.Open(t)
	defer e.Close()
	if losses := lost(t, openVolume(t, e, recoveryMonth)); len(losses) != 1 || losses[0].Count != taken {
		t.Errorf("losses: %v, want one of %d updates", losses, taken)
	}
}

func TestMark(t *testing.T) {
	tests := []struct {
		name  string
		write []byte // nil: remove
		count uint64 // lost
	}{
		{"older", encodeMark(3), 0},
		{"exact", encodeMark(20), 0},
		{"newer", encodeMark(22), 2},
		{"missing", nil, 0},
		{"empty", []byte{}, 0},
		{"longer", append(encodeMark(3), 'x'), 0},
		{"damaged", append([]byte("x"), encodeMark(22)[1:]...), 0},
		{"bit in the number", append(append([]byte{}, encodeMark(20)[:4]...), append([]byte{1}, encodeMark(20)[5:]...)...), 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f, folder := closedVolume(t, Options{}, 20)
			path := filepath.Join(folder, markName)
			if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, encodeMark(20)) {
				t.Fatalf("mark after 20 updates: %x (%v), want %x", b, err, encodeMark(20))
			}
			err := os.Remove(path)
			if err == nil && test.write != nil {
				err = os.WriteFile(path, test.write, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			e := f.Open(t)
			defer e.Close()
			s, err := e.Volume(t.Context(), recoveryMonth, false)
			if err != nil {
				t.Fatal(err)
			}
			var count uint64
			for _, l := range lost(t, s) {
				count += l.Count
			}
			if count != test.count {
				t.Errorf("%d updates are lost, want %d", count, test.count)
			}
			opened := uint64(20)
			if test.count > 0 {
				opened += test.count + 1
			}
			if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, encodeMark(opened)) {
				t.Errorf("mark of the opened volume: %x (%v), want %x", b, err, encodeMark(opened))
			}
			putOne(t, s, "a", "1")
			wanted := uint64(21)
			if test.count > 0 {
				wanted += test.count + 1 // the loss has its own batch
			}
			if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, encodeMark(wanted)) {
				t.Errorf("mark after one more update: %x (%v), want %x", b, err, encodeMark(wanted))
			}
		})
	}
}

// TestFloor checks that the floor follows the writes, which keeps the 'q' keys few, but stays behind what is in memory.
func TestFloor(t *testing.T) {
	const writeBuffer, updates = 64 << 10, 3000
	f, folder := closedVolume(t, Options{WriteBuffer: writeBuffer, TableSize: writeBuffer}, updates)
	var kept int
	var floor uint64
	edit(t, folder, func(db *leveldb.DB) error {
		v, err := db.Get(floorKey, nil)
		if err != nil {
			return err
		}
		floor = binary.BigEndian.Uint64(v[1:])
		it := db.NewIterator(util.BytesPrefix(seqPrefix), nil)
		defer it.Release()
		for it.Next() {
			kept++
		}
		return it.Error()
	})
	// An update has about a kilobyte: four write buffers hold 256, and trimming lags a little.
	if kept > 400 {
		t.Errorf("%d sequence keys are left of %d updates", kept, updates)
	}
	if inMemory := uint64(2 * writeBuffer / 1100); floor+inMemory > updates || floor+500 < updates {
		t.Errorf("the floor is at %d of %d updates", floor, updates)
	}
	e := f.Open(t)
	defer e.Close()
	s, err := e.Volume(t.Context(), recoveryMonth, false)
	if err != nil {
		t.Fatal(err)
	}
	if losses := lost(t, s); len(losses) > 0 {
		t.Errorf("losses: %v", losses)
	}
	for range 100 {
		putOne(t, s, "more", "v")
	}
	if _, err := s.(*store).current.db.Get(seqKey(updates), nil); !errors.Is(err, leveldb.ErrNotFound) {
		t.Errorf("the sequence key of the last update before opening: %v, want it trimmed", err)
	}
}

func TestUnknownFormat(t *testing.T) {
	f, folder := closedVolume(t, Options{}, 3)
	edit(t, folder, func(db *leveldb.DB) error { return db.Put(floorKey, append([]byte{2}, make([]byte, 24)...), nil) })
	e := f.Open(t)
	defer e.Close()
	if _, err := e.Volume(t.Context(), recoveryMonth, false); !errors.Is(err, kv.ErrUnavailable) || !strings.Contains(err.Error(), "format") {
		t.Errorf("Volume of an unknown format: %v, want unavailable", err)
	}
}
