package archive

import (
	"context"
	"time"

	"copialettere/policy/pec/practice"
)

// Practices returns the practices of one sent message of the mailbox, or that with an identifier: see practice.Linked.
func (r *Reader) Practices(ctx context.Context, chosen practice.Chosen, now time.Time) ([]*practice.Practice, error) {
	m, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	list, err := practice.Linked(ctx, r.archive.journal, m.Archive, chosen, now)
	for _, p := range list {
		p.Mailbox = r.mailbox.String()
	}
	return list, err
}
