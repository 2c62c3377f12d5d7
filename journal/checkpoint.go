package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"time"

	"copialettere/journal/evidence"
	"copialettere/journal/kv"
)

// What outlives the logs is in the settings: the checkpoints, the heads that each of them has, and of each log the head that a checkpoint had last.
//
// A checkpoint is made in steps that may break off anywhere. The heads come first, under the number that the checkpoint will have, and the same step
// again changes nothing; the checkpoint itself, and the count of them, come in one update at the end.

// evidenceLock is the lock of the keys k of the settings.
const evidenceLock = "evidence"

// headGroup is how many heads one update writes.
const headGroup = 500

var evidenceKey = []byte("k")

func checkpointKey(n int64) []byte { return binary.BigEndian.AppendUint64([]byte("kc"), uint64(n)) }

func headsKey(n int64) []byte { return binary.BigEndian.AppendUint64([]byte("kh"), uint64(n)) }

func headKey(n int64, m kv.Month, id evidence.LogID) []byte {
	return append(append(headsKey(n), m...), id[:]...)
}

func lastHeadKey(id evidence.LogID) []byte { return append([]byte("kl"), id[:]...) }

func endedKey(id evidence.LogID) []byte { return append([]byte("ke"), id[:]...) }

// evidenceState is the value of the key k.
type evidenceState struct {
	Since       time.Time `json:"since"`                 // when the archive began to keep logs
	Checkpoints int64     `json:"checkpoints,omitempty"` // how many there are
	Tree        []byte    `json:"tree,omitempty"`        // evidence.Tree over their texts
}

// StoredCheckpoint is a checkpoint that an archive has made.
type StoredCheckpoint struct {
	evidence.Checkpoint `json:"-"`
	Text                string `json:"text"`            // of the Checkpoint
	Note                string `json:"note"`            // signed
	Stamp               []byte `json:"stamp,omitempty"` // the answer of a time stamping authority about the note (RFC 3161), DER; nil for none
}

// lastHead is the value of a kl key: the head of a log that a checkpoint had last, or with which the log ended.
type lastHead struct {
	evidence.Head
	number  int64  // of the checkpoint; -1 for none
	mailbox string // empty once the log has ended
}

func (l *lastHead) encode() []byte {
	return fmt.Appendf(nil, "%s\n%d\n%s", l.Text(), l.number, l.mailbox)
}

func decodeLastHead(b []byte) (*lastHead, error) {
	lines := strings.SplitN(string(b), "\n", 3)
	if len(lines) != 3 {
		return nil, fmt.Errorf("last head of a log: %w", errEncoding)
	}
	head, err := evidence.ParseHead(lines[0])
	if err != nil {
		return nil, fmt.Errorf("last head of a log: %w: %w", errEncoding, err)
	}
	n, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("last head of a log: %w: %w", errEncoding, err)
	}
	return &lastHead{head, n, lines[2]}, nil
}

func getLastHead(v kv.View, id evidence.LogID) (*lastHead, error) {
	b, err := v.Get(lastHeadKey(id))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decodeLastHead(b)
}

func getEvidence(v kv.View) (st evidenceState, err error) {
	b, err := v.Get(evidenceKey)
	if errors.Is(err, kv.ErrNotFound) {
		return st, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &st)
	}
	if err != nil {
		return st, fmt.Errorf("state of the checkpoints: %w", err)
	}
	return st, nil
}

func putEvidence(tx kv.Tx, st evidenceState) error {
	b, err := json.Marshal(st)
	if err != nil {
		return err
	}
	tx.Put(evidenceKey, b)
	return nil
}

// ending takes the lock that keeps checkpoints and the ends of logs apart.
func (j *Journal) ending(ctx context.Context) (context.Context, func(), error) {
	if err := j.logging.acquire(ctx); err != nil {
		return nil, nil, fmt.Errorf("wait for a checkpoint: %w", err)
	}
	if j.alone {
		return ctx, j.logging.release, nil
	}
	held, release, err := j.lease(ctx, evidenceLock)
	if err != nil {
		j.logging.release()
		return nil, nil, fmt.Errorf("wait for a checkpoint: %w", err)
	}
	return held, func() { release(); j.logging.release() }, nil
}

// Checkpoint makes a checkpoint of the heads of all logs that have grown or ended since the last one, and has sign sign the note over all checkpoints. A
// month that cannot be read is passed over: its heads come with a later checkpoint. With PassedOver the checkpoint was made.
func (j *Journal) Checkpoint(ctx context.Context, origin string, sign func(evidence.Note) ([]byte, error)) (*StoredCheckpoint, error) {
	ctx, release, err := j.ending(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	s, err := j.engine.Settings(ctx)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	st, err := getEvidence(storeView{ctx, s})
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	var passed PassedOver
	for m, err := range j.volumes(ctx) {
		if err == nil {
			err = j.monthError(ctx, m.month, j.checkpointMonth(ctx, s, m, st.Checkpoints))
		}
		if err != nil && !passed.Add(err) {
			return nil, fmt.Errorf("checkpoint: %w", err)
		}
	}
	if err := j.checkpointEnded(ctx, s, st.Checkpoints); err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	made, err := j.putCheckpoint(ctx, s, st, origin, sign)
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	return made, passed.Err()
}

// checkpointMonth puts the heads of a month's logs that have grown on record for checkpoint n.
func (j *Journal) checkpointMonth(ctx context.Context, settings kv.Store, m monthStore, n int64) error {
	heads := groups[lastHead]{size: headGroup, do: func(group []lastHead) error { return putHeads(ctx, settings, group, n) }}
	for p, err := range m.Scan(ctx, []byte{'q'}, []byte{'q' + 1}) {
		if err != nil {
			return err
		}
		h, err := logOf(p.Value)
		if err != nil || h == nil {
			continue // Verify reports it
		}
		if err := heads.add(lastHead{h.head(m.month), n, string(p.Key[1:])}); err != nil {
			return err
		}
	}
	return heads.flush()
}

// putHeads puts heads on record for checkpoint n, those of them that differ from what a checkpoint had last.
func putHeads(ctx context.Context, settings kv.Store, group []lastHead, n int64) error {
	return settings.Update(ctx, []string{evidenceLock}, func(tx kv.Tx) error {
		for _, h := range group {
			last, err := getLastHead(tx, h.Log)
			if err != nil && !errors.Is(err, errEncoding) {
				return err
			}
			// A log that is there has not ended: the drop of its month was called off.
			if last != nil && last.Size == h.Size && last.Root == h.Root && last.Ended == "" {
				continue
			}
			tx.Put(headKey(n, kv.Month(h.Month), h.Log), []byte(h.Text()))
			tx.Put(lastHeadKey(h.Log), h.encode())
			tx.Delete(endedKey(h.Log))
		}
		return nil
	})
}

// checkpointEnded puts the heads of the logs that have ended on record for checkpoint n.
func (j *Journal) checkpointEnded(ctx context.Context, settings kv.Store, n int64) error {
	ended := groups[[]byte]{size: headGroup, do: func(keys [][]byte) error {
		return settings.Update(ctx, []string{evidenceLock}, func(tx kv.Tx) error {
			for _, key := range keys {
				last, err := getLastHead(tx, evidence.LogID(key[2:]))
				if err != nil {
					return err
				}
				tx.Delete(key)
				if last == nil {
					continue
				}
				last.number = n
				tx.Put(headKey(n, kv.Month(last.Month), last.Log), []byte(last.Text()))
				tx.Put(lastHeadKey(last.Log), last.encode())
			}
			return nil
		})
	}}
	prefix := []byte("ke")
	for p, err := range settings.Scan(ctx, prefix, after(prefix)) {
		if err != nil {
			return err
		}
		if len(p.Key) != len(endedKey(evidence.LogID{})) {
			return fmt.Errorf("key %q: %w", p.Key, errKey)
		}
		if err := ended.add(p.Key); err != nil {
			return err
		}
	}
	return ended.flush()
}

// headsOf yields the texts of the heads of checkpoint n, in their order.
func headsOf(ctx context.Context, settings kv.Store, n int64) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		prefix := headsKey(n)
		for p, err := range settings.Scan(ctx, prefix, after(prefix)) {
			if !yield(string(p.Value), err) || err != nil {
				return
			}
		}
	}
}

// putCheckpoint makes a checkpoint of the heads that are on record for it.
func (j *Journal) putCheckpoint(ctx context.Context, settings kv.Store, st evidenceState, origin string, sign func(evidence.Note) ([]byte, error)) (*StoredCheckpoint, error) {
	var tree, all evidence.Tree
	for text, err := range headsOf(ctx, settings, st.Checkpoints) {
		if err != nil {
			return nil, err
		}
		tree.Append(evidence.TextHash(text))
	}
	made := &StoredCheckpoint{Checkpoint: evidence.Checkpoint{
		Number: st.Checkpoints, Time: j.now().UTC().Truncate(time.Second), Heads: tree.Size, Root: tree.Root(),
	}}
	made.Text = made.Checkpoint.Text()
	if len(st.Tree) > 0 {
		if err := all.UnmarshalBinary(st.Tree); err != nil {
			return nil, fmt.Errorf("state of the checkpoints: %w", err)
		}
	}
	if all.Size != st.Checkpoints {
		return nil, fmt.Errorf("state of the checkpoints: the tree has %d of %d: %w", all.Size, st.Checkpoints, ErrDamaged)
	}
	all.Append(evidence.TextHash(made.Text))
	signed, err := sign(evidence.Note{Origin: origin, Size: all.Size, Root: all.Root()})
	if err != nil {
		return nil, err
	}
	made.Note = string(signed)
	value, err := json.Marshal(made)
	if err != nil {
		return nil, err
	}
	st.Checkpoints++
	st.Tree, _ = all.AppendBinary(nil) // no error is possible
	if st.Since.IsZero() {
		st.Since = made.Time
	}
	err = settings.Update(ctx, []string{evidenceLock}, func(tx kv.Tx) error {
		tx.Put(checkpointKey(made.Number), value)
		return putEvidence(tx, st)
	})
	if err != nil {
		return nil, err
	}
	return made, nil
}

// Stamp adds the answer of a time stamping authority to a checkpoint.
func (j *Journal) Stamp(ctx context.Context, number int64, stamp []byte) error {
	s, err := j.engine.Settings(ctx)
	if err == nil {
		err = s.Update(ctx, []string{evidenceLock}, func(tx kv.Tx) error {
			c, err := getCheckpoint(tx, number)
			if err != nil {
				return err
			}
			c.Stamp = stamp
			value, err := json.Marshal(c)
			if err != nil {
				return err
			}
			tx.Put(checkpointKey(number), value)
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("add a time stamp to checkpoint %d: %w", number, err)
	}
	return nil
}

// LastCheckpointIn is Journal.LastCheckpoint for settings that are read without a Journal.
func LastCheckpointIn(settings kv.View) (*StoredCheckpoint, error) {
	st, err := getEvidence(settings)
	if err != nil || st.Checkpoints == 0 {
		return nil, err
	}
	return getCheckpoint(settings, st.Checkpoints-1)
}

func getCheckpoint(v kv.View, number int64) (*StoredCheckpoint, error) {
	b, err := v.Get(checkpointKey(number))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	return decodeCheckpoint(b)
}

func decodeCheckpoint(b []byte) (*StoredCheckpoint, error) {
	c := new(StoredCheckpoint)
	err := json.Unmarshal(b, c)
	if err == nil {
		c.Checkpoint, err = evidence.ParseCheckpoint(c.Text)
	}
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w: %w", errEncoding, err)
	}
	return c, nil
}

// Checkpoints yields the checkpoints from a number on, oldest first. Instead of one that cannot be read it yields an error that is ErrDamaged, and goes on.
func (j *Journal) Checkpoints(ctx context.Context, first int64) iter.Seq2[*StoredCheckpoint, error] {
	return func(yield func(*StoredCheckpoint, error) bool) {
		s, err := j.engine.Settings(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		prefix := []byte("kc")
		for p, err := range s.Scan(ctx, checkpointKey(first), after(prefix)) {
			if err != nil {
				yield(nil, err)
				return
			}
			c, err := decodeCheckpoint(p.Value)
			if err == nil && !bytes.Equal(p.Key, checkpointKey(c.Number)) {
				err = fmt.Errorf("checkpoint %d lies where another one belongs: %w", c.Number, ErrDamaged)
			}
			if !yield(c, err) {
				return
			}
		}
	}
}

// LastCheckpoint returns the newest checkpoint; nil for none.
func (j *Journal) LastCheckpoint(ctx context.Context) (*StoredCheckpoint, error) {
	s, err := j.engine.Settings(ctx)
	if err != nil {
		return nil, err
	}
	return LastCheckpointIn(storeView{ctx, s})
}

// endMonth puts on record that the logs of a month end, because it is dropped.
func (j *Journal) endMonth(ctx context.Context, m monthStore) error {
	heads := groups[evidence.Head]{size: headGroup, do: func(group []evidence.Head) error { return j.endLogs(ctx, group) }}
	for p, err := range m.Scan(ctx, []byte{'q'}, []byte{'q' + 1}) {
		if err != nil {
			return err
		}
		h, err := logOf(p.Value)
		if err != nil || h == nil {
			continue // damaged: it ends as the last checkpoint had it
		}
		head := h.head(m.month)
		head.Ended = evidence.EndedRetention
		if err := heads.add(head); err != nil {
			return err
		}
	}
	if err := heads.flush(); err != nil {
		return err
	}
	return j.endKnown(ctx, m.month, evidence.EndedRetention)
}

// endKnown puts on record that those logs of a month that a checkpoint has, and that have not ended, end as the last one had them.
func (j *Journal) endKnown(ctx context.Context, m kv.Month, why string) error {
	settings, err := j.engine.Settings(ctx)
	if err != nil {
		return err
	}
	heads := groups[evidence.Head]{size: headGroup, do: func(group []evidence.Head) error { return j.endLogs(ctx, group) }}
	for last, err := range lastHeads(ctx, settings) {
		if errors.Is(err, ErrDamaged) {
			continue // Verify reports it
		}
		if err != nil {
			return err
		}
		if last.Month != string(m) || last.Ended != "" {
			continue
		}
		last.Ended = why
		if err := heads.add(last.Head); err != nil {
			return err
		}
	}
	return heads.flush()
}

// lastHeads yields what checkpoints had last of all logs.
func lastHeads(ctx context.Context, settings kv.Store) iter.Seq2[*lastHead, error] {
	return func(yield func(*lastHead, error) bool) {
		prefix := []byte("kl")
		for p, err := range settings.Scan(ctx, prefix, after(prefix)) {
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(decodeLastHead(p.Value)) {
				return
			}
		}
	}
}

// endLogs puts on record that logs have ended: their heads stay, and the next checkpoint has them.
func (j *Journal) endLogs(ctx context.Context, group []evidence.Head) error {
	s, err := j.engine.Settings(ctx)
	if err != nil {
		return err
	}
	return s.Update(ctx, []string{evidenceLock}, func(tx kv.Tx) error {
		for _, h := range group {
			last, err := getLastHead(tx, h.Log)
			if err != nil && !errors.Is(err, errEncoding) {
				return err
			}
			if last != nil && last.Ended == h.Ended {
				continue
			}
			tx.Put(lastHeadKey(h.Log), (&lastHead{Head: h, number: -1}).encode())
			tx.Put(endedKey(h.Log), []byte{})
		}
		return nil
	})
}
