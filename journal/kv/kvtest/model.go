package kvtest

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"copialettere/journal/kv"
)

// model is what an engine should hold: volumes of keys and values.
type model map[kv.Month]map[string]string

// testModel runs random operations against the engine and a model of it, and reopens the engine now and then. It logs the seed of a
// failure.
func testModel(t *testing.T, f Fixture) {
	seed := rand.Uint64()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("seed of the random operations: %d", seed)
		}
	})
	runModel(t, f, rand.New(rand.NewPCG(seed, 0)), 800)
}

func runModel(t *testing.T, f Fixture, r *rand.Rand, operations int) {
	m := make(model)
	e := f.Open(t)
	defer func() { e.Close() }()
	for range operations {
		month := kv.Month(fmt.Sprintf("2026-%02d", 1+r.IntN(3)))
		switch n := r.IntN(100); {
		case n < 1:
			if err := e.Close(); err != nil {
				t.Fatalf("Close: %v", err)
			}
			e = f.Open(t)
		case n < 2:
			if err := e.Drop(t.Context(), month); err != nil {
				t.Fatalf("Drop(%s): %v", month, err)
			}
			delete(m, month)
		case n < 4:
			if got, wanted := months(t, e), fmt.Sprint(slices.Sorted(maps.Keys(m))); got != wanted {
				t.Fatalf("volumes are %s, want %s", got, wanted)
			}
		default:
			modelStore(t, e, m, month, r)
		}
		if t.Failed() {
			return
		}
	}
	for month, wanted := range m {
		s, err := e.Volume(t.Context(), month, false)
		if err != nil {
			t.Fatalf("Volume(%s): %v", month, err)
		}
		compare(t, s, wanted)
		wantLost(t, s, 0)
	}
}

func modelStore(t *testing.T, e kv.Engine, m model, month kv.Month, r *rand.Rand) {
	create := r.IntN(4) == 0
	s, err := e.Volume(t.Context(), month, create)
	if m[month] == nil && !create {
		wantErr(t, "Volume of a month without one", err, kv.ErrNoVolume)
		return
	}
	if err != nil {
		t.Fatalf("Volume(%s, %v): %v", month, create, err)
	}
	if m[month] == nil {
		m[month] = make(map[string]string)
	}
	values := m[month]
	switch n := r.IntN(100); {
	case n < 60:
		modelUpdate(t, s, values, r)
	case n < 90:
		key := randomKey(r)
		wanted, ok := values[key]
		if !ok {
			wanted = "-"
		}
		want(t, s, key, wanted)
	case n < 99:
		from, to := randomKey(r), randomKey(r)
		var wanted []string
		for k, v := range values {
			if k >= from && k < to {
				wanted = append(wanted, k+"="+v)
			}
		}
		slices.Sort(wanted)
		if got := pairsText(scan(t, s, []byte(from), []byte(to))); !slices.Equal(got, wanted) {
			t.Errorf("Scan(%q, %q) = %.200q, want %.200q", from, to, got, wanted)
		}
	default:
		modelPurge(t, s, values, r)
	}
}

// modelPurge purges some of the keys.
func modelPurge(t *testing.T, s kv.Store, values map[string]string, r *rand.Rand) {
	var garbage []kv.Garbage
	for _, key := range slices.Sorted(maps.Keys(values)) {
		if r.IntN(3) == 0 {
			garbage = append(garbage, kv.Garbage{Key: []byte(key), Size: int64(len(values[key]))})
		}
	}
	err := s.Purge(t.Context(), garbage, func(gone []kv.Garbage) error {
		for _, g := range gone {
			delete(values, string(g.Key))
		}
		return nil
	})
	if err != nil {
		t.Errorf("Purge: %v", err)
	}
}

func modelUpdate(t *testing.T, s kv.Store, values map[string]string, r *rand.Rand) {
	next := maps.Clone(values)
	fault := errors.New("fault of fn")
	fail := r.IntN(10) == 0
	seed := r.Uint64()
	err := s.Update(t.Context(), []string{"lock"}, func(tx kv.Tx) error {
		// An fn may run more than once, and does the same each time.
		next = maps.Clone(values)
		r := rand.New(rand.NewPCG(seed, 1))
		for range r.IntN(12) {
			key := randomKey(r)
			switch r.IntN(4) {
			case 0:
				tx.Delete([]byte(key))
				delete(next, key)
			case 1:
				wanted, ok := next[key]
				if !ok {
					wanted = "-"
				}
				if got := show(tx.Get([]byte(key))); got != wanted {
					t.Errorf("inside an update the value of %q is %.40q, want %.40q", key, got, wanted)
				}
			default:
				value := randomValue(r)
				tx.Put([]byte(key), []byte(value))
				next[key] = value
			}
		}
		if fail {
			return fault
		}
		return nil
	})
	if fail {
		if err != fault {
			t.Errorf("Update returned %v, want the error of fn", err)
		}
		return
	}
	if err != nil {
		t.Errorf("Update: %v", err)
	}
	clear(values)
	maps.Copy(values, next)
}

func randomKey(r *rand.Rand) string { return fmt.Sprintf("key %03d", r.IntN(200)) }

func randomValue(r *rand.Rand) string {
	size := r.IntN(40)
	if r.IntN(20) == 0 {
		size = r.IntN(100_000)
	}
	b := make([]byte, size)
	for i := range b {
		b[i] = 'a' + byte(r.IntN(26))
	}
	return string(b)
}

// compare checks the whole content of a store.
func compare(t testing.TB, s kv.Store, wanted map[string]string) {
	t.Helper()
	got := make(map[string]string)
	for _, p := range scan(t, s, nil, nil) {
		got[string(p.Key)] = string(p.Value)
	}
	for key, value := range wanted {
		if v, ok := got[key]; !ok || v != value {
			t.Errorf("%q is %.40q (there: %v), want %.40q", key, v, ok, value)
		}
	}
	for key := range got {
		if _, ok := wanted[key]; !ok {
			t.Errorf("%q is there, but was never put or was deleted", key)
		}
	}
}
