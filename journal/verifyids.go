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

// idsInRun is how many ids a verification holds in memory of one set, 12 bytes each.
const idsInRun = 256 << 10

// idsRead is how many bytes of each run are read at a time.
const idsRead = 8 << 10

// idSet is a set of ids, however many: they are added in any order, and then asked for in their own. What is more than one run lies in a temporary file
// already without a name, run behind run, each in the order of ids. The zero value holds all in memory; to nil nothing is added. It is for one goroutine.
// Close it when done.
type idSet struct {
	most int // ids of a run; 0: there is no file
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

func newIDSet() *idSet { return &idSet{most: idsInRun} }

// add adds ids.
func (s *idSet) add(ids ...ChunkID) error {
	if s == nil {
		return nil
	}
	s.ids = append(s.ids, ids...)
	if s.most == 0 || len(s.ids) < s.most {
		return nil
	}
	if err := s.spill(); err != nil {
		return fmt.Errorf("write what was verified: %w", err)
	}
	return nil
}

// spill writes the ids that are in memory as a run.
func (s *idSet) spill() (err error) {
	if s.file == nil {
		if s.file, err = os.CreateTemp("", "copialettere-"); err != nil {
			return err
		}
		if err := os.Remove(s.file.Name()); err != nil {
			return err
		}
	}
	s.sort()
	w := bufio.NewWriterSize(s.file, 64<<10)
	for i := range s.ids {
		if _, err := w.Write(s.ids[i][:]); err != nil {
			return err
		}
	}
	size := int64(len(s.ids) * len(ChunkID{}))
	s.runs = append(s.runs, &idRun{ids: bufio.NewReaderSize(io.NewSectionReader(s.file, s.end, size), idsRead)})
	s.end += size
	s.ids = s.ids[:0]
	return w.Flush()
}

func (s *idSet) sort() {
	slices.SortFunc(s.ids, compareChunks)
	s.ids = slices.Compact(s.ids)
}

func compareChunks(a, b ChunkID) int { return bytes.Compare(a[:], b[:]) }

// seal ends the adding. From then on has may be called.
func (s *idSet) seal() error {
	if s == nil {
		return nil
	}
	s.sort()
	for _, run := range s.runs {
		if err := run.next(); err != nil {
			return err
		}
	}
	return nil
}

// has says whether an id was added. Each call is for a greater id than the one before.
func (s *idSet) has(id ChunkID) (bool, error) {
	if s == nil {
		return false, nil
	}
	there := false
	for _, run := range s.runs {
		for !run.ended && compareChunks(run.first, id) < 0 {
			if err := run.next(); err != nil {
				return false, err
			}
		}
		there = there || !run.ended && run.first == id
	}
	for len(s.ids) > 0 && compareChunks(s.ids[0], id) < 0 {
		s.ids = s.ids[1:]
	}
	return there || len(s.ids) > 0 && s.ids[0] == id, nil
}

// next goes on to the next id of a run.
func (r *idRun) next() error {
	_, err := io.ReadFull(r.ids, r.first[:])
	if r.ended = errors.Is(err, io.EOF); r.ended {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read what was verified: %w", err)
	}
	return nil
}

// Close gives the file up.
func (s *idSet) Close() error {
	if s == nil || s.file == nil {
		return nil
	}
	return s.file.Close()
}
