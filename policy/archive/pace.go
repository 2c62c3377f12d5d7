package archive

import (
	"context"
	"io"
	"sync"
	"time"
)

// While messages are being delivered, reading in bulk rests after each turn, for longer by far: deliveries go first.
const (
	paceTurn = 5 * time.Millisecond
	paceRest = 19 * paceTurn
	// paceRecent is for how long after a message more are expected. A connection that delivers one after the other is not always in the middle of one.
	paceRecent = 50 * time.Millisecond
)

// Pace is how those who read many messages give way to deliveries. All who share one rest at the same time. It may be used concurrently.
type Pace struct {
	delivering func() bool
	mu         sync.Mutex
	rested     time.Time // guarded by mu
}

// NewPace returns a Pace that gives way to what is delivered to the archives.
func (a *Archive) NewPace() *Pace {
	return newPace(func() bool { return a.journal.Delivering(paceRecent) })
}

func newPace(delivering func() bool) *Pace { return &Pace{delivering: delivering, rested: time.Now()} }

// Step rests if that is due: for 95 ms, when 5 ms have passed since the last rest and messages are being delivered. It is called between two pieces of work.
// It returns the error of ctx if that ends first.
func (p *Pace) Step(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.rested) < paceTurn {
		return nil
	}
	if p.delivering() {
		rest := time.NewTimer(paceRest)
		defer rest.Stop()
		select {
		case <-rest.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	p.rested = time.Now()
	return nil
}

// Writer returns a writer that takes a Step before each Write to another one.
func (p *Pace) Writer(ctx context.Context, to io.Writer) io.Writer { return paced{ctx, p, to} }

// paced writes at a pace.
type paced struct {
	ctx  context.Context
	pace *Pace
	to   io.Writer
}

// Write implements io.Writer.
func (p paced) Write(b []byte) (int, error) {
	if err := p.pace.Step(p.ctx); err != nil {
		return 0, err
	}
	return p.to.Write(b)
}
