package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"copialettere/cmd/copialettere/config"
	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/lmtp/nexthop"
	"copialettere/policy"
	"copialettere/policy/notice"
)

const (
	noticesEvery = time.Minute // how often notices that wait are looked at
	noticesAhead = 256         // notices that are not in the queue yet; more than that are dropped, and logged
)

// noticeMailer puts notices into their queue, for whoever has the data folder open, and mails them beside the mail that comes in, in the
// daemon. All methods work on nil: there are no notices then.
type noticeMailer struct {
	queue  *notice.Queue
	hop    *nexthop.Hop
	log    *slog.Logger
	events chan notice.Notice
	queued chan struct{} // has room for one: something was queued

	mu   sync.Mutex
	gaps map[gapKind]notice.Notice // that are on record, and not in the queue yet: the first of each kind; guarded by mu
	wake chan struct{}             // has room for one: something came into gaps
}

// gapKind is what gaps are told of together.
type gapKind struct{ mailbox, reason string }

// newNoticeMailer returns nil where no notices are configured.
func newNoticeMailer(ctx context.Context, c *config.Config, a *dataFolder, log *slog.Logger) (*noticeMailer, error) {
	if c.Notices == nil {
		return nil, nil
	}
	settings, err := a.engine.Settings(ctx)
	if err != nil {
		return nil, fmt.Errorf("notices: %w", err)
	}
	options := notice.Options{Policy: a.policy, From: c.Notices.From, MaxPerDay: c.Notices.MaxPerDay, Logger: log, Metrics: a.metrics}
	return &noticeMailer{
		queue: notice.New(settings, options), hop: nexthop.New(c.Notices.Relay, nexthop.Options{Logger: log, Metrics: a.metrics}), log: log,
		events: make(chan notice.Notice, noticesAhead), queued: make(chan struct{}, 1),
		gaps: make(map[gapKind]notice.Notice), wake: make(chan struct{}, 1),
	}, nil
}

// recorded takes gaps that went on record, without waiting for anything: it is what the journal tells.
func (n *noticeMailer) recorded(gaps []journal.Record) {
	if n == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	now := time.Now()
	for i := range gaps {
		e, ok := notice.OfGap(&gaps[i], now)
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

// tell takes a notice without waiting for anything.
func (n *noticeMailer) tell(e notice.Notice) {
	if n == nil {
		return
	}
	select {
	case n.events <- e:
	default:
		n.log.Error("notice dropped: too many at a time", "mailbox", e.Mailbox, "event", e.Event.String())
	}
}

// run works until quit is closed and what was told until then is queued.
func (n *noticeMailer) run(quit <-chan struct{}) {
	if n == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	var mailing sync.WaitGroup
	mailing.Go(func() { n.mail(ctx) })
	defer mailing.Wait()
	defer cancel()
	retry := time.NewTicker(noticesEvery)
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
			n.settle()
			return
		}
	}
}

// settle queues what was told until now.
func (n *noticeMailer) settle() {
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

// close queues what was told until now. It comes behind run, or in its place where nothing is to be mailed.
func (n *noticeMailer) close() {
	if n == nil {
		return
	}
	n.settle()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range n.gaps {
		n.log.Error("notice lost", "mailbox", e.Mailbox, "event", e.Event.String())
	}
}

func (n *noticeMailer) add(e notice.Notice) {
	if err := n.tryAdd(e); err != nil {
		n.log.Error("notice lost", "mailbox", e.Mailbox, "event", e.Event.String(), "error", err)
	}
}

func (n *noticeMailer) tryAdd(e notice.Notice) error {
	// A store that can not write must not hold the stop of the daemon up.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := n.queue.Add(ctx, e)
	if err == nil {
		wake(n.queued)
	}
	return err
}

// addGaps queues the notices of gaps. When the store can not take them, as when it is why there are gaps, they stay for the next time.
func (n *noticeMailer) addGaps() {
	n.mu.Lock()
	gaps := n.gaps
	n.gaps = make(map[gapKind]notice.Notice)
	n.mu.Unlock()
	for kind, e := range gaps {
		err := n.tryAdd(e)
		switch {
		case errors.Is(err, kv.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
			n.log.Warn("notices of gaps wait: they can not be queued now", "notices", len(gaps), "error", err)
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

// mail sends what is due until ctx ends.
func (n *noticeMailer) mail(ctx context.Context) {
	tick := time.NewTicker(noticesEvery)
	defer tick.Stop()
	for {
		if err := n.queue.Deliver(ctx, time.Now(), n.send); err != nil && ctx.Err() == nil {
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

// send is a notice.Send through the relay.
func (n *noticeMailer) send(ctx context.Context, from, to string, message []byte) error {
	conn, err := n.hop.Connect(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", notice.ErrUnreachable, err)
	}
	defer conn.Quit()
	defer context.AfterFunc(ctx, conn.Abort)()
	var params []string
	if !isASCII(from+to) && conn.Announced().SMTPUTF8 {
		params = []string{"SMTPUTF8"}
	}
	conn.Mail(from, params)
	conn.Rcpt(to, nil)
	conn.Data()
	for _, command := range []string{"MAIL", "RCPT", "DATA"} {
		if r, err := conn.Reply(ctx); err != nil {
			return err
		} else if err := refusal(command, r); err != nil {
			return err
		}
	}
	if _, err := conn.Write(message); err != nil {
		return err
	}
	if err := conn.Flush(); err != nil {
		return err
	}
	if err := conn.End(ctx); errors.Is(err, nexthop.ErrNotSent) {
		return err
	} else if err != nil {
		return fmt.Errorf("%w: %w", notice.ErrUnknown, err)
	}
	r, err := conn.Reply(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", notice.ErrUnknown, err)
	}
	return refusal("the message", r)
}

// refusal returns what a reply that is no consent means for a notice.
func refusal(command string, r nexthop.Reply) error {
	switch {
	case r.Permanent():
		return fmt.Errorf("%w: %s: %s", notice.ErrRefused, command, r)
	case r.Temporary():
		return fmt.Errorf("%s: %s", command, r)
	}
	return nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] > '~' {
			return false
		}
	}
	return true
}

// tellExpired queues what a run of the retention has deleted, for its owners.
func (n *noticeMailer) tellExpired(r *journal.ExpireReport) {
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
			// There can be more of these than tell takes, and the house can wait.
			n.add(notice.Notice{
				Mailbox: mailbox, Event: policy.NotifyRetention, Time: r.Time.Local(), ID: r.Time.Format(time.RFC3339),
				Entries: sum.Entries, Bytes: sum.Bytes,
			})
		}
	}
}
