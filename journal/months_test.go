package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/syndtr/goleveldb/leveldb/storage"

	"copialettere/journal/kv"
	"copialettere/journal/metrics"
)

// The months of a journal of years.
const (
	monthLong  = kv.Month("2024-03")
	monthAlso  = kv.Month("2024-05") // as old as to be dropped
	monthLast  = kv.Month("2026-10")
	monthNow   = kv.Month("2026-11")
	yearsLimit = 4000 // of mario, bytes
)

// years is a journal with 100 bytes of mario and of anna in each month, a skip, a gap, a hold, and an entry that was moved.
func years(t *testing.T) *fixture {
	f := openFixture(t)
	for _, m := range []kv.Month{monthLong, monthAlso, monthLast, monthNow} {
		f.clock.set(m.Start().AddDate(0, 0, 20))
		ref := f.put(mario, sized(string(m), 200))
		f.put(anna, sized(string(m), 200))
		f.FlushOutcomes(f.ctx())
		f.move(ref, Trash)
		if err := f.Record(f.ctx(), Record{Kind: Skip, Mailbox: mario, Time: f.clock.now(), Reason: "alias"},
			Record{Kind: Gap, Mailbox: mario, Time: f.clock.now(), Reason: ReasonJournalFault}); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// faultsOfMonths break a month whose engine is closed.
var faultsOfMonths = map[string]func(f *fixture, folder string) error{
	"manifest": func(f *fixture, folder string) error { return flipIn(folder, "MANIFEST-*", 7) },
	"tables": func(f *fixture, folder string) error {
		return flipIn(folder, "*.ldb", 3, 300, 600, 900)
	},
	"no permission": func(f *fixture, folder string) error {
		var mended atomic.Bool
		f.level.Storage = func(name string) (storage.Storage, error) {
			path := filepath.Join(f.dir, "journal", name)
			if _, err := os.Stat(filepath.Join(path, "mended")); err == nil {
				mended.Store(true)
			}
			if name == filepath.Base(folder) && !mended.Load() {
				return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrPermission}
			}
			return storage.OpenFile(path, false)
		}
		return nil
	},
	"absent": func(f *fixture, folder string) error { return os.RemoveAll(folder) },
	"empty": func(f *fixture, folder string) error {
		return errors.Join(os.RemoveAll(folder), os.Mkdir(folder, 0o700))
	},
	"another archive's": func(f *fixture, folder string) error {
		other := openFixture(f.t)
		other.put(mario, letter("other"))
		other.close()
		return errors.Join(os.RemoveAll(folder), os.CopyFS(folder, os.DirFS(filepath.Join(other.dir, "journal", string(monthNow)))))
	},
}

func flipIn(folder, pattern string, offsets ...int) error {
	paths, err := filepath.Glob(filepath.Join(folder, pattern))
	if err != nil || len(paths) == 0 {
		return fmt.Errorf("files %s: %v, %w", pattern, paths, err)
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, n := range offsets {
			if n < len(b) {
				b[n] ^= 0x10
			}
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// breakMonth breaks a month, and opens the journal again. mend puts it back as it was, under the open journal where that can take it.
func (f *fixture) breakMonth(what string, m kv.Month) (mend func()) {
	f.t.Helper()
	f.onFiles()
	f.reopen()
	f.verify() // which opens all: what was in logs is in tables then
	f.close()
	folder := filepath.Join(f.dir, "journal", string(m))
	backup := filepath.Join(f.t.TempDir(), string(m))
	err := os.CopyFS(backup, os.DirFS(folder))
	if err == nil {
		err = faultsOfMonths[what](f, folder)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	f.open()
	return func() {
		f.t.Helper()
		if what == "tables" {
			f.close()
		}
		err := errors.Join(os.RemoveAll(folder), os.CopyFS(folder, os.DirFS(backup)), os.WriteFile(filepath.Join(folder, "mended"), nil, 0o600))
		if err != nil {
			f.t.Fatal(err)
		}
		if what == "tables" {
			f.open()
		}
		f.pass(usageRetry + time.Second)
		deadline := time.Now().Add(30 * time.Second)
		for {
			_, err := f.engine.Volume(f.ctx(), m, false)
			if err == nil {
				return
			}
			if time.Now().After(deadline) {
				f.t.Fatalf("the mended month: %v", err)
			}
			time.Sleep(20 * time.Millisecond) // a store that cannot be opened is left alone for a second
		}
	}
}

// wantPassed checks that an error names just the month that was passed over.
func wantPassed(t *testing.T, doing string, err error, m kv.Month) {
	t.Helper()
	var passed PassedOver
	if !passed.Add(err) || !errors.Is(err, ErrDamaged) || passed[0].Month != m || len(passed) != 1 || !strings.Contains(err.Error(), string(m)) {
		t.Errorf("%s: %v, want that %s was passed over", doing, err, m)
	}
}

// readPast gathers what is yielded beside the errors, and checks that these are of one month.
func readPast[T any](t *testing.T, doing string, m kv.Month, all iter.Seq2[T, error]) (list []T) {
	t.Helper()
	var passed error
	for v, err := range all {
		if err == nil {
			list = append(list, v)
			continue
		}
		passed = err
		wantPassed(t, doing, err, m)
	}
	if passed == nil {
		t.Errorf("%s: no error, want that %s was passed over", doing, m)
	}
	return list
}

// TestBadMonth has one month of a journal be unusable. It costs itself alone, is named by all that goes over the months, and is as it was when it
// is put back.
func TestBadMonth(t *testing.T) {
	for what := range faultsOfMonths {
		for _, bad := range []kv.Month{monthLong, monthLast} {
			t.Run(fmt.Sprint(bad, " ", what), func(t *testing.T) {
				t.Parallel()
				f := years(t)
				before := f.list(mario)
				mend := f.breakMonth(what, bad)
				f.clock.set(november)
				testBadMonthMail(t, f, bad, what)
				testBadMonthRead(t, f, bad)
				testBadMonthHouse(t, f, bad)
				mend()
				testMendedMonth(t, f, bad, before)
			})
		}
	}
}

func testBadMonthMail(t *testing.T, f *fixture, bad kv.Month, what string) {
	t.Helper()
	in := limited(mario, yearsLimit, SkipFull)
	if p := f.file(sized("new", 200), in)[0]; p.Found || p.Skipped != "" || p.Month != monthNow || p.UID != 2 {
		t.Errorf("a new message is at %+v", p)
	}
	// It is counted what the others hold, and what the new one has.
	if got, err := f.Usage(f.ctx(), mario); got != 4*200 || err != nil {
		t.Errorf("usage: %d, %v, want that of the other months", got, err)
	}
	// A repetition of what arrived in the month before.
	p := f.file(sized(string(monthLast), 200), in)[0]
	e := f.entry(p.Ref)
	if bad == monthLast {
		if p.Found || p.Month != monthNow || p.UID != 3 || !slices.Contains(e.Flags, FlagUnchecked) {
			t.Errorf("a repetition of what cannot be read is at %+v, %v", p, e.Flags)
		}
	} else if !p.Found || p.Month != monthLast || len(e.Flags) > 0 {
		t.Errorf("a repetition is at %+v, %v", p, e.Flags)
	}
	// Over the limit, as far as that is known.
	held, err := f.Usage(f.ctx(), mario)
	if err != nil {
		t.Fatal(err)
	}
	if p := f.file(sized("no room", 201), limited(mario, held+200, SkipFull))[0]; p.Skipped != ReasonFull {
		t.Errorf("a message without room is at %+v", p)
	}
	if p := f.file(sized("no room", 201), limited(mario, held+200, DeferFull))[0]; !p.Waits {
		t.Errorf("a message without room is at %+v", p)
	}
	if what == "tables" { // that month is open, and takes mail
		return
	}
	f.clock.set(bad.Start().AddDate(0, 0, 20))
	_, err = f.try(letter("into it"), "into it", received(mario))
	wantErr(t, "a message into the bad month", err, kv.ErrUnavailable)
	if err == nil || !strings.Contains(err.Error(), string(bad)) {
		t.Errorf("a message into the bad month: %v", err)
	}
	f.clock.set(november.Add(time.Hour))
}

func testBadMonthRead(t *testing.T, f *fixture, bad kv.Month) {
	t.Helper()
	months := []kv.Month{monthLong, monthAlso, monthLast, monthNow}
	months = slices.DeleteFunc(months, func(m kv.Month) bool { return m == bad })
	var got []kv.Month
	for _, e := range readPast(t, "List", bad, f.List(f.ctx(), mario)) {
		got = append(got, e.Month)
	}
	if got = slices.Compact(got); !slices.Equal(got, months) {
		t.Errorf("List: entries of %v, want %v", got, months)
	}
	faults := 0
	for _, r := range readPast(t, "Records", bad, f.Records(f.ctx(), mario)) {
		if r.Reason == ReasonJournalFault {
			faults++
		}
	}
	acts := readPast(t, "Acts", bad, f.Acts(f.ctx(), mario))
	if faults != 3 || len(acts) != 3 {
		t.Errorf("%d gaps and %d acts, want 3", faults, len(acts))
	}
	stats, err := f.Stats(f.ctx(), anna)
	wantPassed(t, "Stats", err, bad)
	if len(stats) != 3 {
		t.Errorf("Stats: %+v", stats)
	}
	sizes, err := f.Sizes(f.ctx())
	wantPassed(t, "Sizes", err, bad)
	var sum Size
	for _, one := range stats {
		sum.Add(one.Size())
	}
	if sizes[anna] != sum {
		t.Errorf("Sizes: %+v, and the stats make %+v", sizes[anna], sum)
	}
	r, err := f.Verify(f.ctx(), EvidenceOptions{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r.Faults != 1 || !slices.Equal(r.PassedOver, []kv.Month{bad}) || len(r.Details) != 1 || !strings.Contains(r.Details[0], string(bad)) {
		t.Errorf("Verify: %+v", r)
	}
	var body []byte
	for _, e := range f.listPast(anna) {
		if e.Month != bad {
			body = append(body, f.bytes(e.Ref)...)
		}
	}
	if len(body) != 3*200 {
		t.Errorf("%d bytes of anna can be read", len(body))
	}
}

// listPast lists the entries that can be read.
func (f *fixture) listPast(mailbox string) (list []*Entry) {
	for e, err := range f.List(f.ctx(), mailbox) {
		if err == nil {
			list = append(list, e)
		}
	}
	return list
}

func testBadMonthHouse(t *testing.T, f *fixture, bad kv.Month) {
	t.Helper()
	n, err := f.ExpireSkips(f.ctx(), f.clock.now())
	wantPassed(t, "ExpireSkips", err, bad)
	if n != 3 {
		t.Errorf("%d skips were deleted, want 3", n)
	}
	_, err = f.Sweep(f.ctx(), SweepOptions{All: true})
	wantPassed(t, "Sweep", err, bad)
	if _, err := f.Erase(f.ctx(), anna, EraseOptions{}); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), string(bad)) {
		t.Errorf("Erase: %v, want that %s may have something held", err, bad)
	}
	if got := len(f.listPast(anna)); got != 3 {
		t.Errorf("anna has %d entries that can be read, want 3", got)
	}
	// Retention of half a year: the old months go, but for the bad one.
	old := uint64(2)
	if bad == monthLong {
		old = 1
	}
	for _, dry := range []bool{true, false} {
		r, err := f.Expire(f.ctx(), ExpireOptions{Mailboxes: keepFor(6), DryRun: dry, Yes: true})
		wantPassed(t, "Expire", err, bad)
		if r == nil || r.Removed.Entries != 2*old || r.Removed.Bytes != 2*old*200 || !slices.Equal(r.PassedOver, []kv.Month{bad}) ||
			!dry && len(r.Dropped) != int(old) {
			t.Errorf("Expire, dry %v: %+v", dry, r)
		}
	}
	months, err := f.Months(f.ctx())
	if err != nil || !slices.Contains(months, bad) || slices.Contains(months, monthAlso) {
		t.Errorf("months: %v, %v", months, err)
	}
}

func testMendedMonth(t *testing.T, f *fixture, bad kv.Month, before []*Entry) {
	t.Helper()
	f.verify()
	var want uint64
	for _, e := range f.list(mario) {
		want += uint64(e.Size)
		if e.Month == bad && (entryText(e) != "Trash/"+string(bad)+" 1 delivered" || !bytes.Equal(f.bytes(e.Ref), sized(string(bad), 200))) {
			t.Errorf("the mended month has %s", entryText(e))
		}
	}
	if got, err := f.Usage(f.ctx(), mario); got != want || err != nil {
		t.Errorf("usage: %d, %v, want %d", got, err, want)
	}
	stats, err := f.Stats(f.ctx(), mario)
	if err != nil || !slices.ContainsFunc(stats, func(s FolderStats) bool { return s.Month == bad && s.Folder == "INBOX" && s.NextUID == 2 }) {
		t.Errorf("stats: %+v, %v", stats, err)
	}
	// UIDs go on behind those that there were.
	f.clock.set(bad.Start().AddDate(0, 0, 22))
	if ref := f.put(mario, letter("after")); ref.Month != bad || ref.UID != 2 {
		t.Errorf("the next entry of the mended month is at %+v", ref)
	}
	if n := f.unreadable.gauge.Value(); n != 0 {
		t.Errorf("%d months count as unusable", n)
	}
	if len(before) != 4 {
		t.Errorf("there were %d entries", len(before))
	}
	f.clock.set(november.Add(2 * time.Hour))
}

// TestRoomPastBadMonth makes room although the oldest month cannot be used.
func TestRoomPastBadMonth(t *testing.T) {
	f := years(t)
	mend := f.breakMonth("manifest", monthLong)
	f.clock.set(november)
	// 600 bytes are known of.
	if p := f.file(sized("new", 200), limited(mario, 700, MakeRoom))[0]; p.Skipped != "" || p.UID != 2 {
		t.Errorf("placed at %+v", p)
	}
	var got []string
	for _, e := range f.listPast(mario) {
		got = append(got, entryText(e))
	}
	if want := []string{"Trash/2026-10 1 delivered", "INBOX/2026-11 2 unknown", "Trash/2026-11 1 delivered"}; !slices.Equal(got, want) {
		t.Errorf("left are %q, want %q", got, want)
	}
	mend()
	f.FlushOutcomes(f.ctx())
}

// TestUsageOfBadMonth keeps what is known of a month that goes bad, and asks again for one that was never read, once a minute.
func TestUsageOfBadMonth(t *testing.T) {
	f := years(t)
	mend := f.breakMonth("absent", monthLong)
	f.clock.set(november)
	want := func(when string, want uint64) {
		t.Helper()
		if got, err := f.Usage(f.ctx(), mario); got != want || err != nil {
			t.Errorf("%s: usage is %d, %v, want %d", when, got, err, want)
		}
	}
	want("without the month", 600)
	if n := f.unreadable.gauge.Value(); n != 1 {
		t.Errorf("%d months count as unusable", n)
	}
	f.clock.set(november)
	mend()
	f.clock.set(november.Add(usageRetry / 2))
	want("too soon", 600)
	f.clock.set(november.Add(usageRetry + time.Second))
	want("in time", 800)
	f.clock.set(november.Add(-time.Hour))
	want("known", 800)
}

// TestForget gives up a month whose folder is lost.
func TestForget(t *testing.T) {
	f := years(t)
	wantErr(t, "Forget of no month", f.Forget(f.ctx(), "2020-01", "operator rosa"), ErrNotFound)
	if err := f.Forget(f.ctx(), monthLast, "operator rosa"); err == nil {
		t.Error("a month that is there was given up")
	}
	if got := len(f.records(mario)); got != 8 {
		t.Errorf("%d records, want 8", got)
	}
	f.breakMonth("absent", monthLong)
	f.clock.set(november)
	for range 2 {
		err := f.Forget(f.ctx(), monthLong, "operator rosa")
		if err != nil && !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	}
	f.verify()
	if got := len(f.list(mario)); got != 3 {
		t.Errorf("%d entries, want 3", got)
	}
	for _, mailbox := range []string{mario, anna} {
		r := f.records(mailbox)[0]
		if r.Kind != Gap || r.Reason != ReasonLost || r.Time != monthLong.Start() || r.Until != monthLong.Next().Start() ||
			!strings.Contains(r.Detail, "operator rosa") {
			t.Errorf("first record of %s: %+v", mailbox, r)
		}
	}
	f.reopen()
	f.verify()
	// Made again, as only a clock that was wrong does it, its folders are others.
	f.clock.set(monthLong.Start().AddDate(0, 0, 20))
	f.put(mario, letter("again"))
	stats, err := f.Stats(f.ctx(), mario)
	if err != nil || stats[0].Month != monthLong || slices.ContainsFunc(stats[1:], func(s FolderStats) bool { return s.UIDValidity == stats[0].UIDValidity }) {
		t.Errorf("stats: %+v, %v", stats, err)
	}
}

// TestBadMonthKnown has a bad month be logged once, and counted.
func TestBadMonthKnown(t *testing.T) {
	f := years(t)
	mend := f.breakMonth("absent", monthLong)
	f.clock.set(november)
	r := new(metrics.Registry)
	if err := f.Journal.Close(); err != nil {
		t.Fatal(err)
	}
	var err error
	if f.Journal, err = Open(f.engine, Options{Metrics: r, Now: f.clock.now}); err != nil {
		t.Fatal(err)
	}
	wantMetric := func(line string) {
		t.Helper()
		w := httptest.NewRecorder()
		r.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		if !strings.Contains(w.Body.String(), "\n"+line+"\n") {
			t.Errorf("the metrics lack %q", line)
		}
	}
	wantMetric("copialettere_unreadable_months 0")
	f.listPast(mario)
	wantMetric("copialettere_unreadable_months 1")
	mend()
	f.list(mario)
	wantMetric("copialettere_unreadable_months 0")
}
