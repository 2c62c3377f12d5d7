package level

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/util"

	"copialettere/journal/kv"
)

// retryAfter is the least time between two tries to open a database.
const retryAfter = time.Second

// A page of Scan ends at pageKeys pairs or pageBytes of keys and values, whichever comes first. The first page is one pair; each next
// one has pageGrowth times as many, up to pageKeys. Small first pages are cheap: after a key lie its earlier values and deleted keys, which
// cost time until a compaction removes them.
const (
	pageKeys   = 256
	pageBytes  = 1 << 20
	pageGrowth = 4
)

// store is the kv.Store of a volume or of the settings. Its committer alone opens and closes the database, as calls come and stay
// away. The store itself lives as long as the engine, or until the volume is dropped.
type store struct {
	engine *Engine
	name   string // of the folder
	path   string // of the folder

	requests chan *request   // Updates that wait for their turn; unbuffered, so a caller that gives up was never queued
	opens    chan chan error // calls that need the database open
	jobs     chan func()     // other work for the committer, between two batches
	idle     chan idleCheck  // close the database if nobody needs it
	stop     chan struct{}   // closed when the store is closed or dropped
	stopOnce sync.Once
	done     chan struct{} // closed when the committer has ended
	closeErr error         // of the last close; valid after done

	mu          sync.Mutex
	current     *database // nil: not open; set by the committer only; guarded by mu
	used        time.Time // when a call last began or ended; guarded by mu
	compactions sync.WaitGroup
	inUse       atomic.Bool   // the database is open, or being opened or closed
	uses        atomic.Uint64 // how often it was opened, or tried

	fence *fence // keeps Updates out; set by the committer, under Engine.mu

	// Only the committer uses what follows.
	newestSeq uint64    // the newest sequence number acknowledged since the store was made
	written   time.Time // when a batch was last made durable
	opened    bool      // the database was open before
	grown     bool      // it has a larger buffer, because it is written to
	retryAt   time.Time // do not try to open it before
	downErr   error     // why the last try to open it, or the last write, failed
	reported  string    // the text of downErr that was logged last
	spare     *leveldb.Batch
}

var _ kv.Store = (*store)(nil)

func newStore(e *Engine, name, path string) *store {
	s := &store{
		engine: e, name: name, path: path,
		requests: make(chan *request), opens: make(chan chan error), jobs: make(chan func()), idle: make(chan idleCheck),
		stop: make(chan struct{}), done: make(chan struct{}),
		used: time.Now(),
	}
	go s.commitLoop()
	return s
}

// close ends the committer after the updates under way, and waits for it.
func (s *store) close() error {
	s.stopOnce.Do(func() { close(s.stop) })
	<-s.done
	return s.closeErr
}

func (s *store) closedErr(doing string) error {
	return fmt.Errorf("%s store %s: %w", doing, s.name, kv.ErrClosed)
}

func (s *store) isOpen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current != nil
}

// held is a database that stays open until it is released.
type held struct {
	*database
	store *store
}

func (h held) release() {
	h.store.mu.Lock()
	h.store.used = time.Now()
	h.store.mu.Unlock()
	h.readers.Done()
}

// acquire returns the database, opened if need be. The caller releases it.
func (s *store) acquire(ctx context.Context) (held, error) {
	for {
		if err := ctx.Err(); err != nil {
			return held{}, fmt.Errorf("read store %s: %w", s.name, err)
		}
		select {
		case <-s.stop:
			return held{}, s.closedErr("read")
		default:
		}
		s.mu.Lock()
		if d := s.current; d != nil {
			d.readers.Add(1)
			s.used = time.Now()
			s.mu.Unlock()
			return held{d, s}, nil
		}
		s.mu.Unlock()

		opened := make(chan error, 1)
		select {
		case s.opens <- opened:
		case <-s.stop:
			return held{}, s.closedErr("read")
		case <-ctx.Done():
			return held{}, fmt.Errorf("read store %s: waiting for it to open: %w", s.name, ctx.Err())
		}
		select {
		case err := <-opened:
			if err != nil {
				return held{}, err
			}
		case <-ctx.Done():
			return held{}, fmt.Errorf("read store %s: waiting for it to open: %w", s.name, ctx.Err())
		}
	}
}

// get returns the value of a caller's key, or kv.ErrNotFound.
func (h held) get(key []byte) ([]byte, error) {
	if err := kv.CheckKey(key); err != nil {
		return nil, err
	}
	return h.database.get(key)
}

// Get implements kv.Store.
func (s *store) Get(ctx context.Context, key []byte) ([]byte, error) {
	h, err := s.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer h.release()
	return h.get(key)
}

// GetAll implements kv.Store.
func (s *store) GetAll(ctx context.Context, keys [][]byte) ([][]byte, error) {
	h, err := s.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer h.release()
	return kv.GetEach(keys, h.get)
}

// Scan implements kv.Store.
func (s *store) Scan(ctx context.Context, from, to []byte) iter.Seq2[kv.Pair, error] {
	return func(yield func(kv.Pair, error) bool) {
		next := bytes.Clone(from)
		end := []byte{kv.Reserved}
		if to != nil && bytes.Compare(to, end) < 0 {
			end = bytes.Clone(to)
		}
		for keys := 1; bytes.Compare(next, end) < 0; keys = min(keys*pageGrowth, pageKeys) {
			page, last, err := s.page(ctx, next, end, keys)
			if err != nil {
				yield(kv.Pair{}, err)
				return
			}
			if len(page) > 0 {
				// The consumer may change the keys that it gets.
				next = append(bytes.Clone(page[len(page)-1].Key), 0)
			}
			for _, p := range page {
				if !yield(p, nil) {
					return
				}
			}
			if last {
				return
			}
		}
	}
}

// page reads a page of at most so many pairs from a key on, and reports whether it is the last.
func (s *store) page(ctx context.Context, from, to []byte, keys int) (page []kv.Pair, last bool, err error) {
	h, err := s.acquire(ctx)
	if err != nil {
		return nil, false, err
	}
	defer h.release()
	it := h.db.NewIterator(&util.Range{Start: from, Limit: to}, scanRead)
	defer it.Release()
	size := 0
	for len(page) < keys && size < pageBytes {
		if !it.Next() {
			if err := it.Error(); err != nil {
				return nil, false, fmt.Errorf("scan store %s: %w: %w", s.name, kv.ErrUnavailable, err)
			}
			return page, true, nil
		}
		page = append(page, kv.Pair{Key: bytes.Clone(it.Key()), Value: bytes.Clone(it.Value())})
		size += len(it.Key()) + len(it.Value())
		if err := ctx.Err(); err != nil {
			return nil, false, fmt.Errorf("scan store %s: %w", s.name, err)
		}
	}
	return page, false, nil
}

// Lost implements kv.Store.
func (s *store) Lost(ctx context.Context) ([]kv.Loss, error) {
	h, err := s.acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer h.release()
	losses, err := h.losses()
	if err != nil {
		return nil, fmt.Errorf("read losses of store %s: %w: %w", s.name, kv.ErrUnavailable, err)
	}
	return losses, nil
}

// idleCheck asks the committer to close a database that was not used since a time, unless it is to be kept. A database not written to
// since then is closed even if it is to be kept, when it still has the large buffer of the newest volume.
type idleCheck struct {
	since time.Time
	keep  bool
	gone  error // if not nil, its folder is gone: close it in any case
}

// closeIfIdle asks the committer for the check, and does not wait for it.
func (s *store) closeIfIdle(check idleCheck) {
	select {
	case s.idle <- check:
	default: // a committer at work is not idle
	}
}

// peek returns the database if it is open, or nil. Unlike acquire it neither opens the database nor counts as use. The caller ends
// with readers.Done.
func (s *store) peek() *database {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil {
		s.current.readers.Add(1)
	}
	return s.current
}

// syncMark makes the acknowledged mark of an open database durable.
func (s *store) syncMark() {
	d := s.peek()
	if d == nil {
		return
	}
	defer d.readers.Done()
	if err := d.mark.sync(); err != nil {
		s.engine.opts.Logger.Warn("acknowledged mark could not be synced", "store", s.name, "error", err)
	}
}

// stats returns LevelDB's statistics of an open database, and zeros for one that is not open.
func (s *store) stats() (stats leveldb.DBStats) {
	d := s.peek()
	if d == nil {
		return stats
	}
	defer d.readers.Done()
	if err := d.db.Stats(&stats); err != nil {
		return leveldb.DBStats{}
	}
	return stats
}

func (s *store) stallTime() time.Duration { return s.stats().WriteDelayDuration }

// behind reports whether LevelDB holds back writes to the store, or is about to.
func (s *store) behind() bool {
	stats := s.stats()
	return stats.WritePaused || len(stats.LevelTablesCounts) > 0 && stats.LevelTablesCounts[0] > compactFrom
}
