// Package notice tells owners by mail what happens to their archive: a certified message came in, the archive fills up, a gap went on
// record, the retention deleted messages. A notice names the sender, subject and time of a message, and never contains any of its content.
// It also tells the operator of faults. A new address for notices gets a code: whoever has the code has read mail to that address.
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
//	w m <archive>         the recent notices of a mailbox, by the name of its archive, a JSON object; without a name, those of the operator
//	w c <archive>         the codes sent to the pending address of a mailbox, a JSON object: "to", "until", "codes" (SHA-256 of each) and "wrong".
//	                      ForgetCodes removes it after that time
//	w d <archive> 0x00 <digest> <n>
//	                      a notice that the daily limit kept back, a JSON object with the fields of Notice; the time and the random bytes of the
//	                      digest that lists it; its number, 2 bytes from 0
//
// The spaces are for readability. The object of a waiting notice has the fields of Notice and "digest", "closed", "listed", "more", "tries",
// "next", "sending", "unknown", "counted" and "oldest"; that of a mailbox has "since", "count", "told", "digest", "listed" and "more". Fields unknown to this version
// are dropped when the object is rewritten.
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
	// Mailbox is the name of its archive (policy.Mailbox.Archive); empty without a Cause, in Add only, means all mailboxes.
	Mailbox string        `json:"mailbox"`
	Event   policy.Events `json:"event"` // exactly one; none with a Cause, and for a code
	Time    time.Time     `json:"time"`  // when it happened, or became known; shown in its own time zone
	// ID names the event among those of its kind: within Window, the same ID is told only once. Empty means that the event is like no other.
	ID string `json:"id,omitempty"`

	Sender  string `json:"sender,omitempty"`  // NotifyCertified: as written in the message; PullFailing, PullAgain: the account
	Subject string `json:"subject,omitempty"` // NotifyCertified: as written in the message
	Percent int    `json:"percent,omitempty"` // NotifyFull, NotifyMailboxFull: the share of the quota that was passed
	// Reason, for NotifyGap, is that of the journal's record, or a PullCause; for NotifyCertified, why the message is not in the archive, empty if it is; for
	// NotifySecurity, the detail of OfSecurity.
	Reason string `json:"reason,omitempty"`
	// Arrived, for NotifyGap, is when the missing message came. It is zero if that is Time, or if the gap is not about one message; of a restore it is when
	// the backup was taken. For PullFailing and
	// PullAgain it is since when runs did not go through.
	Arrived time.Time `json:"arrived,omitzero"`

	Entries uint64 `json:"entries,omitempty"` // NotifyRetention: how many messages were deleted; NotifyBeforeLoss: see waiting
	Bytes   uint64 `json:"bytes,omitempty"`   // their size

	Kind   Kind      `json:"kind,omitempty"`   // NotifyBeforeLoss, NotifySecurity; NotifyGap about an import
	Due    time.Time `json:"due,omitzero"`     // NotifyBeforeLoss: when messages are lost at the earliest; of a code: when it ends
	Months int       `json:"months,omitempty"` // NotifyBeforeLoss: the retention
	To     string    `json:"to,omitempty"`     // where it goes, whatever the settings say; empty for the address in the settings

	Cause Cause  `json:"cause,omitempty"` // the notice is for the operator, and Mailbox is empty
	Text  string `json:"text,omitempty"`  // with a Cause: what happened, in English
}

// waiting is a notice in the queue.
type waiting struct {
	Notice
	Digest  bool      `json:"digest,omitempty"` // tells of the notices that the daily limit kept back; of a Notice it has Mailbox, Cause and Time
	Closed  bool      `json:"closed,omitempty"` // of a digest: Listed and More are final
	Listed  int       `json:"listed,omitempty"` // of a digest: how many notices it lists
	More    int       `json:"more,omitempty"`   // notices that the daily limit kept back and no digest lists
	Tries   int       `json:"tries,omitempty"`
	Next    time.Time `json:"next,omitzero"`     // when it is due
	Sending bool      `json:"sending,omitempty"` // a try is under way, or was when the program ended
	Unknown int       `json:"unknown,omitempty"` // tries of unknown outcome
	// Counted says that Entries and Bytes of a NotifyBeforeLoss are filled in: what would be lost when it was first tried.
	Counted bool      `json:"counted,omitempty"`
	Oldest  time.Time `json:"oldest,omitzero"` // when the first of these messages arrived

	list []Notice // of a digest that is being sent: what it lists
	code string   // of a code that is being sent
}

// history is the record of a mailbox's recent notices.
type history struct {
	Since time.Time            `json:"since"`          // start of the window
	Count int                  `json:"count"`          // notices in the window
	Told  map[string]time.Time `json:"told,omitempty"` // when each event was told, by kind and ID

	// Of the digest that is not closed yet: its key in the queue, how many notices it lists, and how many more it only counts.
	Digest []byte `json:"digest,omitempty"`
	Listed int    `json:"listed,omitempty"`
	More   int    `json:"more,omitempty"`
}

// readHistory returns the history of a mailbox; of the operator, if the name is empty. It is empty where there is none.
func readHistory(tx kv.Tx, mailbox string) (*history, error) {
	h := new(history)
	switch b, err := tx.Get(historyKey(mailbox)); {
	case errors.Is(err, kv.ErrNotFound):
	case err != nil:
		return nil, err
	default:
		if err := json.Unmarshal(b, h); err != nil {
			return nil, fmt.Errorf("decode: %w", err)
		}
	}
	return h, nil
}

func (h *history) write(tx kv.Tx, mailbox string) error {
	b, err := json.Marshal(h)
	if err == nil {
		tx.Put(historyKey(mailbox), b)
	}
	return err
}

// Options are what a Queue needs. Policy, From and MaxPerDay are required.
type Options struct {
	Policy    *policy.Policy
	From      string // sender address of the notices, where policy.Domain names no other
	MaxPerDay int    // most notices of one mailbox within Window
	Operator  string // address of the operator; empty if the operator is told nothing
	Host      string // name of this machine, for the operator
	// Expiring counts the messages of a mailbox that a retention of so many months deletes at that time, all with 0 months, as
	// journal.Journal.Expiring does. It may be nil: then the notices of a coming loss have no number.
	Expiring func(ctx context.Context, mailbox string, months int, at time.Time) (journal.Removed, time.Time, error)
	Logger   *slog.Logger      // may be nil
	Metrics  *metrics.Registry // may be nil
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
	if r.Until.IsZero() || r.Reason == journal.ReasonRestored {
		n.Arrived = r.Time.In(now.Location())
	}
	return n, true
}

// Add queues a notice, durably, if the owner wants to be told of such events and was not yet told of this one. What goes over the daily limit is
// kept for one more notice, the digest, which is sent when the Window ends. After an error for all mailboxes some may have the notice; add it
// again.
func (q *Queue) Add(ctx context.Context, n Notice) error {
	if n.Mailbox == "" && n.Cause == "" {
		return q.addToAll(ctx, n)
	}
	wanted, err := q.wanted(ctx, &n)
	if err != nil || !wanted {
		return err
	}
	n.Sender, n.Subject, n.Text = clean(n.Sender), clean(n.Subject), cleanLines(n.Text)
	key := newKey(n.Time)
	var outcome string
	err = q.store.Update(ctx, []string{historyLock(n.Mailbox)}, func(tx kv.Tx) error {
		outcome = ""
		h, err := readHistory(tx, n.Mailbox)
		if err != nil {
			return err
		}
		if h.repeats(&n) {
			outcome = "repeated"
			return nil
		}
		if err := h.turn(tx, &n); err != nil {
			return err
		}
		h.note(&n)
		if outcome = "queued"; h.Count < q.options.MaxPerDay {
			h.Count++
			err = enqueue(tx, key, &waiting{Notice: n})
		} else {
			outcome = "capped"
			err = h.keepBack(tx, &n)
		}
		if err != nil {
			return err
		}
		return h.write(tx, n.Mailbox)
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
		if !m.Settings.Tells(n.Event) {
			continue
		}
		n.Mailbox = m.Archive
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
	if n.always() {
		return err == nil && s.State() != policy.StateOff && s.Notify != policy.Address{}, err
	}
	return err == nil && s.Tells(n.Event), err
}

func (q *Queue) settings(ctx context.Context, mailbox string) (policy.Settings, error) {
	m, err := q.options.Policy.MailboxOf(ctx, mailbox)
	if err != nil {
		return policy.Settings{}, fmt.Errorf("notice of %s: %w", mailbox, err)
	}
	return m.Settings, nil
}

func enqueue(tx kv.Tx, key []byte, w *waiting) error {
	b, err := json.Marshal(w)
	if err == nil {
		tx.Put(key, b)
	}
	return err
}

// turn begins a new window if the notice lies outside of the last one. A digest that waits is then due, also if the clock was set back.
func (h *history) turn(tx kv.Tx, n *Notice) error {
	due := outOfWindow(n.Time, h.Since)
	if due {
		h.Since, h.Count = n.Time, 0
	}
	if h.More > 0 && h.Digest == nil { // counted by an earlier version of the program
		h.Digest, due = newKey(n.Time), true
	}
	if h.Digest == nil || !due {
		return nil
	}
	return h.schedule(tx, n, n.Time)
}

// outOfWindow reports whether a time lies outside of the window that began at since. Events may come a little out of order; if one is further
// back, the clock was set back.
func outOfWindow(t, since time.Time) bool {
	age := t.Sub(since)
	return age >= Window || age < -time.Hour
}

// repeats reports whether the event of a notice was told already.
func (h *history) repeats(n *Notice) bool {
	at, told := h.Told[n.id()]
	return n.ID != "" && told && !outOfWindow(n.Time, at)
}

// note enters the event of a notice, and forgets those of long ago.
func (h *history) note(n *Notice) {
	for id, at := range h.Told {
		if outOfWindow(n.Time, at) {
			delete(h.Told, id)
		}
	}
	if n.ID == "" {
		return
	}
	if h.Told == nil {
		h.Told = make(map[string]time.Time)
	}
	h.Told[n.id()] = n.Time
}

// id names the event of a notice among all of its mailbox.
func (n *Notice) id() string { return n.kind() + " " + n.ID }

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
