package level

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// locks are the locks of Updates, by name, over all stores of the engine. Updates of one store run one after the other anyway, so they
// share a lock. Those of another store wait until the last holder is answered, when its writes are durable. Waiters are served in the
// order of arrival, so no store keeps the others out.
type locks struct {
	mu    sync.Mutex
	named map[string]*lock // those that are held; guarded by mu
	spare []*lock          // for reuse; guarded by mu
}

// lock is guarded by locks.mu.
type lock struct {
	store   *store // whose Updates hold it
	holders int
	waiting []*waiter
}

type waiter struct {
	store *store
	ready chan struct{} // closed when it has the lock
}

// acquire takes locks for an Update of a store, and returns the names to release.
func (l *locks) acquire(ctx context.Context, s *store, names []string) ([]string, error) {
	l.mu.Lock()
	free := true
	for _, name := range names {
		if held := l.named[name]; held != nil && !held.shares(s) {
			free = false
			break
		}
	}
	if free {
		for _, name := range names {
			l.take(name, s)
		}
		l.mu.Unlock()
		return names, nil
	}
	l.mu.Unlock()
	// Take them one by one in the same order as everybody else: no two Updates then wait for each other.
	sorted := slices.Clone(names)
	slices.Sort(sorted)
	sorted = slices.Compact(sorted)
	for i, name := range sorted {
		if err := l.wait(ctx, s, name); err != nil {
			l.release(sorted[:i])
			return nil, err
		}
	}
	return sorted, nil
}

// shares reports whether an Update of a store may have a held lock at once.
func (k *lock) shares(s *store) bool { return k.store == s && len(k.waiting) == 0 }

// take takes a lock that is free or shared. The caller holds mu.
func (l *locks) take(name string, s *store) {
	k := l.named[name]
	if k == nil {
		if n := len(l.spare); n > 0 {
			k, l.spare = l.spare[n-1], l.spare[:n-1]
		} else {
			k = new(lock)
		}
		if l.named == nil {
			l.named = make(map[string]*lock)
		}
		k.store = s
		l.named[name] = k
	}
	k.holders++
}

// wait takes one lock, waiting for its turn.
func (l *locks) wait(ctx context.Context, s *store, name string) error {
	l.mu.Lock()
	k := l.named[name]
	if k == nil || k.shares(s) {
		l.take(name, s)
		l.mu.Unlock()
		return nil
	}
	w := &waiter{store: s, ready: make(chan struct{})}
	k.waiting = append(k.waiting, w)
	l.mu.Unlock()
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-w.ready:
		l.releaseOne(name)
	default:
		k.waiting = slices.DeleteFunc(k.waiting, func(other *waiter) bool { return other == w })
		k.admit()
	}
	return fmt.Errorf("update store %s: waiting for the lock %q: %w", s.name, name, ctx.Err())
}

// release releases locks.
func (l *locks) release(names []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range names {
		l.releaseOne(name)
	}
}

func (l *locks) releaseOne(name string) {
	k := l.named[name]
	if k.holders--; k.holders > 0 {
		return
	}
	if len(k.waiting) > 0 {
		k.store = k.waiting[0].store
		k.admit()
		return
	}
	k.store = nil
	delete(l.named, name)
	if len(l.spare) < maxSpareLocks {
		l.spare = append(l.spare, k)
	}
}

// maxSpareLocks bounds the locks kept for reuse.
const maxSpareLocks = 64

// admit lets in the waiters at the front of the queue that share the lock.
func (k *lock) admit() {
	for len(k.waiting) > 0 && k.waiting[0].store == k.store {
		k.holders++
		close(k.waiting[0].ready)
		k.waiting = k.waiting[1:]
	}
}
