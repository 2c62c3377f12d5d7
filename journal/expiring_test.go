package journal

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"copialettere/journal/kv/level"
)

// TestExpiring counts what a retention deletes of one mailbox, by its own rule: that of Expire.
func TestExpiring(t *testing.T) {
	engine, err := level.Open(t.TempDir(), level.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	j, err := Open(engine, Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	first := now
	for i := range 6 {
		for _, mailbox := range []string{"anna@alpha.test", "bruno@alpha.test"} {
			d := j.NewDraft(t.Context())
			fmt.Fprintf(d, "Subject: %d\r\n\r\nText\r\n", i)
			if _, err := d.Commit(t.Context(), Envelope{Transaction: "T"}, []Intent{{Mailbox: mailbox, Direction: Received}}, nil); err != nil {
				t.Fatal(err)
			}
			d.Discard()
		}
		now = now.AddDate(0, 0, 20)
	}
	for _, c := range []struct {
		name    string
		mailbox string
		months  int
		at      time.Time
		entries uint64
	}{
		{"all", "anna@alpha.test", 0, time.Time{}, 6},
		{"none yet", "anna@alpha.test", 6, first.AddDate(0, 5, 0), 0},
		{"the first, to the instant", "anna@alpha.test", 6, AddMonths(first, 6), 1},
		{"just before", "anna@alpha.test", 6, AddMonths(first, 6).Add(-1), 0},
		{"some", "anna@alpha.test", 6, AddMonths(first, 6).AddDate(0, 0, 44), 3},
		{"past all", "anna@alpha.test", 6, first.AddDate(2, 0, 0), 6},
		{"no mailbox", "carla@alpha.test", 0, time.Time{}, 0},
	} {
		sum, err := j.Expiring(t.Context(), c.mailbox, c.months, c.at)
		if err != nil || sum.Entries != c.entries || (sum.Bytes > 0) != (c.entries > 0) || c.entries > 0 && !sum.Oldest.Equal(first) {
			t.Errorf("%s: %+v, %v; want %d", c.name, sum, err, c.entries)
		}
		if c.months == 0 {
			continue
		}
		report, err := j.Expire(t.Context(), ExpireOptions{
			Now: c.at, DryRun: true, Mailboxes: func(mailbox string) (int, bool) { return c.months, mailbox != c.mailbox },
		})
		if err != nil || report.Removed.Entries != c.entries {
			t.Errorf("%s: Expire deletes %+v, %v", c.name, report, err)
		}
		var want []MonthLoss
		for _, e := range report.Expired {
			if e.Entries > 0 {
				want = append(want, MonthLoss{e.Month, e.Removed})
			}
		}
		if !slices.Equal(sum.Months, want) {
			t.Errorf("%s: by month %+v, Expire says %+v", c.name, sum.Months, want)
		}
	}
}
