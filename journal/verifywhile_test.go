package journal

import (
	"context"
	"iter"
	"testing"

	"copialettere/journal/kv"
)

// passing is an engine that shows each pair of a scan to the test before the scan yields it.
type passing struct {
	kv.Engine
	show func(p kv.Pair)
	got  func(key []byte) // called at each Get; may be nil
}

func (e *passing) Volume(ctx context.Context, m kv.Month, create bool) (kv.Store, error) {
	s, err := e.Engine.Volume(ctx, m, create)
	if err != nil {
		return nil, err
	}
	return passingStore{s, e}, nil
}

type passingStore struct {
	kv.Store
	e *passing
}

func (s passingStore) Scan(ctx context.Context, from, to []byte) iter.Seq2[kv.Pair, error] {
	return func(yield func(kv.Pair, error) bool) {
		for p, err := range s.Store.Scan(ctx, from, to) {
			if err == nil && s.e.show != nil {
				s.e.show(p)
			}
			if !yield(p, err) {
				return
			}
		}
	}
}

func (s passingStore) Get(ctx context.Context, key []byte) ([]byte, error) {
	if s.e.got != nil {
		s.e.got(key)
	}
	return s.Store.Get(ctx, key)
}

// TestVerifyWhileCleaning has a verification come upon what is erased, swept and dropped under its eyes. None of that is a fault.
func TestVerifyWhileCleaning(t *testing.T) {
	erase := func(f *fixture) {
		if _, err := f.Erase(f.ctx(), mario, EraseOptions{}); err != nil {
			f.t.Fatal(err)
		}
	}
	// What the sweep does, hours later.
	sweep := func(f *fixture) {
		s := f.store()
		for _, kind := range []byte{'h', 'x', 'c'} {
			var keys [][]byte
			for p, err := range s.Scan(f.ctx(), []byte{kind}, []byte{kind + 1}) {
				if err != nil {
					f.t.Fatal(err)
				}
				keys = append(keys, p.Key)
			}
			err := s.Update(f.ctx(), nil, func(tx kv.Tx) error {
				for _, key := range keys {
					tx.Delete(key)
				}
				return nil
			})
			if err != nil {
				f.t.Fatal(err)
			}
		}
	}
	drop := func(f *fixture) {
		if err := f.engine.Drop(f.ctx(), kv.MonthOf(november)); err != nil {
			f.t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		kind byte // of the pair at which it happens
		acts []func(*fixture)
	}{
		"erased before the entries are read": {'s', []func(*fixture){erase}},
		"erased while they are read":         {'e', []func(*fixture){erase}},
		"erased and swept":                   {'e', []func(*fixture){erase, sweep}},
		"swept at the digests":               {'h', []func(*fixture){erase, sweep}},
		"dropped at the counters":            {'s', []func(*fixture){drop}},
		"dropped at the entries":             {'e', []func(*fixture){drop}},
		"dropped at the deliveries":          {'d', []func(*fixture){drop}},
		"dropped at the digests":             {'h', []func(*fixture){drop}},
		"dropped at the chunks":              {'c', []func(*fixture){drop}},
	} {
		clean := func(t *testing.T, verify func(*fixture)) {
			f, e := newFixture(t), new(passing)
			f.wrap = func(engine kv.Engine) kv.Engine {
				e.Engine = engine
				return e
			}
			f.open()
			for _, body := range []string{"a", "b", "c"} {
				f.put(mario, append(sized(body, 200), words(uint64(body[0]), 300_000)...))
			}
			f.FlushOutcomes(f.ctx())
			happened := false
			e.show = func(p kv.Pair) {
				if p.Key[0] != c.kind || happened {
					return
				}
				happened = true
				for _, act := range c.acts {
					act(f)
				}
			}
			verify(f)
			if !happened {
				t.Error("nothing happened")
			}
		}
		t.Run(name, func(t *testing.T) { clean(t, func(f *fixture) { f.verify() }) })
		if c.kind == 'c' {
			continue // the chunks are read in the foreground only
		}
		t.Run(name+", in the background", func(t *testing.T) {
			clean(t, func(f *fixture) {
				if p := inFull(t, f, unhurried()); p.Report.Faults != 0 {
					t.Errorf("%d faults: %q", p.Report.Faults, p.Report.Details)
				}
			})
		})
	}
}

// TestVerifyWhileErasing erases an archive while one of its folders is counted again, and has it made anew.
func TestVerifyWhileErasing(t *testing.T) {
	for _, anew := range []int{0, 1, 5} {
		engine := &scanned{memory: new(memory)}
		f := fixtureOn(t, engine)
		defer f.close()
		f.put(mario, letter("a"))
		f.put(mario, letter("b"))
		recounted := false
		engine.before = func(from []byte) {
			switch {
			case recounted:
			case len(from) == 1 && from[0] == 'e':
				f.put(mario, letter("c"))
			case from[0] == 'e':
				recounted = true
				if _, err := f.Erase(f.ctx(), mario, EraseOptions{}); err != nil {
					t.Error(err)
				}
				for i := range anew {
					f.put(mario, letter(string(rune('d'+i))))
				}
			}
		}
		f.verify()
		if !recounted {
			t.Error("the folder was not counted again")
		}
	}
}
