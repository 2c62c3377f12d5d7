package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"copialettere/journal/kv"
)

// The sweep deletes the chunks that no entry refers to. It takes two runs, for a draft must never lose a chunk that it has found.
//
// The x keys name the chunks to look at, at first without a value: those of entries that are gone. The first run takes a chunk's h key if no
// entry refers to it, so no later draft finds it, and only then puts the time as the value of the x key. A draft that found the chunk before
// is older than that time, and can be committed for maxDraftAge only. A later run, sweepPause after that time and thus after the last such
// commit, looks again whether an entry refers to it.
//
// Other processes may have other clocks. Among them these times only save drafts from being refused. In its last update a draft takes the
// times off the x keys of its chunks, under a lock that the sweep takes too; the later run then leaves them alone. If that run came first
// the draft is refused.
//
// A chunk that nobody can refer to any more is garbage: the sweep puts its size behind the time in the x key. The store purges it when that
// costs little (kv.Store.Purge), or when it is due: what people delete must be gone from the disk. Only then does the x key go.
//
// A reading of the references could miss entries that are moved meanwhile. The n key tells of moves, and the reading starts over.

// Times of the sweep.
const (
	// maxDraftAge is how old a draft may be at its commit; far less than sweepPause.
	maxDraftAge = 30 * time.Minute
	sweepPause  = time.Hour
	// purgeLatest is the time after the mark from which a chunk is purged whatever that costs. A week of deletions then shares the cost.
	purgeLatest = 7 * 24 * time.Hour
)

// errDraftAge says that a draft took too long. The MTA sends the message again.
var errDraftAge = errors.New("the message took too long to arrive")

// maxSweepTries is how often the references of a volume are read while entries are being moved.
const maxSweepTries = 3

// SweepOptions are the options of Sweep.
type SweepOptions struct {
	All bool // look at all chunks, not only those of removed entries: finds what broken transfers left, and reads everything
}

// SweepReport is what a sweep did.
type SweepReport struct {
	Marked    int64      `json:"marked"`              // chunks that no entry refers to, for a later sweep
	Deleted   int64      `json:"deleted"`             // chunks
	Bytes     int64      `json:"bytes"`               // of the deleted chunks, as stored
	Waiting   int64      `json:"waiting,omitempty"`   // bytes of chunks that wait until deleting them is worth its cost
	Postponed []kv.Month `json:"postponed,omitempty"` // months in which entries were being moved
	Damaged   []kv.Month `json:"damaged,omitempty"`   // months of which nothing was deleted because an entry cannot be read
}

// Sweep frees the room of chunks that no entry refers to. Deleting one takes two runs at least an hour apart, and the store chooses when: not in
// the month that mail is written to, and in the first week not where it would write far more than it frees. It needs 12 bytes of memory for each
// reference of one month. After an error or a crash the next run does the rest. The error is PassedOver if months were.
//
// A damaged entry keeps its chunks as long as its list of them can be read whole. Otherwise it may refer to any chunk: nothing is then
// deleted from its month, which is logged, until the entry is erased.
func (j *Journal) Sweep(ctx context.Context, o SweepOptions) (*SweepReport, error) {
	ctx, release, err := j.clean(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	now := j.now().UTC() // by the clock of the drafts
	months, err := j.engine.Volumes(ctx)
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	report := new(SweepReport)
	var passed PassedOver
	for _, m := range months {
		s, err := j.volume(ctx, m, false)
		if errors.Is(err, kv.ErrNoVolume) {
			continue
		}
		if err == nil {
			w := &sweeper{alone: j.alone, ctx: ctx, store: s, month: m, now: now, clock: j.now, report: report}
			err = w.volume(o.All)
		}
		switch {
		case errors.Is(err, errMoved):
			report.Postponed = append(report.Postponed, m)
		case errors.Is(err, errAnyChunk):
			report.Damaged = append(report.Damaged, m)
			j.log.Error("month not swept: verify it", "month", m, "error", err)
		case err != nil && !passed.Add(j.monthError(ctx, m, err)):
			return report, fmt.Errorf("sweep %s: %w", m, err)
		}
	}
	return report, passed.Err()
}

// errAnyChunk says that nobody can tell which chunks an entry refers to.
var errAnyChunk = errors.New("a damaged entry may need any chunk of the month")

// sweeper sweeps one volume.
type sweeper struct {
	alone  bool // as Journal.alone
	ctx    context.Context
	store  kv.Store
	month  kv.Month
	now    time.Time        // when the run began
	clock  func() time.Time // now, which may be much later
	report *SweepReport
}

func compareIDs(a, b ChunkID) int { return bytes.Compare(a[:], b[:]) }

func contains(sorted []ChunkID, id ChunkID) bool {
	_, ok := slices.BinarySearchFunc(sorted, id, compareIDs)
	return ok
}

// oldEnoughID is above the ids of all chunks old enough to be swept: no draft that made one can still be committed.
func (w *sweeper) oldEnoughID() (id ChunkID) {
	binary.BigEndian.PutUint64(id[:], uint64(w.now.Add(-sweepPause).UnixNano()))
	return id
}

func (w *sweeper) volume(all bool) error {
	found, err := w.candidates(all)
	if err != nil {
		return err
	}
	if len(found.fresh)+len(found.due) > 0 {
		referred, err := w.references()
		if err != nil {
			return err
		}
		if err := w.mark(found.fresh, referred); err != nil {
			return fmt.Errorf("mark chunks: %w", err)
		}
		garbage, err := w.judge(found.due, referred)
		if err != nil {
			return fmt.Errorf("judge marked chunks: %w", err)
		}
		found.garbage = append(found.garbage, garbage...)
		slices.SortFunc(found.garbage, func(a, b kv.Garbage) int { return bytes.Compare(a.Key, b.Key) })
	}
	if err := w.purge(found.garbage); err != nil {
		return fmt.Errorf("delete chunks: %w", err)
	}
	return nil
}

// candidates are the chunks of a volume that a sweep looks at, each list sorted.
type candidates struct {
	fresh   []ChunkID    // to be marked
	due     []ChunkID    // marked long enough ago
	garbage []kv.Garbage // beyond the reach of any reference
}

func (w *sweeper) candidates(all bool) (found candidates, err error) {
	oldEnough := w.oldEnoughID()
	marked := make(map[ChunkID]bool)
	for p, err := range w.store.Scan(w.ctx, []byte{'x'}, []byte{'x' + 1}) {
		if err != nil {
			return candidates{}, err
		}
		var id ChunkID
		if len(p.Key) != 1+len(id) {
			continue // Verify reports it
		}
		copy(id[:], p.Key[1:])
		at, size, state := decodeSpare(p.Value)
		marked[id] = state != spareFresh
		switch {
		case state == spareGarbage:
			found.garbage = append(found.garbage, kv.Garbage{Key: chunkKey(id), Size: size, Due: !at.Add(purgeLatest).After(w.now)})
		case state == spareMarked && !at.Add(sweepPause).After(w.now):
			found.due = append(found.due, id)
		case state == spareFresh && compareIDs(id, oldEnough) < 0:
			found.fresh = append(found.fresh, id)
		}
	}
	if !all {
		return found, nil
	}
	found.fresh = found.fresh[:0]
	for p, err := range w.store.Scan(w.ctx, chunkKey(ChunkID{}), chunkKey(oldEnough)) {
		if err != nil {
			return candidates{}, err
		}
		var id ChunkID
		if len(p.Key) == 1+len(id) {
			if copy(id[:], p.Key[1:]); !marked[id] {
				found.fresh = append(found.fresh, id)
			}
		}
	}
	return found, nil
}

// The states of a spare chunk, by the length of the value of its x key.
const (
	spareFresh   = 0  // it is to be looked at
	spareMarked  = 8  // time of the mark: no draft finds it any more
	spareGarbage = 16 // time of the mark, bytes stored: nobody can refer to it
)

// decodeSpare reads the value of an x key. A malformed one counts as fresh.
func decodeSpare(v []byte) (at time.Time, size int64, state int) {
	switch len(v) {
	case spareGarbage:
		size = int64(binary.BigEndian.Uint64(v[8:]))
		fallthrough
	case spareMarked:
		return time.Unix(0, int64(binary.BigEndian.Uint64(v))), size, len(v)
	}
	return time.Time{}, 0, spareFresh
}

// references returns the sorted ids of all chunks that entries refer to, those put aside included.
func (w *sweeper) references() ([]ChunkID, error) {
	for range maxSweepTries {
		before, err := w.moves()
		if err != nil {
			return nil, err
		}
		var referred []ChunkID
		for _, kind := range []byte{'e', 't'} {
			for p, err := range w.store.Scan(w.ctx, []byte{kind}, []byte{kind + 1}) {
				if err != nil {
					return nil, err
				}
				salvaged := salvage
				if kind == 't' {
					salvaged = salvageAside
				}
				e, whole := salvaged(Ref{}, p.Value)
				if !whole {
					return nil, fmt.Errorf("%w: %q", errAnyChunk, p.Key)
				}
				for _, c := range e.Chunks {
					referred = append(referred, c.ID)
				}
			}
		}
		now, err := w.moves()
		if err != nil {
			return nil, err
		}
		if bytes.Equal(before, now) {
			slices.SortFunc(referred, compareIDs)
			return slices.Compact(referred), nil
		}
	}
	return nil, errMoved
}

func (w *sweeper) moves() ([]byte, error) {
	v, err := w.store.Get(w.ctx, movesKey)
	if errors.Is(err, kv.ErrNotFound) {
		return nil, nil
	}
	return v, err
}

// mark hides the chunks that no entry refers to from drafts, and then puts the time on their x keys. Referenced chunks are not looked at
// again until another entry is removed.
func (w *sweeper) mark(fresh, referred []ChunkID) error {
	spare := slices.DeleteFunc(slices.Clone(fresh), func(id ChunkID) bool { return contains(referred, id) })
	type digest struct {
		key []byte
		id  ChunkID
	}
	var digests []digest
	if len(spare) > 0 {
		for p, err := range w.store.Scan(w.ctx, []byte{'h'}, []byte{'h' + 1}) {
			if err != nil {
				return err
			}
			if len(p.Value) == len(ChunkID{}) && contains(spare, ChunkID(p.Value)) {
				digests = append(digests, digest{p.Key, ChunkID(p.Value)})
			}
		}
	}
	err := inGroups(digests, func(group []digest) error {
		return w.store.Update(w.ctx, w.sweepLocks(), func(tx kv.Tx) error {
			for _, d := range group {
				v, err := tx.Get(d.key)
				if err != nil && !errors.Is(err, kv.ErrNotFound) {
					return err
				}
				if bytes.Equal(v, d.id[:]) {
					tx.Delete(d.key)
				}
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	// Take the time now: a draft may have found one of them until the last h key went.
	value := binary.BigEndian.AppendUint64(nil, uint64(w.clock().UnixNano()))
	return inGroups(fresh, func(group []ChunkID) error {
		marked := int64(0)
		err := w.store.Update(w.ctx, w.sweepLocks(), func(tx kv.Tx) error {
			marked = 0
			for _, id := range group {
				if contains(referred, id) {
					tx.Delete(spareKey(id))
					continue
				}
				tx.Put(spareKey(id), value)
				marked++
			}
			return nil
		})
		w.report.Marked += marked
		return err
	})
}

// judge turns the marked chunks that still no entry refers to into garbage, and returns it.
func (w *sweeper) judge(due, referred []ChunkID) (garbage []kv.Garbage, err error) {
	err = inGroups(due, func(group []ChunkID) error {
		// Read the chunks before the update, to hold no other update up.
		sizes := make([]int64, len(group))
		for i, id := range group {
			if contains(referred, id) {
				continue
			}
			v, err := w.store.Get(w.ctx, chunkKey(id))
			if err != nil && !errors.Is(err, kv.ErrNotFound) {
				return err
			}
			sizes[i] = int64(len(v)) // 0: it was never stored
		}
		var found []kv.Garbage
		err := w.store.Update(w.ctx, w.sweepLocks(), func(tx kv.Tx) error {
			found = found[:0]
			for i, id := range group {
				mark, err := tx.Get(spareKey(id))
				if errors.Is(err, kv.ErrNotFound) || err == nil && len(mark) != spareMarked {
					continue // another entry that referred to it is gone since
				}
				if err != nil {
					return err
				}
				if sizes[i] == 0 {
					tx.Delete(spareKey(id))
					continue
				}
				tx.Put(spareKey(id), binary.BigEndian.AppendUint64(mark, uint64(sizes[i])))
				found = append(found, kv.Garbage{Key: chunkKey(id), Size: sizes[i]})
			}
			return nil
		})
		if err == nil {
			garbage = append(garbage, found...)
		}
		return err
	})
	return garbage, err
}

// purge hands the garbage to the store, and forgets what that deleted.
func (w *sweeper) purge(garbage []kv.Garbage) error {
	for _, g := range garbage {
		w.report.Waiting += g.Size
	}
	return w.store.Purge(w.ctx, garbage, func(gone []kv.Garbage) error {
		err := inGroups(gone, func(group []kv.Garbage) error {
			return w.store.Update(w.ctx, nil, func(tx kv.Tx) error {
				for _, g := range group {
					tx.Delete(spareKey(ChunkID(g.Key[1:])))
				}
				return nil
			})
		})
		if err != nil {
			return err
		}
		for _, g := range gone {
			w.report.Deleted++
			w.report.Bytes += g.Size
			w.report.Waiting -= g.Size
		}
		return nil
	})
}

// sweepGroup is how many keys one update of the sweep reads and writes: deliveries to that month wait for it.
const sweepGroup = 100

// inGroups calls fn with as many elements as one update takes, until none is left.
func inGroups[E any](list []E, fn func(group []E) error) error {
	for len(list) > 0 {
		n := min(len(list), sweepGroup)
		if err := fn(list[:n]); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}
