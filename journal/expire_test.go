package journal

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"copialettere/journal/kv"
)

// halfYear keeps all of mario's for 6 months and all of anna's for ever.
func halfYear(mailbox string) (months int, hold bool) {
	if mailbox == mario {
		return 6, false
	}
	return 0, false
}

// keep returns a retention of the same months for all mailboxes.
func keepFor(months int) func(string) (int, bool) {
	return func(string) (int, bool) { return months, false }
}

func (f *fixture) expire(o ExpireOptions) *ExpireReport {
	f.t.Helper()
	r, err := f.Expire(f.ctx(), o)
	if err != nil {
		f.t.Fatalf("expire: %v %+v", err, r)
	}
	return r
}

func TestAddMonths(t *testing.T) {
	for _, c := range []struct {
		from   string
		months int
		want   string
	}{
		{"2026-01-31T10:00:00Z", 1, "2026-02-28T10:00:00Z"},
		{"2023-08-31T10:00:00Z", 6, "2024-02-29T10:00:00Z"},
		{"2024-02-29T23:59:59Z", 12, "2025-02-28T23:59:59Z"},
		{"2026-08-30T00:00:00Z", 6, "2027-02-28T00:00:00Z"},
		{"2026-12-31T00:00:00Z", 48, "2030-12-31T00:00:00Z"},
		{"2026-03-31T00:00:00Z", 6, "2026-09-30T00:00:00Z"},
		{"2026-11-01T00:30:00+01:00", 6, "2027-04-30T23:30:00Z"},
	} {
		from, err := time.Parse(time.RFC3339, c.from)
		if err != nil {
			t.Fatal(err)
		}
		if got := AddMonths(from, c.months).Format(time.RFC3339); got != c.want {
			t.Errorf("%s and %d months: %s, want %s", c.from, c.months, got, c.want)
		}
	}
}

// TestSixtyMonths goes through five years with a run every week or so, and compares what is there with what should be.
func TestSixtyMonths(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	retention := map[string]int{"never": 0, "half": 6, "year": 12, "two": 24, "four": 48}
	type kept struct {
		ref     Ref
		arrival time.Time
		message []byte
	}
	var all []kept
	rule := func(mailbox string) (int, bool) { return retention[mailbox], false }
	last := november.AddDate(0, 60, 0)
	runs, dropped := 0, 0
	for at, i := november, 0; at.Before(last); at, i = at.AddDate(0, 0, 11), i+1 {
		f.clock.set(at)
		for mailbox := range retention {
			// Part of each message is shared with that of the other mailboxes.
			message := append(sized(fmt.Sprint(mailbox, i), 200), words(uint64(i), 5000)...)
			f.put(mailbox, message)
			e := f.list(mailbox)
			all = append(all, kept{e[len(e)-1].Ref, e[len(e)-1].Time, message})
		}
		r := f.expire(ExpireOptions{Mailboxes: rule})
		runs++
		dropped += len(r.Dropped)
		now := r.Time
		var gone Removed
		all = slices.DeleteFunc(all, func(k kept) bool {
			months := retention[k.ref.Mailbox]
			expired := months > 0 && !AddMonths(k.arrival, months).After(now)
			if expired {
				gone.Entries++
				gone.Bytes += uint64(len(k.message))
			}
			return expired
		})
		if r.Removed != gone {
			t.Fatalf("run at %s removed %+v, want %+v", now, r.Removed, gone)
		}
		if i%20 == 0 {
			f.verify()
		}
	}
	for mailbox := range retention {
		var want, got []Ref
		for _, k := range all {
			if k.ref.Mailbox == mailbox {
				want = append(want, k.ref)
			}
		}
		for _, e := range f.list(mailbox) {
			got = append(got, e.Ref)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s has %v, want %v", mailbox, got, want)
		}
	}
	for _, k := range all {
		f.wantBytes(k.ref, k.message)
	}
	if dropped != 0 {
		t.Errorf("%d months were dropped, of which a mailbox keeps all", dropped)
	}
	// Then that mailbox gets a retention too, which is abnormal, and whole months go.
	retention["never"] = 48
	r, err := f.Expire(f.ctx(), ExpireOptions{Mailboxes: rule, MaxShare: 0.01})
	if err != nil {
		t.Fatal(err) // less than the floor
	}
	if len(r.Dropped) < 10 || r.Dropped[0] != "2026-11" {
		t.Errorf("dropped %v", r.Dropped)
	}
	count := 0
	for _, err := range f.Runs(f.ctx()) {
		if err != nil {
			t.Fatal(err)
		}
		count++
	}
	if count != runs+1 {
		t.Errorf("%d runs are on record, of %d", count, runs+1)
	}
	f.verify()
}

func TestExpireDropsMonths(t *testing.T) {
	f := openFixture(t)
	f.office(12)
	f.clock.set(november.AddDate(0, 4, 0))
	held := f.list(anna)[15].Ref // of December
	for _, r := range []Ref{held, f.list(anna)[0].Ref} {
		if err := f.Hold(f.ctx(), r, "operator", "case 1"); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Release(f.ctx(), f.list(anna)[0].Ref, "operator", "closed"); err != nil {
		t.Fatal(err)
	}
	acts := f.acts(anna)
	gaps := len(f.records("")) // one a month
	f.clock.set(november.AddDate(0, 20, 0))
	preview := f.expire(ExpireOptions{Mailboxes: keepFor(12), DryRun: true, Now: november.AddDate(0, 20, 0)})
	if len(preview.Expired) != 6 || preview.Removed.Entries == 0 || preview.All != preview.Removed.Entries+1 || len(preview.Dropped) != 0 {
		t.Errorf("preview %+v", preview)
	}
	before := len(f.list(mario)) + len(f.list(anna))
	r := f.expire(ExpireOptions{Mailboxes: keepFor(12)})
	if r.Removed != preview.Removed || int(r.Removed.Entries) != before-1 {
		t.Errorf("removed %+v, preview %+v", r.Removed, preview.Removed)
	}
	if !slices.Equal(r.Dropped, []kv.Month{"2026-11", "2027-01"}) {
		t.Errorf("dropped %v", r.Dropped)
	}
	f.want(mario)
	f.want(anna, fmt.Sprintf("INBOX/2026-12 %d unknown", held.UID))
	f.bytes(held)
	f.wantUsage(mario, 0)
	if got := f.acts(anna); !slices.Equal(got, acts) {
		t.Errorf("acts %q, want %q", got, acts)
	}
	if got := len(f.records("")); got != gaps {
		t.Errorf("%d gaps are left of %d", got, gaps)
	}
	want := []string{"journal-fault", "journal-fault", "disabled", "disabled", "journal-fault", "disabled", "alias"} // the skips of dropped months are gone
	if got := f.reasons(mario); !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) {
		t.Errorf("records of mario %q, want %q", got, want)
	}
	months, err := f.Months(f.ctx())
	if err != nil || !slices.Equal(months, []kv.Month{"2026-12"}) {
		t.Errorf("months %v %v", months, err)
	}
	// The release lets the last one go, with its month.
	if err := f.Release(f.ctx(), held, "operator", "closed"); err != nil {
		t.Fatal(err)
	}
	if r := f.expire(ExpireOptions{Mailboxes: keepFor(12)}); !slices.Equal(r.Dropped, []kv.Month{"2026-12"}) {
		t.Errorf("dropped %v", r.Dropped)
	}
	if got := f.acts(anna); len(got) != len(acts)+1 {
		t.Errorf("acts %q", got)
	}
}

// acts lists what was done with entries of a mailbox.
func (f *fixture) acts(mailbox string) []string {
	f.t.Helper()
	var list []string
	for a, err := range f.Acts(f.ctx(), mailbox) {
		if err != nil {
			f.t.Fatal(err)
		}
		text := fmt.Sprintf("%s by %s: %s %d", a.Kind, a.Who, a.From.FolderName(), a.From.UID)
		if a.To.UID > 0 {
			text += fmt.Sprintf(" to %s %d", a.To.FolderName(), a.To.UID)
		}
		list = append(list, text)
	}
	return list
}

func TestExpireHolds(t *testing.T) {
	f := openFixture(t)
	f.office(3)
	f.clock.set(november.AddDate(0, 20, 0))
	before := len(f.list(mario))
	r := f.expire(ExpireOptions{Mailboxes: func(mailbox string) (int, bool) { return 6, mailbox == mario }})
	if len(f.list(mario)) != before || len(f.list(anna)) != 0 || len(r.Dropped) != 0 {
		t.Errorf("mario has %d entries of %d, anna %d; dropped %v", len(f.list(mario)), before, len(f.list(anna)), r.Dropped)
	}
}

func TestExpireRefuses(t *testing.T) {
	f := openFixture(t)
	message := letter("x")
	for i := range 15 {
		f.file(sized(fmt.Sprint(i), 100+len(message)), received(mario), received(anna), received("a"), received("b"), received("c"), received("d"),
			received("e"), received("f"))
	}
	late := november.AddDate(0, 7, 0)
	f.clock.set(late)
	f.file(message, received(mario))
	refused := func(name string, o ExpireOptions) {
		t.Helper()
		o.Mailboxes = keepFor(6)
		r, err := f.Expire(f.ctx(), o)
		wantErr(t, name, err, ErrAbnormal)
		if len(r.Abnormal) != 1 || len(f.list(mario)) != 16 {
			t.Errorf("%s: %q, %d entries", name, r.Abnormal, len(f.list(mario)))
		}
		o.DryRun = true
		if r, err := f.Expire(f.ctx(), o); err != nil || len(r.Abnormal) != 1 {
			t.Errorf("preview of %s: %q, %v", name, r.Abnormal, err)
		}
	}
	refused("too many", ExpireOptions{})
	if _, err := f.Expire(f.ctx(), ExpireOptions{Mailboxes: keepFor(48)}); err != nil {
		t.Fatal(err)
	}
	refused("after a long pause", ExpireOptions{Now: late.AddDate(0, 0, 46), MaxShare: 1})
	if r := f.expire(ExpireOptions{Mailboxes: keepFor(6), Yes: true}); r.Removed.Entries != 120 || len(r.Abnormal) != 1 {
		t.Errorf("removed %+v, %q", r.Removed, r.Abnormal)
	}
	f.want(mario, "INBOX/2027-06 1 unknown")
}

// TestExpireKilled kills a run at one write after the other.
func TestExpireKilled(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	// Of December all goes, with its gap; of the others a part.
	for month, intents := range [][]Intent{{received(mario), received(anna)}, {received(mario)}, {received(anna), received(mario)}} {
		f.clock.set(november.AddDate(0, month, 0))
		for i := range 3 {
			f.file(append(sized(fmt.Sprint(month, i), 200), words(uint64(i), 5000)...), intents...)
		}
		if err := f.Record(f.ctx(), Record{Kind: Gap, Mailbox: mario, Time: f.clock.now(), Reason: ReasonDisabled}); err != nil {
			t.Fatal(err)
		}
	}
	others := len(f.list(anna))
	gaps := len(f.records(mario))
	f.clock.set(november.AddDate(1, 0, 0))
	f.killAtEach("expire", 1, func() {
		if len(f.list(anna)) != others {
			t.Fatal("anna lost entries")
		}
		// A month that a killed run has closed is still there for its readers.
		f.list(mario)
	})
	f.want(mario)
	if got := len(f.records(mario)); got != gaps {
		t.Errorf("%d gaps of %d", got, gaps)
	}
	if months, err := f.Months(f.ctx()); err != nil || !slices.Equal(months, []kv.Month{"2026-11", "2027-01"}) {
		t.Errorf("months %v %v", months, err)
	}
}

// TestExpireAfterAWrongClock has had a clock that was years ahead for a day, with a delivery, a run, and a month of their own: the runs of the
// days behind go on, and delete what is due and nothing else. A clock that is ahead again is not believed.
func TestExpireAfterAWrongClock(t *testing.T) {
	f := openFixture(t)
	f.put(mario, letter("due"))
	f.clock.set(november.AddDate(0, 5, 0))
	f.put(mario, letter("stays"))
	f.expire(ExpireOptions{Mailboxes: keepFor(6)})
	ahead := november.AddDate(10, 0, 0)
	f.clock.set(ahead)
	f.put(mario, letter("of the future"))
	refused := func(when time.Time) {
		t.Helper()
		r, err := f.Expire(f.ctx(), ExpireOptions{Mailboxes: keepFor(6), Now: when, MaxShare: 1})
		wantErr(t, "run of a clock that is ahead", err, ErrAbnormal)
		if len(r.Abnormal) != 1 || !strings.Contains(r.Abnormal[0], "is the clock right?") {
			t.Errorf("abnormal: %q", r.Abnormal)
		}
	}
	refused(ahead.Add(time.Hour))
	// Somebody had it run all the same.
	f.expire(ExpireOptions{Mailboxes: keepFor(240), Yes: true})
	f.clock.set(november.AddDate(0, 6, 1))
	r := f.expire(ExpireOptions{Mailboxes: keepFor(6)})
	if r.Removed.Entries != 1 || len(r.Abnormal) != 0 {
		t.Errorf("removed %+v, abnormal %q", r.Removed, r.Abnormal)
	}
	f.want(mario, "INBOX/2027-04 1 delivered", "INBOX/2036-11 1 delivered")
	refused(november.AddDate(5, 0, 0))
	if last, err := f.LastRun(f.ctx(), f.clock.now()); err != nil || last != r.Time {
		t.Errorf("the last run was at %v, %v; want %v", last, err, r.Time)
	}
}

// TestNothingIntoAMonthThatGoes has a message come, by a clock that was set back, while its month is being dropped.
func TestNothingIntoAMonthThatGoes(t *testing.T) {
	f, h := hookedFixture(t)
	f.file(letter("1"), received(mario))
	now := november.AddDate(1, 0, 0)
	var during error
	var acted error
	updates := 0
	h.set(func(ctx context.Context, next func(context.Context) error) error {
		err := next(ctx)
		if updates++; updates == 2 { // it is decided now, behind the mark
			h.set(nil)
			f.clock.set(november)
			_, during = f.try(letter("2"), "t", received(mario))
			acted = f.Hold(f.ctx(), Ref{mario, "2026-11", "INBOX", 1}, "operator", "late")
		}
		return err
	})
	r := f.expire(ExpireOptions{Mailboxes: keepFor(6), Now: now})
	if len(r.Dropped) != 1 {
		t.Errorf("dropped %v", r.Dropped)
	}
	wantErr(t, "delivery", during, kv.ErrUnavailable)
	wantErr(t, "hold", acted, ErrNotFound)
	f.file(letter("2"), received(mario))
	f.want(mario, "INBOX/2026-11 1 unknown")
}

// TestListWhileDropping has a month go while it is being listed.
func TestListWhileDropping(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	var wg sync.WaitGroup
	for i := range 300 {
		wg.Go(func() {
			if _, err := f.try(letter(fmt.Sprint(i)), "t", received(mario)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	f.clock.set(november.AddDate(1, 0, 0))
	f.file(letter("stays"), received(mario))
	var last Ref
	for e, err := range f.List(f.ctx(), mario) {
		if err != nil {
			t.Fatal(err)
		}
		if last.UID == 0 {
			if r := f.expire(ExpireOptions{Mailboxes: keepFor(6), Yes: true}); len(r.Dropped) != 1 {
				t.Fatalf("dropped %v", r.Dropped)
			}
		}
		last = e.Ref
	}
	if last.Month != "2027-11" {
		t.Errorf("the list ends at %v", last)
	}
}

// TestExpirePastDamagedEntries has entries that cannot be read: they stay, with their month, and the others go.
func TestExpirePastDamagedEntries(t *testing.T) {
	f := openFixture(t)
	f.put(anna, letter("1"))
	damaged, aside := f.put(mario, letter("2")), f.put(mario, letter("3"))
	f.put(mario, letter("4"))
	f.remove(aside)
	f.FlushOutcomes(f.ctx())
	f.put1(entryKey(damaged), []byte{tagSize, 9})
	f.put1(asideKey(aside), []byte{tagWho, 9})
	f.damaged()
	r := f.expire(ExpireOptions{Mailboxes: keepFor(6), Now: november.AddDate(1, 0, 0)})
	if r.Removed.Entries != 2 || r.Damaged != 2 || len(r.Dropped) != 0 {
		t.Errorf("removed %+v, %d damaged, dropped %v", r.Removed, r.Damaged, r.Dropped)
	}
	f.want(anna)
}
