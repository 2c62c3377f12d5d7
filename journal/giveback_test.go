package journal

import (
	"errors"
	"fmt"
	"testing"
)

// TestGivenBack follows messages that were given back through the acts on them.
func TestGivenBack(t *testing.T) {
	f := openFixture(t)
	for i := range 4 {
		f.put(mario, sized(fmt.Sprint(i), 300))
	}
	at := func(folder string, uid uint32) Ref { return Ref{mario, "2026-11", folder, uid} }
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	want := func(folder string, uids ...uint32) {
		t.Helper()
		s := Selection{Mailbox: mario, Month: "2026-11", Folder: folder, UIDs: UIDs{{1, 100}}}
		found, err := f.GivenBack(f.ctx(), s)
		check(err)
		ok := len(found) == len(uids)
		for _, uid := range uids {
			ok = ok && found[uid] != nil && found[uid].Kind == ActGiveBack
		}
		if !ok {
			t.Errorf("given back in %s: %v, want %v", folder, found, uids)
		}
	}
	want("INBOX")
	check(f.RecordGiveBack(f.ctx(), at("INBOX", 2), "anna"))
	check(f.RecordGiveBack(f.ctx(), at("INBOX", 3), "anna"))
	want("INBOX", 2, 3)

	// A refusal takes back the last one only.
	check(f.RecordGiveBack(f.ctx(), at("INBOX", 3), "anna"))
	check(f.RecordNotGivenBack(f.ctx(), at("INBOX", 3), "anna", "452 4.2.2 full"))
	check(f.RecordGiveBack(f.ctx(), at("INBOX", 1), "anna"))
	check(f.RecordNotGivenBack(f.ctx(), at("INBOX", 1), "anna", "550 5.1.1 nobody"))
	want("INBOX", 2, 3)

	// They are moved together with others, deleted, and come back under other UIDs.
	_, err := f.Move(f.ctx(), Selection{mario, "2026-11", "INBOX", UIDs{{1, 2}, {4, 4}}}, Trash, "anna")
	check(err)
	want("INBOX", 3)
	want(Trash, 2)
	_, err = f.Delete(f.ctx(), Selection{mario, "2026-11", Trash, UIDs{{1, 3}}}, "anna")
	check(err)
	_, err = f.Undelete(f.ctx(), Selection{mario, "2026-11", Trash, UIDs{{1, 3}}}, "anna")
	check(err)
	want(Trash, 5)
	want("INBOX", 3)

	if err := f.RecordGiveBack(f.ctx(), at("INBOX", 2), "anna"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a message that is not there: %v", err)
	}
	if err := f.RecordGiveBack(f.ctx(), Ref{mario, "2026-10", "INBOX", 2}, "anna"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a month that is not there: %v", err)
	}
	var last *Act
	for a, err := range f.Acts(f.ctx(), mario) {
		check(err)
		if a.Kind == ActNotGivenBack {
			last = a
		}
	}
	if last == nil || last.Detail != "550 5.1.1 nobody" || last.Who != "anna" || last.From != at("INBOX", 1) {
		t.Errorf("on record is %+v", last)
	}
}
