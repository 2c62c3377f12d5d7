package level

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/util"

	"copialettere/journal/kv"
)

// LevelDB gives the room of a deleted key back when it merges the table that holds it with the deletion, which comes down from level 0. A
// deletion among other updates ends up in a table of level 0 that reaches to the engine's own keys, behind all others, and the merge of
// such a table rewrites all of level 1 from the deleted key on. So Purge deletes in steps, each with the keys of one table: they become
// a table of level 0 of their own, which overlaps that one table and nothing else, and are merged with it at once. A step is taken only
// where a good part of its table is garbage. What a step costs is known before, from the manifest.
//
// A batch that fills LevelDB's write buffer gets a table of its own. That of a step is filled up with a value that it deletes again.

const (
	// worthWriting is how many bytes are written at most for each one that is freed.
	worthWriting = 4
	// largestStep is how many bytes of tables a step may merge. Only where keys lie in level 0 yet are there more than one.
	largestStep = 192 << 20
	// leastPause is the least time between two steps. It is as long as the step was.
	leastPause = 20 * time.Millisecond
	// flushWait is how long a step waits for its deletions to become a table before it writes them again.
	flushWait  = 250 * time.Millisecond
	flushTries = 10
)

// purgeStep is a part of the garbage that is deleted and merged at once.
type purgeStep struct {
	garbage []kv.Garbage
	buffer  int   // bytes of the write buffer that its batch is to fill
	merged  int64 // bytes of the tables that it merges
	freed   int64 // bytes of the garbage
}

// first and last are the ends of the keys.
func (p *purgeStep) first() []byte { return p.garbage[0].Key }
func (p *purgeStep) last() []byte  { return p.garbage[len(p.garbage)-1].Key }

// worth says whether a step frees enough for what it writes: the rest of the tables, and its batch, to the log and to a table.
func (p *purgeStep) worth() bool {
	batch := int64(p.buffer + len(p.garbage)*keyOverhead)
	return p.merged <= largestStep && max(0, p.merged-p.freed)+2*batch <= worthWriting*p.freed
}

// planPurge returns the steps that are worth while. The garbage ascends.
func planPurge(tables levels, garbage []kv.Garbage, buffer int) []purgeStep {
	var steps []purgeStep
	take := func(group []kv.Garbage) {
		step := purgeStep{garbage: group, buffer: buffer}
		for _, g := range group {
			step.freed += g.Size
		}
		step.merged = tables.merge(step.first(), step.last())
		if step.worth() {
			steps = append(steps, step)
		}
	}
	// The keys of one table make a step, and those of level 0 make one together.
	start, in := 0, -1
	for i, g := range garbage {
		holder := tables.holder(g.Key)
		if i > start && holder != in {
			if in >= 0 {
				take(garbage[start:i])
			}
			start = i
		}
		in = holder
	}
	if in >= 0 {
		take(garbage[start:])
	}
	return steps
}

// keyOverhead is about what a deleted key takes in a log or table.
const keyOverhead = 40

// holder returns a number for where a key lies: that of the table in the lowest level that reaches over it, 0 for all of level 0, and -1
// where there is no such table.
func (l levels) holder(key []byte) int {
	if len(l) == 0 {
		return -1
	}
	if slices.ContainsFunc(l[0], func(t table) bool { return t.holds(key) }) {
		return 0
	}
	for n := len(l) - 1; n > 0; n-- {
		if i, found := find(l[n], key); found {
			return int(l[n][i].number)
		}
	}
	return -1
}

// find returns the table that reaches over a key. The tables ascend, and do not overlap.
func find(tables []table, key []byte) (int, bool) {
	return slices.BinarySearchFunc(tables, key, func(t table, key []byte) int {
		switch {
		case bytes.Compare(t.last, key) < 0:
			return -1
		case bytes.Compare(t.first, key) > 0:
			return 1
		}
		return 0
	})
}

// merge returns how many bytes of tables LevelDB reads, and writes what is left of, when it compacts a span: of level 0 all that overlaps,
// with all of level 1 that overlaps any of it, and of each further level what overlaps the span.
func (l levels) merge(first, last []byte) int64 {
	var size int64
	wide := [2][]byte{first, last}
	taken := make(map[int64]bool)
	for n := 0; n < len(l); n++ {
		from, to := first, last
		if n == 1 {
			from, to = wide[0], wide[1]
		}
		for again := true; again; {
			again = false
			for _, t := range l[n] {
				if n == 0 {
					from, to = wide[0], wide[1]
				}
				if taken[t.number] || !t.overlaps(from, to) {
					continue
				}
				taken[t.number] = true
				size += t.size
				if n == 0 {
					again = true
					wide[0], wide[1] = least(wide[0], t.first), most(wide[1], t.last)
				}
			}
		}
	}
	return size
}

func least(a, b []byte) []byte {
	if bytes.Compare(a, b) < 0 {
		return a
	}
	return b
}

func most(a, b []byte) []byte {
	if bytes.Compare(a, b) > 0 {
		return a
	}
	return b
}

func sortTables(tables []table) {
	slices.SortFunc(tables, func(a, b table) int { return bytes.Compare(a.first, b.first) })
}

// Purge implements kv.Store. Nothing goes from the volume that mail is written to, and nothing while any store holds writes back.
func (s *store) Purge(ctx context.Context, garbage []kv.Garbage, done func([]kv.Garbage) error) error {
	for _, g := range garbage {
		if err := checkKey(g.Key); err != nil {
			return err
		}
	}
	steps, err := s.planPurge(ctx, garbage)
	if err != nil {
		return fmt.Errorf("purge store %s: %w", s.name, err)
	}
	for i := range steps {
		if s.engine.heldBack() {
			return nil
		}
		start := time.Now()
		if err := s.purgeStep(ctx, &steps[i]); errors.Is(err, errGrown) {
			return nil
		} else if err != nil {
			return fmt.Errorf("purge store %s: %w", s.name, err)
		}
		if err := done(steps[i].garbage); err != nil {
			return err
		}
		select {
		case <-time.After(max(leastPause, time.Since(start))):
		case <-s.stop:
			return s.closedErr("purge")
		case <-ctx.Done():
			return fmt.Errorf("purge store %s: %w", s.name, ctx.Err())
		}
	}
	return nil
}

// planPurge returns what is to be purged now.
func (s *store) planPurge(ctx context.Context, garbage []kv.Garbage) ([]purgeStep, error) {
	h, err := s.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer h.release()
	if len(garbage) == 0 || s.name == settingsName || s.engine.newest(s.name) {
		return nil, nil
	}
	tables, err := readLevels(h.files, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", kv.ErrUnavailable, err)
	}
	return planPurge(tables, garbage, h.writeBuffer), nil
}

// purgeStep deletes the keys of a step, and merges them.
func (s *store) purgeStep(ctx context.Context, step *purgeStep) error {
	before, err := s.deletions(ctx, step)
	if err != nil {
		return err
	}
	for range flushTries {
		if err := s.inCommitter(ctx, func() error { return s.writePurge(step) }); err != nil {
			return err
		}
		// goleveldb may forget to write a full buffer to a table until the next one is full.
		for pause, waited := time.Millisecond, time.Duration(0); waited < flushWait; waited, pause = waited+pause, 2*pause {
			if now, err := s.deletions(ctx, step); err != nil {
				return err
			} else if now > before {
				return s.compact(ctx, step.first(), step.last())
			}
			select {
			case <-time.After(pause):
			case <-s.stop:
				return s.closedErr("purge")
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return fmt.Errorf("%w: what was deleted did not become a table", kv.ErrUnavailable)
}

// deletions counts the tables of level 0 that there ever were with the keys of a step. One may be merged by itself as soon as it is made.
func (s *store) deletions(ctx context.Context, step *purgeStep) (count int, err error) {
	h, err := s.acquire(ctx)
	if err != nil {
		return 0, err
	}
	defer h.release()
	_, err = readLevels(h.files, func(level int, t table) {
		if level == 0 && bytes.Equal(t.first, step.first()) && bytes.Equal(t.last, step.last()) {
			count++
		}
	})
	if err != nil {
		return 0, fmt.Errorf("%w: %w", kv.ErrUnavailable, err)
	}
	return count, nil
}

// errGrown says that a store has a larger buffer now, which makes all steps dearer: it is being written to.
var errGrown = errors.New("the write buffer has grown")

// writePurge writes the batch of a step. It has no sequence number of ours, unlike all others: were it lost, there would be garbage again.
func (s *store) writePurge(step *purgeStep) error {
	if err := s.openForWriting(); err != nil {
		return err
	}
	d := s.current
	if d.writeBuffer > step.buffer {
		return errGrown
	}
	deletions := leveldb.MakeBatch(d.writeBuffer + len(step.garbage)*keyOverhead + 1<<10)
	deletions.Put(step.first(), make([]byte, d.writeBuffer))
	for _, g := range step.garbage {
		deletions.Delete(g.Key)
	}
	if err := d.db.Write(deletions, synced); err != nil {
		s.engine.meters.failedCommits.Inc()
		s.fail(&batch{d: d}, err)
		return s.downErr
	}
	return nil
}

// compact has LevelDB compact the tables that overlap a span, its ends included. At ctx's end it returns, while the compaction goes on
// until the store is closed.
func (s *store) compact(ctx context.Context, first, last []byte) error {
	h, err := s.acquire(ctx)
	if err != nil {
		return err
	}
	// The database may be closed meanwhile, which ends the compaction: were it held, a failed write would wait for it.
	finished := make(chan error, 1)
	h.compactions.Add(1)
	s.compactions.Go(func() {
		defer h.compactions.Add(-1)
		finished <- h.db.CompactRange(util.Range{Start: first, Limit: last})
	})
	h.release()
	select {
	case err := <-finished:
		switch {
		case err == nil:
			return nil
		case errors.Is(err, leveldb.ErrClosed):
			return s.closedErr("compact")
		}
		return fmt.Errorf("compact: %w: %w", kv.ErrUnavailable, err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// inCommitter has the committer do something between two batches, and returns its error.
func (s *store) inCommitter(ctx context.Context, do func() error) error {
	done := make(chan error, 1)
	select {
	case s.jobs <- func() { done <- do() }:
	case <-s.stop:
		return s.closedErr("update")
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// heldBack says whether LevelDB holds writes to any store back, or is about to: it has more tables in level 0 than it wants.
func (e *Engine) heldBack() bool {
	for _, s := range e.openStores() {
		if s.behind() {
			return true
		}
	}
	return false
}
