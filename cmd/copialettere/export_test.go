package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"copialettere/journal/export"
)

// testExport exports the one message of anna twice: the second time it is kept.
func testExport(t *testing.T, p *place, form export.Form, digest string) {
	to := filepath.Join(t.TempDir(), "anna.zip")
	today := time.Now().Format(time.DateOnly)
	for _, want := range []export.Status{export.StatusExported, export.StatusKept} {
		var r export.Result
		out := p.must("export", "anna@alpha.test", "-to", to, "-format", string(form), "-since", today, "-until", today, "-class", "other", "-json")
		if err := json.Unmarshal([]byte(out), &r); err != nil || r.Status != want || r.Message == nil || r.SHA256 != digest || r.Subject != "Perché" || r.File == "" {
			t.Errorf("%s: %v: %s", form, err, out)
		}
		if b, err := os.ReadFile(filepath.Join(to, r.File)); form == export.FormEML && (err != nil || string(b) != message) {
			t.Errorf("%s: %q, %v", r.File, b, err)
		}
	}
	if got := p.must("export", "anna@alpha.test", "-to", to, "-format", string(form), "-since", today, "-until", today, "-class", "other"); !strings.Contains(got, ": 1 messages of ") || !strings.Contains(got, "1 of them were there already") {
		t.Errorf("%s: %s", form, got)
	}
	if got := p.must("mailbox", "log", "anna@alpha.test"); !strings.Contains(got, "export of class:other since:") {
		t.Errorf("log: %s", got)
	}
}

// TestExportDamaged names a message that cannot be read, over the socket and on the data folder, and exports the others.
func TestExportDamaged(t *testing.T) {
	for name, serve := range map[string]bool{"daemon": true, "folder": false} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			p.must("init")
			stop := p.daemon()
			p.must("mailbox", "enable", anna)
			p.deliver(message, anna, anna)
			p.deliver("X: "+message, anna, anna)
			stop()
			p.damage("c")
			if serve {
				defer p.daemon()()
			}
			to := filepath.Join(t.TempDir(), "out")
			code, stdout, stderr := p.run("export", anna, "-to", to)
			if code != 1 || !strings.Contains(stdout, ": 1 messages of ") || !strings.Contains(stdout, "1 messages are missing") || !strings.Contains(stderr, " 1 cannot be read") {
				t.Errorf("exit status %d\n%s%s", code, stdout, stderr)
			}
			if b, err := os.ReadFile(filepath.Join(to, "INCOMPLETE.txt")); err != nil || !strings.Contains(string(b), " 1: it cannot be read") {
				t.Errorf("INCOMPLETE.txt: %s, %v", b, err)
			}
		})
	}
}
