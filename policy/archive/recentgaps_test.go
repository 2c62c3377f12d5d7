package archive

import (
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/policy"
)

// TestRecentGaps counts what a postmaster must look at: gaps on record and pauses, but neither skips nor the time before the archive was on.
func TestRecentGaps(t *testing.T) {
	a := open(t)
	root := policy.Actor{Role: policy.RoleOperator, Name: "root"}
	anna, err := policy.ParseAddress("anna@alpha.test")
	if err != nil {
		t.Fatal(err)
	}
	count := func(name string, want int) {
		t.Helper()
		if got, err := a.RecentGaps(t.Context(), anna); err != nil || got != want {
			t.Errorf("%s: %d, %v, want %d", name, got, err, want)
		}
	}
	act := func(f func() (bool, error)) {
		t.Helper()
		if _, err := f(); err != nil {
			t.Fatal(err)
		}
	}
	act(func() (bool, error) { return a.policy.Enable(t.Context(), anna, root) })
	count("never paused", 0)
	record := journal.Record{Kind: journal.Gap, Mailbox: anna.String(), Time: time.Now().UTC(), Reason: journal.ReasonFull}
	skip := record
	skip.Kind, skip.Reason = journal.Skip, "alias"
	old := record
	old.Time = time.Now().UTC().AddDate(0, 0, -GapDays-1)
	if err := a.journal.Record(t.Context(), record, skip, old); err != nil {
		t.Fatal(err)
	}
	count("a message that did not fit", 1)
	act(func() (bool, error) { return a.policy.Pause(t.Context(), anna, root) })
	count("paused", 2)
	act(func() (bool, error) { return a.policy.Resume(t.Context(), anna, root) })
	count("resumed", 2)
}
