package journal

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"copialettere/journal/kv"
	"copialettere/journal/part"
)

func TestEntry(t *testing.T) {
	f := openFixture(t)
	message := []byte("From: Giove\r\n <giove@ext.test>\r\nTo: mario@alpha.test\r\nSubject: =?utf-8?Q?Citt=C3=A0?=\r\n" +
		"Date: Sat, 21 Nov 2026 12:00:00 +0100\r\nMessage-ID: <1@ext.test>\r\nCc: copia@beta.test\r\nX-Long: " + strings.Repeat("x", 5000) + "\r\n\r\nCiao.\r\n")
	d := f.NewDraft(f.ctx())
	defer d.Discard()
	d.Write(message)
	env := Envelope{
		MailFrom: "giove@ext.test", QueueID: "4XyZ", Transaction: "t1",
		Peer: Peer{Name: "mx.ext.test", Addr: "192.0.2.1", Helo: "mx", Protocol: "ESMTP"},
	}
	placed, err := d.Commit(f.ctx(), env, []Intent{
		{Mailbox: mario, Direction: Received, RcptTo: "Mario@alpha.test", ORCPT: "rfc822;Mario@alpha.test", Class: "ordinary",
			Flags: []string{FlagOriginUnknown}},
		{Mailbox: giove, Direction: Sent, Recipients: []string{"mario@alpha.test", "nascosto@beta.test"}, Class: "ordinary"},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	f.reopen()
	for i, wanted := range []*Entry{
		{Ref: Ref{mario, "2026-11", "INBOX", 1}, Direction: Received, RcptTo: "Mario@alpha.test", ORCPT: "rfc822;Mario@alpha.test",
			Flags: []string{FlagOriginUnknown}},
		{Ref: Ref{giove, "2026-11", "Sent", 1}, Direction: Sent, Recipients: []string{"mario@alpha.test", "nascosto@beta.test"}},
	} {
		if placed[i] != (Placement{Ref: wanted.Ref, Found: false}) {
			t.Errorf("placed at %v, want %v", placed[i], wanted.Ref)
		}
		e, err := f.Entry(f.ctx(), wanted.Ref)
		if err != nil {
			t.Fatal(err)
		}
		wanted.Envelopes = make([]part.Envelope, 1)
		wanted.Envelopes[0].Values[part.EnvelopeCc] = "copia@beta.test"
		wanted.Envelope, wanted.Class, wanted.State, wanted.Size, wanted.SHA256 = env, "ordinary", Unknown, int64(len(message)), e.SHA256
		wanted.From, wanted.To, wanted.Subject = "Giove <giove@ext.test>", "mario@alpha.test", "=?utf-8?Q?Citt=C3=A0?="
		wanted.Date, wanted.MessageID = "Sat, 21 Nov 2026 12:00:00 +0100", "<1@ext.test>"
		wanted.Time, wanted.Chunks, wanted.Parts = d.arrival.Round(0), d.chunks, e.Parts
		if got, want := fmt.Sprintf("%+v", e), fmt.Sprintf("%+v", wanted); got != want {
			t.Errorf("the entry is\n%s\nwant\n%s", got, want)
		}
		if len(e.Parts.Parts) != 1 || e.Parts.Parts[0].End != e.Size {
			t.Errorf("the part table is %+v", e.Parts)
		}
	}
}

func TestHeaderValues(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ message, subject, messageID string }{
		"empty":         {"", "", ""},
		"body only":     {"\r\nSubject: no\r\n", "", ""},
		"no body":       {"Subject: x", "x", ""},
		"longest value": {"Subject: " + strings.Repeat("a", MaxHeaderValue) + "\r\n\r\n", strings.Repeat("a", MaxHeaderValue), ""},
		"long value":    {"Subject: " + strings.Repeat("a", MaxHeaderValue+1) + "\r\n\r\n", strings.Repeat("a", MaxHeaderValue), ""},
		"long id":       {"Message-ID: <" + strings.Repeat("i", MaxHeaderValue-1) + ">\r\n\r\n", "", "<" + strings.Repeat("i", MaxHeaderValue-1)},
		"NULs":          {"Subject: a\x00b\r\n\r\n\x00\x00", "a\x00b", ""},
		"bare LF":       {"Subject: x\n\nbody\n", "x", ""},
		"binary header": {"\xff\xfe\r\n\r\n", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := openFixture(t)
			r := f.put(mario, []byte(c.message))
			f.wantBytes(r, []byte(c.message))
			e, err := f.Entry(f.ctx(), r)
			if err != nil {
				t.Fatal(err)
			}
			if e.Subject != c.subject || e.MessageID != c.messageID {
				t.Errorf("subject %.40q (%d bytes), message id %.40q (%d)", e.Subject, len(e.Subject), e.MessageID, len(e.MessageID))
			}
		})
	}
}

func TestOneEntryForADelivery(t *testing.T) {
	t.Parallel()
	const inbox1, inbox2 = "INBOX/2026-11 1 unknown", "INBOX/2026-11 2 unknown"
	for name, c := range map[string]struct {
		change func(env *Envelope, in *Intent, message *[]byte)
		found  bool
		want   []string // of mario
	}{
		"the same again":    {func(*Envelope, *Intent, *[]byte) {}, true, []string{inbox1}},
		"other bytes":       {func(_ *Envelope, _ *Intent, m *[]byte) { *m = letter("b") }, false, []string{inbox1, inbox2}},
		"other sender":      {func(e *Envelope, _ *Intent, _ *[]byte) { e.MailFrom = anna }, false, []string{inbox1, inbox2}},
		"null sender":       {func(e *Envelope, _ *Intent, _ *[]byte) { e.MailFrom = "" }, false, []string{inbox1, inbox2}},
		"other RCPT":        {func(_ *Envelope, in *Intent, _ *[]byte) { in.RcptTo = "mario+x@alpha.test" }, true, []string{inbox1}},
		"other queue id":    {func(e *Envelope, _ *Intent, _ *[]byte) { e.QueueID = "4ABC" }, true, []string{inbox1}},
		"other mailbox":     {func(_ *Envelope, in *Intent, _ *[]byte) { in.Mailbox = anna }, false, []string{inbox1}},
		"other direction":   {func(_ *Envelope, in *Intent, _ *[]byte) { in.Direction = Sent }, false, []string{inbox1, "Sent/2026-11 1 unknown"}},
		"prefix of mailbox": {func(_ *Envelope, in *Intent, _ *[]byte) { in.Mailbox = mario[:5] }, false, []string{inbox1}},
	} {
		t.Run(name, func(t *testing.T) {
			f := openFixture(t)
			for i, change := range []func(*Envelope, *Intent, *[]byte){func(*Envelope, *Intent, *[]byte) {}, c.change} {
				message, env, in := letter("a"), Envelope{MailFrom: giove, Transaction: fmt.Sprint("t", i)}, received(mario)
				change(&env, &in, &message)
				d := f.NewDraft(f.ctx())
				d.Write(message)
				placed, err := d.Commit(f.ctx(), env, []Intent{in}, nil)
				if err != nil {
					t.Fatal(err)
				}
				d.Discard()
				if want := i == 1 && c.found; placed[0].Found != want {
					t.Errorf("transaction %d: found %v, want %v", i, placed[0].Found, want)
				}
			}
			f.want(mario, c.want...)
		})
	}
}

// TestMonths has a delivery repeated when the clock says something else.
func TestMonths(t *testing.T) {
	t.Parallel()
	at := func(month time.Month, day, hour int) time.Time {
		return time.Date(2026, month, day, hour, 59, 59, 999_000_000, time.UTC)
	}
	for name, c := range map[string]struct {
		first, then time.Time
		entries     int
	}{
		"in the same month":      {at(11, 3, 1), at(11, 28, 1), 1},
		"in the next month":      {at(10, 31, 23), at(11, 1, 0), 1},
		"late in the next month": {at(10, 1, 0), at(11, 30, 23), 1},
		"two months later":       {at(9, 30, 23), at(11, 1, 0), 2},
		"in the next year":       {at(12, 31, 23), at(13, 1, 0), 1},
		"clock set back":         {at(11, 1, 0), at(10, 31, 23), 1},
	} {
		t.Run(name, func(t *testing.T) {
			f := openFixture(t)
			message := words(1, 60<<10)
			f.clock.set(c.first)
			first := f.deliver(mario, message, "t1")
			if first.Month != kv.MonthOf(c.first) {
				t.Errorf("filed in %s, want %s", first.Month, kv.MonthOf(c.first))
			}
			if err := f.Deferred(f.ctx(), first.Ref, "t1"); err != nil {
				t.Fatal(err)
			}
			f.clock.set(c.then)
			f.reopen()
			again := f.deliver(mario, message, "t2")
			if found := c.entries == 1; again.Found != found || found && again.Ref != first.Ref {
				t.Errorf("the repetition is at %+v, the first at %v", again, first.Ref)
			}
			if got := len(f.list(mario)); got != c.entries {
				t.Errorf("%d entries, want %d", got, c.entries)
			}
			withdrawn, err := f.Withdraw(f.ctx(), again.Ref, "t2", refusal("t2"))
			if err != nil || !withdrawn {
				t.Errorf("withdrawn %v, %v; it was only deferred before", withdrawn, err)
			}
			if again := f.deliver(mario, message, "t3"); again.Found {
				t.Errorf("the withdrawn entry was found at %v", again.Ref)
			}
		})
	}
}

func refusal(transaction string) Record {
	return Record{Kind: Skip, Mailbox: mario, Time: november, Reason: ReasonRefused, Detail: "550 5.1.1 No", Transaction: transaction}
}

// TestManyMailboxes commits to more mailboxes than one update takes, with more records than one update takes, twice.
func TestManyMailboxes(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	const mailboxes = 600
	var intents []Intent
	var skips []Record
	for i := range mailboxes {
		in := received(fmt.Sprintf("user%04d@alpha.test", i))
		in.ORCPT = "rfc822;" + strings.Repeat("o", 17000)
		intents = append(intents, in)
		skips = append(skips, Record{Kind: Skip, Mailbox: fmt.Sprintf("skip%04d@alpha.test", i), Time: november, Reason: "alias",
			ORCPT: in.ORCPT})
	}
	for round := range 2 {
		message := words(1, 30<<10)
		d := f.NewDraft(f.ctx())
		d.Write(message)
		placed, err := d.Commit(f.ctx(), Envelope{Transaction: fmt.Sprint(round)}, intents, skips)
		if err != nil {
			t.Fatal(err)
		}
		d.Discard()
		for i, p := range placed {
			if p != (Placement{Ref: Ref{intents[i].Mailbox, "2026-11", "INBOX", 1}, Found: round == 1}) {
				t.Fatalf("round %d: mailbox %d is at %+v", round, i, p)
			}
		}
		f.wantBytes(placed[mailboxes-1].Ref, message)
	}
	if r := f.verify(); r.Entries != mailboxes {
		t.Errorf("%d entries, want %d", r.Entries, mailboxes)
	}
	if got := len(f.records("skip0599@alpha.test")); got != 1 {
		t.Errorf("%d records of a skip that was recorded twice, want 1", got)
	}
}

// TestSomeFound commits to mailboxes of which some have the entry: then as now its bytes must be there.
func TestSomeFound(t *testing.T) {
	t.Parallel()
	for name, first := range map[string][]Intent{
		"none": nil, "first": {received(mario)}, "last": {received(anna)}, "all": {received(mario), received(anna)},
	} {
		t.Run(name, func(t *testing.T) {
			f := openFixture(t)
			message := append(letter("a"), randomBytes(2, 700<<10)...)
			if _, err := f.try(message, "t1", first...); err != nil {
				t.Fatal(err)
			}
			placed, err := f.try(message, "t2", received(mario), received(anna))
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range placed {
				if wanted := slices.ContainsFunc(first, func(in Intent) bool { return in.Mailbox == p.Mailbox }); p.Found != wanted {
					t.Errorf("%s: found %v, want %v", p.Mailbox, p.Found, wanted)
				}
				f.wantBytes(p.Ref, message)
			}
		})
	}
}

// TestSameMailboxTwice has one Commit with the same delivery twice: the entry may still be withdrawn.
func TestSameMailboxTwice(t *testing.T) {
	f := openFixture(t)
	placed, err := f.try(letter("a"), "t1", received(mario), received(mario))
	if err != nil {
		t.Fatal(err)
	}
	if placed[0].Found || !placed[1].Found || placed[0].Ref != placed[1].Ref {
		t.Errorf("placed at %+v", placed)
	}
	if withdrawn, err := f.Withdraw(f.ctx(), placed[0].Ref, "t1", refusal("t1")); !withdrawn || err != nil {
		t.Errorf("withdrawn %v, %v", withdrawn, err)
	}
}

// TestSentInParts has the MTA hand on one sent message in several transactions, one for some of the recipients each.
func TestSentInParts(t *testing.T) {
	f := openFixture(t)
	message := letter("a")
	for i, recipients := range [][]string{{"a@ext.test", "b@ext.test"}, {"b@ext.test", "c@ext.test"}, {"c@ext.test"}} {
		in := Intent{Mailbox: mario, Direction: Sent, Recipients: recipients}
		placed, err := f.try(message, fmt.Sprint("t", i), in)
		if err != nil {
			t.Fatal(err)
		}
		f.Delivered(placed[0].Ref, fmt.Sprint("t", i))
	}
	f.want(mario, "Sent/2026-11 1 delivered")
	e := f.list(mario)[0]
	if want := []string{"a@ext.test", "b@ext.test", "c@ext.test"}; !slices.Equal(e.Recipients, want) {
		t.Errorf("recipients %q, want %q", e.Recipients, want)
	}
	f.wantBytes(e.Ref, message)
}

func TestBadNames(t *testing.T) {
	f := openFixture(t)
	f.put(mario, letter("a"))
	for _, name := range []string{"", "\x00", mario + "\x00", mario + "\x00INBOX"} {
		_, err := f.try(letter("b"), "t", received(name))
		wantErr(t, fmt.Sprintf("Commit to %q", name), err, ErrMailbox)
		for e, err := range f.List(f.ctx(), name) {
			if e != nil {
				t.Errorf("List of %q yields %v", name, e.Ref)
			}
			wantErr(t, "List", err, ErrMailbox)
		}
		_, err = f.Entry(f.ctx(), Ref{name, "2026-11", "INBOX", 1})
		wantErr(t, "Entry", err, ErrMailbox)
		if name == "" {
			continue // stands for all mailboxes
		}
		wantErr(t, "Record", f.Record(f.ctx(), Record{Kind: Skip, Mailbox: name, Time: november}), ErrMailbox)
		for _, err := range f.Records(f.ctx(), name) {
			wantErr(t, "Records", err, ErrMailbox)
		}
		_, err = f.Stats(f.ctx(), name)
		wantErr(t, "Stats", err, ErrMailbox)
	}
}

// TestOneMailboxOnly asks for what is beside a mailbox in the order of keys.
func TestOneMailboxOnly(t *testing.T) {
	f := openFixture(t)
	names := []string{"a@x.test", "a@x.tes", "a@x.testt", "a@x.test ", "A@x.test", "a@x.tesu"}
	for _, name := range names {
		f.put(name, letter(name))
	}
	for _, name := range names {
		f.want(name, "INBOX/2026-11 1 delivered")
		if e := f.list(name)[0]; e.Mailbox != name || e.Subject != strings.TrimSpace(name) {
			t.Errorf("%q has an entry of %q", name, e.Mailbox)
		}
	}
	for _, r := range []Ref{
		{"a@x.test", "2026-11", "INBOX", 2}, {"a@x.test", "2026-11", "Sent", 1}, {"a@x.test", "2026-10", "INBOX", 1},
		{"b@x.test", "2026-11", "INBOX", 1}, {"a@x.test", "2026-11", "INBOX\x00", 1},
	} {
		_, err := f.Entry(f.ctx(), r)
		wantErr(t, fmt.Sprint(r), err, ErrNotFound)
	}
}

func TestStats(t *testing.T) {
	f := openFixture(t)
	f.put(mario, letter("a"))
	gone := f.deliver(mario, letter("b"), "t")
	f.put(anna, letter("c"))
	if _, err := f.Withdraw(f.ctx(), gone.Ref, "t", refusal("t")); err != nil {
		t.Fatal(err)
	}
	first := uint32(november.Unix())
	want := []FolderStats{
		{Mailbox: anna, Month: "2026-11", Folder: "INBOX", Entries: 1, Bytes: uint64(len(letter("c"))), UIDValidity: first + 1, NextUID: 2},
		{Mailbox: mario, Month: "2026-11", Folder: "INBOX", Entries: 1, Bytes: uint64(len(letter("a"))), UIDValidity: first, NextUID: 3},
	}
	for _, mailbox := range []string{"", mario} {
		got, err := f.Stats(f.ctx(), mailbox)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, want) {
			t.Errorf("stats of %q: %+v, want %+v", mailbox, got, want)
		}
		want = want[1:]
	}
	f.clock.set(november.AddDate(0, 1, 0))
	f.put(mario, letter("d"))
	sizes, err := f.Sizes(f.ctx())
	wantSizes := map[string]Size{anna: {Entries: 1, Bytes: uint64(len(letter("c")))}, mario: {Entries: 2, Bytes: uint64(len(letter("a")) + len(letter("d")))}}
	if err != nil || !maps.Equal(sizes, wantSizes) {
		t.Errorf("sizes %+v, %v; want %+v", sizes, err, wantSizes)
	}
}

// TestUIDValidity drops the volume of a folder and makes it again, whatever the clock says.
func TestUIDValidity(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	last := uint32(0)
	for i, at := range []time.Time{november, november, november.Add(time.Hour), november.Add(-48 * time.Hour), november} {
		f.clock.set(at)
		if i%2 == 1 {
			f.reopen()
		}
		f.put(mario, letter("a"))
		f.put(mario, letter("b"))
		stats, err := f.Stats(f.ctx(), mario)
		if err != nil {
			t.Fatal(err)
		}
		if len(stats) != 1 || stats[0].UIDValidity <= last || stats[0].NextUID != 3 {
			t.Errorf("round %d: the folder is %+v, the last UIDVALIDITY was %d", i, stats, last)
		}
		last = stats[0].UIDValidity
		if err := f.engine.Drop(f.ctx(), "2026-11"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestUIDValidityStays lets a folder become empty.
func TestUIDValidityStays(t *testing.T) {
	f := openFixture(t)
	var before FolderStats
	for i := range uint32(4) {
		p := f.deliver(mario, letter("a"), fmt.Sprint(i))
		if p.UID != i+1 {
			t.Errorf("UID %d after %d withdrawn entries", p.UID, i)
		}
		if _, err := f.Withdraw(f.ctx(), p.Ref, fmt.Sprint(i), refusal(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		stats, err := f.Stats(f.ctx(), mario)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 && stats[0].UIDValidity != before.UIDValidity || stats[0].Entries != 0 {
			t.Errorf("the folder is %+v, was %+v", stats[0], before)
		}
		before = stats[0]
	}
}

// TestConcurrent has 32 goroutines deliver, to one mailbox and to many: UIDs are dense, and who commits later has the greater one.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	for _, mailboxes := range []int{1, 20} {
		t.Run(fmt.Sprint(mailboxes, " mailboxes"), func(t *testing.T) {
			f := openFixture(t)
			const writers, each = 32, 10
			newest := make([]atomic.Uint32, mailboxes)
			var wg sync.WaitGroup
			for w := range writers {
				wg.Go(func() {
					for i := range each {
						box := (w + i) % mailboxes
						before := newest[box].Load()
						message := words(uint64(w*each+i), 100<<(i%9))
						placed, err := f.try(message, fmt.Sprint(w, " ", i), received(fmt.Sprintf("user%d@alpha.test", box)))
						if err != nil {
							t.Errorf("commit: %v", err)
							return
						}
						if placed[0].UID <= before {
							t.Errorf("UID %d, but %d was committed before", placed[0].UID, before)
						}
						for {
							n := newest[box].Load()
							if n >= placed[0].UID || newest[box].CompareAndSwap(n, placed[0].UID) {
								break
							}
						}
						f.Delivered(placed[0].Ref, fmt.Sprint(w, " ", i))
					}
				})
			}
			wg.Wait()
			total := 0
			for box := range mailboxes {
				f.FlushOutcomes(f.ctx())
				list := f.list(fmt.Sprintf("user%d@alpha.test", box))
				total += len(list)
				for i, e := range list {
					if e.UID != uint32(i+1) || e.State != Delivered {
						t.Fatalf("entry %d has UID %d and state %s", i, e.UID, e.State)
					}
				}
			}
			if total != writers*each {
				t.Errorf("%d entries, want %d", total, writers*each)
			}
		})
	}
}

// TestConcurrentRepetitions has the same message come in by many connections at once.
func TestConcurrentRepetitions(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	message := randomBytes(1, 300<<10)
	var made atomic.Int32
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			placed, err := f.try(message, fmt.Sprint(i), received(mario), received(anna))
			if err != nil {
				t.Errorf("commit: %v", err)
				return
			}
			for _, p := range placed {
				if !p.Found {
					made.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if made.Load() != 2 {
		t.Errorf("%d entries made, want 2", made.Load())
	}
	f.want(mario, "INBOX/2026-11 1 unknown")
	f.want(anna, "INBOX/2026-11 1 unknown")
	f.wantBytes(Ref{anna, "2026-11", "INBOX", 1}, message)
}

// TestCommitContext ends the context of a Commit before and while it waits. What then turns up is found by the retry.
func TestCommitContext(t *testing.T) {
	f, h := hookedFixture(t)
	message := bytes.Repeat(letter("a"), 100)
	commit := func(ctx context.Context, transaction string) (Placement, error) {
		d := f.NewDraft(f.ctx())
		defer d.Discard()
		d.Write(message)
		placed, err := d.Commit(ctx, Envelope{Transaction: transaction}, []Intent{received(mario)}, nil)
		if err != nil {
			return Placement{}, err
		}
		return placed[0], nil
	}
	ctx, cancel := context.WithCancel(f.ctx())
	cancel()
	_, err := commit(ctx, "t1")
	wantErr(t, "Commit with an ended context", err, context.Canceled)
	f.want(mario)

	ctx, cancel = context.WithCancel(f.ctx())
	h.set(func(ctx context.Context, next func(context.Context) error) error {
		if err := next(context.WithoutCancel(ctx)); err != nil {
			return err
		}
		cancel()
		return ctx.Err()
	})
	_, err = commit(ctx, "t2")
	wantErr(t, "Commit whose context ends", err, context.Canceled)
	h.set(nil)
	p, err := commit(f.ctx(), "t3")
	if err != nil || !p.Found {
		t.Errorf("the retry is at %+v, %v", p, err)
	}
	f.want(mario, "INBOX/2026-11 1 unknown")
}
