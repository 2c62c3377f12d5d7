package journal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"copialettere/journal/kv"
)

// indexRest is how many times as long as it worked KeepIndexed rests while it goes over all months.
const indexRest = 3

// indexEvery is how often KeepIndexed goes over all months: for those that have ended since, and for what other processes have journaled.
const indexEvery = 6 * time.Hour

// indexLeast is how many UIDs of a month that is over are worth a block of their own.
const indexLeast = 64

func newIndexing() indexing {
	return indexing{full: make(map[filledFolder]bool), awake: make(chan struct{}, 1)}
}

// indexing notes the folders that have a full block to be made.
type indexing struct {
	mu    sync.Mutex
	full  map[filledFolder]bool // guarded by mu
	awake chan struct{}         // has room for one: full has something
}

// filledFolder is a folder of one mailbox and month.
type filledFolder struct {
	month           kv.Month
	mailbox, folder string
}

// filled notes folders in which an UID was taken that fills a block.
func (x *indexing) filled(folders []filledFolder) {
	if len(folders) == 0 {
		return
	}
	x.mu.Lock()
	for _, f := range folders {
		x.full[f] = true
	}
	x.mu.Unlock()
	select {
	case x.awake <- struct{}{}:
	default:
	}
}

// take returns what was noted, and forgets it.
func (x *indexing) take() map[filledFolder]bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	full := x.full
	x.full = make(map[filledFolder]bool)
	return full
}

// KeepIndexed keeps the indexes by which entries are found without reading all of them, until ctx ends: it makes the blocks of what has come since, and those
// that are missing of older months, where it rests for three quarters of the time. It can break off anywhere: what has no block yet is read itself, and
// comes next. failed, which may be called by two goroutines, is told of errors; none ends it. Call it once.
func (j *Journal) KeepIndexed(ctx context.Context, failed func(error)) {
	tell := func(err error) {
		if err != nil && ctx.Err() == nil {
			failed(err)
		}
	}
	// What comes now does not wait for the months that are over.
	var older sync.WaitGroup
	defer older.Wait()
	older.Go(func() {
		again := time.NewTicker(indexEvery)
		defer again.Stop()
		for {
			tell(j.Index(ctx, indexRest))
			select {
			case <-ctx.Done():
				return
			case <-again.C:
			}
		}
	})
	for {
		select {
		case <-ctx.Done():
			return
		case <-j.indexing.awake:
			tell(j.indexFilled(ctx))
		}
	}
}

// indexFilled makes the blocks that are full since it was last called.
func (j *Journal) indexFilled(ctx context.Context) error {
	var errs []error
	for f := range j.indexing.take() {
		s, err := j.volume(ctx, f.month, false)
		if errors.Is(err, kv.ErrNoVolume) {
			continue
		}
		if err == nil {
			err = j.indexFolder(ctx, monthStore{s, f.month}, f.mailbox, f.folder, 0)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("index %s/%s of %s: %w", f.folder, f.month, f.mailbox, j.monthError(ctx, f.month, err)))
		}
	}
	return errors.Join(errs...)
}

// Index makes all blocks of indexes that are missing. It rests so many times as long as it works. The error is PassedOver if months were.
func (j *Journal) Index(ctx context.Context, rest int) error {
	var passed PassedOver
	for s, err := range j.volumes(ctx) {
		if err == nil {
			err = j.monthError(ctx, s.month, j.indexMonth(ctx, s, rest))
		}
		if err != nil && !passed.Add(err) {
			return fmt.Errorf("index: %w", err)
		}
	}
	return passed.Err()
}

func (j *Journal) indexMonth(ctx context.Context, s monthStore, rest int) error {
	from := []byte{'s'}
	for end := after(from); ; {
		p, err := firstOf(ctx, s, from, end)
		if errors.Is(err, kv.ErrNotFound) || j.dropped(ctx, s.month, err) {
			return nil
		}
		if err != nil {
			return err
		}
		from = append(p.Key, 0) // seek the next key: a scan would pass all earlier values of this one
		mailbox, folder, _, err := splitFolderKey(p.Key)
		if err != nil {
			continue // Verify reports it
		}
		if err := j.indexFolder(ctx, s, mailbox, folder, rest); err != nil && !j.dropped(ctx, s.month, err) {
			return err
		}
	}
}

// indexFolder makes the blocks of a folder that are missing behind the last one that is there.
func (j *Journal) indexFolder(ctx context.Context, s monthStore, mailbox, folder string, rest int) error {
	// The counters first: every entry below the next UID is then there, or gone.
	v, err := s.Get(ctx, counterKey(mailbox, folder))
	if errors.Is(err, kv.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	counters, err := decodeCounters(v)
	if err != nil {
		return nil // Verify reports it
	}
	end := counters.nextUID / indexBlock * indexBlock
	if s.month.Next().Start().Before(j.now()) {
		end = counters.nextUID
	}
	from, err := indexedBelow(ctx, s, mailbox, folder, end, counters.uidValidity)
	if err != nil || end < from || end-from < indexLeast {
		return err
	}
	since := time.Now()
	blocks := groups[kv.Pair]{size: indexGroup, do: func(group []kv.Pair) error {
		if err := j.putIndex(ctx, s, mailbox, folder, counters.uidValidity, group); err != nil {
			return err
		}
		timer := time.NewTimer(time.Duration(rest) * time.Since(since))
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
		}
		since = time.Now()
		return nil
	}}
	for x, err := range blocksOf(ctx, s, mailbox, folder, from/indexBlock*indexBlock, end, counters.uidValidity) {
		if err != nil {
			return err
		}
		if err := blocks.add(kv.Pair{Key: indexKey(mailbox, folder, x.first/indexBlock), Value: x.encode()}); err != nil {
			return err
		}
	}
	return blocks.flush()
}

// indexGroup is how many blocks one update writes.
const indexGroup = 16

// indexedBelow returns the end of the newest block of a folder that counts, or 0: where the blocks that are missing begin. They are made in order.
func indexedBelow(ctx context.Context, s kv.Store, mailbox, folder string, end, validity uint32) (uint32, error) {
	if end == 0 {
		return 0, nil
	}
	for n := int64(end-1) / indexBlock; n >= 0; n-- {
		v, err := s.Get(ctx, indexKey(mailbox, folder, uint32(n)))
		if errors.Is(err, kv.ErrNotFound) {
			continue
		}
		if err != nil {
			return 0, err
		}
		if x, err := decodeIndexed(uint32(n), v); err == nil && x.uidValidity == validity {
			return x.last() + 1, nil
		}
	}
	return 0, nil
}

// blocksOf yields the blocks of a folder from the first UID of one up to a last UID, as they follow from the entries. A block without entries is left out,
// and so is one with an entry that cannot be read: whoever reads there is to hear of it.
func blocksOf(ctx context.Context, s monthStore, mailbox, folder string, from, end, validity uint32) iter.Seq2[*indexed, error] {
	return func(yield func(*indexed, error) bool) {
		var x *indexed
		var unread bool
		done := func() bool {
			if x == nil || unread {
				return true
			}
			x.extend(min(x.first+(indexBlock-1), end-1))
			return yield(x, nil)
		}
		first := Ref{Mailbox: mailbox, Month: s.month, Folder: folder, UID: from}
		for p, err := range s.Scan(ctx, entryKey(first), after(folderKey('e', mailbox, folder))) {
			if err != nil {
				yield(nil, err)
				return
			}
			r, err := refOf(s.month, p.Key)
			if err != nil {
				continue // Verify reports it
			}
			if r.UID >= end {
				break
			}
			if x == nil || r.UID-x.first >= indexBlock {
				if !done() {
					return
				}
				x, unread = &indexed{first: r.UID / indexBlock * indexBlock, uidValidity: validity}, false
			}
			if e, err := decodeHead(r, p.Value); err != nil {
				unread = true
			} else {
				x.add(e)
			}
		}
		done()
	}
}

// putIndex writes blocks of a folder, unless it was erased meanwhile.
func (j *Journal) putIndex(ctx context.Context, s monthStore, mailbox, folder string, validity uint32, blocks []kv.Pair) error {
	err := s.Update(ctx, []string{mailbox}, func(tx kv.Tx) error {
		counters, err := getCounters(tx, mailbox, folder)
		if err != nil || counters.uidValidity != validity {
			return err
		}
		for _, b := range blocks {
			tx.Put(b.Key, b.Value)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write the index of %s: %w", mailbox, err)
	}
	return nil
}
