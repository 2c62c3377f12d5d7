package journal

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// importDate is the own date of imported messages.
var importDate = time.Date(2019, 5, 6, 7, 8, 9, 0, time.UTC)

func imported(mailbox, folder string) Intent {
	return Intent{Mailbox: mailbox, Direction: Received, Class: "ordinary", Import: &Import{Who: "owner", Date: importDate}, Folder: folder}
}

// bring imports a message.
func (f *fixture) bring(message []byte, in Intent) Ref {
	f.t.Helper()
	p, err := f.tryBring(message, in)
	if err != nil || p.UID == 0 || p.Found {
		f.t.Fatalf("import: %+v, %v", p, err)
	}
	return p.Ref
}

func (f *fixture) tryBring(message []byte, in Intent) (Placement, error) {
	transactions++
	p, err := f.try(message, fmt.Sprint("import ", transactions), in)
	if err != nil {
		return Placement{}, err
	}
	return p[0], nil
}

var transactions int

func TestImport(t *testing.T) {
	f := openFixture(t)
	message := enclosed(1, 50)
	old := f.bring(message, imported(mario, "INBOX"))
	hand := f.bring(message, imported(mario, Archived))
	f.want(mario, "Archived/2026-11 1 delivered", "INBOX/2026-11 1 delivered")
	e := f.entry(old)
	if e.Imported == nil || *e.Imported != (Import{Who: "owner", Date: importDate}) || !e.Dated().Equal(importDate) || e.Time.Year() != 2026 {
		t.Errorf("entry %+v, imported %+v", e, e.Imported)
	}
	f.wantBytes(old, message)
	f.wantUsage(mario, 2*uint64(len(message)))
	f.verify()

	// The same message by mail is no repetition of an import: it is journaled.
	if p := f.deliver(mario, message, "by mail"); p.Found || p.UID != 2 {
		t.Errorf("by mail at %+v", p)
	}
	// Who puts a message in twice has two, also after having deleted one.
	f.remove(hand)
	if again := f.bring(message, imported(mario, Archived)); again.UID != 2 {
		t.Errorf("once more at %v", again)
	}
	for r := range f.List(f.ctx(), mario) {
		if got := r.Imported != nil; got != (r.Folder == Archived || r.Ref == old) {
			t.Errorf("%s %d is imported: %v", r.FolderName(), r.UID, got)
		}
	}
	stats, err := f.Stats(f.ctx(), mario)
	if err != nil || len(stats) != 2 || stats[0].Folder != Archived || stats[0].Imported != 1 || stats[1].Imported != 1 || stats[1].Entries < 2 {
		t.Errorf("stats %+v, %v", stats, err)
	}
	moved := f.move(old, Trash)
	if back, err := f.undelete(hand); err != nil || f.entry(back).Imported == nil || f.entry(moved).Imported == nil {
		t.Errorf("back at %v, %v", back, err)
	}
	if report := f.verify(); report.Imported != 3 {
		t.Errorf("verified: %+v", report)
	}
	f.reopen()
	f.verify()
	if records := f.records(mario); len(records) > 0 {
		t.Errorf("records %+v", records)
	}
	if _, err := f.Erase(f.ctx(), mario, EraseOptions{}); err != nil {
		t.Fatal(err)
	}
	f.verify()
}

// TestImportFull has no room for an import: nothing makes any, and no gap is on record.
func TestImportFull(t *testing.T) {
	for _, when := range []WhenFull{SkipFull, DeferFull, MakeRoom} {
		f := openFixture(t)
		first := f.put(mario, letter("1"))
		in := imported(mario, "INBOX")
		in.Quota = Quota{Limit: uint64(len(letter("1"))) + 100, WhenFull: when}
		if p, err := f.tryBring(enclosed(1, 50), in); !errors.Is(err, ErrFull) {
			t.Errorf("when full %v: %+v, %v", when, p, err)
		}
		f.want(mario, "INBOX/2026-11 1 delivered")
		f.wantBytes(first, letter("1"))
		if records := f.records(mario); len(records) > 0 {
			t.Errorf("when full %v: records %+v", when, records)
		}
		f.verify()
	}
}

// TestImportClosed imports into a mailbox that was closed after it was asked whether it may take the message.
func TestImportClosed(t *testing.T) {
	f := openFixture(t)
	f.put(mario, letter("1"))
	if err := f.set(f.ctx(), "closed", mario); err != nil {
		t.Fatal(err)
	}
	if p, err := f.tryBring(letter("2"), imported(mario, "INBOX")); !errors.Is(err, errMailboxClosed) {
		t.Errorf("%+v, %v", p, err)
	}
	f.want(mario, "INBOX/2026-11 1 delivered")
	f.verify()
}

// TestImportRetention has the retention run over an import whose own date is years ago: it counts from the import.
func TestImportRetention(t *testing.T) {
	f := openFixture(t)
	f.bring(letter("old"), imported(mario, Archived))
	for months, want := range map[int]uint64{5: 0, 7: 1} {
		now := november.AddDate(0, months, 0)
		if report := f.expire(ExpireOptions{Mailboxes: halfYear, Now: now, DryRun: true}); report.Removed.Entries != want {
			t.Errorf("after %d months %+v goes, want %d", months, report.Removed, want)
		}
	}
}

// TestImportKilled kills imports at one write after the other: each is there whole, or not at all.
func TestImportKilled(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	f.put(mario, letter("1"))
	f.killAtEach("import", 1, func() {
		for _, e := range f.list(mario) {
			if e.Imported != nil && e.Size != int64(len(killedImport())) {
				t.Errorf("an import of %d bytes", e.Size)
			}
		}
	})
	if n := len(f.list(mario)); n < 2 {
		t.Errorf("%d entries in the end", n)
	}
}

// killedImport is a message of several chunks.
func killedImport() []byte { return randomBytes(7, 3<<20) }
