package journal

import (
	"fmt"
	"slices"
	"testing"

	"copialettere/journal/kv"
)

// TestVerifyLogInParts compares entries with a log that is read in several parts: it finds what it finds in one.
func TestVerifyLogInParts(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	f.damaged()
	f.correspondence(150)
	month := kv.MonthOf(november)
	verify := func(part int64) *Report {
		r := new(Report)
		v := &verifier{j: f.Journal, ctx: f.ctx(), newest: f.newID(), report: r, patience: &patience{left: maxPatience}, logPart: part}
		if err := v.verifyMonth(month); err != nil {
			t.Fatal(err)
		}
		slices.Sort(r.Details)
		return r
	}
	compare := func(when string, faults int64) {
		t.Helper()
		whole := verify(loggedPart)
		for _, part := range []int64{1, 7, 100} {
			if got := verify(part); fmt.Sprint(got.Details) != fmt.Sprint(whole.Details) || got.Leaves != whole.Leaves || got.Faults != faults {
				t.Errorf("%s, in parts of %d leaves: %d leaves, %d faults %q\nwant %d leaves, %d faults %q", when, part, got.Leaves, got.Faults, got.Details, whole.Leaves,
					faults, whole.Details)
			}
		}
	}
	compare("sound", 0)

	list := f.list(mario)
	value, err := f.store().Get(f.ctx(), entryKey(list[3].Ref))
	if err != nil {
		t.Fatal(err)
	}
	altered := append(value[:len(value):len(value)], 250, 1, 0) // one more field, which means nothing
	f.put1(entryKey(list[3].Ref), altered)
	compare("altered", 1)
	f.put1(entryKey(list[3].Ref), value)
	f.put1(entryKey(Ref{mario, month, "INBOX", 5000}), value)
	compare("put there", verify(loggedPart).Faults)
	f.put1(entryKey(Ref{mario, month, "INBOX", 5000}), nil)
	f.put1(entryKey(list[5].Ref), nil)
	compare("removed", verify(loggedPart).Faults)
}
