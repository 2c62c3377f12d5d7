package journal

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/journal/kv"
	"copialettere/journal/kv/keyed"
)

// office files some messages of mario and anna in three months, some of them shared and linked, and a record of each month.
func (f *fixture) office(each int) {
	f.t.Helper()
	for month := range 3 {
		f.clock.set(november.AddDate(0, month, 0))
		for i := range each {
			message := sized(fmt.Sprint(month, " ", i), 200+i)
			if i%10 == 0 {
				message = words(uint64(i), 20<<10)
			}
			f.file(message, linked(mario, fmt.Sprint("l", i)), linked(anna, fmt.Sprint("l", i)))
		}
		f.file(letter("sent"), Intent{Mailbox: mario, Direction: Sent})
		records := []Record{gap("all", f.clock.now()), {Kind: Skip, Mailbox: mario, Time: f.clock.now(), Reason: "alias"},
			{Kind: Gap, Mailbox: mario, Time: f.clock.now(), Reason: ReasonDisabled}}
		if err := f.Record(f.ctx(), records...); err != nil {
			f.t.Fatal(err)
		}
	}
}

// keysOf lists the keys in all stores in which the name of a mailbox stands, by kind.
func (f *fixture) keysOf(mailbox string) (kinds string) {
	f.t.Helper()
	settings, err := f.engine.Settings(f.ctx())
	if err != nil {
		f.t.Fatal(err)
	}
	stores := []kv.Store{settings}
	months, err := f.engine.Volumes(f.ctx())
	if err != nil {
		f.t.Fatal(err)
	}
	for _, m := range months {
		s, err := f.engine.Volume(f.ctx(), m, false)
		if err != nil {
			f.t.Fatal(err)
		}
		stores = append(stores, s)
	}
	found := make(map[byte]bool)
	for _, s := range stores {
		for p, err := range s.Scan(f.ctx(), nil, nil) {
			if err != nil {
				f.t.Fatal(err)
			}
			if strings.Contains(string(p.Key[1:]), mailbox) {
				found[p.Key[0]] = true
			}
		}
	}
	for kind := range 256 {
		if found[byte(kind)] {
			kinds += string(rune(kind))
		}
	}
	return kinds
}

func TestErase(t *testing.T) {
	f := openFixture(t)
	f.office(25)
	before := len(f.list(anna))
	last := f.list(mario)[20].Ref
	if err := f.Hold(f.ctx(), last, "operator", "case 1"); err != nil {
		t.Fatal(err)
	}
	count := len(f.list(mario))
	removed, err := f.Erase(f.ctx(), mario, EraseOptions{})
	wantErr(t, "erase", err, ErrHeld)
	if len(f.list(mario)) != count || removed.Entries != 0 {
		t.Errorf("entries were erased beside one that is held: %d", removed.Entries)
	}
	if err := f.Release(f.ctx(), last, "operator", "closed"); err != nil {
		t.Fatal(err)
	}
	usage, _ := f.Usage(f.ctx(), mario)
	var progress []kv.Month
	removed, err = f.Erase(f.ctx(), mario, EraseOptions{KeepGaps: true, Progress: func(m kv.Month, _ Removed) { progress = append(progress, m) }})
	if err != nil || removed != (Erased{Removed: Removed{uint64(count), usage}}) {
		t.Errorf("erased %+v, %v; want %d of %d bytes", removed, err, count, usage)
	}
	if !slices.Equal(slices.Compact(progress), []kv.Month{"2026-11", "2026-12", "2027-01"}) {
		t.Errorf("progress %v", progress)
	}
	f.want(mario)
	f.wantUsage(mario, 0)
	f.wantLinked(mario, "l3")
	if got := f.keysOf(mario); got != "ag" {
		t.Errorf("keys of the kinds %q are left", got)
	}
	counts := make(map[string]int)
	for _, r := range f.records(mario) {
		counts[r.Reason]++
	}
	if counts[ReasonErased] != 3 || counts[ReasonDisabled] != 3 || counts["alias"] != 0 {
		t.Errorf("records left: %v", counts)
	}
	var erased uint64
	for _, r := range f.records(mario) {
		erased += r.Entries
		if r.Reason == ReasonErased && (kv.MonthOf(r.Time) != kv.MonthOf(r.Until) || !r.Time.Before(r.Until)) {
			t.Errorf("record %+v", r)
		}
	}
	if erased != uint64(count) {
		t.Errorf("%d entries are on record, of %d", erased, count)
	}
	if len(f.list(anna)) != before {
		t.Error("anna lost entries")
	}
	for _, e := range f.list(anna) {
		f.bytes(e.Ref)
	}
	if _, err := f.Erase(f.ctx(), mario, EraseOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := f.reasons(mario); len(got) != 3 || !strings.HasPrefix(got[0], ReasonErased) {
		t.Errorf("records %q", got)
	}
	// What comes after activation is new, in folders of a greater UIDVALIDITY.
	f.file(letter("sent"), Intent{Mailbox: mario, Direction: Sent})
	f.want(mario, "Sent/2027-01 1 unknown")
	if _, err := f.Erase(f.ctx(), "", EraseOptions{}); !errors.Is(err, ErrMailbox) {
		t.Error(err)
	}
}

func TestEraseFails(t *testing.T) {
	f, h := hookedFixture(t)
	f.office(5)
	h.set(unavailable)
	_, err := f.Erase(f.ctx(), mario, EraseOptions{})
	wantErr(t, "erase", err, kv.ErrUnavailable)
	h.set(nil)
	if _, err := f.Erase(f.ctx(), mario, EraseOptions{}); err != nil {
		t.Fatal(err)
	}
	f.want(mario)
	f.wantUsage(mario, 0)
}

// TestEraseKilled kills an erasure at one write after the other.
func TestEraseKilled(t *testing.T) {
	t.Parallel()
	f := openFixture(t)
	f.eraseKilled()
}

// TestEraseKeyedKilled does so where entries are sealed under the key of their mailbox, which is destroyed with them.
func TestEraseKeyedKilled(t *testing.T) {
	t.Parallel()
	f := keyedFixture(t)
	f.file(letter("before"), received(mario))
	before, err := os.ReadFile(f.keys)
	if err != nil {
		t.Fatal(err)
	}
	f.eraseKilled()
	after, err := os.ReadFile(f.keys)
	if err != nil {
		t.Fatal(err)
	}
	if _, changed := keyed.Scrub(before, after); !changed {
		t.Error("the key was not destroyed")
	}
}

func (f *fixture) eraseKilled() {
	t := f.t
	t.Helper()
	f.office(6)
	count, others := len(f.list(mario)), len(f.list(anna))
	f.clock.set(november.AddDate(0, 3, 0).Truncate(time.Second))
	f.killAtEach("erase", 1, func() {
		if len(f.list(anna)) != others {
			t.Fatal("anna lost entries")
		}
	})
	f.want(mario)
	var erased uint64
	for _, r := range f.records(mario) {
		erased += r.Entries
	}
	if erased != uint64(count) {
		t.Errorf("%d entries are on record as erased, of %d", erased, count)
	}
	for _, e := range f.list(anna) {
		f.bytes(e.Ref)
	}
}
