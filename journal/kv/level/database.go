package level

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/syndtr/goleveldb/leveldb"
	"github.com/syndtr/goleveldb/leveldb/filter"
	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/util"

	"copialettere/journal/kv"
)

// formatVersion stands in the floor record. Databases with another version are not opened.
const formatVersion = 1

// trimStep is how many unneeded 'q' keys a batch deletes at most.
const trimStep = 16

// The shape of the levels, as measured with TestBenchGrowth of package journal.
const (
	// compactFrom is the number of tables in level 0 from which LevelDB merges them into level 1.
	compactFrom = 12
	// levelSize is a tenth of the bytes that level 1 may hold. Each level may hold ten times as much as the one before it.
	levelSize = 16 << 20
	// tableBlock is the least size of a block of a table.
	tableBlock = 8 << 10
)

var (
	floorKey   = []byte{kv.Reserved, 'f'}
	lossPrefix = []byte{kv.Reserved, 'l'}
	seqPrefix  = []byte{kv.Reserved, 'q'}
	seqEnd     = []byte{kv.Reserved, 'q' + 1}

	// The committer writes one batch at a time, so there is nothing to merge with.
	synced = &opt.WriteOptions{Sync: true, NoWriteMerge: true}
	// A scan would evict everything else from the block cache. So would the values that are searched for in a volume: what a search needs of each table,
	// to find that a key is not there, must stay.
	scanRead = &opt.ReadOptions{DontFillCache: true}
)

func seqKey(seq uint64) []byte  { return binary.BigEndian.AppendUint64(slices.Clip(seqPrefix), seq) }
func lossKey(seq uint64) []byte { return binary.BigEndian.AppendUint64(slices.Clip(lossPrefix), seq) }

// stamp identifies a batch: the sequence number of its last update, and its time.
type stamp struct {
	seq  uint64
	nano uint64 // nanoseconds since 1970; 0: unknown
}

func (s stamp) time() time.Time {
	if s.nano == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(s.nano)).UTC()
}

// database is an open LevelDB with its acknowledged mark. Reads may run concurrently, counted by readers; all else is for the
// committer alone.
type database struct {
	db          *leveldb.DB
	files       *files
	mark        *mark
	markFailed  func(error)
	readOnly    error // why it can only be read; nil if it can be written
	readers     sync.WaitGroup
	compactions atomic.Int32
	values      *values          // of the settings and the newest volume; nil for others
	searchRead  *opt.ReadOptions // of a search for one key

	seq         uint64   // of the newest update
	floor       stamp    // batches up to this one are in tables
	floorMoved  bool     // the floor record on disk is older than floor
	kept        []uint64 // the 'q' keys that are left, oldest first
	writeBuffer int      // its size in bytes
	written     int      // bytes of updates since it was opened
	sincePassed int      // bytes since the newest of passed
	passed      []stamp  // the batches that filled one more write buffer, oldest first
}

// options returns how to open the database, as measured with BenchmarkIngest and, of a month that grows, with TestBenchGrowth of package journal.
//
// Chunks are written to the log, to a table of level 0, and once more on the way to level 1; from there LevelDB only moves their tables, because
// their keys ascend. All other keys sort after them, so each table of level 0 reaches from its first chunk to the engine's own keys, and a merge of
// level 0 rewrites all that level 1 holds of them. It costs little if there is much to merge and little to rewrite: many tables in level 0, and a
// level 1 that passes on what it has.
//
// Each message asks for a delivery key that is not there, in all tables of level 0 and in one of each other level. LevelDB reads the whole index and
// the whole filter of a table for it, unless they are in the block cache. With blocks of 4 KiB and a cache of 2 MiB for values too, most of them never
// were: at a million entries a commit took 269 microseconds of processor time, 2.9 times as much as at the beginning. With larger blocks, whose index
// is half as large, without the values (searchRead), and with the counters of the folders in memory (values), it takes 100 to 117 with a cache of 16 MiB, and
// 124 with one of 8.
func (s *store) options() *opt.Options {
	o := s.engine.opts
	writeBuffer, cache, files := restWriteBuffer, restBlockCache, restOpenFiles
	switch newer := s.engine.newer(s.name); {
	case s.name == settingsName:
		writeBuffer, cache, files = oldWriteBuffer, settingsBlockCache, openFiles
	case newer == 0:
		writeBuffer, cache, files = o.WriteBuffer, newestBlockCache, openFiles
	case newer == 1:
		cache, files = previousBlockCache, openFiles
	}
	if s.grown {
		writeBuffer = max(writeBuffer, oldWriteBuffer)
	}
	return &opt.Options{
		BlockCacheCapacity:           cache,
		BlockSize:                    tableBlock,
		CompactionL0Trigger:          compactFrom,
		CompactionTableSize:          o.TableSize,
		CompactionTotalSize:          levelSize,
		Compression:                  opt.NoCompression, // the large values are compressed already
		DisableLargeBatchTransaction: true,              // a transaction that fails never releases the write lock
		DisableSeeksCompaction:       true,              // it rewrites tables that are only read
		Filter:                       filter.NewBloomFilter(10),
		NoWriteMerge:                 true,
		OpenFilesCacheCapacity:       files,
		Strict:                       opt.DefaultStrict,
		WriteBuffer:                  writeBuffer,
		WriteL0SlowdownTrigger:       20,
		WriteL0PauseTrigger:          28,
	}
}

// open opens the database, checks it, and records durably what is missing.
func (s *store) open() (d *database, err error) {
	s.inUse.Store(true)
	s.uses.Add(1)
	defer func() { s.inUse.Store(err == nil) }()
	entry, err := s.engine.claim(s.name, true)
	if err != nil {
		return nil, err
	}
	if err := s.folderThere(); err != nil {
		return nil, err
	}
	files, err := s.engine.openStorage(s.name, s.path)
	if err != nil {
		return nil, err
	}
	d = &database{files: files, searchRead: scanRead}
	switch {
	case s.name == settingsName:
		d.values, d.searchRead = &values{absent: true}, nil
	case s.engine.newest(s.name):
		d.values = new(values)
	}
	err = s.openFiles(d, entry)
	if err == nil && entry.State != "" {
		err = s.engine.enter(s.name, &registered{Tag: entry.Tag})
	}
	if err != nil {
		if d.db != nil {
			err = errors.Join(err, d.db.Close())
		}
		if d.mark != nil {
			err = errors.Join(err, d.mark.f.Close())
		}
		return nil, errors.Join(err, files.Close())
	}
	return d, nil
}

func (s *store) openFiles(d *database, entry registered) error {
	o := s.options()
	d.writeBuffer = o.WriteBuffer
	fresh, err := s.prepare(d.files, entry)
	if err != nil {
		return err
	}
	o.ErrorIfMissing, o.ErrorIfExist = !fresh, fresh
	if !fresh {
		if err := s.inspect(d.files); err != nil {
			return err
		}
	}
	if d.db, err = leveldb.Open(d.files, o); err != nil {
		if fresh {
			return err
		}
		// On a full disk the database can still be read: LevelDB then replays its log into memory and writes nothing.
		d.readOnly = err
		o.ReadOnly = true
		if d.db, err = leveldb.Open(d.files, o); err != nil {
			return d.readOnly
		}
	}
	var acknowledged uint64
	var damaged bool
	if d.mark, acknowledged, damaged, err = openMark(s.path); err != nil {
		return err
	}
	if damaged {
		s.engine.opts.Logger.Warn("acknowledged mark is damaged; a loss at the end of the log would not be noticed", "store", s.name)
	}
	d.markFailed = func(err error) {
		s.engine.opts.Logger.Warn("acknowledged mark could not be written", "store", s.name, "error", err)
	}
	losses, err := d.check(max(acknowledged, s.newestSeq))
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	if d.readOnly != nil && len(losses) > 0 {
		return d.readOnly // nobody may read a database with an unrecorded loss
	}
	if err := s.recordLosses(d, losses); err != nil || d.readOnly != nil {
		return err
	}
	if damaged || acknowledged < d.seq {
		// A month of the past may never be written to again, and without its mark nothing tells that its end is missing.
		if err := d.mark.renew(d.seq); err != nil {
			d.markFailed(err)
		}
	}
	return nil
}

// check reads the sequence numbers above the floor. It returns the spans missing up to the newest, or up to the acknowledged one if that is
// newer, and moves the floor past them: opening has put everything into tables.
func (d *database) check(acknowledged uint64) ([]loss, error) {
	oldest, err := d.readFloor()
	if err != nil {
		return nil, err
	}
	var losses []loss
	newest := d.floor
	it := d.db.NewIterator(&util.Range{Start: seqKey(oldest), Limit: seqEnd}, nil)
	defer it.Release()
	for it.Next() {
		if len(it.Key()) != 10 || len(it.Value()) != 12 {
			return nil, fmt.Errorf("sequence record %x %x: not as it was written", it.Key(), it.Value())
		}
		at := stamp{binary.BigEndian.Uint64(it.Key()[2:]), binary.BigEndian.Uint64(it.Value())}
		d.kept = append(d.kept, at.seq)
		if at.seq <= d.floor.seq {
			continue
		}
		before := at.seq - uint64(binary.BigEndian.Uint32(it.Value()[8:]))
		if before < newest.seq || before >= at.seq {
			return nil, fmt.Errorf("sequence record %x %x: overlaps the one before, %d", it.Key(), it.Value(), newest.seq)
		}
		if before > newest.seq {
			losses = append(losses, loss{first: newest.seq + 1, Loss: kv.Loss{
				After: newest.time(), Before: at.time(), Count: before - newest.seq,
			}})
		}
		newest = at
	}
	if err := it.Error(); err != nil {
		return nil, err
	}
	if acknowledged > newest.seq {
		losses = append(losses, loss{first: newest.seq + 1, Loss: kv.Loss{After: newest.time(), Count: acknowledged - newest.seq}})
		newest.seq = acknowledged
	}
	d.seq = newest.seq
	d.floorMoved = newest != d.floor
	d.floor = newest
	return losses, nil
}

// readFloor reads the floor record, and returns the oldest 'q' key that may be left.
func (d *database) readFloor() (oldest uint64, err error) {
	v, err := d.db.Get(floorKey, nil)
	switch {
	case errors.Is(err, leveldb.ErrNotFound):
		return 0, nil
	case err != nil:
		return 0, err
	case len(v) != 25 || v[0] != formatVersion:
		return 0, fmt.Errorf("floor record %x: not of format version %d", v, formatVersion)
	}
	d.floor = stamp{binary.BigEndian.Uint64(v[1:]), binary.BigEndian.Uint64(v[9:])}
	return binary.BigEndian.Uint64(v[17:]), nil
}

// loss is a kv.Loss with its first missing sequence number.
type loss struct {
	first uint64
	kv.Loss
}

// recordLosses records losses durably, before any caller gets the database.
func (s *store) recordLosses(d *database, losses []loss) error {
	if len(losses) == 0 {
		return nil
	}
	found := time.Now().UTC()
	batch := new(leveldb.Batch)
	for _, l := range losses {
		v := make([]byte, 0, 32)
		for _, t := range []time.Time{found, l.After, l.Before} {
			v = appendTime(v, t)
		}
		batch.Put(lossKey(l.first), binary.BigEndian.AppendUint64(v, l.Count))
	}
	if err := d.write(batch, 1, 0); err != nil {
		return fmt.Errorf("record losses: %w", err)
	}
	for _, l := range losses {
		s.engine.meters.lost.Add(int64(l.Count))
		s.engine.opts.Logger.Error("acknowledged updates are missing", "store", s.name, "count", l.Count, "after", l.After,
			"before", l.Before)
	}
	return nil
}

func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return binary.BigEndian.AppendUint64(b, 0)
	}
	return binary.BigEndian.AppendUint64(b, uint64(t.UnixNano()))
}

// losses returns the recorded losses, oldest first.
func (d *database) losses() ([]kv.Loss, error) {
	it := d.db.NewIterator(util.BytesPrefix(lossPrefix), nil)
	defer it.Release()
	var losses []kv.Loss
	for it.Next() {
		v := it.Value()
		if len(v) != 32 {
			return nil, fmt.Errorf("loss record %x: not as it was written", v)
		}
		at := func(i int) time.Time { return stamp{nano: binary.BigEndian.Uint64(v[i:])}.time() }
		losses = append(losses, kv.Loss{Found: at(0), After: at(8), Before: at(16), Count: binary.BigEndian.Uint64(v[24:])})
	}
	return losses, it.Error()
}

// get returns the value of a key, or kv.ErrNotFound.
func (d *database) get(key []byte) ([]byte, error) { return d.values.get(key, d.search) }

// search returns the value of a key as the database has it.
func (d *database) search(key []byte) ([]byte, error) {
	v, err := d.db.Get(key, d.searchRead)
	switch {
	case errors.Is(err, leveldb.ErrNotFound):
		return nil, kv.ErrNotFound
	case err != nil:
		return nil, fmt.Errorf("read key %x: %w: %w", key, kv.ErrUnavailable, err)
	}
	return v, nil
}

// write makes a batch durable, with the engine's own keys. updates and size say how many updates and bytes it has. After an error the
// database must be closed.
func (d *database) write(batch *leveldb.Batch, updates, size int) error {
	now := stamp{d.seq + uint64(updates), uint64(time.Now().UnixNano())}
	v := binary.BigEndian.AppendUint64(nil, now.nano)
	batch.Put(seqKey(now.seq), binary.BigEndian.AppendUint32(v, uint32(updates)))
	d.trim(batch)
	if err := d.db.Write(batch, synced); err != nil {
		return err
	}
	d.seq = now.seq
	d.kept = append(d.kept, now.seq)
	d.floorMoved = false
	if err := d.mark.write(now.seq); err != nil {
		d.markFailed(err)
	}
	d.advance(now, size)
	return nil
}

// trim deletes some of the 'q' keys up to the floor. Each batch that does so carries the floor: an earlier one with it may be lost.
func (d *database) trim(batch *leveldb.Batch) {
	trimmed := 0
	for trimmed < min(trimStep, len(d.kept)) && d.kept[trimmed] <= d.floor.seq {
		batch.Delete(seqKey(d.kept[trimmed]))
		trimmed++
	}
	d.kept = d.kept[trimmed:]
	if trimmed == 0 && !d.floorMoved {
		return
	}
	oldest := d.floor.seq
	if len(d.kept) > 0 {
		oldest = min(oldest, d.kept[0])
	}
	v := []byte{formatVersion}
	for _, n := range []uint64{d.floor.seq, d.floor.nano, oldest} {
		v = binary.BigEndian.AppendUint64(v, n)
	}
	batch.Put(floorKey, v)
}

// advance moves the floor to a batch that at least two full write buffers follow: no more of them are in memory.
func (d *database) advance(now stamp, size int) {
	d.written += size
	d.sincePassed += size
	if d.sincePassed < d.writeBuffer {
		return
	}
	d.sincePassed = 0
	d.passed = append(d.passed, now)
	if len(d.passed) > 3 {
		d.floor, d.floorMoved = d.passed[0], true
		d.passed = d.passed[1:]
	}
}

func (d *database) stallTime() time.Duration {
	var stats leveldb.DBStats
	if err := d.db.Stats(&stats); err != nil {
		return 0
	}
	return stats.WriteDelayDuration
}

func (d *database) close() error {
	return errors.Join(d.db.Close(), d.files.Close(), d.mark.close())
}
