package main

import (
	"strings"
	"testing"
)

// TestWriteMode moves, deletes, restores and holds messages through the daemon. What the settings do not allow is refused with a reason, and each
// act is in the log.
func TestWriteMode(t *testing.T) {
	p := newPlace(t)
	p.must("init")
	stop := p.daemon()
	p.must("mailbox", "enable", anna)
	for _, n := range []string{"1", "2", "3"} {
		p.deliver("X-Number: "+n+"\r\n"+message, anna, anna)
	}
	folder := p.entries(anna)[0].Folder
	trash := strings.Replace(folder, "INBOX", "Trash", 1)
	steps := []struct {
		name string
		args []string
		code int
		says string // on standard output or standard error
	}{
		{"delete in a read-only archive", []string{"delete", anna, folder, "1"}, 1, "read-only"},
		{"move in a read-only archive", []string{"move", anna, folder, "1", trash}, 1, "read-only"},
		{"allow deletion", []string{"mailbox", "set", anna, "manual_delete=on"}, 0, ""},
		{"move is still not allowed", []string{"move", anna, folder, "1", trash}, 1, "write=on"},
		{"delete", []string{"delete", anna, folder, "1"}, 0, "delete: anna@alpha.test " + folder + " 1"},
		{"it is gone", []string{"cat", anna, folder, "1"}, 1, "no such entry"},
		{"delete it again", []string{"delete", anna, folder, "1"}, 1, anna + " " + folder + " 1: no such entry"},
		{"take it back", []string{"delete", anna, folder, "1", "-undo"}, 0, "now " + folder + " 4"},
		{"take it back again", []string{"delete", anna, folder, "1", "-undo"}, 1, anna + " " + folder + " 1: no such entry"},
		{"write mode", []string{"mailbox", "set", anna, "write=on"}, 0, ""},
		{"move", []string{"move", anna, folder, "2", trash}, 0, "now " + trash + " 1"},
		{"move what is not there", []string{"move", anna, folder, "9", trash}, 1, anna + " " + folder + " 9: no such entry"},
		{"hold what is not there", []string{"hold", anna, folder, "9", "-reason", "x"}, 1, anna + " " + folder + " 9: no such entry"},
		{"move into a folder that is none", []string{"move", anna, folder, "3", "Letters"}, 2, "no such folder"},
		{"move into another month", []string{"move", anna, folder, "3", "Trash/2020-01"}, 2, "stays in that month"},
		{"hold without a reason", []string{"hold", anna, folder, "3"}, 2, "-reason"},
		{"hold", []string{"hold", anna, folder, "3", "-reason", "case 1"}, 0, "hold: "},
		{"delete what is held", []string{"delete", anna, folder, "3"}, 1, "held"},
		{"release", []string{"hold", anna, folder, "3", "-release", "-reason", "closed"}, 0, "release: "},
		{"hold the mailbox", []string{"mailbox", "hold", anna, "-reason", "case 2"}, 0, ""},
		{"delete in a held mailbox", []string{"delete", anna, folder, "3"}, 1, "legal hold"},
		{"disable a held mailbox", []string{"mailbox", "disable", anna, "-confirm", anna}, 1, "legal hold"},
	}
	for _, step := range steps {
		code, stdout, stderr := p.run(step.args...)
		if code != step.code || !strings.Contains(stdout+stderr, step.says) {
			t.Errorf("%s: exit status %d, want %d with %q\n%s%s", step.name, code, step.code, step.says, stdout, stderr)
		}
	}
	log := p.must("mailbox", "log", anna)
	for _, want := range []string{
		"  delete " + folder + " 1, by operator ", "  undelete " + folder + " 1 to " + folder + " 4, by ", "  move " + folder + " 2 to " + trash + " 1, by ",
		"  hold " + folder + " 3: case 1, by ", "  release " + folder + " 3: closed, by ", "  write from off to on, by ",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
	if n := len(p.entries(anna)); n != 3 {
		t.Errorf("%d entries, want 3", n)
	}
	stop()
	p.must("verify")
}
