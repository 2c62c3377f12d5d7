package journal

import (
	"bytes"
	"context"
	"iter"
	"maps"
	"slices"
	"sync"

	"copialettere/journal/kv"
)

// memory is an engine without files and goroutines, for tests in which time does not pass by itself.
type memory struct {
	updating sync.Mutex // held by each Update, whatever its locks
	mu       sync.Mutex
	stores   map[kv.Month]*memoryStore // guarded by mu; the settings are the store of no month
}

func (m *memory) Volume(_ context.Context, month kv.Month, create bool) (kv.Store, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.stores[month]
	if s == nil {
		if !create {
			return nil, kv.ErrNoVolume
		}
		if m.stores == nil {
			m.stores = make(map[kv.Month]*memoryStore)
		}
		s = &memoryStore{engine: m, values: make(map[string][]byte)}
		m.stores[month] = s
	}
	return s, nil
}

func (m *memory) Volumes(context.Context) ([]kv.Month, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	months := slices.Sorted(maps.Keys(m.stores))
	return slices.DeleteFunc(months, func(month kv.Month) bool { return month == "" }), nil
}

func (m *memory) Alone() bool { return true }

func (m *memory) Fence(_ context.Context, month kv.Month) (kv.Fence, error) {
	return memoryFence{m, month}, nil
}

type memoryFence struct {
	m     *memory
	month kv.Month
}

func (f memoryFence) Drop(ctx context.Context) error { return f.m.Drop(ctx, f.month) }
func (f memoryFence) Lift(context.Context) error     { return nil }

func (m *memory) Forget(context.Context, kv.Month) error { return kv.ErrNoVolume }

// Drop waits for the Update under way. Whoever still has the store is told that it is gone.
func (m *memory) Drop(_ context.Context, month kv.Month) error {
	m.updating.Lock()
	defer m.updating.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.stores[month]; s != nil {
		s.gone = true
	}
	delete(m.stores, month)
	return nil
}

func (m *memory) Settings(ctx context.Context) (kv.Store, error) { return m.Volume(ctx, "", true) }

func (m *memory) Close() error { return nil }

type memoryStore struct {
	engine *memory
	mu     sync.Mutex
	values map[string][]byte // guarded by mu
	losses []kv.Loss         // guarded by mu
	gone   bool              // the volume was dropped; guarded by engine.updating
}

func (s *memoryStore) Get(ctx context.Context, key []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return memoryTx{s, s.values}.Get(key)
}

func (s *memoryStore) GetAll(_ context.Context, keys [][]byte) ([][]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return memoryTx{s, s.values}.GetAll(keys)
}

func (s *memoryStore) Stage(ctx context.Context, pairs []kv.Pair) (kv.Staged, error) {
	return nil, s.Update(ctx, nil, func(tx kv.Tx) error {
		for _, p := range pairs {
			tx.Put(p.Key, p.Value)
		}
		return nil
	})
}

func (s *memoryStore) Scan(_ context.Context, from, to []byte) iter.Seq2[kv.Pair, error] {
	return func(yield func(kv.Pair, error) bool) {
		s.mu.Lock()
		values := maps.Clone(s.values)
		s.mu.Unlock()
		for _, key := range slices.Sorted(maps.Keys(values)) {
			if key < string(from) || to != nil && key >= string(to) {
				continue
			}
			if !yield(kv.Pair{Key: []byte(key), Value: bytes.Clone(values[key])}, nil) {
				return
			}
		}
	}
}

func (s *memoryStore) Update(ctx context.Context, _ []string, fn func(kv.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.engine.updating.Lock()
	defer s.engine.updating.Unlock()
	if s.gone {
		return kv.ErrClosed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	changed := maps.Clone(s.values)
	if err := fn(memoryTx{s, changed}); err != nil {
		return err
	}
	s.values = changed
	return nil
}

func (s *memoryStore) Purge(_ context.Context, garbage []kv.Garbage, done func([]kv.Garbage) error) error {
	s.mu.Lock()
	for _, g := range garbage {
		delete(s.values, string(g.Key))
	}
	s.mu.Unlock()
	return done(garbage)
}

func (s *memoryStore) Lost(context.Context) ([]kv.Loss, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.losses), nil
}

type memoryTx struct {
	store  *memoryStore
	values map[string][]byte
}

func (t memoryTx) Get(key []byte) ([]byte, error) {
	v, ok := t.values[string(key)]
	if !ok {
		return nil, kv.ErrNotFound
	}
	return bytes.Clone(v), nil
}

func (t memoryTx) GetAll(keys [][]byte) ([][]byte, error) {
	values := make([][]byte, len(keys))
	for i, key := range keys {
		if v, ok := t.values[string(key)]; ok {
			values[i] = append([]byte{}, v...)
		}
	}
	return values, nil
}

func (t memoryTx) In(m kv.Month) (kv.View, error) {
	s, err := t.store.engine.Volume(context.Background(), m, m == "")
	if err != nil {
		return nil, err
	}
	if s == t.store {
		return t, nil
	}
	return storeView{context.Background(), s}, nil
}

func (t memoryTx) Needs(kv.Staged) {}

func (t memoryTx) Put(key, value []byte) { t.values[string(key)] = bytes.Clone(value) }

func (t memoryTx) Delete(key []byte) { delete(t.values, string(key)) }
