package level

import "github.com/syndtr/goleveldb/leveldb/storage"

// nameSyncer is a storage that can make the names of its files durable, creations and removals alike.
type nameSyncer interface{ SyncNames() error }

// onDisk is the storage in a folder.
type onDisk struct {
	storage.Storage
	folder string
}

// SyncNames implements nameSyncer.
func (d onDisk) SyncNames() error { return syncFolder(d.folder) }

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

// files wraps the storage of a database. It counts, and it makes the name of a new file durable with the first sync of its
// content: goleveldb does so for manifests only, so that a power cut could take a log away whose records were synced.
type files struct {
	storage.Storage
	names  nameSyncer // nil where names need no sync
	meters *meters
}

func newFiles(s storage.Storage, m *meters) *files {
	names, _ := s.(nameSyncer)
	return &files{Storage: s, names: names, meters: m}
}

// Create implements storage.Storage.
func (f *files) Create(fd storage.FileDesc) (storage.Writer, error) {
	w, err := f.Storage.Create(fd)
	if err != nil {
		return nil, err
	}
	return &file{Writer: w, files: f, named: f.names == nil}, nil
}

// file is a file that is being written, by one goroutine at a time.
type file struct {
	storage.Writer
	files *files
	named bool // the name is durable
}

func (f *file) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	f.files.meters.writtenBytes.Add(int64(n))
	return n, err
}

func (f *file) Sync() error {
	f.files.meters.fsyncs.Inc()
	if err := f.Writer.Sync(); err != nil {
		return err
	}
	if f.named {
		return nil
	}
	if err := f.files.names.SyncNames(); err != nil {
		return err
	}
	f.named = true
	return nil
}
