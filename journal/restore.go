package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"copialettere/journal/kv"
)

// After a restore from a backup the journal is as it was when the backup was taken. Nobody knows what was given out since. So all that is counted
// moves ahead of anything that can have been: UIDs by uidsAhead in each folder, and every folder gets a new UIDVALIDITY (RFC 9051 section 2.3.1.1), above
// all that were reserved then by validitiesAhead. A mail program that saw a message under a UID after the backup thus never takes another one for
// it, and acts, logs and proofs that name a message by its UID stay unique.

const (
	// uidsAhead is more than what one folder of a month gets between two backups.
	uidsAhead = 1 << 20
	// validitiesAhead is more than what is reserved beyond the clock between two backups: 256 at each start, at most.
	validitiesAhead = 1 << 24
)

// Restoration tells Restored of a restore.
type Restoration struct {
	Taken     time.Time // of the backup
	At        time.Time // of the restore
	Mailboxes []string  // whose archive was on when the backup was taken
}

// Restored makes a journal that was restored from a backup fit for use: it moves UIDs and values of UIDVALIDITY ahead, and puts the time between the
// backup and the restore on record as a gap of each mailbox. Nobody else may use the journal yet. After an error restore it anew.
func (j *Journal) Restored(ctx context.Context, r Restoration) error {
	settings, err := j.engine.Settings(ctx)
	if err != nil {
		return err
	}
	if err := skipValidities(ctx, settings, r.At); err != nil {
		return fmt.Errorf("move UIDVALIDITY ahead: %w", err)
	}
	deleted := make(map[string]bool)
	for _, mailbox := range r.Mailboxes {
		deleted[mailbox] = true
	}
	for s, err := range j.volumes(ctx) {
		if err == nil {
			err = j.moveUIDs(ctx, s, deleted)
		}
		var month *MonthError
		if errors.As(err, &month) {
			j.log.Error("the folders of a month that cannot be read keep their UIDVALIDITY", "month", month.Month, "error", month.Err)
			continue
		}
		if err != nil {
			return fmt.Errorf("move UIDs ahead: %w", err)
		}
	}
	for mailbox := range deleted {
		if err := j.moveDeletedUIDs(ctx, mailbox); err != nil {
			return fmt.Errorf("move UIDs of what was deleted of %s ahead: %w", mailbox, err)
		}
	}
	if err := j.putBackLogs(ctx, settings); err != nil {
		return fmt.Errorf("put on record that logs are put back: %w", err)
	}
	gaps := make([]Record, 0, len(r.Mailboxes))
	for _, mailbox := range r.Mailboxes {
		gaps = append(gaps, Record{
			Kind: Gap, Mailbox: mailbox, Time: r.Taken, Until: r.At, Reason: ReasonRestored,
			Detail: fmt.Sprintf("restored from a backup of %s; what arrived from then until %s is missing", bound(r.Taken), bound(r.At)),
		})
	}
	return j.Record(ctx, gaps...)
}

// skipValidities reserves, for nobody, the values of UIDVALIDITY that may have been given out since a backup.
func skipValidities(ctx context.Context, settings kv.Store, now time.Time) error {
	return settings.Update(ctx, []string{"uidvalidity"}, func(tx kv.Tx) error {
		end := uint64(min(max(now.Unix(), 1), math.MaxInt32))
		switch v, err := tx.Get(validityKey); {
		case errors.Is(err, kv.ErrNotFound):
		case err != nil:
			return err
		case len(v) != 4:
			return errEncoding
		default:
			end = max(end, uint64(binary.BigEndian.Uint32(v)))
		}
		if end += validitiesAhead; end > math.MaxUint32-validityBlock {
			return errors.New("none are left")
		}
		tx.Put(validityKey, binary.BigEndian.AppendUint32(nil, uint32(end)))
		return nil
	})
}

// ahead returns the next UID of a folder moved ahead. Near the end of all UIDs it stays: the new UIDVALIDITY makes them others.
func ahead(next uint32) uint32 {
	if next > math.MaxUint32/2 {
		return next
	}
	return next + uidsAhead
}

// moveUIDs moves the UIDs of all folders of a volume ahead, and notes their mailboxes.
func (j *Journal) moveUIDs(ctx context.Context, s monthStore, mailboxes map[string]bool) error {
	type folder struct {
		key      []byte
		validity uint32
	}
	folders := groups[folder]{size: eraseGroup, do: func(group []folder) error {
		return s.Update(ctx, nil, func(tx kv.Tx) error {
			for _, f := range group {
				v, err := tx.Get(f.key)
				if err != nil {
					return err
				}
				c, err := decodeCounters(v)
				if err != nil {
					continue // Verify reports it
				}
				c.nextUID, c.uidValidity = ahead(c.nextUID), f.validity
				tx.Put(f.key, c.encode())
			}
			return nil
		})
	}}
	for p, err := range s.Scan(ctx, []byte{'s'}, []byte{'s' + 1}) {
		if err != nil {
			return j.monthError(ctx, s.month, err)
		}
		mailbox, _, _, err := splitFolderKey(p.Key)
		if err != nil {
			continue
		}
		mailboxes[mailbox] = true
		validity, err := j.newValidity(ctx)
		if err != nil {
			return err
		}
		if err := folders.add(folder{bytes.Clone(p.Key), validity}); err != nil {
			return j.monthError(ctx, s.month, err)
		}
	}
	return j.monthError(ctx, s.month, folders.flush())
}

// moveDeletedUIDs moves the UIDs of what was deleted of a mailbox ahead, if anything ever was.
func (j *Journal) moveDeletedUIDs(ctx context.Context, mailbox string) error {
	settings, err := j.engine.Settings(ctx)
	if err != nil {
		return err
	}
	if there, err := hasKey(ctx, settings, deletedCountersKey(mailbox)); err != nil || !there {
		return err
	}
	validity, err := j.newValidity(ctx)
	if err != nil {
		return err
	}
	return j.countDeleted(ctx, mailbox, func(c *deletedCounters) {
		c.nextUID, c.uidValidity = ahead(c.nextUID), validity
		c.settled = c.nextUID
	})
}

// ApplyDeletions removes from a journal that was restored from a backup what a newer copy of it, from a later backup, no longer holds: what was deleted,
// erased or expired in between does not come back. A month that the newer copy has dropped goes; one that was given up as lost stays. Holds that the newer
// copy has are placed, and its gaps and acts are taken over. Both must have the settings of the newer copy, and nobody else may use either. It returns
// what it removed. A month of the newer copy that cannot be read wholly is an error that names it: what was deleted there cannot be told.
func (j *Journal) ApplyDeletions(ctx context.Context, newer *Journal) (Removed, error) {
	a := applier{j: j, newer: newer, ctx: ctx}
	months, err := j.engine.Volumes(ctx)
	if err != nil {
		return a.removed, fmt.Errorf("list volumes: %w", err)
	}
	for _, m := range months {
		if err := a.apply(m); err != nil {
			return a.removed, fmt.Errorf("remove what was deleted from %s since the backup: %w", m, err)
		}
	}
	return a.removed, nil
}

// applier does the work of ApplyDeletions, month by month.
type applier struct {
	j, newer *Journal
	ctx      context.Context
	removed  Removed

	month      kv.Month
	here, then kv.Store // the month as restored, and in the newer copy
}

func (a *applier) apply(m kv.Month) error {
	here, err := a.j.volume(a.ctx, m, false)
	if err != nil {
		return err
	}
	a.month, a.here = m, here
	a.then, err = a.newer.volume(a.ctx, m, false)
	if errors.Is(err, kv.ErrNoVolume) {
		return a.gone()
	}
	if err != nil {
		return err
	}
	if losses, err := a.then.Lost(a.ctx); err != nil {
		return err
	} else if len(losses) > 0 {
		return fmt.Errorf("the newer copy of it has lost updates: %w", ErrDamaged)
	}
	list, err := mailboxesIn(a.ctx, here)
	if err != nil {
		return err
	}
	for _, one := range list {
		if err := a.mailbox(one.mailbox); err != nil {
			return fmt.Errorf("%s: %w", one.mailbox, err)
		}
	}
	if err := a.records(); err != nil {
		return fmt.Errorf("gaps and acts: %w", err)
	}
	return a.holds()
}

// gone drops a month that the newer copy does not have, unless that was given up.
func (a *applier) gone() error {
	settings, err := a.newer.engine.Settings(a.ctx)
	if err != nil {
		return err
	}
	if lost, err := hasKey(a.ctx, settings, recordKey("", a.month.Start(), forgottenSlot)); err != nil || lost {
		return err
	}
	err = a.j.engine.Drop(a.ctx, a.month)
	a.j.dictionaries.dropped(a.month)
	return err
}

// mailbox removes what the newer copy does not hold of a mailbox; all of it if that has no folder there any more.
func (a *applier) mailbox(mailbox string) error {
	known := false
	prefix := mailboxKey('s', mailbox, 0)
	for _, err := range a.then.Scan(a.ctx, prefix, after(prefix)) {
		if err != nil {
			return err
		}
		known = true
		break
	}
	for _, kind := range []byte{'e', 't'} {
		prefix := mailboxKey(kind, mailbox, 0)
		entries := groups[[]byte]{size: entryGroup, do: func(keys [][]byte) error { return a.group(mailbox, kind, keys) }}
		for p, err := range a.here.Scan(a.ctx, prefix, after(prefix)) {
			if err != nil {
				return err
			}
			if stays, err := a.stays(kind, p); err != nil {
				return err
			} else if stays {
				continue
			}
			if err := entries.add(p.Key); err != nil {
				return err
			}
		}
		if err := entries.flush(); err != nil {
			return err
		}
	}
	if known {
		return nil
	}
	var erased Erased
	e := eraser{j: a.j, ctx: a.ctx, store: a.here, month: a.month, mailbox: mailbox, removed: &erased}
	return e.erase()
}

// stays reports whether the newer copy holds an entry, wherever it lies there. One that cannot be read stays: Verify reports it.
func (a *applier) stays(kind byte, p kv.Pair) (bool, error) {
	var e *Entry
	var err error
	if kind == 't' {
		_, e, err = asideOf(a.month, p)
	} else {
		e, err = entryOf(a.month, p)
	}
	if err != nil {
		return true, nil
	}
	v, err := a.then.Get(a.ctx, deliveryKey(e.Mailbox, e.deliveryDigest()))
	if errors.Is(err, kv.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	place, gone := isTombstone(v)
	if !gone {
		return true, nil
	}
	r, err := decodePlace(e.Mailbox, a.month, place)
	if err != nil {
		return false, err
	}
	v, err = a.then.Get(a.ctx, asideKey(r))
	if errors.Is(err, kv.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	put, _, err := decodeAside(r, v)
	// What was superseded is no deletion, and the entry that took its place is not here.
	return err == nil && (kind == 't' || put.by != nil), err
}

// group removes entries of a mailbox, and holds that were lifted before they went.
func (a *applier) group(mailbox string, kind byte, keys [][]byte) error {
	var removed Removed
	err := a.j.update(a.ctx, a.here, a.month, a.j.deletionLocks(mailbox), func(c *change) error {
		removed = Removed{}
		for _, key := range keys {
			r, err := refOf(a.month, key)
			if err != nil {
				return err
			}
			c.Delete(holdKey(r))
			var e *Entry
			if kind == 't' {
				e, err = c.purge(r, RemovedDeleted)
			} else {
				e, err = c.remove(r, RemovedDeleted, true)
			}
			if err != nil {
				return err
			}
			removed.add(e)
		}
		return nil
	})
	if err == nil {
		a.removed.Entries += removed.Entries
		a.removed.Bytes += removed.Bytes
	}
	return err
}

// records takes over the gaps and acts of the newer copy.
func (a *applier) records() error {
	records := groups[kv.Pair]{size: 100, do: func(group []kv.Pair) error {
		return a.here.Update(a.ctx, nil, func(tx kv.Tx) error {
			for _, p := range group {
				if err := keep(tx, p); err != nil {
					return err
				}
			}
			return nil
		})
	}}
	for _, kind := range []byte{'a', 'g'} {
		for p, err := range a.then.Scan(a.ctx, []byte{kind}, []byte{kind + 1}) {
			if err != nil {
				return err
			}
			if kind == 'g' && isSkip(p.Value) {
				continue
			}
			if err := records.add(p); err != nil {
				return err
			}
		}
	}
	return records.flush()
}

// holds places the holds of the newer copy on the same messages, wherever they lie here.
func (a *applier) holds() error {
	for p, err := range a.then.Scan(a.ctx, []byte{'l'}, []byte{'l' + 1}) {
		if err != nil {
			return err
		}
		r, err := refOf(a.month, p.Key)
		if err != nil {
			return err
		}
		v, err := a.then.Get(a.ctx, entryKey(r))
		if err != nil {
			return err
		}
		e, err := decodeEntry(r, v)
		if err != nil {
			return err
		}
		v, err = a.here.Get(a.ctx, deliveryKey(e.Mailbox, e.deliveryDigest()))
		place, gone := isTombstone(v)
		if errors.Is(err, kv.ErrNotFound) || err == nil && gone {
			continue // it came later
		}
		if err != nil {
			return err
		}
		held, err := decodePlace(e.Mailbox, a.month, place)
		if err != nil {
			return err
		}
		err = a.here.Update(a.ctx, []string{e.Mailbox}, func(tx kv.Tx) error {
			tx.Put(holdKey(held), p.Value)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
