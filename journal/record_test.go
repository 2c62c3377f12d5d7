package journal

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/journal/kv"
)

func gap(detail string, at time.Time) Record {
	return Record{Kind: Gap, Mailbox: mario, Time: at, Reason: ReasonJournalFault, Detail: detail}
}

// details are those of the records of mario, in their order, with a mark on those that are in the spool only.
func (f *fixture) details() []string {
	f.t.Helper()
	var list []string
	for _, r := range f.records(mario) {
		if r.Spooled {
			r.Detail += " spooled"
		}
		list = append(list, r.Detail)
	}
	return list
}

func TestRecord(t *testing.T) {
	f := openFixture(t)
	full := Record{
		Kind: Gap, Mailbox: mario, Time: november, Until: november.Add(time.Hour), Reason: ReasonDisabled, Detail: "d", Direction: Sent,
		MailFrom: giove, RcptTo: "Mario@alpha.test", ORCPT: "rfc822;Mario@alpha.test", MessageID: "<1@x.test>", QueueID: "4X", Transaction: "t",
	}
	all := Record{Kind: Gap, Time: november, Reason: ReasonLost}
	least := Record{Kind: Skip, Mailbox: mario, Time: november}
	other := Record{Kind: Skip, Mailbox: anna, Time: november}
	earlier := Record{Kind: Skip, Mailbox: mario, Time: november.AddDate(0, -1, 0), Reason: "alias"}
	// The same record again is one record, another one of the same time is another.
	if err := f.Record(f.ctx(), full, least, least, all, other, earlier, full); err != nil {
		t.Fatal(err)
	}
	if err := f.Record(f.ctx(), least); err != nil {
		t.Fatal(err)
	}
	f.reopen()
	var got []Record
	for _, r := range f.records(mario) {
		got = append(got, *r)
	}
	if want := []Record{earlier, all, full, least}; !slices.Equal(got, want) {
		t.Errorf("records\n%+v, want\n%+v", got, want)
	}
	if got := f.records(""); len(got) != 1 {
		t.Errorf("%d records of all mailboxes, want 1", len(got))
	}
	for name, r := range map[string]Record{"no time": {Kind: Gap, Mailbox: mario}, "far future": {Kind: Gap, Time: november.AddDate(300, 0, 0)}} {
		if err := f.Record(f.ctx(), r); err == nil {
			t.Errorf("%s: recorded", name)
		}
		if err := f.Keep(f.ctx(), r); err == nil {
			t.Errorf("%s: recorded as a gap", name)
		}
	}
}

func TestManyRecords(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	var records []Record
	for i := range 4000 {
		records = append(records, gap(fmt.Sprint(i, strings.Repeat("d", 2500)), november.Add(time.Duration(i))))
	}
	if err := f.Record(f.ctx(), records...); err != nil {
		t.Fatal(err)
	}
	if got := len(f.records(mario)); got != len(records) {
		t.Errorf("%d records, want %d", got, len(records))
	}
}

func TestExpireSkips(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	var records []Record
	for i := range 2500 { // more than one update deletes
		at := november.AddDate(0, 0, -i%60)
		records = append(records, Record{Kind: Skip, Mailbox: fmt.Sprintf("m%d@x.test", i%7), Time: at, Detail: fmt.Sprint(i)}, gap(fmt.Sprint(i), at))
	}
	if err := f.Record(f.ctx(), records...); err != nil {
		t.Fatal(err)
	}
	before := november.AddDate(0, 0, -21)
	kept, expired := 0, 0
	for _, r := range records {
		if r.Kind == Gap || !r.Time.Before(before) {
			kept++
		} else {
			expired++
		}
	}
	for _, want := range []int{expired, 0} {
		if deleted, err := f.ExpireSkips(f.ctx(), before); deleted != want || err != nil {
			t.Errorf("%d expired, %v; want %d", deleted, err, want)
		}
	}
	left := len(f.records(mario))
	for i := range 7 {
		for _, r := range f.records(fmt.Sprintf("m%d@x.test", i)) {
			if r.Time.Before(before) {
				t.Errorf("a skip of %s is left", r.Time)
			}
			left++
		}
	}
	if left != kept {
		t.Errorf("%d records are left, want %d", left, kept)
	}
}

// TestExpirePastDamage has a record that cannot be read: it keeps no other one from being deleted.
func TestExpirePastDamage(t *testing.T) {
	f := openFixture(t)
	f.damaged()
	if err := f.Record(f.ctx(), Record{Kind: Skip, Mailbox: mario, Time: november}); err != nil {
		t.Fatal(err)
	}
	f.put1(recordKey("a@x.test", november, 0), []byte{1, 200})
	if deleted, err := f.ExpireSkips(f.ctx(), november.Add(1)); deleted != 1 || err != nil {
		t.Errorf("%d expired, %v", deleted, err)
	}
}

// put1 writes a pair past the journal.
func (f *fixture) put1(key, value []byte) {
	f.t.Helper()
	err := f.store().Update(f.ctx(), nil, func(tx kv.Tx) error {
		if value == nil {
			tx.Delete(key)
		} else {
			tx.Put(key, value)
		}
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

func TestGapSpool(t *testing.T) {
	f, h := hookedFixture(t)
	if err := f.Unspool(f.ctx()); err != nil {
		t.Fatalf("without a spool: %v", err)
	}
	h.set(unavailable)
	for i := range 3 {
		if err := f.Keep(f.ctx(), gap(fmt.Sprint("a", i), november.Add(time.Duration(i))), gap(fmt.Sprint("b", i), november.Add(time.Duration(i)))); err != nil {
			t.Fatal(err)
		}
	}
	wantErr(t, "Unspool while the store fails", f.Unspool(f.ctx()), kv.ErrUnavailable)
	spooledOnly := []string{"a0 spooled", "b0 spooled", "a1 spooled", "b1 spooled", "a2 spooled", "b2 spooled"}
	if got := f.details(); !slices.Equal(got, spooledOnly) {
		t.Errorf("before they are taken in: %q", got)
	}
	f.close()
	h.set(nil)
	f.open()
	spooled, err := os.ReadFile(f.spool)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"a0", "b0", "a1", "b1", "a2", "b2"}
	for round := range 3 {
		if err := f.Unspool(f.ctx()); err != nil {
			t.Fatal(err)
		}
		if got := f.details(); !slices.Equal(got, want) {
			t.Errorf("round %d: gaps %q, want %q", round, got, want)
		}
		if _, err := os.Stat(f.spool); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the spool is still there: %v", err)
		}
		// As a crash leaves it between the update and the removal.
		if err := os.WriteFile(f.spool, spooled, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := f.details(); !slices.Equal(got, want) {
			t.Errorf("round %d, in the spool as well: gaps %q, want %q", round, got, want)
		}
	}
}

// TestSealedSpool spools records of an encrypted journal, under a key that changes meanwhile, behind a line in the clear. A line of a key that is lost is a
// gap.
func TestSealedSpool(t *testing.T) {
	f, h := hookedFixture(t)
	spool := func(detail string, keys ...[32]byte) {
		t.Helper()
		f.close()
		f.spoolKeys = keys
		h.set(unavailable)
		f.open()
		if err := f.Keep(f.ctx(), gap(detail, november)); err != nil {
			t.Fatal(err)
		}
	}
	one, two, lost := [32]byte{1}, [32]byte{2}, [32]byte{3}
	spool("clear")
	spool("first", one)
	spool("second", two, one)
	b, err := os.ReadFile(f.spool)
	if err != nil || bytes.Count(b, []byte("\n")) != 3 || bytes.Contains(b, []byte("first")) || bytes.Contains(b, []byte("second")) || !bytes.Contains(b, []byte("clear")) {
		t.Fatalf("the spool is %q, %v", b, err)
	}
	if got, want := f.details(), []string{"clear spooled", "first spooled", "second spooled"}; !slices.Equal(got, want) {
		t.Errorf("spooled: %q, want %q", got, want)
	}
	h.set(nil)
	if err := f.Unspool(f.ctx()); err != nil {
		t.Fatal(err)
	}
	if got, want := f.details(), []string{"clear", "first", "second"}; !slices.Equal(got, want) {
		t.Errorf("taken in: %q, want %q", got, want)
	}
	spool("forgotten", lost)
	f.close()
	f.spoolKeys = [][32]byte{two}
	h.set(nil)
	f.open()
	if err := f.Unspool(f.ctx()); err != nil {
		t.Fatal(err)
	}
	if got := f.details(); len(got) != 4 || !strings.Contains(strings.Join(got, " "), "a damaged line of the gap spool") {
		t.Errorf("with a key that is lost: %q", got)
	}
}

// TestRecordsOfSpool has gaps of several mailboxes in the spool: each mailbox sees its own and those of all, once.
func TestRecordsOfSpool(t *testing.T) {
	t.Parallel()
	of := func(mailbox, detail string) Record {
		return Record{Kind: Gap, Mailbox: mailbox, Time: november, Reason: ReasonJournalFault, Detail: detail}
	}
	for _, c := range []struct {
		name             string
		journal, spooled []Record
		torn             string
		want             []string
	}{
		{name: "nothing"},
		{name: "journal only", journal: []Record{of(mario, "a")}, want: []string{"a"}},
		{name: "spool only", spooled: []Record{of(mario, "a")}, want: []string{"a spooled"}},
		{name: "both", journal: []Record{of(mario, "a")}, spooled: []Record{of(mario, "b")}, want: []string{"a", "b spooled"}},
		{name: "the same in both", journal: []Record{of(mario, "a")}, spooled: []Record{of(mario, "a"), of(mario, "b")}, want: []string{"a", "b spooled"}},
		{name: "twice in the spool", spooled: []Record{of(mario, "a"), of(mario, "a")}, want: []string{"a spooled"}},
		{name: "of another mailbox", spooled: []Record{of(anna, "a"), of(mario, "b")}, want: []string{"b spooled"}},
		{name: "of all mailboxes", spooled: []Record{of("", "a")}, want: []string{"a spooled"}},
		{name: "alike, of mailbox and of all", journal: []Record{of("", "a")}, spooled: []Record{of(mario, "a")}, want: []string{"a", "a spooled"}},
		{name: "of two months", spooled: []Record{of(mario, "a"), {Kind: Gap, Mailbox: mario, Time: november.AddDate(0, 1, 0), Detail: "b"}},
			want: []string{"a spooled", "b spooled"}},
		{name: "torn line", spooled: []Record{of(mario, "a")}, torn: `{"kind":2`, want: []string{"a spooled"}},
		{name: "damaged line", spooled: []Record{of(mario, "a")}, torn: "x\n", want: []string{"a spooled", `a damaged line of the gap spool: "x\n" spooled`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, h := hookedFixture(t)
			if err := f.Record(f.ctx(), c.journal...); err != nil {
				t.Fatal(err)
			}
			h.set(unavailable)
			for _, r := range c.spooled {
				f.gap(r)
			}
			h.set(nil)
			if c.torn != "" {
				file, err := os.OpenFile(f.spool, os.O_APPEND|os.O_WRONLY, 0)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := file.WriteString(c.torn); err != nil {
					t.Fatal(err)
				}
				if err := file.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if got := f.details(); !slices.Equal(got, c.want) {
				t.Errorf("records %q, want %q", got, c.want)
			}
			if err := f.Unspool(f.ctx()); err != nil {
				t.Fatal(err)
			}
			got := f.details()
			slices.Sort(got)
			var want []string
			for _, w := range c.want {
				want = append(want, strings.TrimSuffix(w, " spooled"))
			}
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("taken in: %q, want %q", got, want)
			}
		})
	}
}

// TestRecordsWhileUnspooling reads the gaps while they are taken in, time and again: each is there once.
func TestRecordsWhileUnspooling(t *testing.T) {
	t.Parallel()
	f, h := hookedFixture(t)
	total := 0
	for range 20 {
		h.set(unavailable)
		for range 10 {
			f.gap(gap(fmt.Sprint(total), november.Add(time.Duration(total))))
			total++
		}
		h.set(nil)
		done := make(chan error, 1)
		go func() { done <- f.Unspool(f.ctx()) }()
		for reading := true; reading; {
			select {
			case err := <-done:
				if err != nil {
					t.Fatal(err)
				}
				reading = false
			default:
			}
			if got := len(f.records(mario)); got != total {
				t.Fatalf("%d gaps, want %d", got, total)
			}
		}
	}
}

// TestTornSpool has a write of the spool cut short: it was not acknowledged, and what comes behind it must not be lost with it.
func TestTornSpool(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spool string
		want  []string
	}{
		"empty":          {"", []string{"new"}},
		"torn line only": {`{"kind":2,"mail`, []string{"new"}},
		"long torn line": {strings.Repeat("x", 10_000), []string{"new"}},
		"torn behind a line": {`{"kind":2,"mailbox":"mario@alpha.test","time":"2026-11-21T11:00:00Z","reason":"journal-fault","detail":"old"}` + "\n" +
			strings.Repeat("{", 9000), []string{"old", "new"}},
		"damaged line":   {"\x00\x00\x00\n", []string{`a damaged line of the gap spool: "\x00\x00\x00\n"`, "new"}},
		"empty object":   {"{}\n", []string{`a damaged line of the gap spool: "{}\n"`, "new"}},
		"unknown kind":   {`{"kind":3,"mailbox":"x","time":"2026-11-21T11:00:00Z"}` + "\n", nil},
		"mailbox with 0": {`{"kind":2,"mailbox":"x\u0000y","time":"2026-11-21T11:00:00Z"}` + "\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			f, h := hookedFixture(t)
			if err := os.WriteFile(f.spool, []byte(c.spool), 0o600); err != nil {
				t.Fatal(err)
			}
			h.set(unavailable)
			if err := f.Keep(f.ctx(), gap("new", november)); err != nil {
				t.Fatal(err)
			}
			// A damaged line is recorded at the time of the file.
			if err := os.Chtimes(f.spool, november, november.Add(-time.Minute)); err != nil {
				t.Fatal(err)
			}
			h.set(nil)
			if err := f.Unspool(f.ctx()); err != nil {
				t.Fatal(err)
			}
			got := f.details()
			if c.want == nil && (len(got) != 2 || !strings.HasPrefix(got[0], "a damaged line")) || c.want != nil && !slices.Equal(got, c.want) {
				t.Errorf("gaps %q, want %q", got, c.want)
			}
		})
	}
}

// TestTornLastLine ends in what a crash left of a line.
func TestTornLastLine(t *testing.T) {
	f, h := hookedFixture(t)
	h.set(unavailable)
	if err := f.Keep(f.ctx(), gap("whole", november)); err != nil {
		t.Fatal(err)
	}
	h.set(nil)
	whole, err := os.ReadFile(f.spool)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range whole {
		if err := os.WriteFile(f.spool, append(slices.Clone(whole), whole[:cut]...), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := f.Unspool(f.ctx()); err != nil {
			t.Fatal(err)
		}
		if got := f.details(); !slices.Equal(got, []string{"whole"}) {
			t.Fatalf("cut after %d bytes: gaps %q", cut, got)
		}
	}
}

func TestNoSpool(t *testing.T) {
	f, h := newFixture(t), new(hooked)
	f.wrap = func(e kv.Engine) kv.Engine {
		h.Engine = e
		return h
	}
	f.spool = filepath.Join(f.dir, "missing", "gaps")
	f.open()
	h.set(unavailable)
	wantErr(t, "Gap without a place for the spool", f.Keep(f.ctx(), gap("a", november)), kv.ErrUnavailable)
	wantErr(t, "Gap without a place for the spool", f.Keep(f.ctx(), gap("a", november)), os.ErrNotExist)
	f.spool = ""
	f.close()
	f.open()
	wantErr(t, "Gap without a spool", f.Keep(f.ctx(), gap("a", november)), kv.ErrUnavailable)
	h.set(nil)
	if err := f.Unspool(f.ctx()); err != nil {
		t.Error(err)
	}
	if got := f.details(); len(got) != 0 {
		t.Errorf("gaps %q", got)
	}
}

// TestRecordLimits has values that are just over their limit: they are cut between characters, and the record says so.
func TestRecordLimits(t *testing.T) {
	f := openFixture(t)
	whole := gap("fits", november)
	whole.MessageID, whole.Detail = strings.Repeat("i", recordValueMax), strings.Repeat("d", recordDetailMax)
	long := gap("long", november.Add(1))
	long.Detail = strings.Repeat("d", recordDetailMax+1)
	long.MailFrom, long.RcptTo, long.ORCPT = strings.Repeat("f", recordValueMax+1), strings.Repeat("r", recordValueMax+1), strings.Repeat("o", recordValueMax+1)
	long.QueueID = strings.Repeat("q", recordValueMax+1)
	long.MessageID = strings.Repeat("i", recordValueMax-1) + "è"
	cut := long
	cut.Detail = long.Detail[:recordDetailMax]
	cut.MailFrom, cut.RcptTo, cut.ORCPT = long.MailFrom[:recordValueMax], long.RcptTo[:recordValueMax], long.ORCPT[:recordValueMax]
	cut.QueueID, cut.MessageID = long.QueueID[:recordValueMax], long.MessageID[:recordValueMax-1]
	cut.Cut = "mail_from of 1025 bytes, rcpt_to of 1025 bytes, orcpt of 1025 bytes, message_id of 1025 bytes, queue_id of 1025 bytes, detail of 4097 bytes"
	if err := f.Record(f.ctx(), whole, long, long); err != nil {
		t.Fatal(err)
	}
	// What was spooled meanwhile is the same record.
	if err := f.Journal.spool(f.ctx(), []Record{long}); err != nil {
		t.Fatal(err)
	}
	if err := f.Unspool(f.ctx()); err != nil {
		t.Fatal(err)
	}
	var got []Record
	for _, r := range f.records(mario) {
		got = append(got, *r)
	}
	if want := []Record{whole, cut}; !slices.Equal(got, want) {
		t.Errorf("records\n%+v, want\n%+v", got, want)
	}
}

// TestSkipsOfALongMessageID is a message with 64 KiB of Message-ID to fifty aliases.
func TestSkipsOfALongMessageID(t *testing.T) {
	f := openFixture(t)
	d := f.NewDraft(f.ctx())
	defer d.Discard()
	d.Write(letter("to aliases"))
	d.Finish()
	id := "<" + strings.Repeat("i", 64<<10) + "@x.test>"
	var skips []Record
	for i := range 50 {
		skips = append(skips, Record{Kind: Skip, Mailbox: mario, Time: november.Add(time.Duration(i)), Reason: "alias", MailFrom: giove, MessageID: id})
	}
	if _, err := d.Commit(f.ctx(), Envelope{Transaction: "t"}, nil, skips); err != nil {
		t.Fatal(err)
	}
	size, records := 0, 0
	s, err := f.volume(f.ctx(), kv.MonthOf(november), false)
	if err != nil {
		t.Fatal(err)
	}
	for p, err := range s.Scan(f.ctx(), []byte{'g'}, []byte{'h'}) {
		if err != nil {
			t.Fatal(err)
		}
		size += len(p.Key) + len(p.Value)
		records++
	}
	if records != 50 || size > 50*(recordValueMax+256) {
		t.Errorf("%d records of %d bytes, want 50 of %d at most", records, size, 50*(recordValueMax+256))
	}
}
