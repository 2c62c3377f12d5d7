package search

import (
	"cmp"
	"math"
	"slices"
	"time"

	"copialettere/journal"
	"copialettere/policy/archive"
)

// Row is a line of a list: an entry, or a gap at the place where what is missing would stand.
type Row struct {
	Entry *journal.Entry
	Gap   *archive.Gap
}

// Rows returns the entries of a page with the gaps that fall between them, newest first. after is the position after which the page was asked for, and
// gaps are those of the mailbox in any order. A gap stands on one page of a list: where it ends, or, of a folder of one month, in that month at most. One
// that has not ended stands first of all. A query that looks for certain messages, and not for all of a folder or a time, has no gaps.
func (p Page) Rows(q Query, after Position, gaps []archive.Gap) []Row {
	rows := make([]Row, 0, len(p.Entries))
	if whole := (Query{Folder: q.Folder, Direction: q.Direction, Since: q.Since, Until: q.Until}); whole.String() == q.String() {
		newest, oldest := int64(math.MaxInt64), int64(math.MinInt64)
		if !after.IsZero() {
			newest = after.key.at
		}
		if !p.Next.IsZero() {
			oldest = p.Next.key.at
		}
		rows = gapsBetween(&q, gaps, newest, oldest)
	}
	i := 0
	for _, e := range p.Entries {
		at := e.Dated().UnixNano()
		for i < len(rows) && rows[i].Gap != nil && placeOf(&q, rows[i].Gap) >= at {
			i++
		}
		rows = slices.Insert(rows, i, Row{Entry: e})
		i++
	}
	return rows
}

// gapsBetween returns the gaps of what a query wants whose places are before newest, and not before oldest, newest first.
func gapsBetween(q *Query, gaps []archive.Gap, newest, oldest int64) []Row {
	rows := make([]Row, 0, len(gaps))
	for i := range gaps {
		g := &gaps[i]
		if at := placeOf(q, g); touches(q, g) && oldest <= at && (at < newest || newest == math.MaxInt64) {
			rows = append(rows, Row{Gap: g})
		}
	}
	slices.SortStableFunc(rows, func(a, b Row) int { return cmp.Compare(placeOf(q, b.Gap), placeOf(q, a.Gap)) })
	return rows
}

// span returns the time that a query is about.
func (q *Query) span() (since, until time.Time) {
	since, until = q.Since, q.Until
	month, ok := q.month()
	if !ok {
		return since, until
	}
	if start := month.Start(); start.After(since) {
		since = start
	}
	if end := month.Next().Start(); until.IsZero() || end.Before(until) {
		until = end
	}
	return since, until
}

// placeOf returns the time at which a gap stands in a list.
func placeOf(q *Query, g *archive.Gap) int64 {
	at := int64(math.MaxInt64)
	switch {
	case g.Until != nil:
		at = g.Until.UnixNano()
	case g.From != nil && g.Kind != archive.GapPause:
		at = g.From.UnixNano()
	}
	if _, until := q.span(); !until.IsZero() {
		at = min(at, until.UnixNano()-1)
	}
	return at
}

// touches reports whether what a gap lacks could be in what a query wants.
func touches(q *Query, g *archive.Gap) bool {
	if g.Direction != "" {
		if q.Direction != 0 && g.Direction != q.Direction.String() {
			return false
		}
		for _, d := range [...]journal.Direction{journal.Received, journal.Sent} {
			if d.String() != g.Direction && q.folder() == journal.FolderOf(d) {
				return false
			}
		}
	}
	since, until := q.span()
	begins, ends := time.Time{}, time.Time{}
	if g.From != nil {
		begins = *g.From
	}
	if g.Until != nil {
		ends = *g.Until
	} else if g.Kind != archive.GapPause {
		ends = begins.Add(1)
	}
	return (until.IsZero() || begins.Before(until)) && (ends.IsZero() || since.IsZero() || ends.After(since))
}
