package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/journal/kv/level"
	"copialettere/lmtp/nexthop/nexthoptest"
	"copialettere/policy/archive"
	"copialettere/policy/notice"
)

// arrived puts messages into the journal of a place that nobody has open, as if they had arrived at that time.
func (p *place) arrived(at time.Time, mailbox string, count int) {
	p.t.Helper()
	p.at(at, func(j *journal.Journal) {
		for i := range count {
			d := j.NewDraft(p.t.Context())
			fmt.Fprintf(d, "Subject: %d of %s\r\n\r\nText\r\n", i, at)
			_, err := d.Commit(p.t.Context(), journal.Envelope{Transaction: "T"}, []journal.Intent{{Mailbox: mailbox, Direction: journal.Received}}, nil)
			d.Discard()
			if err != nil {
				p.t.Fatal(err)
			}
		}
	})
}

// retained puts on record a run of the retention, at that time, that deleted nothing.
func (p *place) retained(at time.Time) {
	p.t.Helper()
	p.at(at, func(j *journal.Journal) {
		if _, err := j.Expire(p.t.Context(), journal.ExpireOptions{Mailboxes: func(string) (int, bool) { return 0, false }}); err != nil {
			p.t.Fatal(err)
		}
	})
}

// at opens the journal of a place that nobody has open, with a clock that shows that time.
func (p *place) at(at time.Time, fn func(*journal.Journal)) {
	p.t.Helper()
	engine, err := level.Open(filepath.Join(p.dir, "data", "journal"), level.Options{})
	if err != nil {
		p.t.Fatal(err)
	}
	defer engine.Close()
	j, err := journal.Open(engine, journal.Options{Now: func() time.Time { return at }})
	if err != nil {
		p.t.Fatal(err)
	}
	defer j.Close()
	fn(j)
}

// waiting lists the notices in the queue of an open data folder, by mailbox and event.
func waiting(t *testing.T, a *opened) (list []string) {
	t.Helper()
	s, err := a.folder.Engine.Settings(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for pair, err := range s.Scan(t.Context(), []byte("wq"), []byte("wr")) {
		var n notice.Notice
		if err == nil {
			err = json.Unmarshal(pair.Value, &n)
		}
		if err != nil {
			t.Fatal(err)
		}
		if n.To != "" { // the code for an address that a test has confirmed without it
			continue
		}
		list = append(list, strings.TrimSpace(n.Mailbox+" "+n.Event.String()+" "+n.Reason))
	}
	slices.Sort(list)
	return list
}

// sent waits until the daemons of a place have mailed that many notices.
func (p *place) sent(count int) {
	p.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for strings.Count(p.log.String(), "notice sent") < count {
		if time.Now().After(deadline) {
			p.t.Fatalf("%d notices were not sent", count)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestRetentionTells runs the retention in every possible way. The daemon tells the owner once what was deleted.
func TestRetentionTells(t *testing.T) {
	const deleted = "Messaggi cancellati dall'archivio di anna@alpha.test"
	command := func(args ...string) func(*testing.T, *place) {
		return func(t *testing.T, p *place) { p.run(append([]string{"retention"}, args...)...) }
	}
	daily := func(t *testing.T, p *place) {
		k, _ := keeperOf(t, p)
		k.house.Keep(t.Context(), time.Now())
		if err := k.archive.close(); err != nil {
			t.Fatal(err)
		}
		k.archive.folder, k.archive.journal, k.archive.notices = nil, nil, nil
	}
	longAgo := time.Now().AddDate(0, -2, 0)
	for _, c := range []struct {
		name   string
		daemon bool      // is up meanwhile
		last   time.Time // the last run
		run    func(*testing.T, *place)
		want   []string
	}{
		{name: "daily run", run: daily, want: []string{deleted}},
		{name: "daily run, refused", last: longAgo, run: daily},
		{name: "command, to the daemon", daemon: true, run: command(), want: []string{deleted}},
		{name: "command, on the folder", run: command(), want: []string{deleted}},
		{name: "command, dry run, to the daemon", daemon: true, run: command("-dry-run")},
		{name: "command, dry run, on the folder", run: command("-dry-run")},
		{name: "command, refused", last: longAgo, run: command()},
		{name: "command, abnormal and confirmed", last: longAgo, run: command("-yes"), want: []string{deleted}},
		{name: "command, twice", run: func(t *testing.T, p *place) { command()(t, p); command()(t, p) }, want: []string{deleted}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, relay := noticePlace(t, nexthoptest.Script{})
			// The daemon of this test runs no retention of its own.
			p.configure(fmt.Sprintf("[retention]\nat = %q\n", time.Now().Add(-time.Minute).Format("15:04")))
			p.must("mailbox", "enable", anna)
			if c.daemon {
				p.must("retention")
			}
			p.notify(noticeAddress, "notify_on=retention", "retention=6")
			p.arrived(time.Now().AddDate(0, -8, 0), anna, 3)
			if !c.last.IsZero() {
				p.retained(c.last)
			}
			if c.daemon {
				stop := p.daemon()
				c.run(t, p)
				p.sent(len(c.want))
				stop()
				k, _ := keeperOf(t, p)
				if got := waiting(t, k.archive); len(got) > 0 {
					t.Errorf("waiting: %q", got)
				}
				verified(t, k)
			} else {
				c.run(t, p)
				if len(relay.Messages()) > 0 {
					t.Errorf("%d notices were sent without a daemon", len(relay.Messages()))
				}
				k, _ := keeperOf(t, p)
				if got := waiting(t, k.archive); len(got) != len(c.want) {
					t.Errorf("waiting: %q", got)
				}
				n := k.archive.notices
				for range 2 {
					if err := n.Deliver(t.Context(), time.Now().Add(time.Minute)); err != nil {
						t.Fatal(err)
					}
				}
				verified(t, k)
			}
			if got := subjects(t, relay, len(c.want)); !slices.Equal(got, c.want) {
				t.Errorf("told %q, want %q", got, c.want)
			}
			for _, m := range relay.Messages() {
				if !strings.Contains(string(m.Body), "Messaggi:   3\r\n") {
					t.Errorf("the notice does not tell of 3 messages:\n%s", m.Body)
				}
			}
		})
	}
}

// TestGapsAreTold puts gaps on record in a daemon, or before it is up: the owner is told once.
func TestGapsAreTold(t *testing.T) {
	const missing, room = "Posta di anna@alpha.test non archiviata", "Messaggi vecchi cancellati dall'archivio di anna@alpha.test"
	const lost = "Nell'archivio di anna@alpha.test possono mancare messaggi"
	message := func(i int) string {
		return fmt.Sprintf("From: s@ext.test\r\nMessage-ID: <%d@ext.test>\r\n\r\n%s\r\n", i, strings.Repeat("x", 500))
	}
	for _, c := range []struct {
		name     string
		settings []string
		spool    string                   // before the daemon is up
		before   func(*testing.T, *place) // it is up
		messages int
		want     []string
	}{
		{name: "nothing", messages: 3},
		{name: "no room", settings: []string{"quota=700B"}, messages: 5, want: []string{missing}},
		{name: "room made", settings: []string{"quota=1300B", "when_full=make-room"}, messages: 8, want: []string{room}},
		{name: "room made, and none for one", settings: []string{"quota=100B", "when_full=make-room"}, messages: 1, want: []string{missing}},
		{name: "gaps of the spool", spool: spooledGap(1) + spooledGap(2) + spooledGap(3), want: []string{missing}},
		{name: "gaps of the spool, taken in by a command", spool: spooledGap(1), before: func(t *testing.T, p *place) { p.must("gaps", anna) },
			want: []string{missing}},
		{name: "damaged spool", spool: "damaged\n", want: []string{lost}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, relay := noticePlace(t, nexthoptest.Script{})
			p.must("mailbox", "enable", anna)
			p.notify(noticeAddress, append([]string{"notify_on=gap"}, c.settings...)...)
			spool := filepath.Join(p.dir, "data", "gaps")
			for range 2 {
				if c.spool != "" {
					// The second time, this is what a crash leaves between writing to the journal and removing the spool.
					if err := os.WriteFile(spool, []byte(c.spool), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				if c.before != nil {
					c.before(t, p)
				}
				stop := p.daemon()
				for i := range c.messages {
					p.deliver(message(i), anna, anna)
				}
				p.sent(len(c.want))
				stop()
			}
			if got := subjects(t, relay, len(c.want)); !slices.Equal(got, c.want) {
				t.Errorf("told %q, want %q", got, c.want)
			}
			k, _ := keeperOf(t, p)
			if got := waiting(t, k.archive); len(got) > 0 {
				t.Errorf("waiting: %q", got)
			}
			verified(t, k)
		})
	}
}

// spooledGap is a line of the spool: a message of today that the journal could not take.
func spooledGap(i int) string {
	at := time.Now().UTC().Truncate(time.Hour).Add(-time.Duration(i) * time.Second).Format(time.RFC3339)
	return fmt.Sprintf(`{"kind":2,"mailbox":%q,"time":%q,"reason":"journal-fault","message_id":"<%d@ext.test>"}`, anna, at, i) + "\n"
}

// TestSpooledGaps asks for the gaps while one is in the spool of a running daemon, and when it has been taken in.
func TestSpooledGaps(t *testing.T) {
	p := newPlace(t)
	p.must("init")
	p.must("mailbox", "enable", anna)
	p.level.Set(slog.LevelDebug)
	stop := p.daemon()
	p.await("the housekeeping, which takes the spool in", func() bool { return strings.Contains(p.log.String(), "housekeeping done") })
	spool := filepath.Join(p.dir, "data", "gaps")
	if err := os.WriteFile(spool, []byte(spooledGap(1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		spooled bool
		before  func()
	}{
		{"in the spool", true, func() {}},
		{"taken in", false, stop}, // whoever opens the folder takes the spool in
		{"left in the spool as well", false, func() {
			stop = p.daemon()
			if err := os.WriteFile(spool, []byte(spooledGap(1)), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.before()
			var gaps []archive.Gap
			for _, g := range lines[archive.Gap](p, "gaps", anna) {
				if g.Kind == archive.GapMissing {
					gaps = append(gaps, g)
				}
			}
			if len(gaps) != 1 || gaps[0].Spooled != c.spooled || gaps[0].MessageID != "<1@ext.test>" {
				t.Errorf("gaps: %+v", gaps)
			}
			if got := strings.Count(p.must("gaps", anna), "spooled\n") == 1; got != c.spooled {
				t.Errorf("marked: %v, want %v", got, c.spooled)
			}
			why := lines[archive.Verdict](p, "why", anna, "-message-id", "1@ext.test")
			if len(why) != 1 || why[0].Spooled != c.spooled || why[0].Verdict != "gap" {
				t.Errorf("why: %+v", why)
			}
		})
	}
	stop()
	p.must("verify")
}

// TestSpooledGapsOfABrokenVolume: a gap that the journal cannot take does not keep the daemon from starting.
func TestSpooledGapsOfABrokenVolume(t *testing.T) {
	p := newPlace(t)
	p.must("init")
	p.must("mailbox", "enable", anna)
	data := filepath.Join(p.dir, "data")
	if err := os.WriteFile(filepath.Join(data, "gaps"), []byte(spooledGap(1)), 0o600); err != nil {
		t.Fatal(err)
	}
	volume := filepath.Join(data, "journal", string(kv.MonthOf(time.Now().UTC().Truncate(time.Hour).Add(-time.Second))))
	if err := os.WriteFile(volume, []byte("no folder"), 0o600); err != nil {
		t.Fatal(err)
	}
	stop := p.daemon()
	if code, gaps, stderr := p.run("gaps", anna); code != 1 || strings.Count(gaps, "spooled\n") != 1 || !strings.Contains(stderr, volume) {
		t.Errorf("gaps: exit status %d\n%s%s", code, gaps, stderr)
	}
	stop()
	if err := os.Remove(volume); err != nil {
		t.Fatal(err)
	}
	if gaps := p.must("gaps", anna); strings.Contains(gaps, "spooled") || !strings.Contains(gaps, "<1@ext.test>") {
		t.Errorf("gaps of the mended folder:\n%s", gaps)
	}
}
