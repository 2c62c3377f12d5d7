package journal

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"copialettere/journal/kv"
)

// An act on a selection may be too large for one update. It goes in groups, by rising UID, and has one record. The update that does a group
// also adds its UIDs to the record, so wherever the act breaks off the record tells what was done. What is left is not done later: nobody
// waits for it any more, and the next act has it.

// ErrGone says that entries were deleted and that their grace is over.
var ErrGone = errors.New("deleted, and gone for good")

// Done is what became of a selection.
type Done struct {
	// Act is the act as it is on record. It is not if it has no UIDs.
	Act
	Held UIDs // entries that stay because they are held
	Gone UIDs // of Undelete: entries whose grace is over
	// Deleted are, of Delete and Empty, the UIDs of the entries in the folder of what was deleted (DeletedFolder), in the order of UIDs.
	Deleted UIDs
	// Damaged are entries that cannot be read, and stay. Verify tells of them.
	Damaged UIDs
}

// handling is an act on a selection under way.
type handling struct {
	j         *Journal
	ctx       context.Context
	asked     Selection
	selection Selection // what of that may be there
	folder    string    // where the entries go; empty where they go nowhere
	begin     newFolder // of that folder, if it is to be made
	key       []byte    // of the record, once that is there
	done      *Done     // as far as it is durable
	damage    error     // the first

	deletedUID uint32 // among the deleted, for the entry that is deleted next
}

// handle looks at one entry, and returns what does the act on it and tells its new place. ErrNotFound, ErrHeld, ErrGone and ErrDamaged are
// about this entry only.
type handle func(c *change, r Ref) (do func() (to Ref, err error), err error)

func (j *Journal) handling(ctx context.Context, kind string, s Selection, who string) *handling {
	done := &Done{Act: Act{Mailbox: s.Mailbox, Time: j.now().UTC(), Kind: kind, Who: who, From: s.place(0)}}
	return &handling{j: j, ctx: ctx, asked: s, selection: s, done: done}
}

// run does the act on the entries of the selection under the e or t keys. What comes into the folder meanwhile is not meant. With an error
// the Done, if there is one, still tells what was done.
func (h *handling) run(letter byte, each handle) (*Done, error) {
	there, err := h.clip()
	if err != nil {
		return nil, err
	}
	// An outcome only in memory would not find the entry any more.
	h.j.FlushOutcomes(h.ctx)
	size := 0
	entries := groups[Ref]{size: entryGroup, do: func(group []Ref) error {
		size = 0
		return h.group(group, each)
	}}
	err = h.scan(letter, func(r Ref, value int) error {
		if err := entries.add(r); err != nil {
			return err
		}
		if size += value; size > groupSize/4 {
			return entries.flush()
		}
		return nil
	})
	if err == nil {
		err = entries.flush()
	}
	if errors.Is(err, ErrNotFound) {
		err = nil // the month is being dropped, with what is left
	}
	if err == nil && h.done.Kind == ActUndelete {
		err = h.findGone()
	}
	if n := h.done.UIDs.Count(); err != nil && n > 0 {
		err = fmt.Errorf("%w; it broke off after %d messages", err, n)
	}
	if err != nil {
		return h.done, err
	}
	return h.done, h.nothing(there)
}

// nothing returns why nothing was done, if nothing was.
func (h *handling) nothing(there bool) error {
	err := ErrNotFound
	switch d := h.done; {
	case d.UIDs != nil, d.Kind == ActEmpty && there && d.Held == nil && h.damage == nil:
		return nil
	case d.Held != nil:
		err = ErrHeld
	case h.damage != nil:
		return h.damage
	case d.Gone != nil:
		err = ErrGone
	case d.Kind == ActEmpty:
		return fmt.Errorf("folder %s: %w", d.From.FolderName(), ErrFolder)
	}
	return fmt.Errorf("%s: %w", h.asked, err)
}

// clip takes from the selection what the folder has not had yet, and says whether the folder is there.
func (h *handling) clip() (there bool, err error) {
	s := &h.selection
	if err := checkMailbox(s.Mailbox); err != nil {
		return false, err
	}
	if err := checkFolder(s.Folder); err != nil {
		return false, err
	}
	store, err := h.j.volume(h.ctx, s.Month, false)
	if errors.Is(err, kv.ErrNoVolume) {
		s.UIDs = nil
		return false, nil
	}
	if err != nil {
		return false, err
	}
	counters, err := getCounters(storeView{h.ctx, store}, s.Mailbox, s.Folder)
	s.UIDs = s.UIDs.below(counters.nextUID)
	return counters.nextUID > 0, err
}

// scan calls fn with the entries of the selection under the e or t keys, by rising UID, and the size of their values.
func (h *handling) scan(letter byte, fn func(r Ref, value int) error) error {
	s := &h.selection
	store, err := h.j.volume(h.ctx, s.Month, false)
	if errors.Is(err, kv.ErrNoVolume) {
		return nil
	}
	if err != nil {
		return err
	}
	key := func(uid uint32) []byte {
		return binary.BigEndian.AppendUint32(folderKey(letter, s.Mailbox, s.Folder), uid)
	}
	for _, r := range s.UIDs {
		for p, err := range store.Scan(h.ctx, key(r.First), append(key(r.Last), 0)) {
			if h.j.dropped(h.ctx, s.Month, err) {
				return nil
			}
			if err != nil {
				return h.j.monthError(h.ctx, s.Month, err)
			}
			place, err := refOf(s.Month, p.Key)
			if err != nil {
				continue // Verify reports it
			}
			if err := fn(place, len(p.Value)); err != nil {
				return err
			}
		}
	}
	return nil
}

// group does the act on some entries, and puts them on record, in one update.
func (h *handling) group(group []Ref, each handle) error {
	var now Done
	var key []byte
	var damage error
	var taken uint32 // the first UID for what the group deletes
	update := func(c *change) (err error) {
		now, damage = Done{}, nil
		if h.deletedUID = taken; taken > 0 {
			if err := c.mayUse(h.selection.Mailbox, taken+uint32(len(group))); err != nil {
				return err
			}
		}
		for _, r := range group {
			do, err := each(c, r)
			switch {
			case errors.Is(err, ErrNotFound): // moved or deleted meanwhile
			case errors.Is(err, ErrHeld):
				now.Held.add(r.UID)
			case errors.Is(err, ErrGone):
				now.Gone.add(r.UID)
			case errors.Is(err, ErrDamaged):
				now.Damaged.add(r.UID)
				damage = cmp.Or(damage, err)
			case err != nil:
				return err
			default:
				to, err := do()
				if err != nil {
					return err
				}
				now.UIDs.add(r.UID)
				if to.UID > 0 {
					now.ToUIDs.add(to.UID)
				}
			}
		}
		now.Act = h.with(now.UIDs, now.ToUIDs)
		key, err = c.putHandling(&now.Act, h.key)
		return err
	}
	if h.deletes() {
		deleting := h.j.deleting.of(h.selection.Mailbox)
		if err := deleting.acquire(h.ctx); err != nil {
			return err
		}
		defer deleting.release()
	}
	err := errDeletedUIDs
	for tries := 0; tries < maxDeletedTries && errors.Is(err, errDeletedUIDs); tries++ {
		if h.deletes() {
			if taken, err = h.j.takeDeletedUIDs(h.ctx, h.selection.Mailbox, len(group)); err != nil {
				return err
			}
		}
		err = h.j.act(h.ctx, group[0], update, deletedLock(h.selection.Mailbox))
		if errors.Is(err, errNewFolder) {
			if err = h.newFolder(); err == nil {
				err = h.j.act(h.ctx, group[0], update)
			}
		}
	}
	if err != nil {
		return err
	}
	d := h.done
	d.Act, h.key, h.damage = now.Act, key, cmp.Or(h.damage, damage)
	if h.deletes() {
		if now.UIDs != nil {
			d.Deleted = d.Deleted.or(UIDs{{taken, taken + uint32(now.UIDs.Count()) - 1}})
		}
		// The entries are deleted whatever becomes of this: without it the next reader settles their UIDs.
		if err := h.j.settleDeleted(h.ctx, h.selection.Mailbox, taken+uint32(len(group))); err != nil {
			h.j.log.Warn("UIDs of deleted messages are settled later", "mailbox", h.selection.Mailbox, "error", err)
		}
	}
	d.Held, d.Gone, d.Damaged = d.Held.or(now.Held), d.Gone.or(now.Gone), d.Damaged.or(now.Damaged)
	return nil
}

// maxDeletedTries is how often a deletion takes UIDs anew because other processes delete from the same mailbox at the same time.
const maxDeletedTries = 1000

func (h *handling) deletes() bool { return h.done.Kind == ActDelete || h.done.Kind == ActEmpty }

// with returns the act as far as it is durable, with more entries.
func (h *handling) with(from, to UIDs) Act {
	act := h.done.Act
	act.UIDs, act.ToUIDs = act.UIDs.or(from), act.ToUIDs.or(to)
	act.From.UID = act.UIDs.first()
	if act.ToUIDs != nil {
		act.To = Ref{act.Mailbox, act.From.Month, h.folder, act.ToUIDs.first()}
	}
	return act
}

// putHandling puts an act on several entries on record under its key, or under a new one, which it returns. Nothing done is not on record.
func (c *change) putHandling(a *Act, key []byte) ([]byte, error) {
	switch {
	case a.UIDs == nil:
		return nil, nil
	case key == nil:
		return c.putAct(a)
	}
	c.Put(key, a.encode())
	return key, nil
}

// newFolder takes the UIDVALIDITY for the folder that the entries go to, which is not there.
func (h *handling) newFolder() (err error) {
	if !slices.Contains([]string{FolderOf(Received), FolderOf(Sent), Trash}, h.folder) {
		to := Ref{Month: h.selection.Month, Folder: h.folder}
		return fmt.Errorf("folder %s: %w", to.FolderName(), ErrFolder)
	}
	s, err := h.j.volume(h.ctx, h.selection.Month, false)
	if err != nil {
		return err
	}
	h.begin, err = h.j.newFolder(h.ctx, s, h.selection.Mailbox, h.folder)
	return err
}

// findGone adds the entries that were deleted, were never brought back, and have been removed since. Only the acts know of them.
func (h *handling) findGone() error {
	var deleted, back []UIDRange
	for a, err := range h.j.Acts(h.ctx, h.asked.Mailbox) {
		if errors.Is(err, ErrDamaged) {
			continue // Verify reports it
		}
		if err != nil {
			return err
		}
		if a.From.Month != h.asked.Month || a.From.Folder != h.asked.Folder {
			continue
		}
		switch {
		case a.Kind == ActUndelete:
			back = append(back, a.UIDs...)
		case (a.Kind == ActDelete || a.Kind == ActEmpty) && graceOver(a.Time, h.done.Time):
			deleted = append(deleted, a.UIDs...)
		}
	}
	gone := h.asked.UIDs.and(mergedUIDs(deleted)).without(mergedUIDs(back)).without(h.done.UIDs).without(h.done.Damaged)
	h.done.Gone = h.done.Gone.or(gone)
	return nil
}
