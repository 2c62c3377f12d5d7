// Package durable makes changes of names in the file system that are there after a power cut: a file or folder that is created or renamed
// is only then, when the folder that holds its name was synced too. All calls are safe from several goroutines, for different paths.
package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// MakeFolder creates a folder, with mode 0700, and what is missing above it. A folder that is there already is left as it is, and is not
// opened: it may be one that the process cannot read.
func MakeFolder(path string) error {
	err := os.Mkdir(path, 0o700)
	if parent := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) && parent != path {
		if err := MakeFolder(parent); err != nil {
			return err
		}
		err = os.Mkdir(path, 0o700)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return SyncFolder(filepath.Dir(path))
}

// SyncFolder makes the names in a folder durable: what was created, renamed and removed there.
func SyncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync folder %s: %w", path, err)
	}
	return nil
}

// Write makes a file, with mode 0600, or replaces it: after a power cut it has all the content, or what it had before. It writes under the
// name PATH.new, syncs, renames, and syncs the folder. One that was broken off may leave PATH.new, which the next one overwrites.
//
// Where step is not nil it is called before each of "write PATH", "rename PATH" and "sync FOLDER", and its error ends Write there.
func Write(path string, content io.Reader, step func(what string) error) error {
	if step == nil {
		step = func(string) error { return nil }
	}
	if err := step("write " + path); err != nil {
		return err
	}
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err = io.Copy(f, content); err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := step("rename " + path); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	folder := filepath.Dir(path)
	if err := step("sync " + folder); err != nil {
		return err
	}
	return SyncFolder(folder)
}
