package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"copialettere/journal/kv"
)

// Loss is what a mailbox loses.
type Loss struct {
	Removed
	Oldest time.Time   // when the first of the messages arrived; zero where there are none
	Months []MonthLoss // by month of arrival, oldest first, without the months of which nothing goes
}

// MonthLoss is what a mailbox loses of the mail of one month. Others script against its names.
type MonthLoss struct {
	Month kv.Month `json:"month"`
	Removed
}

func (l *Loss) add(e *Entry) {
	if l.Entries == 0 {
		l.Oldest = e.Time
	}
	if n := len(l.Months); n == 0 || l.Months[n-1].Month != e.Month {
		l.Months = append(l.Months, MonthLoss{Month: e.Month})
	}
	l.Months[len(l.Months)-1].add(e)
	l.Removed.add(e)
}

// Expiring counts the messages of a mailbox that a retention of so many months deletes at that time, holds aside. With 0 months it counts all messages.
// It leaves out what cannot be read.
func (j *Journal) Expiring(ctx context.Context, mailbox string, months int, at time.Time) (sum Loss, err error) {
	for e, err := range j.ListByTime(ctx, mailbox) {
		switch {
		case errors.Is(err, ErrDamaged):
			continue
		case err != nil:
			return Loss{}, fmt.Errorf("count what expires of %s: %w", mailbox, err)
		case months > 0 && AddMonths(e.Time, months).After(at):
			return sum, nil
		}
		sum.add(e)
	}
	return sum, nil
}
