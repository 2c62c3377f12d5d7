package notice

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"copialettere/journal/kv"
	"copialettere/policy"
)

// bookkeeping is how long the store may take to note what became of a notice, even while the program is being stopped.
const bookkeeping = 10 * time.Second

// Send hands one notice to the relay: the envelope addresses without angle brackets, and the message (RFC 5322) with CRLF line ends.
// Its error wraps ErrRefused, ErrUnknown or ErrUnreachable where one of them applies.
type Send func(ctx context.Context, from, to string, message []byte) error

// Deliver sends the notices that are due, oldest first. A later call retries what cannot be sent now; once a notice is GiveUp old, Deliver
// logs that and gives it up. Before each try it durably notes that one is under way. If the program ends in the middle of a try, the notice
// is sent at most once more, under the same Message-ID. If several processes deliver, the one that notes its try first sends. The error comes
// from the store or from ctx.
func (q *Queue) Deliver(ctx context.Context, now time.Time, send Send) error {
	for p, err := range q.store.Scan(ctx, []byte("wq"), []byte("wr")) {
		if err != nil {
			return fmt.Errorf("deliver notices: %w", err)
		}
		var w waiting
		if err := json.Unmarshal(p.Value, &w); err != nil {
			q.log.Error("notice dropped: it cannot be read", "error", err)
			if err := q.remove(ctx, p.Key, new(waiting), "unreadable"); err != nil {
				return err
			}
			continue
		}
		if now.Before(w.Next) {
			continue
		}
		err := q.try(ctx, now, p, &w, send)
		switch {
		case errors.Is(err, ErrUnreachable):
			return nil
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		}
	}
	return nil
}

// sender returns the address from which a notice comes: that of the domain of the mailbox, if it has one of its own.
func (q *Queue) sender(ctx context.Context, w *waiting) (string, error) {
	if w.Mailbox == "" {
		return q.options.From, nil
	}
	m, err := q.options.Policy.MailboxOf(ctx, w.Mailbox)
	if err != nil {
		return "", err
	}
	if from, err := policy.ParseAddress(q.options.Policy.NoticesFrom(m.Address.Domain)); err == nil && from.Domain != "" {
		return from.ASCII(), nil
	}
	return q.options.From, nil
}

// try sends one notice. The error is ErrUnreachable, or comes from the store or from ctx.
func (q *Queue) try(ctx context.Context, now time.Time, queued kv.Pair, w *waiting, send Send) error {
	if w.Digest && !w.Closed {
		if mine, err := q.closeDigest(ctx, &queued, w); err != nil || !mine {
			return err
		}
	}
	key := queued.Key
	log := q.log.With("mailbox", w.Mailbox, "event", w.kind())
	to, language, why, err := q.destination(ctx, w, now)
	if err == nil && why == "" {
		err = q.complete(ctx, key, w, log)
	}
	if err != nil {
		return err
	}
	if why == "" && w.Digest && len(w.list) == 0 && w.More == 0 {
		why = "nothing that it lists is wanted"
	}
	if why != "" {
		log.Warn("notice dropped: " + why)
		return q.remove(ctx, key, w, "dropped")
	}
	if w.Sending {
		w.Unknown++
	}
	if w.Unknown >= maxUnknown {
		log.Warn("notice given up: its outcome is unknown", "tries", w.Tries)
		return q.remove(ctx, key, w, "unknown")
	}
	w.Sending, w.Next = true, now.Add(backOff(w.Tries))
	w.Tries++
	switch mine, err := q.claim(ctx, queued, w); {
	case err != nil:
		return err
	case !mine:
		return nil
	}
	from, err := q.sender(ctx, w)
	if err != nil {
		return err
	}
	message := q.compose(q.shown(ctx, w), messageID(key, from), from, to, language)
	sendErr := send(ctx, from, to, message)
	switch {
	case sendErr == nil:
		log.Info("notice sent", "to", to, "tries", w.Tries)
		return q.remove(ctx, key, w, "sent")
	case errors.Is(sendErr, ErrRefused):
		log.Error("notice given up: refused", "to", to, "error", sendErr)
		return q.remove(ctx, key, w, "refused")
	case now.Sub(w.Time) >= GiveUp:
		log.Error("notice given up: too old", "to", to, "tries", w.Tries, "error", sendErr)
		err = q.remove(ctx, key, w, "expired")
	default:
		log.Warn("notice not sent, will be tried again", "to", to, "next", w.Next, "error", sendErr)
		if w.Sending = errors.Is(sendErr, ErrUnknown); !w.Sending {
			err = q.put(ctx, key, w)
		}
	}
	if err == nil && errors.Is(sendErr, ErrUnreachable) {
		return ErrUnreachable
	}
	return err
}

// complete fills in what a notice is to say as of now.
func (q *Queue) complete(ctx context.Context, key []byte, w *waiting, log *slog.Logger) (err error) {
	switch {
	case w.Digest:
		w.list, err = q.listed(ctx, key, w)
	case w.Kind == kindCode:
		w.code = newCode()
	case w.Event == policy.NotifyBeforeLoss && !w.Counted && q.options.Expiring != nil:
		// A number that is missing must not keep the notice back.
		sum, oldest, err := q.options.Expiring(ctx, w.Mailbox, w.Months, w.Due)
		if err != nil {
			log.Warn("a notice does not say how many messages are going to be lost", "error", err)
			return nil
		}
		w.Entries, w.Bytes, w.Oldest, w.Counted = sum.Entries, sum.Bytes, oldest.In(w.Time.Location()), true
	}
	return err
}

// shown returns a notice with the address of the mailbox in place of the name of its archive.
func (q *Queue) shown(ctx context.Context, w *waiting) *waiting {
	m, err := q.options.Policy.MailboxOf(ctx, w.Mailbox)
	if err != nil {
		return w // such as a notice to the operator, which is about no mailbox
	}
	shown := *w
	shown.Mailbox = m.Address.String()
	return &shown
}

// destination returns where a notice goes now and in which language, or why it is no longer wanted.
func (q *Queue) destination(ctx context.Context, n *waiting, now time.Time) (to string, l policy.Language, why string, err error) {
	if n.Cause != "" {
		if q.options.Operator == "" {
			why = "the configuration names no operator"
		}
		return q.options.Operator, policy.English, why, nil
	}
	s, err := q.settings(ctx, n.Mailbox)
	if err == nil {
		why = n.still(&s, now)
	}
	switch {
	case err != nil, why != "":
		return "", "", why, err
	case n.To != "":
		a, err := policy.ParseAddress(n.To)
		if err != nil {
			return "", "", "", fmt.Errorf("notice of %s: %w", n.Mailbox, err)
		}
		s.Notify = a
	case s.State() == policy.StateOff && n.Kind != LossDisable:
		return "", "", "the archive is off", nil
	case s.Notify == policy.Address{}:
		return "", "", "the mailbox no longer has an address for notices", nil
	case !n.Digest && !n.always() && s.NotifyOn&n.Event == 0:
		return "", "", "the mailbox no longer wants such notices", nil
	}
	to = s.Notify.ASCII() // see New
	v, err := q.options.Policy.Wanted(ctx, to)
	switch {
	case err != nil:
		return "", "", "", fmt.Errorf("notice of %s: %w", n.Mailbox, err)
	case v.Enabled:
		return "", "", "its address " + to + " has an archive itself", nil
	}
	return to, s.Language, "", nil
}

func backOff(tries int) time.Duration {
	wait := FirstRetry
	for range tries {
		if wait = min(2*wait, LastRetry); wait == LastRetry {
			break
		}
	}
	return wait
}

// claim notes a try that is about to begin, unless the stored notice has changed since it was read: another process may have claimed it, or
// Forget may have deleted it.
func (q *Queue) claim(ctx context.Context, queued kv.Pair, w *waiting) (mine bool, err error) {
	b, err := json.Marshal(w)
	if err != nil {
		return false, fmt.Errorf("note try of a notice: %w", err)
	}
	err = q.update(ctx, []string{waitingLock, historyLock(w.Mailbox)}, func(tx kv.Tx) error {
		now, err := tx.Get(queued.Key)
		if err != nil && !errors.Is(err, kv.ErrNotFound) {
			return err
		}
		if mine = err == nil && bytes.Equal(now, queued.Value); !mine {
			return nil
		}
		tx.Put(queued.Key, b)
		if w.code != "" {
			return q.noteCode(tx, w)
		}
		return nil
	})
	return mine, err
}

func (q *Queue) put(ctx context.Context, key []byte, w *waiting) error {
	b, err := json.Marshal(w)
	if err != nil {
		return fmt.Errorf("note try of a notice: %w", err)
	}
	return q.update(ctx, []string{waitingLock}, func(tx kv.Tx) error {
		// Forget may have deleted it meanwhile.
		switch _, err := tx.Get(key); {
		case errors.Is(err, kv.ErrNotFound):
			return nil
		case err != nil:
			return err
		}
		tx.Put(key, b)
		return nil
	})
}

func (q *Queue) remove(ctx context.Context, key []byte, w *waiting, outcome string) error {
	err := q.update(ctx, []string{waitingLock}, func(tx kv.Tx) error {
		tx.Delete(key)
		for i := range w.Listed {
			tx.Delete(listedKey(w.Mailbox, key, i))
		}
		return nil
	})
	if err == nil {
		q.count(outcome)
	}
	return err
}

func (q *Queue) update(ctx context.Context, locks []string, fn func(kv.Tx) error) error {
	// Stopping the program must not make a sent notice look unsent.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), bookkeeping)
	defer cancel()
	if err := q.store.Update(ctx, locks, fn); err != nil {
		return fmt.Errorf("note what became of a notice: %w", err)
	}
	return nil
}

// Forget deletes everything that a settings store holds of the notices of a mailbox: the waiting ones and the history. Call it when the archive
// was erased. A notice that is being sent meanwhile is not put back. After an error, call it again.
func Forget(ctx context.Context, settings kv.Store, mailbox string) error {
	keys := [][]byte{historyKey(mailbox), codeKey(mailbox)}
	prefix := listedPrefix(mailbox)
	for p, err := range settings.Scan(ctx, prefix, append(prefix[:len(prefix)-1:len(prefix)-1], 1)) {
		if err != nil {
			return fmt.Errorf("forget notices of %s: %w", mailbox, err)
		}
		keys = append(keys, p.Key)
	}
	for p, err := range settings.Scan(ctx, []byte("wq"), []byte("wr")) {
		if err != nil {
			return fmt.Errorf("forget notices of %s: %w", mailbox, err)
		}
		var w waiting
		// Deliver drops an unreadable one when it is due.
		if json.Unmarshal(p.Value, &w) == nil && w.Mailbox == mailbox {
			keys = append(keys, p.Key)
		}
	}
	err := settings.Update(ctx, []string{waitingLock, historyLock(mailbox)}, func(tx kv.Tx) error {
		for _, key := range keys {
			tx.Delete(key)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("forget notices of %s: %w", mailbox, err)
	}
	return nil
}
