package journal

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"copialettere/journal/codec"
	"copialettere/journal/kv"
	"copialettere/journal/metrics"
	"copialettere/journal/part"
)

// maxUnsettled is how many bytes behind the last certain place a draft waits before it cuts without knowing. A line that could be a MIME
// delimiter is shorter.
const maxUnsettled = 4 << 10

// The buffer of a draft of more than chunkMin bytes: the usual one, and the one for the longest chunk.
const (
	bufferSize  = tryFrom + blockSize
	bufferLarge = chunkMax + pieceMin + maxUnsettled + blockSize
)

// lossPause is how long a volume in use is not asked for losses again. A store may find one whenever it reopens its files.
const lossPause = time.Minute

// Errors that a caller decides on.
var (
	// ErrNotFound says that there is no such entry.
	ErrNotFound = errors.New("no such entry")
	// ErrDamaged says that something stored cannot be read, as on a damaged disk. Verify lists all of it.
	ErrDamaged = errors.New("damaged")
	// ErrMailbox says that a string cannot name a mailbox: it is empty or holds a zero byte.
	ErrMailbox = errors.New("not a name of a mailbox")
)

// damage is an error that is ErrDamaged.
type damage string

func (d damage) Error() string { return string(d) }

// Is reports whether target is ErrDamaged.
func (d damage) Is(target error) bool { return target == ErrDamaged }

// Options of Open; the zero value is usable.
type Options struct {
	Logger   *slog.Logger
	Metrics  *metrics.Registry
	Now      func() time.Time // the clock, for tests; time.Now when nil
	GapSpool string           // file for records while the store cannot take them: see Keep; empty: none
	// SpoolKeys seal the lines of GapSpool: the first seals, and any opens. None: they are in the clear.
	SpoolKeys [][32]byte

	// Recorded is told of every gap once it is durable in the journal: of a spooled one when it is taken in, and of one that grows with
	// each removal (made-room, erased) the part just added. A gap whose record had to be tried again may come twice. Deliveries call it
	// too, several at a time: return at once, do not call the Journal, do not keep the slice. May be nil.
	Recorded func(gaps []Record)

	Settings *Settings // nil: all mailboxes are open and none is held
}

// Settings is what the journal asks of the settings of mailboxes. Its functions read the engine's settings store through the Update that
// rests on the answer. That Update holds Lock, so the answer holds until it is durable. They call neither the Journal nor a store.
type Settings struct {
	// Lock names the lock under which the settings of a mailbox change.
	Lock func(mailbox string) string
	// Open says whether a mailbox takes entries. It is asked before an entry is made, where other processes have the archive open or somebody imports:
	// the mailbox may have been closed after the message was judged. Commit then fails, and the MTA's retry is judged anew.
	Open func(settings kv.View, mailbox string) (bool, error)
	// Held says whether any of the mailboxes is under a hold as a whole. It is asked before anything is deleted: what is held stays, and with
	// an error everything does. Whoever places a hold calls AwaitDeletions next.
	Held func(settings kv.View, mailboxes ...string) (bool, error)
}

// Journal is the archive of all mailboxes on one engine. Its methods may be called concurrently.
type Journal struct {
	engine   kv.Engine
	keyed    kv.Keyed // the engine, where it seals values under keys of mailboxes; otherwise nil
	log      *slog.Logger
	now      func() time.Time
	gapSpool string

	spoolKeys [][32]byte
	tell      func(gaps []Record) // Options.Recorded
	settings  *Settings           // Options.Settings; may be nil

	cutter   *cutter
	codec    *codec.Codec
	scanners sync.Pool    // *part.Scanner
	buffers  sync.Pool    // *[]byte of bufferSize
	large    sync.Pool    // *[]byte of bufferLarge
	plain    sync.Pool    // *[]byte for a chunk that is read
	gathered atomic.Int64 // bytes of the compressed chunks that drafts have not handed to the store

	idMu   sync.Mutex
	lastID int64   // nanoseconds of the newest id; guarded by idMu
	nonce  [4]byte // of this process

	alone    bool                     // no other process has the archive open: see clients.go
	cleaning lock                     // held by Expire and Sweep: one run at a time
	logging  lock                     // held while a checkpoint is made, or logs end
	dropping lock                     // held while a volume goes, from the decision until it is gone
	closing  atomic.Pointer[kv.Month] // the volume that Expire is about to drop: deliveries stay out

	spooling   lock // held while the gap spool is read or written, and never while the store is
	unspooling lock // held by Unspool: one at a time

	committing atomic.Int64              // messages that are being made durable, without imports
	committed  atomic.Pointer[time.Time] // when the last of them was

	dictionaries dictionaries
	learning     learning

	outcomes outcomes
	usages   usages
	watches  watches
	indexing indexing
	rooms    mailboxLocks // of those for which room is being made
	deleting mailboxLocks // of those whose entries are being deleted by hand
	done     sync.WaitGroup
	stop     context.CancelFunc

	validity     lock
	nextValidity uint32 // the next UIDVALIDITY; guarded by validity
	endValidity  uint32 // the end of those that are reserved; guarded by validity

	suspended atomic.Pointer[error] // why drafts are refused; nil while they are not

	unreadable unreadable
	verified   passMetrics

	lossMu sync.Mutex
	lossAt map[kv.Month]time.Time // when losses were last looked for; guarded by lossMu

	journaled *metrics.Counter
	imported  *metrics.Counter
	bytesIn   *metrics.Counter
	gaps      *metrics.Counter
	unchecked *metrics.Counter
	backup    *metrics.Gauge
}

// Open returns the journal on an engine. The engine stays the caller's; close it after the journal.
func Open(engine kv.Engine, o Options) (*Journal, error) {
	j := &Journal{
		alone: engine.Alone(), settings: o.Settings, log: o.Logger, now: o.Now, gapSpool: o.GapSpool, spoolKeys: o.SpoolKeys, tell: o.Recorded,
		lossAt:   make(map[kv.Month]time.Time),
		cleaning: newLock(), dropping: newLock(), logging: newLock(), spooling: newLock(), unspooling: newLock(), validity: newLock(),
	}
	j.engine = packing{engine, j}
	j.keyed, _ = engine.(kv.Keyed)
	if j.log == nil {
		j.log = slog.New(slog.DiscardHandler)
	}
	if j.now == nil {
		j.now = time.Now
	}
	if j.tell == nil {
		j.tell = func([]Record) {}
	}
	r := o.Metrics
	if r == nil {
		r = new(metrics.Registry)
	}
	j.journaled = r.Counter("copialettere_entries_total", "Entries made in the journal.")
	j.imported = r.Counter("copialettere_imported_entries_total", "Entries that somebody brought in later. They are not among those made.")
	j.bytesIn = r.Counter("copialettere_entry_bytes_total", "Bytes of the messages of these entries, before sharing and compression.")
	j.gaps = r.Counter("copialettere_gaps_total", "Messages and spans that the journal does not hold and has on record as a gap.")
	j.unchecked = r.Counter("copialettere_unchecked_repetitions_total",
		"Entries made although a month could not be asked whether it has them: they may be there twice.")
	j.backup = r.Gauge("copialettere_backup_timestamp_seconds", "When the last backup that is known was taken, in seconds since 1970; 0 for none.")
	j.unreadable.gauge = r.Gauge("copialettere_unreadable_months", "Months of the journal that could not be used when they were last asked for.")
	j.verified = newPassMetrics(r)
	j.unreadable.months = make(map[kv.Month]fault)

	var err error
	if j.cutter, err = newCutter(); err != nil {
		return nil, err
	}
	if j.codec, err = codec.New(chunkMax); err != nil {
		return nil, err
	}
	j.scanners.New = func() any { return part.NewScanner(part.DefaultLimits()) }
	j.buffers.New = func() any { b := make([]byte, 0, bufferSize); return &b }
	j.large.New = func() any { b := make([]byte, 0, bufferLarge); return &b }
	rand.Read(j.nonce[:])

	j.rooms, j.deleting = newMailboxLocks(), newMailboxLocks()
	j.indexing = newIndexing()
	ctx, stop := context.WithCancel(context.Background())
	j.stop = stop
	j.outcomes.wake, j.outcomes.writing = make(chan struct{}, 1), newLock()
	j.learning = newLearning()
	j.done.Go(func() { j.writeOutcomes(ctx) })
	j.done.Go(func() { j.learn(ctx) })
	return j, nil
}

// Close writes the outcomes still in memory and frees what the journal holds. No draft may be open.
func (j *Journal) Close() error {
	j.stop()
	j.done.Wait()
	return j.codec.Close()
}

// Suspend makes the journal refuse new drafts with cause, as if its store failed. Suspend(nil) ends it. Drafts under way, reading,
// outcomes and records go on.
func (j *Journal) Suspend(cause error) {
	if cause == nil {
		j.suspended.Store(nil)
		return
	}
	j.suspended.Store(&cause)
}

// Suspended returns why new drafts are refused; nil while they are not.
func (j *Journal) Suspended() error {
	if cause := j.suspended.Load(); cause != nil {
		return *cause
	}
	return nil
}

// Probe tests whether messages can be journaled now: it makes a write durable as a delivery would, in this month's volume or, before the
// month has one, in the settings store. It leaves nothing behind.
func (j *Journal) Probe(ctx context.Context) error {
	s, err := j.volume(ctx, kv.MonthOf(j.now()), false)
	if errors.Is(err, kv.ErrNoVolume) {
		s, err = j.engine.Settings(ctx)
	}
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	err = s.Update(ctx, []string{probeKey}, func(tx kv.Tx) error {
		tx.Delete([]byte(probeKey))
		return nil
	})
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	return nil
}

// probeKey is a key that no store holds.
const probeKey = "\x00probe"

// volume returns the store of a month, with its losses on record. The error is kv.ErrNoVolume or a MonthError.
func (j *Journal) volume(ctx context.Context, m kv.Month, create bool) (kv.Store, error) {
	s, err := j.engine.Volume(ctx, m, create)
	if errors.Is(err, kv.ErrNoVolume) {
		return nil, err
	}
	if err != nil {
		return nil, j.monthFault(ctx, m, err, true)
	}
	if j.unreadable.gauge.Value() > 0 {
		j.opened(m)
	}
	j.lossMu.Lock()
	recent := time.Since(j.lossAt[m]) < lossPause
	j.lossMu.Unlock()
	if recent {
		return s, nil
	}
	if err := j.recordLosses(ctx, s); err != nil {
		return nil, j.monthError(ctx, m, err)
	}
	j.lossMu.Lock()
	j.lossAt[m] = time.Now()
	j.lossMu.Unlock()
	return s, nil
}

// Month returns the month of today, in which messages are journaled and imported.
func (j *Journal) Month() kv.Month { return kv.MonthOf(j.now()) }

// NewTransaction returns a name for a transaction that no other has.
func (j *Journal) NewTransaction() string {
	id := j.newID()
	return hex.EncodeToString(id[:])
}

// newID returns an id greater than all that this process has returned.
func (j *Journal) newID() ChunkID {
	j.idMu.Lock()
	j.lastID = max(j.lastID+1, j.now().UnixNano())
	n := j.lastID
	j.idMu.Unlock()
	var id ChunkID
	binary.BigEndian.PutUint64(id[:], uint64(n))
	copy(id[8:], j.nonce[:])
	return id
}

// buffer returns an empty buffer with room for size bytes. Give it back with recycle.
func (j *Journal) buffer(size int) []byte {
	pool := &j.buffers
	if size > bufferSize {
		pool = &j.large
	}
	return *pool.Get().(*[]byte)
}

func (j *Journal) recycle(buf []byte) {
	buf = buf[:0]
	switch cap(buf) {
	case bufferSize:
		j.buffers.Put(&buf)
	case bufferLarge:
		j.large.Put(&buf)
	}
}
