package journal

import (
	"errors"
	"iter"
	"slices"
	"testing"
	"time"
)

// TestSince reads what came on record from a time on, of one mailbox and of all, and what has no outcome yet.
func TestSince(t *testing.T) {
	f := openFixture(t)
	old := gap("old", november.AddDate(0, -2, 0))
	early := gap("early", november.Add(-time.Hour))
	late := gap("late", november.Add(time.Hour))
	other := Record{Kind: Skip, Mailbox: anna, Time: november.Add(2 * time.Hour), Detail: "other"}
	skipped := Record{Kind: Skip, Mailbox: mario, Time: november.Add(2 * time.Hour), Detail: "skipped"}
	if err := f.Record(f.ctx(), old, early, late, other, skipped); err != nil {
		t.Fatal(err)
	}
	for name, source := range map[string]iter.Seq2[*Record, error]{"since": f.GapsSince(f.ctx(), mario, november.Add(-time.Hour)), "all": f.Gaps(f.ctx(), mario)} {
		want := []string{"early", "late"}
		if name == "all" {
			want = []string{"old", "early", "late"}
		}
		var got []string
		for r, err := range source {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, r.Detail)
		}
		if !slices.Equal(got, want) {
			t.Errorf("gaps, %s: %q, want %q", name, got, want)
		}
	}
	for name, c := range map[string]struct {
		mailbox string
		since   time.Time
		until   time.Time
		want    []string
	}{
		"one mailbox":      {mario, november, time.Time{}, []string{"late", "skipped"}},
		"all mailboxes":    {"", november, time.Time{}, []string{"other", "late", "skipped"}},
		"from another":     {mario, november.AddDate(0, -3, 0), time.Time{}, []string{"old", "early", "late", "skipped"}},
		"up to another":    {mario, november.AddDate(0, -3, 0), november.Add(time.Hour), []string{"old", "early"}},
		"to the instant":   {mario, november.Add(time.Hour), november.Add(time.Hour + 1), []string{"late"}},
		"of all time":      {mario, time.Time{}, time.Time{}, []string{"old", "early", "late", "skipped"}},
		"of a time to be":  {"", november.AddDate(1, 0, 0), time.Time{}, nil},
		"of nobody at all": {giove, november.AddDate(0, -3, 0), time.Time{}, nil},
	} {
		var got []string
		records := f.RecordsBetween(f.ctx(), c.mailbox, c.since, c.until)
		if c.mailbox == "" {
			records = f.EveryRecordSince(f.ctx(), c.since, func(string) bool { return true })
		}
		for r, err := range records {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, r.Detail)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}

	first, second := f.put(mario, letter("first")), f.deliver(anna, letter("second"), "t2").Ref
	if err := errors.Join(f.Hold(f.ctx(), first, "operator", "case 1"), f.Hold(f.ctx(), second, "operator", "case 2")); err != nil {
		t.Fatal(err)
	}
	count := func(since time.Time) (n int) {
		for a, err := range f.ActsSince(f.ctx(), since, func(mailbox string) bool { return mailbox == mario }) {
			if err != nil || a.Mailbox != mario || a.Kind != ActHold {
				t.Errorf("act %+v, %v", a, err)
			}
			n++
		}
		return n
	}
	if now := f.clock.now(); count(now.Add(-time.Minute)) != 1 || count(now.Add(time.Minute)) != 0 {
		t.Error("acts are not read from a time on")
	}
	e, err := f.Entry(f.ctx(), second)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Deferred(f.ctx(), second, "t2"); err != nil {
		t.Fatal(err)
	}
	f.FlushOutcomes(f.ctx())
	waiting, err := f.WaitingSince(f.ctx(), f.clock.now().AddDate(0, -1, 0))
	if err != nil || waiting[anna] != (Waiting{Deferred: 1}) {
		t.Errorf("waiting: %+v, %v", waiting, err)
	}
	stats, err := f.MonthStats(f.ctx(), second.Month)
	if err != nil || len(stats) != 2 || stats[0].Mailbox != anna || stats[1].Mailbox != mario {
		t.Errorf("of the month: %+v, %v", stats, err)
	}
	for o, err := range f.Outlines(f.ctx(), anna, second.Month, second.Folder, 1, second.UID) {
		if err != nil || !o.Dated.Equal(e.Time) {
			t.Errorf("outline %+v, %v", o, err)
		}
	}
}
