package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"copialettere/journal/doctor"
	"copialettere/journal/kv"
	"copialettere/lmtp/nexthop/nexthoptest"
)

// flipTable flips a bit in the middle of the first table of a store.
func (p *place) flipTable(name string) {
	p.t.Helper()
	tables, err := filepath.Glob(filepath.Join(p.folder(name), "*.ldb"))
	if err != nil || len(tables) == 0 {
		p.t.Fatal(tables, err)
	}
	b, err := os.ReadFile(tables[0])
	p.do(err)
	b[len(b)/2] ^= 1
	p.do(os.WriteFile(tables[0], b, 0o600))
}

// TestDoctor has the command look at a folder that is in use, sound, damaged and mended, and compares what it says and its exit status.
func TestDoctor(t *testing.T) {
	p := newPlace(t)
	p.fails(2, []string{"could not look", "copialettere init"}, "doctor")
	restoring := filepath.Join(p.dir, "data", "restoring")
	p.do(os.MkdirAll(restoring, 0o700))
	p.fails(2, []string{"could not look", "a restore into it was broken off", "copialettere restore-backup DIR"}, "doctor")
	p.do(os.Remove(restoring))
	p.must("init")
	p.must("mailbox", "enable", anna)
	stop := p.daemon()
	for _, s := range []string{"a", "b", "c"} {
		p.deliver(subject(s), anna, anna)
	}
	p.fails(2, []string{"the daemon is running", "copialettere check", "copialettere verify"}, "doctor")
	stop()
	if said := p.must("doctor"); !strings.HasPrefix(said, "nothing is wrong with the files") {
		t.Errorf("a sound folder: %s", said)
	}
	if said := p.must("doctor", "-mend"); !strings.HasPrefix(said, "nothing is wrong with the files") {
		t.Errorf("a sound folder: %s", said)
	}
	month := string(kv.MonthOf(time.Now()))
	p.must("list", anna) // by now all is in a table
	p.flipTable(month)
	code, said, _ := p.run("doctor")
	for _, want := range []string{"FAULT  ", ".ldb: a table is damaged", "That means: some of the mail of " + month, "What to do: copialettere doctor -mend", "\n1 fault\n"} {
		if code != 1 || !strings.Contains(said, want) {
			t.Errorf("exit status %d, want %q in:\n%s", code, want, said)
		}
	}
	code, said, _ = p.run("doctor", "-json")
	var f doctor.Finding
	if err := json.Unmarshal([]byte(said), &f); err != nil || code != 1 || !f.Fault || !f.Mendable || !f.Loses || string(f.Month) != month {
		t.Errorf("exit status %d, %v: %s", code, err, said)
	}
	said = p.must("doctor", "-mend")
	for _, want := range []string{"mended " + month + ": ", "\nsound\n", "was kept aside when something was mended", "rm -r "} {
		if !strings.Contains(said, want) {
			t.Errorf("want %q in:\n%s", want, said)
		}
	}
	p.must("verify")
	if said := p.must("doctor"); !strings.Contains(said, "note   ") || !strings.Contains(said, "nothing is wrong with the files") {
		t.Errorf("a mended folder: %s", said)
	}
	stop = p.daemon()
	p.deliver(subject("d"), anna, anna)
	if found := p.subjects(anna); !strings.Contains(found, "d") {
		t.Errorf("afterwards %q", found)
	}
	stop()
	p.must("verify")
}

// TestDoctorLog has a log of the last writes damaged, and mended at once, or only after a start without its end: what it has lost goes on record either
// way, the archive is sound then, and no other message is gone.
func TestDoctorLog(t *testing.T) {
	for name, opened := range map[string]bool{"at once": false, "after a start": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			p.must("init")
			p.must("mailbox", "enable", anna)
			stop := p.daemon()
			for _, s := range []string{"a", "b", "c", "d", "e", "f"} {
				p.deliver(subject(s)+strings.Repeat("x", 20_000), anna, anna)
			}
			p.must("checkpoint")
			stop()
			month := string(kv.MonthOf(time.Now()))
			logs, err := filepath.Glob(filepath.Join(p.dir, "data", "journal", month, "*.log"))
			if err != nil || len(logs) != 1 {
				t.Fatal(logs, err)
			}
			b, err := os.ReadFile(logs[0])
			p.do(err)
			b[len(b)/2] ^= 4
			p.do(os.WriteFile(logs[0], b, 0o600))
			if opened {
				if code, said, _ := p.run("verify"); code != 1 || !strings.Contains(said, "FAULT log of "+anna) {
					t.Errorf("exit status %d: %s", code, said)
				}
			}
			said := p.must("doctor", "-mend")
			for _, want := range []string{"mended " + month + ": ", "more may be lost of " + anna, "1 log lost leaves, ended, and begun anew", "\nsound\n", "damaged-"} {
				if !strings.Contains(said, want) {
					t.Errorf("want %q in:\n%s", want, said)
				}
			}
			if said := p.must("verify"); !strings.Contains(said, "1 log begun anew, as is on record") {
				t.Errorf("verify: %s", said)
			}
			gaps := p.must("gaps", anna)
			if !strings.Contains(gaps, "updates of the store are missing") || !strings.Contains(gaps, "a disk has lost a part of this month") {
				t.Errorf("gaps: %s", gaps)
			}
			left := p.subjects(anna)
			p.must("doctor", "-mend") // once more: nothing changes
			if now := p.must("gaps", anna); now != gaps || p.subjects(anna) != left || left == "" {
				t.Errorf("mended once more: %s%s, before %s%s", now, p.subjects(anna), gaps, left)
			}
			stop = p.daemon()
			p.deliver(subject("g"), anna, anna)
			stop()
			p.must("verify")
		})
	}
}

// TestDoctorCannotMend has a month that only a backup brings back: the command says so, and changes nothing.
func TestDoctorCannotMend(t *testing.T) {
	p, old := aged(t)
	p.moveAway(string(old))
	for _, args := range [][]string{{"doctor"}, {"doctor", "-mend"}} {
		if code, said, _ := p.run(args...); code != 1 || !strings.Contains(said, "copialettere volume forget "+string(old)) {
			t.Errorf("%q: exit status %d:\n%s", args, code, said)
		}
	}
	p.do(os.Chmod(filepath.Join(p.dir, "data"), 0o711))
	p.do(os.Chmod(filepath.Join(p.dir, "data", "evidence.key"), 0o644))
	if code, said, _ := p.run("doctor", "-mend"); code != 1 || !strings.Contains(said, "mode 0644") || !strings.Contains(said, "sound") {
		t.Errorf("exit status %d:\n%s", code, said)
	}
}

// TestDoctorTells mends a folder that has lost mail: the owner is told when the daemon runs again.
func TestDoctorTells(t *testing.T) {
	p, relay := noticePlace(t, nexthoptest.Script{})
	p.must("mailbox", "enable", anna)
	p.notify(noticeAddress, "notify_on=gap", "language=en")
	stop := p.daemon()
	for _, s := range []string{"a", "b", "c"} {
		p.deliver(subject(s), anna, anna)
	}
	stop()
	p.must("list", anna) // by now all is in a table
	p.flipTable(string(kv.MonthOf(time.Now())))
	p.run("doctor", "-mend")
	stop = p.daemon()
	got := subjects(t, relay, 1)
	stop()
	if !strings.Contains(got[0], anna) {
		t.Errorf("told of %q", got)
	}
}
