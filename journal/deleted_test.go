package journal

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"copialettere/journal/kv"
)

// deleted returns what was deleted of a mailbox as "UID: FOLDER UID", and checks that the folder says the same.
func (f *fixture) deleted(mailbox string) []string {
	f.t.Helper()
	var list []string
	var bytes uint64
	for d, err := range f.DeletedEntries(f.ctx(), mailbox, AllUIDs()) {
		if err != nil {
			f.t.Fatal(err)
		}
		list = append(list, fmt.Sprintf("%d: %s %d", d.DeletedUID, d.FolderName(), d.UID))
		bytes += uint64(d.Size)
	}
	stats, err := f.DeletedFolder(f.ctx(), mailbox, true)
	if err != nil || stats.Entries != uint64(len(list)) || stats.Bytes != bytes {
		f.t.Errorf("the folder of what was deleted is %+v, %v, with %q in it", stats, err, list)
	}
	return list
}

func (f *fixture) wantDeleted(mailbox string, want ...string) {
	f.t.Helper()
	if got := f.deleted(mailbox); !slices.Equal(got, want) {
		f.t.Errorf("deleted: %q, want %q", got, want)
	}
	f.verify()
}

// TestDeletedFolder deletes from folders of two months: all shows in one folder, under UIDs that rise with the deletions and never come again.
func TestDeletedFolder(t *testing.T) {
	f := openFixture(t)
	if _, err := f.DeletedFolder(f.ctx(), mario, false); !errors.Is(err, ErrNotFound) {
		t.Errorf("before anything was deleted: %v", err)
	}
	one, two := f.put(mario, letter("1")), f.put(mario, letter("2"))
	sent := f.file(letter("sent"), Intent{Mailbox: mario, Direction: Sent, Recipients: []string{giove}})[0].Ref
	f.clock.set(november.AddDate(0, 1, 0))
	december := f.put(mario, letter("december"))
	before, err := f.DeletedFolder(f.ctx(), mario, true)
	if err != nil || before.NextUID != 1 || before.UIDValidity == 0 || before.Entries != 0 {
		t.Fatalf("%+v, %v", before, err)
	}
	f.remove(december)
	f.remove(one)
	f.remove(sent)
	f.wantDeleted(mario, "1: INBOX/2026-12 1", "2: INBOX/2026-11 1", "3: Sent/2026-11 1")
	f.wantDeleted(anna)

	d, err := f.Delete(f.ctx(), two.Only(), "owner")
	if err != nil || d.Deleted.String() != "4" {
		t.Errorf("deleted under the UIDs %v, %v", d.Deleted, err)
	}
	if _, err := f.undelete(one); err != nil {
		t.Fatal(err)
	}
	f.wantDeleted(mario, "1: INBOX/2026-12 1", "3: Sent/2026-11 1", "4: INBOX/2026-11 2")
	back, err := f.UndeleteTo(f.ctx(), two.Only(), Trash, "owner")
	if err != nil || back.To != (Ref{mario, "2026-11", Trash, 1}) {
		t.Errorf("%+v, %v", back, err)
	}
	if _, err := f.UndeleteTo(f.ctx(), sent.Only(), "Other", "owner"); !errors.Is(err, ErrFolder) {
		t.Errorf("into a folder that nobody made: %v", err)
	}
	f.wantDeleted(mario, "1: INBOX/2026-12 1", "3: Sent/2026-11 1")

	f.clock.set(f.clock.now().Add(DeletedGrace))
	if _, err := f.PurgeDeleted(f.ctx()); err != nil {
		t.Fatal(err)
	}
	f.wantDeleted(mario)
	f.reopen()
	f.remove(back.To)
	f.wantDeleted(mario, "5: Trash/2026-11 1")
	after, err := f.DeletedFolder(f.ctx(), mario, false)
	if err != nil || after.UIDValidity != before.UIDValidity || after.NextUID != 6 {
		t.Errorf("in the end %+v, %v, at first %+v", after, err, before)
	}

	if _, err := f.Erase(f.ctx(), mario, EraseOptions{}); err != nil {
		t.Fatal(err)
	}
	again, err := f.DeletedFolder(f.ctx(), mario, true)
	if err != nil || again.NextUID != 1 || again.UIDValidity <= before.UIDValidity {
		t.Errorf("after an erasure %+v, %v", again, err)
	}
}

// TestDeletedAtOnce has several processes delete from two months at once. Whoever looks never sees a UID come in below one that was there.
func TestDeletedAtOnce(t *testing.T) {
	m := newMemory()
	p := processes(t, m, 3)
	const each = 60
	months := []kv.Month{"2026-11", "2026-12"}
	for i := range each {
		for n, f := range p[:2] {
			f.clock.set(november.AddDate(0, n, 0))
			f.put(mario, letter(fmt.Sprint(n, " ", i)))
		}
	}
	var deleting sync.WaitGroup
	for n, f := range p[:2] {
		deleting.Go(func() {
			for uid := range uint32(each) {
				if _, err := f.Delete(f.ctx(), (Ref{mario, months[n], "INBOX", uid + 1}).Only(), "owner"); err != nil {
					t.Errorf("process %d: %v", n, err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { deleting.Wait(); close(done) }()
	highest := uint32(0)
	seen := make(map[uint32]bool)
	for over := false; !over; {
		select {
		case <-done:
			over = true
		default:
		}
		places, err := p[2].DeletedPlaces(p[2].ctx(), mario, AllUIDs())
		if err != nil {
			t.Fatal(err)
		}
		before := highest
		for _, place := range places {
			if !seen[place.DeletedUID] && place.DeletedUID <= before {
				t.Errorf("UID %d came when %d was there", place.DeletedUID, before)
			}
			seen[place.DeletedUID], highest = true, max(highest, place.DeletedUID)
		}
	}
	if len(seen) != 2*each {
		t.Errorf("%d deleted, want %d", len(seen), 2*each)
	}
	p[2].verify()
}

func TestVerifyDeleted(t *testing.T) {
	for name, c := range map[string]struct {
		change func(f *fixture, r Ref)
		want   string
	}{
		"no key": {func(f *fixture, r Ref) { f.put1(deletedKey(mario, 1), nil) }, "its key among the deleted"},
		"key of another": {func(f *fixture, r Ref) {
			v := slices.Clone(f.value(deletedKey(mario, 1)))
			v[len(v)-1]++
			f.put1(deletedKey(mario, 1), v)
		}, "its key among the deleted tells of another one"},
		"key of nothing": {func(f *fixture, r Ref) { f.put1(deletedKey(anna, 1), f.value(deletedKey(mario, 1))) }, "a key among the deleted leads to"},
		"too high":       {func(f *fixture, r Ref) { f.put1(deletedKey(mario, 9), f.value(deletedKey(mario, 1))) }, "is not below the next one"},
		"malformed":      {func(f *fixture, r Ref) { f.put1(deletedKey(mario, 1), []byte{1}) }, "of what was deleted: malformed key"},
	} {
		t.Run(name, func(t *testing.T) {
			f := openFixture(t)
			r := f.put(mario, letter("1"))
			f.remove(r)
			f.verify()
			c.change(f, r)
			f.damaged()
			report, err := f.Verify(f.ctx(), EvidenceOptions{}, nil)
			if err != nil || report.Faults == 0 || !strings.Contains(strings.Join(report.Details, "\n"), c.want) {
				t.Errorf("%+v, %v, want a fault with %q", report, err, c.want)
			}
		})
	}
}

func TestHeld(t *testing.T) {
	f := openFixture(t)
	one, _, three := f.put(mario, letter("1")), f.put(mario, letter("2")), f.put(mario, letter("3"))
	f.hold(one, three)
	for text, want := range map[string]string{"1-3": "1,3", "2": "", "2-9": "3"} {
		uids, err := ParseUIDs(text)
		if err != nil {
			t.Fatal(err)
		}
		held, err := f.Held(f.ctx(), Selection{mario, "2026-11", "INBOX", uids})
		if err != nil || held.String() != want {
			t.Errorf("of %s held: %s, %v, want %s", text, held, err, want)
		}
	}
	if held, err := f.Held(f.ctx(), Selection{mario, "2020-01", "INBOX", AllUIDs()}); held != nil || err != nil {
		t.Errorf("of a month that is not there: %v, %v", held, err)
	}
}
