package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/policy"
	"copialettere/policy/pec/files"
)

// keeperOf returns a daemon on the data folder of a place, without its listeners, and its log.
func keeperOf(t *testing.T, p *place) (*daemon, *safeBuffer) {
	t.Helper()
	log := new(safeBuffer)
	logger := slog.New(slog.NewTextHandler(log, nil))
	a, err := openArchive(t.Context(), p.config(), logger)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.close(); err != nil {
			t.Error(err)
		}
	})
	d := newDaemon(p.config(), a, logger)
	watch, err := files.Open(sourcesOf(d.config.Load().PEC), a.metrics, logger)
	if err != nil {
		t.Fatal(err)
	}
	d.pec.Store(watch)
	return d, log
}

func addEntries(t *testing.T, k *daemon, mailbox string, count int) []journal.Ref {
	t.Helper()
	var refs []journal.Ref
	for i := range count {
		d := k.archive.journal.NewDraft(t.Context())
		fmt.Fprintf(d, "Subject: %d\r\n\r\nText\r\n", i)
		placed, err := d.Commit(t.Context(), journal.Envelope{Transaction: "T"}, []journal.Intent{{Mailbox: mailbox, Direction: journal.Received}}, nil)
		d.Discard()
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, placed[0].Ref)
		k.archive.journal.Delivered(placed[0].Ref, "T")
	}
	return refs
}

func entriesOf(t *testing.T, k *daemon, mailbox string) int {
	t.Helper()
	n := 0
	for _, err := range k.archive.journal.List(t.Context(), mailbox) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}

func verified(t *testing.T, k *daemon) {
	t.Helper()
	r, err := k.archive.journal.Verify(t.Context(), journal.EvidenceOptions{}, nil)
	if err != nil || r.Faults > 0 {
		t.Errorf("verify: %+v, %v", r, err)
	}
}

// TestErasure disables two mailboxes. Only the one whose grace is over is erased, and a hold stops that.
func TestErasure(t *testing.T) {
	p := newPlace(t)
	p.must("init")
	k, log := keeperOf(t, p)
	who := policy.Actor{Role: policy.RoleOperator, Name: "test"}
	boxes := make(map[string]policy.Address)
	for _, name := range []string{"anna", "bruno", "carla"} {
		a, err := policy.ParseAddress(name + "@alpha.test")
		if err != nil {
			t.Fatal(err)
		}
		boxes[name] = a
		if _, err := k.archive.policy.Enable(t.Context(), a, who); err != nil {
			t.Fatal(err)
		}
		refs := addEntries(t, k, a.String(), 3)
		if name == "carla" {
			if err := k.archive.journal.Hold(t.Context(), refs[1], "test", "case 1"); err != nil {
				t.Fatal(err)
			}
		}
		grace := time.Duration(0)
		if name == "bruno" {
			grace = 72 * time.Hour
		}
		if _, err := k.archive.policy.Disable(t.Context(), a, who, a.String(), grace); err != nil {
			t.Fatal(err)
		}
	}
	k.house.Keep(t.Context(), time.Now())
	for name, want := range map[string]int{"anna": 0, "bruno": 3, "carla": 3} {
		if n := entriesOf(t, k, boxes[name].String()); n != want {
			t.Errorf("%s has %d entries, want %d", name, n, want)
		}
	}
	now := time.Now()
	k.house.Keep(t.Context(), now)
	told := func() int { return strings.Count(log.String(), " 2: held: case 1") }
	if told() != 1 {
		t.Errorf("the hold was logged %d times, want once:\n%s", told(), log)
	}
	k.house.Keep(t.Context(), now.Add(25*time.Hour))
	if told() != 2 {
		t.Errorf("the hold was logged %d times, want once a day:\n%s", told(), log)
	}
	s, err := k.archive.policy.Settings(t.Context(), boxes["anna"])
	if err != nil || s.Erasure.State != policy.ErasureDone {
		t.Errorf("anna: %+v, %v", s.Erasure, err)
	}
	if changed, err := k.archive.policy.Restore(t.Context(), boxes["bruno"], who); !changed || err != nil {
		t.Errorf("restore within the grace: %v, %v", changed, err)
	}
	if _, err := k.archive.policy.Restore(t.Context(), boxes["anna"], who); err == nil {
		t.Error("an erased archive was restored")
	}
	verified(t, k)
}

// TestRetentionHour: the retention runs once a day, at its hour or later, and not again after a restart.
func TestRetentionHour(t *testing.T) {
	p := newPlace(t)
	p.must("init")
	k, _ := keeperOf(t, p)
	addEntries(t, k, "anna@alpha.test", 2)
	runs := func() int {
		n := 0
		for _, err := range k.archive.journal.Runs(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		return n
	}
	now := time.Now()
	// Half a day away from now, whenever that is.
	c := *k.config.Load()
	c.Retention.Hour, c.Retention.Minute = (now.Hour()+12)%24, 0
	k.configure(&c)
	k.house.Keep(t.Context(), now)
	k.house.Keep(t.Context(), now.Add(time.Minute))
	if n := runs(); n != 1 {
		t.Fatalf("%d runs, want 1", n)
	}
	k.house = newHouse(k)
	k.configure(&c)
	k.house.Keep(t.Context(), now.Add(time.Minute))
	if n := runs(); n != 1 {
		t.Errorf("%d runs after a restart, want 1", n)
	}
	k.house.Keep(t.Context(), now.Add(25*time.Hour))
	if n := runs(); n != 2 {
		t.Errorf("%d runs on the next day, want 2", n)
	}
	if n := entriesOf(t, k, "anna@alpha.test"); n != 2 {
		t.Errorf("%d entries, want 2: nothing expires without a retention", n)
	}
	verified(t, k)
}

// TestRetentionAfterAWrongClock: after a run with a clock a year ahead, the daily runs go on at the right time, also after a restart.
func TestRetentionAfterAWrongClock(t *testing.T) {
	p := newPlace(t)
	p.must("init")
	k, _ := keeperOf(t, p)
	now := time.Now()
	var ran []time.Time
	for _, at := range []time.Time{now.AddDate(-1, 0, 0), now.AddDate(0, 0, -10), now} {
		report, err := k.archive.journal.Expire(t.Context(), journal.ExpireOptions{
			Mailboxes: func(string) (int, bool) { return 0, false }, Now: at.AddDate(1, 0, 0), Yes: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		ran = append(ran, report.Time)
	}
	// The last two are in the future; the keeper has tried on the last one, too.
	k.house.Keep(t.Context(), ran[2].Add(time.Second))
	past := now.Add(25 * time.Hour)
	k.house.Keep(t.Context(), past)
	k.house = newHouse(k)
	k.configure(k.config.Load())
	k.house.Keep(t.Context(), past.Add(25*time.Hour))
	runs := 0
	for _, err := range k.archive.journal.Runs(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		runs++
	}
	if runs != 5 {
		t.Errorf("%d runs, want 5", runs)
	}
}

// TestMailboxHold places a hold on a mailbox. The journal asks the settings before it deletes, and makes no room. The hold is in the settings
// alone, so a hold from an earlier version, or from before a crash, is in force as well.
func TestMailboxHold(t *testing.T) {
	p := newPlace(t)
	p.must("init")
	k, _ := keeperOf(t, p)
	a, err := policy.ParseAddress("anna@alpha.test")
	if err != nil {
		t.Fatal(err)
	}
	who := policy.Actor{Role: policy.RoleOperator, Name: "test"}
	if _, err := k.archive.policy.Enable(t.Context(), a, who); err != nil {
		t.Fatal(err)
	}
	refs := addEntries(t, k, a.String(), 2)
	if changed, err := k.archive.acts(k.config.Load(), nil).HoldMailbox(t.Context(), who, a, "case 1"); err != nil || !*changed.Changed {
		t.Fatalf("hold: %+v, %v", changed, err)
	}
	if _, err := k.archive.journal.Delete(t.Context(), refs[0].Only(), "owner"); !errors.Is(err, journal.ErrHeld) {
		t.Errorf("delete under the hold: %v", err)
	}
	used, err := k.archive.journal.Usage(t.Context(), a.String())
	if err != nil {
		t.Fatal(err)
	}
	full := func(text string) journal.Placement {
		t.Helper()
		d := k.archive.journal.NewDraft(t.Context())
		defer d.Discard()
		d.Write([]byte("Subject: " + text + "\r\n\r\nCiao.\r\n"))
		placed, err := d.Commit(t.Context(), journal.Envelope{Transaction: text}, []journal.Intent{{
			Mailbox: a.String(), Direction: journal.Received, Quota: journal.Quota{Limit: used, WhenFull: journal.MakeRoom},
		}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return placed[0]
	}
	if got := full("1"); got.Skipped != journal.ReasonFull {
		t.Errorf("a message for which there is no room under the hold: %+v", got)
	}
	if n := entriesOf(t, k, a.String()); n != 2 {
		t.Errorf("%d entries of 2 are left", n)
	}
	if _, err := k.archive.policy.Release(t.Context(), a, who); err != nil {
		t.Fatal(err)
	}
	if got := full("2"); got.Skipped != "" {
		t.Errorf("a message when the hold is lifted: %+v", got)
	}
	verified(t, k)
}

// TestHouseWhileStopping keeps house while the daemon stops, which does nothing and is no error, and then on a broken store, which is one.
func TestHouseWhileStopping(t *testing.T) {
	p := newPlace(t)
	p.must("init")
	k, log := keeperOf(t, p)
	addEntries(t, k, "anna@alpha.test", 1)
	stopped, stop := context.WithCancel(t.Context())
	stop()
	k.house.Keep(stopped, time.Now())
	if log.String() != "" {
		t.Errorf("logged while stopping:\n%s", log)
	}
	if err := k.archive.folder.Engine.Close(); err != nil {
		t.Fatal(err)
	}
	k.house.Keep(t.Context(), time.Now())
	if strings.Count(log.String(), "level=ERROR") < 2 {
		t.Errorf("logged without a store:\n%s", log)
	}
}

func TestRetentionCommand(t *testing.T) {
	p := newPlace(t)
	p.must("init")
	if out := p.must("retention", "-dry-run"); !strings.Contains(out, "would be deleted: 0 of 0 entries") {
		t.Errorf("preview: %s", out)
	}
	if out := p.must("retention", "-json"); !strings.Contains(out, `"removed"`) {
		t.Errorf("run: %s", out)
	}
	var out strings.Builder
	report := &journal.ExpireReport{All: 200, Removed: journal.Removed{Entries: 150, Bytes: 1000}, Abnormal: []string{"too many"}}
	(&invocation{stdout: &out}).printExpired(report, true)
	if want := "ABNORMAL too many\nrefused, nothing was deleted; -yes would delete 150 of 200 entries, 1.0 kB\n"; out.String() != want {
		t.Errorf("refused: %s", out.String())
	}
}

// TestDeactivation disables, restores, disables for good, and enables again, through the running daemon.
func TestDeactivation(t *testing.T) {
	p := newPlace(t)
	p.must("init")
	stop := p.daemon()
	p.must("mailbox", "enable", anna)
	p.deliver("X-Number: 1\r\n"+message, anna, anna)
	if code, _, stderr := p.run("mailbox", "disable", anna); code != 2 || !strings.Contains(stderr, "-confirm "+anna) {
		t.Errorf("disable without confirmation: exit status %d\n%s", code, stderr)
	}
	p.must("mailbox", "disable", anna, "-confirm", anna)
	p.deliver("X-Number: 2\r\n"+message, anna, anna)
	p.must("mailbox", "restore", anna)
	p.deliver("X-Number: 3\r\n"+message, anna, anna)
	if n := len(p.entries(anna)); n != 2 {
		t.Errorf("%d entries, want 2: nothing is archived during a pause", n)
	}
	if gaps := p.must("gaps", anna); !strings.Contains(gaps, "not-activated") || !strings.Contains(gaps, "disabled") {
		t.Errorf("gaps:\n%s", gaps)
	}
	defer stop()
	p.must("mailbox", "disable", anna, "-confirm", anna, "-now")
	// At once: far less than a minute, after which the daemon keeps house.
	deadline := time.Now().Add(20 * time.Second)
	for !strings.Contains(p.must("mailbox", "show", anna, "-json"), `"erasure":"done"`) {
		if time.Now().After(deadline) {
			t.Fatal("the archive was not erased")
		}
		time.Sleep(20 * time.Millisecond)
	}
	if n := len(p.entries(anna)); n != 0 {
		t.Errorf("%d entries in an erased archive", n)
	}
	if log := p.must("mailbox", "log", anna); strings.Count(log, "archive from") < 4 {
		t.Errorf("the change log did not stay:\n%s", log)
	}
	if code, _, _ := p.run("mailbox", "restore", anna); code != 1 {
		t.Errorf("restore of an erased archive: exit status %d", code)
	}
	p.must("mailbox", "enable", anna)
	p.deliver("X-Number: 4\r\n"+message, anna, anna)
	if n := len(p.entries(anna)); n != 1 {
		t.Errorf("%d entries after enabling anew, want 1", n)
	}
	if gaps := p.must("gaps", anna); !strings.Contains(gaps, "erased") {
		t.Errorf("gaps after the erasure:\n%s", gaps)
	}
	p.must("verify")
}
