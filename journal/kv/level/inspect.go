package level

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/syndtr/goleveldb/leveldb/journal"
	"github.com/syndtr/goleveldb/leveldb/storage"

	"copialettere/journal/durable"
)

// folderThere checks the folder of a store: goleveldb would create one that vanished.
func (s *store) folderThere() error {
	info, err := os.Stat(s.path)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a folder", s.path)
	}
	return nil
}

// prepare reports whether to create the database: only if there cannot have been one. It removes what an interrupted creation left. It
// fails if the register or files show that there was a database, but its entry point, CURRENT, is gone.
func (s *store) prepare(files storage.Storage, entry registered) (fresh bool, err error) {
	_, metaErr := files.GetMeta()
	if metaErr == nil {
		return false, nil
	}
	var corrupted *storage.ErrCorrupted
	if !errors.Is(metaErr, fs.ErrNotExist) && !errors.As(metaErr, &corrupted) {
		return false, metaErr
	}
	vanished := func(there string) error {
		return fmt.Errorf("the database in %s is incomplete: there is %s, but no CURRENT that names a manifest: \"copialettere doctor\" tells whether it can be mended: %w",
			s.path, there, metaErr)
	}
	if entry.State != stateMaking {
		return false, vanished("a store of the archive")
	}
	_, err = os.Stat(filepath.Join(s.path, markName))
	if err == nil || s.opened {
		return false, vanished(markName)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	left, err := files.List(storage.TypeAll)
	if err != nil {
		return false, err
	}
	for _, fd := range left {
		// goleveldb creates a manifest first, then CURRENT, then the rest.
		if fd.Type != storage.TypeManifest {
			return false, vanished(fd.String())
		}
	}
	for _, fd := range left {
		if err := files.Remove(fd); err != nil {
			return false, err
		}
	}
	pending, err := filepath.Glob(filepath.Join(s.path, "CURRENT*"))
	if err != nil {
		return false, err
	}
	for _, path := range pending {
		if err := os.Remove(path); err != nil {
			return false, err
		}
	}
	return true, nil
}

// inspect reads the logs and the manifest before goleveldb does, which skips damage in them and then removes them. It copies a damaged log
// aside. It fails on a damaged manifest: goleveldb would erase the tables that it does not find there.
func (s *store) inspect(files storage.Storage) error {
	current, err := files.GetMeta()
	if err != nil {
		return err
	}
	if reason, err := inspectFile(files, current); err != nil {
		return fmt.Errorf("read %s: %w", current, err)
	} else if reason != "" {
		return fmt.Errorf("%s is damaged (%s): \"copialettere doctor\" tells whether it can be mended", current, reason)
	}
	logs, err := files.List(storage.TypeJournal)
	if err != nil {
		return err
	}
	for _, fd := range logs {
		reason, err := inspectFile(files, fd)
		if err != nil {
			return fmt.Errorf("read %s: %w", fd, err)
		}
		if reason == "" {
			continue
		}
		aside := filepath.Join(s.path, fmt.Sprintf("damaged-%d-%s", time.Now().Unix(), fd))
		s.engine.opts.Logger.Error("a log of the journal store is damaged, keeping a copy", "store", s.name, "log", fd.String(),
			"damage", reason, "copy", aside)
		if err := copyAside(files, fd, aside); err != nil {
			return fmt.Errorf("keep a copy of the damaged %s: %w", fd, err)
		}
	}
	return nil
}

func inspectFile(files storage.Storage, fd storage.FileDesc) (damage string, err error) {
	r, err := files.Open(fd)
	if err != nil {
		return "", err
	}
	defer r.Close()
	return damageOf(r)
}

// damageOf reads a file in LevelDB's log format and returns what is damaged in it, or "". The traces of a crash are no damage: a tail cut
// off, or zeros up to the end.
func damageOf(r io.Reader) (string, error) {
	drops := new(drops)
	log := journal.NewReader(r, drops, false, true)
	for {
		record, err := log.Next()
		if err == nil {
			_, err = io.Copy(io.Discard, record)
		}
		switch {
		case err == nil:
			// A whole record follows the place that was skipped, so that was not the tail.
			if drops.tail != "" {
				return drops.tail, nil
			}
		case errors.Is(err, io.EOF):
			return drops.damage, nil
		case errors.Is(err, io.ErrUnexpectedEOF):
		default:
			return "", err
		}
		if drops.damage != "" {
			return drops.damage, nil
		}
	}
}

// drops collects what goleveldb's reader skips.
type drops struct {
	damage string // no crash explains it
	tail   string // a crash explains it if nothing follows
}

// Drop implements journal.Dropper.
func (d *drops) Drop(err error) {
	var corrupted *journal.ErrCorrupted
	if !errors.As(err, &corrupted) {
		d.damage = err.Error()
		return
	}
	switch reason := corrupted.Reason; {
	case strings.HasPrefix(reason, "checksum"), strings.HasPrefix(reason, "invalid chunk type") && !strings.HasSuffix(reason, " 0x0"):
		d.damage = reason
	default: // zero header, chunk type 0, chunk length overflows block, missing chunk part, orphan chunk
		d.tail = reason
	}
}

func copyAside(files storage.Storage, fd storage.FileDesc, path string) error {
	r, err := onMedium(files).Open(fd)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if _, err = io.Copy(w, r); err == nil {
		err = w.Sync()
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return durable.SyncFolder(filepath.Dir(path))
}
