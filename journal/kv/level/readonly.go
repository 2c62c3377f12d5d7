package level

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/syndtr/goleveldb/leveldb/storage"
)

// readOnly is the storage of a store in a folder that nothing is changed in: no lock is taken, and nothing logged.
type readOnly struct {
	folder string
	copies bool // the copies of manifests are read instead of these
}

// unlocked is a storage.Locker.
type unlocked struct{}

// Unlock implements storage.Locker.
func (unlocked) Unlock() {}

// Lock implements storage.Storage. Whoever uses it has the folder of the engine locked.
func (readOnly) Lock() (storage.Locker, error) { return unlocked{}, nil }

// Log implements storage.Storage.
func (readOnly) Log(string) {}

// SetMeta implements storage.Storage.
func (readOnly) SetMeta(storage.FileDesc) error { return fs.ErrPermission }

// GetMeta implements storage.Storage: see named.
func (readOnly) GetMeta() (storage.FileDesc, error) { return storage.FileDesc{}, fs.ErrNotExist }

// List implements storage.Storage.
func (r readOnly) List(types storage.FileType) (list []storage.FileDesc, err error) {
	entries, err := os.ReadDir(r.folder)
	for _, entry := range entries {
		if fd, ok := parseFileName(entry.Name()); ok && fd.Type&types != 0 {
			list = append(list, fd)
		}
	}
	return list, err
}

// Open implements storage.Storage.
func (r readOnly) Open(fd storage.FileDesc) (storage.Reader, error) {
	name := fileName(fd)
	if r.copies && fd.Type == storage.TypeManifest {
		name = copyName(fd)
	}
	return os.Open(filepath.Join(r.folder, name))
}

// Create implements storage.Storage.
func (readOnly) Create(storage.FileDesc) (storage.Writer, error) { return nil, fs.ErrPermission }

// Remove implements storage.Storage.
func (readOnly) Remove(storage.FileDesc) error { return fs.ErrPermission }

// Rename implements storage.Storage.
func (readOnly) Rename(storage.FileDesc, storage.FileDesc) error { return fs.ErrPermission }

// Close implements storage.Storage.
func (readOnly) Close() error { return nil }

// named is a storage whose manifest is chosen.
type named struct {
	storage.Storage
	manifest storage.FileDesc
}

// GetMeta implements storage.Storage.
func (n *named) GetMeta() (storage.FileDesc, error) { return n.manifest, nil }

// fileName returns the name that goleveldb gives a file.
func fileName(fd storage.FileDesc) string {
	switch fd.Type {
	case storage.TypeManifest:
		return fmt.Sprintf("MANIFEST-%06d", fd.Num)
	case storage.TypeJournal:
		return fmt.Sprintf("%06d.log", fd.Num)
	case storage.TypeTable:
		return fmt.Sprintf("%06d.ldb", fd.Num)
	}
	return fmt.Sprintf("%06d.tmp", fd.Num)
}

var (
	manifestName = regexp.MustCompile(`^MANIFEST-(\d{6,})$`)
	numberedName = regexp.MustCompile(`^(\d{6,})\.(log|ldb|tmp)$`)
	typeOfSuffix = map[string]storage.FileType{"log": storage.TypeJournal, "ldb": storage.TypeTable, "tmp": storage.TypeTemp}
)

// parseFileName is the reverse of fileName.
func parseFileName(name string) (fd storage.FileDesc, ok bool) {
	digits := ""
	if m := manifestName.FindStringSubmatch(name); m != nil {
		fd.Type, digits = storage.TypeManifest, m[1]
	} else if m := numberedName.FindStringSubmatch(name); m != nil {
		fd.Type, digits = typeOfSuffix[m[2]], m[1]
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	fd.Num = n
	return fd, err == nil
}
