package search

import (
	"context"
	"errors"
	"slices"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/policy/archive"
)

// Page is one page of a list of messages, newest first.
type Page struct {
	Entries []*journal.Entry // under the name that the journal has for the mailbox, with their State
	// Damaged are the places of those of Entries that cannot be read: they have no more than their Ref.
	Damaged []journal.Ref
	Next    Position // of the next page; zero at the end
	// Total is how many messages match on all pages, -1 if that is not known: months that were not searched yet are not read only to count.
	Total int
	// Passed are the months that could not be read, and may hold more.
	Passed journal.PassedOver
}

// Limits of the length of a page.
const (
	DefaultLimit = 50
	MaxLimit     = 500
)

// attempts is how often a page is looked for if messages go at the same time. While a whole archive is being moved the last one may lack what was under
// way just then.
const attempts = 8

// Find returns the messages in the archive of a reader that a query wants, newest first: by Entry.Dated, then month, folder and UID. It begins after a
// position, and returns at most limit of them; 0 means DefaultLimit. What had arrived when it was called is found, wherever it is moved meanwhile. The
// error wraps ErrQuery if the query cannot be answered; otherwise it is that of the reader, or of ctx.
func (x *Index) Find(ctx context.Context, r *archive.Reader, q Query, after Position, limit int) (Page, error) {
	if err := q.check(); err != nil {
		return Page{}, err
	}
	if limit <= 0 {
		limit = DefaultLimit
	}
	f := &finding{index: x, reader: r, match: newMatcher(&q), after: after, limit: min(limit, MaxLimit)}
	for attempt := 1; ; attempt++ {
		page, err := f.page(ctx)
		if !errors.Is(err, errGone) || attempt == attempts {
			if errors.Is(err, errGone) {
				err = nil
			}
			return page, err
		}
	}
}

// finding is one call of Find.
type finding struct {
	index  *Index
	reader *archive.Reader
	match  *matcher
	after  Position
	limit  int

	passed journal.PassedOver
	used   []journal.FolderStats // the folders that were searched, as they were before
}

// month is what the wanted folders of one month hold.
type month struct {
	kv.Month
	folders  []journal.FolderStats
	imported bool // some of it may be dated before the month
}

// page returns the page, with errGone if something that it may lack went from where it was looked for.
func (f *finding) page(ctx context.Context) (Page, error) {
	f.passed, f.used = nil, nil
	folders, err := f.folders(ctx)
	if err != nil {
		return Page{}, err
	}
	keys, total, err := f.keys(ctx, f.monthsOf(folders))
	if err != nil {
		return Page{}, err
	}
	page := Page{Total: total, Passed: f.passed}
	if len(keys) > f.limit {
		keys = keys[:f.limit]
		page.Next = positionAfter(keys[f.limit-1])
	}
	gone, err := f.read(ctx, keys, &page)
	if err != nil {
		return Page{}, err
	}
	if !gone {
		if gone, err = f.anyWent(ctx); err != nil {
			return Page{}, err
		}
	}
	if gone {
		err = errGone
	}
	return page, err
}

// folders returns the folders that the query is about, by month.
func (f *finding) folders(ctx context.Context) ([]journal.FolderStats, error) {
	list, err := f.reader.MonthFolders(ctx)
	var passed journal.PassedOver
	if err != nil && !errors.As(err, &passed) {
		return nil, err
	}
	for _, bad := range passed {
		if f.mayHold(bad.Month) {
			f.passed.Add(bad)
		}
	}
	return slices.DeleteFunc(list, func(s journal.FolderStats) bool { return !f.match.query.inFolder(s.Folder, s.Month) }), nil
}

// mayHold reports whether a month may hold messages that are wanted.
func (f *finding) mayHold(m kv.Month) bool {
	q := f.match.query
	if month, ok := q.month(); ok && month != m {
		return false
	}
	return q.Since.IsZero() || q.Since.Before(m.Next().Start())
}

// anyWent reports whether anything has gone from the folders that were searched since, or was moved: it may have been in neither place when that was
// searched. What comes raises the next UID and the number of entries alike.
func (f *finding) anyWent(ctx context.Context) (bool, error) {
	for _, s := range f.used {
		now, err := f.reader.Refresh(ctx, archive.InMonth(s))
		switch n := now.Holds; {
		case errors.Is(err, archive.ErrNoFolder):
			return true, nil
		case f.passed.Add(err):
		case err != nil:
			return false, err
		case n.UIDValidity != s.UIDValidity || n.Entries-s.Entries != uint64(n.NextUID-s.NextUID):
			return true, nil
		}
	}
	return false, nil
}

// monthsOf returns the months that may hold messages that are wanted, newest first.
func (f *finding) monthsOf(folders []journal.FolderStats) []month {
	var list []month
	for _, s := range slices.Backward(folders) {
		if s.Entries == 0 || !f.mayHold(s.Month) {
			continue
		}
		if n := len(list); n == 0 || list[n-1].Month != s.Month {
			list = append(list, month{Month: s.Month})
		}
		last := &list[len(list)-1]
		last.folders = append(last.folders, s)
		last.imported = last.imported || s.Imported > 0
	}
	return slices.DeleteFunc(list, func(m month) bool { return m.startsAfter(f.match.until - 1) })
}

// startsAfter reports whether all of a month is of after a time.
func (m *month) startsAfter(at int64) bool { return !m.imported && m.Start().UnixNano() > at }

// keys returns the keys of the page and, if there are more, of at least one message after it, and how many messages match in all, or -1. It goes from the
// newest month to older ones, and no further than it must.
func (f *finding) keys(ctx context.Context, months []month) (keys []key, total int, err error) {
	for _, m := range months {
		end := m.Next().Start().UnixNano()
		enough := sortedBefore(keys, end) > f.limit
		if enough || !f.after.IsZero() && m.startsAfter(f.after.key.at) {
			total = f.countKnown(&m, total)
			continue
		}
		f.used = append(f.used, m.folders...)
		for _, s := range m.folders {
			h, err := f.inFolder(ctx, s)
			switch {
			case errors.Is(err, journal.ErrNotFound), errors.Is(err, archive.ErrNoFolder): // anyWent tells of it
				continue
			case f.passed.Add(err):
				continue
			case err != nil:
				return nil, 0, err
			}
			keys = append(keys, h.keys...)
			if total >= 0 {
				total += h.count
			}
		}
		slices.SortFunc(keys, func(a, b key) int { return b.compare(a) })
		keys = keys[:min(len(keys), f.limit+1)]
	}
	return keys, total, nil
}

// sortedBefore returns how many keys, newest first, are of a time or after it.
func sortedBefore(keys []key, at int64) int {
	n, _ := slices.BinarySearchFunc(keys, at, func(k key, at int64) int {
		if k.at >= at {
			return -1
		}
		return 1
	})
	return n
}

// inFolder returns what matches in a folder.
func (f *finding) inFolder(ctx context.Context, s journal.FolderStats) (h hits, err error) {
	err = f.index.look(ctx, f.reader, s, f.match.needsTexts(), func(c *catalogue) { h = f.match.match(c, f.after, f.limit+1) })
	return h, err
}

// countKnown adds what matches in a month to a total, or returns -1 if it takes reading to know that.
func (f *finding) countKnown(m *month, total int) int {
	for _, s := range m.folders {
		if total < 0 {
			return -1
		}
		if f.match.all {
			total += int(s.Entries)
			continue
		}
		known := f.index.peek(s, f.match.needsTexts(), func(c *catalogue) {
			_, count := f.match.wanted(c)
			total += count
		})
		if !known {
			return -1
		}
	}
	return total
}

// read puts the entries of keys into a page. It reports whether one is not there any more.
func (f *finding) read(ctx context.Context, keys []key, page *Page) (gone bool, err error) {
	for _, k := range keys {
		e, err := f.reader.Entry(ctx, k.place)
		switch {
		case errors.Is(err, journal.ErrNotFound), err == nil && e.State == journal.Superseded:
			gone = true
			continue
		case errors.Is(err, journal.ErrDamaged):
			if f.passed.Add(err) {
				page.Passed = f.passed
			}
			e = &journal.Entry{Ref: k.place, Time: time.Unix(0, k.at).UTC()}
			page.Damaged = append(page.Damaged, k.place)
		case err != nil:
			return false, err
		}
		page.Entries = append(page.Entries, e)
	}
	return gone, nil
}
