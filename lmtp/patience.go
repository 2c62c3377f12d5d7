package lmtp

import (
	"context"
	"time"
)

// leastJournalTime is what the end of a transaction gets in the journal, once, although the steps before it have used up the time of all.
const leastJournalTime = 2 * time.Second

// patience is for how long a transaction waits for the journal and for the settings: all its steps share one limit, because the MTA waits
// for them together, however many there are. Time that goes by elsewhere, with the client or a next hop, does not count. It is used by
// one goroutine.
type patience struct {
	parent context.Context
	ctx    context.Context // ends when the time is used up, with parent, and by stop
	cancel context.CancelFunc
	left   time.Duration // not counting since
	since  time.Time     // of begin
	depth  int           // of begin in begin
	timer  *time.Timer   // runs between begin and end
	last   bool          // leastJournalTime was given
}

func newPatience(parent context.Context, limit time.Duration) *patience {
	p := &patience{parent: parent, left: limit}
	p.ctx, p.cancel = context.WithCancel(parent)
	return p
}

// begin says that the transaction waits from now on, until the call of end that belongs to it. What it waits for has the context returned.
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

func (p *patience) end() {
	if p.depth--; p.depth > 0 {
		return
	}
	if p.timer != nil {
		p.timer.Stop()
	}
	p.left -= time.Since(p.since)
}

// beginLast is begin for the steps without which the client cannot be answered.
func (p *patience) beginLast() context.Context {
	if p.depth == 0 && !p.last && p.left < leastJournalTime {
		p.cancel()
		p.ctx, p.cancel = context.WithCancel(p.parent)
		p.left, p.timer, p.last = leastJournalTime, nil, true
	}
	return p.begin()
}

// stop ends all that still goes on.
func (p *patience) stop() { p.cancel() }
