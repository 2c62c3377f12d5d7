package level

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/util"

	"copialettere/journal/kv"
)

// retryAfter is how long a database that could not be opened is left alone.
const retryAfter = time.Second

// A page of Scan ends with pageKeys pairs or pageBytes of keys and values, whatever comes first. The first page has one pair, and each
// has pageGrowth times as many as the one before, up to that: behind a key lie all its earlier values, and the keys that were deleted, which
// cost time until a compaction takes them away.
const (
	pageKeys   = 256
	pageBytes  = 1 << 20
	pageGrowth = 4
)

// store is the kv.Store of a volume or of the settings. Its database is opened and closed by its committer alone, as calls come
// and stay away; the store itself lives as long as the engine, or until the volume is dropped.
type store struct {
	engine *Engine
	name   string // of the folder
	path   string // of the folder

	requests chan *request   // Updates that wait for their turn; unbuffered, so who leaves the queue was never in it
	opens    chan chan error // who needs the database open
	jobs     chan func()     // what else the committer is to do between two batches
	idle     chan idleCheck  // close the database if nobody needs it
	stop     chan struct{}   // closed when the store is closed or dropped
	stopOnce sync.Once
	done     chan struct{} // closed when the committer has ended
	closeErr error         // of the last close; valid after done

	mu          sync.Mutex
	current     *database // nil: not open; set by the committer only; guarded by mu
	used        time.Time // when a call last began or ended; guarded by mu
	compactions sync.WaitGroup

	fence *fence // what keeps Updates out; set by the committer, under Engine.mu

	// Only the committer uses what follows.
	newestSeq uint64    // the newest sequence number that was acknowledged since the store was made
	written   time.Time // when a batch was last made durable
	opened    bool      // the database was open before
	grown     bool      // it is opened with a larger buffer, because it is written to
	retryAt   time.Time // no try to open it before
	downErr   error     // why the last try failed, or the last write
	reported  string    // what the log has been told about that
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

// acquire returns the open database, opening it where it is closed.
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

// Get implements kv.Store.
func (s *store) Get(ctx context.Context, key []byte) ([]byte, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
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
	return getAll(keys, h.get)
}

// getAll gets several keys, one after the other.
func getAll(keys [][]byte, get func(key []byte) ([]byte, error)) ([][]byte, error) {
	values := make([][]byte, len(keys))
	for i, key := range keys {
		err := checkKey(key)
		if err == nil {
			values[i], err = get(key)
		}
		if err != nil && !errors.Is(err, kv.ErrNotFound) {
			return nil, err
		}
	}
	return values, nil
}

// checkKey refuses the keys that belong to the engine.
func checkKey(key []byte) error {
	if len(key) == 0 || key[0] == kv.Reserved {
		return fmt.Errorf("key %q: empty, or reserved for the engine", key)
	}
	return nil
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
				// The consumer may change the key that it gets.
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

// page reads the pairs from a key on, as many as make a page of so many keys at most, and tells whether they are the last ones.
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

// idleCheck asks the committer to close a database that was not used since some time, if it is not one to keep; and one that was
// not written to since, if it still has the large buffer of the newest volume.
type idleCheck struct {
	since time.Time
	keep  bool
	gone  error // its folder is not there any more: close it in any case
}

// closeIfIdle has the committer do the check. It does not wait.
func (s *store) closeIfIdle(check idleCheck) {
	select {
	case s.idle <- check:
	default: // the committer is at work, so it is not idle
	}
}

// syncMark makes the acknowledged mark durable where it was written since.
func (s *store) syncMark() {
	s.mu.Lock()
	d := s.current
	if d != nil {
		d.readers.Add(1)
	}
	s.mu.Unlock()
	if d == nil {
		return
	}
	defer d.readers.Done()
	if err := d.mark.sync(); err != nil {
		s.engine.opts.Logger.Warn("acknowledged mark could not be synced", "store", s.name, "error", err)
	}
}

// stats returns what LevelDB tells of an open database; nothing of one that is not.
func (s *store) stats() (stats leveldb.DBStats) {
	s.mu.Lock()
	d := s.current
	if d != nil {
		d.readers.Add(1)
	}
	s.mu.Unlock()
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

// behind says whether LevelDB holds writes to the store back, or is about to.
func (s *store) behind() bool {
	stats := s.stats()
	return stats.WritePaused || len(stats.LevelTablesCounts) > 0 && stats.LevelTablesCounts[0] > compactFrom
}
