package httpd

import (
	"context"
	"time"

	"copialettere/journal"
	"copialettere/policy"
)

func (a *api) preservation(c *call) error      { return a.packages(c, &c.mailbox) }
func (a *api) preservationOfAll(c *call) error { return a.packages(c, nil) }

// packages answers with the packages of one mailbox or, with nil, of all.
func (a *api) packages(c *call, mailbox *policy.Address) error {
	for p, err := range a.b.Archive.Packages(c.Context(), c.who, mailbox, time.Now()) {
		if err != nil {
			return err
		}
		if c.out.write(p) != nil {
			return nil
		}
	}
	return nil
}

// view returns an entry of a mailbox as it is shown, with its package for legal preservation.
func (a *api) view(ctx context.Context, mailbox policy.Address, e *journal.Entry) (EntryView, error) {
	v := viewEntry(e)
	var err error
	v.Preservation, err = a.b.Archive.PreservedIn(ctx, mailbox, e, time.Now())
	return v, err
}
