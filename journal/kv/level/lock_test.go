package level

import (
	"context"
	"errors"
	"os/exec"
	"sync"
	"testing"
)

// A process that another goroutine starts holds copies of all open files, the lock included, until it becomes its program.
func TestLockEndsWithCloseWhileProcessesStart(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var starts sync.WaitGroup
	for range 4 {
		starts.Go(func() {
			for ctx.Err() == nil {
				if err := exec.Command("true").Run(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	dir := t.TempDir()
	for n := range 2000 {
		f, err := lockFolder(dir)
		if err != nil {
			t.Errorf("locked and unlocked %d times: %v", n, err)
			break
		}
		if _, err := lockFolder(dir); !errors.Is(err, ErrInUse) {
			t.Errorf("locked twice: %v", err)
		}
		if err := unlockFolder(f); err != nil {
			t.Error(err)
		}
	}
	cancel()
	starts.Wait()
}

// BenchmarkLocks measures two locks of an Update that nobody else wants.
func BenchmarkLocks(b *testing.B) {
	var l locks
	s, names := new(store), []string{"mario@alpha.test", "moves 2026-11"}
	b.ReportAllocs()
	for b.Loop() {
		held, err := l.acquire(b.Context(), s, names)
		if err != nil {
			b.Fatal(err)
		}
		l.release(held)
	}
}
