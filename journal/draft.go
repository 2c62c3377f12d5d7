package journal

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"time"

	"copialettere/journal/kv"
	"copialettere/journal/part"
)

// A draft gathers flushSize bytes of compressed chunks before it hands them to the store. Once all drafts together hold more than
// gatherMost, those with leastFlush do so too. A hundred large messages at once thus stay within that memory, and none waits for another.
const (
	flushSize  = 512 << 10
	leastFlush = 64 << 10
	gatherMost = 8 << 20
)

// tryFrom is how many bytes a draft has before it looks for a cut. blockSize is how many it takes at once.
const (
	tryFrom   = 128 << 10
	blockSize = 64 << 10
)

// MaxHeaderValue is the longest header value that an entry keeps, in bytes.
const MaxHeaderValue = 1 << 10

// Draft takes in one message, cuts it into chunks, and becomes entries of one or more mailboxes with Commit. Its memory is bounded
// whatever the size of the message. It is for one goroutine. Call Discard when done.
type Draft struct {
	j       *Journal
	ctx     context.Context
	arrival time.Time
	begun   time.Time // by the monotonic clock
	volume  kv.Store

	dictionaries *monthDictionaries // that its chunks are compressed with; nil: none

	scanner *part.Scanner
	borders []int64 // of MIME parts, message offsets still ahead of base
	buf     []byte  // bytes not yet cut
	try     int     // how many bytes of buf there must be for the next look for a cut
	base    int64   // message offset of buf[0]
	size    int64

	chunks   []ChunkRef
	pending  []pendingChunk // cut and compressed, not yet handed to the store
	waiting  int            // bytes of pending, as counted in Journal.gathered
	flushing []pendingChunk // of the flush under way
	flushed  chan flush     // the flush under way, nil when there is none
	staged   []kv.Staged    // what the flushes put that may not be durable yet
	whole    hash.Hash      // over all chunks cut so far, unless there is only one
	stored   []storedChunk  // where other processes write: the chunks that were flushed or found
	only     Digest         // of the only chunk: the message's digest when there is no other
	below    []belowHash    // of the message as it was before it was requeued; mostly none
	err      error          // the first failure; the draft can no longer be committed
	unstored unstored       // takes its chunks from then on

	table  *part.Table // nil until the message is whole
	digest Digest      // of the message, once it is whole
}

// flush is the result of one flush.
type flush struct {
	staged kv.Staged
	err    error
}

type pendingChunk struct {
	id     ChunkID
	digest Digest
	share  bool
	value  []byte
}

// NewDraft starts a message that arrives now. ctx covers all store work before Commit, until SetContext. A draft that can no longer be
// committed still takes in the message, so it can be read back: what memory does not hold goes into a temporary file without a name.
func (j *Journal) NewDraft(ctx context.Context) *Draft {
	d := &Draft{j: j, ctx: ctx, arrival: j.now().UTC(), begun: time.Now(), whole: sha256.New(), try: tryFrom}
	d.scanner = j.scanners.Get().(*part.Scanner)
	d.scanner.Reset()
	if cause := j.suspended.Load(); cause != nil {
		d.err = *cause
		return d
	}
	if d.volume, d.err = j.volume(ctx, d.month(), true); d.err == nil {
		d.dictionaries = j.dictionariesFor(d.month())
	}
	return d
}

// month returns the month of the volume.
func (d *Draft) month() kv.Month { return kv.MonthOf(d.arrival) }

// Header returns the top-level header as far as it has arrived, whatever Err says; of a long one it returns what part.Limits keeps, which
// includes every field that the archive reads. It is valid until the next Write or Discard.
func (d *Draft) Header() []byte { return d.scanner.Header() }

// age is the time since the draft was begun, by the journal's clock or the monotonic one, whichever says more.
func (d *Draft) age() time.Duration { return max(d.j.now().Sub(d.arrival), time.Since(d.begun)) }

// SetContext replaces the context of all store work from now on.
func (d *Draft) SetContext(ctx context.Context) { d.ctx = ctx }

// Arrival returns when the draft was begun, in UTC. It is committed to the volume of that month.
func (d *Draft) Arrival() time.Time { return d.arrival }

// Size returns the bytes of the message so far.
func (d *Draft) Size() int64 { return d.size }

// Err returns the failure that keeps the draft from being committed, or nil.
func (d *Draft) Err() error { return d.err }

// Write takes the next bytes of the message, with CRLF line ends. It never fails: Err and Commit tell of failures.
func (d *Draft) Write(p []byte) (int, error) {
	n := len(p)
	if d.table != nil {
		d.fail(errors.New("bytes behind the end of the message"))
		return n, nil
	}
	d.size += int64(n)
	for len(p) > 0 {
		block := p[:min(len(p), blockSize)]
		p = p[len(block):]
		d.scanner.Write(block)
		d.borders = append(d.borders, d.scanner.Cuts()...)
		d.buf = append(d.grow(len(block)), block...)
		d.cut(false)
	}
	return n, nil
}

// grow makes room for n more bytes in buf. A small message never needs a large buffer, a large one seldom the largest.
func (d *Draft) grow(n int) []byte {
	need := len(d.buf) + n
	if need <= cap(d.buf) || need <= chunkMin {
		return d.buf
	}
	d.move(d.j.buffer(need))
	return d.buf
}

// move moves buf into another buffer.
func (d *Draft) move(to []byte) {
	to = append(to[:0], d.buf...)
	d.recycle()
	d.buf = to
}

func (d *Draft) recycle() {
	d.j.recycle(d.buf)
	d.buf = nil
}

// cut takes all chunks off the front of buf whose ends are certain. Cuts depend on nothing but the bytes, so enough must follow to tell
// whether the border of a part near a cut counts: cut looks pieceMin ahead of the chunk.
func (d *Draft) cut(final bool) {
	const ahead = chunkMax + pieceMin
	done := 0
	for done < len(d.buf) {
		there := len(d.buf) - done
		if !final && there < d.try {
			break
		}
		n := d.j.cutter.next(d.buf[done:], d.border(done))
		// Bytes behind the scanner's settled offset may still begin with a border.
		if settled := int(d.scanner.Settled()-d.base) - done; !final && n+pieceMin > settled && there < ahead+maxUnsettled {
			d.try = min(2*d.try, ahead)
			if there >= d.try {
				d.try = there + 1
			}
			break
		}
		d.try = tryFrom
		d.chunk(d.buf[done:done+n], final && d.base == 0 && n == len(d.buf))
		done += n
	}
	if done > 0 {
		d.base += int64(done)
		d.buf = d.buf[:copy(d.buf, d.buf[done:])]
		if cap(d.buf) > bufferSize && len(d.buf)+blockSize <= bufferSize {
			d.move(d.j.buffer(bufferSize))
		}
	}
}

// border returns the distance from buf[start] to the next border of a MIME part to cut at, or 0 if the longest chunk holds none. A border
// counts when the bytes before it, or those up to the next one, are worth a chunk.
func (d *Draft) border(start int) int {
	from := d.base + int64(start)
	for len(d.borders) > 0 && d.borders[0] <= from {
		d.borders = d.borders[1:]
	}
	for i, b := range d.borders {
		next := d.base + int64(len(d.buf))
		if i+1 < len(d.borders) {
			next = d.borders[i+1]
		}
		switch {
		case b-from > chunkMax:
			return 0
		case b-from >= pieceMin, next-b >= pieceMin:
			return int(b - from)
		}
	}
	return 0
}

// chunk stores one chunk, or finds it in the volume. only says that it is the whole message.
func (d *Draft) chunk(data []byte, only bool) {
	if len(d.chunks) == 0 {
		d.below = requeues(d.scanner.Header())
	}
	for i := range d.below {
		d.below[i].write(data)
	}
	share := len(data) >= shareMin
	var digest Digest
	if share || only {
		digest = sha256.Sum256(data)
	}
	if only {
		d.only = digest
	} else {
		d.whole.Write(data)
	}
	if share {
		id, err := d.find(digest)
		if err == nil {
			d.chunks = append(d.chunks, ChunkRef{ID: id, Size: int64(len(data))})
			return
		}
		if !errors.Is(err, kv.ErrNotFound) {
			d.fail(fmt.Errorf("look for a chunk: %w", err))
		}
	}
	c := pendingChunk{id: d.j.newID(), digest: digest, share: share, value: d.j.codec.Encode(data, d.with())}
	d.chunks = append(d.chunks, ChunkRef{ID: c.id, Size: int64(len(data))})
	d.pending = append(d.pending, c)
	d.waiting += len(c.value)
	if all := d.j.gathered.Add(int64(len(c.value))); d.waiting >= flushSize || d.waiting >= leastFlush && all > gatherMost {
		d.flush()
	}
}

func (d *Draft) find(digest Digest) (id ChunkID, err error) {
	for _, chunks := range [...][]pendingChunk{d.pending, d.flushing} {
		for i := range chunks {
			if c := &chunks[i]; c.share && c.digest == digest {
				return c.id, nil
			}
		}
	}
	if d.err != nil {
		return id, kv.ErrNotFound
	}
	v, err := d.volume.Get(d.ctx, digestKey(digest))
	if err != nil {
		return id, err
	}
	if len(v) != len(id) {
		return id, fmt.Errorf("digest %s: %w", digest, errEncoding)
	}
	if id = ChunkID(v); !d.j.alone {
		d.stored = append(d.stored, storedChunk{id, digest, true})
	}
	return id, nil
}

func (d *Draft) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// flush hands the pending chunks to the store while the message streams on. One flush at a time is under way; awaitFlush, at the latest in
// Discard, waits for its goroutine.
func (d *Draft) flush() {
	d.awaitFlush()
	if d.err != nil {
		d.unstored.put(d.pending)
		d.release()
		return
	}
	ctx, pending, done := d.ctx, d.pending, make(chan flush, 1)
	d.release()
	d.flushing, d.flushed = pending, done
	go func() {
		staged, err := d.volume.Stage(ctx, chunkPairs(pending))
		done <- flush{staged, err}
	}()
}

// release forgets the pending chunks.
func (d *Draft) release() {
	d.j.gathered.Add(-int64(d.waiting))
	d.pending, d.waiting = nil, 0
}

// awaitFlush waits for the flush under way.
func (d *Draft) awaitFlush() {
	if d.flushed == nil {
		return
	}
	f := <-d.flushed
	switch {
	case f.err != nil:
		d.fail(fmt.Errorf("store chunks: %w", f.err))
		d.unstored.put(d.flushing)
	case f.staged != nil:
		d.staged = append(d.staged, f.staged)
	}
	if !d.j.alone {
		for _, c := range d.flushing {
			d.stored = append(d.stored, storedChunk{c.id, c.digest, c.share})
		}
	}
	d.flushing, d.flushed = nil, nil
}

// chunkPairs returns the pairs that the store keeps of chunks.
func chunkPairs(chunks []pendingChunk) []kv.Pair {
	pairs := make([]kv.Pair, 0, 2*len(chunks))
	for i := range chunks {
		c := &chunks[i]
		pairs = append(pairs, kv.Pair{Key: chunkKey(c.id), Value: c.value})
		if c.share {
			pairs = append(pairs, kv.Pair{Key: digestKey(c.digest), Value: c.id[:]})
		}
	}
	return pairs
}

// Discard gives up the draft. Chunks it has already stored stay as orphans. After Commit it only frees memory.
func (d *Draft) Discard() {
	if d.scanner == nil {
		return
	}
	d.awaitFlush()
	d.unstored.close()
	d.recycle()
	d.j.scanners.Put(d.scanner)
	d.scanner = nil
	d.release()
}
