package policy

import (
	"context"
	"time"

	"copialettere/journal/kv"
)

// Note makes a change of a mailbox that is no change of its settings, and puts it into the log of the mailbox, in one Update. Make gets the name of the
// archive and the time, writes what belongs to another package, and returns the values for the log; if they are equal, nothing goes on record. Make
// may run more than once. Notes of one mailbox come one after the other. Of a mailbox that was never set up there is no log. Note checks no right.
func (p *Policy) Note(ctx context.Context, a Address, who Actor, key string, make func(tx kv.Tx, archive string, now time.Time) (before, after string, err error)) error {
	now := time.Now().UTC().Round(0)
	return p.update(ctx, who, []Address{a}, func(tx kv.Tx, leads []lead) (changed bool, err error) {
		e, err := p.begin(tx, a, leads[0], now)
		if err != nil {
			return false, err
		}
		before, after, err := make(tx, e.name, e.now)
		if err != nil || before == after || !e.exists {
			return false, err
		}
		return true, e.save(who, []Change{{Key: key, Before: before, After: after}})
	})
}
