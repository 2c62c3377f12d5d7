package journal

import (
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
	evidence.Proof
	Checkpoint *StoredCheckpoint // the first that has the entry as it is
}

// ParseEntry reads an entry as a Proof has it. Its state is in no log: the entry has none. The error tells what is malformed.
func ParseEntry(r Ref, b []byte) (*Entry, error) { return decodeEntry(r, b) }

// Prove returns the proof that an entry was in the archive when the first checkpoint after it was made. It reads the whole log of the mailbox in that
// month, and keeps 64 bytes for each leaf of it. The error wraps ErrNotFound, ErrNoLog or ErrNoCheckpoint.
func (j *Journal) Prove(ctx context.Context, r Ref) (*Proof, error) {
	s, err := j.folderStore(ctx, r.Mailbox, r.Month, r.Folder)
	if err != nil {
		return nil, err
	}
	settings, err := j.engine.Settings(ctx)
	if err != nil {
		return nil, err
	}
	p, err := prover{ctx: ctx, settings: settings, month: monthStore{s, r.Month}}.prove(r)
	if err != nil {
		return nil, fmt.Errorf("prove %s %s %d: %w", r.Mailbox, r.FolderName(), r.UID, j.monthError(ctx, r.Month, err))
	}
	return p, nil
}

// prover makes one proof.
type prover struct {
	ctx      context.Context
	settings kv.Store
	month    monthStore
}

func (p prover) prove(r Ref) (*Proof, error) {
	value, err := p.month.Get(p.ctx, entryKey(r))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	proof := &Proof{Proof: evidence.Proof{Entry: value}}
	h, err := getLog(storeView{p.ctx, p.month}, r.Mailbox)
	if err != nil {
		return nil, err
	}
	if h == nil {
		return nil, ErrNoLog
	}
	tree, err := p.leaves(proof, r, h)
	if err != nil {
		return nil, err
	}
	head, err := p.checkpoint(proof, h.id)
	if err != nil {
		return nil, err
	}
	for _, step := range []*evidence.Step{&proof.Opened, &proof.Leaf} {
		if step.Path, err = tree.Prove(step.Index, head.Size); err != nil {
			return nil, err
		}
	}
	return proof, nil
}

// leaves reads the log, and fills in the leaf that opened it and the one that has the entry as it is.
func (p prover) leaves(proof *Proof, r Ref, h *logHead) (*evidence.Prover, error) {
	tree := new(evidence.Prover)
	place, value := placeOf(r), evidence.Hash(sha256.Sum256(proof.Entry))
	n := int64(0)
	for b, err := range leaves(p.ctx, p.month, r.Mailbox, 0) {
		if err != nil {
			return nil, err
		}
		if n == h.tree.Size {
			break // made meanwhile
		}
		if err := tree.Append(evidence.TextHash(string(b))); err != nil {
			return nil, err
		}
		leaf, err := evidence.ParseLeaf(b)
		switch {
		case err != nil:
			return nil, fmt.Errorf("leaf %d: %w: %w", n, ErrDamaged, err)
		case n == 0:
			proof.Opened = evidence.Step{Data: b}
		case leaf.Place == place && leaf.Entry == value && leaf.Kind != evidence.PutAside && leaf.Kind != evidence.AdoptedAside:
			proof.Leaf = evidence.Step{Data: b, Index: n}
		}
		n++
	}
	if n < h.tree.Size {
		return nil, fmt.Errorf("log of %s: leaf %d is not there: %w", r.Mailbox, n, ErrDamaged)
	}
	if proof.Leaf.Index == 0 {
		return nil, ErrNoLog
	}
	return tree, nil
}

// checkpoint fills in the first checkpoint that has the leaf, and returns the head of the log in it.
func (p prover) checkpoint(proof *Proof, id evidence.LogID) (*evidence.Head, error) {
	st, err := getEvidence(storeView{p.ctx, p.settings})
	if err != nil {
		return nil, err
	}
	back, err := getPutBack(storeView{p.ctx, p.settings}, id)
	if err != nil {
		return nil, err
	}
	for n := range st.Checkpoints {
		b, err := p.settings.Get(p.ctx, headKey(n, p.month.month, id))
		if errors.Is(err, kv.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		head, err := evidence.ParseHead(string(b))
		if err != nil {
			return nil, fmt.Errorf("checkpoint %d: %w: %w", n, ErrDamaged, err)
		}
		if head.Size <= proof.Leaf.Index || !back.counts(&lastHead{Head: head, number: n}) {
			continue
		}
		if proof.Checkpoint, err = getCheckpoint(storeView{p.ctx, p.settings}, n); err != nil {
			return nil, err
		}
		if err := p.headPath(proof, n, string(b)); err != nil {
			return nil, err
		}
		return &head, p.checkpointPath(proof, n)
	}
	return nil, ErrNoCheckpoint
}

// headPath shows that a head is in checkpoint n.
func (p prover) headPath(proof *Proof, n int64, text string) (err error) {
	tree := new(evidence.Prover)
	step, size := evidence.Step{Data: []byte(text), Index: -1}, int64(0)
	for other, err := range headsOf(p.ctx, p.settings, n) {
		if err != nil {
			return err
		}
		if other == text {
			step.Index = size
		}
		if err := tree.Append(evidence.TextHash(other)); err != nil {
			return err
		}
		size++
	}
	step.Path, err = tree.Prove(step.Index, size)
	proof.Head = step
	return err
}

// checkpointPath shows that checkpoint n is in its note.
func (p prover) checkpointPath(proof *Proof, n int64) (err error) {
	tree := new(evidence.Prover)
	prefix := []byte("kc")
	for pair, err := range p.settings.Scan(p.ctx, prefix, after(checkpointKey(n))) {
		if err != nil {
			return err
		}
		c, err := decodeCheckpoint(pair.Value)
		if err != nil {
			return err
		}
		if err := tree.Append(evidence.TextHash(c.Text)); err != nil {
			return err
		}
	}
	c := proof.Checkpoint
	proof.Proof.Checkpoint = evidence.Step{Data: []byte(c.Text), Index: n}
	proof.Proof.Checkpoint.Path, err = tree.Prove(n, n+1)
	proof.Note = c.Note
	return err
}
