package journal

import (
	"sync"
	"sync/atomic"
	"time"
)

// watches are who wants to know that what a mailbox holds has changed.
type watches struct {
	n  atomic.Int64 // how many there are, so that deliveries need no lock where nobody watches
	mu sync.Mutex
	of map[string]map[chan struct{}]struct{} // by mailbox; guarded by mu
}

// Watch returns a channel that gets a value after what a mailbox holds has changed, by this process: an entry came, went or was moved. One value
// stands for all changes since the last was taken. It is a hint: it may come without a change, and changes of other processes bring none, so
// look from time to time as well. A whole month that is dropped brings none either. Call stop when done.
func (j *Journal) Watch(mailbox string) (news <-chan struct{}, stop func()) {
	w := &j.watches
	c := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.of == nil {
		w.of = make(map[string]map[chan struct{}]struct{})
	}
	if w.of[mailbox] == nil {
		w.of[mailbox] = make(map[chan struct{}]struct{})
	}
	w.of[mailbox][c] = struct{}{}
	w.n.Add(1)
	return c, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if _, ok := w.of[mailbox][c]; !ok {
			return
		}
		w.n.Add(-1)
		delete(w.of[mailbox], c)
		if len(w.of[mailbox]) == 0 {
			delete(w.of, mailbox)
		}
	}
}

// Delivering reports whether messages are being made durable at this moment, or were within a time before, other than those that are imported.
func (j *Journal) Delivering(within time.Duration) bool {
	if j.committing.Load() > 0 {
		return true
	}
	last := j.committed.Load()
	return last != nil && time.Since(*last) < within
}

// beginCommit tells Delivering of a commit, until the function that it returns is called.
func (j *Journal) beginCommit() (end func()) {
	j.committing.Add(1)
	return func() {
		now := time.Now()
		j.committed.Store(&now)
		j.committing.Add(-1)
	}
}

// changed tells those who watch one of the mailboxes. Other names are nobody's.
func (w *watches) changed(mailboxes []string) {
	if w.n.Load() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range mailboxes {
		for c := range w.of[m] {
			select {
			case c <- struct{}{}:
			default:
			}
		}
	}
}
