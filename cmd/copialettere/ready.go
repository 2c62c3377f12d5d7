package main

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"copialettere/lmtp/nexthop"
	"copialettere/policy"
)

const (
	readyFor     = 2 * time.Second // for how long an answer holds: who asks more often costs nothing
	readyTimeout = 5 * time.Second // for a look, behind which the daemon is not ready

	readyMailboxes = 10_000 // of how many a look reads the settings: some 0.1 s
)

// Why mail to enabled mailboxes would wait, in words for everybody who can ask.
const (
	notReadyStopping = "the daemon is stopping"
	notReadyDisk     = "the journal takes no messages: the disk is nearly full"
	notReadyJournal  = "the journal can not be written to"
	notReadySlow     = "the journal does not answer in time"
	notReadySettings = "the settings of mailboxes can not be read"
	notReadyHop      = "a next hop can not be reached"
)

// readiness tells whether mail to enabled mailboxes would be taken now. It looks when it is asked: makes a write durable, reads settings of
// mailboxes, and connects to a next hop that could not be reached the last time.
type readiness struct {
	d        *daemon
	stopping atomic.Bool
	look     func(ctx context.Context) []string // a seam for tests

	mu      sync.Mutex
	looking chan struct{} // closed when the look under way is done; nil while there is none; guarded by mu
	reasons []string      // of the last look; guarded by mu
	at      time.Time     // of the last look; guarded by mu
	told    []string      // what the log says; guarded by mu

	next policy.Address // the mailbox whose settings the next look reads first; of the look under way
}

func newReadiness(d *daemon) *readiness {
	r := &readiness{d: d}
	r.look = r.lookNow
	return r
}

// problems returns why mail to enabled mailboxes would wait; nothing when it would not. It answers within readyTimeout, whatever hangs.
func (r *readiness) problems(ctx context.Context) []string {
	if r.stopping.Load() {
		return []string{notReadyStopping}
	}
	r.mu.Lock()
	if r.looking == nil {
		if !r.at.IsZero() && time.Since(r.at) < readyFor {
			defer r.mu.Unlock()
			return r.reasons
		}
		done := make(chan struct{})
		r.looking = done
		r.d.running.Go(func() {
			defer close(done)
			within, cancel := context.WithTimeout(context.Background(), readyTimeout)
			defer cancel()
			reasons := r.look(within)
			r.mu.Lock()
			defer r.mu.Unlock()
			r.looking, r.reasons, r.at = nil, reasons, time.Now()
			r.tell(reasons)
		})
	}
	looking := r.looking
	r.mu.Unlock()
	patience := time.NewTimer(readyTimeout)
	defer patience.Stop()
	select {
	case <-looking:
	case <-ctx.Done():
		return []string{notReadySlow}
	case <-patience.C:
		return []string{notReadySlow}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reasons
}

// tell logs what is new. The caller holds mu.
func (r *readiness) tell(reasons []string) {
	if slices.Equal(reasons, r.told) {
		return
	}
	r.told = reasons
	if len(reasons) == 0 {
		r.d.log.Info("ready again")
		return
	}
	r.d.log.Warn("not ready", "reasons", reasons)
}

func (r *readiness) lookNow(ctx context.Context) []string {
	var reasons []string
	if err := r.d.archive.journal.Suspended(); err != nil {
		reasons = append(reasons, notReadyDisk)
	}
	if err := r.d.archive.journal.Probe(ctx); err != nil {
		reason := notReadyJournal
		if errors.Is(err, context.DeadlineExceeded) {
			reason = notReadySlow
		}
		r.d.log.Debug("not ready", "error", err)
		reasons = append(reasons, reason)
	}
	if err := r.readSettings(ctx); err != nil {
		r.d.log.Debug("not ready", "error", err)
		reasons = append(reasons, notReadySettings)
	}
	if slices.ContainsFunc(r.d.hops, func(h *nexthop.Hop) bool { return stillFailing(ctx, h) }) {
		reasons = append(reasons, notReadyHop)
	}
	return reasons
}

// readSettings reads the settings of mailboxes, from where the look before ended, or had found some that can not be read.
func (r *readiness) readSettings(ctx context.Context) error {
	left := readyMailboxes
	for m, err := range r.d.archive.policy.MailboxesFrom(ctx, r.next) {
		if err != nil {
			return err
		}
		r.next = m.Address
		if left--; left == 0 {
			return nil
		}
	}
	r.next = policy.Address{}
	return nil
}

// stillFailing says that a next hop could not be reached, the last time and now.
func stillFailing(ctx context.Context, h *nexthop.Hop) bool {
	if !h.Failing() {
		return false
	}
	conn, err := h.Connect(ctx)
	if err != nil {
		return true
	}
	conn.Quit()
	return false
}
