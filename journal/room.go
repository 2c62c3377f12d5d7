package journal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"math"
	"slices"

	"copialettere/journal/kv"
)

// Room is made from where it was made last: the counters of each folder keep the UID below which nothing is left to delete, only what is
// held or cannot be read. From the first key on, a store would pass over all deleted keys each time. A release sets that UID back to its
// entry, so it may pass only entries that are held in the same update.

// mailboxLocks are locks of mailboxes; many mailboxes share one.
type mailboxLocks struct {
	seed  maphash.Seed
	locks [64]lock
}

func newMailboxLocks() (r mailboxLocks) {
	r.seed = maphash.MakeSeed()
	for i := range r.locks {
		r.locks[i] = newLock()
	}
	return r
}

func (r *mailboxLocks) of(mailbox string) lock {
	return r.locks[maphash.String(r.seed, mailbox)%uint64(len(r.locks))]
}

// roomGroup is how many steps one update makes.
const roomGroup = 100

// roomStep is a step of making room: an entry, or the end of a folder.
type roomStep struct {
	Ref
	validity uint32 // of the folder
	size     uint64 // of the message
	held     bool   // the entry had a hold when it was read
	end      bool   // no entry, but the end of the folder: none is left up to this UID
}

// makeRoom deletes the oldest entries of a mailbox that are not held until size more bytes are within its limit, and no more. If all of
// them would not suffice it deletes none and returns false. The newest that it deletes may be minutes old: their delivery keys stay as
// tombstones. A month that cannot be used is passed over.
func (j *Journal) makeRoom(ctx context.Context, mailbox string, size, limit uint64) (bool, error) {
	var passed PassedOver
	for {
		made, err := j.tryRoom(ctx, mailbox, size, limit, passed)
		if before := len(passed); !passed.Add(err) || len(passed) == before {
			return made, err
		}
	}
}

func (j *Journal) tryRoom(ctx context.Context, mailbox string, size, limit uint64, without PassedOver) (bool, error) {
	if size > limit {
		return false, nil
	}
	if held, err := j.mailboxHeld(ctx, mailbox); held || err != nil {
		return false, err
	}
	sizes, months, err := j.usageByMonth(ctx, mailbox)
	if err != nil {
		return false, err
	}
	var used, found uint64
	for _, bytes := range sizes {
		used += bytes
	}
	if used+size <= limit {
		return true, nil
	}
	need := used + size - limit
	steps := make(map[kv.Month][]roomStep)
	months = slices.DeleteFunc(months, without.has)
	for _, m := range months {
		if found >= need {
			break
		}
		s, err := j.volume(ctx, m, false)
		if err != nil {
			return false, err
		}
		for step, err := range oldestFirst(ctx, s, m, mailbox) {
			if err != nil {
				return false, j.monthError(ctx, m, fmt.Errorf("look for room: %w", err))
			}
			steps[m] = append(steps[m], step)
			if !step.held {
				found += step.size
			}
			if found >= need {
				break
			}
		}
	}
	if found < need {
		limit = math.MaxUint64 // delete none, but pass what is held at the beginning for good
	}
	for _, m := range months {
		if err := j.deleteForRoom(ctx, m, steps[m], size, limit); err != nil {
			err = fmt.Errorf("make room for %s in %s: %w", mailbox, m, err)
			if m != kv.MonthOf(j.now()) { // the message itself could not go there either
				err = j.monthError(ctx, m, err)
			}
			return false, err
		}
	}
	return found >= need, nil
}

// deleteForRoom makes steps in one mailbox and month until there is room enough.
func (j *Journal) deleteForRoom(ctx context.Context, m kv.Month, steps []roomStep, size, limit uint64) error {
	if len(steps) == 0 {
		return nil
	}
	mailbox := steps[0].Mailbox
	s, err := j.volume(ctx, m, false)
	if err != nil {
		return err
	}
	for done := false; len(steps) > 0 && !done; {
		group := steps[:min(len(steps), roomGroup)]
		if err := j.loadUsage(ctx, mailbox); err != nil {
			return err
		}
		var gone span
		err := j.update(ctx, s, m, j.deletionLocks(mailbox), func(c *change) (err error) {
			gone = span{reason: ReasonRoom}
			done, err = c.makeSteps(group, size, limit, &gone)
			if err != nil {
				return err
			}
			return c.putSpan(mailbox, gone)
		})
		if errors.Is(err, errUsageUnknown) {
			continue
		}
		if err != nil {
			return err
		}
		j.tellSpan(mailbox, gone)
		steps = steps[len(group):]
	}
	return nil
}

// makeSteps makes steps until there is room for size more bytes, adds what it deletes to gone, and says whether to stop.
func (c *change) makeSteps(steps []roomStep, size, limit uint64, gone *span) (done bool, err error) {
	mailbox := steps[0].Mailbox
	// Pass nothing then: lifting the hold on a mailbox sets no UID back.
	if held, err := c.mailboxHeld(mailbox); held || err != nil {
		return true, err
	}
	last := make(map[string]roomStep) // of each folder
	for _, step := range steps {
		held := false
		if step.held {
			if held, err = c.held(step.Ref); err != nil {
				return false, err
			}
		}
		if !held && !step.end {
			if done, err = c.fits(mailbox, size, limit); err != nil {
				return false, err
			} else if done {
				break
			}
			e, err := c.remove(step.Ref, RemovedRoom, true)
			switch {
			case errors.Is(err, ErrNotFound), errors.Is(err, ErrHeld):
			case err != nil:
				return false, err
			default:
				gone.add(e)
			}
		}
		last[step.Folder] = step
	}
	for _, step := range last {
		if err := c.passRoom(step); err != nil {
			return false, err
		}
	}
	return done, nil
}

// fits says whether the mailbox has room for size more bytes.
func (c *change) fits(mailbox string, size, limit uint64) (bool, error) {
	here, err := c.total(mailbox)
	if err != nil {
		return false, err
	}
	used, err := c.used(mailbox, here)
	return used+size <= limit, err
}

// passRoom has room made behind a step from now on.
func (c *change) passRoom(step roomStep) error {
	counters, err := getCounters(c, step.Mailbox, step.Folder)
	if err != nil || counters.uidValidity != step.validity || counters.room > step.UID {
		return err
	}
	counters.room = step.UID + 1
	c.Put(counterKey(step.Mailbox, step.Folder), counters.encode())
	return nil
}

// openRoom sets the UID from which room is made back to an entry.
func (c *change) openRoom(r Ref) error {
	counters, err := getCounters(c, r.Mailbox, r.Folder)
	if err != nil || counters.room <= r.UID {
		return err
	}
	counters.room = r.UID
	c.Put(counterKey(r.Mailbox, r.Folder), counters.encode())
	return nil
}

// oldestFirst yields the steps of a mailbox in one month. In each folder they follow the UIDs, which is the order of commits; the next
// step is from the folder whose next entry arrived first.
func oldestFirst(ctx context.Context, s kv.Store, m kv.Month, mailbox string) iter.Seq2[roomStep, error] {
	return func(yield func(roomStep, error) bool) {
		folders, err := foldersOf(ctx, s, mailbox)
		if err != nil {
			yield(roomStep{}, err)
			return
		}
		type head struct {
			folderCounters
			folder string
			entry  *Entry
			next   func() (*Entry, error, bool)
		}
		var heads []head
		// advance reads the next entry of a folder, and yields its end as a step. It says whether to go on.
		advance := func(h *head) bool {
			e, err, ok := h.next()
			h.entry = e
			if err != nil {
				yield(roomStep{}, err)
				return false
			}
			end := Ref{Mailbox: mailbox, Month: m, Folder: h.folder, UID: h.nextUID - 1}
			return ok || yield(roomStep{Ref: end, validity: h.uidValidity, end: true}, nil)
		}
		for folder, counters := range folders {
			if counters.room >= counters.nextUID {
				continue
			}
			next, stop := iter.Pull2(entriesIn(ctx, s, Ref{Mailbox: mailbox, Month: m, Folder: folder, UID: counters.room}))
			defer stop()
			heads = append(heads, head{folderCounters: counters, folder: folder, next: next})
		}
		for i := range heads {
			if !advance(&heads[i]) {
				return
			}
		}
		for {
			heads = slices.DeleteFunc(heads, func(h head) bool { return h.entry == nil })
			if len(heads) == 0 {
				return
			}
			first := 0
			for i, h := range heads {
				f := heads[first]
				if cmp.Or(h.entry.Time.Compare(f.entry.Time), cmp.Compare(h.folder, f.folder)) < 0 {
					first = i
				}
			}
			h := &heads[first]
			held, err := hasKey(ctx, s, holdKey(h.entry.Ref))
			step := roomStep{Ref: h.entry.Ref, validity: h.uidValidity, size: uint64(h.entry.Size), held: held}
			if !yield(step, err) || err != nil || !advance(h) {
				return
			}
		}
	}
}

// foldersOf reads the counters of the folders of a mailbox in one volume.
func foldersOf(ctx context.Context, s kv.Store, mailbox string) (map[string]folderCounters, error) {
	folders := make(map[string]folderCounters)
	from := mailboxKey('s', mailbox, 0)
	for end := after(from); ; {
		p, err := firstOf(ctx, s, from, end)
		if errors.Is(err, kv.ErrNotFound) {
			return folders, nil
		}
		if err != nil {
			return nil, err
		}
		_, folder, _, err := splitFolderKey(p.Key)
		if err == nil {
			folders[folder], err = decodeCounters(p.Value)
		}
		if err != nil {
			return nil, fmt.Errorf("counters %q: %w", p.Key, err)
		}
		from = append(p.Key, 0) // seek the next key: a scan would pass all earlier values of this one
	}
}

// firstOf returns the first pair with from <= key < to, or ErrNotFound.
func firstOf(ctx context.Context, s kv.Store, from, to []byte) (kv.Pair, error) {
	for p, err := range s.Scan(ctx, from, to) {
		return p, err
	}
	return kv.Pair{}, kv.ErrNotFound
}

// entriesIn yields the readable entries of a folder from one on, in the order of UIDs, without their states.
func entriesIn(ctx context.Context, s kv.Store, from Ref) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		for p, err := range s.Scan(ctx, entryKey(from), after(folderKey('e', from.Mailbox, from.Folder))) {
			if err != nil {
				yield(nil, err)
				return
			}
			e, err := entryOf(from.Month, p)
			if err != nil {
				continue // Verify reports it; others must make room all the same
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}
