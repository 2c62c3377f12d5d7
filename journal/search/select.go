package search

import (
	"context"
	"errors"
	"slices"

	"copialettere/journal"
	"copialettere/policy/archive"
)

// Selected are all messages that a query wants.
type Selected struct {
	Messages []journal.Selection // by folder and month, without the mailbox
	Passed   journal.PassedOver  // months that could not be read, and may hold more
}

// Select returns all messages in the archive of a reader that a query wants, wherever they would be in a list. Whoever does something with them finds out
// which have gone meanwhile. Errors are those of Find.
func (x *Index) Select(ctx context.Context, r *archive.Reader, q Query) (Selected, error) {
	if err := q.check(); err != nil {
		return Selected{}, err
	}
	f := &finding{index: x, reader: r, match: newMatcher(&q)}
	folders, err := f.folders(ctx)
	if err != nil {
		return Selected{}, err
	}
	var s Selected
	for _, m := range f.monthsOf(folders) {
		for _, holds := range m.folders {
			var uids []uint32
			err := x.look(ctx, r, holds, f.match.needsTexts(), func(c *catalogue) {
				wanted, _ := f.match.wanted(c)
				for n, uid := range c.uids {
					if wanted == nil || wanted[n/64]&(1<<(n%64)) != 0 {
						uids = append(uids, uid)
					}
				}
			})
			switch {
			case errors.Is(err, journal.ErrNotFound), errors.Is(err, archive.ErrNoFolder): // it went meanwhile
				continue
			case f.passed.Add(err):
				continue
			case err != nil:
				return Selected{}, err
			}
			slices.Sort(uids)
			if len(uids) > 0 {
				s.Messages = append(s.Messages, journal.Selection{Month: holds.Month, Folder: holds.Folder, UIDs: journal.UIDsOf(uids)})
			}
		}
	}
	s.Passed = f.passed
	return s, nil
}
