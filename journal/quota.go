package journal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"slices"
	"time"

	"copialettere/journal/kv"
)

// WhenFull says what becomes of a message for which a mailbox has no room.
type WhenFull byte

// What can become of it.
const (
	SkipFull  WhenFull = 0 // no entry, but a gap on record
	DeferFull WhenFull = 1 // no entry, and the message is to come again: see Placement.Waits; one larger than the limit is as with SkipFull
	MakeRoom  WhenFull = 2 // the oldest entries that are not held are deleted; where that does not suffice, as SkipFull
)

// Quota limits what a mailbox holds, in bytes of the messages of its entries, in all folders and months.
type Quota struct {
	Limit    uint64 // 0: no limit
	WhenFull WhenFull
}

// defers says whether a message that has no room is to wait. One that never will have any would wait until the MTA gives it up.
func (q Quota) defers(size uint64) bool { return q.WhenFull == DeferFull && size <= q.Limit }

// thresholds are the percentages of a quota whose crossing a Placement tells.
var thresholds = [...]uint64{100, 90, 75}

// crossed returns the highest threshold that an entry of that size crosses, or 0. From 100 percent of a very large limit on it is
// careful not to overflow.
func (q Quota) crossed(used, size uint64) int {
	for _, t := range thresholds {
		mark := q.Limit/100*t + q.Limit%100*t/100
		if used < mark && used+size >= mark {
			return int(t)
		}
	}
	return 0
}

// noRoomError says that a mailbox has no room and that it is to be made.
type noRoomError struct{ candidate *candidate }

func (e *noRoomError) Error() string { return "mailbox " + e.candidate.Mailbox + " has no room" }

// maxRoomTries is how often a commit makes room that other deliveries take first.
const maxRoomTries = 100

// rooms are locks of the mailboxes for which room is being made, one for many of them.
type rooms struct {
	seed  maphash.Seed
	locks [64]lock
}

func newRooms() (r rooms) {
	r.seed = maphash.MakeSeed()
	for i := range r.locks {
		r.locks[i] = newLock()
	}
	return r
}

func (r *rooms) of(mailbox string) lock {
	return r.locks[maphash.String(r.seed, mailbox)%uint64(len(r.locks))]
}

// roomGroup is how many entries one update deletes.
const roomGroup = 100

// makeRoom deletes the oldest entries of a mailbox that are not held until size more bytes are within its limit, and no more. Where
// all of them would not suffice it deletes none and returns false. The newest of the deleted entries may be of minutes ago: their
// delivery keys stay as tombstones. A month that can not be used is passed over.
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
	held, months, err := j.usageByMonth(ctx, mailbox)
	if err != nil {
		return false, err
	}
	var used, found uint64
	for _, bytes := range held {
		used += bytes
	}
	if used+size <= limit {
		return true, nil
	}
	need := used + size - limit
	oldest := make(map[kv.Month][]Ref)
	months = slices.DeleteFunc(months, without.has)
	for _, m := range months {
		s, err := j.volume(ctx, m, false)
		if err != nil {
			return false, err
		}
		for e, err := range oldestFirst(ctx, s, m, mailbox) {
			if err != nil {
				return false, j.monthError(ctx, m, fmt.Errorf("look for room: %w", err))
			}
			if _, err := s.Get(ctx, holdKey(e.Ref)); !errors.Is(err, kv.ErrNotFound) {
				if err != nil {
					return false, j.monthError(ctx, m, err)
				}
				continue
			}
			oldest[m] = append(oldest[m], e.Ref)
			if found += uint64(e.Size); found >= need {
				break
			}
		}
		if found >= need {
			break
		}
	}
	if found < need {
		return false, nil
	}
	for _, m := range months {
		if err := j.deleteForRoom(ctx, m, oldest[m], size, limit); err != nil {
			err = fmt.Errorf("make room for %s in %s: %w", mailbox, m, err)
			if m != kv.MonthOf(j.now()) { // in which the message itself could not be put either
				err = j.monthError(ctx, m, err)
			}
			return false, err
		}
	}
	return true, nil
}

// deleteForRoom deletes entries of one mailbox and month as long as there is not room enough.
func (j *Journal) deleteForRoom(ctx context.Context, m kv.Month, refs []Ref, size, limit uint64) error {
	if len(refs) == 0 {
		return nil
	}
	mailbox := refs[0].Mailbox
	s, err := j.volume(ctx, m, false)
	if err != nil {
		return err
	}
	for len(refs) > 0 {
		group := refs[:min(len(refs), roomGroup)]
		if err := j.loadUsage(ctx, mailbox); err != nil {
			return err
		}
		var gone span
		err := j.update(ctx, s, m, []string{mailbox}, func(c *change) error {
			gone = span{reason: ReasonRoom}
			for _, r := range group {
				here, err := total(c, mailbox)
				if err != nil {
					return err
				}
				used, err := c.used(mailbox, here)
				if err != nil {
					return err
				}
				if used+size <= limit {
					break
				}
				if held, err := c.held(r); held || err != nil {
					return err
				}
				e, err := c.remove(r, true)
				if errors.Is(err, ErrNotFound) {
					continue
				}
				if err != nil {
					return err
				}
				gone.add(e)
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
		refs = refs[len(group):]
	}
	return nil
}

// oldestFirst yields the entries of a mailbox in one month. In each folder they come in the order of UIDs, which is that of
// commits, and the next one is from the folder whose next entry arrived first.
func oldestFirst(ctx context.Context, s kv.Store, m kv.Month, mailbox string) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		folders, err := foldersOf(ctx, s, mailbox)
		if err != nil {
			yield(nil, err)
			return
		}
		type head struct {
			entry *Entry
			next  func() (*Entry, error, bool)
		}
		var heads []head
		for _, folder := range folders {
			next, stop := iter.Pull2(entriesIn(ctx, s, m, mailbox, folder))
			defer stop()
			heads = append(heads, head{next: next})
		}
		advance := func(h *head) error {
			e, err, ok := h.next()
			h.entry = nil
			if ok && err == nil {
				h.entry = e
			}
			return err
		}
		for i := range heads {
			if err := advance(&heads[i]); err != nil {
				yield(nil, err)
				return
			}
		}
		for {
			heads = slices.DeleteFunc(heads, func(h head) bool { return h.entry == nil })
			if len(heads) == 0 {
				return
			}
			first := slices.MinFunc(heads, func(a, b head) int {
				return cmp.Or(a.entry.Time.Compare(b.entry.Time), cmp.Compare(a.entry.Folder, b.entry.Folder))
			})
			if !yield(first.entry, nil) {
				return
			}
			for i := range heads {
				if heads[i].entry != first.entry {
					continue
				}
				if err := advance(&heads[i]); err != nil {
					yield(nil, err)
					return
				}
			}
		}
	}
}

// foldersOf lists the folders of a mailbox in one volume.
func foldersOf(ctx context.Context, s kv.Store, mailbox string) ([]string, error) {
	var folders []string
	prefix := mailboxKey('s', mailbox, 0)
	for p, err := range s.Scan(ctx, prefix, after(prefix)) {
		if err != nil {
			return nil, err
		}
		_, folder, _, err := splitFolderKey(p.Key)
		if err != nil {
			return nil, fmt.Errorf("counters %q: %w", p.Key, err)
		}
		folders = append(folders, folder)
	}
	return folders, nil
}

// entriesIn yields the entries of one folder that can be read, in the order of UIDs, without their states.
func entriesIn(ctx context.Context, s kv.Store, m kv.Month, mailbox, folder string) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		prefix := folderKey('e', mailbox, folder)
		for p, err := range s.Scan(ctx, prefix, after(prefix)) {
			if err != nil {
				yield(nil, err)
				return
			}
			e, err := entryOf(m, p)
			if err != nil {
				continue // Verify tells of it; it must not keep others from making room
			}
			if !yield(e, nil) {
				return
			}
		}
	}
}

// span is what one update removes of a mailbox and puts on record.
type span struct {
	reason      string
	first, last time.Time // arrivals
	entries     uint64
	bytes       uint64
}

func (s *span) add(e *Entry) {
	if s.entries == 0 || e.Time.Before(s.first) {
		s.first = e.Time
	}
	if s.entries == 0 || e.Time.After(s.last) {
		s.last = e.Time
	}
	s.entries++
	s.bytes += uint64(e.Size)
}

// spanSlots are the numbers of the records of spans. There is one of each reason in a volume, which grows.
var spanSlots = map[string]uint16{ReasonRoom: 0xffff, ReasonErased: 0xfffe}

func (s *span) record(mailbox string) Record {
	return Record{Kind: Gap, Mailbox: mailbox, Time: s.first, Until: s.last, Reason: s.reason, Entries: s.entries, Bytes: s.bytes}
}

// tellSpan tells of what was removed, when that is durable. It is not counted as a gap: there is one that grows.
func (j *Journal) tellSpan(mailbox string, s span) {
	if s.entries > 0 {
		j.tell([]Record{s.record(mailbox)})
	}
}

// putSpan adds what was removed to the gap that is on record for it in the volume.
func (c *change) putSpan(mailbox string, s span) error {
	if s.entries == 0 {
		return nil
	}
	r := s.record(mailbox)
	key := recordKey(mailbox, c.month.Start(), spanSlots[s.reason])
	v, err := c.Get(key)
	if err != nil && !errors.Is(err, kv.ErrNotFound) {
		return err
	}
	if err == nil {
		before, err := decodeRecord(mailbox, v)
		if err != nil {
			// Nobody can read what it told of, which was in this month.
			c.j.log.Error("damaged gap record written anew", "mailbox", mailbox, "month", c.month, "error", err)
			before = &Record{Time: c.month.Start()}
		}
		if before.Time.Before(r.Time) {
			r.Time = before.Time
		}
		if before.Until.After(r.Until) {
			r.Until = before.Until
		}
		r.Entries += before.Entries
		r.Bytes += before.Bytes
	}
	c.Put(key, r.encode())
	return nil
}
