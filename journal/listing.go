package journal

import (
	"container/heap"
	"context"
	"errors"
	"iter"
	"slices"
	"time"

	"copialettere/journal/kv"
)

// Listing says which entries of a mailbox Listed yields. The zero value stands for all.
type Listing struct {
	Month  kv.Month // if not empty: only those of this month
	Folder string   // if not empty: only those of this folder, named without its month
	After  uint32   // only those with a UID above it
	// Since and Until bound the time of entries, which is that of their arrival or import: Since <= time < Until. A zero time is no bound.
	Since, Until time.Time
	// Newest is how many of these are wanted, the newest ones; 0 for all.
	Newest int
}

// Wants says whether a listing wants an entry, but for Newest.
func (l Listing) Wants(e *Entry) bool {
	q := l.query()
	return (l.Month == "" || e.Month == l.Month) && (l.Folder == "" || e.Folder == l.Folder) && e.UID > l.After && q.wants(e)
}

func (l Listing) query() *query {
	return &query{month: l.Month, folder: l.Folder, after: l.After, since: l.Since, until: l.Until}
}

// Listed yields the entries that a listing wants, by month, folder and UID, or with Newest the newest first. It reads little more than these, but for what
// no index tells of yet. Instead of an entry or a month that cannot be read it yields an error that is ErrDamaged, and goes on.
func (j *Journal) Listed(ctx context.Context, mailbox string, l Listing) iter.Seq2[*Entry, error] {
	if l == (Listing{}) {
		return j.List(ctx, mailbox)
	}
	q := l.query()
	left := l.Newest
	choose := func(months []kv.Month) []kv.Month {
		months = slices.DeleteFunc(months, func(m kv.Month) bool { return !q.wantsMonth(m) })
		if l.Newest > 0 {
			slices.Reverse(months)
		}
		return months
	}
	return ofMonths(ctx, j, mailbox, choose, func(m kv.Month, s kv.Store, yield func(*Entry, error) bool) {
		if l.Newest > 0 && left == 0 {
			return
		}
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
		entries := entriesOf(ctx, m, s, mailbox, list, folders, q)
		if l.Newest > 0 {
			entries = j.newestOf(ctx, Ref{Mailbox: mailbox, Month: m}, s, list, folders, q, left)
		}
		for e, err := range entries {
			if err == nil && l.Newest > 0 {
				left--
			}
			if !yield(e, err) {
				return
			}
		}
	})
}

// newestOf yields the newest n of the entries that a query wants in a month, the newest first. What is damaged is told of before all entries. r has mailbox
// and month. It holds the places of n entries in memory.
func (j *Journal) newestOf(ctx context.Context, r Ref, s kv.Store, list []stretch, folders map[string]folderCounters, q *query, n int) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		// What no block tells of first: it may be newer than all else.
		slices.SortStableFunc(list, func(a, b stretch) int {
			switch {
			case a.newest.IsZero() == b.newest.IsZero():
				return b.newest.Compare(a.newest)
			case a.newest.IsZero():
				return -1
			}
			return 1
		})
		var best newestPlaces
		for _, one := range list {
			if len(best) == n && !one.newest.IsZero() && one.newest.Before(best[0].at) {
				break
			}
			for e, err := range headsIn(ctx, r, s, one) {
				if err != nil {
					if !yield(nil, err) || !errors.Is(err, ErrDamaged) {
						return
					}
					continue
				}
				if !q.wants(e) || len(best) == n && best[0].compare(placeOfTime(e)) > 0 {
					continue
				}
				heap.Push(&best, placeOfTime(e))
				if len(best) > n {
					heap.Pop(&best)
				}
			}
		}
		slices.SortFunc(best, func(a, b placeInTime) int { return b.compare(a) })
		for page := range slices.Chunk(best, newestPage) {
			for e, err := range entriesAtOnce(ctx, r, s, page, folders) {
				if !yield(e, err) {
					return
				}
			}
		}
	}
}

// newestPage is how many of the newest entries are in memory.
const newestPage = 500

// headsIn yields the entries of a stretch, without Parts, Chunks and State.
func headsIn(ctx context.Context, r Ref, s kv.Store, one stretch) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		r.Folder = one.folder
		r.UID = one.Last
		end := append(entryKey(r), 0)
		r.UID = one.First
		for p, err := range s.Scan(ctx, entryKey(r), end) {
			var e *Entry
			var at Ref
			if err == nil {
				at, err = refOf(r.Month, p.Key)
			}
			if err == nil {
				e, err = decodeHead(at, p.Value)
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

// entriesAtOnce yields the entries at places of one month that are still there, in the order of places. It reads them in the order of their keys, which costs
// less than one by one, and holds all of them. r has mailbox and month.
func entriesAtOnce(ctx context.Context, r Ref, s kv.Store, places []placeInTime, folders map[string]folderCounters) iter.Seq2[*Entry, error] {
	return func(yield func(*Entry, error) bool) {
		wanted := make(map[string][]uint32)
		for _, p := range places {
			wanted[p.folder] = append(wanted[p.folder], p.uid)
		}
		read := make(map[Ref]*Entry, len(places))
		for folder, uids := range wanted {
			slices.Sort(uids)
			var list []stretch
			for _, uid := range uids {
				if n := len(list); n > 0 && uid-list[n-1].Last <= maxUnmarked {
					list[n-1].Last = uid
				} else {
					list = append(list, stretch{folder: folder, UIDRange: UIDRange{uid, uid}})
				}
			}
			for e, err := range entriesOf(ctx, r.Month, s, r.Mailbox, list, folders, new(query)) {
				if err == nil {
					read[e.Ref] = e
					continue
				}
				// That of one which is damaged was told of before.
				if !errors.Is(err, ErrDamaged) && !yield(nil, err) {
					return
				}
			}
		}
		for _, p := range places {
			r.Folder, r.UID = p.folder, p.uid
			if e := read[r]; e != nil && !yield(e, nil) {
				return
			}
		}
	}
}

func placeOfTime(e *Entry) placeInTime { return placeInTime{e.Time, e.Folder, e.UID} }

// newestPlaces is a heap of places, the oldest on top.
type newestPlaces []placeInTime

func (h newestPlaces) Len() int           { return len(h) }
func (h newestPlaces) Less(i, j int) bool { return h[i].compare(h[j]) < 0 }
func (h newestPlaces) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *newestPlaces) Push(v any)        { *h = append(*h, v.(placeInTime)) }
func (h *newestPlaces) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
