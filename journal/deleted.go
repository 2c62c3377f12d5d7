package journal

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"

	"copialettere/journal/kv"
)

// What was deleted by hand shows as one folder of its mailbox until it is gone, whatever folder and month it was in. There it has a UID of its own,
// which is given out with the deletion.
//
// Whoever deletes takes UIDs from the settings, then uses them in an Update of the volume, then says in the settings that all below are settled. All
// three have the lock deletedLock. The second fails if anybody has taken UIDs in between: so the order of commits is that of UIDs, whatever the
// months. Only what is settled shows, so no UID ever comes in below one that somebody has seen. Where the third step is missing, a reader takes a UID
// itself: nothing below it can come any more. UIDs that were taken and not used are never used.

// deletedCounters is the value of a w key of the settings.
type deletedCounters struct {
	nextUID     uint32 // that will be taken
	uidValidity uint32
	settled     uint32 // at most nextUID
}

func (c deletedCounters) encode() []byte {
	v := binary.BigEndian.AppendUint32(nil, c.nextUID)
	v = binary.BigEndian.AppendUint32(v, c.uidValidity)
	return binary.BigEndian.AppendUint32(v, c.settled)
}

func deletedLock(mailbox string) string { return "\x00deleted\x00" + mailbox }

// deletedCountersKey is the key of the settings, and the front of those of the volumes.
func deletedCountersKey(mailbox string) []byte { return mailboxKey('w', mailbox, 4) }

func deletedKey(mailbox string, uid uint32) []byte {
	return binary.BigEndian.AppendUint32(deletedCountersKey(mailbox), uid)
}

// getDeletedCounters returns zero counters where nothing was ever deleted.
func getDeletedCounters(settings kv.View, mailbox string) (deletedCounters, error) {
	v, err := settings.Get(deletedCountersKey(mailbox))
	if errors.Is(err, kv.ErrNotFound) {
		return deletedCounters{}, nil
	}
	if err != nil {
		return deletedCounters{}, err
	}
	if len(v) != 12 {
		return deletedCounters{}, fmt.Errorf("counters of what was deleted of %s: %w", mailbox, errEncoding)
	}
	return deletedCounters{binary.BigEndian.Uint32(v), binary.BigEndian.Uint32(v[4:]), binary.BigEndian.Uint32(v[8:])}, nil
}

// countDeleted changes the counters of what was deleted of a mailbox, and makes them where there are none.
func (j *Journal) countDeleted(ctx context.Context, mailbox string, change func(*deletedCounters)) error {
	s, err := j.engine.Settings(ctx)
	if err != nil {
		return err
	}
	var validity uint32
	for {
		err := s.Update(ctx, []string{deletedLock(mailbox)}, func(tx kv.Tx) error {
			c, err := getDeletedCounters(tx, mailbox)
			if err != nil {
				return err
			}
			if c.nextUID == 0 {
				if validity == 0 {
					return errNewFolder
				}
				c = deletedCounters{1, validity, 1}
			}
			if c.nextUID > math.MaxUint32-2*entryGroup {
				return fmt.Errorf("no UID is left for what is deleted of %s", mailbox)
			}
			change(&c)
			tx.Put(deletedCountersKey(mailbox), c.encode())
			return nil
		})
		if !errors.Is(err, errNewFolder) {
			return err
		}
		if validity, err = j.newValidity(ctx); err != nil {
			return err
		}
	}
}

// takeDeletedUIDs takes UIDs for at most entryGroup entries that are about to be deleted, and returns the first.
func (j *Journal) takeDeletedUIDs(ctx context.Context, mailbox string, n int) (first uint32, err error) {
	err = j.countDeleted(ctx, mailbox, func(c *deletedCounters) {
		first = c.nextUID
		c.nextUID += uint32(n)
	})
	return first, err
}

// settleDeleted says that what uses the UIDs below next is durable, or will not come.
func (j *Journal) settleDeleted(ctx context.Context, mailbox string, next uint32) error {
	return j.countDeleted(ctx, mailbox, func(c *deletedCounters) { c.settled = max(c.settled, next) })
}

// settledDeleted returns the counters with nothing left to settle. The error is ErrNotFound where there are none and none are to be made.
func (j *Journal) settledDeleted(ctx context.Context, mailbox string, create bool) (c deletedCounters, err error) {
	settings, err := j.engine.Settings(ctx)
	if err != nil {
		return c, err
	}
	settled := func() bool {
		c, err = getDeletedCounters(storeView{ctx, settings}, mailbox)
		if err == nil && c.nextUID == 0 && !create {
			err = ErrNotFound
		}
		return err != nil || c.nextUID > 0 && c.settled == c.nextUID
	}
	if settled() {
		return c, err
	}
	// Wait for a deletion by this process: it settles what it has taken.
	deleting := j.deleting.of(mailbox)
	if err := deleting.acquire(ctx); err != nil {
		return c, err
	}
	defer deleting.release()
	if settled() {
		return c, err
	}
	err = j.countDeleted(ctx, mailbox, func(now *deletedCounters) {
		if now.settled < now.nextUID {
			now.nextUID++
			now.settled = now.nextUID
		}
		c = *now
	})
	return c, err
}

// errDeletedUIDs says that others have taken UIDs for what they delete after those of this change were taken.
var errDeletedUIDs = errors.New("later UIDs were taken")

// mayUse returns errDeletedUIDs unless the UIDs up to next, taken for what the change deletes, are the last that were taken.
func (c *change) mayUse(mailbox string, next uint32) error {
	settings, err := c.In("")
	if err != nil {
		return err
	}
	now, err := getDeletedCounters(settings, mailbox)
	if err == nil && now.nextUID != next {
		err = errDeletedUIDs
	}
	return err
}

// putDeleted files an entry that is put aside under its UID among the deleted.
func (c *change) putDeleted(a *aside, e *Entry) {
	if a.uid > 0 {
		c.Put(deletedKey(e.Mailbox, a.uid), append(binary.BigEndian.AppendUint64(nil, uint64(e.Size)), encodePlace(e.Ref)...))
	}
}

// leaveDeleted takes an entry that is put aside away from the deleted.
func (c *change) leaveDeleted(a *aside, mailbox string) {
	if a.uid > 0 {
		c.Delete(deletedKey(mailbox, a.uid))
	}
}

// DeletedPlace is where an entry that was deleted by hand was.
type DeletedPlace struct {
	Ref
	DeletedUID uint32 // among what was deleted of the mailbox
	Size       int64  // bytes of the message
}

func deletedPlace(m kv.Month, p kv.Pair) (DeletedPlace, error) {
	mailbox, rest, err := splitMailboxKey(p.Key)
	if err != nil || len(rest) != 4 || len(p.Value) < 8 {
		return DeletedPlace{}, fmt.Errorf("key %q of what was deleted: %w", p.Key, errKey)
	}
	d := DeletedPlace{DeletedUID: binary.BigEndian.Uint32(rest), Size: int64(binary.BigEndian.Uint64(p.Value))}
	d.Ref, err = decodePlace(mailbox, m, p.Value[8:])
	return d, err
}

// DeletedFolder returns what was deleted by hand of a mailbox and is not gone yet, as one folder: its Month is empty. With create it makes the folder
// if there is none; without, that is ErrNotFound. What was deleted before the data folder had format 4 is not in it. Months that cannot be read are
// left out.
func (j *Journal) DeletedFolder(ctx context.Context, mailbox string, create bool) (FolderStats, error) {
	if err := checkMailbox(mailbox); err != nil {
		return FolderStats{}, err
	}
	counters, err := j.settledDeleted(ctx, mailbox, create)
	if err != nil {
		return FolderStats{}, fmt.Errorf("deleted messages of %s: %w", mailbox, err)
	}
	f := FolderStats{Mailbox: mailbox, Folder: Trash, UIDValidity: counters.uidValidity, NextUID: counters.nextUID}
	if counters.nextUID == 1 {
		return f, nil
	}
	places, err := j.deletedPlaces(ctx, mailbox, UIDs{{1, counters.nextUID - 1}})
	for _, p := range places {
		f.Entries++
		f.Bytes += uint64(p.Size)
	}
	return f, err
}

// DeletedPlaces returns the entries of a mailbox that were deleted by hand and have these UIDs among the deleted, by rising UID. Months that cannot be
// read are left out.
func (j *Journal) DeletedPlaces(ctx context.Context, mailbox string, uids UIDs) ([]DeletedPlace, error) {
	counters, err := j.settledDeleted(ctx, mailbox, false)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("deleted messages of %s: %w", mailbox, err)
	}
	return j.deletedPlaces(ctx, mailbox, uids.below(counters.nextUID))
}

func (j *Journal) deletedPlaces(ctx context.Context, mailbox string, uids UIDs) ([]DeletedPlace, error) {
	var list []DeletedPlace
	for d, err := range monthly(ctx, j, mailbox, eachUnder(ctx, 'w', mailbox, deletedPlace)) {
		switch {
		case errors.Is(err, ErrDamaged): // Verify reports it
		case err != nil:
			return nil, err
		case uids.has(d.DeletedUID):
			list = append(list, d)
		}
	}
	slices.SortFunc(list, func(a, b DeletedPlace) int { return cmp.Compare(a.DeletedUID, b.DeletedUID) })
	return list, nil
}

// DeletedEntries yields the entries of a mailbox that were deleted by hand and have these UIDs among the deleted, by rising UID, each at its old place.
// Instead of one that cannot be read it yields one that has only its Ref, with an error that is ErrDamaged, and goes on. One that is brought back or
// gone meanwhile is left out.
func (j *Journal) DeletedEntries(ctx context.Context, mailbox string, uids UIDs) iter.Seq2[*Deleted, error] {
	return func(yield func(*Deleted, error) bool) {
		places, err := j.DeletedPlaces(ctx, mailbox, uids)
		if err != nil {
			yield(nil, err)
			return
		}
		for _, p := range places {
			d, err := j.deletedAt(ctx, p)
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if !yield(d, err) || d == nil {
				return
			}
		}
	}
}

// DeletedEntry returns the entry of a place that DeletedPlaces returned, with only its Ref if it cannot be read, and nil if it was brought back or is
// gone.
func (j *Journal) DeletedEntry(ctx context.Context, p DeletedPlace) (*Deleted, error) {
	d, err := j.deletedAt(ctx, p)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if d != nil {
		err = nil
	}
	return d, err
}

// deletedAt reads an entry that was deleted by hand. With an error that is ErrDamaged it returns one that has only its Ref.
func (j *Journal) deletedAt(ctx context.Context, p DeletedPlace) (*Deleted, error) {
	d, err := j.readDeleted(ctx, p)
	if errors.Is(err, ErrDamaged) {
		d = &Deleted{Entry: &Entry{Ref: p.Ref}}
	}
	if d != nil {
		d.DeletedUID = p.DeletedUID
	}
	return d, err
}

func (j *Journal) readDeleted(ctx context.Context, p DeletedPlace) (*Deleted, error) {
	s, err := j.volume(ctx, p.Month, false)
	if errors.Is(err, kv.ErrNoVolume) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	v, err := s.Get(ctx, asideKey(p.Ref))
	if errors.Is(err, kv.ErrNotFound) || j.dropped(ctx, p.Month, err) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, j.monthError(ctx, p.Month, err)
	}
	return deletedOf(p.Month, kv.Pair{Key: asideKey(p.Ref), Value: v})
}

// Held returns which entries of a selection stay if it is deleted now, because they have holds of their own. Of a hold on the whole mailbox only
// Settings knows.
func (j *Journal) Held(ctx context.Context, s Selection) (held UIDs, err error) {
	store, err := j.folderStore(ctx, s.Mailbox, s.Month, s.Folder)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	prefix := folderKey('l', s.Mailbox, s.Folder)
	for p, err := range store.Scan(ctx, prefix, after(prefix)) {
		if j.dropped(ctx, s.Month, err) {
			return nil, nil
		}
		if err != nil {
			return nil, j.monthError(ctx, s.Month, err)
		}
		if r, err := refOf(s.Month, p.Key); err == nil && s.UIDs.has(r.UID) {
			held.add(r.UID)
		}
	}
	return held, nil
}
