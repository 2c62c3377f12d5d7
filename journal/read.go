package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"

	"copialettere/journal/kv"
)

// monthStore is the store of a month, or the settings, whose month is empty.
type monthStore struct {
	kv.Store
	month kv.Month
}

// volumes yields the stores of all months, oldest first. Instead of a month that cannot be used it yields a MonthError, and goes on.
func (j *Journal) volumes(ctx context.Context) iter.Seq2[monthStore, error] {
	return func(yield func(monthStore, error) bool) {
		months, err := j.engine.Volumes(ctx)
		if err != nil {
			yield(monthStore{}, fmt.Errorf("list volumes: %w", err))
			return
		}
		for _, m := range months {
			s, err := j.volume(ctx, m, false)
			if errors.Is(err, kv.ErrNoVolume) {
				continue
			}
			if !yield(monthStore{s, m}, err) || err != nil && !errors.Is(err, ErrDamaged) {
				return
			}
		}
	}
}

// Months lists the months that have a volume, oldest first.
func (j *Journal) Months(ctx context.Context) ([]kv.Month, error) { return j.engine.Volumes(ctx) }

// monthReader yields what one volume has of a mailbox until yield returns false. yield does so after any error but the damage of a single
// item.
type monthReader[T any] func(m kv.Month, s kv.Store, yield func(T, error) bool)

// monthly yields what read yields of each volume for a mailbox, oldest first. A volume dropped meanwhile ends early. Where a month cannot
// be read, or not to its end, it yields a MonthError and goes on with the next.
func monthly[T any](ctx context.Context, j *Journal, mailbox string, read monthReader[T]) iter.Seq2[T, error] {
	return ofMonths(ctx, j, mailbox, func(months []kv.Month) []kv.Month { return months }, read)
}

// ofMonths is monthly for those months, in the order, that choose returns.
func ofMonths[T any](ctx context.Context, j *Journal, mailbox string, choose func([]kv.Month) []kv.Month, read monthReader[T]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		if err := checkMailbox(mailbox); err != nil {
			yield(none, err)
			return
		}
		months, err := j.engine.Volumes(ctx)
		if err != nil {
			yield(none, fmt.Errorf("list volumes: %w", err))
			return
		}
		for _, m := range choose(months) {
			s, err := j.volume(ctx, m, false)
			if errors.Is(err, kv.ErrNoVolume) {
				continue
			}
			if err != nil {
				if !yield(none, err) || !errors.Is(err, ErrDamaged) {
					return
				}
				continue
			}
			more := true
			read(m, s, func(v T, err error) bool {
				if j.dropped(ctx, m, err) {
					return false
				}
				if !errors.Is(err, ErrDamaged) {
					err = j.monthError(ctx, m, err)
				}
				var month *MonthError
				more = yield(v, err) && (err == nil || errors.Is(err, ErrDamaged))
				return more && !errors.As(err, &month)
			})
			if !more {
				return
			}
		}
	}
}

// eachUnder is the monthReader of all keys of a mailbox that begin with a letter.
func eachUnder[T any](ctx context.Context, letter byte, mailbox string, decode func(kv.Month, kv.Pair) (T, error)) monthReader[T] {
	return func(m kv.Month, s kv.Store, yield func(T, error) bool) {
		prefix := mailboxKey(letter, mailbox, 0)
		for p, err := range s.Scan(ctx, prefix, after(prefix)) {
			var v T
			if err == nil {
				v, err = decode(m, p)
			}
			if !yield(v, err) {
				return
			}
		}
	}
}

// List yields the entries of a mailbox by month, folder and UID, as they were when it came to their month. Instead of one that cannot be
// read it yields an error that is ErrDamaged, and goes on.
func (j *Journal) List(ctx context.Context, mailbox string) iter.Seq2[*Entry, error] {
	return monthly(ctx, j, mailbox, func(m kv.Month, s kv.Store, yield func(*Entry, error) bool) {
		folders, err := foldersOf(ctx, s, mailbox)
		if err != nil {
			yield(nil, j.monthError(ctx, m, err))
			return
		}
		prefix := mailboxKey('e', mailbox, 0)
		for e, err := range entriesBetween(ctx, m, s, prefix, after(prefix), folders) {
			if !yield(e, err) {
				return
			}
		}
	})
}

// outcomePage is how many outcomes are in memory while entries are read.
const outcomePage = 1000

// entriesBetween yields the entries with from <= key < end, with their outcomes, which it reads first. An entry that is still there
// and has no outcome was delivered if its UID is below the next one of its folder, read before both. Of a newer one nobody could tell.
func entriesBetween(ctx context.Context, m kv.Month, s kv.Store, from, end []byte, folders map[string]folderCounters) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		for bytes.Compare(from, end) < 0 {
			outcomes, to, err := outcomesFrom(ctx, s, from, end)
			if err != nil {
				yield(nil, err)
				return
			}
			for p, err := range s.Scan(ctx, from, to) {
				var e *Entry
				if err == nil {
					e, err = entryOf(m, p)
				}
				if err == nil {
					if e.UID >= folders[e.Folder].nextUID {
						continue
					}
					e.setOutcome(outcomes[string(p.Key[1:])])
				}
				if !yield(e, err) {
					return
				}
			}
			from = to
		}
	}
}

// outcomesFrom returns the outcomes of entries with from <= key < to, by the part of the key after its first byte. to is end, or less
// where there are many.
func outcomesFrom(ctx context.Context, s kv.Store, from, end []byte) (outcomes map[string]outcome, to []byte, err error) {
	outcomes = make(map[string]outcome)
	under := func(key []byte) []byte { return append([]byte{'o'}, key[1:]...) }
	for p, err := range s.Scan(ctx, under(from), under(end)) {
		if err != nil {
			return nil, nil, err
		}
		if outcomes[string(p.Key[1:])], err = decodeOutcome(p.Value); err != nil {
			return nil, nil, err
		}
		if len(outcomes) == outcomePage {
			return outcomes, append(append([]byte{'e'}, p.Key[1:]...), 0), nil
		}
	}
	return outcomes, end, nil
}

// dropped says whether reading a month failed because its volume was dropped meanwhile.
func (j *Journal) dropped(ctx context.Context, m kv.Month, err error) bool {
	if !errors.Is(err, kv.ErrClosed) {
		return false
	}
	_, err = j.engine.Volume(ctx, m, false)
	return errors.Is(err, kv.ErrNoVolume)
}

func entryOf(m kv.Month, p kv.Pair) (*Entry, error) {
	r, err := refOf(m, p.Key)
	if err != nil {
		return nil, err
	}
	return decodeEntry(r, p.Value)
}

func (e *Entry) setOutcome(o outcome) {
	e.State = o.state
	if o.refused && !slices.Contains(e.Flags, FlagRefusedLater) {
		e.Flags = append(e.Flags, FlagRefusedLater)
	}
}

// Entry returns one entry, even a superseded one, or ErrNotFound.
func (j *Journal) Entry(ctx context.Context, r Ref) (*Entry, error) {
	s, err := j.volume(ctx, r.Month, false)
	if errors.Is(err, kv.ErrNoVolume) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	if err := checkMailbox(r.Mailbox); err != nil {
		return nil, err
	}
	v, err := s.Get(ctx, entryKey(r))
	if errors.Is(err, kv.ErrNotFound) {
		return supersededEntry(ctx, s, r)
	}
	if err != nil {
		return nil, fmt.Errorf("read entry: %w", err)
	}
	e, err := decodeEntry(r, v)
	if err != nil {
		return nil, err
	}
	v, err = s.Get(ctx, outcomeKey(r))
	if err == nil {
		o, err := decodeOutcome(v)
		if err != nil {
			return nil, err
		}
		e.setOutcome(o)
		return e, nil
	}
	if !errors.Is(err, kv.ErrNotFound) {
		return nil, fmt.Errorf("read outcome: %w", err)
	}
	// It was delivered, or withdrawn since it was read.
	if _, err := s.Get(ctx, entryKey(r)); err != nil {
		if errors.Is(err, kv.ErrNotFound) {
			return nil, ErrNotFound
		}
		return nil, fmt.Errorf("read entry: %w", err)
	}
	return e, nil
}

// Body returns the bytes of an entry's message. Every chunk it reads is checked against its checksum; an error of this, or of a read, is ErrDamaged where
// bytes are missing or are not those that were stored.
func (j *Journal) Body(ctx context.Context, e *Entry) (*Body, error) {
	s, err := j.volume(ctx, e.Month, false)
	if err != nil {
		return nil, err
	}
	b := &Body{entry: e, buffers: &j.plain}
	b.chunks = newChunkReader(e.Chunks, 1, func(id ChunkID, buf []byte) ([]byte, error) {
		if buf == nil {
			if known, ok := j.plain.Get().(*[]byte); ok {
				buf = (*known)[:0]
			}
		}
		return j.readChunk(ctx, e.Month, s, id, buf)
	})
	if n := b.chunks.size(); n != e.Size {
		return nil, b.named(damage(fmt.Sprintf("chunks hold %d bytes of %d", n, e.Size)))
	}
	return b, nil
}

// Body reads one message, with one chunk in memory at a time. It is for one goroutine.
type Body struct {
	entry   *Entry
	chunks  *chunkReader
	buffers *sync.Pool // of *[]byte, for chunks
	offset  int64
}

// Size returns the number of bytes of the message.
func (b *Body) Size() int64 { return b.entry.Size }

// Read reads the next bytes.
func (b *Body) Read(p []byte) (int, error) {
	n, err := b.ReadAt(p[:min(len(p), chunkMax)], b.offset)
	b.offset += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

// Seek sets the offset of the next Read.
func (b *Body) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += b.offset
	case io.SeekEnd:
		offset += b.Size()
	default:
		return 0, fmt.Errorf("seek in a message: whence %d", whence)
	}
	if offset < 0 {
		return 0, errors.New("seek before the start of a message")
	}
	b.offset = offset
	return offset, nil
}

// ReadAt reads the bytes from offset on. Unlike other io.ReaderAts it is not for parallel calls.
func (b *Body) ReadAt(p []byte, offset int64) (int, error) {
	n, err := b.chunks.ReadAt(p, offset)
	return n, b.named(err)
}

// named adds to an error which entry it is about.
func (b *Body) named(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return fmt.Errorf("entry %s %s %d: %w", b.entry.Mailbox, b.entry.FolderName(), b.entry.UID, err)
}

// readChunk appends the bytes of a chunk to buf. The error is ErrDamaged if the chunk is missing or is not as it was stored.
func (j *Journal) readChunk(ctx context.Context, m kv.Month, s kv.Store, id ChunkID, buf []byte) ([]byte, error) {
	v, err := s.Get(ctx, chunkKey(id))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, damage(fmt.Sprintf("read chunk %x: %v", id, err))
	}
	if err != nil {
		return nil, fmt.Errorf("read chunk %x: %w", id, err)
	}
	data, err := j.decode(ctx, m, s, v, buf)
	if err != nil {
		return nil, fmt.Errorf("decompress chunk %x: %w", id, err)
	}
	return data, nil
}

// WriteTo writes the rest of the message, from the current offset.
func (b *Body) WriteTo(w io.Writer) (int64, error) {
	defer b.chunks.forget(func(buffer []byte) { b.buffers.Put(&buffer) })
	var n int64
	for b.offset < b.Size() {
		data, err := b.chunks.from(b.offset)
		if err != nil {
			return n, b.named(err)
		}
		m, err := w.Write(data)
		n += int64(m)
		b.offset += int64(m)
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

var _ io.ReadSeeker = (*Body)(nil)
var _ io.ReaderAt = (*Body)(nil)
var _ io.WriterTo = (*Body)(nil)
