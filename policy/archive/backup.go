package archive

import (
	"context"
	"errors"
	"fmt"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/policy"
)

// Frozen is the whole journal as it was at one instant, in files that are there until it is released.
type Frozen struct {
	*kv.Snapshot
	Archive string // its id
	Data    string // path of the data folder
}

// Freeze freezes the journal, so that it can be copied. The caller releases it, and does so at once when Leaving is closed. It needs RightOperate.
func (a *Archive) Freeze(ctx context.Context, who policy.Actor) (*Frozen, error) {
	if err := a.May(ctx, who, RightOperate, policy.Address{}); err != nil {
		return nil, err
	}
	if a.options.Freeze == nil {
		return nil, errors.New("there is no data folder that could be copied")
	}
	a.journal.FlushOutcomes(ctx)
	return a.options.Freeze(ctx)
}

// Leaving is closed when the process ends; nil where it does not say so.
func (a *Archive) Leaving() <-chan struct{} { return a.options.Leaving }

// BackedUp puts on record that a backup was made, for the metrics. It needs RightOperate. The error wraps ErrRequest if the backup is of a time to come, or
// of none.
func (a *Archive) BackedUp(ctx context.Context, who policy.Actor, b journal.Backup) (journal.Backup, error) {
	if err := a.May(ctx, who, RightOperate, policy.Address{}); err != nil {
		return b, err
	}
	if b.Taken.IsZero() || b.Taken.After(time.Now().Add(time.Minute)) || b.Bytes < 0 || len(b.Place) > 4<<10 {
		return b, fmt.Errorf("%w: taken: want when the backup was taken, as in 2026-11-30T02:00:00Z, and it is not to come", ErrRequest)
	}
	return b, a.journal.BackedUp(ctx, b)
}
