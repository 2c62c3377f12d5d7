package httpd

import (
	"fmt"
	"time"

	"copialettere/journal"
)

// SnapshotLine is one line of a snapshot of the whole journal: what it is first, then its files, and ready last.
type SnapshotLine struct {
	Snapshot *SnapshotView `json:"snapshot,omitempty"`
	File     *SnapshotFile `json:"file,omitempty"`
	Ready    bool          `json:"ready,omitempty"`
}

// SnapshotView is what a snapshot is of.
type SnapshotView struct {
	Archive string            `json:"archive"` // id of the archive
	Data    string            `json:"data"`    // path of the data folder
	Taken   time.Time         `json:"taken"`
	Unread  map[string]string `json:"unread,omitempty"` // stores that are absent or damaged, by folder, with what is wrong
}

// SnapshotFile is a file of a snapshot.
type SnapshotFile struct {
	Name    string    `json:"name"` // path in the folder of the journal
	Path    string    `json:"path"` // where it can be read on the machine
	Size    int64     `json:"size"`
	Changed time.Time `json:"changed,omitzero"` // a later file of the same name, size and time is the same
}

// snapshot freezes the journal and lists its files. With hold they stay until the client hangs up, or the daemon stops.
func (a *api) snapshot(c *call) error {
	hold, err := c.flag("hold")
	if err != nil {
		return err
	}
	frozen, err := a.b.Archive.Freeze(c.Context(), c.who)
	if err != nil {
		return err
	}
	defer func() {
		if err := frozen.Release(); err != nil {
			a.b.Logger.Error("what a snapshot holds could not be removed; the next one does that, or a restart", "error", err)
		}
	}()
	c.out.write(SnapshotLine{Snapshot: &SnapshotView{frozen.Archive, frozen.Data, frozen.Taken, frozen.Unread}})
	for _, f := range frozen.Files {
		if err := c.out.write(SnapshotLine{File: &SnapshotFile{f.Name, f.Path, f.Size, f.Changed}}); err != nil {
			return err
		}
	}
	if err := c.out.write(SnapshotLine{Ready: true}); err != nil || !hold {
		return err
	}
	c.out.flush()
	select {
	case <-c.Context().Done():
	case <-a.b.Archive.Leaving():
	}
	return nil
}

// BackupDone is the body that says that a backup was made.
type BackupDone struct {
	Taken string `json:"taken"` // RFC 3339: everything acknowledged until then is in it
	Bytes int    `json:"bytes,omitempty"`
	Place string `json:"place,omitempty"` // where it is
}

func (a *api) backedUp(c *call) error {
	b := c.body.(*BackupDone)
	taken, err := time.Parse(time.RFC3339, b.Taken)
	if err != nil {
		return fmt.Errorf("%w: taken: %w", errRequest, err)
	}
	done, err := a.b.Archive.BackedUp(c.Context(), c.who, journal.Backup{Taken: taken.UTC(), Bytes: int64(b.Bytes), Place: b.Place})
	return c.answer(done, err)
}
