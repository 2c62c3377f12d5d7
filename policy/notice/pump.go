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
	pumpEvery = time.Minute // how often the pump looks for due notices
	ahead     = 256         // most notices that may wait for the queue; more are dropped and logged
)

// Pump puts notices into their queue, for whoever has the data folder open. In the daemon it also mails them, independently of incoming mail.
// Tell and Recorded never wait. The owner of a pump must call Run or Close in the end, or both. A nil Pump drops all notices.
type Pump struct {
	queue  *Queue
	send   Send
	log    *slog.Logger
	events chan Notice
	queued chan struct{} // has room for one: something was queued

	mu   sync.Mutex
	gaps map[gapKind]Notice // the first of each kind that is on record and not in the queue yet; guarded by mu
	wake chan struct{}      // has room for one: something came into gaps
}

// gapKind groups the gaps that one notice tells of.
type gapKind struct{ mailbox, reason string }

// NewPump returns a pump over a queue. Nobody else may call the queue's Deliver. log may be nil.
func NewPump(queue *Queue, send Send, log *slog.Logger) *Pump {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Pump{
		queue: queue, send: send, log: log, events: make(chan Notice, ahead), queued: make(chan struct{}, 1),
		gaps: make(map[gapKind]Notice), wake: make(chan struct{}, 1),
	}
}

// Recorded takes gaps that went on record, without waiting for anything. The journal calls it.
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

// Tell takes a notice without waiting for anything. It drops and logs the notice if too many wait.
func (n *Pump) Tell(e Notice) {
	if n == nil {
		return
	}
	select {
	case n.events <- e:
	default:
		n.log.Error("notice dropped: too many at a time", "mailbox", e.Mailbox, "event", e.kind())
	}
}

// Queue queues a notice durably before it returns, and mails it soon.
func (n *Pump) Queue(ctx context.Context, e Notice) error {
	if n == nil {
		return nil
	}
	err := n.queue.Add(ctx, e)
	if err == nil {
		wake(n.queued)
	}
	return err
}

// Run queues and mails notices until quit is closed and everything told until then is queued.
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

// queueTold queues everything told so far.
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

// Close queues everything told so far. Call it after Run, or instead of Run where nothing is to be mailed.
func (n *Pump) Close() {
	if n == nil {
		return
	}
	n.queueTold()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range n.gaps {
		n.log.Error("notice lost", "mailbox", e.Mailbox, "event", e.kind())
	}
}

func (n *Pump) add(e Notice) {
	if err := n.tryAdd(e); err != nil {
		n.log.Error("notice lost", "mailbox", e.Mailbox, "event", e.kind(), "error", err)
	}
}

func (n *Pump) tryAdd(e Notice) error {
	// A store that cannot write must not delay the stop of the daemon.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return n.Queue(ctx, e)
}

// addGaps queues the notices of gaps. If the store cannot take them (it may be why there are gaps), they wait for the next time.
func (n *Pump) addGaps() {
	n.mu.Lock()
	gaps := n.gaps
	n.gaps = make(map[gapKind]Notice)
	n.mu.Unlock()
	for kind, e := range gaps {
		err := n.tryAdd(e)
		switch {
		case errors.Is(err, kv.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
			n.log.Warn("notices of gaps cannot be queued now, will be tried again", "notices", len(gaps), "error", err)
			n.mu.Lock()
			maps.Copy(n.gaps, gaps)
			n.mu.Unlock()
			return
		case err != nil:
			n.log.Error("notice lost", "mailbox", e.Mailbox, "event", e.kind(), "error", err)
		}
		delete(gaps, kind)
	}
}

// Deliver sends what is due, as Queue.Deliver does. Do not call it while Run runs.
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

// Expired queues notices for the owners whose messages a retention run deleted. Unlike Tell, it waits for the store.
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
			// There can be more of these than Tell takes, and housekeeping can wait.
			n.add(Notice{
				Mailbox: mailbox, Event: policy.NotifyRetention, Time: r.Time.Local(), ID: r.Time.Format(time.RFC3339),
				Entries: sum.Entries, Bytes: sum.Bytes,
			})
		}
	}
}
