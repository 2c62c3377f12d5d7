package notice

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/policy"
)

const (
	pumpEvery = time.Minute // how often notices that wait are looked at
	ahead     = 256         // notices that are not in the queue yet; more than that are dropped, and logged
)

// Pump puts notices into their queue, for whoever has the data folder open, and mails them beside the mail that comes in, in the daemon.
// Tell and Recorded never wait. Whoever has a pump calls Run or Close in the end, or both. All methods work on nil: there are no notices then.
type Pump struct {
	queue  *Queue
	send   Send
	log    *slog.Logger
	events chan Notice
	queued chan struct{} // has room for one: something was queued

	mu   sync.Mutex
	gaps map[gapKind]Notice // that are on record, and not in the queue yet: the first of each kind; guarded by mu
	wake chan struct{}      // has room for one: something came into gaps
}

// gapKind is what gaps are told of together.
type gapKind struct{ mailbox, reason string }

// NewPump returns a pump over a queue, of which nobody else calls Deliver. log may be nil.
func NewPump(queue *Queue, send Send, log *slog.Logger) *Pump {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Pump{
		queue: queue, send: send, log: log, events: make(chan Notice, ahead), queued: make(chan struct{}, 1),
		gaps: make(map[gapKind]Notice), wake: make(chan struct{}, 1),
	}
}

// Recorded takes gaps that went on record, without waiting for anything: it is what the journal tells.
func (n *Pump) Recorded(gaps []journal.Record) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	for i := range gaps {
		e, ok := OfGap(&gaps[i], now)
		kind := gapKind{e.Mailbox, e.Reason}
		if _, waits := n.gaps[kind]; ok && !waits {
			n.gaps[kind] = e
		}
	}
	wake(n.wake)
}

// wake fills a channel that has room for one.
func wake(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Tell takes a notice without waiting for anything.
func (n *Pump) Tell(e Notice) {
	if n == nil {
		return
	}
	select {
	case n.events <- e:
	default:
		n.log.Error("notice dropped: too many at a time", "mailbox", e.Mailbox, "event", e.Event.String())
	}
}

// Run works until quit is closed and what was told until then is queued.
func (n *Pump) Run(quit <-chan struct{}) {
	if n == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	var mailing sync.WaitGroup
	mailing.Go(func() { n.mail(ctx) })
	defer mailing.Wait()
	defer cancel()
	retry := time.NewTicker(pumpEvery)
	defer retry.Stop()
	for {
		select {
		case e := <-n.events:
			n.add(e)
		case <-n.wake:
			n.addGaps()
		case <-retry.C:
			n.addGaps()
		case <-quit:
			cancel()
			n.queueTold()
			return
		}
	}
}

// queueTold queues what was told until now.
func (n *Pump) queueTold() {
	for {
		select {
		case e := <-n.events:
			n.add(e)
		default:
			n.addGaps()
			return
		}
	}
}

// Close queues what was told until now. It comes behind Run, or in its place where nothing is to be mailed.
func (n *Pump) Close() {
	if n == nil {
		return
	}
	n.queueTold()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range n.gaps {
		n.log.Error("notice lost", "mailbox", e.Mailbox, "event", e.Event.String())
	}
}

func (n *Pump) add(e Notice) {
	if err := n.tryAdd(e); err != nil {
		n.log.Error("notice lost", "mailbox", e.Mailbox, "event", e.Event.String(), "error", err)
	}
}

func (n *Pump) tryAdd(e Notice) error {
	// A store that cannot write must not hold the stop of the daemon up.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := n.queue.Add(ctx, e)
	if err == nil {
		wake(n.queued)
	}
	return err
}

// addGaps queues the notices of gaps. When the store cannot take them, as when it is why there are gaps, they stay for the next time.
func (n *Pump) addGaps() {
	n.mu.Lock()
	gaps := n.gaps
	n.gaps = make(map[gapKind]Notice)
	n.mu.Unlock()
	for kind, e := range gaps {
		err := n.tryAdd(e)
		switch {
		case errors.Is(err, kv.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
			n.log.Warn("notices of gaps wait: they cannot be queued now", "notices", len(gaps), "error", err)
			n.mu.Lock()
			maps.Copy(n.gaps, gaps)
			n.mu.Unlock()
			return
		case err != nil:
			n.log.Error("notice lost", "mailbox", e.Mailbox, "event", e.Event.String(), "error", err)
		}
		delete(gaps, kind)
	}
}

// Deliver sends what is due, as Queue.Deliver does. Nobody else calls it while Run runs.
func (n *Pump) Deliver(ctx context.Context, now time.Time) error {
	return n.queue.Deliver(ctx, now, n.send)
}

// mail sends what is due until ctx ends.
func (n *Pump) mail(ctx context.Context) {
	tick := time.NewTicker(pumpEvery)
	defer tick.Stop()
	for {
		if err := n.Deliver(ctx, time.Now()); err != nil && ctx.Err() == nil {
			n.log.Error("notices not delivered, will be tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-n.queued:
		}
	}
}

// Expired queues what a run of the retention has deleted, for its owners.
func (n *Pump) Expired(r *journal.ExpireReport) {
	if n == nil {
		return
	}
	byMailbox := make(map[string]journal.Removed)
	for _, e := range r.Expired {
		sum := byMailbox[e.Mailbox]
		sum.Entries += e.Entries
		sum.Bytes += e.Bytes
		byMailbox[e.Mailbox] = sum
	}
	for mailbox, sum := range byMailbox {
		if sum.Entries > 0 {
			// There can be more of these than Tell takes, and the house can wait.
			n.add(Notice{
				Mailbox: mailbox, Event: policy.NotifyRetention, Time: r.Time.Local(), ID: r.Time.Format(time.RFC3339),
				Entries: sum.Entries, Bytes: sum.Bytes,
			})
		}
	}
}
