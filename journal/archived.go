package journal

import (
	"context"
	"errors"
	"fmt"

	"copialettere/journal/kv"
)

// Archived tells, after Commit or the draft has failed, which intents need no entry: the message is in the journal already (Found), or was
// and is deleted (Skipped, not on record). The other placements are zero. Where the store takes writes it notes the repetition as Commit
// does. An error says that some were not looked for.
func (d *Draft) Archived(ctx context.Context, env Envelope, intents []Intent) ([]Placement, error) {
	d.end()
	placements := make([]Placement, len(intents))
	entries, err := d.candidates(env, intents, nil)
	if err != nil {
		return placements, err
	}
	var errs []error
	month := kv.MonthOf(d.arrival)
	for _, m := range [...]kv.Month{month, month.Previous(), month.Next()} {
		s, err := d.j.volume(ctx, m, false)
		if errors.Is(err, kv.ErrNoVolume) {
			continue
		}
		for i := range entries {
			if err == nil && !placements[i].done() {
				placements[i], err = d.j.archivedIn(ctx, s, m, &entries[i])
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("look for a repetition in %s: %w", m, err))
		}
	}
	return placements, errors.Join(errs...)
}

// archivedIn looks for a delivery in one volume.
func (j *Journal) archivedIn(ctx context.Context, s kv.Store, m kv.Month, e *candidate) (Placement, error) {
	v, err := s.Get(ctx, e.delivery)
	if errors.Is(err, kv.ErrNotFound) {
		return Placement{}, nil
	}
	if err != nil {
		return Placement{}, err
	}
	if place, gone := isTombstone(v); gone {
		ref, err := decodePlace(e.Mailbox, m, place)
		if err == nil {
			_, err = supersededEntry(ctx, s, ref)
		}
		switch {
		case errors.Is(err, ErrNotFound):
			return Placement{Ref: Ref{Mailbox: e.Mailbox}, Skipped: ReasonDeleted}, nil
		case err != nil:
			return Placement{}, err
		}
		return j.repeatIn(ctx, s, m, e) // a superseded entry has to come back
	}
	ref, err := decodePlace(e.Mailbox, m, v)
	if err != nil {
		return Placement{}, err
	}
	if there, err := hasKey(ctx, s, entryKey(ref)); !there || err != nil {
		return Placement{}, err
	}
	// It is in the journal, whether or not that can be noted.
	if noted, err := j.repeatIn(ctx, s, m, e); err == nil {
		return noted, nil
	}
	return Placement{Ref: ref, Found: true}, nil
}
