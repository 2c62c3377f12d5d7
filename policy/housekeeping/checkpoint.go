package housekeeping

import (
	"context"
	"errors"
	"time"

	"copialettere/journal"
)

// How long a Keeper waits after a checkpoint, or taking the archive into its logs, has failed.
const retryEvery = time.Hour

// checkpoint makes a checkpoint once a day, after the retention.
func (k *Keeper) checkpoint(ctx context.Context, now time.Time) {
	if k.options.Checkpoints == nil || now.Sub(k.checked).Abs() < retryEvery {
		return
	}
	last, err := k.options.Journal.LastCheckpoint(ctx)
	due := k.schedule.Load().due(now)
	switch {
	case err != nil:
		k.checked = now
		k.failed(ctx, "no checkpoint made, will be tried again", err)
		return
	case last != nil && !last.Time.Before(due), last == nil && !k.options.Made.Before(due):
		return
	}
	k.checked = now
	made, err := k.options.Checkpoints.Make(ctx)
	if err != nil {
		k.failed(ctx, "no checkpoint made, will be tried again", err)
		return
	}
	for _, fault := range made.Faults {
		k.failed(ctx, "a checkpoint is made, but not all beside it", fault)
	}
	k.log.Info("checkpoint", "number", made.Number, "heads", made.Heads, "stamped", made.Stamped != nil, "outside", made.Outside)
}

// adopt takes an archive from before the logs into them, in the background.
func (k *Keeper) adopt(ctx context.Context) {
	for {
		taken, err := k.options.Journal.Adopt(ctx)
		if taken > 0 {
			k.log.Info("entries from before the logs are in them now", "entries", taken)
		}
		if err == nil {
			return
		}
		what := "the archive is not taken into its logs, will be tried again"
		if errors.Is(err, journal.ErrDamaged) {
			what = "months that cannot be read are not taken into their logs, will be tried again"
		}
		k.failed(ctx, what, err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(retryEvery):
		}
	}
}
