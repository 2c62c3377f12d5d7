package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"copialettere/journal/evidence"
	"copialettere/journal/kv"
)

// A restore from an older backup leaves logs shorter than the checkpoints of the settings have them. That is put on record, so Verify tells of it as of a
// restore, and not as of a fault. Whoever puts an archive back in secret leaves no such record.

// putBack is the value of a kr key: a log that a restore has put back.
type putBack struct {
	Size        int64 `json:"size"`        // of the log then
	Checkpoints int64 `json:"checkpoints"` // how many there were then
}

func putBackKey(id evidence.LogID) []byte { return append([]byte("kr"), id[:]...) }

func getPutBack(v kv.View, id evidence.LogID) (*putBack, error) {
	b, err := v.Get(putBackKey(id))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, nil
	}
	p := new(putBack)
	if err == nil {
		err = json.Unmarshal(b, p)
	}
	if err != nil {
		return nil, fmt.Errorf("log %s that was put back: %w", id, err)
	}
	return p, nil
}

// counts says whether a head of a checkpoint still says something of the log.
func (p *putBack) counts(h *lastHead) bool {
	return p == nil || h.number >= p.Checkpoints || h.Size <= p.Size
}

// putBackLogs puts on record which logs are shorter than the checkpoints have them, or gone, while nobody else uses the journal.
func (j *Journal) putBackLogs(ctx context.Context, settings kv.Store) error {
	st, err := getEvidence(storeView{ctx, settings})
	if err != nil || st.Checkpoints == 0 {
		return err
	}
	there := make(map[evidence.LogID]bool)
	shorter := groups[logHead]{size: headGroup, do: func(group []logHead) error {
		return settings.Update(ctx, []string{evidenceLock}, func(tx kv.Tx) error {
			for _, h := range group {
				last, err := getLastHead(tx, h.id)
				if err != nil && !errors.Is(err, errEncoding) {
					return err
				}
				if last == nil || last.Size <= h.tree.Size {
					continue
				}
				b, err := json.Marshal(putBack{h.tree.Size, st.Checkpoints})
				if err != nil {
					return err
				}
				tx.Put(putBackKey(h.id), b)
			}
			return nil
		})
	}}
	months := make(map[string]bool)
	for m, err := range j.volumes(ctx) {
		if errors.Is(err, ErrDamaged) {
			continue
		}
		if err != nil {
			return err
		}
		months[string(m.month)] = true
		for p, err := range m.Scan(ctx, []byte{'q'}, []byte{'q' + 1}) {
			if err != nil {
				return err
			}
			h, err := logOf(p.Value)
			if err != nil || h == nil {
				continue
			}
			there[h.id] = true
			if err := shorter.add(*h); err != nil {
				return err
			}
		}
	}
	if err := shorter.flush(); err != nil {
		return err
	}
	gone := groups[evidence.Head]{size: headGroup, do: func(group []evidence.Head) error { return j.endLogs(ctx, group) }}
	for last, err := range lastHeads(ctx, settings) {
		if errors.Is(err, ErrDamaged) {
			continue
		}
		if err != nil {
			return err
		}
		if last.Ended != "" || there[last.Log] || !months[last.Month] {
			continue
		}
		last.Ended = evidence.EndedRestored
		if err := gone.add(last.Head); err != nil {
			return err
		}
	}
	return gone.flush()
}
