package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"copialettere/journal/evidence"
	"copialettere/journal/kv"
)

// An archive from before there were logs is taken into them once: each entry that is there gets a leaf that says so. Until a month is done, an entry
// without a leaf in it is no fault. Its entries may change meanwhile, and may get a leaf twice, which says the same.

// adoption is the value of a ka key: a month that was there before the logs, and how far it has been taken into them. A month without one had logs from
// its beginning.
type adoption struct {
	Key     []byte    `json:"key,omitempty"` // the newest e or t key that is done
	Entries int64     `json:"entries,omitempty"`
	Done    time.Time `json:"done,omitzero"`
}

func adoptionKey(m kv.Month) []byte { return append([]byte("ka"), m...) }

func getAdoption(v kv.View, m kv.Month) (*adoption, error) {
	b, err := v.Get(adoptionKey(m))
	if errors.Is(err, kv.ErrNotFound) {
		return nil, nil
	}
	a := new(adoption)
	if err == nil {
		err = json.Unmarshal(b, a)
	}
	if err != nil {
		return nil, fmt.Errorf("month %s before the logs: %w", m, err)
	}
	return a, nil
}

// adoptPause is how many times as long as it worked Adopt rests.
const adoptPause = 3

// adoptSave is after how many groups Adopt notes how far it has come.
const adoptSave = 20

// Adopt takes what was there before the archive kept logs into them, and returns how many entries it took. It goes on where it broke off, and rests for
// three quarters of the time. A month that cannot be read is passed over, and tried again the next time. Call it once after Open, before Checkpoint.
func (j *Journal) Adopt(ctx context.Context) (taken int64, err error) {
	if err := j.BeginLogs(ctx); err != nil {
		return 0, err
	}
	settings, err := j.engine.Settings(ctx)
	if err != nil {
		return 0, fmt.Errorf("take the archive into its logs: %w", err)
	}
	var passed PassedOver
	prefix := []byte("ka")
	for p, err := range settings.Scan(ctx, prefix, after(prefix)) {
		if err != nil {
			return taken, fmt.Errorf("take the archive into its logs: %w", err)
		}
		m, err := kv.ParseMonth(string(p.Key[len(prefix):]))
		if err != nil {
			return taken, fmt.Errorf("take the archive into its logs: %w", err)
		}
		n, err := j.adoptMonth(ctx, settings, m)
		taken += n
		if err = j.monthError(ctx, m, err); err != nil && !passed.Add(err) {
			return taken, fmt.Errorf("take %s into its logs: %w", m, err)
		}
	}
	return taken, passed.Err()
}

// BeginLogs notes, once, since when the archive keeps logs, and which months were there before: they are for Adopt. Call it after Open.
func (j *Journal) BeginLogs(ctx context.Context) error {
	settings, err := j.engine.Settings(ctx)
	if err == nil {
		err = j.beginLogs(ctx, settings)
	}
	if err != nil {
		return fmt.Errorf("begin the logs of the archive: %w", err)
	}
	return nil
}

func (j *Journal) beginLogs(ctx context.Context, settings kv.Store) error {
	st, err := getEvidence(storeView{ctx, settings})
	if err != nil || !st.Since.IsZero() {
		return err
	}
	months, err := j.engine.Volumes(ctx)
	if err != nil {
		return fmt.Errorf("list volumes: %w", err)
	}
	return settings.Update(ctx, []string{evidenceLock}, func(tx kv.Tx) error {
		st, err := getEvidence(tx)
		if err != nil || !st.Since.IsZero() {
			return err
		}
		for _, m := range months {
			if err := putAdoption(tx, m, adoption{}); err != nil {
				return err
			}
		}
		st.Since = j.now().UTC()
		return putEvidence(tx, st)
	})
}

func putAdoption(tx kv.Tx, m kv.Month, a adoption) error {
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	tx.Put(adoptionKey(m), b)
	return nil
}

// adoptMonth takes what is left of one month into its logs.
func (j *Journal) adoptMonth(ctx context.Context, settings kv.Store, m kv.Month) (taken int64, err error) {
	a, err := getAdoption(storeView{ctx, settings}, m)
	if err != nil || a == nil || !a.Done.IsZero() {
		return 0, err
	}
	s, err := j.volume(ctx, m, false)
	if err != nil && !errors.Is(err, kv.ErrNoVolume) {
		return 0, err
	}
	save := func() error {
		return settings.Update(ctx, []string{evidenceLock}, func(tx kv.Tx) error { return putAdoption(tx, m, *a) })
	}
	if err == nil {
		if taken, err = j.adoptEntries(ctx, monthStore{s, m}, a, save); err != nil {
			return taken, errors.Join(err, save())
		}
	}
	a.Key, a.Done = nil, j.now().UTC()
	return taken, save()
}

// adoptEntries makes leaves for the entries of a month behind a.Key.
func (j *Journal) adoptEntries(ctx context.Context, s monthStore, a *adoption, save func() error) (taken int64, err error) {
	since, unsaved := time.Now(), 0
	group := groups[[]byte]{size: entryGroup, do: func(keys [][]byte) error {
		n, err := j.adoptGroup(ctx, s, keys)
		if err != nil {
			return err
		}
		taken += n
		a.Entries += n
		a.Key = keys[len(keys)-1]
		if unsaved++; unsaved == adoptSave {
			unsaved = 0
			if err := save(); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(adoptPause * time.Since(since)):
		}
		since = time.Now()
		return nil
	}}
	var mailbox string
	for _, kind := range []byte{'e', 't'} {
		from := []byte{kind}
		if len(a.Key) > 0 && a.Key[0] >= kind {
			from = append(a.Key[:len(a.Key):len(a.Key)], 0)
		}
		if from[0] != kind {
			continue // done
		}
		for p, err := range s.Scan(ctx, from, []byte{kind + 1}) {
			if err != nil {
				return taken, err
			}
			of, _, err := splitMailboxKey(p.Key)
			if err != nil {
				continue // Verify reports it
			}
			if of != mailbox {
				if err := group.flush(); err != nil {
					return taken, err
				}
				mailbox = of
			}
			if err := group.add(p.Key); err != nil {
				return taken, err
			}
		}
		if err := group.flush(); err != nil {
			return taken, err
		}
	}
	return taken, nil
}

// adoptGroup makes leaves for entries of one mailbox that are still there.
func (j *Journal) adoptGroup(ctx context.Context, s monthStore, keys [][]byte) (taken int64, err error) {
	mailbox, _, err := splitMailboxKey(keys[0])
	if err != nil {
		return 0, err
	}
	err = j.update(ctx, s, s.month, []string{mailbox}, func(c *change) error {
		taken = 0
		for _, key := range keys {
			value, err := c.Get(key)
			if errors.Is(err, kv.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			kind := evidence.Adopted
			r, err := refOf(s.month, key)
			var e *Entry
			if err == nil && key[0] == 't' {
				var a *aside
				kind = evidence.AdoptedAside
				if a, e, err = decodeAside(r, value); err == nil {
					value = a.entry
				}
			} else if err == nil {
				e, err = decodeEntry(r, value)
			}
			if err != nil {
				continue // Verify reports it
			}
			if err := c.note(kind, e, r, value); err != nil {
				return err
			}
			taken++
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return taken, nil
}
