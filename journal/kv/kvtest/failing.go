package kvtest

import (
	"context"
	"fmt"
	"sync"

	"copialettere/journal/kv"
)

// Failure is how a write of a Failing engine fails.
type Failure string

// Failures.
const (
	NotDone  Failure = "not done"          // it leaves nothing
	Unknown  Failure = "done, and unknown" // it is done, and its outcome reported as unknown
	DiskFull Failure = "the disk is full"  // it leaves nothing, nor does any after it
)

// Failures returns all of them.
func Failures() []Failure { return []Failure{NotDone, Unknown, DiskFull} }

// Failing is an engine one of whose writes fails: an Update or a Stage of any store. It shows what code above an engine makes of each write that fails.
type Failing struct {
	kv.Engine

	mu      sync.Mutex
	left    int // writes until the one that fails; 0 if none is to; guarded by mu
	failure Failure
	met     bool // it has failed; guarded by mu
}

// NewFailing returns an engine on e of which no write fails yet.
func NewFailing(e kv.Engine) *Failing { return &Failing{Engine: e} }

// Fail has the n-th write from now on fail; the next one is the first.
func (f *Failing) Fail(n int, how Failure) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left, f.failure, f.met = n, how, false
}

// Heal has all writes succeed again, and reports whether one has failed.
func (f *Failing) Heal() (met bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left = 0
	return f.met
}

// Volume implements kv.Engine.
func (f *Failing) Volume(ctx context.Context, m kv.Month, create bool) (kv.Store, error) {
	s, err := f.Engine.Volume(ctx, m, create)
	if err != nil {
		return nil, err
	}
	return &failingStore{s, f}, nil
}

// Settings implements kv.Engine.
func (f *Failing) Settings(ctx context.Context) (kv.Store, error) {
	s, err := f.Engine.Settings(ctx)
	if err != nil {
		return nil, err
	}
	return &failingStore{s, f}, nil
}

// next returns how the write that comes now fails; empty if it does not.
func (f *Failing) next() Failure {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.left == 0:
		return ""
	case f.left > 1:
		f.left--
		return ""
	}
	f.met = true
	if f.failure != DiskFull {
		f.left = 0
	}
	return f.failure
}

type failingStore struct {
	kv.Store
	engine *Failing
}

var errFull = fmt.Errorf("no space left on device: %w", kv.ErrUnavailable)

// Update implements kv.Store.
func (s *failingStore) Update(ctx context.Context, locks []string, fn func(kv.Tx) error) error {
	switch s.engine.next() {
	case "":
	case Unknown:
		if err := s.Store.Update(ctx, locks, fn); err != nil {
			return err
		}
		return fmt.Errorf("the answer was lost: %w: %w", kv.ErrUnknown, kv.ErrUnavailable)
	default:
		return errFull
	}
	return s.Store.Update(ctx, locks, fn)
}

// Stage implements kv.Store.
func (s *failingStore) Stage(ctx context.Context, pairs []kv.Pair) (kv.Staged, error) {
	if s.engine.next() != "" {
		return nil, errFull
	}
	return s.Store.Stage(ctx, pairs)
}
