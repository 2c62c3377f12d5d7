package pages

import (
	"slices"
	"strings"

	"copialettere/journal"
	"copialettere/journal/kv"
)

// loss is what a change loses, as people must know before they confirm it.
type loss struct {
	Warnings []string
	Months   []journal.MonthLoss // the messages that go at once, by month of arrival, oldest first
}

// addMonths adds what goes of one more mailbox.
func (l *loss) addMonths(months []journal.MonthLoss) {
	for _, m := range months {
		i, there := slices.BinarySearchFunc(l.Months, m.Month, func(other journal.MonthLoss, month kv.Month) int {
			return strings.Compare(string(other.Month), string(month))
		})
		if !there {
			l.Months = slices.Insert(l.Months, i, journal.MonthLoss{Month: m.Month})
		}
		l.Months[i].Entries += m.Entries
		l.Months[i].Bytes += m.Bytes
	}
}
