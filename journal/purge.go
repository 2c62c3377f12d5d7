package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"copialettere/journal/kv"
)

// DeletedGrace is how long an entry that was deleted by hand can be brought back. It is the same for everybody: who deletes by mistake must
// know how much time is left.
const DeletedGrace = 72 * time.Hour

// graceOver says whether the grace of what was deleted at a time is over.
func graceOver(deleted, now time.Time) bool { return !deleted.Add(DeletedGrace).After(now) }

// Purged is what PurgeDeleted removed.
type Purged struct {
	Removed
	Damaged uint64 // deleted entries that cannot be read, and stay; Verify tells of them
}

// PurgeDeleted removes for good the entries that were deleted by hand and whose grace is over, unless they are held; their acts and
// tombstones stay. Sweep then frees their chunks. It works in small steps: after an error or a crash the next run does the rest. The error is
// PassedOver if months were, and wraps ErrAbnormal if the clock seems to be ahead; nothing is then removed.
func (j *Journal) PurgeDeleted(ctx context.Context) (purged Purged, err error) {
	ctx, release, err := j.clean(ctx)
	if err != nil {
		return purged, err
	}
	defer release()
	now := j.now().UTC()
	switch doubt, err := j.doubtClock(ctx, now, DefaultMaxPause); {
	case err != nil:
		return purged, err
	case doubt != "":
		return purged, fmt.Errorf("%w: %s", ErrAbnormal, doubt)
	}
	months, err := j.engine.Volumes(ctx)
	if err != nil {
		return purged, fmt.Errorf("list volumes: %w", err)
	}
	goes := func(a *aside, _ *Entry) bool { return a.over(now) }
	var passed PassedOver
	for _, m := range months {
		s, err := j.volume(ctx, m, false)
		if errors.Is(err, kv.ErrNoVolume) {
			continue
		}
		if err == nil {
			err = j.purge(ctx, s, m, goes, &purged.Removed, &purged.Damaged)
		}
		if err != nil && !passed.Add(j.monthError(ctx, m, err)) {
			return purged, fmt.Errorf("purge %s: %w", m, err)
		}
	}
	return purged, passed.Err()
}

// purge removes for good those entries put aside in one volume that are to go and are not held. It adds up what it removed, and counts what
// cannot be read.
func (j *Journal) purge(ctx context.Context, s kv.Store, m kv.Month, goes func(*aside, *Entry) bool, sum *Removed, damaged *uint64) error {
	entries := groups[Ref]{size: entryGroup, do: func(group []Ref) error {
		mailboxes := make([]string, len(group))
		for i, r := range group {
			mailboxes[i] = r.Mailbox
		}
		var purged Removed
		err := j.update(ctx, s, m, j.deletionLocks(mailboxes...), func(c *change) error {
			purged = Removed{}
			for _, r := range group {
				e, err := c.purge(r, RemovedDeleted)
				if errors.Is(err, ErrNotFound) || errors.Is(err, ErrHeld) {
					continue // brought back, or held, meanwhile
				}
				if err != nil {
					return err
				}
				purged.add(e)
			}
			return nil
		})
		if err != nil {
			return err
		}
		sum.Entries += purged.Entries
		sum.Bytes += purged.Bytes
		return nil
	}}
	for p, err := range s.Scan(ctx, []byte{'t'}, []byte{'t' + 1}) {
		if err != nil {
			return err
		}
		a, e, err := asideOf(m, p)
		if err != nil {
			*damaged++
			continue
		}
		if !goes(a, e) {
			continue
		}
		if err := entries.add(e.Ref); err != nil {
			return err
		}
	}
	return entries.flush()
}
