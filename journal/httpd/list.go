package httpd

import (
	"context"
	"fmt"
	"iter"
	"math"
	"strconv"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/policy"
)

// MaxNewest is how many entries may be asked for with newest.
const MaxNewest = 100_000

// list answers with entries, by month, folder and UID, or the newest first.
func (a *api) list(c *call) error {
	all, err := c.flag("all")
	if err != nil {
		return err
	}
	l, err := c.listing()
	if err != nil {
		return err
	}
	if all && l.Newest > 0 {
		return fmt.Errorf("%w: newest knows no superseded entries: ask without all", errRequest)
	}
	return tell(c, a.entries(c.Context(), c.mailbox, l, all))
}

// listing reads which entries a request wants.
func (c *call) listing() (l journal.Listing, err error) {
	if folder := c.query("folder"); folder != "" {
		l.Folder, l.Month = parseFolders(folder)
	}
	if l.Since, err = c.time("since"); err != nil {
		return l, err
	}
	if l.Until, err = c.time("until"); err != nil {
		return l, err
	}
	newest, err := c.number("newest", MaxNewest)
	if err != nil {
		return l, err
	}
	l.Newest = int(newest)
	if l.After, err = c.number("after", math.MaxUint32); err != nil {
		return l, err
	}
	if l.After > 0 && (l.Folder == "" || l.Month == "") {
		return l, fmt.Errorf("%w: after: name a folder with its month, such as INBOX/2026-11: each has UIDs of its own", errRequest)
	}
	return l, nil
}

// parseFolders reads "INBOX/2026-11", "INBOX" for all its months, or "2026-11" for all folders of the month.
func parseFolders(text string) (folder string, month kv.Month) {
	if m, err := kv.ParseMonth(text); err == nil {
		return "", m
	}
	if folder, month, err := journal.ParseFolder(text); err == nil {
		return folder, month
	}
	return text, ""
}

// number reads a parameter that is a whole number from 1 on. Absent means 0.
func (c *call) number(name string, most uint32) (uint32, error) {
	text := c.query(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 0 || n > uint64(most) {
		return 0, fmt.Errorf("%w: %s %.100q: want a number from 1 to %d", errRequest, name, text, most)
	}
	return uint32(n), nil
}

// time reads a parameter that is a time. Absent means the zero time.
func (c *call) time(name string) (time.Time, error) {
	text := c.query(name)
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, fmt.Errorf("%w: %s %.100q: want a time, such as 2026-11-29T08:30:00Z", errRequest, name, text)
	}
	return t, nil
}

// entries yields the entries of a mailbox that a listing wants; with all, the superseded ones after the others.
func (a *api) entries(ctx context.Context, address policy.Address, l journal.Listing, all bool) iter.Seq2[EntryView, error] {
	return func(yield func(EntryView, error) bool) {
		for e, err := range a.b.Archive.Entries(ctx, address, l) {
			var v EntryView
			if err == nil {
				v, err = a.view(ctx, address, e)
			}
			if !yield(v, err) {
				return
			}
		}
		if !all {
			return
		}
		for e, err := range a.b.Archive.Superseded(ctx, address, l) {
			var v EntryView
			if err == nil {
				v = viewSuperseded(e)
			}
			if !yield(v, err) {
				return
			}
		}
	}
}
