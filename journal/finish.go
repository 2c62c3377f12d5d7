package journal

import (
	"context"
	"fmt"
	"io"

	"copialettere/journal/part"
)

// Finish ends the intake and returns the part table and the bytes of the message, for a look into it before Commit. Both are valid until
// Discard and not for parallel calls. The reader keeps two decompressed chunks in memory. After a failure (Err) both are still right,
// except for reads of what only the store has. A Write after Finish fails the draft.
func (d *Draft) Finish() (*part.Table, io.ReaderAt) {
	return d.end(), newDraftReader(d)
}

// end cuts the rest and tells the scanner, once, that the message is whole.
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
type draftReader struct{ chunks *chunkReader }

func newDraftReader(d *Draft) draftReader {
	return draftReader{newChunkReader(d.chunks, 2, func(id ChunkID, buf []byte) ([]byte, error) { return d.readChunk(d.ctx, id, buf) })}
}

// ReadAt implements io.ReaderAt.
func (r draftReader) ReadAt(p []byte, offset int64) (int, error) {
	n, err := r.chunks.ReadAt(p, offset)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("read the message of a draft: %w", err)
	}
	return n, err
}

func (d *Draft) readChunk(ctx context.Context, id ChunkID, buf []byte) ([]byte, error) {
	for i := range d.pending {
		if d.pending[i].id == id {
			return d.j.codec.Decode(d.pending[i].value, buf, d.with())
		}
	}
	if v, ok, err := d.unstored.get(id); err != nil {
		return nil, fmt.Errorf("%w: %w", d.err, err)
	} else if ok {
		return d.j.codec.Decode(v, buf, d.with())
	}
	return d.j.readChunk(ctx, d.month(), d.volume, id, buf)
}
