package datafolder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"copialettere/journal/durable"
)

// networkFileSystems are those whose locks and fsync do not hold what they promise, by the magic number of statfs(2).
var networkFileSystems = map[int64]string{0x6969: "NFS", 0xff534d42: "CIFS", 0xfe534d42: "SMB2", 0x517b: "SMB", 0x01021997: "9P", 0x5346414f: "AFS"}

// Check returns why a folder cannot be used as a data folder, or nil: it must have an identity of a format that this program knows, and lie on
// a local file system. It writes nothing. The error is ErrAbsent where the folder is none.
func Check(folder string) error {
	_, err := check(folder)
	return err
}

func check(folder string) (identity, error) {
	id, err := readIdentity(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return id, markedError{absent(folder), ErrAbsent}
	} else if err != nil {
		return id, err
	}
	var stat syscall.Statfs_t
	if err := syscall.Statfs(folder, &stat); err != nil {
		return id, fmt.Errorf("look at the file system of %s: %w", folder, err)
	}
	if name, ok := networkFileSystems[int64(uint32(stat.Type))]; ok {
		return id, fmt.Errorf("%s lies on %s: a journal needs a local file system", folder, name)
	}
	return id, nil
}

// absent returns why a folder without an identity is no data folder, and what to do. The advice to make one is only for where nothing of an archive is.
func absent(folder string) error {
	there := func(name string) bool {
		_, err := os.Lstat(filepath.Join(folder, name))
		return err == nil
	}
	switch {
	case there(RestoringFolder):
		return fmt.Errorf("%s is no data folder yet: a restore into it was broken off: run \"copialettere restore-backup DIR\" again, with the backup DIR that it was from", folder)
	case there(journalFolder):
		return fmt.Errorf("%s is no data folder, although it holds a journal: its file %s is missing. Put that back from a copy of the folder, or move what is there away, "+
			"keep it, and run \"copialettere restore-backup DIR\" with a backup DIR", folder, IdentityFile)
	}
	return fmt.Errorf("%s is no data folder: if its disk is mounted, make it with \"copialettere init\", or of a backup DIR with \"copialettere restore-backup DIR\"", folder)
}

// Probe checks a data folder as Check does, and its mode, and writes to it. It returns how long the durable write took. The folder may be open.
func Probe(folder string) (time.Duration, error) {
	if err := Check(folder); err != nil {
		return 0, err
	}
	info, err := os.Stat(folder)
	if err != nil {
		return 0, err
	}
	if mode := info.Mode().Perm(); mode&0o066 != 0 {
		return 0, fmt.Errorf("%s has mode %04o and others can read the archive: chmod 0700 it, or 0711 if Dovecot reads files in it", folder, mode)
	}
	took, err := durable.Probe(folder)
	if err != nil {
		err = fmt.Errorf("write to the data folder: %w: run this as the daemon's user", err)
	}
	return took, err
}

// ProbeVolumes opens every volume. It returns how many there are, and an error that names each one that cannot be used.
func (f *Folder) ProbeVolumes(ctx context.Context) (int, error) {
	months, err := f.Engine.Volumes(ctx)
	if err != nil {
		return 0, err
	}
	var bad []error
	for _, m := range months {
		if _, err := f.Engine.Volume(ctx, m, false); err != nil {
			bad = append(bad, err)
		}
	}
	if len(bad) > 0 {
		return len(months), fmt.Errorf("%d of %d volumes cannot be used: %w", len(bad), len(months), errors.Join(bad...))
	}
	return len(months), nil
}
