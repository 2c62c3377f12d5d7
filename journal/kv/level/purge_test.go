package level

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/syndtr/goleveldb/leveldb/util"

	"copialettere/journal/kv"
)

const (
	purgedChunk = 32 << 10 // bytes of a value
	purgedTable = 1 << 20  // bytes of a table
)

// oldMonth is a volume that mail is no longer written to. It has chunks in time order and entries between them, as in the journal. Its
// buffers and tables are small, so it has as many of them as a large volume.
type oldMonth struct {
	*Engine
	kv.Store
	folder  string
	content []byte
}

func chunkName(i int) []byte { return binary.BigEndian.AppendUint32([]byte("c"), uint32(i)) }

func newOldMonth(t *testing.T, chunks int) *oldMonth {
	t.Helper()
	return openOldMonth(t, makeOldMonth(t, chunks))
}

// openOldMonth opens a folder of makeOldMonth.
func openOldMonth(t *testing.T, dir string) *oldMonth {
	t.Helper()
	m := &oldMonth{folder: filepath.Join(dir, "2026-10"), content: make([]byte, 1<<20)}
	rand.NewChaCha8([32]byte{1}).Read(m.content)
	var err error
	if m.Engine, err = Open(dir, Options{Logger: testLogger(t), WriteBuffer: purgedTable, TableSize: purgedTable}); err != nil {
		t.Fatal(err)
	}
	m.Store = openVolume(t, m.Engine, "2026-10")
	m.waitIdle()
	t.Cleanup(func() {
		if err := m.Engine.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// makeOldMonth makes a folder with an oldMonth and a newer volume. It merges all but the last tenth, however slow the machine is.
func makeOldMonth(t *testing.T, chunks int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	m := openOldMonth(t, dir)
	random := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < chunks; i += 8 {
		if i == chunks*9/10/8*8 {
			m.merge(t)
		}
		err := m.Update(t.Context(), nil, func(tx kv.Tx) error {
			for n := i; n < min(i+8, chunks); n++ {
				tx.Put(chunkName(n), m.value(n))
				tx.Put(fmt.Appendf(nil, "e%08x", random.Uint32()), make([]byte, 500))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	putOne(t, openVolume(t, m.Engine, "2026-11"), "new", "mail")
	if err := m.Engine.Close(); err != nil {
		t.Fatal(err)
	}
	// goleveldb does not remove the table that it makes of the log now before it opens the folder the next time. How large that is depends on
	// the machine's speed.
	if err := openOldMonth(t, dir).Engine.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// merge leaves nothing in level 0.
func (m *oldMonth) merge(t *testing.T) {
	t.Helper()
	d, err := m.Store.(*store).acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer d.release()
	if err := d.db.CompactRange(util.Range{}); err != nil {
		t.Fatal(err)
	}
}

// value returns the value of a chunk; each is different.
func (m *oldMonth) value(i int) []byte {
	at := i * 4099 % (len(m.content) - purgedChunk)
	return append(binary.BigEndian.AppendUint32(nil, uint32(i)), m.content[at:at+purgedChunk-4]...)
}

// waitIdle waits until LevelDB has nothing to do.
func (m *oldMonth) waitIdle() {
	for before, same := int64(-1), 0; same < 10; time.Sleep(10 * time.Millisecond) {
		if now := m.meters.writtenBytes.Value(); now == before {
			same++
		} else {
			before, same = now, 0
		}
	}
}

// size returns how many bytes the files take, but for the manifest and its copy: they tell of each table that was made, and are made anew at each start.
func (m *oldMonth) size(t *testing.T) (size int64) {
	t.Helper()
	err := filepath.WalkDir(m.folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.Contains(d.Name(), "MANIFEST-") {
			return err
		}
		info, err := d.Info()
		if os.IsNotExist(err) {
			return nil
		}
		size += info.Size()
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return size
}

// purge hands in garbage. It returns what went, and how many bytes that wrote to the files of all stores: in all, and in the largest step. On a machine
// that is slow to make a table of the deletions, a step writes them again, and merges each table of them: then it is that many steps.
func (m *oldMonth) purge(t *testing.T, garbage []kv.Garbage) (gone map[string]bool, written, step int64) {
	t.Helper()
	gone = make(map[string]bool)
	start := m.meters.writtenBytes.Value()
	before := start
	if err := m.Purge(t.Context(), garbage, func(part []kv.Garbage) error {
		for _, g := range part {
			gone[string(g.Key)] = true
		}
		tables, err := m.Store.(*store).deletions(t.Context(), &purgeStep{garbage: part})
		now := m.meters.writtenBytes.Value()
		step, before = max(step, (now-before)/int64(max(tables, 1))), now
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return gone, m.meters.writtenBytes.Value() - start, step
}

// check reads all chunks.
func (m *oldMonth) check(t *testing.T, chunks int, gone map[string]bool) {
	t.Helper()
	for i := range chunks {
		v, err := m.Get(t.Context(), chunkName(i))
		if gone[string(chunkName(i))] {
			wantNotFound(t, err)
		} else if err != nil || !bytes.Equal(v, m.value(i)) {
			t.Fatalf("chunk %d: %d bytes, %v", i, len(v), err)
		}
	}
}

// checkSize checks how many bytes the files take. LevelDB removes files that it has merged soon after.
func (m *oldMonth) checkSize(t *testing.T, most int64) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		size := m.size(t)
		if size <= most {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("the files take %d bytes, want %d at most", size, most)
			return
		}
	}
}

// checkFiles looks for the bytes of chunks that are gone in the files of the volume. It opens it anew before, which removes the one table that
// goleveldb forgets.
func (m *oldMonth) checkFiles(t *testing.T, gone []int) {
	t.Helper()
	if err := m.Engine.Close(); err != nil {
		t.Fatal(err)
	}
	again := openOldMonth(t, filepath.Dir(m.folder))
	defer again.waitIdle()
	// LevelDB removes files that it has merged soon after.
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		found := 0
		names, err := filepath.Glob(filepath.Join(m.folder, "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			content, err := os.ReadFile(name)
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			for _, i := range gone {
				if bytes.Contains(content, m.value(i)[:100]) {
					found++
				}
			}
		}
		if found == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%d of %d chunks that are gone are still in the files", found, len(gone))
			return
		}
	}
}

func wantNotFound(t *testing.T, err error) {
	t.Helper()
	if err == nil || err.Error() != kv.ErrNotFound.Error() {
		t.Fatalf("a chunk that is gone: %v", err)
	}
}

func garbageOf(chunks ...int) (list []kv.Garbage) {
	for _, i := range chunks {
		list = append(list, kv.Garbage{Key: chunkName(i), Size: purgedChunk})
	}
	return list
}

func span(from, to, step int) (list []int) {
	for i := from; i < to; i += step {
		list = append(list, i)
	}
	return list
}

// TestPurge purges garbage of all shapes from a month of 32 MB. It must write at most worthWriting bytes for each byte freed, and give the
// space back.
func TestPurge(t *testing.T) {
	const chunks = 1000
	made := makeOldMonth(t, chunks)
	for _, c := range []struct {
		name    string
		garbage []int
		least   int  // how many of them must go
		due     bool // whatever it costs
	}{
		{"nothing", nil, 0, false},
		{"one chunk", span(500, 501, 1), 0, false},
		{"one of each table", span(0, chunks, 31), 0, false},
		{"a third of each table", span(0, chunks, 3), chunks / 3 * 8 / 10, false},
		{"a mailbox of one day", span(300, 600, 1), 290, false},
		{"all", span(0, chunks, 1), chunks * 9 / 10, false},
		{"the newest, which are not merged yet", span(900, chunks, 1), 0, false},
		{"one chunk that is due", span(500, 501, 1), 1, true},
		{"one of each table, all due", span(0, chunks, 31), 33, true},
		{"one that is due and not merged yet", span(990, 991, 1), 1, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(made)); err != nil {
				t.Fatal(err)
			}
			m := openOldMonth(t, dir)
			size := m.size(t)
			garbage := garbageOf(c.garbage...)
			for i := range garbage {
				garbage[i].Due = c.due
			}
			gone, written, step := m.purge(t, garbage)
			freed := int64(len(gone)) * purgedChunk
			t.Logf("%d of %d chunks gone, %d KiB freed, %d KiB written, %d KiB at once at most", len(gone), len(c.garbage), freed>>10, written>>10, step>>10)
			if limit := int64(4*purgedTable + 4*restWriteBuffer); step > limit {
				t.Errorf("one step wrote %d bytes, want %d at most", step, limit)
			}
			if len(gone) < c.least {
				t.Errorf("%d chunks are gone, want %d", len(gone), c.least)
			}
			if written > worthWriting*freed && !c.due {
				t.Errorf("%d bytes were written for %d that were freed", written, freed)
			}
			m.checkSize(t, size-freed*9/10)
			m.check(t, chunks, gone)
			if losses, err := m.Lost(t.Context()); err != nil || len(losses) > 0 {
				t.Errorf("losses: %v, %v", losses, err)
			}
			if c.due {
				m.checkFiles(t, c.garbage)
			}
		})
	}
}

// TestPurgeLeavesTheNewestMonth purges the month that mail is written to: nothing may go.
func TestPurgeLeavesTheNewestMonth(t *testing.T) {
	m := newOldMonth(t, 400)
	newest := openVolume(t, m.Engine, "2026-11")
	err := newest.Purge(t.Context(), []kv.Garbage{{Key: []byte("new"), Size: 1 << 30}}, func(gone []kv.Garbage) error {
		t.Errorf("%d keys went", len(gone))
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestPurgeForgets purges a month that was the newest when it was opened, whose values are kept in memory.
func TestPurgeForgets(t *testing.T) {
	f := &onFiles{dir: t.TempDir()}
	e := f.Open(t).(*Engine)
	putOne(t, openVolume(t, e, "2026-10"), "c1", "a chunk")
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = f.Open(t).(*Engine) // what was in the log is in a table now
	defer e.Close()
	s := openVolume(t, e, "2026-10")
	if _, err := s.Get(t.Context(), []byte("c1")); err != nil {
		t.Fatal(err)
	}
	if len(s.(*store).current.values.known) != 1 {
		t.Fatal("the value is not kept, so the test shows nothing")
	}
	openVolume(t, e, "2026-11")
	gone := 0
	if err := s.Purge(t.Context(), []kv.Garbage{{Key: []byte("c1"), Size: 7, Due: true}}, func(garbage []kv.Garbage) error {
		gone += len(garbage)
		return nil
	}); err != nil || gone != 1 {
		t.Fatalf("%d keys went, %v", gone, err)
	}
	if v, err := s.Get(t.Context(), []byte("c1")); !errors.Is(err, kv.ErrNotFound) {
		t.Errorf("after the purge the key has %q, %v", v, err)
	}
}

// TestPurgeHoldsNobodyUp commits to the newest month and to the purged one during a purge. It logs the median and the longest wait, which say
// little on a shared disk.
func TestPurgeHoldsNobodyUp(t *testing.T) {
	m := newOldMonth(t, 800)
	ctx, stop := context.WithCancel(t.Context())
	waits := make(chan []time.Duration, 2)
	for _, s := range []kv.Store{openVolume(t, m.Engine, "2026-11"), m.Store} {
		go func() {
			var list []time.Duration
			for i := 0; ctx.Err() == nil; i++ {
				start := time.Now()
				if tryPut(t, s, fmt.Sprint("mail ", i), "x") != nil {
					break
				}
				list = append(list, time.Since(start))
				time.Sleep(time.Millisecond)
			}
			waits <- list
		}()
	}
	gone, _, _ := m.purge(t, garbageOf(span(0, 600, 1)...))
	stop()
	if len(gone) < 500 {
		t.Errorf("%d chunks went beside updates", len(gone))
	}
	for range 2 {
		list := <-waits
		slices.Sort(list)
		if len(list) == 0 {
			t.Error("no update came through")
			continue
		}
		t.Logf("%d updates, median %v, longest %v", len(list), list[len(list)/2], list[len(list)-1])
	}
	m.check(t, 800, gone)
}

// TestPlanPurge plans purges for given tables and garbage.
func TestPlanPurge(t *testing.T) {
	at := func(number, first, last int, size int64) table {
		return table{number: int64(number), size: size, first: chunkName(first), last: chunkName(last)}
	}
	const mb = 1 << 20
	tables := levels{
		{at(9, 900, 1000, 4*mb), at(8, 850, 999, 4*mb)},
		{at(3, 300, 399, 4*mb), at(4, 400, 499, 4*mb), at(7, 800, 870, 4*mb)},
		{at(1, 100, 199, 4*mb), at(2, 200, 299, 4*mb)},
	}
	garbage := func(size int64, chunks ...int) (list []kv.Garbage) {
		for _, i := range chunks {
			list = append(list, kv.Garbage{Key: chunkName(i), Size: size})
		}
		return list
	}
	due := func(list []kv.Garbage) []kv.Garbage {
		list[0].Due = true
		return list
	}
	for _, c := range []struct {
		name    string
		garbage []kv.Garbage
		want    []string // the steps
	}{
		{"nothing", nil, nil},
		{"just enough", garbage(mb, 150), []string{"1 of 4 MB"}},
		{"just too little", garbage(mb-200<<10, 150), nil},
		{"in two tables", garbage(mb, 150, 151, 250, 251), []string{"2 of 4 MB", "2 of 4 MB"}},
		{"enough in one of two tables", garbage(mb/2, 150, 250, 251), []string{"2 of 4 MB"}},
		{"in no table", garbage(mb, 50, 600), nil},
		{"beside one in no table", garbage(mb, 150, 600, 601), []string{"1 of 4 MB"}},
		{"in level 0, with all that overlaps it", garbage(mb, 951, 952, 953), []string{"3 of 12 MB"}},
		{"in level 0, and too little", garbage(mb, 951), nil},
		{"under level 0", garbage(mb, 860), nil},
		{"too little, but due", due(garbage(1000, 150)), []string{"1 of 4 MB"}},
		{"one of two tables due", append(due(garbage(1000, 150)), garbage(1000, 250)...), []string{"1 of 4 MB"}},
		{"in level 0, and due", due(garbage(1000, 951)), []string{"1 of 12 MB"}},
	} {
		var got []string
		for _, s := range planPurge(tables, c.garbage, restWriteBuffer) {
			got = append(got, fmt.Sprintf("%d of %d MB", len(s.garbage), s.merged/mb))
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// FuzzParseManifest parses torn and damaged manifests. Either there is an error, or the tables are in order.
func FuzzParseManifest(f *testing.F) {
	dir := f.TempDir()
	e, err := Open(dir, Options{WriteBuffer: restWriteBuffer})
	if err != nil {
		f.Fatal(err)
	}
	s := openVolume(f, e, "2026-10")
	for i := range 8 {
		if err := s.Update(f.Context(), nil, func(tx kv.Tx) error { tx.Put(chunkName(i), make([]byte, restWriteBuffer)); return nil }); err != nil {
			f.Fatal(err)
		}
	}
	if err := e.Close(); err != nil {
		f.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "2026-10", "MANIFEST-*"))
	if err != nil || len(names) != 1 {
		f.Fatalf("%v, %v", names, err)
	}
	manifest, err := os.ReadFile(names[0])
	if err != nil {
		f.Fatal(err)
	}
	if tables, err := parseManifest(bytes.NewReader(manifest), nil); err != nil || len(tables) == 0 || len(tables[0]) == 0 {
		f.Fatalf("%v, %v", tables, err)
	}
	f.Add(manifest)
	f.Add(manifest[:len(manifest)-1])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		tables, err := parseManifest(bytes.NewReader(b), nil)
		if err != nil {
			return
		}
		for _, level := range tables {
			if !slices.IsSortedFunc(level, func(a, b table) int { return bytes.Compare(a.first, b.first) }) {
				t.Error("tables are not in order")
			}
		}
	})
}
