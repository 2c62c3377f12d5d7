package level

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"path/filepath"

	"github.com/syndtr/goleveldb/leveldb/opt"
	"github.com/syndtr/goleveldb/leveldb/storage"
	leveltable "github.com/syndtr/goleveldb/leveldb/table"
)

// building is the storage of a store that is being made.
type building struct {
	readOnly
	engine *Engine
}

// Create implements storage.Storage.
func (b building) Create(fd storage.FileDesc) (storage.Writer, error) {
	path := filepath.Join(b.folder, fileName(fd))
	if err := b.engine.step("create " + path); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	w := &built{file: f, engine: b.engine}
	w.Writer = bufio.NewWriterSize(stepped{f, b.engine}, 64<<10)
	return w, nil
}

// built is a file that is being made. It is on the disk after Sync.
type built struct {
	*bufio.Writer
	file   *os.File
	engine *Engine
}

// Sync implements storage.Writer.
func (b *built) Sync() error {
	if err := b.Flush(); err != nil {
		return err
	}
	if err := b.engine.step("sync " + b.file.Name()); err != nil {
		return err
	}
	return b.file.Sync()
}

// Close implements io.Closer.
func (b *built) Close() error { return b.file.Close() }

// stepped is a file whose writes are steps.
type stepped struct {
	*os.File
	engine *Engine
}

// Write implements io.Writer.
func (s stepped) Write(p []byte) (int, error) {
	if err := s.engine.step("write " + s.Name()); err != nil {
		return 0, err
	}
	return s.File.Write(p)
}

var _ storage.Storage = building{}

// tableWriter writes a table.
type tableWriter struct {
	storage.Writer
	table  *leveltable.Writer
	number int64
	least  []byte
	most   []byte
}

func newTableWriter(files storage.Storage, number int64) (*tableWriter, error) {
	w, err := files.Create(storage.FileDesc{Type: storage.TypeTable, Num: number})
	if err != nil {
		return nil, err
	}
	o := &opt.Options{Comparer: internalOrder{}, Filter: internalFilter{bloom}, Compression: opt.NoCompression}
	return &tableWriter{Writer: w, table: leveltable.NewWriter(w, o, nil, 0), number: number}, nil
}

func (w *tableWriter) append(key, value []byte) error {
	if w.least == nil {
		w.least = bytes.Clone(key)
	}
	w.most = append(w.most[:0], key...)
	return w.table.Append(key, value)
}

// finish ends the table, durably unless it has failed already. It returns nil if there is nothing in it.
func (w *tableWriter) finish(good bool) (*table, error) {
	if !good || w.least == nil {
		return nil, w.Writer.Close()
	}
	err := w.table.Close()
	if err == nil {
		err = w.Sync()
	}
	if err := errors.Join(err, w.Writer.Close()); err != nil {
		return nil, err
	}
	return &table{
		number: w.number, size: int64(w.table.BytesLen()),
		least: w.least, most: w.most, first: userKey(w.least), last: userKey(w.most),
	}, nil
}
