package journal

import (
	"errors"
	"fmt"
	"io"
	"sort"
)

// chunkReader reads a message from its chunks, wherever they are. It is for one goroutine.
type chunkReader struct {
	chunks []ChunkRef
	starts []int64     // offset of each chunk, and the size
	kept   []keptChunk // the last ones read, decompressed, newest first
	read   func(id ChunkID, buf []byte) ([]byte, error)
}

type keptChunk struct {
	index int // in chunks, -1 for none
	data  []byte
}

// newChunkReader returns a reader that keeps that many chunks in memory. read appends the bytes of a chunk to buf.
func newChunkReader(chunks []ChunkRef, keep int, read func(id ChunkID, buf []byte) ([]byte, error)) *chunkReader {
	r := &chunkReader{chunks: chunks, starts: make([]int64, len(chunks)+1), kept: make([]keptChunk, keep), read: read}
	for i, c := range chunks {
		r.starts[i+1] = r.starts[i] + c.Size
	}
	for i := range r.kept {
		r.kept[i].index = -1
	}
	return r
}

func (r *chunkReader) size() int64 { return r.starts[len(r.chunks)] }

// ReadAt implements io.ReaderAt.
func (r *chunkReader) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, errors.New("read before the start of a message")
	}
	n := 0
	for n < len(p) {
		data, err := r.from(offset)
		if err != nil {
			return n, err
		}
		w := copy(p[n:], data)
		n += w
		offset += int64(w)
	}
	return n, nil
}

// from returns the bytes from an offset to the end of its chunk, valid until the next call; io.EOF behind the last one.
func (r *chunkReader) from(offset int64) ([]byte, error) {
	if offset >= r.size() {
		return nil, io.EOF
	}
	// No chunk is empty, so one begins behind the offset, or it is the end.
	i := sort.Search(len(r.starts), func(i int) bool { return r.starts[i] > offset }) - 1
	data, err := r.load(i)
	if err != nil {
		return nil, err
	}
	return data[offset-r.starts[i]:], nil
}

// forget gives up the memory of the chunks that are kept.
func (r *chunkReader) forget(free func(buffer []byte)) {
	for i, c := range r.kept {
		if r.kept[i] = (keptChunk{index: -1}); c.data != nil {
			free(c.data)
		}
	}
}

// load returns the bytes of a chunk.
func (r *chunkReader) load(i int) ([]byte, error) {
	last := len(r.kept) - 1
	at := 0
	for at < last && r.kept[at].index != i {
		at++
	}
	c := r.kept[at] // the chunk, or the least recently read one
	copy(r.kept[1:at+1], r.kept[:at])
	r.kept[0] = c
	if c.index == i {
		return c.data, nil
	}
	r.kept[0].index = -1 // its memory is reused, even by a failure
	data, err := r.read(r.chunks[i].ID, c.data[:0])
	if err != nil {
		return nil, err
	}
	if int64(len(data)) != r.chunks[i].Size {
		return nil, damage(fmt.Sprintf("chunk %x holds %d bytes of %d", r.chunks[i].ID, len(data), r.chunks[i].Size))
	}
	r.kept[0] = keptChunk{i, data}
	return data, nil
}
