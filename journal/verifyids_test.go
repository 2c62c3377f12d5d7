package journal

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"
	"testing"

	"copialettere/journal/kv"
)

// TestIDSet looks up ids in runs of all sizes.
func TestIDSet(t *testing.T) {
	id := func(n int) (id ChunkID) {
		binary.BigEndian.PutUint64(id[:], uint64(n))
		return id
	}
	for name, c := range map[string]struct{ most, ids, group int }{
		"none":                  {10, 0, 1},
		"all in memory":         {1000, 100, 3},
		"a run for each":        {1, 50, 1},
		"runs and a rest":       {10, 104, 1},
		"nothing in memory":     {10, 100, 10},
		"runs of many reads":    {5000, 20_000, 7},
		"more than one at once": {5, 300, 20},
	} {
		t.Run(name, func(t *testing.T) {
			temporary := t.TempDir()
			t.Setenv("TMPDIR", temporary)
			s := newIDSet()
			s.most = c.most
			// The odd ones, each twice.
			var ids []ChunkID
			for n := range c.ids {
				ids = append(ids, id(2*n+1), id(2*n+1))
			}
			rand.New(rand.NewPCG(1, 2)).Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
			for len(ids) > 0 {
				n := min(c.group, len(ids))
				if err := s.add(ids[:n]...); err != nil {
					t.Fatal(err)
				}
				ids = ids[n:]
			}
			if held := len(s.ids); held >= c.most && held > 0 {
				t.Errorf("%d ids are in memory, of at most %d", held, c.most)
			}
			if err := s.seal(); err != nil {
				t.Fatal(err)
			}
			for n := range 2*c.ids + 3 {
				there, err := s.has(id(n))
				if err != nil {
					t.Fatal(err)
				}
				if want := n%2 == 1 && n < 2*c.ids; there != want {
					t.Fatalf("%d: %v", n, there)
				}
			}
			if left, err := filepath.Glob(filepath.Join(temporary, "*")); err != nil || len(left) > 0 {
				t.Errorf("files are left: %q, %v", left, err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestIDSetFails has the temporary file fail.
func TestIDSetFails(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "missing"))
	s := newIDSet()
	s.most = 2
	if err := s.add(ChunkID{}); err != nil {
		t.Fatal(err)
	}
	if err := s.add(ChunkID{}); err == nil {
		t.Error("it was written to nowhere")
	}
	s = newIDSet()
	s.most = 1
	t.Setenv("TMPDIR", t.TempDir())
	if err := s.add(ChunkID{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.add(ChunkID{}); err == nil {
		t.Error("it was written to a closed file")
	}
	if err := s.seal(); err == nil {
		t.Error("it was read from a closed file")
	}
}

// TestVerifyReadsOnce has messages of one chunk, whose digest is checked with them, unless that leads elsewhere.
func TestVerifyReadsOnce(t *testing.T) {
	const messages = 10
	f, e := newFixture(t), new(passing)
	f.wrap = func(engine kv.Engine) kv.Engine {
		e.Engine = engine
		return e
	}
	f.open()
	for n := range messages {
		f.put(mario, append(letter(fmt.Sprint(n)), words(uint64(n), shareMin)...))
	}
	f.put(mario, letter("of less than shareMin"))
	f.close()
	f.open()
	var read atomic.Int64
	e.got = func(key []byte) {
		if key[0] == 'c' {
			read.Add(1)
		}
	}
	if r := f.verify(); r.Chunks != messages+1 || read.Load() != r.Chunks {
		t.Errorf("%d chunks were read of %d", read.Load(), r.Chunks)
	}
	list := f.list(mario)
	other := list[1].Chunks[0].ID
	f.damaged()
	f.put1(digestKey(list[0].SHA256), other[:])
	f.wantFault(fmt.Sprintf("chunk %x has the SHA-256", other))
}
