package level

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/syndtr/goleveldb/leveldb/storage"

	"copialettere/journal/kv"
)

// mended mends the volume.
func (m *modelled) mended(t testing.TB) *Mended {
	t.Helper()
	mended, err := Mend(t.Context(), m.dir, recoveryMonth, m.opts)
	if err != nil {
		t.Fatal(err)
	}
	return mended
}

func inSpans(spans []Span, key []byte) bool {
	return slices.ContainsFunc(spans, func(s Span) bool { return bytes.Compare(s.From, key) <= 0 && bytes.Compare(key, s.To) < 0 })
}

// check opens the mended volume and compares it with the model: what is there is the latest, what is not there is lost, and nothing deleted is back. It
// returns how many keys are missing. Where a log was damaged, some updates at the end may be missing too.
func (m *modelled) check(t testing.TB, lostSpans []Span) (missing int) {
	t.Helper()
	e := m.Open(t)
	defer e.Close()
	s, err := e.Volume(t.Context(), recoveryMonth, false)
	if err != nil {
		t.Fatalf("the mended volume does not open: %v", err)
	}
	if losses, err := s.Lost(t.Context()); err != nil || len(losses) > 0 {
		t.Errorf("updates count as lost: %v (%v)", losses, err)
	}
	there := make(map[string]bool)
	for p, err := range s.Scan(t.Context(), nil, nil) {
		if err != nil {
			t.Fatal(err)
		}
		there[string(p.Key)] = true
		switch want, ok := m.model[string(p.Key)]; {
		case !ok && m.gone[string(p.Key)]:
			t.Errorf("key %q was deleted, and is back as %.20q", p.Key, p.Value)
		case want != string(p.Value):
			t.Errorf("key %q is %.20q, want %.20q", p.Key, p.Value, want)
		}
	}
	for key := range m.model {
		if there[key] {
			continue
		}
		missing++
		if !inSpans(lostSpans, []byte(key)) {
			t.Errorf("key %q is missing, and nothing says so", key)
		}
		if _, err := s.Get(t.Context(), []byte(key)); !errors.Is(err, kv.ErrNotFound) {
			t.Errorf("Get(%q): %v, want that there is none", key, err)
		}
	}
	for i := range 3 {
		putOne(t, s, fmt.Sprintf("f %03d", i), strings.Repeat("after", 4000))
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	return missing
}

func TestMend(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		opts := smallTables
		if sealed {
			opts.Keys = []Key{key1}
		}
		whole := newModelled(t, opts, rand.New(rand.NewPCG(1, 1)), 200)
		for _, test := range damages {
			if test.kind != "" && test.kind != FaultForeign && !test.mendable || test.kind == FaultLog || test.where == "2026-09" {
				continue
			}
			t.Run(fmt.Sprintf("%s, sealed %v", test.name, sealed), func(t *testing.T) {
				m := whole.copied(t)
				test.damage(t, m)
				before := fingerprint(t, m.folder)
				mended := m.mended(t)
				again := m.mended(t)
				if fmt.Sprintf("%+v", again) != fmt.Sprintf("%+v", mended) {
					t.Errorf("mended again: %+v, want as before: %+v", again, mended)
				}
				if mended.Old != "" {
					if after := strings.ReplaceAll(fingerprint(t, mended.Old), mended.Old, m.folder); after != before {
						t.Errorf("what is kept aside is\n%s\nand was\n%s", after, before)
					}
				}
				mending := test.kind != FaultForeign && test.kind != FaultMark && test.kind != FaultHalf && test.kind != ""
				if (mended.Old != "") != mending || len(mended.Lost) > 0 && !test.loses && !sealed {
					t.Errorf("mended: %+v", mended)
				}
				told := slices.ContainsFunc(faultsOf(t, m), func(f Fault) bool { return f.Kind == FaultMended })
				if told != mending {
					t.Errorf("a store that is mended and not settled has the fault mended: %v", told)
				}
				if err := mended.Settle(); err != nil {
					t.Fatal(err)
				}
				for _, f := range faultsOf(t, m) {
					if f.Kind != FaultForeign && f.Kind != FaultMark && f.Kind != FaultHalf {
						t.Errorf("mended, it has a fault: %+v", f)
					}
				}
				missing := m.check(t, mended.Lost)
				if missing > 0 && !test.loses && !sealed {
					t.Errorf("%d keys are missing", missing)
				}
				t.Logf("%d of %d keys are missing; %d tables, %d entries kept, lost %q", missing, len(m.model), mended.Tables, mended.Kept, mended.Lost)
				if faults := faultsOf(t, m); slices.ContainsFunc(faults, func(f Fault) bool { return f.Kind == FaultTable }) {
					t.Errorf("written to, it has faults: %+v", faults)
				}
			})
		}
	}
}

// TestMendRandom damages tables at random, and compares with the model.
func TestMendRandom(t *testing.T) {
	const tries = 10
	seed := rand.Uint64()
	for round := range 4 {
		opts := smallTables
		if round%2 == 1 {
			opts.Keys = []Key{key1}
		}
		r := rand.New(rand.NewPCG(seed, uint64(round)))
		whole := newModelled(t, opts, r, 80+r.IntN(80))
		missing, keys := 0, 0
		for try := range tries {
			m := whole.copied(t)
			done := m.damageTables(t, r)
			mended := m.mended(t)
			missing += m.check(t, mended.Lost)
			keys += len(m.model)
			if t.Failed() {
				t.Fatalf("seed %d, round %d, try %d: %s; lost %q", seed, round, try, done, mended.Lost)
			}
		}
		t.Logf("round %d: %d of %d keys are missing", round, missing, keys)
	}
}

// damageTables damages one to three tables, and says how.
func (m *modelled) damageTables(t testing.TB, r *rand.Rand) string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(m.folder, "*.ldb"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("tables: %q, %v", paths, err)
	}
	var done []string
	switch r.IntN(8) { // the manifest or its copy, or what names it
	case 0:
		flip(t.(*testing.T), glob(t.(*testing.T), m.folder, "MANIFEST-*"), r.IntN)
		done = append(done, "flipped a bit in the manifest")
	case 1:
		remove(t, filepath.Join(m.folder, currentName), glob(t.(*testing.T), m.folder, copyPrefix+"*"))
		done = append(done, "removed CURRENT and the copy of the manifest")
	}
	for range 1 + r.IntN(3) {
		path := paths[r.IntN(len(paths))]
		b, err := os.ReadFile(path)
		if err != nil || len(b) == 0 {
			continue
		}
		switch r.IntN(8) {
		case 0:
			remove(t, path)
			done = append(done, "removed "+path)
			continue
		case 1:
			b = b[:r.IntN(len(b))]
			done = append(done, fmt.Sprintf("cut %s at %d", path, len(b)))
		case 2: // a sector of zeros
			at := r.IntN(len(b)) &^ (sector - 1)
			clear(b[at:min(len(b), at+sector)])
			done = append(done, fmt.Sprintf("zeros in %s at %d", path, at))
		default:
			at := r.IntN(len(b))
			b[at] ^= 1 << r.IntN(8)
			done = append(done, fmt.Sprintf("flipped a bit in %s at %d", path, at))
		}
		writeTo(t, path, b)
	}
	return strings.Join(done, ", ")
}

// TestNoResurrection deletes a key whose deletion and value are in different tables, damages the table with the deletion, and mends: the key does not
// come back.
func TestNoResurrection(t *testing.T) {
	opts := smallTables
	m := &modelled{onFiles: onFiles{dir: t.TempDir(), opts: opts}, model: map[string]string{}, gone: map[string]bool{"d secret": true}}
	m.folder = filepath.Join(m.dir, string(recoveryMonth))
	e := m.Open(t)
	s := openVolume(t, e, recoveryMonth)
	fill := func(prefix string) {
		for i := range 60 {
			key, value := fmt.Sprintf("%s %03d", prefix, i), strings.Repeat("v", 1000)
			putOne(t, s, key, value)
			m.model[key] = value
		}
	}
	putOne(t, s, "d secret", "what was erased")
	fill("c")
	if err := s.Update(t.Context(), nil, func(tx kv.Tx) error { tx.Delete([]byte("d secret")); return nil }); err != nil {
		t.Fatal(err)
	}
	fill("e")
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	var deletion, value int64
	sv := m.surveyed(t)
	for _, tab := range slices.Concat(sv.version.levels...) {
		if _, err := sv.readTable(t.Context(), tab, func(key, _ []byte) error {
			switch {
			case string(userKey(key)) != "d secret":
			case byte(trailer(key)) == internalDeleted:
				deletion = tab.number
			default:
				value = tab.number
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	if deletion == 0 || value == 0 || deletion == value {
		t.Fatalf("the deletion is in table %d, and the value in table %d", deletion, value)
	}
	path := fileName(storage.FileDesc{Type: storage.TypeTable, Num: deletion})
	hit := 0
	for at := 0; at < opts.WriteBuffer; at += 1000 {
		c := m.copied(t)
		flip(t, filepath.Join(c.folder, path), func(size int) int { return min(at, size-1) })
		mended := c.mended(t)
		c.check(t, mended.Lost)
		if inSpans(mended.Lost, []byte("d secret")) {
			hit++
		}
	}
	if hit == 0 {
		t.Error("no damage was where the deletion is")
	}
}

func TestMendSettings(t *testing.T) {
	whole := newModelled(t, smallTables, rand.New(rand.NewPCG(2, 2)), 50)
	settings := func(m *modelled) *modelled { m.folder = filepath.Join(m.dir, settingsName); return m }
	t.Run("with a loss", func(t *testing.T) {
		m := settings(whole.copied(t))
		e := m.Open(t)
		s, err := e.Settings(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range 30 {
			putOne(t, s, fmt.Sprintf("more %d", i), strings.Repeat("s", 100<<10))
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		path, _ := m.aTable(t, 0)
		remove(t, path)
		before := fingerprint(t, m.dir)
		if _, err := Mend(t.Context(), m.dir, "", m.opts); !errors.Is(err, ErrLoss) {
			t.Errorf("Mend of settings without a table: %v, want %v", err, ErrLoss)
		}
		if after := fingerprint(t, m.dir); after != before {
			t.Errorf("the folder is\n%s\nand was\n%s", after, before)
		}
	})
	t.Run("without", func(t *testing.T) {
		m := settings(whole.copied(t))
		remove(t, filepath.Join(m.folder, currentName))
		mended, err := Mend(t.Context(), m.dir, "", m.opts)
		if err != nil || mended.Old == "" || len(mended.Lost) > 0 {
			t.Fatalf("Mend: %+v, %v", mended, err)
		}
		e := m.Open(t)
		defer e.Close()
		s, err := e.Settings(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if v, err := s.Get(t.Context(), []byte("setting 007")); err != nil || string(v) != strings.Repeat("s", 500) {
			t.Errorf("Get: %.10q, %v", v, err)
		}
	})
}

func TestMendRefuses(t *testing.T) {
	whole := newModelled(t, smallTables, rand.New(rand.NewPCG(3, 3)), 50)
	for _, test := range damages {
		if test.kind == "" || test.mendable || test.kind == FaultForeign || test.where == "2026-09" {
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			m := whole.copied(t)
			test.damage(t, m)
			before := fingerprint(t, m.dir)
			if mended, err := Mend(t.Context(), m.dir, recoveryMonth, m.opts); err == nil || !strings.Contains(err.Error(), test.where) {
				t.Errorf("Mend: %+v, %v, want an error that names %s", mended, err, test.where)
			}
			if after := fingerprint(t, m.dir); after != before {
				t.Errorf("the folder is\n%s\nand was\n%s", after, before)
			}
		})
	}
	t.Run("a month that never was", func(t *testing.T) {
		if _, err := Mend(t.Context(), whole.dir, "2020-01", whole.opts); !errors.Is(err, kv.ErrNoVolume) {
			t.Errorf("Mend: %v", err)
		}
	})
	t.Run("in use", func(t *testing.T) {
		e := whole.Open(t)
		defer e.Close()
		if _, err := Mend(t.Context(), whole.dir, recoveryMonth, whole.opts); !errors.Is(err, ErrInUse) {
			t.Errorf("Mend: %v", err)
		}
	})
}

// damagedModel is a volume with damage that takes all steps of a mending.
func damagedModel(t *testing.T, opts Options) *modelled {
	m := newModelled(t, opts, rand.New(rand.NewPCG(4, 4)), 100)
	m.damagePart(t, 0, partData)
	m.damagePart(t, 1, partData)
	return m
}

// stepsOf returns the steps of a mending, by their number; of those of a kind that follow one another, the first and the last. One more is none.
func stepsOf(t *testing.T, whole *modelled) []int {
	t.Helper()
	m := whole.copied(t)
	var verbs []string
	m.opts.step = func(what string) error {
		verb, _, _ := strings.Cut(what, " ")
		verbs = append(verbs, verb)
		return nil
	}
	m.mended(t)
	list := []int{len(verbs)}
	for n, verb := range verbs {
		if n == 0 || n == len(verbs)-1 || verbs[n-1] != verb || verbs[n+1] != verb {
			list = append(list, n)
		}
	}
	t.Logf("%d of %d steps", len(list), len(verbs))
	return list
}

// TestMendInterrupted stops mending before each of its steps, as kill -9 does, and mends again. Before the second rename all is as it was.
func TestMendInterrupted(t *testing.T) {
	opts := smallTables
	opts.Keys = []Key{key1}
	whole := damagedModel(t, opts)
	type stopped struct{}
	for _, n := range stepsOf(t, whole) {
		m := whole.copied(t)
		before := fingerprint(t, m.folder)
		steps, last := 0, ""
		m.opts.step = func(what string) error {
			if last = what; steps == n {
				panic(stopped{})
			}
			steps++
			return nil
		}
		func() {
			defer func() {
				if r := recover(); r != nil && r != (stopped{}) {
					panic(r)
				}
			}()
			if _, err := Mend(t.Context(), m.dir, recoveryMonth, m.opts); err != nil {
				t.Fatal(err)
			}
		}()
		m.opts.step = nil
		if faults := faultsOf(t, m); !slices.ContainsFunc(faults, func(f Fault) bool { return f.Mendable && f.Month == recoveryMonth }) {
			t.Errorf("stopped before %q, nothing can be mended: %+v", last, faults)
		}
		asides, err := filepath.Glob(m.folder + asideInfix + "*")
		if err != nil {
			t.Fatal(err)
		}
		if len(asides) == 0 && fingerprint(t, m.folder) != before {
			t.Errorf("stopped before %q, the damaged store is another one", last)
		}
		mended := m.mended(t)
		if len(mended.Lost) == 0 || mended.Old == "" || mended.Tables < 2 {
			t.Errorf("stopped before %q, and mended again: %+v", last, mended)
		}
		if _, err := os.Lstat(m.folder + mendingSuffix); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("stopped before %q, and mended again, its folder is left: %v", last, err)
		}
		if n%8 == 0 || len(asides) > 0 {
			m.check(t, mended.Lost)
		}
	}
}

// TestMendOnBadDisk fails each step of a mending, as a full disk does.
func TestMendOnBadDisk(t *testing.T) {
	whole := damagedModel(t, smallTables)
	for _, n := range stepsOf(t, whole) {
		m := whole.copied(t)
		before := fingerprint(t, m.folder)
		steps, last, failed := 0, "", false
		m.opts.step = func(what string) error {
			if steps++; steps == n+1 {
				last, failed = what, true
				return syscall.ENOSPC
			}
			return nil
		}
		_, err := Mend(t.Context(), m.dir, recoveryMonth, m.opts)
		if failed != (err != nil) || failed && !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("%q failed, and Mend: %v", last, err)
		}
		m.opts.step = nil
		_, absent := os.Lstat(m.folder)
		if failed && absent == nil && fingerprint(t, m.folder) != before {
			if _, err := os.Lstat(filepath.Join(m.folder, mendedName)); err != nil {
				t.Errorf("%q failed, and the damaged store is another one", last)
			}
		}
		mended := m.mended(t)
		if n%8 == 0 || absent != nil {
			m.check(t, mended.Lost)
		}
	}
}

// TestMendWithDamagedLog damages a table and the log: the log is still left to whoever opens the store.
func TestMendWithDamagedLog(t *testing.T) {
	m := damagedModel(t, smallTables)
	damaged := flip(t, newestLog(t, m.folder), middle)
	mended := m.mended(t)
	if mended.Old == "" || len(mended.Lost) == 0 {
		t.Fatalf("mended: %+v", mended)
	}
	e := m.Open(t)
	defer e.Close()
	s, err := e.Volume(t.Context(), recoveryMonth, false)
	if err != nil {
		t.Fatal(err)
	}
	if losses := lost(t, s); len(losses) != 1 || losses[0].Count > 20 {
		t.Errorf("losses: %+v, want one of the few updates in the log", losses)
	}
	if kept, err := os.ReadFile(glob(t, m.folder, "damaged-*.log")); err != nil || !bytes.Equal(kept, damaged) {
		t.Errorf("the copy of the log has %d bytes (%v), want %d", len(kept), err, len(damaged))
	}
	for p, err := range s.Scan(t.Context(), nil, nil) {
		if err != nil || len(p.Value) == 0 {
			t.Fatalf("scan: %q, %v", p.Key, err)
		}
	}
}

// badSectors cannot be read at some places.
type badSectors struct {
	*bytes.Reader
	bad []int64
}

func (b badSectors) ReadAt(p []byte, off int64) (int, error) {
	for _, at := range b.bad {
		if off < at+sector && at < off+int64(len(p)) {
			return 0, &fs.PathError{Op: "read", Path: "log", Err: syscall.EIO}
		}
	}
	return b.Reader.ReadAt(p, off)
}

func TestPatched(t *testing.T) {
	content := bytes.Repeat([]byte("x"), 5000)
	for _, bad := range [][]int64{nil, {0}, {512, 4608}} {
		want := bytes.Clone(content)
		for _, at := range bad {
			for i := at; i < min(at+sector, 5000); i++ {
				want[i] = damagedByte
			}
		}
		got := new(bytes.Buffer)
		if _, err := io.CopyBuffer(got, struct{ io.Reader }{io.NewSectionReader(patched{badSectors{bytes.NewReader(content), bad}}, 0, 5000)}, make([]byte, 700)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("bad sectors %d: what is read differs", bad)
		}
	}
}

// TestMendTwice damages a mended store that is not settled: both losses are told.
func TestMendTwice(t *testing.T) {
	m := damagedModel(t, smallTables)
	first := m.mended(t)
	m.damagePart(t, 1, partData)
	second := m.mended(t)
	for _, s := range first.Lost {
		if !inSpans(second.Lost, s.From) {
			t.Errorf("lost first: %q, and then %q", first.Lost, second.Lost)
		}
	}
	if second.Old == first.Old {
		t.Errorf("both are kept aside at %s", first.Old)
	}
	m.check(t, second.Lost)
}

// TestMendedIsSealed looks for keys in the clear.
func TestMendedIsSealed(t *testing.T) {
	f := &onFiles{dir: t.TempDir(), opts: Options{WriteBuffer: 64 << 10, TableSize: 64 << 10, Keys: []Key{key1}}}
	fillSealed(t, f)
	m := &modelled{onFiles: *f, folder: filepath.Join(f.dir, "2026-11")}
	m.damagePart(t, 0, partData)
	if mended := m.mended(t); len(mended.Lost) == 0 {
		t.Errorf("mended: %+v", mended)
	}
	if list := clearFiles(t, f.dir); len(list) > 0 {
		t.Errorf("in the clear: %q", list)
	}
}

// TestDropTakesAsides drops a volume that was mended.
func TestDropTakesAsides(t *testing.T) {
	m := damagedModel(t, smallTables)
	mended := m.mended(t)
	e := m.Open(t)
	defer e.Close()
	if err := e.Drop(t.Context(), recoveryMonth); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(mended.Old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was kept aside: %v, want it gone", err)
	}
}
