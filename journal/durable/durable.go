// Package durable creates files and folders that survive a power cut. A new or renamed file or folder does so only once the folder that
// holds its name is synced too. All functions may be called concurrently for different paths.
package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// MakeFolder creates a folder with mode 0700, and the missing ones above it. It leaves a folder that exists as it is, and does not open
// it: the process may have no right to read it.
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

// SyncFolder makes the names in a folder durable: everything created, renamed or removed there so far.
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

// Write creates a file with mode 0600, or replaces one. When it returns nil, the content is durable; after an error or a power cut the file
// has all of the content, or is as it was before. Write writes PATH.new, syncs it, renames it, and syncs the folder. If interrupted it may
// leave PATH.new, which the next Write overwrites.
//
// If step is not nil, Write calls it before "write PATH", "rename PATH" and "sync FOLDER", and stops there if it returns an error.
func Write(path string, content io.Reader, step func(what string) error) error {
	if step == nil {
		step = func(string) error { return nil }
	}
	return write(path, content, step, nil)
}

// WriteLike is Write for a file that others read too: it gets the mode, the owner and the group of another file, such as the one that it replaces.
// With nil it has mode 0600.
func WriteLike(path string, content io.Reader, like fs.FileInfo) error {
	adopt := func(f *os.File) error {
		if like == nil {
			return nil
		}
		if owner, ok := like.Sys().(*syscall.Stat_t); ok {
			if err := f.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
				return err
			}
		}
		return f.Chmod(like.Mode().Perm())
	}
	return write(path, content, func(string) error { return nil }, adopt)
}

// WriteShared is Write for a file that the group of its folder reads too: it gets mode 0640, and the owner and the group of the folder. Where the
// process cannot give it those, the file stays as it was. That a folder with the bit setgid gives its group to new files suffices.
func WriteShared(path string, content io.Reader, step func(what string) error) error {
	if step == nil {
		step = func(string) error { return nil }
	}
	return write(path, content, step, func(f *os.File) error {
		info, err := f.Stat()
		folder, folderErr := os.Stat(filepath.Dir(path))
		if err := errors.Join(err, folderErr); err != nil {
			return err
		}
		have, want := info.Sys().(*syscall.Stat_t), folder.Sys().(*syscall.Stat_t)
		if have.Uid != want.Uid || have.Gid != want.Gid {
			if err := f.Chown(int(want.Uid), int(want.Gid)); err != nil {
				return err
			}
		}
		return f.Chmod(0o640)
	})
}

// write is Write. finish, which may be nil, has the last word on the new file before it is synced.
func write(path string, content io.Reader, step func(what string) error, finish func(*os.File) error) error {
	if err := step("write " + path); err != nil {
		return err
	}
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if err == nil && finish != nil {
		err = finish(f)
	}
	if err == nil {
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

// Probe tries whether files can be made durable in a folder: it writes a file named "check" and removes it. It returns how long the write took.
func Probe(folder string) (took time.Duration, err error) {
	path := filepath.Join(folder, "check")
	start := time.Now()
	if err := Write(path, strings.NewReader("check\n"), nil); err != nil {
		return 0, err
	}
	return time.Since(start), os.Remove(path)
}
