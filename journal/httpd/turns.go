package httpd

import (
	"context"
	"sync"
	"time"
)

// Turns lets everybody have only so many requests under way at a time; the others wait for their turn. So one reader, or one program, cannot take the
// machine from all others. Its methods may be called concurrently.
type Turns struct {
	each, waiting int
	wait          time.Duration

	mu sync.Mutex
	of map[string]*turns // of those who have requests under way or waiting; guarded by mu
}

// turns are those of one person.
type turns struct {
	slots chan struct{} // has an element for each request under way
	users int           // requests under way and waiting; guarded by Turns.mu
}

// NewTurns returns turns of so many requests each, with so many more that wait up to a time.
func NewTurns(each, waiting int, wait time.Duration) *Turns {
	return &Turns{each: each, waiting: waiting, wait: wait, of: make(map[string]*turns)}
}

// Take waits for the turn of somebody, and returns what to call at the end of the request. It returns false where too many requests wait, or this one
// has waited for too long.
func (t *Turns) Take(ctx context.Context, who string) (release func(), ok bool) {
	own := t.join(who)
	if own == nil {
		return nil, false
	}
	done := func() { <-own.slots; t.leave(who, own) }
	select {
	case own.slots <- struct{}{}: // also where the others may not wait at all
		return done, true
	default:
	}
	late := time.NewTimer(t.wait)
	defer late.Stop()
	select {
	case own.slots <- struct{}{}:
		return done, true
	case <-late.C:
	case <-ctx.Done():
	}
	t.leave(who, own)
	return nil, false
}

// join counts a request; nil where too many wait.
func (t *Turns) join(who string) *turns {
	t.mu.Lock()
	defer t.mu.Unlock()
	own := t.of[who]
	if own == nil {
		own = &turns{slots: make(chan struct{}, t.each)}
		t.of[who] = own
	}
	if own.users >= t.each+t.waiting {
		return nil
	}
	own.users++
	return own
}

func (t *Turns) leave(who string, own *turns) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if own.users--; own.users == 0 {
		delete(t.of, who)
	}
}
