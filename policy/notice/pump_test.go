package notice

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/policy"
)

// failing is a store whose updates fail while cause is set.
type failing struct {
	kv.Store
	mu    sync.Mutex
	cause error // guarded by mu
}

func (f *failing) set(cause error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cause = cause
}

func (f *failing) Update(ctx context.Context, locks []string, fn func(kv.Tx) error) error {
	f.mu.Lock()
	cause := f.cause
	f.mu.Unlock()
	if cause != nil {
		return cause
	}
	return f.Store.Update(ctx, locks, fn)
}

// pumpOf returns a pump of a rig over a store. Its relay is down, so notices stay in the queue.
func pumpOf(r *rig, store kv.Store) (*Pump, *bytes.Buffer) {
	log := new(bytes.Buffer)
	logger := slog.New(slog.NewTextHandler(log, nil))
	queue := New(store, Options{Policy: r.policy, From: sender, MaxPerDay: 1000, Logger: logger})
	return NewPump(queue, func(context.Context, string, string, []byte) error { return ErrUnreachable }, logger), log
}

// waits lists the notices in the queue, by mailbox, event and reason.
func waits(r *rig) (list []string) {
	r.t.Helper()
	for pair, err := range r.store.Scan(r.t.Context(), []byte("wq"), []byte("wr")) {
		var n Notice
		if err == nil {
			err = json.Unmarshal(pair.Value, &n)
		}
		if err != nil {
			r.t.Fatal(err)
		}
		list = append(list, strings.TrimSpace(n.Mailbox+" "+n.Event.String()+" "+n.Reason))
	}
	slices.Sort(list)
	return list
}

// stopped runs a pump and stops it at once.
func stopped(n *Pump) {
	quit := make(chan struct{})
	close(quit)
	n.Run(quit)
}

// TestGapsWait records gaps while their notices cannot be queued.
func TestGapsWait(t *testing.T) {
	gap := func(mailbox, reason string) []journal.Record {
		return []journal.Record{{Kind: journal.Gap, Mailbox: mailbox, Time: time.Now(), Reason: reason}}
	}
	for _, c := range []struct {
		name  string
		cause error
		heals bool
		want  []string
		lost  int // in the log
	}{
		{"no fault", nil, false, []string{anna + " gap full", anna + " gap lost"}, 0},
		{"unavailable for a moment", kv.ErrUnavailable, true, []string{anna + " gap full", anna + " gap lost"}, 0},
		{"too slow for a moment", context.DeadlineExceeded, true, []string{anna + " gap full", anna + " gap lost"}, 0},
		{"unavailable until the end", kv.ErrUnavailable, false, nil, 2},
		{"closed", kv.ErrClosed, true, nil, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			store := &failing{Store: r.store, cause: c.cause}
			n, log := pumpOf(r, store)
			for range 3 {
				n.Recorded(gap(anna, journal.ReasonFull))
				n.Recorded(gap("", journal.ReasonLost))
			}
			n.Recorded(gap(anna, journal.ReasonErased))
			n.addGaps()
			if c.heals {
				store.set(nil)
			}
			stopped(n)
			n.Close()
			if got := waits(r); !slices.Equal(got, c.want) {
				t.Errorf("waiting: %q, want %q", got, c.want)
			}
			if got := strings.Count(log.String(), "notice lost"); got != c.lost {
				t.Errorf("%d lost, want %d:\n%s", got, c.lost, log)
			}
		})
	}
}

// TestPumpStoreFails tells a notice that cannot be queued: the pump logs that, and nothing else happens.
func TestPumpStoreFails(t *testing.T) {
	r := newRig(t)
	n, log := pumpOf(r, &failing{Store: r.store, cause: kv.ErrClosed})
	n.Tell(Notice{Mailbox: anna, Event: policy.NotifyFull, Time: time.Now()})
	stopped(n)
	if got := strings.Count(log.String(), "notice lost"); got != 1 || len(waits(r)) != 0 {
		t.Errorf("%d lost and %q waiting, want 1 and none:\n%s", got, waits(r), log)
	}
}

// TestPumpOverload tells more notices than there is room for: nobody waits.
func TestPumpOverload(t *testing.T) {
	r := newRig(t)
	n, log := pumpOf(r, r.store)
	for i := range ahead + 5 {
		n.Tell(Notice{Mailbox: anna, Event: policy.NotifyFull, ID: fmt.Sprint(i), Time: time.Now()})
	}
	if got := strings.Count(log.String(), "notice dropped: too many"); got != 5 {
		t.Errorf("%d dropped, want 5", got)
	}
	stopped(n)
	if got := len(waits(r)); len(n.events) != 0 || got != ahead {
		t.Errorf("%d are not queued, and %d are, want all %d", len(n.events), got, ahead)
	}
}
