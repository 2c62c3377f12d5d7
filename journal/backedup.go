package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"copialettere/journal/kv"
)

// backupKey holds the last backup in the settings store.
var backupKey = []byte("b")

// Backup is a backup of the archive, as it is known to it.
type Backup struct {
	Taken time.Time `json:"taken"` // everything acknowledged until then is in it
	Bytes int64     `json:"bytes"`
	Place string    `json:"place"` // where it is, in the words of whoever made it
}

// BackedUp puts on record that a backup was made. The last one counts, by the time at which it was taken.
func (j *Journal) BackedUp(ctx context.Context, b Backup) error {
	s, err := j.engine.Settings(ctx)
	if err != nil {
		return err
	}
	value, err := json.Marshal(b)
	if err != nil {
		return err
	}
	err = s.Update(ctx, []string{"backup"}, func(tx kv.Tx) error {
		switch last, err := lastBackup(tx); {
		case err != nil:
			return err
		case last.Taken.After(b.Taken):
			return nil
		}
		tx.Put(backupKey, value)
		return nil
	})
	if err != nil {
		return fmt.Errorf("record a backup: %w", err)
	}
	_, err = j.LastBackup(ctx)
	return err
}

// LastBackup returns the last backup, zero for none, and shows it in the metrics.
func (j *Journal) LastBackup(ctx context.Context) (Backup, error) {
	s, err := j.engine.Settings(ctx)
	if err != nil {
		return Backup{}, err
	}
	b, err := lastBackup(storeView{ctx, s})
	if err == nil && !b.Taken.IsZero() {
		j.backup.Set(b.Taken.Unix())
	}
	return b, err
}

func lastBackup(settings kv.View) (b Backup, err error) {
	v, err := settings.Get(backupKey)
	if errors.Is(err, kv.ErrNotFound) {
		return b, nil
	}
	if err == nil {
		err = json.Unmarshal(v, &b)
	}
	if err != nil {
		return b, fmt.Errorf("read the last backup: %w", err)
	}
	return b, nil
}
