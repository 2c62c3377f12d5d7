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

// Why Purge works in steps: LevelDB frees the space of a deleted key when it merges the key's table with the deletion, which comes down
// from level 0. A deletion among other updates gets into a table of level 0 that reaches up to the engine's own keys, which sort last; merging
// that rewrites all of level 1 from the deleted key on. So each step deletes keys of one table only. The deletions become a table of level 0
// that overlaps that one table and nothing else, and both are merged at once. A step is taken only if a good part of its table is garbage, or some
// of it is due; the manifest tells beforehand what it costs.
//
// goleveldb counts the table that it makes of the log when it opens a database twice, so it does not remove that file when it has merged it: it
// does when it opens the database the next time.
//
// A batch that fills LevelDB's write buffer gets a table of its own. The batch of a step is padded with a value that it deletes again.

const (
	// worthWriting is how many bytes may be written for each byte freed.
	worthWriting = 4
	// largestStep is how many bytes of tables a step may merge, unless it is due. It is more than one table only while keys are still in level 0.
	largestStep = 192 << 20
	// leastPause is the least pause after a step. A pause lasts as long as its step did.
	leastPause = 20 * time.Millisecond
	// flushWait is how long a step waits for its deletions to become a table before it writes them again, up to flushTries times.
	flushWait  = 250 * time.Millisecond
	flushTries = 10
)

// purgeStep is a part of the garbage that is deleted and merged together.
type purgeStep struct {
	garbage []kv.Garbage
	buffer  int   // bytes of the write buffer that its batch must fill
	merged  int64 // bytes of the tables that it merges
	freed   int64 // bytes of the garbage
	due     bool  // it is to be taken whatever it costs
}

// first and last are the ends of the keys.
func (p *purgeStep) first() []byte { return p.garbage[0].Key }
func (p *purgeStep) last() []byte  { return p.garbage[len(p.garbage)-1].Key }

// worth reports whether a step frees enough for what it writes: the rest of the tables, and its batch twice, to the log and to a table. One that
// is due always does.
func (p *purgeStep) worth() bool {
	if p.due {
		return true
	}
	batch := int64(p.buffer + len(p.garbage)*keyOverhead)
	return p.merged <= largestStep && max(0, p.merged-p.freed)+2*batch <= worthWriting*p.freed
}

// planPurge returns the steps worth taking. The garbage ascends.
func planPurge(tables levels, garbage []kv.Garbage, buffer int) []purgeStep {
	var steps []purgeStep
	take := func(group []kv.Garbage) {
		step := purgeStep{garbage: group, buffer: buffer}
		for _, g := range group {
			step.freed += g.Size
			step.due = step.due || g.Due
		}
		step.merged = tables.merge(step.first(), step.last())
		if step.worth() {
			steps = append(steps, step)
		}
	}
	// Keys of one table make one step; neighbouring keys of level 0 make one, whatever their table.
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

// keyOverhead is about how many bytes a deleted key takes in a log or table.
const keyOverhead = 40

// holder returns where a key lies: the number of the table that spans it in the deepest level, 0 for any table of level 0, or -1 for
// none.
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

// find returns the index of the table that spans a key. The tables ascend and do not overlap.
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

// merge returns how many bytes of tables LevelDB merges when it compacts a span: those of level 0 that overlap the span or each other, those
// of level 1 that overlap any of these, and those of each deeper level that overlap the span.
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

// Purge implements kv.Store. It leaves the volume that mail is written to alone, and stops while LevelDB holds back writes to any store.
func (s *store) Purge(ctx context.Context, garbage []kv.Garbage, done func([]kv.Garbage) error) error {
	for _, g := range garbage {
		if err := kv.CheckKey(g.Key); err != nil {
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

// planPurge returns the steps to take now.
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

// purgeStep deletes the keys of a step and merges the tables.
func (s *store) purgeStep(ctx context.Context, step *purgeStep) error {
	before, err := s.deletions(ctx, step)
	if err != nil {
		return err
	}
	for range flushTries {
		if err := s.inCommitter(ctx, func() error { return s.writePurge(step) }); err != nil {
			return err
		}
		// goleveldb may leave a full buffer unwritten until the next one is full.
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
	return fmt.Errorf("%w: the deletions did not become a table", kv.ErrUnavailable)
}

// deletions counts the tables of level 0, past ones included, that span exactly the keys of a step. LevelDB may merge one as soon as it is
// made.
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

// errGrown says that a store has a larger buffer now, because it is written to. That makes all steps dearer.
var errGrown = errors.New("the write buffer has grown")

// writePurge writes the batch of a step. Unlike all others it has no sequence number: if it is lost, the garbage is back, and that is all.
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
	deleted := make(map[string]position, len(step.garbage))
	for _, g := range step.garbage {
		deletions.Delete(g.Key)
		deleted[string(g.Key)] = position{length: -1}
	}
	d.values.begin(deleted)
	err := d.db.Write(deletions, synced)
	d.values.end(nil)
	if err != nil {
		s.engine.meters.failedCommits.Inc()
		s.fail(&batch{d: d}, err)
		return s.downErr
	}
	return nil
}

// compact lets LevelDB compact the tables that overlap a span, ends included. When ctx ends it returns, and the compaction goes on until it
// is done or the store is closed.
func (s *store) compact(ctx context.Context, first, last []byte) error {
	h, err := s.acquire(ctx)
	if err != nil {
		return err
	}
	// Release the database before the compaction ends: otherwise a failed write would wait for it. Closing ends the compaction.
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

// inCommitter lets the committer run a function between two batches, and returns its error.
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

// heldBack reports whether LevelDB holds back writes to any store, or is about to.
func (e *Engine) heldBack() bool {
	for _, s := range e.openStores() {
		if s.behind() {
			return true
		}
	}
	return false
}
