package level

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/syndtr/goleveldb/leveldb"

	"copialettere/journal/kv"
)

// A batch holds at most maxBatch bytes of keys and values. From gatherUpTo bytes on it takes no further updates, so the first ones do not
// wait long.
const (
	maxBatch   = kv.MaxUpdate
	gatherUpTo = 2 << 20
)

// request is an Update under way. The committer takes it from the queue, gives it its turn, and answers it.
type request struct {
	ctx   context.Context
	begun time.Time
	turn  chan *batch // the committer hands over its batch: fn may run, on the caller's goroutine
	ran   chan *batch // the caller hands it back, or a new one to be written after it, or nil: see batch.run
	done  chan error  // the answer

	locks []string
	over  atomic.Bool // it is answered, or its caller has left: whichever comes second releases the locks
}

// Update implements kv.Store. All Updates of a store run one after the other, whatever their locks. An fn that failed or wrote
// nothing may have read what is not durable yet, so it too is answered only when that is durable. The locks are held until the answer,
// even if the caller leaves earlier.
func (s *store) Update(ctx context.Context, locks []string, fn func(kv.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("update store %s: %w", s.name, err)
	}
	r := &request{
		ctx: ctx, begun: time.Now(),
		turn: make(chan *batch), ran: make(chan *batch, 1), done: make(chan error, 1),
	}
	if len(locks) > 0 {
		var err error
		if r.locks, err = s.engine.locks.acquire(ctx, s, locks); err != nil {
			return err
		}
	}
	underWay, answered := false, false
	defer func() {
		if underWay && !answered {
			r.locks = slices.Clone(r.locks) // the slice is the caller's
		}
		if !underWay || r.over.Swap(true) {
			s.engine.locks.release(r.locks)
		}
	}()
	select {
	case s.requests <- r:
	case <-s.stop:
		return s.closedErr("update")
	case <-ctx.Done():
		return fmt.Errorf("update store %s: waiting for its turn: %w", s.name, ctx.Err())
	}
	var fnErr error
	select {
	case b := <-r.turn:
		underWay = true
		fnErr = b.run(s, r, fn)
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("update store %s: waiting for its turn: %w", s.name, ctx.Err())
	}
	select {
	case err := <-r.done:
		answered = true
		if err != nil {
			return err
		}
		return fnErr
	case <-ctx.Done():
		return fmt.Errorf("update store %s: waiting for the disk: %w: %w", s.name, kv.ErrUnknown, ctx.Err())
	}
}

// answerOne answers a request. If its caller has left, it releases the locks.
func (s *store) answerOne(r *request, err error) {
	if r.over.Swap(true) {
		s.engine.locks.release(r.locks)
	}
	r.done <- err
}

// Stage implements kv.Store, as an Update: the package comment says why it syncs.
func (s *store) Stage(ctx context.Context, pairs []kv.Pair) (kv.Staged, error) {
	return nil, s.Update(ctx, nil, func(tx kv.Tx) error {
		for _, p := range pairs {
			tx.Put(p.Key, p.Value)
		}
		return nil
	})
}

// batch is what one write makes durable: the updates of one or more requests. One goroutine at a time uses it: the committer, or the
// caller whose turn it is.
type batch struct {
	d       *database
	records *leveldb.Batch
	size    int                 // sum of the lengths of keys and values
	overlay map[string]position // the newest value of each key in records
	waiting []*request          // to be answered when it is durable
	updates int                 // how many of them wrote something
}

// position is where a value ends in the records of a batch, and its length; -1 for a deleted key.
type position struct{ end, length int }

func (s *store) newBatch(d *database) *batch {
	records := s.spare
	s.spare = nil
	if records == nil {
		records = new(leveldb.Batch)
	}
	return &batch{d: d, records: records, overlay: make(map[string]position)}
}

// run runs an update against the batch. It hands back the batch that the answer waits for: this one, a new one if this one has no room,
// or nil if the answer waits for nothing.
func (b *batch) run(s *store, r *request, fn func(kv.Tx) error) error {
	var wrote *batch
	defer func() { r.ran <- wrote }() // even if fn panics or ends its goroutine
	t := &tx{store: s, ctx: r.ctx, batch: b, overlay: make(map[string]int)}
	err := fn(t)
	if err == nil {
		err = t.err
	}
	if err != nil || len(t.writes) == 0 {
		if len(b.waiting) > 0 {
			b.waiting = append(b.waiting, r)
			wrote = b
		}
		return err
	}
	into := b
	if b.size+t.size > maxBatch && b.size > 0 {
		into = &batch{d: b.d, records: new(leveldb.Batch), overlay: make(map[string]position)}
	}
	into.add(t)
	into.waiting = append(into.waiting, r)
	into.updates++
	wrote = into
	return nil
}

// add copies an update's writes into the batch. Afterwards their slices belong to the caller again.
func (b *batch) add(t *tx) {
	if room := t.size + 32*len(t.writes) + 1024; b.size == 0 && room > cap(b.records.Dump()) {
		b.records = leveldb.MakeBatch(room) // saves doubling and copying up to that size
	}
	for _, w := range t.writes {
		if w.deleted {
			b.records.Delete(w.key)
			b.overlay[string(w.key)] = position{length: -1}
			continue
		}
		b.records.Put(w.key, w.value)
		b.overlay[string(w.key)] = position{end: len(b.records.Dump()), length: len(w.value)}
	}
	b.size += t.size
}

func (b *batch) get(key []byte) ([]byte, error) {
	if _, ok := b.overlay[string(key)]; !ok {
		return b.d.get(key)
	}
	value, found := b.value(string(key))
	if !found {
		return nil, kv.ErrNotFound
	}
	return append(make([]byte, 0, len(value)), value...), nil
}

// value returns the value that the batch gives to a key of it, and false if it deletes the key. It belongs to the batch.
func (b *batch) value(key string) ([]byte, bool) {
	p := b.overlay[key]
	if p.length < 0 {
		return nil, false
	}
	return b.records.Dump()[p.end-p.length : p.end], true
}

// tx is the kv.Tx of one update.
type tx struct {
	store   *store
	ctx     context.Context
	batch   *batch
	writes  []write
	overlay map[string]int // index in writes of the newest write of each key
	size    int
	err     error // why the update must fail
}

type write struct {
	key, value []byte
	deleted    bool
}

// Get implements kv.View.
func (t *tx) Get(key []byte) ([]byte, error) {
	if err := kv.CheckKey(key); err != nil {
		return nil, err
	}
	if i, ok := t.overlay[string(key)]; ok {
		w := t.writes[i]
		if w.deleted {
			return nil, kv.ErrNotFound
		}
		return append(make([]byte, 0, len(w.value)), w.value...), nil
	}
	return t.batch.get(key)
}

// GetAll implements kv.View.
func (t *tx) GetAll(keys [][]byte) ([][]byte, error) { return kv.GetEach(keys, t.Get) }

// In implements kv.Tx. It cannot deadlock: reading another store needs its committer only to open the database, and a committer that waits
// for an fn has its database open.
func (t *tx) In(m kv.Month) (kv.View, error) {
	name := settingsName
	if m != "" {
		if err := checkMonth(m); err != nil {
			return nil, err
		}
		name = string(m)
	}
	if name == t.store.name {
		return t, nil
	}
	s, err := t.store.engine.store(t.ctx, name, m == "")
	if err != nil {
		return nil, err
	}
	return otherView{t.ctx, s}, nil
}

// otherView reads a store other than the Update's. What it reads is durable.
type otherView struct {
	ctx   context.Context
	store kv.Store
}

// Get implements kv.View.
func (v otherView) Get(key []byte) ([]byte, error) { return v.store.Get(v.ctx, key) }

// GetAll implements kv.View.
func (v otherView) GetAll(keys [][]byte) ([][]byte, error) { return v.store.GetAll(v.ctx, keys) }

// Needs implements kv.Tx: everything staged is durable already.
func (t *tx) Needs(kv.Staged) {}

// Put implements kv.Tx.
func (t *tx) Put(key, value []byte) { t.write(write{key: key, value: value}) }

// Delete implements kv.Tx.
func (t *tx) Delete(key []byte) { t.write(write{key: key, deleted: true}) }

func (t *tx) write(w write) {
	if t.err != nil {
		return
	}
	if t.err = kv.CheckKey(w.key); t.err != nil {
		return
	}
	t.size += len(w.key) + len(w.value)
	if t.size > kv.MaxUpdate {
		t.err = fmt.Errorf("more than %d bytes: %w", kv.MaxUpdate, kv.ErrTooLarge)
		t.writes, t.overlay = nil, nil
		return
	}
	if i, ok := t.overlay[string(w.key)]; ok {
		t.writes[i] = w // the last write of a key counts
		return
	}
	t.overlay[string(w.key)] = len(t.writes)
	t.writes = append(t.writes, w)
}

// commitLoop is the committer of the store: the only goroutine that opens, writes and closes its database.
func (s *store) commitLoop() {
	defer close(s.done)
	for {
		select {
		case <-s.stop:
			s.shrink()
			s.closeErr = s.closeDatabase()
			s.compactions.Wait()
			return
		case opened := <-s.opens:
			opened <- s.openDatabase()
		case job := <-s.jobs:
			job()
		case check := <-s.idle:
			s.closeUnused(check)
		case r := <-s.requests:
			s.serve(r)
		}
	}
}

// serve gathers a batch from a request and those that wait behind it, and writes it.
func (s *store) serve(r *request) {
	if s.fence != nil {
		s.answerOne(r, fmt.Errorf("update store %s: %w", s.name, kv.ErrFenced))
		return
	}
	if err := s.openForWriting(); err != nil {
		s.engine.meters.failedUpdates.Inc()
		s.answerOne(r, err)
		return
	}
	if err := s.grow(); err != nil {
		s.engine.meters.failedUpdates.Inc()
		s.answerOne(r, err)
		return
	}
	b := s.newBatch(s.current)
	for ; r != nil; r = s.nextRequest(b) {
		select {
		case r.turn <- b:
		case <-r.ctx.Done():
			continue
		}
		into := <-r.ran
		switch into {
		case nil:
			s.answerOne(r, nil)
		case b:
		default:
			// The update may have read from the full batch: write that first.
			if !s.commit(b) {
				s.answer(into, fmt.Errorf("update store %s, behind one that failed: %w", s.name, kv.ErrUnavailable))
				return
			}
			b = into
		}
	}
	s.commit(b)
}

// nextRequest returns a waiting request, or nil if there is none or the batch is large enough. It yields twice before giving up, so callers
// about to queue share this fsync.
func (s *store) nextRequest(b *batch) *request {
	if b.size >= gatherUpTo {
		return nil
	}
	for range 2 {
		select {
		case r := <-s.requests:
			return r
		default:
			runtime.Gosched()
		}
	}
	return nil
}

// commit makes a batch durable and answers its requests. It reports whether it succeeded.
func (s *store) commit(b *batch) bool {
	if len(b.waiting) == 0 {
		s.recycle(b)
		return true
	}
	m := s.engine.meters
	b.d.values.begin(b.overlay)
	err := b.d.write(b.records, b.updates, b.size)
	if err != nil {
		b.d.values.end(nil)
		m.failedCommits.Inc()
		s.fail(b, err)
		return false
	}
	b.d.values.end(b.value)
	s.newestSeq = b.d.seq
	m.commits.Inc()
	m.updates.Add(int64(b.updates))
	m.putBytes.Add(int64(b.size))
	s.answer(b, nil)
	s.recycle(b)
	return true
}

func (s *store) answer(b *batch, err error) {
	now := time.Now()
	for _, r := range b.waiting {
		if err == nil {
			s.engine.meters.commitSeconds.Observe(now.Sub(r.begun))
		} else {
			s.engine.meters.failedUpdates.Inc()
		}
		s.answerOne(r, err)
	}
	s.written = now
	s.mu.Lock()
	s.used = now
	s.mu.Unlock()
}

// recycle keeps the memory of a batch for the next one, unless it is unusually large.
func (s *store) recycle(b *batch) {
	if cap(b.records.Dump()) > 2*gatherUpTo {
		return
	}
	b.records.Reset()
	s.spare = b.records
}

// fail answers a batch that could not be written, and reopens the database: goleveldb must not go on writing to it. Waiting updates
// have not run yet. They run once it is open, or are answered if it cannot be opened.
func (s *store) fail(b *batch, cause error) {
	log := s.engine.opts.Logger.With("store", s.name)
	log.Error("write to the journal store failed, opening it again", "error", cause)
	s.reported = cause.Error()
	s.downErr = fmt.Errorf("update store %s: %w: %w: %w", s.name, kv.ErrUnavailable, kv.ErrUnknown, cause)
	s.answer(b, s.downErr)
	s.engine.meters.reopens.Inc()
	if err := s.closeDatabase(); err != nil {
		log.Warn("closing the store after a failed write", "error", err)
	}
	// The next caller gets the error.
	_ = s.openDatabase()
}

// openDatabase opens the database if it is closed, at least for reading. After a failure it returns the same error for a second before it
// tries again.
func (s *store) openDatabase() error {
	if s.current != nil {
		return nil
	}
	if time.Now().Before(s.retryAt) {
		return s.downErr
	}
	d, err := s.open()
	if err == nil {
		s.opened = true
		s.newestSeq = max(s.newestSeq, d.seq)
		s.mu.Lock()
		s.current, s.used = d, time.Now()
		s.mu.Unlock()
		s.engine.makeRoom()
		err = d.readOnly
	}
	s.report(err)
	if err == nil {
		s.retryAt = time.Time{}
		return nil
	}
	s.downErr = fmt.Errorf("open store %s: %w: %w", s.name, kv.ErrUnavailable, err)
	s.retryAt = time.Now().Add(retryAfter)
	if s.current != nil {
		return nil
	}
	return s.downErr
}

// openForWriting opens the database for writing. It reopens one that can only be read, or that had a failed sync.
func (s *store) openForWriting() error {
	if d := s.current; d != nil {
		cause := d.files.failed()
		retry := d.readOnly != nil && !time.Now().Before(s.retryAt)
		if cause != nil {
			s.engine.opts.Logger.Error("a sync of the journal store failed, opening it again", "store", s.name, "error", cause)
			s.reported = cause.Error()
			s.engine.meters.reopens.Inc()
		}
		if cause != nil || retry {
			if err := s.closeDatabase(); err != nil {
				s.engine.opts.Logger.Warn("closing the store to open it again", "store", s.name, "error", err)
			}
		}
	}
	if err := s.openDatabase(); err != nil {
		return err
	}
	if s.current.readOnly != nil {
		return s.downErr
	}
	return nil
}

// report logs the outcome of opening when it changes: a full disk is tried every second.
func (s *store) report(err error) {
	log := s.engine.opts.Logger.With("store", s.name)
	switch {
	case err == nil && s.reported != "":
		log.Info("journal store is open again")
		s.reported = ""
	case err == nil || err.Error() == s.reported:
	default:
		log.Error("journal store cannot be opened for writing", "error", err, "can_be_read", s.current != nil)
		s.reported = err.Error()
	}
}

// closeDatabase waits for the readers and closes the database.
func (s *store) closeDatabase() error {
	d := s.current
	if d == nil {
		return nil
	}
	s.mu.Lock()
	s.current = nil
	s.mu.Unlock()
	d.readers.Wait()
	defer s.inUse.Store(false)
	s.spare = nil
	s.engine.meters.stalls.Add(int64(d.stallTime()))
	if err := d.close(); err != nil && !errors.Is(err, leveldb.ErrClosed) {
		return fmt.Errorf("close store %s: %w", s.name, err)
	}
	return nil
}

func (s *store) closeUnused(check idleCheck) {
	d := s.current
	if d != nil && check.gone != nil {
		s.engine.opts.Logger.Error("the folder of an open journal store is gone, closing it", "store", s.name, "error", check.gone)
		if err := s.closeDatabase(); err != nil {
			s.engine.opts.Logger.Warn("closing a store whose folder is gone", "store", s.name, "error", err)
		}
		return
	}
	if d == nil || d.compactions.Load() > 0 {
		return
	}
	s.mu.Lock()
	unused := !check.keep && !s.used.After(check.since)
	s.mu.Unlock()
	outgrown := s.name != settingsName && d.writeBuffer > restWriteBuffer && s.written.Before(check.since) && !s.engine.newest(s.name)
	if !unused && !outgrown {
		return
	}
	s.shrink()
	if err := s.closeDatabase(); err != nil {
		s.engine.opts.Logger.Warn("closing an idle volume", "store", s.name, "error", err)
	}
}

// grow reopens an older volume with a larger buffer once its small one was filled. Heavy writing through a small buffer makes many
// tables, which are merged often. No message is ever written to such a volume.
func (s *store) grow() error {
	d := s.current
	if s.grown || d.writeBuffer > restWriteBuffer || d.written < d.writeBuffer || s.engine.newest(s.name) || !s.engine.mayGrow(s) {
		return nil
	}
	s.grown = true
	if err := s.closeDatabase(); err != nil {
		s.engine.opts.Logger.Warn("closing the store to open it with a larger buffer", "store", s.name, "error", err)
	}
	return s.openForWriting()
}

func (s *store) shrink() {
	if s.grown {
		s.grown = false
		s.engine.shrunk(s)
	}
}
