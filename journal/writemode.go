package journal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

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

// Move files an entry in another folder of its month: INBOX, Sent, Trash, or one that is there. It returns the new place; the old UID is
// never used again. An entry that is held may be moved, and stays held. The act is on record: see Acts. Errors wrap ErrNotFound and
// ErrFolder.
func (j *Journal) Move(ctx context.Context, r Ref, folder, who string) (Ref, error) {
	return j.refile(ctx, r, folder, who, func(c *change, to Ref) (*Entry, error) {
		e, err := c.entry(r)
		if err != nil {
			return nil, err
		}
		if err := c.uncount(e); err != nil {
			return nil, err
		}
		for _, key := range []func(Ref) []byte{entryKey, outcomeKey, holdKey} {
			v, err := c.Get(key(r))
			if errors.Is(err, kv.ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, err
			}
			c.Delete(key(r))
			c.Put(key(to), v)
		}
		deleteLinks(c, e)
		return e, c.putAct(&Act{Mailbox: r.Mailbox, Time: j.now().UTC(), Kind: ActMove, Who: who, From: r, To: to})
	})
}

// Undelete brings back an entry that Delete put aside; r is its old place. It gets a new UID in its folder, whatever the quota says. The
// error is ErrNotFound once its grace is over. The act is on record: see Acts.
func (j *Journal) Undelete(ctx context.Context, r Ref, who string) (Ref, error) {
	return j.refile(ctx, r, r.Folder, who, func(c *change, to Ref) (*Entry, error) {
		a, e, err := c.aside(r)
		if err == nil && a.by != nil {
			err = ErrNotFound // nobody has deleted it
		}
		if err != nil {
			return nil, err
		}
		if err := c.relist(a, e, to); err != nil {
			return nil, err
		}
		return e, c.putAct(&Act{Mailbox: r.Mailbox, Time: j.now().UTC(), Kind: ActUndelete, Who: who, From: r, To: to})
	})
}

// refile has fn move an entry to a new place with what is kept under its Ref, then moves links, delivery key and counters.
func (j *Journal) refile(ctx context.Context, r Ref, folder, who string, fn func(c *change, to Ref) (*Entry, error)) (Ref, error) {
	if err := checkFolder(folder); err != nil {
		return Ref{}, err
	}
	// An outcome only in memory would not find the entry any more.
	j.FlushOutcomes(ctx)
	to := Ref{Mailbox: r.Mailbox, Month: r.Month, Folder: folder}
	var validity uint32
	update := func(c *change) error {
		size, err := c.sizeOf(r)
		if err != nil {
			return err
		}
		if to.UID, err = c.nextUID(to.Mailbox, to.Folder, size, validity); err != nil {
			return err
		}
		e, err := fn(c, to)
		if err != nil {
			return err
		}
		key := deliveryKey(e.Mailbox, deliveryDigest(e.Mailbox, e.Direction, e.MailFrom, e.SHA256))
		v, err := c.Get(key)
		if err != nil && !errors.Is(err, kv.ErrNotFound) {
			return err
		}
		if place, _ := isTombstone(v); string(place) == string(encodePlace(r)) {
			c.Put(key, encodePlace(to))
		}
		e.Ref = to
		putLinks(c, e)
		return c.moved()
	}
	err := j.act(ctx, r, update)
	if errors.Is(err, errNewFolder) {
		if !slices.Contains([]string{FolderOf(Received), FolderOf(Sent), Trash}, folder) {
			return Ref{}, fmt.Errorf("folder %s: %w", to.FolderName(), ErrFolder)
		}
		if validity, err = j.newValidity(ctx); err != nil {
			return Ref{}, err
		}
		err = j.act(ctx, r, update)
	}
	if err != nil {
		return Ref{}, err
	}
	return to, nil
}

func checkFolder(folder string) error {
	if folder == "" || slices.Contains([]byte(folder), 0) {
		return fmt.Errorf("folder %q: %w", folder, ErrFolder)
	}
	return nil
}

// sizeOf returns the size of an entry, in bytes, also of one that is put aside.
func (c *change) sizeOf(r Ref) (int64, error) {
	e, err := c.entry(r)
	if errors.Is(err, ErrNotFound) {
		_, e, err = c.aside(r)
	}
	if err != nil {
		return 0, err
	}
	return e.Size, nil
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

// Delete puts an entry aside: it is no longer listed or counted. Undelete brings it back until the retention purges it after the grace; a
// late retry of its delivery does not. The error is ErrHeld if the entry is held or its mailbox is. Whether the mailbox may be written to
// is for the caller to know. The act is on record: see Acts.
func (j *Journal) Delete(ctx context.Context, r Ref, who string) error {
	j.FlushOutcomes(ctx)
	return j.act(ctx, r, func(c *change) error {
		e, err := c.entry(r)
		if err != nil {
			return err
		}
		if err := c.mayGo(r); err != nil {
			return err
		}
		now := j.now().UTC()
		if err := c.putAside(e, &aside{at: now, who: who}); err != nil {
			return err
		}
		return c.putAct(&Act{Mailbox: r.Mailbox, Time: now, Kind: ActDelete, Who: who, From: r})
	})
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
	was, err := total(c, r.Mailbox)
	if err != nil {
		return err
	}
	c.setTotal(r.Mailbox, was, was-min(was, uint64(e.Size)))
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
	return &Deleted{Entry: e, At: a.at, Who: a.who, superseded: a.by != nil}, nil
}
