package nexthop

import (
	"io"
	"os"

	"copialettere/journal/durable"
)

// maildirFiles is what a Maildir delivery needs of the file system. Names are relative to the folder of the Maildirs. It is small: tests
// record the order of the calls and make any of them fail.
type maildirFiles interface {
	mkdirAll(dir string) error
	create(name string) (maildirFile, error) // fails if name exists
	link(old, new string) error              // fails if new exists
	remove(name string) error
	syncDir(dir string) error // makes what was created and linked in dir durable
	io.Closer
}

// maildirFile is a file being written.
type maildirFile interface {
	io.WriteCloser
	Sync() error
}

// openMaildirFiles opens the folder of the Maildirs, and creates it if it is missing.
func openMaildirFiles(path string) (maildirFiles, error) {
	if err := durable.MakeFolder(path); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	return diskFiles{root}, nil
}

// diskFiles is the real file system. Its root keeps every name and symbolic link inside the folder.
type diskFiles struct{ root *os.Root }

func (d diskFiles) mkdirAll(dir string) error  { return d.root.MkdirAll(dir, 0o700) }
func (d diskFiles) link(old, new string) error { return d.root.Link(old, new) }
func (d diskFiles) remove(name string) error   { return d.root.Remove(name) }
func (d diskFiles) Close() error               { return d.root.Close() }

func (d diskFiles) create(name string) (maildirFile, error) {
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err // not f: a nil *os.File is no nil interface
	}
	return f, nil
}

func (d diskFiles) syncDir(dir string) error {
	f, err := d.root.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
