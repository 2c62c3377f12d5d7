package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/journal"
	"copialettere/journal/backup"
	"copialettere/lmtp/nexthop/nexthoptest"
)

const bruno = "bruno@alpha.test"

// lose moves the data folder away.
func (p *place) lose() {
	p.t.Helper()
	p.do(os.Rename(filepath.Join(p.dir, "data"), filepath.Join(p.dir, fmt.Sprint("lost", time.Now().UnixNano()))))
}

// backedUp makes a backup and returns when it was taken, as -list shows it.
func (p *place) backedUp(flags ...string) string {
	p.t.Helper()
	var r backup.Report
	if err := json.Unmarshal([]byte(p.must(append([]string{"backup", filepath.Join(p.dir, "disk"), "-json"}, flags...)...)), &r); err != nil {
		p.t.Fatal(err)
	}
	return r.Taken.Format(time.RFC3339Nano)
}

// subjects lists the subjects of a mailbox, sorted.
func (p *place) subjects(mailbox string) string {
	p.t.Helper()
	var list []string
	for _, e := range p.entries(mailbox) {
		list = append(list, e.Subject)
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

func (p *place) folderOf(mailbox string) journal.FolderStats {
	p.t.Helper()
	var f journal.FolderStats
	if err := json.Unmarshal([]byte(p.must("stats", mailbox, "-json")), &f); err != nil {
		p.t.Fatal(err)
	}
	return f
}

func subject(s string) string { return "Subject: " + s + "\r\n\r\nText of " + s + "\r\n" }

// TestBackupAndLoss loses the data folder and comes back: twice, with the daemon running while the backup is made, and without one.
func TestBackupAndLoss(t *testing.T) {
	p := newPlace(t)
	p.must("init")
	p.must("mailbox", "enable", anna)
	p.must("mailbox", "enable", bruno)
	p.must("mailbox", "pause", bruno)
	disk := filepath.Join(p.dir, "disk")
	p.fails(1, []string{"is no backup", "-begin"}, "backup", disk)
	for _, args := range [][]string{{"backup", disk, "-list"}, {"backup", disk, "-check"}, {"restore-backup", disk}} {
		if _, _, stderr := p.run(args...); !strings.Contains(stderr, "is no backup: see whether its disk is mounted") || strings.Contains(stderr, "begin") {
			t.Errorf("%q where there is none: %s", args, stderr) // to begin one is no remedy there
		}
	}
	stop := p.daemon()
	for _, s := range []string{"a", "b"} {
		p.deliver(subject(s), anna, anna)
	}
	p.backedUp("-begin")
	if log := p.log.String(); strings.Contains(log, "level=ERROR") {
		t.Errorf("the daemon said:\n%s", log)
	}
	before := p.folderOf(anna)
	p.deliver(subject("later"), anna, anna)
	stop()
	p.fails(1, []string{"is not empty"}, "restore-backup", disk)
	p.lose()
	said := p.must("restore-backup", disk)
	if !strings.Contains(said, "1 archives have the time from then") {
		t.Errorf("restore-backup said %s", said)
	}
	p.must("verify")
	if got := p.subjects(anna); got != "a b" {
		t.Errorf("restored: %s", got)
	}
	if gaps := p.must("gaps", anna); !strings.Contains(gaps, "restored") {
		t.Errorf("gaps of anna:\n%s", gaps)
	}
	if gaps := p.must("gaps", bruno); strings.Contains(gaps, "restored") {
		t.Errorf("gaps of bruno, which was paused:\n%s", gaps)
	}
	after := p.folderOf(anna)
	if after.UIDValidity <= before.UIDValidity || after.NextUID < before.NextUID+1<<20 {
		t.Errorf("folder before %+v, after %+v", before, after)
	}

	// Again, of what was restored, with nobody running.
	stop = p.daemon()
	p.deliver(subject("c"), anna, anna)
	p.deliver(subject("later"), anna, anna)
	stop()
	p.backedUp()
	p.lose()
	p.must("restore-backup", disk)
	p.must("verify")
	if got := p.subjects(anna); got != "a b c later" {
		t.Errorf("restored again: %s", got)
	}
	if list := p.must("backup", disk, "-list"); strings.Count(list, "\n") != 2 {
		t.Errorf("backups:\n%s", list)
	}
	p.must("backup", disk, "-check")
	p.lose()
	p.fails(1, []string{"has no backup of 2020-01-01"}, "restore-backup", disk, "-of", "2020-01-01T00:00:00Z")
}

// TestRestoreOlder restores an older backup. What was deleted or erased before the newest one stays so, and -alone brings it back.
func TestRestoreOlder(t *testing.T) {
	p := newPlace(t)
	p.must("init")
	disk := filepath.Join(p.dir, "disk")
	for _, mailbox := range []string{anna, bruno} {
		p.must("mailbox", "enable", mailbox)
		p.must("mailbox", "set", mailbox, "manual_delete=on", "write=on")
	}
	stop := p.daemon()
	for _, s := range []string{"gone", "held", "moved", "stays"} {
		p.deliver(subject(s), anna, anna)
	}
	p.deliver(subject("secret"), bruno, bruno)
	folder := p.entries(anna)[0].Folder
	older := p.backedUp("-begin")
	p.must("delete", anna, folder, "1")
	p.must("hold", anna, folder, "2", "-reason", "case 1")
	p.must("move", anna, folder, "3", "Trash")
	p.must("mailbox", "disable", bruno, "-confirm", bruno, "-now")
	p.await("the erasure", func() bool { return strings.Contains(p.log.String(), "archive erased") })
	p.deliver(subject("later"), anna, anna)
	p.must("checkpoint")
	p.backedUp()
	stop()

	p.lose()
	said := p.must("restore-backup", disk, "-of", older)
	if !strings.Contains(said, "2 messages were deleted later, and stay so") {
		t.Errorf("restore-backup said %s", said)
	}
	// The log of anna is shorter than a checkpoint says: nobody puts a log back in secret.
	if report := p.must("verify"); !strings.Contains(report, "; 1 log put back to an earlier state by a restore from a backup, as is on record") {
		t.Errorf("verify: %s", report)
	}
	p.must("checkpoint")
	p.must("verify")
	if got := p.subjects(anna); got != "held moved stays" {
		t.Errorf("anna: %s", got)
	}
	code, stdout, _ := p.run("list", bruno)
	if strings.Contains(stdout, "secret") || code == 2 {
		t.Errorf("bruno, who was erased: %d %s", code, stdout)
	}
	if show := p.must("mailbox", "show", anna); !strings.Contains(show, "case 1") {
		t.Errorf("the hold was lost:\n%s", show)
	}
	if log := p.must("mailbox", "log", anna); !strings.Contains(log, "delete "+folder+" 1") {
		t.Errorf("the act was lost:\n%s", log)
	}

	p.lose()
	p.must("restore-backup", disk, "-of", older, "-alone")
	p.must("verify")
	if got := p.subjects(anna) + " " + p.subjects(bruno); got != "gone held moved stays secret" {
		t.Errorf("-alone: %s", got)
	}
}

// TestRebuildCommand mends counters, and finds nothing to do in a whole archive. It leaves a running daemon alone.
func TestRebuildCommand(t *testing.T) {
	p := newPlace(t)
	p.must("init")
	p.must("mailbox", "enable", anna)
	stop := p.daemon()
	p.deliver(subject("a"), anna, anna)
	p.fails(1, []string{"the daemon is running"}, "rebuild")
	stop()
	if said := p.must("rebuild"); said != "1 message read, 0 faults mended\n" {
		t.Errorf("rebuild of a whole archive said %s", said)
	}
	p.damage("s")
	if code, _, _ := p.run("verify"); code != 1 {
		t.Errorf("verify of damaged counters: %d", code)
	}
	if said := p.must("rebuild"); !strings.Contains(said, "1 message read, 1 fault mended") {
		t.Errorf("rebuild said %s", said)
	}
	p.must("verify")
}

// TestRestoreTells restores a backup of two archives, of which one wants notices of gaps: once the daemon runs again, its owner is told, and nobody else.
func TestRestoreTells(t *testing.T) {
	p, relay := noticePlace(t, nexthoptest.Script{})
	p.must("mailbox", "enable", anna)
	p.must("mailbox", "enable", bruno)
	p.notify(noticeAddress, "notify_on=gap")
	stop := p.daemon()
	p.deliver(subject("a"), anna, anna)
	p.deliver(subject("b"), bruno, bruno)
	p.backedUp("-begin")
	stop()
	p.lose()
	p.must("restore-backup", filepath.Join(p.dir, "disk"))
	if n := len(relay.Messages()); n > 0 {
		t.Errorf("%d notices were sent without a daemon", n)
	}
	stop = p.daemon()
	p.sent(1)
	stop()
	if got, want := subjects(t, relay, 1), []string{"Archivio di " + anna + " ripristinato da una copia di sicurezza"}; !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
	k, _ := keeperOf(t, p)
	if got := waiting(t, k.archive); len(got) > 0 {
		t.Errorf("waiting: %q", got)
	}
	verified(t, k)
}
