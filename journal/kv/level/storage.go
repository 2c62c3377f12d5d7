package level

import (
	"sync/atomic"

	"github.com/syndtr/goleveldb/leveldb/storage"

	"copialettere/journal/durable"
)

// nameSyncer is a storage that can make the names of its files durable, creations and removals alike.
type nameSyncer interface{ SyncNames() error }

// onDisk is the storage in a folder.
type onDisk struct {
	storage.Storage
	folder string
}

// SyncNames implements nameSyncer.
func (d onDisk) SyncNames() error { return durable.SyncFolder(d.folder) }

// openStorage opens the files of a store in a folder that exists.
func (e *Engine) openStorage(name, path string) (*files, error) {
	if e.opts.Storage != nil {
		s, err := e.opts.Storage(name)
		if err != nil {
			return nil, err
		}
		return newFiles(s, e.meters), nil
	}
	s, err := storage.OpenFile(path, false)
	if err != nil {
		return nil, err
	}
	return newFiles(onDisk{s, path}, e.meters), nil
}

// files wraps the storage of a database. It counts, and it mends two things. It makes the name of a new file durable with the
// first sync of its content: goleveldb does so for manifests only, so that a power cut could take a log away whose records were
// synced. And after one failed sync, of whatever file, nothing is written, removed or named any more: the next sync of the file
// may succeed without what the failed one was for, and goleveldb would go on, or remove a log, in the belief that it is there.
type files struct {
	storage.Storage
	names  nameSyncer // nil where names need no sync
	meters *meters
	broken atomic.Pointer[error] // the failed sync
}

func newFiles(s storage.Storage, m *meters) *files {
	names, _ := s.(nameSyncer)
	return &files{Storage: s, names: names, meters: m}
}

// failed returns the error of the sync that failed, or nil.
func (f *files) failed() error {
	if err := f.broken.Load(); err != nil {
		return *err
	}
	return nil
}

// synced takes note of the outcome of a sync.
func (f *files) synced(err error) error {
	if err != nil {
		f.broken.CompareAndSwap(nil, &err)
	}
	return err
}

// Create implements storage.Storage.
func (f *files) Create(fd storage.FileDesc) (storage.Writer, error) {
	if err := f.failed(); err != nil {
		return nil, err
	}
	w, err := f.Storage.Create(fd)
	if err != nil {
		return nil, err
	}
	return &file{Writer: w, files: f, named: f.names == nil}, nil
}

// Remove implements storage.Storage.
func (f *files) Remove(fd storage.FileDesc) error {
	if err := f.failed(); err != nil {
		return err
	}
	return f.Storage.Remove(fd)
}

// SetMeta implements storage.Storage. It syncs, as goleveldb's storage on files does.
func (f *files) SetMeta(fd storage.FileDesc) error {
	if err := f.failed(); err != nil {
		return err
	}
	return f.synced(f.Storage.SetMeta(fd))
}

// file is a file that is being written, by one goroutine at a time.
type file struct {
	storage.Writer
	files *files
	named bool // the name is durable
}

func (f *file) Write(p []byte) (int, error) {
	if err := f.files.failed(); err != nil {
		return 0, err
	}
	n, err := f.Writer.Write(p)
	f.files.meters.writtenBytes.Add(int64(n))
	return n, err
}

func (f *file) Sync() error {
	if err := f.files.failed(); err != nil {
		return err
	}
	f.files.meters.fsyncs.Inc()
	if err := f.files.synced(f.Writer.Sync()); err != nil {
		return err
	}
	if f.named {
		return nil
	}
	if err := f.files.synced(f.files.names.SyncNames()); err != nil {
		return err
	}
	f.named = true
	return nil
}
