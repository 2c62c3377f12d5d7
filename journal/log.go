package journal

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"copialettere/journal/evidence"
	"copialettere/journal/kv"
)

// Each mailbox has a log in each month: a Merkle tree of which every act on an entry makes a leaf, in the same update. The q key, which every delivery
// reads and writes anyway, holds the right edge of the tree, which is all that the next leaf needs; the k keys hold the leaves. Whoever alters, removes or inserts an entry behind the journal's back
// leaves it at odds with the log, and whoever alters the log leaves that at odds with the checkpoints: see checkpoint.go.

// Why an entry was removed for good, as its leaf says.
const (
	RemovedWithdrawn = "withdrawn" // the next hop refused the message
	RemovedExpired   = "retention"
	RemovedRoom      = "made-room"
	RemovedDeleted   = "deleted" // by hand, and its grace is over; or it was superseded, and the retention took it
	RemovedErased    = "erased"
	RemovedLost      = "lost" // by a damaged disk, as was found when the month was mended: see lost.go
)

// logHead is the head of a log, behind the total in the value of a q key: the id of the log, and its tree.
type logHead struct {
	id   evidence.LogID
	tree evidence.Tree
}

func leafKey(mailbox string, n int64) []byte {
	return binary.BigEndian.AppendUint64(mailboxKey('k', mailbox, 8), uint64(n))
}

func (h *logHead) encode() []byte {
	b, _ := h.tree.AppendBinary(append(make([]byte, 0, 256), h.id[:]...)) // no error is possible
	return b
}

func decodeLogHead(b []byte) (*logHead, error) {
	h := new(logHead)
	if len(b) < len(h.id) {
		return nil, fmt.Errorf("head of a log: %w", errEncoding)
	}
	copy(h.id[:], b)
	if err := h.tree.UnmarshalBinary(b[len(h.id):]); err != nil || h.tree.Size == 0 {
		return nil, fmt.Errorf("head of a log: %w", errors.Join(err, errEncoding))
	}
	return h, nil
}

// head returns what a checkpoint says of a log.
func (h *logHead) head(m kv.Month) evidence.Head {
	return evidence.Head{Log: h.id, Month: string(m), Size: h.tree.Size, Root: h.tree.Root()}
}

// getLog reads the head of the log of a mailbox; nil where it has none.
func getLog(tx kv.View, mailbox string) (*logHead, error) {
	v, err := tx.Get(totalKey(mailbox))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return logOf(v)
}

// logOf reads the head of a log from the value of a q key; nil where it has none.
func logOf(v []byte) (*logHead, error) {
	if len(v) < totalSize {
		return nil, fmt.Errorf("total of a mailbox: %w", errEncoding)
	}
	if len(v) == totalSize {
		return nil, nil
	}
	return decodeLogHead(v[totalSize:])
}

// leave adds a leaf to the log of a mailbox, and begins the log where there is none. The caller holds the lock of the mailbox.
func (c *change) leave(mailbox string, l *evidence.Leaf) error {
	a, err := c.account(mailbox)
	if errors.Is(err, errEncoding) {
		return nil // mail must not wait for it, and Verify reports it
	}
	if err != nil {
		return fmt.Errorf("log of %s: %w", mailbox, err)
	}
	h := new(logHead)
	if len(a.log) == 0 {
		rand.Read(h.id[:])
		c.addLeaf(mailbox, h, &evidence.Leaf{Kind: evidence.Opened, Time: l.Time, Log: h.id, Mailbox: mailbox, Month: string(c.month)})
	} else if h, err = decodeLogHead(a.log); err != nil {
		return nil // as above
	}
	c.addLeaf(mailbox, h, l)
	a.log = h.encode()
	c.putAccount(mailbox, a)
	return nil
}

func (c *change) addLeaf(mailbox string, h *logHead, l *evidence.Leaf) {
	b := l.Append(nil)
	c.Put(leafKey(mailbox, h.tree.Size), b)
	h.tree.Append(evidence.TextHash(string(b)))
}

// note adds a leaf about an entry at a place; value is the entry as it is stored.
func (c *change) note(kind evidence.Kind, e *Entry, at Ref, value []byte) error {
	return c.leave(at.Mailbox, &evidence.Leaf{
		Kind: kind, Time: c.j.now().UTC(), Place: placeOf(at), Message: evidence.Hash(e.SHA256), Entry: sha256.Sum256(value),
	})
}

// noteMoved adds a leaf about an entry that has another place now.
func (c *change) noteMoved(kind evidence.Kind, e *Entry, from, to Ref, value []byte) error {
	return c.leave(to.Mailbox, &evidence.Leaf{
		Kind: kind, Time: c.j.now().UTC(), Place: placeOf(to), From: placeOf(from), Message: evidence.Hash(e.SHA256), Entry: sha256.Sum256(value),
	})
}

// noteRemoved adds a leaf about an entry that is gone for good.
func (c *change) noteRemoved(e *Entry, at Ref, reason string) error {
	return c.leave(at.Mailbox, &evidence.Leaf{
		Kind: evidence.Removed, Time: c.j.now().UTC(), Place: placeOf(at), Message: evidence.Hash(e.SHA256), Reason: reason,
	})
}

func placeOf(r Ref) evidence.Place { return evidence.Place{Folder: r.Folder, UID: r.UID} }

// leaves yields the stored leaves of the log of a mailbox from number first on. Instead of one that lacks it yields an error that is ErrDamaged, and ends.
func leaves(ctx context.Context, s kv.Store, mailbox string, first int64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		n := first
		for p, err := range s.Scan(ctx, leafKey(mailbox, first), after(mailboxKey('k', mailbox, 0))) {
			if err != nil {
				yield(nil, err)
				return
			}
			if string(p.Key) != string(leafKey(mailbox, n)) {
				yield(nil, fmt.Errorf("log of %s: leaf %d is not there: %w", mailbox, n, ErrDamaged))
				return
			}
			if !yield(p.Value, nil) {
				return
			}
			n++
		}
	}
}
