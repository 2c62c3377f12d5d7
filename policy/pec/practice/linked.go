package practice

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"copialettere/journal"
	"copialettere/journal/part"
	"copialettere/policy/pec"
)

// maxLinked is the most messages that are read for one practice.
const maxLinked = 2000

// Chosen says which practices are wanted: those of a sent message, or that with a provider's identifier. One of them is set.
type Chosen struct {
	Sent       journal.Ref
	Identifier string
}

// Linked returns the practices of one sent message, or that with an identifier. Unlike List it reads only what the ids in the messages link: so it does
// not know a sent message that no id leads to, which List guesses. Damaged messages are left out. The error wraps journal.ErrNotFound if there is no
// such message or practice.
func Linked(ctx context.Context, j *journal.Journal, mailbox string, chosen Chosen, now time.Time) ([]*Practice, error) {
	w := &linkWalk{journal: j, mailbox: mailbox, entries: make(map[journal.Ref]*journal.Entry), links: make(map[string]bool)}
	if chosen.Identifier != "" {
		w.queue = []string{pec.IdentifierLink(chosen.Identifier)}
	} else {
		chosen.Sent.Mailbox = mailbox
		e, err := j.Entry(ctx, chosen.Sent)
		if err != nil {
			return nil, err
		}
		w.add(e)
	}
	if err := w.walk(ctx); err != nil {
		return nil, err
	}
	g := newGathering()
	for _, e := range w.inOrder() {
		if err := g.add(e); err != nil && !errors.Is(err, journal.ErrDamaged) {
			return nil, err
		}
	}
	var list []*Practice
	for _, p := range g.join() {
		if chosen.Identifier != "" && p.Identifier != chosen.Identifier || chosen.Identifier == "" && (p.sent == nil || p.sent.ref != chosen.Sent) {
			continue
		}
		if err := confirm(ctx, j, p); err != nil {
			return nil, err
		}
		v := p.view(now)
		v.Mailbox = mailbox
		if err := checkBrief(ctx, j, p, v); err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("practice of %s: %w", mailbox, journal.ErrNotFound)
	}
	return list, nil
}

// linkWalk follows the links of messages to other messages.
type linkWalk struct {
	journal *journal.Journal
	mailbox string
	entries map[journal.Ref]*journal.Entry
	links   map[string]bool // those that were queued
	queue   []string
}

// add takes in an entry, and queues its links.
func (w *linkWalk) add(e *journal.Entry) {
	if w.entries[e.Ref] != nil {
		return
	}
	w.entries[e.Ref] = e
	links := e.Links
	if e.Direction == journal.Sent {
		links = append(slices.Clone(links), pec.ClientLink(part.MessageID(e.MessageID)))
	}
	for _, link := range links {
		if link != "" && !w.links[link] {
			w.links[link] = true
			w.queue = append(w.queue, link)
		}
	}
}

// walk follows all links, up to maxLinked messages.
func (w *linkWalk) walk(ctx context.Context) error {
	for len(w.queue) > 0 && len(w.entries) < maxLinked {
		link := w.queue[0]
		w.queue = w.queue[1:]
		for e, err := range w.journal.Linked(ctx, w.mailbox, link) {
			if errors.Is(err, journal.ErrDamaged) {
				continue
			}
			if err != nil {
				return err
			}
			if w.add(e); len(w.entries) >= maxLinked {
				return nil
			}
		}
	}
	return nil
}

// inOrder returns the entries in the order of time.
func (w *linkWalk) inOrder() []*journal.Entry {
	list := make([]*journal.Entry, 0, len(w.entries))
	for _, e := range w.entries {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b *journal.Entry) int {
		if c := a.Time.Compare(b.Time); c != 0 {
			return c
		}
		return strings.Compare(fmt.Sprintf("%s %010d", a.FolderName(), a.UID), fmt.Sprintf("%s %010d", b.FolderName(), b.UID))
	})
	return list
}

// Of returns what leads from an entry to its practices; nothing for one that belongs to none.
func Of(e *journal.Entry) (list []Chosen) {
	if e.Direction == journal.Sent {
		return []Chosen{{Sent: e.Ref}}
	}
	var record pec.Record
	if len(e.Certification) == 0 || record.UnmarshalBinary(e.Certification) != nil {
		return nil
	}
	for _, id := range record.Message.Practices() {
		list = append(list, Chosen{Identifier: id})
	}
	return list
}
