package journal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"copialettere/journal/kv"
)

// Linked yields the entries of a mailbox that have a link, by month, folder and UID.
func (j *Journal) Linked(ctx context.Context, mailbox, link string) iter.Seq2[*Entry, error] {
	if err := checkLink(link); err != nil {
		return func(yield func(*Entry, error) bool) { yield(nil, err) }
	}
	return monthly(ctx, j, mailbox, func(m kv.Month, s kv.Store, yield func(*Entry, error) bool) {
		prefix := linkPrefix(mailbox, link, 0)
		for p, err := range s.Scan(ctx, prefix, after(prefix)) {
			var ref Ref
			if err == nil {
				_, ref, err = splitLinkKey(m, p.Key)
			}
			var e *Entry
			if err == nil {
				e, err = j.Entry(ctx, ref)
			}
			if errors.Is(err, ErrNotFound) {
				continue // removed since the link was read
			}
			if err != nil {
				err = fmt.Errorf("follow link %q of %s in %s: %w", link, mailbox, m, err)
			}
			if !yield(e, err) {
				return
			}
		}
	})
}

func putLinks(tx kv.Tx, e *Entry) {
	for _, l := range e.Links {
		tx.Put(linkKey(l, e.Ref), []byte{})
	}
}

func deleteLinks(tx kv.Tx, e *Entry) {
	for _, l := range e.Links {
		tx.Delete(linkKey(l, e.Ref))
	}
}

// unique returns links without repetitions.
func unique(links []string) []string {
	var list []string
	for _, l := range links {
		if !slices.Contains(list, l) {
			list = append(list, l)
		}
	}
	return list
}
