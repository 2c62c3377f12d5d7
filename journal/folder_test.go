package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"reflect"
	"strings"
	"testing"

	"copialettere/journal/kv"
	"copialettere/journal/part"
)

// TestFolder files, moves and deletes, and looks at the folder each time in all ways that readers do.
func TestFolder(t *testing.T) {
	f := openFixture(t)
	const mailbox, other = "anna@alpha.test", "anna@alpha.test2"
	month := kv.MonthOf(november)
	ref := func(folder string, uid uint32) Selection {
		return Selection{Mailbox: mailbox, Month: month, Folder: folder, UIDs: UIDs{{uid, uid}}}
	}
	var validity uint32
	check := func(doing string, next uint32, uids ...uint32) {
		t.Helper()
		now, err := f.Folder(f.ctx(), mailbox, month, "INBOX")
		if err != nil {
			t.Fatalf("%s: %v", doing, err)
		}
		if validity == 0 {
			validity = now.UIDValidity
		}
		if now.NextUID != next || int(now.Entries) != len(uids) || now.UIDValidity != validity {
			t.Errorf("%s: %+v", doing, now)
		}
		got, err := f.UIDs(f.ctx(), mailbox, month, "INBOX", 1)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(uids) {
			t.Errorf("%s: UIDs %d, %v, want %d", doing, got, err, uids)
		}
		if len(uids) > 1 {
			if got, err := f.UIDs(f.ctx(), mailbox, month, "INBOX", uids[1]); err != nil || fmt.Sprint(got) != fmt.Sprint(uids[1:]) {
				t.Errorf("%s: UIDs from %d on: %d, %v", doing, uids[1], got, err)
			}
		}
		got = nil
		for e, err := range f.Filed(f.ctx(), mailbox, month, "INBOX", 1, math.MaxUint32) {
			if err != nil || e.Size == 0 {
				t.Fatalf("%s: %+v, %v", doing, e, err)
			}
			got = append(got, e.UID)
		}
		if fmt.Sprint(got) != fmt.Sprint(uids) {
			t.Errorf("%s: filed %d, want %d", doing, got, uids)
		}
	}
	for i := range 3 {
		f.put(mailbox, fmt.Appendf(nil, "Subject: %d\r\n\r\nText\r\n", i))
	}
	f.put(other, []byte("Subject: x\r\n\r\nText\r\n"))
	check("filed", 4, 1, 2, 3)
	if _, err := f.Move(f.ctx(), ref("INBOX", 2), Trash, "test"); err != nil {
		t.Fatal(err)
	}
	check("moved", 4, 1, 3)
	if _, err := f.Move(f.ctx(), ref(Trash, 1), "INBOX", "test"); err != nil {
		t.Fatal(err)
	}
	check("moved back", 5, 1, 3, 4)
	if _, err := f.Delete(f.ctx(), ref("INBOX", 1), "test"); err != nil {
		t.Fatal(err)
	}
	check("deleted", 5, 3, 4)
	f.reopen()
	check("opened again", 5, 3, 4)
	var got []uint32
	for e, err := range f.Filed(f.ctx(), mailbox, month, "INBOX", 2, 3) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e.UID)
	}
	if fmt.Sprint(got) != "[3]" {
		t.Errorf("from 2 to 3: %d", got)
	}
	for _, c := range []struct {
		name, mailbox, folder string
		month                 kv.Month
		want                  error
	}{
		{"no such folder", mailbox, "Sent", month, ErrNotFound},
		{"no such month", mailbox, "INBOX", month.Previous(), ErrNotFound},
		{"no such mailbox", "bruno@alpha.test", "INBOX", month, ErrNotFound},
		{"a name with a zero byte", "anna@alpha.test\x00INBOX", "INBOX", month, ErrMailbox},
		{"a folder with a zero byte", mailbox, "IN\x00BOX", month, ErrFolder},
	} {
		if _, err := f.Folder(f.ctx(), c.mailbox, c.month, c.folder); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

// TestFiledPastDamage has an entry that cannot be read among others: it comes with its place and an error, and the others come.
func TestFiledPastDamage(t *testing.T) {
	f := openFixture(t)
	f.damaged()
	const mailbox = "anna@alpha.test"
	for i := range 3 {
		f.put(mailbox, fmt.Appendf(nil, "Subject: %d\r\n\r\nText\r\n", i))
	}
	month := kv.MonthOf(november)
	s, err := f.engine.Volume(f.ctx(), month, false)
	if err != nil {
		t.Fatal(err)
	}
	err = s.Update(f.ctx(), []string{mailbox}, func(tx kv.Tx) error {
		tx.Put(entryKey(Ref{Mailbox: mailbox, Month: month, Folder: "INBOX", UID: 2}), []byte{tagSize, 200})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var got string
	for e, err := range f.Filed(f.ctx(), mailbox, month, "INBOX", 1, 3) {
		got += fmt.Sprintf("%d %v, ", e.UID, errors.Is(err, ErrDamaged))
	}
	if got != "1 false, 2 true, 3 false, " {
		t.Error(got)
	}
}

// TestFiledHeads has heads lack what they lack, and nothing else.
func TestFiledHeads(t *testing.T) {
	f := openFixture(t)
	const mailbox = "anna@alpha.test"
	for i := range 3 {
		f.put(mailbox, fmt.Appendf(nil, "Subject: %d\r\nReply-To: a@ext.test\r\n\r\nText\r\n", i))
	}
	var whole []*Entry
	for e, err := range f.Filed(f.ctx(), mailbox, kv.MonthOf(november), "INBOX", 1, 3) {
		if err != nil {
			t.Fatal(err)
		}
		e.Parts, e.Chunks = part.Table{}, nil
		whole = append(whole, e)
	}
	var heads []*Entry
	for e, err := range f.FiledHeads(f.ctx(), mailbox, kv.MonthOf(november), "INBOX", 1, 3) {
		if err != nil {
			t.Fatal(err)
		}
		heads = append(heads, e)
	}
	if len(heads) != 3 || !reflect.DeepEqual(heads, whole) {
		t.Errorf("%+v, want %+v", heads, whole)
	}
}

// TestLostCounters loses the counters of a folder: the next message gets a UID behind all that are there, and overwrites none.
func TestLostCounters(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	f.damaged() // counters that were lost count too little
	f.put(mario, letter("one"))
	deleted := f.put(mario, letter("two"))
	if _, err := f.Delete(f.ctx(), deleted.Only(), "owner"); err != nil {
		t.Fatal(err)
	}
	f.put1(counterKey(mario, "INBOX"), nil)
	if r := f.put(mario, letter("three")); r.UID != 3 {
		t.Errorf("the next message has UID %d, want 3", r.UID)
	}
	f.bytes(Ref{mario, "2026-11", "INBOX", 1})
	f.put1(counterKey(mario, Trash), nil)
	done, err := f.Move(f.ctx(), Ref{mario, "2026-11", "INBOX", 1}.Only(), Trash, "owner")
	if err != nil || done.To.UID != 1 {
		t.Fatalf("moved to %+v, %v", done, err)
	}
	f.put1(counterKey(mario, Trash), nil)
	if done, err = f.Move(f.ctx(), Ref{mario, "2026-11", "INBOX", 3}.Only(), Trash, "owner"); err != nil || done.To.UID != 2 {
		t.Errorf("moved to %+v, %v, want UID 2", done, err)
	}
}

// TestFolderBegunMeanwhile begins a folder that another commit has begun in the meantime, as with two messages at once: no counters were lost.
func TestFolderBegunMeanwhile(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	f.damaged()
	f.put(mario, letter("one"))
	store, err := f.engine.Volume(f.ctx(), "2026-11", false)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	f.Journal.log = slog.New(slog.NewTextHandler(&log, nil))
	for _, test := range []struct {
		name string
		lost bool
	}{{"begun meanwhile", false}, {"lost", true}} {
		if test.lost {
			f.put1(counterKey(mario, "INBOX"), nil)
		}
		begin, err := f.newFolder(f.ctx(), store, mario, "INBOX")
		if err != nil || begin.first != 2 || begin.validity == 0 {
			t.Errorf("%s: begins with %+v, %v", test.name, begin, err)
		}
		if told := strings.Contains(log.String(), "counters of a folder were lost"); told != test.lost {
			t.Errorf("%s: logged %q", test.name, log.String())
		}
	}
}
