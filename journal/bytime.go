package journal

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
	"time"

	"copialettere/journal/kv"
	"copialettere/journal/part"
)

// Most things are stored nearly in the order of time. To yield them exactly so without holding all of them in memory, each source is put
// in order within known bounds, and the sources are merged.

// MergeByTime merges sources, each in the order of time, into one in the order of time. Of equal times the first source's comes first. An
// error is yielded as soon as it is met; unless it is ErrDamaged it ends the sequence. One element of each source is in memory.
func MergeByTime[T any](at func(T) time.Time, sources ...iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		type head struct {
			next func() (T, error, bool)
			v    T
		}
		var heads []*head
		// pull moves a source on to its next element, or drops it at its end.
		pull := func(h *head) (there, goOn bool) {
			for {
				v, err, ok := h.next()
				switch {
				case !ok:
					return false, true
				case err == nil:
					h.v = v
					return true, true
				case !yield(v, err) || !errors.Is(err, ErrDamaged):
					return false, false
				}
			}
		}
		for _, s := range sources {
			next, stop := iter.Pull2(s)
			defer stop()
			h := &head{next: next}
			there, goOn := pull(h)
			if !goOn {
				return
			}
			if there {
				heads = append(heads, h)
			}
		}
		for len(heads) > 0 {
			first := 0
			for i, h := range heads {
				if at(h.v).Before(at(heads[first].v)) {
					first = i
				}
			}
			h := heads[first]
			if !yield(h.v, nil) {
				return
			}
			there, goOn := pull(h)
			if !goOn {
				return
			}
			if !there {
				heads = slices.Delete(heads, first, first+1)
			}
		}
	}
}

// timed is an element of a source nearly in the order of time. Nothing after it is older than floor.
type timed[T any] struct {
	v     T
	at    time.Time
	floor time.Time
	n     int // its number in the source, which orders equal times
}

type timedHeap[T any] []timed[T]

func (h timedHeap[T]) Len() int { return len(h) }
func (h timedHeap[T]) Less(i, j int) bool {
	if c := h[i].at.Compare(h[j].at); c != 0 {
		return c < 0
	}
	return h[i].n < h[j].n
}
func (h timedHeap[T]) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *timedHeap[T]) Push(v any)   { *h = append(*h, v.(timed[T])) }
func (h *timedHeap[T]) Pop() any {
	last := len(*h) - 1
	v := (*h)[last]
	(*h)[last] = timed[T]{}
	*h = (*h)[:last]
	return v
}

// inOrder puts a source in the order of time with at most so many of its elements in memory. An element further from its place comes late.
func inOrder[T any](source iter.Seq2[timed[T], error], most int) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var waiting timedHeap[T]
		n := 0
		for t, err := range source {
			if err != nil {
				var none T
				if !errors.Is(err, ErrDamaged) {
					for waiting.Len() > 0 {
						if !yield(heap.Pop(&waiting).(timed[T]).v, nil) {
							return
						}
					}
				}
				if !yield(none, err) || !errors.Is(err, ErrDamaged) {
					return
				}
				continue
			}
			t.n = n
			n++
			heap.Push(&waiting, t)
			for waiting.Len() > 0 && (waiting.Len() > most || !waiting[0].at.After(t.floor)) {
				if !yield(heap.Pop(&waiting).(timed[T]).v, nil) {
					return
				}
			}
		}
		for waiting.Len() > 0 {
			if !yield(heap.Pop(&waiting).(timed[T]).v, nil) {
				return
			}
		}
	}
}

// mostUnordered is how many elements of a source are held to order them: as many as one mailbox can have drafts at a time.
const mostUnordered = 256

// behind sets the floors of elements that are arrivals in the order of commits: a draft is committed within maxDraftAge.
func behind[T any](source iter.Seq2[T, error], at func(T) time.Time) iter.Seq2[timed[T], error] {
	return func(yield func(timed[T], error) bool) {
		var newest time.Time
		for v, err := range source {
			t := timed[T]{v: v}
			if err == nil {
				if t.at = at(v); t.at.After(newest) {
					newest = t.at
				}
				t.floor = newest.Add(-maxDraftAge)
			}
			if !yield(t, err) {
				return
			}
		}
	}
}

// ListByTime yields the entries of a mailbox as List does, in the order of their time. For each entry of a month that was moved it holds
// 40 bytes in memory.
func (j *Journal) ListByTime(ctx context.Context, mailbox string) iter.Seq2[*Entry, error] {
	return j.findByTime(ctx, mailbox, new(query))
}

// WithMessageID is ListByTime for those entries whose Message-ID is id, in the form of part.MessageID. It reads little more than these.
func (j *Journal) WithMessageID(ctx context.Context, mailbox, id string) iter.Seq2[*Entry, error] {
	return j.findByTime(ctx, mailbox, &query{
		marked: ofID(id), keep: func(e *Entry) bool { return part.MessageID(e.MessageID) == id },
	})
}

// OfPractices is ListByTime for those entries that may belong to a practice: sent messages, and those with certification data. Of times since and until
// zero is no bound. It reads little more than these.
func (j *Journal) OfPractices(ctx context.Context, mailbox string, since, until time.Time) iter.Seq2[*Entry, error] {
	return j.findByTime(ctx, mailbox, &query{
		since: since, until: until, marked: ofPractices(), keep: mayBeOfPractice,
	})
}

// SentAs is ListByTime for the sent messages with a UID, of whatever month and folder.
func (j *Journal) SentAs(ctx context.Context, mailbox string, uid uint32) iter.Seq2[*Entry, error] {
	return j.findByTime(ctx, mailbox, &query{
		after: uid - 1, last: uid, marked: ofPractices(), keep: func(e *Entry) bool { return e.Direction == Sent },
	})
}

// findByTime yields the entries that a query wants in the order of their time.
func (j *Journal) findByTime(ctx context.Context, mailbox string, q *query) iter.Seq2[*Entry, error] {
	at := func(e *Entry) time.Time { return e.Time }
	wanted := func(months []kv.Month) []kv.Month {
		return slices.DeleteFunc(months, func(m kv.Month) bool { return !q.wantsMonth(m) })
	}
	return ofMonths(ctx, j, mailbox, wanted, func(m kv.Month, s kv.Store, yield func(*Entry, error) bool) {
		folders, err := foldersOf(ctx, s, mailbox)
		if err != nil {
			yield(nil, j.monthError(ctx, m, err))
			return
		}
		list, err := stretches(ctx, s, mailbox, folders, q)
		if err != nil {
			yield(nil, j.monthError(ctx, m, err))
			return
		}
		if len(list) == 0 {
			return
		}
		moved, err := movedUIDs(ctx, s, mailbox)
		if err != nil {
			yield(nil, j.monthError(ctx, m, err))
			return
		}
		var sources []iter.Seq2[*Entry, error]
		var out []placeInTime
		for len(list) > 0 {
			folder, n := list[0].folder, 1
			for n < len(list) && list[n].folder == folder {
				n++
			}
			var here []stretch
			here, list = list[:n], list[n:]
			moved := moved[folder].below(folders[folder].nextUID)
			inFolder := func(yield func(*Entry, error) bool) {
				for e, err := range entriesOf(ctx, m, s, mailbox, here, folders, q) {
					if err == nil && moved.has(e.UID) {
						continue
					}
					if !yield(e, err) {
						return
					}
				}
			}
			sources = append(sources, inOrder(behind(inFolder, at), mostUnordered))
			var worth UIDs
			for _, r := range here {
				worth = append(worth, r.UIDRange)
			}
			place := Ref{Mailbox: mailbox, Month: m, Folder: folder}
			for uid := range moved.and(worth).Each() {
				place.UID = uid
				// Report one that cannot be read when its turn comes, which is first.
				e, err := j.Entry(ctx, place)
				if errors.Is(err, ErrNotFound) || err == nil && !q.wants(e) {
					continue
				}
				p := placeInTime{folder: folder, uid: uid}
				if err == nil {
					p.at = e.Time
				}
				out = append(out, p)
			}
		}
		slices.SortStableFunc(out, func(a, b placeInTime) int { return a.at.Compare(b.at) })
		sources = append(sources, j.entriesAt(ctx, Ref{Mailbox: mailbox, Month: m}, out))
		for e, err := range MergeByTime(at, sources...) {
			if !yield(e, err) {
				return
			}
		}
	})
}

// entriesOf yields the entries that a query wants in ranges of UIDs.
func entriesOf(ctx context.Context, m kv.Month, s kv.Store, mailbox string, list []stretch, folders map[string]folderCounters, q *query) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		for len(list) > 0 {
			r := list[0]
			for list = list[1:]; len(list) > 0 && list[0].folder == r.folder && list[0].First == r.Last+1; list = list[1:] {
				r.Last = list[0].Last
			}
			from := entryKey(Ref{Mailbox: mailbox, Folder: r.folder, UID: r.First})
			to := append(entryKey(Ref{Mailbox: mailbox, Folder: r.folder, UID: r.Last}), 0)
			for e, err := range entriesBetween(ctx, m, s, from, to, folders) {
				if err == nil && !q.wants(e) {
					continue
				}
				if !yield(e, err) {
					return
				}
			}
		}
	}
}

// entriesAt yields the entries at places of one month that are still there. r has mailbox and month.
func (j *Journal) entriesAt(ctx context.Context, r Ref, places []placeInTime) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		for _, p := range places {
			r.Folder, r.UID = p.folder, p.uid
			e, err := j.Entry(ctx, r)
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// placeInTime is where an entry is, and its time.
type placeInTime struct {
	at     time.Time
	folder string
	uid    uint32
}

// compare orders places by time, and those of one time by folder and UID.
func (p placeInTime) compare(other placeInTime) int {
	return cmp.Or(p.at.Compare(other.at), cmp.Compare(p.folder, other.folder), cmp.Compare(p.uid, other.uid))
}

// movedUIDs returns, by folder, the UIDs that acts gave to entries of a mailbox: those entries keep their time of arrival.
func movedUIDs(ctx context.Context, s kv.Store, mailbox string) (map[string]UIDs, error) {
	moved := make(map[string]UIDs)
	prefix := mailboxKey('a', mailbox, 0)
	for p, err := range s.Scan(ctx, prefix, after(prefix)) {
		if err != nil {
			return nil, err
		}
		// Verify reports what cannot be read.
		if a, err := decodeAct(mailbox, p.Value); err == nil && a.To.UID > 0 {
			moved[a.To.Folder] = append(moved[a.To.Folder], a.ToUIDs...)
		}
	}
	for folder, uids := range moved {
		moved[folder] = mergedUIDs(uids)
	}
	return moved, nil
}

// Records yields in the order of time the skips and gaps of a mailbox and the gaps of all mailboxes, those of dropped volumes and of the
// spool included, each once. With an empty mailbox it yields the gaps of all mailboxes only. Instead of a record or month that cannot be
// read it yields an error that is ErrDamaged, and goes on.
func (j *Journal) Records(ctx context.Context, mailbox string) iter.Seq2[*Record, error] {
	return j.records(ctx, mailbox, false)
}

// Gaps is Records without the skips, of which it does not read what they say.
func (j *Journal) Gaps(ctx context.Context, mailbox string) iter.Seq2[*Record, error] {
	return j.records(ctx, mailbox, true)
}

func (j *Journal) records(ctx context.Context, mailbox string, gaps bool) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		if err := checkMailbox(mailbox); mailbox != "" && err != nil {
			yield(nil, err)
			return
		}
		// Open the spool first: a record taken in meanwhile is then in both places, not in neither.
		var spool *os.File
		var end int64
		if j.gapSpool != "" {
			var err error
			if spool, end, err = j.openSpool(ctx); err != nil {
				yield(nil, fmt.Errorf("read gap spool: %w", err))
				return
			}
		}
		at := func(r *Record) time.Time { return r.Time }
		var sources []iter.Seq2[*Record, error]
		for i, m := range slices.Compact([]string{"", mailbox}) {
			// Report a month that cannot be used once.
			sources = append(sources, inOrder(j.recordsOfDropped(ctx, m, gaps), mostRecords), inOrder(j.recordsOfMonths(ctx, m, gaps, i == 0), mostRecords))
		}
		if spool == nil {
			for r, err := range MergeByTime(at, sources...) {
				if !yield(r, err) {
					return
				}
			}
			return
		}
		defer spool.Close()
		sources = append(sources, inOrder(behind(j.spooledOf(io.NewSectionReader(spool, 0, end), mailbox), at), mostUnordered))
		for r, err := range withoutDoubles(MergeByTime(at, sources...)) {
			if err == nil && gaps && r.Kind != Gap { // of the spool
				continue
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// mostRecords is how many records are held to order them. Out of order are the spans of what was removed, which stand first in their
// month, and what was put into a month that was over.
const mostRecords = 10000

func (j *Journal) recordsOfDropped(ctx context.Context, mailbox string, gaps bool) iter.Seq2[timed[*Record], error] {
	return func(yield func(timed[*Record], error) bool) {
		s, err := j.engine.Settings(ctx)
		if err != nil {
			yield(timed[*Record]{}, err)
			return
		}
		recordsIn(ctx, s, mailbox, gaps, time.Time{}, yield)
	}
}

func (j *Journal) recordsOfMonths(ctx context.Context, mailbox string, gaps, tell bool) iter.Seq2[timed[*Record], error] {
	return func(yield func(timed[*Record], error) bool) {
		for s, err := range j.volumes(ctx) {
			if err != nil {
				if tell || !errors.Is(err, ErrDamaged) {
					if !yield(timed[*Record]{}, err) || !errors.Is(err, ErrDamaged) {
						return
					}
				}
				continue
			}
			more := true
			recordsIn(ctx, s, mailbox, gaps, s.month.Next().Start(), func(t timed[*Record], err error) bool {
				if j.dropped(ctx, s.month, err) {
					return false // ask again: its gaps are now among those of dropped volumes
				}
				if err != nil && !errors.Is(err, ErrDamaged) {
					err = j.monthError(ctx, s.month, err)
				}
				more = yield(t, err) && (err == nil || errors.Is(err, ErrDamaged))
				return more
			})
			if !more {
				return
			}
		}
	}
}

// recordsIn yields the records of a mailbox in a store, or only its gaps, in the order of their keys. None is older than the time in its key; those of the
// next store are not older than end, where that is known.
func recordsIn(ctx context.Context, s kv.Store, mailbox string, gaps bool, end time.Time, yield func(timed[*Record], error) bool) {
	prefix := mailboxKey('g', mailbox, 0)
	for p, err := range s.Scan(ctx, prefix, after(prefix)) {
		if err == nil && gaps && isSkip(p.Value) {
			continue
		}
		var t timed[*Record]
		if err == nil {
			t.v, err = decodeRecord(mailbox, p.Value)
		}
		if err == nil {
			t.at, t.floor = t.v.Time, recordTime(p.Key)
			if !end.IsZero() && t.floor.After(end) {
				t.floor = end
			}
		}
		if !yield(t, err) {
			return
		}
	}
}

// withoutDoubles drops a record of the spool that repeats one before it, in the journal or the spool, with the same time and value.
func withoutDoubles(records iter.Seq2[*Record, error]) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		var equal []*Record // those of one time
		tell := func() bool {
			slices.SortStableFunc(equal, func(a, b *Record) int {
				switch {
				case a.Spooled == b.Spooled:
					return 0
				case b.Spooled:
					return -1
				}
				return 1
			})
			there := make(map[string]bool)
			for _, r := range equal {
				name := recordName(r.Mailbox, r.encode())
				if r.Spooled && there[name] {
					continue
				}
				there[name] = true
				if !yield(r, nil) {
					return false
				}
			}
			equal = equal[:0]
			return true
		}
		for r, err := range records {
			if err != nil {
				if !yield(nil, err) {
					return
				}
				continue
			}
			if len(equal) > 0 && !equal[0].Time.Equal(r.Time) && !tell() {
				return
			}
			equal = append(equal, r)
		}
		tell()
	}
}
