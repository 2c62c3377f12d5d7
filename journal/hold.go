package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"copialettere/journal/kv"
)

// ErrHeld says that an entry, or one of several, is under a hold.
var ErrHeld = errors.New("held")

// errHoldUnknown says that Settings.Held failed, which is the fault of no month.
var errHoldUnknown = errors.New("nobody knows of a hold")

// Holding is a hold on an entry.
type Holding struct {
	Ref
	Time   time.Time
	Who    string
	Reason string
}

func (h *Holding) encode() []byte {
	var enc encoder
	enc.time(tagTime, h.Time)
	enc.string(tagWho, h.Who)
	enc.string(tagReason, h.Reason)
	return enc.b
}

func decodeHolding(r Ref, b []byte) (*Holding, error) {
	h := &Holding{Ref: r}
	err := decodeFields(b, func(tag byte, v []byte) (err error) {
		switch tag {
		case tagTime:
			h.Time, err = decodeTime(v)
		case tagWho:
			h.Who = string(v)
		case tagReason:
			h.Reason = string(v)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("hold of %s %s %d: %w", r.Mailbox, r.FolderName(), r.UID, err)
	}
	return h, nil
}

func holdKey(r Ref) []byte {
	return binary.BigEndian.AppendUint32(folderKey('l', r.Mailbox, r.Folder), r.UID)
}

// mayGo returns ErrHeld if an entry is held or its mailbox is, whoever wants to delete it. It is asked inside the Update that deletes,
// under the deletionLocks, so its answer still holds when that commits.
func (c *change) mayGo(r Ref) error {
	held, err := c.mailboxHeld(r.Mailbox)
	if err == nil && !held {
		held, err = c.held(r)
	}
	if err == nil && held {
		return ErrHeld
	}
	return err
}

// held says whether an entry has a hold of its own.
func (c *change) held(r Ref) (bool, error) {
	_, err := c.Get(holdKey(r))
	if errors.Is(err, kv.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// deletionLocks returns the locks of an Update that deletes from mailboxes: those under which their entries change and those under which
// holds are placed.
func (j *Journal) deletionLocks(mailboxes ...string) []string {
	locks := slices.Clone(mailboxes)
	if j.settings != nil {
		for _, mailbox := range mailboxes {
			locks = append(locks, j.settings.Lock(mailbox))
		}
	}
	return locks
}

// mailboxHeld says whether a whole mailbox is held. It reads that once in each run of the Update, which has the deletionLocks.
func (c *change) mailboxHeld(mailbox string) (bool, error) {
	if held, known := c.holds[mailbox]; known {
		return held, nil
	}
	held, err := c.anyMailboxHeld([]string{mailbox})
	if err != nil {
		return false, err
	}
	if c.holds == nil {
		c.holds = make(map[string]bool)
	}
	c.holds[mailbox] = held
	return held, nil
}

// anyMailboxHeld says whether one of the mailboxes is held as a whole. The Update has the deletionLocks of all.
func (c *change) anyMailboxHeld(mailboxes []string) (held bool, err error) {
	if c.j.settings == nil {
		return false, nil
	}
	settings, err := c.In("")
	if err == nil {
		held, err = c.j.settings.Held(settings, mailboxes...)
	}
	if err != nil {
		return false, fmt.Errorf("%w: %w", errHoldUnknown, err)
	}
	return held, nil
}

// mailboxHeld says whether a whole mailbox is held just now. It spares work that would be refused; no deletion may rest on it.
func (j *Journal) mailboxHeld(ctx context.Context, mailbox string) (held bool, err error) {
	if j.settings == nil {
		return false, nil
	}
	s, err := j.engine.Settings(ctx)
	if err == nil {
		held, err = j.settings.Held(storeView{ctx, s}, mailbox)
	}
	if err != nil {
		return false, fmt.Errorf("%w: %w", errHoldUnknown, err)
	}
	return held, nil
}

// storeView reads a store outside any Update.
type storeView struct {
	ctx   context.Context
	store kv.Store
}

// Get implements kv.View.
func (v storeView) Get(key []byte) ([]byte, error) { return v.store.Get(v.ctx, key) }

// GetAll implements kv.View.
func (v storeView) GetAll(keys [][]byte) ([][]byte, error) { return v.store.GetAll(v.ctx, keys) }

// AwaitDeletions returns once every deletion still to come sees the hold on a whole mailbox. Call it after placing one. Entries need no
// waiting: whatever deletes one shares a lock with whoever places the hold. A month that is being dropped does. A drop by this process is
// waited for; one by another process is called off, unless the month cannot be written, which is logged. An error says that it did not
// wait; the hold stands all the same.
func (j *Journal) AwaitDeletions(ctx context.Context, mailbox string) error {
	err := j.keepMonths(ctx, mailbox)
	if err == nil {
		err = j.dropping.acquire(ctx)
	}
	if err != nil {
		return fmt.Errorf("wait for deletions in %s: %w", mailbox, err)
	}
	j.dropping.release()
	return nil
}

// keepMonths calls off the drops that other processes have decided without seeing the hold on a mailbox; they then look at the month again.
func (j *Journal) keepMonths(ctx context.Context, mailbox string) error {
	if j.alone {
		return nil
	}
	months, err := j.engine.Volumes(ctx)
	if err != nil {
		return fmt.Errorf("list volumes: %w", err)
	}
	for _, m := range months {
		s, err := j.engine.Volume(ctx, m, false)
		if err == nil {
			err = s.Update(ctx, []string{mailbox}, func(tx kv.Tx) error {
				tx.Delete(closingKey)
				return nil
			})
		}
		if errors.Is(err, kv.ErrFenced) {
			err = j.takeFence(ctx, m)
		}
		switch {
		case err == nil, errors.Is(err, kv.ErrNoVolume):
		case ctx.Err() != nil:
			return ctx.Err()
		case !errors.Is(err, kv.ErrClosed): // which is dropped
			j.log.Warn("a hold was placed while a month cannot be written", "mailbox", mailbox, "month", m, "error", err)
		}
	}
	return nil
}

// takeFence keeps another process from dropping a month that it has fenced. A drop by this process is waited for instead.
func (j *Journal) takeFence(ctx context.Context, m kv.Month) error {
	if j.alone {
		return nil
	}
	f, err := j.engine.Fence(ctx, m)
	if err == nil {
		err = f.Lift(ctx)
	}
	if errors.Is(err, kv.ErrFenced) {
		return nil // yet another process has taken it
	}
	return err
}

// Hold keeps an entry from being deleted by anything until Release. A second hold replaces the first. The act is on record: see Acts.
func (j *Journal) Hold(ctx context.Context, r Ref, who, reason string) error {
	now := j.now().UTC()
	return j.act(ctx, r, func(c *change) error {
		if _, err := c.entry(r); err != nil {
			return err
		}
		h := Holding{Time: now, Who: who, Reason: reason}
		c.Put(holdKey(r), h.encode())
		return c.putActOn(ActHold, who, now, r, Ref{}, reason)
	})
}

// Release lifts the hold on an entry. If there is none it does nothing, and nothing is on record.
func (j *Journal) Release(ctx context.Context, r Ref, who, reason string) error {
	now := j.now().UTC()
	return j.act(ctx, r, func(c *change) error {
		if _, err := c.entry(r); err != nil {
			return err
		}
		if held, err := c.held(r); !held || err != nil {
			return err
		}
		c.Delete(holdKey(r))
		if err := c.openRoom(r); err != nil {
			return err
		}
		return c.putActOn(ActRelease, who, now, r, Ref{}, reason)
	})
}

// Holdings yields the holds on entries of a mailbox, by month, folder and UID.
func (j *Journal) Holdings(ctx context.Context, mailbox string) iter.Seq2[*Holding, error] {
	return monthly(ctx, j, mailbox, eachUnder(ctx, 'l', mailbox, func(m kv.Month, p kv.Pair) (*Holding, error) {
		r, err := refOf(m, p.Key)
		if err != nil {
			return nil, err
		}
		return decodeHolding(r, p.Value)
	}))
}

// act runs fn in an Update of the volume of an entry, under more locks if they are given, and calls off a drop of that volume that is not decided yet. The error is
// ErrNotFound if there is no such volume, or if it is being dropped.
func (j *Journal) act(ctx context.Context, r Ref, fn func(c *change) error, locks ...string) error {
	if err := checkMailbox(r.Mailbox); err != nil {
		return err
	}
	s, err := j.volume(ctx, r.Month, false)
	if errors.Is(err, kv.ErrNoVolume) {
		return ErrNotFound
	}
	if err != nil {
		return err
	}
	err = j.update(ctx, s, r.Month, slices.Concat(j.deletionLocks(r.Mailbox), []string{movesLock}, locks), func(c *change) error {
		if err := c.stayOpen(); err != nil {
			return err
		}
		return fn(c)
	})
	if errors.Is(err, kv.ErrFenced) || j.dropped(ctx, r.Month, err) {
		return ErrNotFound // the month is about to be dropped, or was dropped meanwhile
	}
	if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, errNewFolder) && !errors.Is(err, errDeletedUIDs) {
		return fmt.Errorf("%s %s %d: %w", r.Mailbox, r.FolderName(), r.UID, err)
	}
	return err
}
