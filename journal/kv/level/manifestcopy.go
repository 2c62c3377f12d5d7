package level

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/syndtr/goleveldb/leveldb/storage"

	"copialettere/journal/durable"
)

// Without its manifest a store cannot be mended: nothing tells which of the tables are left over. Such a table may have the value of a key that was
// deleted, with its deletion gone: a merge has dropped both, and the table with the value stays for a while. So each manifest has a copy, byte for byte.
// It is written and synced before the manifest, so it is never older. A copy that fails is removed, and the store goes on without.

// copyPrefix stands before the name of a manifest.
const copyPrefix = "COPY-"

func copyName(fd storage.FileDesc) string { return copyPrefix + fileName(fd) }

// onDisk is the storage in a folder.
type onDisk struct {
	storage.Storage
	folder string
	failed func(error) // told why a copy of a manifest failed
}

// SyncNames implements nameSyncer.
func (d onDisk) SyncNames() error { return durable.SyncFolder(d.folder) }

// Create implements storage.Storage.
func (d onDisk) Create(fd storage.FileDesc) (storage.Writer, error) {
	if fd.Type != storage.TypeManifest {
		return d.Storage.Create(fd)
	}
	f, copyErr := os.OpenFile(filepath.Join(d.folder, copyName(fd)), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if copyErr != nil {
		d.failed(copyErr)
	}
	w, err := d.Storage.Create(fd)
	if copyErr != nil || err != nil {
		if f != nil {
			f.Close()
		}
		return w, err
	}
	return &copied{Writer: w, copy: f, failed: d.failed}, nil
}

// Remove implements storage.Storage. With a manifest it removes the copies of those that are gone.
func (d onDisk) Remove(fd storage.FileDesc) error {
	err := d.Storage.Remove(fd)
	if fd.Type != storage.TypeManifest || err != nil {
		return err
	}
	copies, _ := filepath.Glob(filepath.Join(d.folder, copyPrefix+"*"))
	for _, path := range copies {
		of := filepath.Base(path)[len(copyPrefix):]
		if _, err := os.Lstat(filepath.Join(d.folder, of)); errors.Is(err, fs.ErrNotExist) {
			if err := os.Remove(path); err != nil {
				d.failed(err)
			}
		}
	}
	return nil
}

// copied is a manifest that is written with its copy.
type copied struct {
	storage.Writer
	copy   *os.File // nil: it failed
	failed func(error)
}

// Write implements io.Writer.
func (c *copied) Write(p []byte) (int, error) {
	if c.copy != nil {
		_, err := c.copy.Write(p)
		c.drop(err)
	}
	return c.Writer.Write(p)
}

// Sync implements storage.Writer.
func (c *copied) Sync() error {
	if c.copy != nil {
		c.drop(c.copy.Sync())
	}
	return c.Writer.Sync()
}

// Close implements io.Closer.
func (c *copied) Close() error {
	if c.copy != nil {
		c.drop(c.copy.Close())
	}
	return c.Writer.Close()
}

// drop removes a copy that failed: it would be older than the manifest.
func (c *copied) drop(err error) {
	if err == nil {
		return
	}
	c.failed(err)
	c.copy.Close()
	if err := os.Remove(c.copy.Name()); err != nil {
		c.failed(errors.Join(err, os.Truncate(c.copy.Name(), 0)))
	}
	c.copy = nil
}
