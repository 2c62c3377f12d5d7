package practice

import (
	"context"
	"errors"
	"fmt"
	"iter"
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
	w := newLinkWalk(j, mailbox)
	wanted := func(p *group) bool { return p.Identifier == chosen.Identifier }
	if chosen.Identifier != "" {
		w.queue = []string{pec.IdentifierLink(chosen.Identifier)}
	} else {
		chosen.Sent.Mailbox = mailbox
		e, err := j.Entry(ctx, chosen.Sent)
		if err != nil {
			return nil, err
		}
		w.add(e)
		wanted = func(p *group) bool { return p.isOf(chosen.Sent) }
	}
	list, err := w.practices(ctx, wanted, now)
	if err == nil && len(list) == 0 {
		err = fmt.Errorf("practice of %s: %w", mailbox, journal.ErrNotFound)
	}
	return list, err
}

// Sent yields the practices of the sent messages with a UID, of whatever month. Where no id leads from a message to a receipt it looks, as List does, for
// receipts that fit: among those of the time after it.
func Sent(ctx context.Context, j *journal.Journal, mailbox string, uid uint32, now time.Time) iter.Seq2[*Practice, error] {
	return func(yield func(*Practice, error) bool) {
		for e, err := range j.SentAs(ctx, mailbox, uid) {
			if err != nil {
				if !yield(nil, err) || !errors.Is(err, journal.ErrDamaged) {
					return
				}
				continue
			}
			list, err := Linked(ctx, j, mailbox, Chosen{Sent: e.Ref}, now)
			// Of what is damaged the longer way tells; and the message may have gone since it was read.
			if err != nil && !errors.Is(err, journal.ErrDamaged) && !errors.Is(err, journal.ErrNotFound) {
				yield(nil, err)
				return
			}
			found := func(yield func(*Practice, error) bool) {
				for _, p := range list {
					if !yield(p, nil) {
						return
					}
				}
			}
			if !slices.ContainsFunc(list, func(p *Practice) bool { return len(p.Receipts) > 0 }) {
				around := j.OfPractices(ctx, mailbox, e.Time.Add(-beside), e.Time.Add(age))
				found = gathered(ctx, j, mailbox, around, func(p *group) bool { return p.isOf(e.Ref) }, now)
			}
			for p, err := range found {
				if !yield(p, err) {
					return
				}
			}
		}
	}
}

// beside is how long before a message others were sent that its receipts might fit as well.
const beside = 3 * 24 * time.Hour

// WithID yields the practices that have to do with an id, as part.MessageID returns it: that of a provider, or the Message-ID of the sent message or of a
// receipt. It reads what Linked does.
func WithID(ctx context.Context, j *journal.Journal, mailbox, id string, now time.Time) iter.Seq2[*Practice, error] {
	return func(yield func(*Practice, error) bool) {
		w := newLinkWalk(j, mailbox)
		w.queue = []string{pec.IdentifierLink(id), pec.ClientLink(id)}
		for e, err := range j.WithMessageID(ctx, mailbox, id) {
			switch {
			case err == nil:
				w.add(e)
			case !yield(nil, err) || !errors.Is(err, journal.ErrDamaged):
				return
			}
		}
		list, err := w.practices(ctx, func(p *group) bool {
			return p.shown() && (p.Identifier == id || p.Client == id || p.sent != nil && p.sent.messageID == id ||
				slices.ContainsFunc(p.receipts, func(r Receipt) bool { return w.named(r, id) }))
		}, now)
		if err != nil {
			yield(nil, err)
			return
		}
		for _, p := range list {
			if !yield(p, nil) {
				return
			}
		}
	}
}

func newLinkWalk(j *journal.Journal, mailbox string) *linkWalk {
	return &linkWalk{journal: j, mailbox: mailbox, entries: make(map[journal.Ref]*journal.Entry), links: make(map[string]bool)}
}

// named reports whether a receipt that was read has a Message-ID.
func (w *linkWalk) named(r Receipt, id string) bool {
	folder, month, err := journal.ParseFolder(r.Folder)
	e := w.entries[journal.Ref{Mailbox: w.mailbox, Month: month, Folder: folder, UID: r.UID}]
	return err == nil && e != nil && part.MessageID(e.MessageID) == id
}

// practices follows all links, and returns the wanted ones of the practices that they lead to.
func (w *linkWalk) practices(ctx context.Context, wanted func(*group) bool, now time.Time) (list []*Practice, err error) {
	if err := w.walk(ctx); err != nil {
		return nil, err
	}
	g := newGathering()
	for _, e := range w.inOrder() {
		if err := g.add(e); err != nil && !errors.Is(err, journal.ErrDamaged) {
			return nil, err
		}
	}
	for _, p := range g.join() {
		if !wanted(p) {
			continue
		}
		if err := confirm(ctx, w.journal, p); err != nil {
			return nil, err
		}
		v := p.view(now)
		v.Mailbox = w.mailbox
		if err := checkBrief(ctx, w.journal, p, v); err != nil {
			return nil, err
		}
		list = append(list, v)
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
