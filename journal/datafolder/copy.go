package datafolder

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"copialettere/journal/kv"
	"copialettere/journal/kv/keyed"
	"copialettere/journal/kv/level"
)

// JournalFolder is the name of the folder of the engine in a data folder.
const JournalFolder = journalFolder

// KeyFiles returns the names of the files in a data folder that open what the journal and the settings hold. A copy of the folder takes them after its
// snapshot of the journal, so they have all that it needs.
func KeyFiles() []string { return append(MailboxKeyFiles(), sourceKeyFile) }

// MailboxKeyFiles returns the names of the files with the keys of the mailboxes: see copialettere/journal/kv/keyed. There are none where the journal is not
// encrypted.
func MailboxKeyFiles() []string { return []string{mailboxKeysFile, mailboxKeysFile + keyed.CopySuffix} }

// ID returns the id of the archive of a data folder.
func ID(folder string) (string, error) {
	id, err := check(folder)
	return id.ID, err
}

// Snapshot freezes the journal at one instant: see kv.Copier. The names of the files are paths in the journal's folder.
func (f *Folder) Snapshot(ctx context.Context) (*kv.Snapshot, error) {
	c, ok := f.Engine.(kv.Copier)
	if !ok {
		return nil, errors.New("the journal is not in files here: use the backup of its server")
	}
	return c.Snapshot(ctx)
}

// Renew makes a copy of a data folder, which nobody has open, a line of its own: it and the original are never taken for each other, though both may be
// written to from now on. After a crash copy the folder anew.
func Renew(folder string) error {
	if err := level.Renew(filepath.Join(folder, journalFolder)); err != nil {
		return fmt.Errorf("renew the journal of %s: %w", folder, err)
	}
	return nil
}
