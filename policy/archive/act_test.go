package archive

import (
	"errors"
	"slices"
	"testing"

	"copialettere/journal"
	"copialettere/policy"
)

// TestDeletionAfterRename deletes and brings back messages of an archive whose address has changed. Everything goes by the new address; the next
// owner of the old one has no part in it.
func TestDeletionAfterRename(t *testing.T) {
	a := open(t)
	root := policy.Actor{Role: policy.RoleOperator, Name: "root"}
	var addresses []policy.Address
	for _, text := range []string{"anna@alpha.test", "rossi@alpha.test"} {
		address, err := policy.ParseAddress(text)
		if err != nil {
			t.Fatal(err)
		}
		addresses = append(addresses, address)
	}
	anna, rossi := addresses[0], addresses[1]
	if _, err := a.Enable(t.Context(), root, anna); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Set(t.Context(), root, anna, []policy.Assignment{{Key: policy.KeyManualDelete, Value: "on"}}); err != nil {
		t.Fatal(err)
	}
	var folder journal.Ref
	for i := range 3 {
		d := a.journal.NewDraft(t.Context())
		if _, err := d.Write([]byte{'S', ':', ' ', byte('0' + i), '\r', '\n', '\r', '\n'}); err != nil {
			t.Fatal(err)
		}
		placed, err := d.Commit(t.Context(), journal.Envelope{Transaction: "T"}, []journal.Intent{{Mailbox: anna.String(), Direction: journal.Received}}, nil)
		d.Discard()
		if err != nil {
			t.Fatal(err)
		}
		folder = placed[0].Ref
	}
	if _, err := a.Rename(t.Context(), root, anna, rossi); err != nil {
		t.Fatal(err)
	}
	folder.Mailbox = rossi.String()
	owner, stranger := policy.Actor{Role: policy.RoleOwner, Name: rossi.String()}, policy.Actor{Role: policy.RoleOwner, Name: anna.String()}
	if _, err := a.Empty(t.Context(), stranger, folder); !errors.Is(err, policy.ErrForbidden) {
		t.Errorf("empty by the owner of the old address: %v", err)
	}
	d, err := a.Empty(t.Context(), owner, folder)
	if err != nil || d.Mailbox != rossi.String() || d.From.Mailbox != rossi.String() || d.UIDs.String() != "1-3" {
		t.Fatalf("emptied: %+v, %v", d, err)
	}
	s := folder.Only()
	s.UIDs = d.UIDs
	if d, err = a.Undelete(t.Context(), owner, s); err != nil || d.To.Mailbox != rossi.String() || d.ToUIDs.String() != "4-6" {
		t.Errorf("brought back: %+v, %v", d, err)
	}
	if _, err := a.Delete(t.Context(), owner, s); !errors.Is(err, journal.ErrNotFound) {
		t.Errorf("delete at the old places: %v", err)
	}
	var log []string
	for c, err := range a.Log(t.Context(), rossi) {
		if err != nil {
			t.Fatal(err)
		}
		if c.Messages > 0 {
			log = append(log, c.Mailbox+" "+c.Key+" "+c.UIDs.String())
		}
	}
	if want := []string{"rossi@alpha.test empty 1-3", "rossi@alpha.test undelete 1-3"}; !slices.Equal(log, want) {
		t.Errorf("on record: %q, want %q", log, want)
	}
	if report, err := a.journal.Verify(t.Context(), journal.EvidenceOptions{}, nil); err != nil || report.Faults > 0 {
		t.Errorf("verify: %+v, %v", report, err)
	}
}
