package journal

import (
	"context"
	"fmt"
)

// lock is a mutex for work that may take as long as the store does: a context ends the wait for it.
type lock chan struct{}

func newLock() lock { return make(lock, 1) }

// acquire takes the lock, or returns the error of ctx if that ends first.
func (l lock) acquire(ctx context.Context) error {
	select {
	case l <- struct{}{}:
		return nil
	default:
	}
	select {
	case l <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for another call: %w", ctx.Err())
	}
}

func (l lock) release() { <-l }
