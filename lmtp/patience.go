package lmtp

import (
	"context"
	"time"
)

// leastJournalTime is the time in the journal that the end of a transaction gets, once, even if the steps before it used up the limit.
const leastJournalTime = 2 * time.Second

// patience limits how long a transaction waits for the journal and the settings. All its steps share one limit, because the MTA waits for
// all of them. Time spent on the client or a next hop does not count. One goroutine uses it.
type patience struct {
	parent context.Context
	ctx    context.Context // ends when the time is used up, with parent, or by stop
	cancel context.CancelFunc
	left   time.Duration // at the last begin
	since  time.Time     // the time of that begin
	depth  int           // nesting of begin
	timer  *time.Timer   // runs between begin and end
	last   bool          // leastJournalTime was granted
}

func newPatience(parent context.Context, limit time.Duration) *patience {
	p := &patience{parent: parent, left: limit}
	p.ctx, p.cancel = context.WithCancel(parent)
	return p
}

// begin starts counting, up to the matching call of end; the pairs may nest. Wait under the context that it returns.
func (p *patience) begin() context.Context {
	if p.depth++; p.depth > 1 {
		return p.ctx
	}
	p.since = time.Now()
	switch {
	case p.left <= 0:
		p.cancel()
	case p.timer == nil:
		p.timer = time.AfterFunc(p.left, p.cancel)
	default:
		p.timer.Reset(p.left)
	}
	return p.ctx
}

// end stops counting, if it matches the outermost begin.
func (p *patience) end() {
	if p.depth--; p.depth > 0 {
		return
	}
	if p.timer != nil {
		p.timer.Stop()
	}
	p.left -= time.Since(p.since)
}

// beginLast is begin for the steps that the client's reply depends on. The first time, it grants leastJournalTime if less is left.
func (p *patience) beginLast() context.Context {
	if p.depth == 0 && !p.last && p.left < leastJournalTime {
		p.cancel()
		p.ctx, p.cancel = context.WithCancel(p.parent)
		p.left, p.timer, p.last = leastJournalTime, nil, true
	}
	return p.begin()
}

// stop ends the context that begin returned.
func (p *patience) stop() { p.cancel() }
