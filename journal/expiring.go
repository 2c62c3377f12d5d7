package journal

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Expiring counts the messages of a mailbox that a retention of so many months deletes at that time, holds aside, and returns when the first of them
// arrived. With 0 months it counts all messages. It leaves out what cannot be read.
func (j *Journal) Expiring(ctx context.Context, mailbox string, months int, at time.Time) (sum Removed, oldest time.Time, err error) {
	for e, err := range j.ListByTime(ctx, mailbox) {
		switch {
		case errors.Is(err, ErrDamaged):
			continue
		case err != nil:
			return Removed{}, time.Time{}, fmt.Errorf("count what expires of %s: %w", mailbox, err)
		case months > 0 && AddMonths(e.Time, months).After(at):
			return sum, oldest, nil
		}
		if sum.Entries == 0 {
			oldest = e.Time
		}
		sum.add(e)
	}
	return sum, oldest, nil
}
