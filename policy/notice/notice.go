// Package notice tells owners by mail what happens to their archive: a certified message came in, the archive fills up, a gap went on
// record, the retention deleted messages. A notice names the sender, subject and time of a message, and never contains any of its content.
// It also tells the operator of faults.
//
// Notices wait in a queue in the settings store, so neither a restart nor an unreachable relay loses one. The settings of the mailbox say
// where a notice goes, in which language, and whether it is wanted. They are read when the notice is sent, so the address can change at any
// time. An address that ends in an archive gets no notices: the notice of a full archive must not fill it further.
//
// # Keys
//
// Everything is in the settings store of the engine under the prefix w, which belongs to this package:
//
//	w q <time> <random>   a waiting notice, a JSON object; the time of the notice, 8 bytes of nanoseconds since 1970, big-endian; 8 random bytes
//	w m <mailbox>         the recent notices of the mailbox, a JSON object
//
// The spaces are for readability. The object of a waiting notice has the fields of Notice and "more", "tries", "next", "sending" and "unknown";
// that of a mailbox has "since", "count", "more" and "told". Fields unknown to this version are dropped when the object is rewritten.
package notice

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/journal/metrics"
	"copialettere/policy"
)

// Errors by which a Send tells Deliver what became of a notice. Any other error means that the relay did not take it now.
var (
	// ErrRefused means that the relay refused the notice for good. Deliver gives it up.
	ErrRefused = errors.New("notice refused for good")
	// ErrUnknown means that the relay may have taken the notice. Deliver sends it once more, and then gives it up.
	ErrUnknown = errors.New("notice may have been taken")
	// ErrUnreachable means that nothing can be sent now. Deliver stops, and for the remaining notices this does not count as a try.
	ErrUnreachable = errors.New("relay not reached")
)

// When Deliver tries notices again.
const (
	FirstRetry = 5 * time.Minute    // after the first try; each wait is twice the one before
	LastRetry  = 4 * time.Hour      // the longest wait
	GiveUp     = 3 * 24 * time.Hour // how old a notice gets before Deliver gives it up
)

// Window is how long the notices of a mailbox are counted, and how long the same event is not told again.
const Window = 24 * time.Hour

const maxUnknown = 2 // tries of unknown outcome before a notice is given up

// Notice is one event that the owner of a mailbox may want to be told.
type Notice struct {
	Mailbox string        `json:"mailbox"` // canonical name; empty without a Cause, in Add only, means all mailboxes
	Event   policy.Events `json:"event"`   // exactly one; none with a Cause
	Time    time.Time     `json:"time"`    // when it happened, or became known; shown in its own time zone
	// ID names the event among those of its kind: within Window, the same ID is told only once. Empty means that the event is like no other.
	ID string `json:"id,omitempty"`

	Sender  string `json:"sender,omitempty"`  // NotifyCertified: as written in the message
	Subject string `json:"subject,omitempty"` // NotifyCertified: as written in the message
	Percent int    `json:"percent,omitempty"` // NotifyFull: the share of the quota that was passed
	Reason  string `json:"reason,omitempty"`  // NotifyGap: the reason of the journal's record
	// Arrived, for NotifyGap, is when the missing message came. It is zero if that is Time, or if the gap is not about one message.
	Arrived time.Time `json:"arrived,omitzero"`

	Entries uint64 `json:"entries,omitempty"` // NotifyRetention: how many messages were deleted
	Bytes   uint64 `json:"bytes,omitempty"`   // NotifyRetention: their size

	Cause Cause  `json:"cause,omitempty"` // the notice is for the operator, and Mailbox is empty
	Text  string `json:"text,omitempty"`  // with a Cause: what happened, in English
}

// waiting is a notice in the queue.
type waiting struct {
	Notice
	More    int       `json:"more,omitempty"` // earlier notices that the daily limit kept back
	Tries   int       `json:"tries,omitempty"`
	Next    time.Time `json:"next,omitzero"`     // when it is due
	Sending bool      `json:"sending,omitempty"` // a try is under way, or was when the program ended
	Unknown int       `json:"unknown,omitempty"` // tries of unknown outcome
}

// history is the record of a mailbox's recent notices.
type history struct {
	Since time.Time            `json:"since"`          // start of the window
	Count int                  `json:"count"`          // notices in the window
	More  int                  `json:"more,omitempty"` // notices that the daily limit kept back and no notice has counted yet
	Told  map[string]time.Time `json:"told,omitempty"` // when each event was told, by kind and ID
}

// Options are what a Queue needs. Policy, From and MaxPerDay are required.
type Options struct {
	Policy    *policy.Policy
	From      string            // sender address of the notices
	MaxPerDay int               // most notices of one mailbox within Window
	Operator  string            // address of the operator; empty if the operator is told nothing
	Host      string            // name of this machine, for the operator
	Logger    *slog.Logger      // may be nil
	Metrics   *metrics.Registry // may be nil
}

// Queue keeps the notices that are not sent yet. Add may be called concurrently, also while Deliver runs. In each process only one goroutine
// may call Deliver.
type Queue struct {
	store   kv.Store
	options Options
	log     *slog.Logger
	metrics *metrics.Registry
}

// New returns the queue in a settings store.
func New(settings kv.Store, o Options) *Queue {
	// Not every relay accepts a domain in Unicode; all accept this form.
	for _, text := range []*string{&o.From, &o.Operator} {
		if a, err := policy.ParseAddress(*text); err == nil {
			*text = a.ASCII()
		}
	}
	q := &Queue{store: settings, options: o, log: o.Logger, metrics: o.Metrics}
	if q.log == nil {
		q.log = slog.New(slog.DiscardHandler)
	}
	if q.metrics == nil {
		q.metrics = new(metrics.Registry)
	}
	return q
}

func (q *Queue) count(outcome string) {
	q.metrics.Counter("copialettere_notices_total", "Notices by mail, by what became of them.", "outcome", outcome).Inc()
}

// OfGap returns the notice of a gap that has gone on record now. Each mailbox gets one per reason and Window, however many gaps there are. ok
// is false if somebody confirmed the cause by hand, a deactivation or an erasure: the change log tells of it, and an archive that is off
// sends no notices.
func OfGap(r *journal.Record, now time.Time) (n Notice, ok bool) {
	if r.Kind != journal.Gap || r.Reason == journal.ReasonErased || r.Reason == journal.ReasonDisabled {
		return Notice{}, false
	}
	n = Notice{Mailbox: r.Mailbox, Event: policy.NotifyGap, Time: now, ID: r.Reason, Reason: r.Reason}
	if r.Until.IsZero() {
		n.Arrived = r.Time.In(now.Location())
	}
	return n, true
}

// Add queues a notice, durably, if the owner wants to be told of such events and was not yet told of this one. Over the daily limit it only
// counts the notice; the first notice of the next Window tells how many were kept back. After an error for all mailboxes some may have the
// notice; add it again.
func (q *Queue) Add(ctx context.Context, n Notice) error {
	if n.Mailbox == "" && n.Cause == "" {
		return q.addToAll(ctx, n)
	}
	wanted, err := q.wanted(ctx, &n)
	if err != nil || !wanted {
		return err
	}
	n.Sender, n.Subject, n.Text = clean(n.Sender), clean(n.Subject), cleanLines(n.Text)
	queueKey, historyKey := newKey(n.Time), historyKey(n.Mailbox)
	var outcome string
	err = q.store.Update(ctx, []string{historyLock(n.Mailbox)}, func(tx kv.Tx) error {
		outcome = ""
		var h history
		switch b, err := tx.Get(historyKey); {
		case err == nil:
			if err := json.Unmarshal(b, &h); err != nil {
				return fmt.Errorf("decode: %w", err)
			}
		case !errors.Is(err, kv.ErrNotFound):
			return err
		}
		var more int
		if more, outcome = h.admit(&n, q.options.MaxPerDay); outcome == "repeated" {
			return nil
		}
		if outcome == "queued" {
			b, err := json.Marshal(waiting{Notice: n, More: more})
			if err != nil {
				return err
			}
			tx.Put(queueKey, b)
		}
		b, err := json.Marshal(h)
		if err != nil {
			return err
		}
		tx.Put(historyKey, b)
		return nil
	})
	if err != nil {
		return fmt.Errorf("queue notice of %s: %w", n.Mailbox, err)
	}
	q.count(outcome)
	return nil
}

func (q *Queue) addToAll(ctx context.Context, n Notice) error {
	for m, err := range q.options.Policy.Mailboxes(ctx) {
		if err != nil {
			return fmt.Errorf("queue notice of all mailboxes: %w", err)
		}
		if !wants(m.Settings, n.Event) {
			continue
		}
		n.Mailbox = m.Address.String()
		if err := q.Add(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// wanted says whether a notice is wanted now.
func (q *Queue) wanted(ctx context.Context, n *Notice) (bool, error) {
	if n.Cause != "" {
		return q.options.Operator != "", nil
	}
	s, err := q.settings(ctx, n.Mailbox)
	return err == nil && wants(s, n.Event), err
}

// wants says whether the owner wants to be told of such events.
func wants(s policy.Settings, e policy.Events) bool {
	return s.Enabled && s.Notify != policy.Address{} && s.NotifyOn&e != 0
}

func (q *Queue) settings(ctx context.Context, mailbox string) (policy.Settings, error) {
	a, err := policy.ParseAddress(mailbox)
	if err != nil {
		return policy.Settings{}, fmt.Errorf("notice: %w", err)
	}
	s, err := q.options.Policy.Settings(ctx, a)
	if err != nil {
		return policy.Settings{}, fmt.Errorf("notice of %s: %w", mailbox, err)
	}
	return s, nil
}

// admit enters a notice in the history. The outcome is "queued", "capped" or "repeated"; more is the number of earlier capped notices that a
// queued one must mention.
func (h *history) admit(n *Notice, maxPerDay int) (more int, outcome string) {
	const reordered = time.Hour // events may come a little out of order; if one is further back, the clock was set back
	if age := n.Time.Sub(h.Since); age >= Window || age < -reordered {
		h.Since, h.Count = n.Time, 0
	}
	for id, at := range h.Told {
		if age := n.Time.Sub(at); age >= Window || age < -reordered {
			delete(h.Told, id)
		}
	}
	id := n.kind() + " " + n.ID
	if _, told := h.Told[id]; told && n.ID != "" {
		return 0, "repeated"
	}
	if h.Count >= maxPerDay {
		h.More++
		return 0, "capped"
	}
	if n.ID != "" {
		if h.Told == nil {
			h.Told = make(map[string]time.Time)
		}
		h.Told[id] = n.Time
	}
	h.Count++
	// The count of what was capped in this window waits for the next one.
	if h.Count == 1 {
		more, h.More = h.More, 0
	}
	return more, "queued"
}

// The locks: this one for all waiting notices, and historyLock for the history of each mailbox.
const waitingLock = "notices"

func historyLock(mailbox string) string { return waitingLock + " " + mailbox }

func historyKey(mailbox string) []byte { return []byte("wm" + mailbox) }

func newKey(t time.Time) []byte {
	key := binary.BigEndian.AppendUint64([]byte("wq"), uint64(t.UnixNano()))
	var random [8]byte
	rand.Read(random[:])
	return append(key, random[:]...)
}
