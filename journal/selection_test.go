package journal

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"copialettere/journal/kv"
)

// inbox is mario's INBOX of November.
var inbox = Ref{Mailbox: mario, Month: "2026-11", Folder: "INBOX"}

// selected is a selection in inbox.
func selected(t testing.TB, uids string) Selection {
	t.Helper()
	set, err := ParseUIDs(uids)
	if err != nil {
		t.Fatal(err)
	}
	s := inbox.Only()
	s.UIDs = set
	return s
}

// fill puts so many messages of 200 bytes into inbox, which are delivered.
func (f *fixture) fill(n int) {
	f.t.Helper()
	for i := range n {
		f.put(mario, sized(fmt.Sprint("filled ", i), 200))
	}
	f.FlushOutcomes(f.ctx())
}

// actTexts lists the acts of mario with all their UIDs.
func (f *fixture) actTexts() []string {
	f.t.Helper()
	var list []string
	for a, err := range f.Acts(f.ctx(), mario) {
		if err != nil {
			f.t.Fatal(err)
		}
		text := fmt.Sprintf("%s %s %s", a.Kind, a.From.FolderName(), a.UIDs)
		if a.ToUIDs != nil {
			text += fmt.Sprintf(" to %s %s", a.To.FolderName(), a.ToUIDs)
		}
		list = append(list, text)
	}
	return list
}

func TestSelection(t *testing.T) {
	f := openFixture(t)
	f.fill(12)
	hold := func(uid uint32) {
		if err := f.Hold(f.ctx(), Ref{mario, "2026-11", "INBOX", uid}, "operator", "case"); err != nil {
			t.Fatal(err)
		}
	}
	hold(3)
	hold(12)
	del := func(uids string) func() (*Done, error) {
		return func() (*Done, error) { return f.Delete(f.ctx(), selected(t, uids), "owner") }
	}
	undelete := func(uids string) func() (*Done, error) {
		return func() (*Done, error) { return f.Undelete(f.ctx(), selected(t, uids), "owner") }
	}
	move := func(uids, folder string) func() (*Done, error) {
		return func() (*Done, error) { return f.Move(f.ctx(), selected(t, uids), folder, "owner") }
	}
	empty := func(folder string) func() (*Done, error) {
		return func() (*Done, error) { return f.Empty(f.ctx(), Ref{mario, "2026-11", folder, 0}, "owner") }
	}
	for _, c := range []struct {
		name     string
		do       func() (*Done, error)
		err      error
		did, to  string // UIDs
		held     string
		listed   int // entries of the mailbox afterwards
		recorded string
	}{
		{"some, of which one is held and one is not there", del("2-4,7,99"), nil, "2,4,7", "", "3", 9, "delete INBOX/2026-11 2,4,7"},
		{"the same again", del("2-4,7"), ErrHeld, "", "", "3", 9, ""},
		{"what was never there", del("50-4294967295"), ErrNotFound, "", "", "", 9, ""},
		{"back, with what was not deleted", undelete("1-5"), nil, "2,4", "13-14", "", 11, "undelete INBOX/2026-11 2,4 to INBOX/2026-11 13-14"},
		{"back once more", undelete("1-5"), ErrNotFound, "", "", "", 11, ""},
		{"move several, the held one too", move("1-5", Trash), nil, "1,3,5", "1-3", "", 11, "move INBOX/2026-11 1,3,5 to Trash/2026-11 1-3"},
		{"move into the folder itself", move("1-4294967295", "INBOX"), nil, "6,8-14", "15-22", "", 11, "move INBOX/2026-11 6,8-14 to INBOX/2026-11 15-22"},
		{"move into a folder that is none", move("15", "Letters"), ErrFolder, "", "", "", 11, ""},
		{"empty the folder", empty("INBOX"), nil, "15-19,21-22", "", "20", 4, "empty INBOX/2026-11 15-19,21-22"},
		{"empty it again", empty("INBOX"), ErrHeld, "", "", "20", 4, ""},
		{"empty Trash", empty(Trash), nil, "1,3", "", "2", 2, "empty Trash/2026-11 1,3"},
		{"empty what is not there", empty("Letters"), ErrFolder, "", "", "", 2, ""},
	} {
		before := f.actTexts()
		d, err := c.do()
		wantErr(t, c.name, err, c.err)
		if d.UIDs.String() != c.did || d.ToUIDs.String() != c.to || d.Held.String() != c.held || d.Gone != nil || d.Damaged != nil {
			t.Errorf("%s: done %q to %q, held %q, gone %q; want %q to %q, held %q", c.name, d.UIDs, d.ToUIDs, d.Held, d.Gone, c.did, c.to, c.held)
		}
		if got := len(f.list(mario)); got != c.listed {
			t.Errorf("%s: %d entries are listed, want %d", c.name, got, c.listed)
		}
		if got := f.actTexts()[len(before):]; (c.recorded == "") != (len(got) == 0) || len(got) > 1 || len(got) == 1 && got[0] != c.recorded {
			t.Errorf("%s: on record is %q, want %q", c.name, got, c.recorded)
		}
		f.verify()
	}
	f.wantUsage(mario, 400) // what is deleted does not count
	// An empty folder stays, and emptying it does nothing.
	for _, uid := range []uint32{20} {
		if err := f.Release(f.ctx(), Ref{mario, "2026-11", "INBOX", uid}, "operator", "closed"); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"20", ""} {
		before := len(f.acts(mario))
		if d, err := empty("INBOX")(); err != nil || d.UIDs.String() != want || (len(f.acts(mario)) == before) != (want == "") {
			t.Errorf("emptied of %q, %v; want %q; acts %q", d.UIDs, err, want, f.acts(mario))
		}
	}
	stats, err := f.Stats(f.ctx(), mario)
	if err != nil || len(stats) != 2 || stats[0].Folder != "INBOX" || stats[0].Entries != 0 || stats[0].NextUID != 23 {
		t.Errorf("folders %+v, %v", stats, err)
	}
	// In the order of time, what has another UID stands where it arrived.
	if back, err := undelete("15-22")(); err != nil || back.UIDs.Count() != 8 {
		t.Fatal(back, err)
	}
	var times []time.Time
	for e, err := range f.ListByTime(f.ctx(), mario) {
		if err != nil {
			t.Fatal(err)
		}
		times = append(times, e.Time)
	}
	if len(times) != 9 || !slices.IsSortedFunc(times, time.Time.Compare) {
		t.Errorf("by time: %v", times)
	}
}

// TestSelectionLeavesNewcomers deletes what was there when the act began. A message that comes while a folder is emptied stays.
func TestSelectionLeavesNewcomers(t *testing.T) {
	f, h := hookedFixture(t)
	f.fill(2*entryGroup + 1)
	h.set(func(ctx context.Context, next func(context.Context) error) error {
		h.set(nil)
		f.put(mario, letter("new"))
		return next(ctx)
	})
	d, err := f.Empty(f.ctx(), inbox, "owner")
	if err != nil || d.UIDs.String() != fmt.Sprint("1-", 2*entryGroup+1) {
		t.Errorf("emptied of %s, %v", d.UIDs, err)
	}
	f.want(mario, fmt.Sprintf("INBOX/2026-11 %d delivered", 2*entryGroup+2))
	f.verify()
}

// TestSelectionFails has the store fail at each write of a long act. What was done until then is on record, in one act; the next act does the
// rest.
func TestSelectionFails(t *testing.T) {
	const all = 2*entryGroup + 50
	for _, unknown := range []bool{false, true} {
		for at := range 3 {
			t.Run(fmt.Sprint(at, unknown), func(t *testing.T) {
				f, h := hookedFixture(t)
				f.fill(all)
				writes := 0
				h.set(func(ctx context.Context, next func(context.Context) error) error {
					if writes++; writes <= at {
						return next(ctx)
					}
					if unknown { // it takes effect, and nobody learns of it
						return errors.Join(next(ctx), kv.ErrUnavailable, kv.ErrUnknown)
					}
					return unavailable(ctx, next)
				})
				d, err := f.Empty(f.ctx(), inbox, "owner")
				h.set(nil)
				wantErr(t, "empty", err, kv.ErrUnavailable)
				if got, want := d.UIDs.Count(), uint64(at*entryGroup); got != want {
					t.Errorf("done %d, want %d", got, want)
				}
				f.wantDeletions(all)
				if _, err := f.Empty(f.ctx(), inbox, "owner"); err != nil {
					t.Fatal(err)
				}
				f.want(mario)
				f.wantDeletions(all)
			})
		}
	}
}

// wantDeletions compares what of the messages 1 to all in inbox was deleted with the acts: each deletion is in one act, and the reverse.
func (f *fixture) wantDeletions(all uint32) {
	f.t.Helper()
	var aside, acts UIDs
	for _, d := range f.aside(mario) {
		aside.add(d.UID)
	}
	var sum uint64
	for a, err := range f.Acts(f.ctx(), mario) {
		if err != nil {
			f.t.Fatal(err)
		}
		acts, sum = acts.or(a.UIDs), sum+a.UIDs.Count()
	}
	if !slices.Equal(aside, acts) || sum != aside.Count() || int(all) != len(f.list(mario))+int(sum) {
		f.t.Errorf("deleted %s, on record %s, %d in all; %d are left of %d", aside, acts, sum, len(f.list(mario)), all)
	}
	if shown := f.deleted(mario); uint64(len(shown)) != sum {
		f.t.Errorf("%d deleted messages show, want %d", len(shown), sum)
	}
	f.verify()
}

// TestEmptyKilled kills an emptying at one write after the other. Each act tells exactly what it deleted.
func TestEmptyKilled(t *testing.T) {
	t.Parallel()
	const all = 3*entryGroup + 7
	f := openFixture(t)
	f.fill(all)
	f.clock.set(november.Add(time.Hour).Truncate(time.Second))
	f.killAtEach("empty", 1, func() {
		f.clock.set(f.clock.now().Add(time.Second).Truncate(time.Second))
		f.wantDeletions(all)
	})
	f.wantDeletions(all)
	f.want(mario)
	if acts := f.actTexts(); len(acts) < 2 {
		t.Errorf("the kills left the acts %q", acts)
	}
	// The same for the way back, and for the removal after the grace.
	f.killAtEach("undelete", 1, func() {
		f.clock.set(f.clock.now().Add(time.Second).Truncate(time.Second))
		if shown, aside := f.deleted(mario), f.aside(mario); len(shown) != len(aside) {
			t.Errorf("%d of %d deleted messages show", len(shown), len(aside))
		}
	})
	var back uint64
	for a, err := range f.Acts(f.ctx(), mario) {
		if err != nil {
			t.Fatal(err)
		}
		if a.Kind == ActUndelete {
			back += a.UIDs.Count()
		}
	}
	if got := len(f.list(mario)); got != all || back != all {
		t.Errorf("%d entries are back, %d on record, want %d", got, back, all)
	}
	if _, err := f.Empty(f.ctx(), inbox, "owner"); err != nil {
		t.Fatal(err)
	}
	f.clock.set(f.clock.now().Add(2 * DeletedGrace).Truncate(time.Second))
	left := all
	f.killAtEach("purge", 1, func() {
		if now := len(f.aside(mario)); now > left {
			t.Errorf("%d deleted entries after %d", now, left)
		} else {
			left = now
		}
	})
	if got := f.aside(mario); len(got) != 0 {
		t.Errorf("%d deleted entries are left", len(got))
	}
}

// TestSelectionsAtOnce has several empty and fill again the same folder while mail comes: each deletion is on record once.
func TestSelectionsAtOnce(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	f.fill(150)
	var acting sync.WaitGroup
	var mu sync.Mutex
	deleted, back := uint64(0), uint64(0)
	for w := range 3 {
		acting.Go(func() {
			for range 4 {
				d, err := f.Empty(f.ctx(), inbox, fmt.Sprint("owner ", w))
				if err != nil {
					t.Error(err)
					return
				}
				u, err := f.Undelete(f.ctx(), selected(t, "1-4294967295"), fmt.Sprint("owner ", w))
				if err != nil && !errors.Is(err, ErrNotFound) {
					t.Error(err)
					return
				}
				mu.Lock()
				deleted, back = deleted+d.UIDs.Count(), back+u.UIDs.Count()
				mu.Unlock()
			}
		})
	}
	acting.Go(func() {
		for i := range 30 {
			f.put(mario, sized(fmt.Sprint("more ", i), 200))
		}
	})
	acting.Wait()
	var onRecord [2]uint64
	for a, err := range f.Acts(f.ctx(), mario) {
		if err != nil {
			t.Fatal(err)
		}
		if a.Kind == ActEmpty {
			onRecord[0] += a.UIDs.Count()
		} else {
			onRecord[1] += a.UIDs.Count()
		}
	}
	if onRecord != [2]uint64{deleted, back} {
		t.Errorf("%d on record, done %d and %d", onRecord, deleted, back)
	}
	if listed, aside := len(f.list(mario)), len(f.aside(mario)); listed+aside != 180 || uint64(aside) != deleted-back {
		t.Errorf("%d listed and %d deleted of 180; %d were deleted and %d came back", listed, aside, deleted, back)
	}
	f.wantUsage(mario, uint64(200*len(f.list(mario))))
	f.verify()
}

// TestSelectionWithDamage leaves what cannot be read, says so, and does the rest.
func TestSelectionWithDamage(t *testing.T) {
	f := openFixture(t)
	f.fill(5)
	f.damaged()
	f.put1(entryKey(Ref{mario, "2026-11", "INBOX", 2}), []byte{tagTime, 9})
	d, err := f.Delete(f.ctx(), selected(t, "1-3"), "owner")
	if err != nil || d.UIDs.String() != "1,3" || d.Damaged.String() != "2" {
		t.Errorf("done %s, damaged %s, %v", d.UIDs, d.Damaged, err)
	}
	_, err = f.Delete(f.ctx(), selected(t, "2"), "owner")
	wantErr(t, "delete what cannot be read", err, ErrDamaged)
	// Counters that cannot be read end the act: nobody could count.
	f.put1(counterKey(mario, "INBOX"), []byte("short"))
	_, err = f.Delete(f.ctx(), selected(t, "4"), "owner")
	wantErr(t, "delete without counters", err, ErrDamaged)
	if got := f.actTexts(); len(got) != 1 {
		t.Errorf("acts %q", got)
	}
}

// TestDeletedMakesRoom has a full mailbox take mail again as soon as its owner has deleted some, and take back what was deleted although it
// is full again.
func TestDeletedMakesRoom(t *testing.T) {
	f := openFixture(t)
	f.fill(5)
	if p := f.file(sized("too many", 200), limited(mario, 1000, SkipFull))[0]; p.Skipped != ReasonFull {
		t.Errorf("in a full mailbox: %+v", p)
	}
	if _, err := f.Delete(f.ctx(), selected(t, "1-2"), "owner"); err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{"fits", "fits too"} {
		if p := f.file(sized(subject, 200), limited(mario, 1000, SkipFull))[0]; p.UID == 0 {
			t.Errorf("after the deletion: %+v", p)
		}
	}
	if d, err := f.Undelete(f.ctx(), selected(t, "1-2"), "owner"); err != nil || d.UIDs.Count() != 2 {
		t.Fatal(d, err)
	}
	f.wantUsage(mario, 1400)
	if p := f.file(sized("too many", 200), limited(mario, 1000, SkipFull))[0]; p.Skipped != ReasonFull {
		t.Errorf("full again: %+v", p)
	}
	f.verify()
}

// TestVerifyFindsDamageOfSelections finds acts whose UIDs contradict each other.
func TestVerifyFindsDamageOfSelections(t *testing.T) {
	one, two := inbox.Only().UIDs, UIDs{{1, 2}}
	act := Act{Mailbox: mario, Time: november, Kind: ActMove, From: Ref{mario, "2026-11", "INBOX", 1}, To: Ref{mario, "2026-11", Trash, 1}}
	for name, damage := range map[string]func(a *Act){
		"other places":   func(a *Act) { a.UIDs, a.ToUIDs = two, one },
		"first of them":  func(a *Act) { a.UIDs, a.ToUIDs = UIDs{{2, 3}}, two },
		"first new one":  func(a *Act) { a.UIDs, a.ToUIDs = two, UIDs{{5, 6}} },
		"no new places":  func(a *Act) { a.UIDs, a.ToUIDs = two, nil },
		"touching":       func(a *Act) { a.UIDs, a.ToUIDs = UIDs{{1, 1}, {2, 2}}, two },
		"in wrong order": func(a *Act) { a.UIDs, a.ToUIDs = UIDs{{1, 4}, {2, 9}}, two },
	} {
		t.Run(name, func(t *testing.T) {
			f := openFixture(t)
			f.fill(1)
			f.verify()
			f.damaged()
			a := act
			damage(&a)
			f.put1(actKey(mario, november, 0), a.encode())
			f.wantFault("act on mario")
		})
	}
}

// BenchmarkEmpty empties a folder of 10,000 messages.
func BenchmarkEmpty(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		f := openFixture(b)
		for i := range 10_000 {
			f.deliver(mario, sized(fmt.Sprint(i), 200), fmt.Sprint(i))
		}
		b.StartTimer()
		if d, err := f.Empty(f.ctx(), inbox, "owner"); err != nil || d.UIDs.Count() != 10_000 {
			b.Fatal(d, err)
		}
	}
}
