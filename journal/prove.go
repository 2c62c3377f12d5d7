package journal

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"copialettere/journal/evidence"
	"copialettere/journal/kv"
)

// Errors of Prove.
var (
	// ErrNoLog says that an entry is from before the archive kept logs, and is in none yet.
	ErrNoLog = errors.New("the message is in no log yet")
	// ErrNoCheckpoint says that no checkpoint has been made since an entry came into its log.
	ErrNoCheckpoint = errors.New("no checkpoint has the message yet")
)

// Proof shows that an entry was in the archive when a checkpoint was made.
type Proof struct {
	evidence.Proof                     // its note is that of the first checkpoint with a time stamp from Checkpoint on; without one, that of Checkpoint
	Checkpoint     evidence.Checkpoint // the first that has the entry as it is
	Stamp          []byte              // the answer of a time stamping authority about the note (RFC 3161), DER; nil for none
}

// ParseEntry reads an entry as a Proof has it. Its state is in no log: the entry has none. The error tells what is malformed.
func ParseEntry(r Ref, b []byte) (*Entry, error) { return decodeEntry(r, b) }

// Prove returns the proof that an entry was in the archive when the first checkpoint after it was made. A note holds all checkpoints up to its own: where
// that one has no time stamp, because the authority was away or not configured yet, the note of a later one shows it. It reads the whole log of the mailbox
// in that month: whoever has many entries to prove takes a Prover. The error wraps ErrNotFound, ErrNoLog or ErrNoCheckpoint.
func (j *Journal) Prove(ctx context.Context, r Ref) (*Proof, error) {
	return j.NewProver().Prove(ctx, r)
}

// Prover makes proofs of many entries. It reads each log once, and keeps some 150 bytes for each leaf of those that it was asked for: it is to be
// dropped when the entries at hand are proven. It must not be used concurrently.
type Prover struct {
	journal *Journal
	logs    map[logName]*readLog
	notes   map[evidence.LogID]map[int64]*noted
}

// logName says where a log is.
type logName struct {
	mailbox string
	month   kv.Month
}

// readLog is a log as far as it was read.
type readLog struct {
	id     evidence.LogID
	tree   evidence.Prover
	size   int64
	opened []byte                  // the first leaf
	at     map[evidence.Hash]int64 // the number of the last leaf that has an entry at a place, by leafName
	heads  []lastHead              // those of it in checkpoints, oldest first, as far as was asked
	seen   int64                   // how many checkpoints were looked at for them
}

// noted is what a proof has of a checkpoint.
type noted struct {
	checkpoint evidence.Checkpoint
	head, step evidence.Step // of the log in the checkpoint, and of the checkpoint in the note
	note       string
	stamp      []byte // of the note; nil for none
	known      int64  // how many checkpoints there were
}

// leafName names an entry at a place.
func leafName(p evidence.Place, entry evidence.Hash) evidence.Hash {
	return sha256.Sum256(fmt.Appendf(entry[:], "%d %s", p.UID, p.Folder))
}

// NewProver returns a Prover.
func (j *Journal) NewProver() *Prover {
	return &Prover{journal: j, logs: make(map[logName]*readLog), notes: make(map[evidence.LogID]map[int64]*noted)}
}

// Prove is as Journal.Prove.
func (p *Prover) Prove(ctx context.Context, r Ref) (*Proof, error) {
	j := p.journal
	s, err := j.folderStore(ctx, r.Mailbox, r.Month, r.Folder)
	if err != nil {
		return nil, err
	}
	settings, err := j.engine.Settings(ctx)
	if err != nil {
		return nil, err
	}
	proof, err := p.prove(&proving{ctx: ctx, settings: settings, month: monthStore{s, r.Month}}, r)
	switch {
	case err == nil:
		return proof, nil
	case !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrNoLog) && !errors.Is(err, ErrNoCheckpoint): // these are no fault of the month
		err = j.monthError(ctx, r.Month, err)
	}
	return nil, fmt.Errorf("prove %s %s %d: %w", r.Mailbox, r.FolderName(), r.UID, err)
}

// proving is from where one proof is made.
type proving struct {
	ctx      context.Context
	settings kv.Store
	month    monthStore
}

func (p *Prover) prove(from *proving, r Ref) (*Proof, error) {
	value, err := from.month.Get(from.ctx, entryKey(r))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	proof := &Proof{Proof: evidence.Proof{Entry: value}}
	l, err := p.log(from, r)
	if err != nil {
		return nil, err
	}
	n, ok := l.at[leafName(placeOf(r), sha256.Sum256(value))]
	if !ok {
		return nil, ErrNoLog
	}
	proof.Opened.Data, proof.Leaf.Index = l.opened, n
	if proof.Leaf.Data, err = from.month.Get(from.ctx, leafKey(r.Mailbox, n)); err != nil {
		return nil, fmt.Errorf("leaf %d: %w", n, err)
	}
	head, err := l.head(from, n)
	if err != nil {
		return nil, err
	}
	for _, step := range []*evidence.Step{&proof.Opened, &proof.Leaf} {
		if step.Path, err = l.tree.Prove(step.Index, head.Size); err != nil {
			return nil, err
		}
	}
	note, err := p.note(from, head)
	if err != nil {
		return nil, err
	}
	proof.Checkpoint, proof.Note, proof.Stamp, proof.Head, proof.Proof.Checkpoint = note.checkpoint, note.note, note.stamp, note.head, note.step
	return proof, nil
}

// log returns the log that an entry is in, read up to now.
func (p *Prover) log(from *proving, r Ref) (*readLog, error) {
	h, err := getLog(storeView{from.ctx, from.month}, r.Mailbox)
	if err != nil {
		return nil, err
	}
	if h == nil {
		return nil, ErrNoLog
	}
	name := logName{r.Mailbox, r.Month}
	l := p.logs[name]
	if l == nil || l.id != h.id || l.size > h.tree.Size { // the month was taken from a backup meanwhile
		l = &readLog{id: h.id, at: make(map[evidence.Hash]int64)}
	}
	delete(p.logs, name) // until it is read: one that was read in part is of no use
	if err := l.read(from, r.Mailbox, h.tree.Size); err != nil {
		return nil, err
	}
	p.logs[name] = l
	return l, nil
}

// read reads the leaves that are not read yet, up to a size.
func (l *readLog) read(from *proving, mailbox string, size int64) error {
	if l.size == size {
		return nil
	}
	for b, err := range leaves(from.ctx, from.month, mailbox, l.size) {
		if err != nil {
			return err
		}
		if l.size == size {
			break // made meanwhile
		}
		if err := l.tree.Append(evidence.TextHash(string(b))); err != nil {
			return err
		}
		leaf, err := evidence.ParseLeaf(b)
		switch {
		case err != nil:
			return fmt.Errorf("leaf %d: %w: %w", l.size, ErrDamaged, err)
		case l.size == 0:
			l.opened = bytes.Clone(b)
		case leaf.Kind != evidence.PutAside && leaf.Kind != evidence.AdoptedAside:
			l.at[leafName(leaf.Place, leaf.Entry)] = l.size
		}
		l.size++
	}
	if l.size < size {
		return fmt.Errorf("log of %s: leaf %d is not there: %w", mailbox, l.size, ErrDamaged)
	}
	return nil
}

// head returns the head of the log in the first checkpoint that has leaf n.
func (l *readLog) head(from *proving, n int64) (*lastHead, error) {
	st, err := getEvidence(storeView{from.ctx, from.settings})
	if err != nil {
		return nil, err
	}
	back, err := getPutBack(storeView{from.ctx, from.settings}, l.id)
	if err != nil {
		return nil, err
	}
	for i := 0; ; i++ {
		for ; i == len(l.heads); l.seen++ {
			if l.seen >= st.Checkpoints {
				return nil, ErrNoCheckpoint
			}
			b, err := from.settings.Get(from.ctx, headKey(l.seen, from.month.month, l.id))
			if errors.Is(err, kv.ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, err
			}
			head, err := evidence.ParseHead(string(b))
			if err != nil {
				return nil, fmt.Errorf("checkpoint %d: %w: %w", l.seen, ErrDamaged, err)
			}
			l.heads = append(l.heads, lastHead{Head: head, number: l.seen})
		}
		if h := &l.heads[i]; h.Size > n && back.counts(h) {
			return h, nil
		}
	}
}

// note returns what shows that a head is in its checkpoint, and that in a note.
func (p *Prover) note(from *proving, head *lastHead) (*noted, error) {
	st, err := getEvidence(storeView{from.ctx, from.settings})
	if err != nil {
		return nil, err
	}
	if known := p.notes[head.Log][head.number]; known != nil && (known.stamp != nil || known.known == st.Checkpoints) {
		return known, nil
	}
	n, err := from.noteOf(head.number)
	if err != nil {
		return nil, err
	}
	if n.head, err = from.headPath(head.number, head.Text()); err != nil {
		return nil, err
	}
	n.known = st.Checkpoints
	if p.notes[head.Log] == nil {
		p.notes[head.Log] = make(map[int64]*noted)
	}
	p.notes[head.Log][head.number] = n
	return n, nil
}

// headPath shows that a head is in checkpoint n.
func (p *proving) headPath(n int64, text string) (step evidence.Step, err error) {
	tree, size := new(evidence.Prover), int64(0)
	step = evidence.Step{Data: []byte(text), Index: -1}
	for other, err := range headsOf(p.ctx, p.settings, n) {
		if err != nil {
			return step, err
		}
		if other == text {
			step.Index = size
		}
		if err := tree.Append(evidence.TextHash(other)); err != nil {
			return step, err
		}
		size++
	}
	step.Path, err = tree.Prove(step.Index, size)
	return step, err
}

// noteOf shows that checkpoint number is in the note of the first with a time stamp from it on; without one, in its own.
func (p *proving) noteOf(number int64) (*noted, error) {
	tree, size := new(evidence.Prover), int64(0)
	var own, noting *StoredCheckpoint
	prefix := []byte("kc")
	for pair, err := range p.settings.Scan(p.ctx, prefix, after(prefix)) {
		if err != nil {
			return nil, err
		}
		c, err := decodeCheckpoint(pair.Value)
		if err == nil && c.Number != size {
			err = fmt.Errorf("checkpoint %d is not there: %w", size, ErrDamaged)
		}
		if err != nil && own != nil {
			break // no note from here on can be used, and Verify reports it
		}
		if err != nil {
			return nil, err
		}
		if err := tree.Append(evidence.TextHash(c.Text)); err != nil {
			return nil, err
		}
		size++
		if c.Number == number {
			own, noting = c, c
		}
		if own != nil && len(c.Stamp) > 0 {
			noting = c
			break
		}
	}
	if own == nil {
		return nil, fmt.Errorf("checkpoint %d is not there: %w", number, ErrDamaged)
	}
	n := &noted{checkpoint: own.Checkpoint, note: noting.Note, stamp: noting.Stamp, step: evidence.Step{Data: []byte(own.Text), Index: number}}
	var err error
	n.step.Path, err = tree.Prove(number, noting.Number+1)
	return n, err
}
