package evidence

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// Proof shows that an entry of a mailbox was in the archive when a checkpoint was made. It stands alone: Check needs the message, the entry, and the
// verifier key.
type Proof struct {
	Opened     Step   `json:"opened"`     // the leaf that says whose log it is
	Leaf       Step   `json:"leaf"`       // the leaf of the entry
	Head       Step   `json:"head"`       // the head of the log, in the checkpoint
	Checkpoint Step   `json:"checkpoint"` // in the note
	Note       string `json:"note"`       // signed
	Entry      []byte `json:"entry"`      // as it is stored: its SHA-256 is in the leaf
}

// Step shows that something is in a tree.
type Step struct {
	Data  []byte `json:"data"`  // what is there: a stored leaf, or a text
	Index int64  `json:"index"` // its number in the tree, from 0
	Path  []Hash `json:"path"`  // the audit path to the root (RFC 6962 section 2.1.1)
}

// within says whether a step leads to the root of a tree.
func (s *Step) within(size int64, root Hash) error {
	return tlog.CheckRecord(s.Path, size, root, s.Index, tlog.RecordHash(s.Data))
}

// Proved is what a proof shows.
type Proved struct {
	Log     LogID
	Mailbox string
	Month   string
	Leaf    Leaf
	Note    Note
	Since   time.Time // when the checkpoint was made, by the clock of the archive
	Number  int64     // of the checkpoint
}

// ErrProof says that a proof does not hold.
var ErrProof = errors.New("the proof does not hold")

// Check checks a proof against the SHA-256 of a message and the verifier keys that count.
func (p *Proof) Check(message Hash, keys []string) (Proved, error) {
	var v Proved
	fail := func(format string, args ...any) (Proved, error) {
		return v, fmt.Errorf("%w: %w", ErrProof, fmt.Errorf(format, args...))
	}
	var err error
	if v.Note, err = Open([]byte(p.Note), keys); err != nil {
		return fail("the signature of the note: %w", err)
	}
	if err := p.Checkpoint.within(v.Note.Size, v.Note.Root); err != nil {
		return fail("the checkpoint is not in the note: %w", err)
	}
	c, err := ParseCheckpoint(string(p.Checkpoint.Data))
	if err != nil {
		return fail("the checkpoint: %w", err)
	}
	v.Number, v.Since = c.Number, c.Time
	if c.Number != p.Checkpoint.Index {
		return fail("checkpoint %d is number %d in the note", c.Number, p.Checkpoint.Index)
	}
	if err := p.Head.within(c.Heads, c.Root); err != nil {
		return fail("the head of the log is not in the checkpoint: %w", err)
	}
	head, err := ParseHead(string(p.Head.Data))
	if err != nil {
		return fail("the head of the log: %w", err)
	}
	for _, s := range []*Step{&p.Opened, &p.Leaf} {
		if err := s.within(head.Size, head.Root); err != nil {
			return fail("leaf %d is not in the log: %w", s.Index, err)
		}
	}
	opened, err := ParseLeaf(p.Opened.Data)
	if err != nil || opened.Kind != Opened || p.Opened.Index != 0 || opened.Log != head.Log || opened.Month != head.Month {
		return fail("the first leaf is not that of log %s: %w", head.Log, errors.Join(err, ErrLeaf))
	}
	v.Log, v.Mailbox, v.Month = opened.Log, opened.Mailbox, opened.Month
	if v.Leaf, err = ParseLeaf(p.Leaf.Data); err != nil {
		return fail("the leaf: %w", err)
	}
	if !v.Leaf.Kind.present() {
		return fail("leaf %d says that the message is %q, not that it was there", p.Leaf.Index, v.Leaf.Kind)
	}
	if v.Leaf.Message != message {
		return fail("the log has another message: SHA-256 %x", v.Leaf.Message[:])
	}
	if sha256.Sum256(p.Entry) != v.Leaf.Entry {
		return fail("the entry is not the one of the log")
	}
	return v, nil
}
