package httpd

import (
	"fmt"
	"strconv"
	"time"

	"copialettere/journal"
	"copialettere/journal/search"
)

// defaultLimit is how many messages a page has if the request does not say.
const defaultLimit = 100

// messages answers with one page of the messages that a search finds, newest first.
func (a *api) messages(c *call) error {
	q, err := search.ParseQuery(c.query("q"))
	if err != nil {
		return err
	}
	if folder := c.query("folder"); folder != "" {
		q.Folder = folder
	}
	after, err := search.ParsePosition(c.query("after"))
	if err != nil {
		return fmt.Errorf("%w: after: %w", errRequest, err)
	}
	limit, err := c.limit()
	if err != nil {
		return err
	}
	page, err := a.b.Search.Find(c.Context(), a.b.Archive.WebReader(c.who, c.mailbox), q, after, limit)
	if err != nil {
		return err
	}
	unread := make(map[journal.Ref]bool)
	for _, ref := range page.Damaged {
		unread[journal.Ref{Month: ref.Month, Folder: ref.Folder, UID: ref.UID}] = true
	}
	c.out.next = page.Next.String()
	for _, e := range page.Entries {
		if unread[journal.Ref{Month: e.Month, Folder: e.Folder, UID: e.UID}] {
			continue
		}
		shown := *e
		shown.Mailbox = c.mailbox.String()
		v, err := a.view(c.Context(), c.mailbox, &shown)
		if err != nil {
			return err
		}
		if c.out.write(v) != nil {
			return nil // the client has gone
		}
	}
	damaged := damages{passed: page.Passed}
	for _, ref := range page.Damaged {
		damaged.count(fmt.Errorf("%s %s %d: %w", c.mailbox, ref.FolderName(), ref.UID, journal.ErrDamaged))
	}
	return damaged.err()
}

// limit reads how many objects a page is to have.
func (c *call) limit() (int, error) {
	text := c.query("limit")
	if text == "" {
		return defaultLimit, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > search.MaxLimit {
		return 0, fmt.Errorf("%w: limit %.100q: want a number from 1 to %d", errRequest, text, search.MaxLimit)
	}
	return n, nil
}

// DeletedView is a message that was deleted by hand and can be brought back: its entry with the folder and the UID that it had. Others script against
// its names.
type DeletedView struct {
	EntryView
	DeletedAt time.Time `json:"deleted_at"`
	DeletedBy string    `json:"deleted_by"`
	Until     time.Time `json:"until"` // the end of the grace
}

// deleted answers with one page of what can be brought back, the last deleted first.
func (a *api) deleted(c *call) error {
	limit, err := c.limit()
	if err != nil {
		return err
	}
	before := uint64(0)
	if text := c.query("after"); text != "" {
		if before, err = strconv.ParseUint(text, 10, 32); err != nil {
			return fmt.Errorf("%w: after: take it from \"next\" of the page before", errRequest)
		}
	}
	list, next, _, err := a.b.Archive.WebReader(c.who, c.mailbox).Deleted(c.Context(), uint32(before), limit)
	if err != nil {
		return err
	}
	if next > 0 {
		c.out.next = strconv.FormatUint(uint64(next), 10)
	}
	var damaged damages
	for _, d := range list {
		if d.At.IsZero() { // it has no more than its place
			damaged.count(fmt.Errorf("%s %s %d: %w", c.mailbox, d.FolderName(), d.UID, journal.ErrDamaged))
			continue
		}
		shown := *d.Entry
		shown.Mailbox = c.mailbox.String()
		v := DeletedView{EntryView: viewEntry(&shown), DeletedAt: d.At, DeletedBy: d.Who, Until: d.At.Add(journal.DeletedGrace)}
		if c.out.write(v) != nil {
			return nil // the client has gone
		}
	}
	return damaged.err()
}
