package archive

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"copialettere/journal"
	"copialettere/policy"
)

// How long a Readiness takes, and how long its answers hold.
const (
	ReadyFor     = 2 * time.Second // how long an answer holds; asking more often costs nothing
	ReadyTimeout = 5 * time.Second // how long a look may take before the daemon counts as not ready

	readyMailboxes = 10_000 // how many mailboxes' settings one look reads: some 0.1 s
)

// Why mail to enabled mailboxes would wait, in words fit for everybody who can ask.
const (
	NotReadyStopping = "the daemon is stopping"
	NotReadyDisk     = "the journal takes no messages: the disk is nearly full"
	NotReadyJournal  = "the journal cannot be written to"
	NotReadySlow     = "the journal does not answer in time"
	NotReadySettings = "the settings of mailboxes cannot be read"
	NotReadyHop      = "a next hop cannot be reached"
)

// Readiness tells whether mail to enabled mailboxes would be accepted now. When asked, it makes a write durable, reads settings of mailboxes,
// and checks whether a next hop is unreachable. It stands beside an Archive and not in it, because the machines that ask it may read nothing.
type Readiness struct {
	journal     *journal.Journal
	policy      *policy.Policy
	unreachable func(context.Context) bool
	log         *slog.Logger
	stopping    atomic.Bool
	looks       sync.WaitGroup
	look        func(ctx context.Context) []string // replaced in tests

	mu      sync.Mutex
	looking chan struct{} // closed when the look in progress is done; nil while there is none; guarded by mu
	reasons []string      // of the last look; guarded by mu
	at      time.Time     // of the last look; guarded by mu
	told    []string      // what the log last said; guarded by mu

	next string // the archive of the mailbox whose settings the next look reads first; belongs to the look in progress
}

// NewReadiness returns a Readiness. unreachable reports whether a next hop could not be reached the last time, and cannot be reached now. Call
// Stop and Wait in the end.
func NewReadiness(j *journal.Journal, p *policy.Policy, unreachable func(context.Context) bool, log *slog.Logger) *Readiness {
	r := &Readiness{journal: j, policy: p, unreachable: unreachable, log: log}
	r.look = r.lookNow
	return r
}

// Stop makes every later answer say that the daemon is stopping.
func (r *Readiness) Stop() { r.stopping.Store(true) }

// Wait waits until the look in progress is done.
func (r *Readiness) Wait() { r.looks.Wait() }

// Problems returns why mail to enabled mailboxes would wait; nothing if it would not. It answers within ReadyTimeout, whatever hangs.
func (r *Readiness) Problems(ctx context.Context) []string {
	if r.stopping.Load() {
		return []string{NotReadyStopping}
	}
	r.mu.Lock()
	if r.looking == nil {
		if !r.at.IsZero() && time.Since(r.at) < ReadyFor {
			defer r.mu.Unlock()
			return r.reasons
		}
		done := make(chan struct{})
		r.looking = done
		r.looks.Go(func() {
			defer close(done)
			within, cancel := context.WithTimeout(context.Background(), ReadyTimeout)
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
	patience := time.NewTimer(ReadyTimeout)
	defer patience.Stop()
	select {
	case <-looking:
	case <-ctx.Done():
		return []string{NotReadySlow}
	case <-patience.C:
		return []string{NotReadySlow}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reasons
}

// tell logs the reasons if they are new. The caller holds mu.
func (r *Readiness) tell(reasons []string) {
	if slices.Equal(reasons, r.told) {
		return
	}
	r.told = reasons
	if len(reasons) == 0 {
		r.log.Info("ready again")
		return
	}
	r.log.Warn("not ready", "reasons", reasons)
}

func (r *Readiness) lookNow(ctx context.Context) []string {
	var reasons []string
	if err := r.journal.Suspended(); err != nil {
		reasons = append(reasons, NotReadyDisk)
	}
	if err := r.journal.Probe(ctx); err != nil {
		reason := NotReadyJournal
		if errors.Is(err, context.DeadlineExceeded) {
			reason = NotReadySlow
		}
		r.log.Debug("not ready", "error", err)
		reasons = append(reasons, reason)
	}
	if err := r.readSettings(ctx); err != nil {
		r.log.Debug("not ready", "error", err)
		reasons = append(reasons, NotReadySettings)
	}
	if r.unreachable(ctx) {
		reasons = append(reasons, NotReadyHop)
	}
	return reasons
}

// readSettings reads settings of mailboxes, beginning where the last look ended or found settings that it could not read.
func (r *Readiness) readSettings(ctx context.Context) error {
	left := readyMailboxes
	for m, err := range r.policy.MailboxesFrom(ctx, r.next) {
		if err != nil {
			return err
		}
		r.next = m.Archive
		if left--; left == 0 {
			return nil
		}
	}
	r.next = ""
	return nil
}
