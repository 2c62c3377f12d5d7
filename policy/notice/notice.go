// Package notice tells the owners of mailboxes by mail what happens to their archive: a certified message came in, the archive fills up,
// a gap went on record, the retention deleted messages. A notice names the sender, subject and time of a message, and never has any of
// its content.
//
// Notices wait in a queue in the settings store, so that none is lost by a restart or by a relay that is down. Where a notice goes, in
// which language, and whether it is wanted is read from the settings of the mailbox when it is sent: the address can be changed at any
// time. An address that ends in an archive gets none, because the notice of a full archive must not fill it further.
//
// # Keys
//
// All lies in the settings store of the engine under the prefix w, which belongs to this package:
//
//	w q <time> <random>   a notice that waits: JSON; the time is that of Add, 8 bytes of nanoseconds since 1970, big-endian, and 8 random bytes
//	w m <mailbox>         what the mailbox had of notices lately: JSON
//
// The spaces are for the eye. The object of a waiting notice has the fields of Notice and "more", "tries", "next", "sending" and "unknown";
// that of a mailbox has "since", "count", "more" and "told". Fields that this version does not know are dropped when it is written again.
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

// Errors by which the function that Deliver sends with says what became of a notice. Any other error means that it was not taken now.
var (
	// ErrRefused says that the notice was refused for good: it is given up.
	ErrRefused = errors.New("notice refused for good")
	// ErrUnknown says that the notice may have been taken. It is sent once more, and after the second time given up.
	ErrUnknown = errors.New("notice may have been taken")
	// ErrUnreachable says that nothing can be sent now: Deliver stops, and the other notices do not count it as a try.
	ErrUnreachable = errors.New("relay not reached")
)

// When notices are tried again.
const (
	FirstRetry = 5 * time.Minute    // after the first try; each wait is twice the one before
	LastRetry  = 4 * time.Hour      // the longest wait
	GiveUp     = 3 * 24 * time.Hour // how old a notice gets before it is given up
)

// Window is the time for which the notices of a mailbox are counted, and in which an event is not told again.
const Window = 24 * time.Hour

const maxUnknown = 2 // tries of unknown outcome, after which a notice is given up

// Notice is one event that the owner of a mailbox may want to be told.
type Notice struct {
	Mailbox string        `json:"mailbox"` // canonical name; empty, for Add only, stands for all mailboxes
	Event   policy.Events `json:"event"`   // exactly one
	Time    time.Time     `json:"time"`    // when it happened, or became known; it is shown in its own zone
	// ID names the event among those of its kind. One that was told is not told again within Window. Empty means that no other is the same.
	ID string `json:"id,omitempty"`

	Sender  string `json:"sender,omitempty"`  // NotifyCertified: as it stands in the message
	Subject string `json:"subject,omitempty"` // NotifyCertified: as it stands in the message
	Percent int    `json:"percent,omitempty"` // NotifyFull: the share of the quota that was passed
	Reason  string `json:"reason,omitempty"`  // NotifyGap: the reason of the journal's record
	// Arrived is, of NotifyGap, when the message came that is missing; zero where that is Time, or where it is not about one message.
	Arrived time.Time `json:"arrived,omitzero"`

	Entries uint64 `json:"entries,omitempty"` // NotifyRetention: messages that were deleted
	Bytes   uint64 `json:"bytes,omitempty"`   // NotifyRetention: their size
}

// waiting is a notice in the queue.
type waiting struct {
	Notice
	More    int       `json:"more,omitempty"` // notices before it that were not sent for the cap
	Tries   int       `json:"tries,omitempty"`
	Next    time.Time `json:"next,omitzero"`     // when it is due
	Sending bool      `json:"sending,omitempty"` // a try is under way, or was when the program ended
	Unknown int       `json:"unknown,omitempty"` // tries of unknown outcome
}

// history is what a mailbox had of notices lately.
type history struct {
	Since time.Time            `json:"since"`          // start of the window
	Count int                  `json:"count"`          // notices in the window
	More  int                  `json:"more,omitempty"` // notices over the cap that were not told of yet
	Told  map[string]time.Time `json:"told,omitempty"` // events by kind and ID
}

// Options are what a Queue needs. Policy, From and MaxPerDay are required.
type Options struct {
	Policy    *policy.Policy
	From      string            // sender of the notices
	MaxPerDay int               // notices of one mailbox within Window
	Logger    *slog.Logger      // may be nil
	Metrics   *metrics.Registry // may be nil
}

// Queue keeps the notices that are not sent yet. Add may be called concurrently, also while Deliver runs. Deliver is called by one
// goroutine of each process.
type Queue struct {
	store   kv.Store
	options Options
	log     *slog.Logger
	metrics *metrics.Registry
}

// New returns the queue that lies in the settings store.
func New(settings kv.Store, o Options) *Queue {
	if from, err := policy.ParseAddress(o.From); err == nil {
		o.From = from.ASCII()
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

// OfGap returns the notice of a gap that has gone on record now. There is one in a Window for each mailbox and reason, however many gaps
// there are. ok is false where the gap is the effect of what was confirmed by hand, a deactivation or an erasure: the change log tells of
// that, and an archive that is off sends no notices.
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

// Add queues a notice, durably, if the owner wants to be told of such events and was not told of this one. Over the cap it is only
// counted: the first notice of the next Window tells how many there were. After an error for all mailboxes some may have it; it can be
// added again.
func (q *Queue) Add(ctx context.Context, n Notice) error {
	if n.Mailbox == "" {
		return q.addToAll(ctx, n)
	}
	s, err := q.settings(ctx, n.Mailbox)
	if err != nil || !wants(s, n.Event) {
		return err
	}
	n.Sender, n.Subject = clean(n.Sender), clean(n.Subject)
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

// admit takes a notice into the history. The outcome is "queued", "capped" or "repeated"; more is what a queued one has to tell of those
// that were capped before.
func (h *history) admit(n *Notice, maxPerDay int) (more int, outcome string) {
	const reordered = time.Hour // events may come a little out of order; further back the clock was set
	if age := n.Time.Sub(h.Since); age >= Window || age < -reordered {
		h.Since, h.Count = n.Time, 0
	}
	for id, at := range h.Told {
		if age := n.Time.Sub(at); age >= Window || age < -reordered {
			delete(h.Told, id)
		}
	}
	id := n.Event.String() + " " + n.ID
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
	// What was capped in this window waits for the next one.
	if h.Count == 1 {
		more, h.More = h.More, 0
	}
	return more, "queued"
}

// The locks: one for all that waits, and one for what is kept of each mailbox.
const waitingLock = "notices"

func historyLock(mailbox string) string { return waitingLock + " " + mailbox }

func historyKey(mailbox string) []byte { return []byte("wm" + mailbox) }

func newKey(t time.Time) []byte {
	key := binary.BigEndian.AppendUint64([]byte("wq"), uint64(t.UnixNano()))
	var random [8]byte
	rand.Read(random[:])
	return append(key, random[:]...)
}
