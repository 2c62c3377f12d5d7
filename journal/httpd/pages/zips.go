package pages

import "sync"

// oneEach lets everybody do something one at a time.
type oneEach struct {
	mu   sync.Mutex
	busy map[string]bool // guarded by mu
}

// take returns what to call at the end, or false if that person is at it already.
func (o *oneEach) take(who string) (release func(), ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.busy[who] {
		return nil, false
	}
	if o.busy == nil {
		o.busy = make(map[string]bool)
	}
	o.busy[who] = true
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		delete(o.busy, who)
	}, true
}
