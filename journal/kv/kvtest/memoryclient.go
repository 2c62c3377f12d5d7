package kvtest

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"slices"
	"testing"

	"copialettere/journal/kv"
)

// Open returns a client of the engine.
func (m *Memory) Open(testing.TB) kv.Engine {
	return &memoryClient{m: m, stores: make(map[*shared]*memoryStore)}
}

// memoryClient is the kv.Engine of one client.
type memoryClient struct {
	m       *Memory
	closed  bool                     // guarded by Memory.mu
	running int                      // updates; guarded by Memory.mu
	stores  map[*shared]*memoryStore // guarded by Memory.mu
}

// memoryStore is the kv.Store of one client.
type memoryStore struct {
	client *memoryClient
	in     *shared
	closed bool // for DropOwnHandles; guarded by Memory.mu
}

// memoryFence is the kv.Fence of one client.
type memoryFence struct {
	client *memoryClient
	month  kv.Month
	in     *shared
}

func (c *memoryClient) check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	if c.closed {
		return kv.ErrClosed
	}
	return nil
}

// Alone implements kv.Engine.
func (c *memoryClient) Alone() bool { return c.m.weak == OneClient }

// Volume implements kv.Engine.
func (c *memoryClient) Volume(ctx context.Context, month kv.Month, create bool) (kv.Store, error) {
	if _, err := kv.ParseMonth(string(month)); err != nil {
		return nil, err
	}
	if err := c.check(ctx); err != nil {
		return nil, fmt.Errorf("open volume %s: %w", month, err)
	}
	s, err := c.find(month, create)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Settings implements kv.Engine.
func (c *memoryClient) Settings(ctx context.Context) (kv.Store, error) {
	if err := c.check(ctx); err != nil {
		return nil, fmt.Errorf("open settings: %w", err)
	}
	s, err := c.find("", false)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (c *memoryClient) find(month kv.Month, create bool) (*memoryStore, error) {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	in, ok := c.m.volumes[month]
	if !ok && !create {
		return nil, fmt.Errorf("volume %s: %w", month, kv.ErrNoVolume)
	}
	if !ok {
		in = newShared()
		c.m.volumes[month] = in
	}
	s, ok := c.stores[in]
	if !ok {
		s = &memoryStore{client: c, in: in}
		c.stores[in] = s
	}
	return s, nil
}

// Volumes implements kv.Engine.
func (c *memoryClient) Volumes(ctx context.Context) ([]kv.Month, error) {
	if err := c.check(ctx); err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	var months []kv.Month
	for month := range c.m.volumes {
		if month != "" {
			months = append(months, month)
		}
	}
	slices.Sort(months)
	return months, nil
}

// Fence implements kv.Engine.
func (c *memoryClient) Fence(ctx context.Context, month kv.Month) (kv.Fence, error) {
	if _, err := kv.ParseMonth(string(month)); err != nil {
		return nil, err
	}
	if err := c.check(ctx); err != nil {
		return nil, fmt.Errorf("fence volume %s: %w", month, err)
	}
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	in, ok := c.m.volumes[month]
	if !ok {
		return nil, fmt.Errorf("fence volume %s: %w", month, kv.ErrNoVolume)
	}
	f := &memoryFence{client: c, month: month, in: in}
	in.fence = f
	for in.running > 0 {
		c.m.changed.Wait()
	}
	return f, nil
}

// Drop implements kv.Engine.
func (c *memoryClient) Drop(ctx context.Context, month kv.Month) error {
	return dropFenced(ctx, c, month)
}

// Drop implements kv.Fence.
func (f *memoryFence) Drop(ctx context.Context) error {
	return f.end(ctx, func() {
		if f.client.m.weak == DropOwnHandles {
			if s := f.client.stores[f.in]; s != nil {
				s.closed = true
			}
		} else {
			f.in.dropped = true
		}
		f.in.fence = nil
		delete(f.client.m.volumes, f.month)
	})
}

// Lift implements kv.Fence.
func (f *memoryFence) Lift(ctx context.Context) error { return f.end(ctx, func() { f.in.fence = nil }) }

func (f *memoryFence) end(ctx context.Context, do func()) error {
	if err := f.client.check(ctx); err != nil {
		return fmt.Errorf("volume %s: %w", f.month, err)
	}
	f.client.m.mu.Lock()
	defer f.client.m.mu.Unlock()
	if f.in.fence != f {
		return fmt.Errorf("volume %s, by another client: %w", f.month, kv.ErrFenced)
	}
	do()
	return nil
}

// Forget implements kv.Engine. It always fails, as no volume can be absent.
func (c *memoryClient) Forget(ctx context.Context, month kv.Month) error {
	if err := c.check(ctx); err != nil {
		return fmt.Errorf("forget volume %s: %w", month, err)
	}
	if _, err := c.find(month, false); err != nil {
		return err
	}
	return fmt.Errorf("volume %s is there", month)
}

// Close implements kv.Engine.
func (c *memoryClient) Close() error {
	c.m.mu.Lock()
	defer c.m.mu.Unlock()
	c.closed = true
	for c.running > 0 {
		c.m.changed.Wait()
	}
	for _, in := range c.m.volumes {
		if in.fence != nil && in.fence.client == c {
			in.fence = nil
		}
	}
	return nil
}

// shutLocked reports whether the store is closed. The caller holds mu.
func (s *memoryStore) shutLocked() bool { return s.client.closed || s.in.dropped || s.closed }

func (s *memoryStore) check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.client.m.mu.Lock()
	defer s.client.m.mu.Unlock()
	if s.shutLocked() {
		return kv.ErrClosed
	}
	return nil
}

// read returns the value of a key, durable or not.
func (s *memoryStore) read(key []byte) ([]byte, error) {
	if err := kv.CheckKey(key); err != nil {
		return nil, err
	}
	s.client.m.mu.Lock()
	defer s.client.m.mu.Unlock()
	if s.shutLocked() {
		return nil, kv.ErrClosed
	}
	v, ok := s.in.values[string(key)]
	if !ok {
		return nil, kv.ErrNotFound
	}
	return append([]byte{}, v...), nil
}

// Get implements kv.Store.
func (s *memoryStore) Get(ctx context.Context, key []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.client.m.mu.Lock()
	if v, ok := s.in.stale[string(key)]; ok {
		s.client.m.mu.Unlock()
		return append([]byte{}, v...), nil
	}
	s.client.m.mu.Unlock()
	return s.read(key)
}

// GetAll implements kv.Store.
func (s *memoryStore) GetAll(ctx context.Context, keys [][]byte) ([][]byte, error) {
	if err := s.check(ctx); err != nil {
		return nil, err
	}
	return kv.GetEach(keys, func(key []byte) ([]byte, error) { return s.Get(ctx, key) })
}

// memoryPage is how many pairs a page of a scan has; now and then it has two, so that updates come between pages.
const memoryPage = 100

// Scan implements kv.Store.
func (s *memoryStore) Scan(ctx context.Context, from, to []byte) iter.Seq2[kv.Pair, error] {
	return func(yield func(kv.Pair, error) bool) {
		next, end := string(from), string([]byte{kv.Reserved})
		if to != nil && string(to) < end {
			end = string(to)
		}
		for {
			if err := s.check(ctx); err != nil {
				yield(kv.Pair{}, fmt.Errorf("scan: %w", err))
				return
			}
			page := s.page(next, end)
			for _, p := range page {
				next = string(p.Key) + "\x00"
				if !yield(p, nil) {
					return
				}
			}
			if len(page) == 0 {
				return
			}
		}
	}
}

func (s *memoryStore) page(from, to string) (page []kv.Pair) {
	s.client.m.mu.Lock()
	defer s.client.m.mu.Unlock()
	size := memoryPage
	if s.client.m.random.IntN(4) == 0 {
		size = 2
	}
	start, _ := slices.BinarySearch(s.in.keys, from)
	for _, key := range s.in.keys[start:] {
		if key >= to || len(page) == size {
			break
		}
		page = append(page, kv.Pair{Key: []byte(key), Value: bytes.Clone(s.in.values[key])})
	}
	return page
}

// Purge implements kv.Store. It deletes all garbage at once: in memory that costs nothing.
func (s *memoryStore) Purge(ctx context.Context, garbage []kv.Garbage, done func([]kv.Garbage) error) error {
	if err := s.check(ctx); err != nil {
		return err
	}
	return purgeAll(ctx, s, garbage, done)
}

// Lost implements kv.Store. No acknowledged update is ever lost.
func (s *memoryStore) Lost(ctx context.Context) ([]kv.Loss, error) { return nil, s.check(ctx) }
