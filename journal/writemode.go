package journal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"copialettere/journal/evidence"
	"copialettere/journal/kv"
)

// Trash is the folder that appears in a month once something is moved there.
const Trash = "Trash"

// ErrFolder says that a folder cannot be the target of a move: it is not there, and nobody makes folders by hand.
var ErrFolder = errors.New("no such folder")

// movesKey counts the moves, deletions and returns in a volume, which all share movesLock: the sweep sees by it whether one has passed it
// by.
var movesKey = []byte("n")

const movesLock = "\x00moves"

// errMoved is for the sweep alone.
var errMoved = errors.New("entries were moved meanwhile")

// Move files entries in another folder of their month: INBOX, Sent, Trash, or one that is there. Their old UIDs are never used again. An
// entry that is held may be moved, and stays held. Errors wrap ErrNotFound and ErrFolder.
func (j *Journal) Move(ctx context.Context, s Selection, folder, who string) (*Done, error) {
	if err := checkFolder(folder); err != nil {
		return nil, err
	}
	h := j.handling(ctx, ActMove, s, who)
	h.folder = folder
	return h.run('e', func(c *change, r Ref) (func() (Ref, error), error) {
		e, err := c.entry(r)
		return func() (Ref, error) {
			if err := c.uncount(e); err != nil {
				return Ref{}, err
			}
			deleteLinks(c, e)
			return c.refile(e, folder, h.begin, func(to Ref) error { return c.rename(e, to) })
		}, err
	})
}

// Delete puts entries aside: they are no longer listed or counted, and no quota counts them. Until DeletedGrace is over Undelete brings them
// back; then they are gone, and PurgeDeleted removes them. A late retry of their delivery does not bring them back. What is held stays, which
// Done tells; ErrHeld says that nothing else was left to delete. Whether the mailbox may be written to is for the caller to know.
func (j *Journal) Delete(ctx context.Context, s Selection, who string) (*Done, error) {
	return j.delete(ctx, ActDelete, s, who)
}

// Empty deletes all entries that are in a folder now, as Delete does; the UID of the Ref does not matter. The folder stays. One without
// entries is no error, and nothing is then on record. ErrFolder says that there is no such folder.
func (j *Journal) Empty(ctx context.Context, folder Ref, who string) (*Done, error) {
	s := folder.Only()
	s.UIDs = AllUIDs()
	return j.delete(ctx, ActEmpty, s, who)
}

func (j *Journal) delete(ctx context.Context, kind string, s Selection, who string) (*Done, error) {
	h := j.handling(ctx, kind, s, who)
	return h.run('e', func(c *change, r Ref) (func() (Ref, error), error) {
		e, err := c.entry(r)
		if err == nil {
			err = c.mayGo(r)
		}
		return func() (Ref, error) {
			uid := h.deletedUID
			h.deletedUID++
			return Ref{}, c.putAside(e, &aside{at: h.done.Time, who: who, uid: uid})
		}, err
	})
}

// Undelete brings back entries that Delete or Empty put aside, whatever the quota says; the selection has their old UIDs. They get new UIDs in
// their folder. Those whose grace is over are gone, which Done tells, but for what a hold on the mailbox has kept; ErrGone says that nothing
// else was left to bring back.
func (j *Journal) Undelete(ctx context.Context, s Selection, who string) (*Done, error) {
	return j.UndeleteTo(ctx, s, s.Folder, who)
}

// UndeleteTo is Undelete, into a folder of their month as Move takes it.
func (j *Journal) UndeleteTo(ctx context.Context, s Selection, folder, who string) (*Done, error) {
	if err := checkFolder(folder); err != nil {
		return nil, err
	}
	h := j.handling(ctx, ActUndelete, s, who)
	h.folder = folder
	return h.run('t', func(c *change, r Ref) (func() (Ref, error), error) {
		a, e, err := c.aside(r)
		if err == nil && a.by != nil {
			err = ErrNotFound // nobody has deleted it
		}
		if err == nil && a.over(h.done.Time) {
			if err = c.mayGo(r); err == nil {
				err = ErrGone
			} else if errors.Is(err, ErrHeld) {
				err = nil
			}
		}
		return func() (Ref, error) {
			return c.refile(e, folder, h.begin, func(to Ref) error { return c.relist(a, e, to) })
		}, err
	})
}

// rename moves what is kept under the Ref of an entry to another one.
func (c *change) rename(e *Entry, to Ref) error {
	r := e.Ref
	value, err := c.Get(entryKey(r))
	if err != nil {
		return err
	}
	c.Delete(entryKey(r))
	c.Put(entryKey(to), value)
	for _, key := range []func(Ref) []byte{outcomeKey, holdKey} {
		v, err := c.Get(key(r))
		if errors.Is(err, kv.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		c.Delete(key(r))
		c.Put(key(to), v)
	}
	return c.noteMoved(evidence.Moved, e, r, to, value)
}

// refile gives an entry the next UID of a folder, has take move what is kept under its Ref there, and then moves links, delivery key and
// counters.
func (c *change) refile(e *Entry, folder string, begin newFolder, take func(to Ref) error) (to Ref, err error) {
	from := e.Ref
	to = Ref{Mailbox: from.Mailbox, Month: from.Month, Folder: folder}
	if to.UID, err = c.nextUID(e, to.Folder, begin); err != nil {
		return to, err
	}
	if err := take(to); err != nil {
		return to, err
	}
	key := deliveryKey(e.Mailbox, e.deliveryDigest())
	v, err := c.Get(key)
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return to, err
	}
	if place, _ := isTombstone(v); string(place) == string(encodePlace(from)) {
		c.Put(key, encodePlace(to))
	}
	e.Ref = to
	putLinks(c, e)
	return to, c.moved()
}

func checkFolder(folder string) error {
	if folder == "" || slices.Contains([]byte(folder), 0) {
		return fmt.Errorf("folder %q: %w", folder, ErrFolder)
	}
	return nil
}

// moved counts a move for the sweep.
func (c *change) moved() error {
	v, err := c.Get(movesKey)
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return err
	}
	c.Put(movesKey, nextMoves(v))
	return nil
}

// nextMoves returns the value of the n key after v, big-endian like all counters.
func nextMoves(v []byte) []byte {
	next := make([]byte, 8)
	copy(next, v)
	for i := len(next) - 1; i >= 0; i-- {
		if next[i]++; next[i] != 0 {
			break
		}
	}
	return next
}

// putAside takes an entry out of its folder and keeps it under its place, with what a says of it, under movesLock.
func (c *change) putAside(e *Entry, a *aside) (err error) {
	r := e.Ref
	if a.entry, err = c.Get(entryKey(r)); err != nil {
		return err
	}
	a.outcome, err = c.Get(outcomeKey(r))
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return err
	}
	was, err := c.total(r.Mailbox)
	if err != nil {
		return err
	}
	if err := c.setTotal(r.Mailbox, was, was-min(was, uint64(e.Size))); err != nil {
		return err
	}
	if err := c.uncount(e); err != nil {
		return err
	}
	c.Delete(entryKey(r))
	c.Delete(outcomeKey(r))
	deleteLinks(c, e)
	if err := c.leaveDelivery(e, true); err != nil {
		return err
	}
	c.Put(asideKey(r), a.encode())
	c.putDeleted(a, e)
	if err := c.note(evidence.PutAside, e, r, a.entry); err != nil {
		return err
	}
	return c.moved()
}

// Aside yields the entries of a mailbox that were deleted and can still be brought back, by month, folder and UID.
func (j *Journal) Aside(ctx context.Context, mailbox string) iter.Seq2[*Deleted, error] {
	all := monthly(ctx, j, mailbox, eachUnder(ctx, 't', mailbox, deletedOf))
	return func(yield func(*Deleted, error) bool) {
		for d, err := range all {
			if err == nil && d.superseded {
				continue
			}
			if !yield(d, err) {
				return
			}
		}
	}
}

func deletedOf(m kv.Month, p kv.Pair) (*Deleted, error) {
	a, e, err := asideOf(m, p)
	if err != nil {
		return nil, err
	}
	if len(a.outcome) > 0 {
		o, err := decodeOutcome(a.outcome)
		if err != nil {
			return nil, err
		}
		e.setOutcome(o)
	}
	return &Deleted{Entry: e, At: a.at, Who: a.who, DeletedUID: a.uid, superseded: a.by != nil}, nil
}
