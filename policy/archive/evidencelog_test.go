package archive

import (
	"errors"
	"slices"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/policy"
)

// TestEvidenceLog follows messages through acts: of each only what was done to it is told, under the place where it lay then, and of the mailbox only what
// matters for messages.
func TestEvidenceLog(t *testing.T) {
	a := open(t)
	root := policy.Actor{Role: policy.RoleOperator, Name: "root"}
	anna, err := policy.ParseAddress("anna@alpha.test")
	if err != nil {
		t.Fatal(err)
	}
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(a.Enable(t.Context(), root, anna))
	since := time.Now()
	must(a.Set(t.Context(), root, anna, []policy.Assignment{{Key: policy.KeyWrite, Value: "on"}, {Key: policy.KeyIMAP, Value: "on"}}))
	var place journal.Ref
	for i := range 3 {
		d := a.journal.NewDraft(t.Context())
		must(d.Write([]byte{'S', ':', ' ', byte('0' + i), '\r', '\n', '\r', '\n'}))
		placed, err := d.Commit(t.Context(), journal.Envelope{Transaction: "T"}, []journal.Intent{{Mailbox: anna.String(), Direction: journal.Received}}, nil)
		d.Discard()
		must(placed, err)
		place = placed[0].Ref
	}
	some := func(uids string) journal.Selection {
		s := place.Only()
		s.UIDs, err = journal.ParseUIDs(uids)
		must(nil, err)
		return s
	}
	must(a.Delete(t.Context(), root, some("2-3")))
	must(a.Undelete(t.Context(), root, some("2-3"))) // they are 4 and 5
	must(a.Move(t.Context(), root, some("5"), "Trash"))
	first, trashed := place, place
	first.UID = 1
	trashed.Folder, trashed.UID = "Trash", 1
	must(nil, a.Hold(t.Context(), root, trashed, "case"))
	told := func(refs ...journal.Ref) (list []string) {
		for c, err := range a.EvidenceLog(t.Context(), root, anna, refs, since) {
			must(nil, err)
			list = append(list, c.Key+" "+c.Before)
		}
		return list
	}
	month := "/" + string(place.Month)
	if got, want := told(first), []string{"write off"}; !slices.Equal(got, want) {
		t.Errorf("of the first: %q, want %q", got, want)
	}
	want := []string{"write off", "delete INBOX" + month + " 3", "undelete INBOX" + month + " 3", "move INBOX" + month + " 5", "hold Trash" + month + " 1"}
	if got := told(first, trashed); !slices.Equal(got, want) {
		t.Errorf("of both: %q, want %q", got, want)
	}
	for _, who := range []policy.Actor{{Role: policy.RoleDelegate, Name: "bruno@beta.test"}, {Role: policy.RoleOwner, Name: "bruno@beta.test"}} {
		for _, err := range a.EvidenceLog(t.Context(), who, anna, []journal.Ref{first}, since) {
			if !errors.Is(err, policy.ErrForbidden) {
				t.Errorf("%s: changes: %v", who, err)
			}
		}
		for _, err := range a.EvidenceAccesses(t.Context(), who, anna, since) {
			if !errors.Is(err, policy.ErrForbidden) {
				t.Errorf("%s: accesses: %v", who, err)
			}
		}
	}
}
