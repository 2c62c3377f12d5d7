package kv

import (
	"context"
	"time"
)

// Copier is an Engine that lies in files and can be copied while it is in use. An engine on a server is not one: the server has its own backups.
type Copier interface {
	// Snapshot freezes all stores as they were at one instant: it has every Update that had returned nil, and each Update wholly or not at all,
	// in all stores alike. Updates wait for it about as long as for one another. It takes little room at first; it keeps the room of what is
	// deleted later until it is released. One can exist at a time: another one waits, until ctx ends.
	Snapshot(ctx context.Context) (*Snapshot, error)
}

// Snapshot is a frozen copy of an engine, in files. Put under their names in an empty folder, they are a folder of the engine.
type Snapshot struct {
	Taken time.Time
	Files []SnapshotFile // by Name
	// Unread are the stores of the archive that are not in the copy, by the name of their folder, because they are absent or damaged, with
	// what is wrong.
	Unread  map[string]string
	Release func() error // ends it, and frees the room; calling it again is no error
}

// SnapshotFile is one file of a Snapshot.
type SnapshotFile struct {
	Name string // path in the folder of the engine, with slashes
	Path string // where it can be read until the snapshot is released
	Size int64  // in bytes
	// Changed is the time of the last change. A file of a later snapshot that has the same name, size and time has the same content, if the store
	// is the same one. Zero: not known.
	Changed time.Time
}
