// Package datafolder makes, checks and opens the data folder: the one place on disk where everything of an archive lies. It chooses the engine
// behind package kv, and nobody else names one.
//
// # Layout on disk
//
// The folder has mode 0700 and lies on a local file system.
//
//	identity     one line of JSON: {"format": NUMBER, "id": ID, "created": TIME}. A folder without it is no data folder, so an empty mount
//	             point is never taken for an empty archive. ID is that of the archive, 26 random characters, and stands in the journal's
//	             register too; TIME is in RFC 3339, UTC.
//	journal/     the journal and the settings: see copialettere/journal/kv/level
//	gaps         the gap spool, records that the journal could not take yet: see copialettere/journal. Absent when there are none.
//	exports/     ZIPs that the daemon writes in the background: see copialettere/journal/export/jobs. Absent until the first.
//	evidence.key the key that signs the checkpoints, one line (golang.org/x/mod/sumdb/note), mode 0600, where the configuration names no other
//	evidence.pub what checks its signatures, one line; it is no secret
//	sources.key  the key that seals the passwords of accounts elsewhere from which mail is imported, 32 bytes, mode 0600, sealed itself where the journal is
//	             encrypted; absent until there is one. A folder that is restored without it wants these passwords once more: see copialettere/policy/source
//	mailbox.keys, mailbox.keys.copy
//	             where the journal is encrypted, the key of each mailbox, wrapped by the operator's key: see copialettere/journal/kv/keyed
//	check        the file that Probe writes, and removes
//	restoring/   what a restore has put together so far: see copialettere/journal/backup. Absent otherwise
//
// Files are replaced by way of NAME.new, which a write that was broken off may leave. Sockets with a relative path lie here too, such as
// admin.sock.
//
// # Formats
//
// The format says how to read everything in the folder. This program opens every format from 1 to Format, and refuses a higher one.
//
//	1     the journal may be from before it had a register, or not be made yet
//	2     the journal is there, with a register
//	3     an archive can be paused, a quota can be none, and an owner can be told of more events: settings that an earlier program would not read;
//	      an act can be on several messages: an earlier program would see the first only;
//	      an archive can have another name than the address that leads to it; a new address for notices can wait for its confirmation, and a shorter
//	      retention for its owner to be told;
//	      the archives of each domain are counted: an earlier program would not keep the count;
//	      logins are on record, and there are app passwords: an earlier program would not remove the former with other logs
//	4     an entry can be imported: an earlier program would count it as journaled;
//	      what was deleted has UIDs in a folder of its own: an earlier program would not take them away with it;
//	      more settings of mailboxes, second factors and delegates: an earlier program would not read the settings, or ignore the rest and let in who
//	      must not come in
//
//	5     every act on an entry is in the log of its mailbox and month, and the signing key of the checkpoints lies here: an earlier program would
//	      leave no leaves, and all that it did would count as done behind the journal's back
//	6     only where the journal is encrypted: entries and skips are sealed under the key of their mailbox, too. An earlier program would take them for
//	      damaged, and not destroy the key of a mailbox that is erased
//	7, 8  chunks and entries can be compressed with a dictionary of their month, base64 is stored decoded, and mailboxes have indexes: an earlier program
//	      would take the former for damaged, and leave the latter behind when it erases a mailbox. 8 is where the journal is encrypted, as 6 is
//
// Whatever an earlier program would misread or lose takes a new number. The number is raised before anything of the new format is written, and
// testdata/folders then gets a folder of the format before.
package datafolder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/journal/kv/keyed"
	"copialettere/journal/kv/level"
	"copialettere/journal/metrics"
	"copialettere/journal/sealing"
)

// Format is the highest number of a format that this program opens.
const Format = formatPackedKeyed

const (
	formatUnregistered = 1
	formatRegistered   = 2
	formatLogged       = 5
	formatKeyed        = 6
	formatPacked       = 7
	formatPackedKeyed  = 8
)

// isKeyed reports whether a folder of a format has keys of mailboxes.
func isKeyed(format int) bool { return format == formatKeyed || format == formatPackedKeyed }

// formatOf returns the format that Make gives a folder, and to which Open raises an earlier one.
func formatOf(keys []Key) int {
	if len(keys) > 0 {
		return formatPackedKeyed
	}
	return formatPacked
}

// IdentityFile is the name of the file that makes a folder a data folder.
const IdentityFile = "identity"

// RestoringFolder is the name of the folder in which a restore puts a data folder together. Until that is done there is no identity beside it.
const RestoringFolder = "restoring"

const (
	journalFolder = "journal"
	gapSpoolFile  = "gaps"
	sourceKeyFile = "sources.key"

	mailboxKeysFile = "mailbox.keys"

	evidenceKeyFile    = "evidence.key"
	evidencePublicFile = "evidence.pub"
)

// Errors that a caller decides on. The error that wraps one names the path and the remedy.
var (
	// ErrInUse says that another process, or another Folder of this one, has the data folder open.
	ErrInUse = errors.New("another process has the data folder open")
	// ErrAbsent says that the data folder is none, or that the journal or something of it that must be there is not.
	ErrAbsent = errors.New("absent")
)

// markedError is an error of this package with a text of its own.
type markedError struct {
	error
	is error
}

func (m markedError) Is(target error) bool { return target == m.is }
func (m markedError) Unwrap() error        { return m.error }

// mark makes an error of the engine one of this package, where it is one that a caller decides on.
func mark(err error) error {
	switch {
	case errors.Is(err, level.ErrInUse):
		return markedError{err, ErrInUse}
	case errors.Is(err, level.ErrAbsent):
		return markedError{err, ErrAbsent}
	}
	return err
}

// Options are what Make and Open need beside the folder. The zero value is ready for use.
type Options struct {
	Metrics *metrics.Registry // nothing is counted where nil
	Logger  *slog.Logger      // slog.Default where nil
	Keys    []Key             // encrypt new stores by the first, and open those that are encrypted by any; none: nothing new is encrypted
	Mending bool              // Open does not refuse a folder with a month that was mended and is to be settled
}

// Folder is an open data folder. Its methods may be called concurrently.
type Folder struct {
	Engine   kv.Engine
	Settings kv.Store // of the engine
	GapSpool string   // path of the gap spool
	// SpoolKeys seal the gap spool: see journal.Options
	SpoolKeys [][32]byte
	Box       *sealing.Box // seals what lies beside the journal; nil where the journal is not encrypted
	Made      time.Time    // when the data folder was made
	ID        string       // of the archive

	SourceKey      string // path of the key that seals the passwords of accounts elsewhere, which may not be there
	EvidenceKey    string // path of the signing key of the checkpoints, which may not be there
	EvidencePublic string // path of the verifier keys
}

// Make makes a data folder with an empty journal, and reports whether it did: one that is there already is only brought to the newest format.
// A folder that holds anything else is an error. After a crash, call it again.
func Make(ctx context.Context, folder string, o Options) (made bool, err error) {
	id, err := readIdentity(folder)
	switch {
	case err == nil && id.Format >= formatRegistered:
		return false, raise(folder, id, o.Keys)
	case errors.Is(err, fs.ErrNotExist):
		id, err = makeFolder(folder)
	}
	if err != nil {
		return false, err
	}
	journal := filepath.Join(folder, journalFolder)
	_, before := os.Stat(journal)
	engine, err := level.Open(journal, level.Options{Archive: id.ID, Create: true, TakeIn: true, Keys: o.Keys})
	if err != nil {
		return false, fmt.Errorf("make journal: %w", err)
	}
	_, err = engine.Settings(ctx)
	if err = errors.Join(err, engine.Close()); err != nil {
		return false, fmt.Errorf("make journal: %w", err)
	}
	// The new format says that the folder is whole, so it comes last.
	return before != nil, raise(folder, id, o.Keys)
}

// raise gives a folder the format that it is to have, if it has an earlier one.
func raise(folder string, id identity, keys []Key) error {
	format := formatOf(keys)
	if id.Format >= format || isKeyed(id.Format) && !isKeyed(format) { // what is encrypted stays so, and Open refuses it without a key
		return nil
	}
	if isKeyed(format) && !isKeyed(id.Format) {
		if err := keyed.Make(filepath.Join(folder, mailboxKeysFile)); err != nil {
			return err
		}
	}
	return writeIdentity(folder, id, format)
}

// Open checks a data folder as Check does and opens it. The journal and its settings must be there. The caller closes the Folder. The error is
// ErrInUse where another process has it open, and ErrAbsent where something is missing.
func Open(ctx context.Context, folder string, o Options) (*Folder, error) {
	id, err := check(folder)
	if err != nil {
		return nil, err
	}
	if !o.Mending {
		if err := settled(folder); err != nil {
			return nil, err
		}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if isKeyed(id.Format) && len(o.Keys) == 0 {
		return nil, fmt.Errorf("%s: %w: name its key in [encryption]", folder, ErrSealed)
	}
	engine, err := openEngine(folder, id, o)
	if err != nil {
		return nil, err
	}
	spool, err := spoolKeys(o.Keys)
	box, err2 := newBox(o.Keys)
	if err := errors.Join(err, err2); err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	f := &Folder{Engine: engine, SpoolKeys: spool, Box: box, GapSpool: filepath.Join(folder, gapSpoolFile), Made: id.Created, ID: id.ID, SourceKey: filepath.Join(folder, sourceKeyFile),
		EvidenceKey: filepath.Join(folder, evidenceKeyFile), EvidencePublic: filepath.Join(folder, evidencePublicFile)}
	if f.Settings, err = engine.Settings(ctx); err == nil && id.Format < formatOf(o.Keys) {
		o.Logger.Info("the data folder has a newer format now, which earlier versions refuse", "data", folder, "before", id.Format, "format", formatOf(o.Keys))
		err = raise(folder, id, o.Keys)
	}
	if err == nil && len(o.Keys) > 0 {
		err = f.seal(o)
	}
	if err != nil {
		return nil, errors.Join(mark(err), f.Close())
	}
	return f, nil
}

// seal has the engine seal values under the keys of mailboxes.
func (f *Folder) seal(o Options) error {
	path := filepath.Join(filepath.Dir(f.GapSpool), mailboxKeysFile)
	wrappers, err := wrappers(o.Keys)
	if err != nil {
		return err
	}
	ring, err := keyed.OpenRing(path, keyed.Options{Wrappers: wrappers, Logger: o.Logger})
	if errors.Is(err, keyed.ErrLost) {
		err = markedError{fmt.Errorf("%w; where there is none, write \"format\":%d into %s, and what was sealed so far cannot be read any more", err, formatPacked,
			filepath.Join(filepath.Dir(path), IdentityFile)), ErrAbsent}
	}
	if err != nil {
		return err
	}
	f.Engine = keyed.New(f.Engine, ring, journal.OwnerOf)
	return nil
}

// openEngine opens the journal of a data folder.
func openEngine(folder string, id identity, o Options) (kv.Engine, error) {
	takeIn := id.Format == formatUnregistered
	engine, err := level.Open(filepath.Join(folder, journalFolder), level.Options{
		Metrics: o.Metrics, Logger: o.Logger, Archive: id.ID, TakeIn: takeIn, Keys: o.Keys,
	})
	switch {
	case err == nil:
		return engine, nil
	case errors.Is(err, level.ErrAbsent) && takeIn:
		err = fmt.Errorf("%w: mount its disk, or put it back from a backup; where no mail was ever archived, make it with \"copialettere init\"", err)
	case errors.Is(err, level.ErrAbsent):
		err = fmt.Errorf("%w: mount its disk, or put it back from a backup; where the register alone is lost, write \"format\":%d into %s, "+
			"and what is in the folder then counts as all that must be there", err, formatUnregistered, filepath.Join(folder, IdentityFile))
	}
	return nil, mark(err)
}

// Close closes the engine, and waits for the updates under way. It is no error to call it again.
func (f *Folder) Close() error { return f.Engine.Close() }
