package notice

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"copialettere/journal/kv"
	"copialettere/policy"
)

// maxListed is how many notices a digest lists. What goes beyond it is only counted.
const maxListed = 200

// keepBack lists a notice over the daily limit in the digest that is due at the end of the window, and queues that digest if there is none yet. It
// belongs into the Update of Add, under the lock of the history.
func (h *history) keepBack(tx kv.Tx, n *Notice) error {
	if h.Digest == nil {
		h.Digest, h.Listed = newKey(n.Time), 0
		if err := h.schedule(tx, n, h.Since.Add(Window)); err != nil {
			return err
		}
	}
	if h.Listed == maxListed {
		h.More++
		return nil
	}
	b, err := json.Marshal(n)
	if err == nil {
		tx.Put(listedKey(n.Mailbox, h.Digest, h.Listed), b)
		h.Listed++
	}
	return err
}

// schedule writes the digest that is not closed yet, due at that time. Its owner is that of the notice.
func (h *history) schedule(tx kv.Tx, n *Notice, due time.Time) error {
	return enqueue(tx, h.Digest, &waiting{Notice: Notice{Mailbox: n.Mailbox, Cause: n.Cause, Time: due}, Digest: true, Next: due})
}

// closeDigest takes what a digest lists out of the history of its mailbox: the list is complete, and what is kept back from now on goes into the next
// digest. It reports false if the digest has changed since it was read: another process has closed it, or Forget has deleted it.
func (q *Queue) closeDigest(ctx context.Context, queued *kv.Pair, w *waiting) (mine bool, err error) {
	var value []byte
	var closed waiting
	err = q.update(ctx, []string{waitingLock, historyLock(w.Mailbox)}, func(tx kv.Tx) error {
		mine = false
		now, err := tx.Get(queued.Key)
		if errors.Is(err, kv.ErrNotFound) || err == nil && !bytes.Equal(now, queued.Value) {
			return nil
		}
		if err != nil {
			return err
		}
		h, err := readHistory(tx, w.Mailbox)
		if err != nil {
			return err
		}
		closed = *w
		closed.Closed = true
		if bytes.Equal(h.Digest, queued.Key) {
			closed.Listed, closed.More = h.Listed, h.More
			h.Digest, h.Listed, h.More = nil, 0, 0
			if err := h.write(tx, w.Mailbox); err != nil {
				return err
			}
		}
		if value, err = json.Marshal(closed); err != nil {
			return err
		}
		tx.Put(queued.Key, value)
		mine = true
		return nil
	})
	if err == nil && mine {
		*w, queued.Value = closed, value
	}
	return mine, err
}

// listed returns the notices of a closed digest that are still wanted, oldest first.
func (q *Queue) listed(ctx context.Context, key []byte, w *waiting) (list []Notice, err error) {
	for i := range w.Listed {
		b, err := q.store.Get(ctx, listedKey(w.Mailbox, key, i))
		if errors.Is(err, kv.ErrNotFound) {
			continue // Forget has deleted it
		}
		var n Notice
		if err == nil {
			err = json.Unmarshal(b, &n)
		}
		if err != nil {
			return nil, fmt.Errorf("notice %d of a digest: %w", i, err)
		}
		if wanted, err := q.wanted(ctx, &n); err != nil {
			return nil, err
		} else if wanted {
			list = append(list, n)
		}
	}
	return list, nil
}

// listText writes what a digest lists, one notice a line.
func (q *Queue) listText(w *waiting, l policy.Language) string {
	var list strings.Builder
	for i := range w.list {
		n := &w.list[i]
		subject, _ := q.render(&waiting{Notice: *n}, l)
		fmt.Fprintf(&list, "- %s  %s", n.Time.Format(timeForm(l)), subject)
		switch {
		case n.Cause != "":
			first, _, _ := strings.Cut(n.Text, "\n")
			list.WriteString(": " + first)
		case n.Sender != "":
			list.WriteString(" (" + clean(n.Sender) + ")")
		}
		list.WriteByte('\n')
	}
	return list.String()
}

// listedKey is the key of one notice that a digest lists.
func listedKey(mailbox string, digest []byte, i int) []byte {
	key := append(listedPrefix(mailbox), digest[len("wq"):]...)
	return binary.BigEndian.AppendUint16(key, uint16(i))
}

// listedPrefix begins the keys of all notices of a mailbox that digests list.
func listedPrefix(mailbox string) []byte { return []byte("wd" + mailbox + "\x00") }
