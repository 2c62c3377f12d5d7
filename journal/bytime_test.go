package journal

import (
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/journal/kv"
)

func (f *fixture) byTime(mailbox string) (list []string) {
	f.t.Helper()
	for e, err := range f.ListByTime(f.ctx(), mailbox) {
		if err != nil {
			f.t.Fatal(err)
		}
		list = append(list, fmt.Sprintf("%s %d %s", e.FolderName(), e.UID, e.Subject))
	}
	return list
}

// TestListByTime has entries that were moved, sent ones between received ones, and one that was long on its way.
func TestListByTime(t *testing.T) {
	f := openFixture(t)
	first := f.put(mario, letter("first"))
	slow := f.NewDraft(f.ctx())
	defer slow.Discard()
	slow.Write(letter("slow"))
	f.pass(time.Minute)
	f.file(letter("sent"), Intent{Mailbox: mario, Direction: Sent, Recipients: []string{giove}, Class: "ordinary"})
	f.pass(time.Minute)
	last := f.put(mario, letter("last"))
	slow.Finish()
	if _, err := slow.Commit(f.ctx(), Envelope{Transaction: "slow"}, []Intent{received(mario)}, nil); err != nil {
		t.Fatal(err)
	}
	f.move(last, Trash)
	f.move(f.move(first, Trash), "INBOX")
	f.clock.set(november.AddDate(0, 1, 0))
	f.put(mario, letter("december"))
	want := []string{"INBOX/2026-11 4 first", "INBOX/2026-11 3 slow", "Sent/2026-11 1 sent", "Trash/2026-11 1 last", "INBOX/2026-12 1 december"}
	if got := f.byTime(mario); !slices.Equal(got, want) {
		t.Errorf("in the order of time:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestListByTimeReturned has a superseded entry come back, each way, behind entries of hours later.
func TestListByTimeReturned(t *testing.T) {
	m0 := queued(letter("old"))
	for name, back := range map[string]func(f *fixture, older, newer Placement){
		"it comes again":             func(f *fixture, _, _ Placement) { f.queue(m0, "t2", nil) },
		"it was delivered after all": func(f *fixture, older, _ Placement) { f.Delivered(older.Ref, "t0"); f.FlushOutcomes(f.ctx()) },
		"the newer one is refused": func(f *fixture, _, newer Placement) {
			if withdrawn, err := f.Withdraw(f.ctx(), newer.Ref, "t1", refusal("t1")); !withdrawn || err != nil {
				f.t.Errorf("withdrawn %v, %v", withdrawn, err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := openFixture(t)
			older := f.queue(m0, "t0", nil)
			f.pass(2 * maxDraftAge)
			newer := f.queue(requeued(m0, "D94"), "t1", nil)
			f.pass(2 * maxDraftAge)
			f.put(mario, letter("later"))
			back(f, older, newer)
			got := f.byTime(mario)
			if len(got) < 2 || !strings.HasPrefix(got[0], "INBOX/2026-11 4 ") || !strings.HasSuffix(got[len(got)-1], " later") {
				t.Errorf("in the order of time: %q", got)
			}
			var acts []string
			for a, err := range f.Acts(f.ctx(), mario) {
				if err != nil {
					t.Fatal(err)
				}
				acts = append(acts, fmt.Sprintf("%s %d %d %q", a.Kind, a.From.UID, a.To.UID, a.Who))
			}
			if want := []string{`return 1 4 ""`}; !slices.Equal(acts, want) {
				t.Errorf("acts are %q, want %q", acts, want)
			}
			f.verify()
		})
	}
}

// TestManyOutcomes has more entries of unknown delivery than outcomes are read at a time, and delivered ones between them.
func TestManyOutcomes(t *testing.T) {
	f := openFixture(t)
	const entries = 2*outcomePage + 10
	s := f.store()
	r := f.put(mario, letter("one"))
	e, err := f.Entry(f.ctx(), r)
	if err != nil {
		t.Fatal(err)
	}
	parts, err := e.Parts.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	unknown := func(uid uint32) bool { return uid%7 != 0 && uid != 1 }
	if err := s.Update(f.ctx(), nil, func(tx kv.Tx) error {
		for uid := uint32(1); uid <= entries; uid++ {
			other := *e
			other.UID = uid
			tx.Put(entryKey(other.Ref), other.encode(parts))
			tx.Delete(outcomeKey(other.Ref))
			if unknown(uid) {
				tx.Put(outcomeKey(other.Ref), outcome{state: Unknown, transaction: "T"}.encode())
			}
		}
		tx.Put(counterKey(mario, "INBOX"), folderCounters{nextUID: entries, uidValidity: 1}.encode()) // the last one is not told of yet
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	f.damaged()
	for name, list := range map[string]iter.Seq2[*Entry, error]{"List": f.List(f.ctx(), mario), "ListByTime": f.ListByTime(f.ctx(), mario)} {
		count := uint32(0)
		for e, err := range list {
			if err != nil {
				t.Fatal(err)
			}
			if count++; e.UID != count || (e.State == Unknown) != unknown(e.UID) {
				t.Fatalf("%s: entry %d is %d, %v", name, count, e.UID, e.State)
			}
		}
		if count != entries-1 {
			t.Errorf("%s: %d entries, want %d", name, count, entries-1)
		}
	}
}

// TestRecordsInOrder has records whose order is not that of their keys: a span of what was removed, one in the month before its time, and some
// in the spool, of which one is in the journal as well.
func TestRecordsInOrder(t *testing.T) {
	f := openFixture(t)
	december := time.Date(2026, 12, 1, 0, 0, 5, 0, time.UTC)
	s := f.store()
	span := Record{Kind: Gap, Mailbox: mario, Time: november, Until: november.Add(time.Hour), Reason: ReasonRoom, Detail: "3 span", Entries: 2}
	late := gap("6 late", december)
	if err := s.Update(f.ctx(), nil, func(tx kv.Tx) error {
		tx.Put(recordKey(mario, kv.MonthOf(november).Start(), spanSlots[ReasonRoom]), span.encode())
		tx.Put(recordKey(mario, december, 0), late.encode())
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	both := gap("5 both", november.Add(2*time.Minute))
	for _, r := range []Record{gap("1 first", november.Add(-time.Hour)), gap("2 second", november.Add(-time.Minute)), both,
		gap("5.5 december", december.Add(-time.Second)), gap("7 last", december.Add(time.Second))} {
		if err := f.Record(f.ctx(), r); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Journal.spool(f.ctx(), []Record{gap("4 in the spool", november.Add(time.Minute)), both}); err != nil {
		t.Fatal(err)
	}
	want := []string{"1 first", "2 second", "3 span", "4 in the spool spooled", "5 both", "5.5 december", "6 late", "7 last"}
	if got := f.details(); !slices.Equal(got, want) {
		t.Errorf("records %q, want %q", got, want)
	}
	f.damaged()
}

// TestMergeByTime merges random sources with errors in them.
func TestMergeByTime(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	fault, harm := errors.New("fault"), damage("harm")
	for range 200 {
		var sources []iter.Seq2[int, error]
		total, damaged, ends := 0, 0, r.IntN(4) == 0
		for range 1 + r.IntN(4) {
			var list []int
			for range r.IntN(20) {
				list = append(list, r.IntN(50))
			}
			slices.Sort(list)
			total += len(list)
			broken := r.IntN(3) == 0
			if broken {
				damaged++
			}
			sources = append(sources, func(yield func(int, error) bool) {
				for i, v := range list {
					if i == len(list)/2 && broken && !yield(0, harm) {
						return
					}
					if !yield(v, nil) {
						return
					}
				}
				if broken && len(list) == 0 {
					yield(0, harm)
				}
			})
		}
		if ends {
			sources = append(sources, func(yield func(int, error) bool) { yield(0, fault) })
		}
		got, harms, last, failed := 0, 0, 0, false
		for v, err := range MergeByTime(func(n int) time.Time { return time.Unix(int64(n), 0) }, sources...) {
			switch {
			case failed:
				t.Fatal("it went on behind a fault")
			case errors.Is(err, ErrDamaged):
				harms++
			case err != nil:
				failed = true
			case v < last:
				t.Fatalf("%d behind %d", v, last)
			default:
				got, last = got+1, v
			}
		}
		if failed != ends || !ends && (got != total || harms != damaged) {
			t.Fatalf("%d of %d elements, %d of %d damaged, failed %v, want %v", got, total, harms, damaged, failed, ends)
		}
	}
}
