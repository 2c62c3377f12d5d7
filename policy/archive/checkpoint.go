package archive

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"copialettere/journal"
	"copialettere/journal/evidence"
	"copialettere/journal/kv"
	"copialettere/policy"
	"copialettere/policy/checkpoint"
)

// ErrNoEvidence says that nothing makes checkpoints here.
var ErrNoEvidence = errors.New("no checkpoints are made here")

// Checkpoint is a signed word on all logs. Others script against its names.
type Checkpoint struct {
	Number int64     `json:"number"`
	Time   time.Time `json:"time"`
	Heads  int64     `json:"heads"` // of logs that have grown or ended since the one before
	Note   string    `json:"note"`  // signed
	// Stamped is the time that an authority has stamped; absent without a time stamp.
	Stamped *time.Time `json:"stamped,omitempty"`
	Outside string     `json:"outside,omitempty"` // the file outside the data folder, of one just made
	Faults  []string   `json:"faults,omitempty"`  // what did not succeed beside it, of one just made
}

// CheckpointNow makes a checkpoint. It needs RightOperate.
func (a *Archive) CheckpointNow(ctx context.Context, who policy.Actor) (*Checkpoint, error) {
	if err := a.May(ctx, who, RightOperate, policy.Address{}); err != nil {
		return nil, err
	}
	if a.options.Checkpoints == nil {
		return nil, ErrNoEvidence
	}
	made, err := a.options.Checkpoints.Make(ctx)
	if errors.Is(err, checkpoint.ErrKey) {
		err = fmt.Errorf("%w: %w", ErrRequest, err)
	}
	if err != nil {
		return nil, err
	}
	c := checkpointOf(made.StoredCheckpoint)
	c.Outside = made.Outside
	for _, err := range made.Faults {
		c.Faults = append(c.Faults, err.Error())
	}
	return &c, nil
}

func checkpointOf(stored *journal.StoredCheckpoint) Checkpoint {
	c := Checkpoint{Number: stored.Number, Time: stored.Time, Heads: stored.Heads, Note: stored.Note}
	if len(stored.Stamp) > 0 {
		if stamp, err := evidence.ReadStamp(stored.Stamp); err == nil {
			c.Stamped = &stamp.Time
		}
	}
	return c
}

// Checkpoints yields all checkpoints, oldest first. It needs RightOperate. For one that cannot be read it yields an error that wraps journal.ErrDamaged,
// and goes on.
func (a *Archive) Checkpoints(ctx context.Context, who policy.Actor) iter.Seq2[Checkpoint, error] {
	return func(yield func(Checkpoint, error) bool) {
		if err := a.May(ctx, who, RightOperate, policy.Address{}); err != nil {
			yield(Checkpoint{}, err)
			return
		}
		for stored, err := range a.journal.Checkpoints(ctx, 0) {
			var c Checkpoint
			if err == nil {
				c = checkpointOf(stored)
			}
			if !yield(c, err) || err != nil && !errors.Is(err, journal.ErrDamaged) {
				return
			}
		}
	}
}

// NewSigningKey makes another signing key in place of one that is lost. It returns the verifier key, and needs RightOperate.
func (a *Archive) NewSigningKey(ctx context.Context, who policy.Actor) (string, error) {
	if err := a.May(ctx, who, RightOperate, policy.Address{}); err != nil {
		return "", err
	}
	if a.options.Checkpoints == nil {
		return "", ErrNoEvidence
	}
	key, err := a.options.Checkpoints.NewKey()
	if errors.Is(err, checkpoint.ErrKey) {
		err = fmt.Errorf("%w: %w", ErrRequest, err)
	}
	return key, err
}

// VerifierKeys returns the keys that check the signatures of checkpoints; none where nothing makes checkpoints.
func (a *Archive) VerifierKeys() ([]string, error) {
	if a.options.Checkpoints == nil {
		return nil, nil
	}
	return a.options.Checkpoints.Keys()
}

// StampCA returns the root certificates of the time stamping authority, PEM; nil where the configuration names none.
func (a *Archive) StampCA() ([]byte, error) {
	if a.options.Checkpoints == nil {
		return nil, nil
	}
	return a.options.Checkpoints.StampCA()
}

// Verify checks the whole journal, with what the configuration says of the checkpoints: see journal.Journal.Verify.
func (a *Archive) Verify(ctx context.Context, progress func(kv.Month, int64)) (*journal.Report, error) {
	var o journal.EvidenceOptions
	var unread error
	if a.options.Checkpoints != nil {
		o, unread = a.options.Checkpoints.Evidence()
	}
	report, err := a.journal.Verify(ctx, o, progress)
	if report != nil && unread != nil {
		report.Faults++
		report.Details = append(report.Details, unread.Error())
	}
	return report, err
}

// Prover makes proofs that messages were in their archive when a checkpoint was made: see journal.Prover. It must not be used concurrently.
type Prover struct {
	archive *Archive
	who     policy.Actor
	journal *journal.Prover
}

// NewProver returns a Prover for an actor.
func (a *Archive) NewProver(who policy.Actor) *Prover { return &Prover{a, who, a.journal.NewProver()} }

// Prove returns the proof of a message: see journal.Journal.Prove. It needs RightRead.
func (p *Prover) Prove(ctx context.Context, r journal.Ref) (*journal.Proof, error) {
	there, m, err := p.archive.inArchive(ctx, r)
	if err == nil {
		err = p.archive.May(ctx, p.who, RightRead, m.Address)
	}
	if err != nil {
		return nil, err
	}
	proof, err := p.journal.Prove(ctx, there)
	return proof, located(r, err)
}
