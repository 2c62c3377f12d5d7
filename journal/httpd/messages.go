package httpd

import (
	"fmt"
	"strconv"

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
		if c.out.write(viewEntry(&shown)) != nil {
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
