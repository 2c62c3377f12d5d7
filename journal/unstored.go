package journal

import (
	"fmt"
	"os"
)

// unstored holds the chunks of a draft that the store did not take, until the message is answered, in a temporary file already without a
// name. The zero value is ready for use.
type unstored struct {
	file   *os.File
	size   int64
	places map[ChunkID]extent
	err    error // the first failure; chunks may be missing
}

type extent struct {
	offset int64
	length int
}

// put adds chunks. get tells of failures.
func (a *unstored) put(chunks []pendingChunk) {
	if a.file == nil && a.err == nil && len(chunks) > 0 {
		a.places = make(map[ChunkID]extent)
		if a.file, a.err = os.CreateTemp("", "copialettere-"); a.err == nil {
			a.err = os.Remove(a.file.Name())
		}
	}
	for _, c := range chunks {
		if a.err != nil {
			return
		}
		if _, a.err = a.file.WriteAt(c.value, a.size); a.err == nil {
			a.places[c.id] = extent{a.size, len(c.value)}
			a.size += int64(len(c.value))
		}
	}
}

// get returns the compressed bytes of a chunk; ok says that it is here.
func (a *unstored) get(id ChunkID) (value []byte, ok bool, err error) {
	e, ok := a.places[id]
	if !ok {
		return nil, false, a.err
	}
	value = make([]byte, e.length)
	if _, err := a.file.ReadAt(value, e.offset); err != nil {
		return nil, true, fmt.Errorf("read a chunk back: %w", err)
	}
	return value, true, nil
}

func (a *unstored) close() {
	if a.file != nil {
		a.file.Close()
	}
}
