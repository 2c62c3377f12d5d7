package notice

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"copialettere/journal/kv"
)

// Held is what the notices hold of a mailbox.
type Held struct {
	Waiting uint64    // notices that wait to be sent, or that the daily limit kept back
	Oldest  time.Time // of these; zero without any
	Newest  time.Time
	Told    bool // the notices of the last days are on record, so that nothing is told twice
}

// Held returns what the notices hold of the mailbox whose archive has that name. A nil Pump holds nothing.
func (n *Pump) Held(ctx context.Context, archive string) (Held, error) {
	if n == nil {
		return Held{}, nil
	}
	h, err := n.queue.held(ctx, archive)
	if err != nil {
		return Held{}, fmt.Errorf("notices of %s: %w", archive, err)
	}
	return h, nil
}

func (q *Queue) held(ctx context.Context, archive string) (h Held, err error) {
	switch _, err := q.store.Get(ctx, historyKey(archive)); {
	case err == nil:
		h.Told = true
	case !errors.Is(err, kv.ErrNotFound):
		return h, err
	}
	prefix := listedPrefix(archive)
	for _, span := range [][2][]byte{{[]byte("wq"), []byte("wr")}, {prefix, append(prefix[:len(prefix)-1:len(prefix)-1], 1)}} {
		for p, err := range q.store.Scan(ctx, span[0], span[1]) {
			if err != nil {
				return h, err
			}
			var w Notice
			if json.Unmarshal(p.Value, &w) != nil || w.Mailbox != archive {
				continue // one that cannot be read is dropped when it is due
			}
			h.Waiting++
			if h.Oldest.IsZero() || w.Time.Before(h.Oldest) {
				h.Oldest = w.Time
			}
			if w.Time.After(h.Newest) {
				h.Newest = w.Time
			}
		}
	}
	return h, nil
}
