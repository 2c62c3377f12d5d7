package dovecot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// Check returns what is wrong with the files in a folder, each error with its remedy: that they are absent, which would open what is switched off,
// or that the user by that name, as which Dovecot's auth process runs, cannot read them, which would stop all logins. An empty name leaves that out.
func Check(folder, reader string) (problems []error) {
	names := []string{folder}
	for _, name := range Files() {
		names = append(names, filepath.Join(folder, name))
	}
	who, err := readerOf(reader)
	if err != nil {
		return []error{err}
	}
	for above := filepath.Dir(folder); ; above = filepath.Dir(above) {
		names = append(names, above)
		if above == filepath.Dir(above) {
			break
		}
	}
	for i, path := range names {
		info, err := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist) && path == folder:
			return append(problems, fmt.Errorf("%s is not there, and nothing that is switched off is closed: %s", path, makeIt(path)))
		case errors.Is(err, fs.ErrNotExist):
			problems = append(problems, fmt.Errorf("%s is not there, and Dovecot closes nothing: start the daemon, which writes it", path))
		case err != nil:
			problems = append(problems, fmt.Errorf("%w: run this as the daemon's user", err))
		case i > 0 && i <= len(Files()) && !info.Mode().IsRegular():
			problems = append(problems, fmt.Errorf("%s is no file: remove it, and the daemon writes it anew", path))
		case who != nil && !who.reads(path, info):
			problems = append(problems, unreadable(path, folder, reader, info))
		}
	}
	return problems
}

// unreadable says what to do about a file, or a folder on the way to it, that Dovecot cannot read.
func unreadable(path, folder, reader string, info fs.FileInfo) error {
	remedy := "chgrp dovecot and chmod 2750 the folder, and start the daemon again"
	switch {
	case path == folder:
		remedy = "chgrp dovecot " + path + "; chmod 2750 " + path
	case info.IsDir():
		remedy = "chmod o+x " + path
	}
	return fmt.Errorf("the user %s cannot read %s (mode %04o), and Dovecot lets nobody in: %s", reader, path, info.Mode().Perm(), remedy)
}

// identity is a user of the machine.
type identity struct {
	uid    uint32
	groups []uint32
}

// readerOf looks up a user; nil for an empty name.
func readerOf(name string) (*identity, error) {
	if name == "" {
		return nil, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("%w: write in [dovecot] user the name of Dovecot's default_internal_user", err)
	}
	groups, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("groups of %s: %w", name, err)
	}
	who := new(identity)
	for _, id := range append(groups, u.Uid) {
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("id %q of %s: %w", id, name, err)
		}
		who.groups = append(who.groups, uint32(n))
	}
	last := len(who.groups) - 1
	who.uid, who.groups = who.groups[last], who.groups[:last]
	return who, nil
}

// reads reports whether the user may read a file, or pass through a folder. Where an access control list decides, that is taken for yes.
func (u *identity) reads(path string, info fs.FileInfo) bool {
	if n, err := syscall.Getxattr(path, "system.posix_acl_access", nil); err == nil && n > 0 {
		return true
	}
	owner := info.Sys().(*syscall.Stat_t)
	bit := fs.FileMode(0o4)
	if info.IsDir() {
		bit = 0o1
	}
	switch {
	case u.uid == 0:
		return true
	case u.uid == owner.Uid:
		bit <<= 6
	case slices.Contains(u.groups, owner.Gid):
		bit <<= 3
	}
	return info.Mode().Perm()&bit != 0
}
