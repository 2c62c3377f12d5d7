package imapd

import (
	"context"
	"runtime"
	"time"
)

// Delivery goes before reading, and before what is put in by hand. FETCH, SEARCH, APPEND and COPY work in turns, of which there are half as many at a time
// as processors; and while messages are being delivered, a turn is followed by a rest that is longer by far. So programs that read or put in without a
// pause, however many, take little from deliveries that need all processors, and nothing from those that come now and then. A turn ends while the network
// takes what was read, or gives what is put in.
const (
	turnLength = 5 * time.Millisecond
	turnRest   = 19 * turnLength
	maxOutside = time.Millisecond // of what is done outside of a turn, how much counts as work
)

// turns are the turns of a server that nobody has. Each is how long was worked in it since the last rest.
type turns chan time.Duration

func newTurns() turns {
	t := make(turns, max(1, runtime.GOMAXPROCS(0)/2))
	for range cap(t) {
		t <- 0
	}
	return t
}

// turn is that of one connection, of which one command at a time works.
type turn struct {
	turns      turns
	delivering func() bool
	held       bool
	began      time.Time     // while held
	worked     time.Duration // before that, since the last rest
	outer      time.Duration // worked outside, and not counted yet
}

// begin waits for a turn. It returns the error of ctx if that ends first.
func (t *turn) begin(ctx context.Context) error {
	select {
	case t.worked = <-t.turns:
		t.worked += t.outer
		t.outer = 0
	case <-ctx.Done():
		return ctx.Err()
	}
	if t.worked >= turnLength {
		t.worked = 0
		if t.delivering() {
			rest := time.NewTimer(turnRest)
			defer rest.Stop()
			select {
			case <-rest.C:
			case <-ctx.Done():
				t.turns <- 0
				return ctx.Err()
			}
		}
	}
	t.held, t.began = true, time.Now()
	return nil
}

// end gives the turn back, if there is one.
func (t *turn) end() {
	if t.held {
		t.held = false
		t.turns <- t.worked + time.Since(t.began)
	}
}

// step lets others have a turn once this one has been long enough. It is called between two messages, and does nothing without a turn.
func (t *turn) step(ctx context.Context) error {
	if !t.held || t.worked+time.Since(t.began) < turnLength {
		return nil
	}
	t.end()
	return t.begin(ctx)
}

// outside does something that needs no processor, as waiting for the network does.
func (t *turn) outside(ctx context.Context, do func()) {
	held := t.held
	t.end()
	start := time.Now()
	do()
	if held {
		t.outer += min(time.Since(start), maxOutside)
		_ = t.begin(ctx) // when ctx has ended, so has the work
	}
}
