package journal

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// referredRun is how many ids of chunks a verification holds in memory, 12 bytes each.
const referredRun = 256 << 10

// referredRead is how many bytes of each run are read at a time.
const referredRead = 8 << 10

// referred are the chunks that entries refer to, however many. What is more than one run lies in a temporary file already without a name, run behind run,
// each in the order of ids. It is for one goroutine. Close it when done.
type referred struct {
	most int // ids of a run
	ids  []ChunkID
	file *os.File
	runs []*idRun // those in the file
	end  int64    // of the last of them
}

// idRun is one run of ids while it is read.
type idRun struct {
	ids   *bufio.Reader
	first ChunkID // of those that are left
	ended bool
}

func newReferred() *referred { return &referred{most: referredRun} }

// add adds the ids of chunks.
func (r *referred) add(ids []ChunkID) error {
	r.ids = append(r.ids, ids...)
	if len(r.ids) < r.most {
		return nil
	}
	if err := r.spill(); err != nil {
		return fmt.Errorf("write which chunks entries refer to: %w", err)
	}
	return nil
}

// spill writes the ids that are in memory as a run.
func (r *referred) spill() (err error) {
	if r.file == nil {
		if r.file, err = os.CreateTemp("", "copialettere-"); err != nil {
			return err
		}
		if err := os.Remove(r.file.Name()); err != nil {
			return err
		}
	}
	r.sort()
	w := bufio.NewWriterSize(r.file, 64<<10)
	for i := range r.ids {
		if _, err := w.Write(r.ids[i][:]); err != nil {
			return err
		}
	}
	size := int64(len(r.ids) * len(ChunkID{}))
	r.runs = append(r.runs, &idRun{ids: bufio.NewReaderSize(io.NewSectionReader(r.file, r.end, size), referredRead)})
	r.end += size
	r.ids = r.ids[:0]
	return w.Flush()
}

func (r *referred) sort() {
	slices.SortFunc(r.ids, compareChunks)
	r.ids = slices.Compact(r.ids)
}

func compareChunks(a, b ChunkID) int { return bytes.Compare(a[:], b[:]) }

// seal ends the adding. From then on has may be called.
func (r *referred) seal() error {
	r.sort()
	for _, run := range r.runs {
		if err := run.next(); err != nil {
			return err
		}
	}
	return nil
}

// has says whether an id was added. Each call is for a greater id than the one before.
func (r *referred) has(id ChunkID) (bool, error) {
	there := false
	for _, run := range r.runs {
		for !run.ended && compareChunks(run.first, id) < 0 {
			if err := run.next(); err != nil {
				return false, err
			}
		}
		there = there || !run.ended && run.first == id
	}
	for len(r.ids) > 0 && compareChunks(r.ids[0], id) < 0 {
		r.ids = r.ids[1:]
	}
	return there || len(r.ids) > 0 && r.ids[0] == id, nil
}

// next goes on to the next id of a run.
func (r *idRun) next() error {
	_, err := io.ReadFull(r.ids, r.first[:])
	if r.ended = errors.Is(err, io.EOF); r.ended {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read which chunks entries refer to: %w", err)
	}
	return nil
}

// Close gives the file up.
func (r *referred) Close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}
