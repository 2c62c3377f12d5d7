package journal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"copialettere/journal/kv"
)

// ErrHeld says that an entry, or one of those that an act is about, is under a hold.
var ErrHeld = errors.New("held")

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

// Hold keeps an entry from being deleted by anything until Release. A second hold takes the place of the first. The act is on
// record: see Acts.
func (j *Journal) Hold(ctx context.Context, r Ref, who, reason string) error {
	now := j.now().UTC()
	return j.act(ctx, r, func(c *change) error {
		if _, err := c.entry(r); err != nil {
			return err
		}
		h := Holding{Time: now, Who: who, Reason: reason}
		c.Put(holdKey(r), h.encode())
		return c.putAct(&Act{Mailbox: r.Mailbox, Time: now, Kind: ActHold, Who: who, From: r, Detail: reason})
	})
}

// Release takes the hold from an entry. One that is not held is no error, and nothing is on record then.
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
		return c.putAct(&Act{Mailbox: r.Mailbox, Time: now, Kind: ActRelease, Who: who, From: r, Detail: reason})
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

// act runs fn in an Update of the volume of an entry; the error is ErrNotFound when there is none, or when it is being dropped.
func (j *Journal) act(ctx context.Context, r Ref, fn func(c *change) error) error {
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
	err = j.update(ctx, s, r.Month, []string{r.Mailbox, movesLock}, fn)
	if errors.Is(err, kv.ErrFenced) {
		return ErrNotFound // the month is about to be dropped
	}
	if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, errNewFolder) {
		return fmt.Errorf("%s %s %d: %w", r.Mailbox, r.FolderName(), r.UID, err)
	}
	return err
}
