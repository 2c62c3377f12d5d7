package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"

	"copialettere/journal/part"
)

// Finish ends the intake and gives the part table and the bytes of the message, so that the caller can look into it before Commit.
// Both are the caller's until Discard, and not for parallel calls; the reader keeps two decompressed chunks in memory. After a
// failure, which Err tells, both are still right, but for reads of what only the store has. A Write after Finish fails the draft.
func (d *Draft) Finish() (*part.Table, io.ReaderAt) {
	return d.end(), newDraftReader(d)
}

// end cuts what is left and tells the scanner that the message is whole, once.
func (d *Draft) end() *part.Table {
	if d.table != nil {
		return d.table
	}
	d.table = d.scanner.Close()
	d.borders = append(d.borders, d.scanner.Cuts()...)
	d.cut(true)
	d.awaitFlush()
	if len(d.chunks) == 1 {
		d.digest = d.only
	} else {
		d.digest = Digest(d.whole.Sum(nil))
	}
	return d.table
}

// draftReader reads the chunks of a draft from where they are now: in its memory, or in the store.
type draftReader struct {
	d      *Draft
	starts []int64 // offset of each chunk, and the size
	recent [2]readChunk
}

type readChunk struct {
	index int // in Draft.chunks, -1 for none
	data  []byte
}

func newDraftReader(d *Draft) *draftReader {
	r := &draftReader{d: d, starts: make([]int64, len(d.chunks)+1)}
	for i, c := range d.chunks {
		r.starts[i+1] = r.starts[i] + c.Size
	}
	for i := range r.recent {
		r.recent[i].index = -1
	}
	return r
}

// ReadAt implements io.ReaderAt.
func (r *draftReader) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, errors.New("read before the start of a message")
	}
	n := 0
	for n < len(p) {
		if offset >= r.d.size {
			return n, io.EOF
		}
		// No chunk is empty, so there is one that begins behind the offset, or the end.
		i := sort.Search(len(r.starts), func(i int) bool { return r.starts[i] > offset }) - 1
		data, err := r.load(i)
		if err != nil {
			return n, fmt.Errorf("read the message of a draft: %w", err)
		}
		w := copy(p[n:], data[offset-r.starts[i]:])
		n += w
		offset += int64(w)
	}
	return n, nil
}

// load returns the bytes of a chunk, and keeps those of it and of the one before in memory.
func (r *draftReader) load(i int) ([]byte, error) {
	if r.recent[0].index == i {
		return r.recent[0].data, nil
	}
	r.recent[0], r.recent[1] = r.recent[1], r.recent[0]
	c := &r.recent[0]
	if c.index == i {
		return c.data, nil
	}
	c.index = -1 // its memory is used again, also by a failure
	data, err := r.d.readChunk(r.d.ctx, r.d.chunks[i].ID, c.data[:0])
	if err != nil {
		return nil, err
	}
	if int64(len(data)) != r.d.chunks[i].Size {
		return nil, fmt.Errorf("chunk %x holds %d bytes of %d", r.d.chunks[i].ID, len(data), r.d.chunks[i].Size)
	}
	c.index, c.data = i, data
	return data, nil
}

func (d *Draft) readChunk(ctx context.Context, id ChunkID, buf []byte) ([]byte, error) {
	for i := range d.pending {
		if d.pending[i].id == id {
			return d.j.unzstd.DecodeAll(d.pending[i].value, buf)
		}
	}
	if v, ok, err := d.unstored.get(id); err != nil {
		return nil, fmt.Errorf("%w: %w", d.err, err)
	} else if ok {
		return d.j.unzstd.DecodeAll(v, buf)
	}
	return d.j.readChunk(ctx, d.volume, id, buf)
}
