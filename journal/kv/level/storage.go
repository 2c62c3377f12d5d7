package level

import (
	"sync/atomic"

	"github.com/syndtr/goleveldb/leveldb/storage"
)

// nameSyncer is a storage that can make the creations and removals of its files durable.
type nameSyncer interface{ SyncNames() error }

// openStorage opens the files of a store in a folder that exists.
func (e *Engine) openStorage(name, path string) (*files, error) {
	key, err := e.storeKey(path)
	if err != nil {
		return nil, err
	}
	var s storage.Storage
	if e.opts.Storage != nil {
		if s, err = e.opts.Storage(name); err != nil {
			return nil, err
		}
	} else if s, err = storage.OpenFile(path, false); err == nil {
		s = onDisk{s, path, func(err error) {
			e.opts.Logger.Warn("the copy of a manifest failed: the store goes on without", "store", name, "error", err)
		}}
	} else {
		return nil, err
	}
	names, _ := s.(nameSyncer)
	if key != nil {
		s = &sealed{s, *key}
	}
	return newFiles(s, names, e.meters), nil
}

// files wraps the storage of a database. It counts bytes and syncs, and mends two faults of goleveldb:
//
//   - goleveldb makes only the names of manifests durable, so a power cut could remove a log whose records were synced. files makes
//     the name of each new file durable with the first sync of its content.
//   - After a failed sync the next one may succeed without the data of the failed one; goleveldb would go on, or remove a log, as if
//     that data were there. files refuses every write, removal and naming after one failed sync of any file.
type files struct {
	storage.Storage
	names  nameSyncer // nil if names need no sync
	meters *meters
	broken atomic.Pointer[error] // error of the failed sync
}

func newFiles(s storage.Storage, names nameSyncer, m *meters) *files {
	return &files{Storage: s, names: names, meters: m}
}

// failed returns the error of the failed sync, or nil.
func (f *files) failed() error {
	if err := f.broken.Load(); err != nil {
		return *err
	}
	return nil
}

// synced records the outcome of a sync, and returns it.
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

// SetMeta implements storage.Storage. It counts as a sync: goleveldb's storage on files syncs here.
func (f *files) SetMeta(fd storage.FileDesc) error {
	if err := f.failed(); err != nil {
		return err
	}
	return f.synced(f.Storage.SetMeta(fd))
}

// file is a file being written, by one goroutine at a time.
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
