package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
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

// TestExportNoArchive says why nothing is exported of a mailbox that has no archive, and writes nothing. What a disabled archive still has is exported, and
// an archive without messages too.
func TestExportNoArchive(t *testing.T) {
	for name, serve := range map[string]bool{"daemon": true, "folder": false} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			p.must("init")
			stop := p.daemon()
			p.must("mailbox", "enable", anna)
			p.deliver(message, anna, anna)
			p.must("mailbox", "disable", anna, "-confirm", anna)
			p.must("mailbox", "enable", bruno)
			if !serve {
				stop()
			} else {
				defer stop()
			}
			to := filepath.Join(t.TempDir(), "out")
			code, stdout, stderr := p.run("export", "nobody@alpha.test", "-to", to)
			if code != 1 || stdout != "" || !strings.Contains(stderr, "nobody@alpha.test: the mailbox has no archive: nothing is exported") {
				t.Errorf("exit status %d\n%s%s", code, stdout, stderr)
			}
			if _, err := os.Lstat(to); !os.IsNotExist(err) {
				t.Errorf("%s: %v", to, err)
			}
			p.must("export", anna, "-to", to)
			if code, stdout, stderr := p.run("export", bruno, "-to", to+"-bruno"); code != 1 || !strings.Contains(stdout, ": 0 messages of ") {
				t.Errorf("an empty archive: exit status %d\n%s%s", code, stdout, stderr)
			}
		})
	}
}

// TestExportSincro exports with the index of SInCRO in each form that has a folder, and in a ZIP: the index names all files, with their digests.
func TestExportSincro(t *testing.T) {
	p := newPlace(t)
	p.must("init")
	stop := p.daemon()
	p.must("mailbox", "enable", anna)
	p.deliver(message, anna, anna)
	stop()
	const who = "VATIT-01234567890,Alpha S.r.l.,Contratto 1"
	for _, form := range export.Forms() {
		t.Run(string(form), func(t *testing.T) {
			to := filepath.Join(t.TempDir(), "out")
			for range 2 { // the second time all is kept
				p.must("export", anna, "-to", to, "-format", string(form), "-sincro", who)
			}
			dir := to
			if form == export.FormZIP {
				dir = unzip(t, to)
			}
			index, err := os.ReadFile(filepath.Join(dir, "PIndex.xml"))
			if err != nil {
				t.Fatal(err)
			}
			sums, err := os.ReadFile(filepath.Join(dir, "SHA256SUMS"))
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(sums)) {
				digest, name, _ := strings.Cut(strings.TrimSpace(line), "  ")
				if name != "PIndex.xml" && !strings.Contains(string(index), ">"+digest+"</sincro:Hash>") {
					t.Errorf("the index does not name %s:\n%s", name, index)
				}
				b, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
				if err != nil || fmt.Sprintf("%x", sha256.Sum256(b)) != digest {
					t.Errorf("%s: %v", name, err)
				}
			}
			if !strings.Contains(string(sums), "  PIndex.xml\n") || !strings.Contains(string(index), "VATIT-01234567890") {
				t.Errorf("%s\n%s", sums, index)
			}
			if code, _, errs := p.run("export", anna, "-to", to, "-format", string(form)); code != 1 || !strings.Contains(errs, "holds something else") {
				t.Errorf("without the index it is another export: exit status %d: %s", code, errs)
			}
		})
	}
	if code, _, errs := p.run("export", anna, "-to", filepath.Join(p.dir, "x"), "-sincro", "nobody"); code != 2 || !strings.Contains(errs, "ID,NAME,DOCUMENT") {
		t.Errorf("nobody: exit status %d: %s", code, errs)
	}
}

// TestWrittenElsewhere refuses to write an export, a bundle or a backup into the data folder, however its path leads there.
func TestWrittenElsewhere(t *testing.T) {
	p := newPlace(t)
	p.must("init")
	stop := p.daemon()
	defer func() { stop() }()
	p.must("mailbox", "enable", anna)
	p.deliver(message, anna, anna)
	folder := p.entries(anna)[0].Folder
	data := filepath.Join(p.dir, "data")
	link := filepath.Join(p.dir, "link")
	p.do(os.Symlink(filepath.Join(data, "journal"), link))
	for _, to := range []string{data, filepath.Join(data, "out"), filepath.Join(data, "journal", "2031-01"), filepath.Join(link, "no", "such"), filepath.Join(data, "..", "data", "out")} {
		for _, args := range [][]string{
			{"export", anna, "-to", to}, {"export", anna, "-to", to, "-format", "zip"}, {"bundle", anna, folder, "1", "-to", filepath.Join(to, "1.zip")}, {"backup", to, "-begin"},
		} {
			if code, _, stderr := p.run(args...); code != 2 || !strings.Contains(stderr, " is in the data folder "+data+": choose a place elsewhere") {
				t.Errorf("%q: exit status %d: %s", args, code, stderr)
			}
		}
		if _, err := os.Lstat(to); err == nil && to != data {
			t.Errorf("%s was made", to)
		}
	}
	p.must("export", anna, "-to", filepath.Join(p.dir, "data-2"))
	stop()
	stop = func() {}
	p.must("export", anna, "-to", filepath.Join(p.dir, "data-2"))
}
