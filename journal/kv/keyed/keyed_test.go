package keyed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"copialettere/journal/kv"
	"copialettere/journal/kv/kvtest"
	"copialettere/journal/kv/level"
)

var one, two = Wrapper{[8]byte{1}, [32]byte{1}}, Wrapper{[8]byte{2}, [32]byte{2}}

// firstByte says that values belong to the mailbox that the first byte of their key names. Those that fill an Update have no room to be sealed.
func firstByte(key, value []byte) []byte {
	if len(key) == 0 || len(value) > 1<<20 {
		return nil
	}
	return key[:1]
}

func logger(t testing.TB) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

// place is a fixture: an engine on files, with a ring.
type place struct {
	dir  string
	opts Options
	log  bytes.Buffer
}

func newPlace(t testing.TB) *place {
	return &place{dir: t.TempDir(), opts: Options{Wrappers: []Wrapper{one}}}
}

func (p *place) path() string { return filepath.Join(p.dir, "mailbox.keys") }

// ring opens the ring.
func (p *place) ring(t testing.TB) (*Ring, error) {
	o := p.opts
	p.log.Reset()
	o.Logger = slog.New(slog.NewTextHandler(&p.log, nil))
	return OpenRing(p.path(), o)
}

// Open implements kvtest.Fixture.
func (p *place) Open(t testing.TB) kv.Engine {
	t.Helper()
	if _, err := os.Stat(p.path()); errors.Is(err, fs.ErrNotExist) {
		must(t, Make(p.path()))
	}
	r, err := p.ring(t)
	must(t, err)
	below, err := level.Open(filepath.Join(p.dir, "journal"), level.Options{WriteBuffer: 64 << 10, TableSize: 64 << 10, Logger: logger(t)})
	must(t, err)
	return New(below, r, firstByte)
}

// TakeAway implements kvtest.Absent.
func (p *place) TakeAway(t testing.TB, m kv.Month) (putBack func()) {
	name := string(m)
	if m == "" {
		name = "settings"
	}
	folder, away := filepath.Join(p.dir, "journal", name), filepath.Join(t.TempDir(), name)
	must(t, os.Rename(folder, away))
	return func() { must(t, os.Rename(away, folder)) }
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestContract(t *testing.T) {
	kvtest.Run(t, func(t testing.TB) kvtest.Fixture { return newPlace(t) })
}

func TestAbsent(t *testing.T) {
	kvtest.RunAbsent(t, func(t testing.TB) kvtest.Absent { return newPlace(t) })
}

const november = kv.Month("2026-11")

// house is an open engine with a volume.
type house struct {
	*place
	t      testing.TB
	engine kv.Engine
	volume kv.Store
}

func (p *place) house(t testing.TB) *house {
	t.Helper()
	e := p.Open(t)
	s, err := e.Volume(t.Context(), november, true)
	must(t, err)
	t.Cleanup(func() { e.Close() })
	return &house{p, t, e, s}
}

// again closes the engine and opens it.
func (h *house) again() *house {
	h.t.Helper()
	must(h.t, h.engine.Close())
	return h.place.house(h.t)
}

func (h *house) put(key, value string) error {
	return h.volume.Update(h.t.Context(), []string{"lock"}, func(tx kv.Tx) error { tx.Put([]byte(key), []byte(value)); return nil })
}

// wants compares the values of keys, given as key, value, key, value. The value "sealed" stands for one that does not open.
func (h *house) wants(what string, pairs ...string) {
	h.t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		v, err := h.volume.Get(h.t.Context(), []byte(pairs[i]))
		got := string(v)
		if len(v) > 0 && v[0] == kv.Sealed {
			got = "sealed"
		}
		if err != nil || got != pairs[i+1] {
			h.t.Errorf("%s: %s is %.30q, %v, want %q", what, pairs[i], got, err, pairs[i+1])
		}
	}
}

// erase does what an erasure does.
func (h *house) erase(mailbox string) error {
	k := h.engine.(kv.Keyed)
	k.RetireKeys(mailbox)
	return k.DestroyKeys(h.t.Context(), mailbox)
}

// TestErase destroys the key of a mailbox: what was sealed by it opens no more, and what comes later does.
func TestErase(t *testing.T) {
	h := newPlace(t).house(t)
	for _, key := range []string{"a1", "a2", "b1"} {
		must(t, h.put(key, "about "+key))
	}
	file, err := os.ReadFile(h.path())
	must(t, err)
	must(t, h.erase("a"))
	h.wants("after the erasure", "a1", "sealed", "a2", "sealed", "b1", "about b1")
	must(t, h.put("a2", "new"))
	must(t, h.erase("c")) // which has none
	h = h.again()
	h.wants("after a restart", "a1", "sealed", "a2", "new", "b1", "about b1")
	// Neither file has the wrapped key any more, and one of before does not bring it back.
	slot := parse(file)[1]
	for _, path := range []string{h.path(), h.path() + CopySuffix} {
		b, err := os.ReadFile(path)
		must(t, err)
		if bytes.Contains(b, slot[atNonce:atZeros]) || len(parse(b)) != 4 {
			t.Errorf("%s still has the key", path)
		}
	}
	must(t, h.engine.Close())
	must(t, os.WriteFile(h.path(), file, 0o600))
	h = h.place.house(t)
	h.wants("with an earlier file", "a1", "sealed", "a2", "new", "b1", "about b1")
}

// TestRetire has an Update that began before the keys were retired, and one after it.
func TestRetire(t *testing.T) {
	h := newPlace(t).house(t)
	must(t, h.put("a1", "before"))
	began, retired := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		err := h.volume.Update(t.Context(), []string{"a"}, func(tx kv.Tx) error {
			tx.Put([]byte("a2"), []byte("meanwhile"))
			close(began)
			<-retired
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-began
	k := h.engine.(kv.Keyed)
	k.RetireKeys("a")
	close(retired)
	wg.Wait()
	must(t, h.put("a3", "after"))
	h.wants("retired", "a1", "before", "a2", "meanwhile", "a3", "after")
	must(t, k.DestroyKeys(t.Context(), "a"))
	h.wants("destroyed", "a1", "sealed", "a2", "sealed", "a3", "after")
	h.again().wants("after a restart", "a1", "sealed", "a2", "sealed", "a3", "after")
}

// TestNowhereElse takes a sealed value to another key, another month and the settings: it opens only where it belongs.
func TestNowhereElse(t *testing.T) {
	h := newPlace(t).house(t)
	must(t, h.put("a1", "about a1"))
	below := h.engine.(*Engine).Engine
	raw := func(m kv.Month) kv.Store {
		s, err := below.Volume(t.Context(), m, true)
		must(t, err)
		return s
	}
	v, err := raw(november).Get(t.Context(), []byte("a1"))
	must(t, err)
	if len(v) != len("about a1")+Overhead || v[0] != kv.Sealed || bytes.Contains(v, []byte("about")) {
		t.Errorf("sealed: %q", v)
	}
	settings, err := below.Settings(t.Context())
	must(t, err)
	for name, s := range map[string]kv.Store{"november": raw(november), "october": raw("2026-10"), "settings": settings} {
		must(t, s.Update(t.Context(), nil, func(tx kv.Tx) error {
			tx.Put([]byte("a2"), v)
			if name != "november" {
				tx.Put([]byte("a1"), v)
			}
			return nil
		}))
	}
	flipped := bytes.Clone(v)
	flipped[len(flipped)-1] ^= 1
	must(t, raw(november).Update(t.Context(), nil, func(tx kv.Tx) error {
		tx.Put([]byte("a3"), flipped)
		tx.Put([]byte("a4"), v[:Overhead-1])
		tx.Put([]byte("a5"), []byte("from before there were keys"))
		return nil
	}))
	h.wants("november", "a1", "about a1", "a2", "sealed", "a3", "sealed", "a4", "sealed", "a5", "from before there were keys")
	must(t, h.volume.Update(t.Context(), nil, func(tx kv.Tx) error {
		for _, m := range []kv.Month{"2026-10", ""} {
			v, err := tx.In(m)
			must(t, err)
			for _, key := range []string{"a1", "a2"} {
				if got, err := v.Get([]byte(key)); err != nil || got[0] != kv.Sealed {
					t.Errorf("%s of %q: %q, %v", key, m, got, err)
				}
			}
		}
		return nil
	}))
}

// TestKeyOfOperator changes it, with a crash at each step, and names it where it is missing.
func TestKeyOfOperator(t *testing.T) {
	h := newPlace(t).house(t)
	for _, key := range []string{"a1", "b1", "c1"} {
		must(t, h.put(key, "about "+key))
	}
	must(t, h.erase("c"))
	must(t, h.engine.Close())
	p := h.place
	wants := func(what string, wrappers ...Wrapper) {
		t.Helper()
		p.opts.Wrappers, p.opts.step = wrappers, nil
		h := p.house(t)
		h.wants(what, "a1", "about a1", "b1", "about b1", "c1", "sealed")
		must(t, h.engine.Close())
	}
	steps := 0
	for fail := 0; ; fail++ {
		p.opts.Wrappers, steps = []Wrapper{two, one}, 0
		p.opts.step = func(what string) error {
			if steps++; steps > fail {
				return errors.New("crash at " + what)
			}
			return nil
		}
		if _, err := p.ring(t); err == nil {
			break
		}
		wants(fmt.Sprintf("with both keys, after a crash at step %d", fail), one, two)
	}
	if steps != 6 {
		t.Errorf("%d steps, want two slots and a sync in two files", steps)
	}
	wants("with the new key", two)
	p.opts.Wrappers = []Wrapper{one}
	if health, err := Examine(p.path(), p.opts.Wrappers); err != nil || health.Locked != 2 {
		t.Errorf("examined: %+v, %v", health, err)
	}
	h = p.house(t)
	h.wants("with the old key", "a1", "sealed", "b1", "sealed")
	if log := p.log.String(); !strings.Contains(log, "name the key") || !strings.Contains(log, "key=0200000000000000") {
		t.Errorf("the log: %s", log)
	}
	must(t, h.put("a2", "new")) // mail goes on
	must(t, h.engine.Close())
	p.opts.Wrappers = []Wrapper{one, two}
	h = p.house(t)
	h.wants("with both keys", "a1", "about a1", "a2", "new", "b1", "about b1")
}

// TestDamage spoils the files in many ways.
func TestDamage(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(t *testing.T, first, second string)
		want  []string
		log   string
		// what Examine finds
		missing, differs, damaged int
	}{
		{"the first file is gone", func(t *testing.T, first, _ string) { must(t, os.Remove(first)) }, []string{"a1", "about a1", "b1", "about b1"}, "", 1, 0, 0},
		{"the second file is gone", func(t *testing.T, _, second string) { must(t, os.Remove(second)) }, []string{"a1", "about a1", "b1", "about b1"}, "", 1, 0, 0},
		{"the first file is empty", func(t *testing.T, first, _ string) { must(t, os.Truncate(first, 0)) }, []string{"a1", "about a1", "b1", "about b1"},
			"the other one counts", 1, 0, 0},
		{"the second file is cut off", func(t *testing.T, _, second string) { must(t, os.Truncate(second, 2*slotSize+5)) },
			[]string{"a1", "about a1", "b1", "about b1"}, "", 0, 1, 0},
		{"another slot in each", func(t *testing.T, first, second string) { flip(t, first, 1); flip(t, second, 2) },
			[]string{"a1", "about a1", "b1", "about b1"}, "", 0, 2, 0},
		{"the same slot in both", func(t *testing.T, first, second string) { flip(t, first, 1); flip(t, second, 1) },
			[]string{"a1", "sealed", "b1", "about b1"}, "put mailbox.keys back from a backup", 0, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newPlace(t).house(t)
			must(t, h.put("a1", "about a1"))
			must(t, h.put("b1", "about b1"))
			must(t, h.engine.Close())
			first, second := h.path(), h.path()+CopySuffix
			backup, err := os.ReadFile(first)
			must(t, err)
			c.spoil(t, first, second)
			health, err := Examine(first, h.opts.Wrappers)
			if must(t, err); len(health.Missing) != c.missing || len(health.Differs) != c.differs || health.Damaged != c.damaged || health.Locked > 0 {
				t.Errorf("examined: %+v", health)
			}
			h = h.place.house(t)
			if log := h.log.String(); !strings.Contains(log, c.log) || c.log == "" && log != "" {
				t.Errorf("the log: %s", log)
			}
			h.wants("spoiled", c.want...)
			// Mail goes on, with a new key where the old one is lost, and the remedy brings that back without losing the new one.
			must(t, h.put("a2", "new"))
			must(t, h.put("c1", "new"))
			must(t, h.engine.Close())
			must(t, os.WriteFile(first, backup, 0o600))
			h = h.place.house(t)
			h.wants("put back", "a1", "about a1", "a2", "new", "b1", "about b1", "c1", "new")
			must(t, h.engine.Close())
			one, err := os.ReadFile(first)
			must(t, err)
			two, err := os.ReadFile(second)
			must(t, err)
			if !bytes.Equal(one, two) {
				t.Error("the two files differ")
			}
		})
	}
	p := newPlace(t)
	if _, err := p.ring(t); !errors.Is(err, ErrLost) {
		t.Errorf("no file at all: %v", err)
	}
}

func flip(t *testing.T, path string, slot int) {
	b, err := os.ReadFile(path)
	must(t, err)
	b[slot*slotSize+40] ^= 1
	must(t, os.WriteFile(path, b, 0o600))
}

// TestFaults fails each step of making and of destroying a key, once. What was acknowledged counts; the next try does the rest; nothing is lost.
func TestFaults(t *testing.T) {
	for _, restart := range []bool{false, true} {
		for fail := range 8 {
			t.Run(fmt.Sprintf("step %d, restart %t", fail, restart), func(t *testing.T) {
				p := newPlace(t)
				h := p.house(t)
				must(t, h.put("a1", "about a1"))
				must(t, h.engine.Close())
				steps, failed := -1<<30, "" // not yet
				p.opts.step = func(what string) error {
					if steps++; steps-1 == fail {
						failed = what
						return errors.New("failed to " + what)
					}
					return nil
				}
				h = p.house(t)
				steps = 0
				made := h.put("b1", "about b1") // 4 steps
				if (made != nil) != (fail < 4) || made != nil && (!errors.Is(made, kv.ErrUnavailable) || kv.KindOf(made) != kv.Retryable) {
					t.Fatalf("make: %v", made)
				}
				if restart {
					h = h.again()
				}
				if made != nil {
					must(t, h.put("b1", "about b1"))
				}
				gone := h.erase("a") // 4 steps
				if failed == "" || (gone != nil) != (fail >= 4) {
					t.Fatalf("destroy: %v, failed %q", gone, failed)
				}
				if restart {
					h = h.again()
				}
				must(t, h.erase("a"))
				h.wants("in the end", "a1", "sealed", "b1", "about b1")
				h.again().wants("after a restart", "a1", "sealed", "b1", "about b1")
			})
		}
	}
}

// TestEndedContext gives up waiting for a disk that does not answer, and takes up where that has ended.
func TestEndedContext(t *testing.T) {
	p := newPlace(t)
	h := p.house(t)
	must(t, h.engine.Close())
	answer := make(chan struct{})
	p.opts.step = func(string) error { <-answer; return nil }
	h = p.house(t)
	ctx, cancel := context.WithCancel(t.Context())
	put := func() error {
		return h.volume.Update(ctx, []string{"a"}, func(tx kv.Tx) error { tx.Put([]byte("a1"), []byte("1")); return nil })
	}
	errs := make(chan error)
	for range 2 { // one works, one waits for its turn
		go func() { errs <- put() }()
	}
	cancel()
	for range 2 {
		if err := <-errs; !errors.Is(err, context.Canceled) || kv.KindOf(err) != kv.Retryable {
			t.Errorf("with an ended context: %v", err)
		}
	}
	close(answer)
	must(t, h.put("a1", "2"))
	h.wants("in the end", "a1", "2")
	if n := h.engine.(*Engine).ring.count(); n != 1 {
		t.Errorf("%d keys", n)
	}
}

// TestScrubMerge is what a backup and a restore do with the content of the file.
func TestScrubMerge(t *testing.T) {
	h := newPlace(t).house(t)
	read := func() []byte {
		b, err := os.ReadFile(h.path())
		must(t, err)
		return b
	}
	must(t, h.put("a1", "about a1"))
	first := read()
	must(t, h.put("b1", "about b1"))
	second := read()
	must(t, h.erase("a"))
	third := read()
	if b, changed := Scrub(second, third); !changed || !bytes.Equal(b, third) {
		t.Errorf("scrubbed: %t, %d bytes", changed, len(b))
	}
	for _, other := range [][]byte{first, nil, []byte("something else"), third[:slotSize+7]} {
		if b, changed := Scrub(first, other); changed || !bytes.Equal(b, first) {
			t.Errorf("scrubbed by %.20q: %t", other, changed)
		}
	}
	if b, changed := Scrub([]byte("something else"), third); changed || string(b) != "something else" {
		t.Errorf("something else scrubbed: %q", b)
	}
	if b := Merge(third, second); !bytes.Equal(b, third) {
		t.Error("a destroyed key comes back")
	}
	// Two lines of the archive have two keys in one place.
	must(t, h.engine.Close())
	must(t, os.WriteFile(h.path(), first, 0o600))
	must(t, os.WriteFile(h.path()+CopySuffix, first, 0o600))
	h = h.place.house(t)
	must(t, h.put("c1", "about c1"))
	fourth := read()
	must(t, h.engine.Close())
	for _, path := range []string{h.path(), h.path() + CopySuffix} {
		must(t, os.WriteFile(path, Merge(fourth, third), 0o600))
	}
	h = h.place.house(t)
	h.wants("merged", "a1", "sealed", "b1", "about b1", "c1", "about c1")
}

// FuzzParse opens files with any content: no panic, and what was whole stays so.
func FuzzParse(f *testing.F) {
	k := &mailboxKey{id: id{1}, secret: [32]byte{2}}
	live := k.wrap(&one)
	f.Add(bytesOf([]slot{head, live}), bytesOf([]slot{head, destroyed(id{1}), live}))
	f.Add(bytesOf([]slot{head, live, {}}), []byte{})
	f.Add([]byte("copialettere"), bytesOf([]slot{head}))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		merged, _ := merge(parse(a), parse(b), func(*slot) bool { return true })
		again, _ := merge(merged, merged, func(*slot) bool { return true })
		if !bytes.Equal(bytesOf(merged), bytesOf(again)) {
			t.Errorf("merged twice: %d slots, then %d", len(merged), len(again))
		}
		gone := make(map[id]bool)
		for _, list := range [][]slot{parse(a), parse(b)} {
			for i := range list {
				if list[i].state() == stateDestroyed {
					gone[list[i].id()] = true
				}
			}
		}
		for i := range merged {
			if s := &merged[i]; s.state() == stateLive && gone[s.id()] {
				t.Errorf("slot %d: a destroyed key lives", i)
			}
		}
	})
}
