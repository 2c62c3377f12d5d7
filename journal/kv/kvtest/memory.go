package kvtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"

	"copialettere/journal/kv"
)

// Weakness is something that the contract forbids. It serves to check that the tests of the contract notice it. The zero value is none.
type Weakness string

// Weaknesses that an engine made for one client may have.
const (
	NoWeakness       Weakness = ""
	ReadNotDurable   Weakness = "what an update only read need not be durable"
	LocksOfVolume    Weakness = "locks are those of one volume"
	LocksInOrder     Weakness = "locks are taken in the order in which they are given"
	OneClient        Weakness = "every client takes itself for the only one"
	StagedForgotten  Weakness = "what was staged may be lost unnoticed"
	StaleReads       Weakness = "reading lags behind"
	DropOwnHandles   Weakness = "drop closes only the stores of its own client"
	UnknownIsNotDone Weakness = "an unknown outcome is reported as not done"
)

// Memory is an engine in memory that replicates and has several clients, each made by Open. It takes the liberties that package kv gives:
// updates without a common lock run side by side, an fn may run twice, pages of a scan are short, and data is seen before it is durable and
// lost by Crash. It stores nothing on disk, and its data outlives its clients.
type Memory struct {
	weak Weakness

	mu       sync.Mutex
	changed  *sync.Cond
	random   *rand.Rand               // guarded by mu
	volumes  map[kv.Month]*shared     // the settings have the empty month; guarded by mu
	locked   map[string]chan struct{} // closed when the lock is free; guarded by mu
	log      []*record                // writes that are not durable yet, oldest first; guarded by mu
	stalled  bool                     // nothing becomes durable; guarded by mu
	once     bool                     // no fn runs twice by chance; guarded by mu
	flushing bool                     // a goroutine is about to make the log durable; guarded by mu
}

// NewMemory returns an empty engine in memory, with a weakness or NoWeakness.
func NewMemory(weak Weakness) *Memory {
	m := &Memory{
		weak: weak, random: rand.New(rand.NewPCG(rand.Uint64(), 0)),
		volumes: map[kv.Month]*shared{"": newShared()}, locked: make(map[string]chan struct{}),
	}
	m.changed = sync.NewCond(&m.mu)
	return m
}

// shared is a volume, or the settings, as all clients see it. Memory.mu guards it.
type shared struct {
	keys    []string // sorted
	values  map[string][]byte
	fence   *memoryFence
	running int // updates that are past the fence
	dropped bool
	stale   map[string][]byte // for StaleReads: the values before
}

func newShared() *shared { return &shared{values: make(map[string][]byte)} }

func (s *shared) set(key string, value []byte) {
	if _, there := s.values[key]; !there {
		i, _ := slices.BinarySearch(s.keys, key)
		s.keys = slices.Insert(s.keys, i, key)
	}
	s.values[key] = value
}

func (s *shared) remove(key string) {
	if _, there := s.values[key]; there {
		i, _ := slices.BinarySearch(s.keys, key)
		s.keys = slices.Delete(s.keys, i, i+1)
		delete(s.values, key)
	}
}

// record is a set of writes that may not be durable yet. Memory.mu guards it.
type record struct {
	in      *shared
	before  []kv.Pair // the values before; nil for none
	durable bool
	lost    bool
}

// apply does writes and records how to undo them. The caller holds mu.
func (m *Memory) apply(s *shared, writes []kv.Pair) *record {
	r := &record{in: s}
	for _, w := range writes {
		key := string(w.Key)
		r.before = append(r.before, kv.Pair{Key: w.Key, Value: s.values[key]})
		if m.weak == StaleReads && s.values[key] != nil {
			s.stale = map[string][]byte{key: s.values[key]}
		}
		if w.Value == nil {
			s.remove(key)
		} else {
			s.set(key, w.Value)
		}
	}
	m.log = append(m.log, r)
	return r
}

// flush starts making the log durable, all of it at once, so waiting updates share the cost. The caller holds mu.
func (m *Memory) flush() {
	if m.flushing || m.stalled || len(m.log) == 0 {
		return
	}
	m.flushing = true
	go func() {
		time.Sleep(50 * time.Microsecond)
		m.mu.Lock()
		defer m.mu.Unlock()
		m.flushing = false
		if m.stalled {
			return
		}
		for _, r := range m.log {
			r.durable = true
		}
		m.log = nil
		m.changed.Broadcast()
	}()
}

// RunOnce keeps any fn from running twice by chance, for tests in which each run waits for something.
func (m *Memory) RunOnce() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.once = true
}

// Stall keeps all writes from becoming durable until Resume or Crash, as if no standby server answered.
func (m *Memory) Stall() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stalled = true
}

// Resume ends a Stall.
func (m *Memory) Resume() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stalled = false
	m.flush()
}

// Crash undoes all writes that are not durable, as if a server were lost and a standby took its place. Clients go on.
func (m *Memory) Crash() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stalled = false
	for _, r := range slices.Backward(m.log) {
		r.lost = true
		for _, p := range slices.Backward(r.before) {
			if p.Value == nil {
				r.in.remove(string(p.Key))
			} else {
				r.in.set(string(p.Key), p.Value)
			}
		}
	}
	m.log = nil
	m.changed.Broadcast()
}

// again decides by chance whether an fn runs twice.
func (m *Memory) again() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return !m.once && m.random.IntN(8) == 0
}

// lock takes locks, and returns a function that releases them.
func (m *Memory) lock(ctx context.Context, in *shared, locks []string) (release func(), err error) {
	names := slices.Clone(locks)
	if m.weak == LocksOfVolume {
		for i := range names {
			names[i] = fmt.Sprintf("%p %s", in, names[i])
		}
	}
	if m.weak != LocksInOrder {
		slices.Sort(names)
		names = slices.Compact(names)
	}
	var held []string
	release = func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		for _, name := range held {
			close(m.locked[name])
			delete(m.locked, name)
		}
	}
	for _, name := range names {
		for {
			m.mu.Lock()
			free, taken := m.locked[name]
			if !taken {
				m.locked[name] = make(chan struct{})
				held = append(held, name)
			}
			m.mu.Unlock()
			if !taken {
				break
			}
			select {
			case <-free:
			case <-ctx.Done():
				release()
				return nil, fmt.Errorf("wait for the lock %q: %w", name, ctx.Err())
			}
		}
		runtime.Gosched()
	}
	return release, nil
}

// enter lets an update in, unless a fence keeps it out.
func (s *memoryStore) enter() error {
	m := s.client.m
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case s.shutLocked():
		return kv.ErrClosed
	case s.in.fence != nil:
		return kv.ErrFenced
	}
	s.in.running++
	s.client.running++
	return nil
}

func (s *memoryStore) leave() {
	m := s.client.m
	m.mu.Lock()
	defer m.mu.Unlock()
	s.in.running--
	s.client.running--
	m.changed.Broadcast()
}

// Update implements kv.Store.
func (s *memoryStore) Update(ctx context.Context, locks []string, fn func(kv.Tx) error) error {
	m := s.client.m
	if err := s.check(ctx); err != nil {
		return err
	}
	release, err := m.lock(ctx, s.in, locks)
	if err != nil {
		return fmt.Errorf("update: %w", err)
	}
	if err := s.enter(); err != nil {
		release()
		return fmt.Errorf("update: %w", err)
	}
	over := func() { release(); s.leave() }
	owner := true // of the locks
	defer func() {
		if owner {
			over()
		}
	}()
	t := newMemoryTx(s)
	if err := fn(t); err != nil {
		return err
	}
	if m.again() { // as if another update had come between
		t = newMemoryTx(s)
		if err := fn(t); err != nil {
			return err
		}
	}
	if t.err != nil {
		return t.err
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("update: %w", err)
	}
	m.mu.Lock()
	for _, need := range t.needs {
		if need.lost && m.weak != StagedForgotten {
			m.mu.Unlock()
			return fmt.Errorf("update: what was staged is lost: %w", kv.ErrUnavailable)
		}
	}
	// What fn read was written before, and is durable once the newest record is. An update that wrote nothing waits for that too.
	var last *record
	if writes := t.list(); len(writes) > 0 {
		last = m.apply(s.in, writes)
	} else if n := len(m.log); n > 0 && m.weak != ReadNotDurable {
		last = m.log[n-1]
	}
	m.flush()
	m.mu.Unlock()
	if last == nil {
		return nil
	}
	owner = false
	done := make(chan error, 1)
	go func() {
		done <- m.wait(last)
		s.leave()
	}()
	// A server frees the locks of a client that has left: its writes are seen, and come before all later ones.
	defer release()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		if m.weak == UnknownIsNotDone {
			return fmt.Errorf("update: wait for a standby: %w", ctx.Err())
		}
		return fmt.Errorf("update: wait for a standby: %w: %w", kv.ErrUnknown, ctx.Err())
	}
}

// wait waits until a record is durable, or lost.
func (m *Memory) wait(r *record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for !r.durable && !r.lost {
		m.changed.Wait()
	}
	switch {
	case !r.lost:
		return nil
	case m.weak == UnknownIsNotDone:
		return fmt.Errorf("update: the server was lost: %w", kv.ErrUnavailable)
	}
	return fmt.Errorf("update: the server was lost: %w: %w", kv.ErrUnknown, kv.ErrUnavailable)
}

// Stage implements kv.Store.
func (s *memoryStore) Stage(ctx context.Context, pairs []kv.Pair) (kv.Staged, error) {
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	t := newMemoryTx(s)
	for _, p := range pairs {
		t.Put(p.Key, p.Value)
	}
	if t.err != nil {
		return nil, t.err
	}
	if err := s.enter(); err != nil {
		return nil, fmt.Errorf("stage: %w", err)
	}
	defer s.leave()
	m := s.client.m
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.apply(s.in, t.list()), nil
}

// memoryTx is the kv.Tx of an update in memory.
type memoryTx struct {
	s      *memoryStore
	writes map[string][]byte // a nil value deletes
	order  []string          // the keys of writes, as first written
	size   int
	needs  []*record
	err    error
}

func newMemoryTx(s *memoryStore) *memoryTx { return &memoryTx{s: s, writes: make(map[string][]byte)} }

// list returns the writes, each key once.
func (t *memoryTx) list() (writes []kv.Pair) {
	for _, key := range t.order {
		writes = append(writes, kv.Pair{Key: []byte(key), Value: t.writes[key]})
	}
	return writes
}

// Get implements kv.View.
func (t *memoryTx) Get(key []byte) ([]byte, error) {
	if v, ok := t.writes[string(key)]; ok {
		if v == nil {
			return nil, kv.ErrNotFound
		}
		return append([]byte{}, v...), nil
	}
	runtime.Gosched()
	return t.s.read(key)
}

// GetAll implements kv.View.
func (t *memoryTx) GetAll(keys [][]byte) ([][]byte, error) { return kv.GetEach(keys, t.Get) }

// Put implements kv.Tx.
func (t *memoryTx) Put(key, value []byte) { t.write(key, append([]byte{}, value...)) }

// Delete implements kv.Tx.
func (t *memoryTx) Delete(key []byte) { t.write(key, nil) }

func (t *memoryTx) write(key, value []byte) {
	if t.err != nil {
		return
	}
	if t.err = kv.CheckKey(key); t.err != nil {
		return
	}
	if t.size += len(key) + len(value); t.size > kv.MaxUpdate {
		t.err = fmt.Errorf("more than %d bytes: %w", kv.MaxUpdate, kv.ErrTooLarge)
		return
	}
	if _, there := t.writes[string(key)]; !there {
		t.order = append(t.order, string(key))
	}
	t.writes[string(key)] = value
}

// In implements kv.Tx.
func (t *memoryTx) In(month kv.Month) (kv.View, error) {
	s, err := t.s.client.find(month, false)
	if err != nil {
		return nil, err
	}
	if s.in == t.s.in {
		return t, nil
	}
	return newMemoryTx(s), nil
}

// Needs implements kv.Tx.
func (t *memoryTx) Needs(s kv.Staged) {
	if r, ok := s.(*record); ok {
		t.needs = append(t.needs, r)
	}
}
