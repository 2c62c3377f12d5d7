package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"copialettere/journal/export"
)

// digests returns the SHA-256 of all messages of a mailbox, sorted.
func (p *place) digests(mailbox string) (list []string) {
	p.t.Helper()
	for _, e := range p.entries(mailbox) {
		list = append(list, e.SHA256)
	}
	slices.Sort(list)
	return list
}

// everyFixture returns the messages of all test data, each once.
func everyFixture(t *testing.T) (texts []string) {
	t.Helper()
	for _, folder := range []string{"../../testdata/messages", "../../policy/pec/testdata", "../../journal/imapd/testdata/messages", "testdata", "testdata/practice"} {
		files, err := filepath.Glob(filepath.Join(folder, "*.eml"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no messages in %s: %v", folder, err)
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, strings.ReplaceAll(string(text), "\r\n", "\n"))
		}
	}
	slices.Sort(texts)
	return slices.Compact(texts)
}

// TestImportExports exports an archive in every form and imports it into an empty one, over the socket and on the data folder: the bytes are the same,
// and a second time nothing comes.
func TestImportExports(t *testing.T) {
	const bruno = "bruno@alpha.test"
	p := newPlace(t)
	p.must("init")
	stop := p.daemon()
	p.must("mailbox", "enable", anna)
	texts := everyFixture(t)
	for _, text := range texts {
		p.deliver(text, anna, anna)
	}
	p.deliver(strings.ReplaceAll(message, "\r\n", "\n")+"From me\n>From you\nFrom a@alpha.test Mon May  6 07:08:09 2019\nSubject: no\n\n", anna, anna)
	want := p.digests(anna)
	if len(want) != len(texts)+1 {
		t.Fatalf("%d messages", len(want))
	}
	for _, form := range export.Forms() {
		t.Run(string(form), func(t *testing.T) {
			to := filepath.Join(t.TempDir(), "anna."+string(form))
			p.must("export", anna, "-to", to, "-format", string(form))
			p.await("the archive to be erased", func() bool {
				code, _, _ := p.run("mailbox", "enable", bruno)
				return code == 0
			})
			if dry := p.must("import", bruno, "-from", to, "-dry-run"); !strings.Contains(dry, fmt.Sprintf("%d messages of ", len(want))) || !strings.Contains(dry, "would be imported, 0 were there") {
				t.Errorf("dry run: %s", dry)
			}
			if got := p.digests(bruno); got != nil {
				t.Errorf("a dry run has left %d messages", len(got))
			}
			if form == export.FormMaildir { // once without a daemon
				stop()
			}
			p.must("import", bruno, "-from", to)
			again := p.must("import", bruno, "-from", to)
			if form == export.FormMaildir {
				stop = p.daemon()
			}
			if got := p.digests(bruno); !slices.Equal(got, want) {
				t.Errorf("%d messages %q, want %q", len(got), got, want)
			}
			if !strings.Contains(again, ": 0 messages of 0 B imported, "+fmt.Sprint(len(want))+" were there already") {
				t.Errorf("again: %s", again)
			}
			for _, e := range p.entries(bruno) {
				if e.Imported == nil || !strings.HasPrefix(e.Folder, "Imported/INBOX/") || e.Imported.Source == "" || e.Imported.By != "operator "+whoami() {
					t.Fatalf("%+v, %+v", e, e.Imported)
				}
			}
			p.must("mailbox", "disable", bruno, "-confirm", bruno, "-now")
		})
	}
	stop()
}

// TestImportReports says of each piece what became of it.
func TestImportReports(t *testing.T) {
	p := newPlace(t)
	p.must("init")
	defer p.daemon()()
	p.must("mailbox", "enable", anna)
	dir := t.TempDir()
	for name, text := range map[string]string{
		"Lavoro.mbox":    "From - Mon May  6 07:08:09 2019\n" + "Subject: uno\n\nFrom me\n>From you\n\nFrom - Mon May  6 07:08:10 2019\nSubject: due\n\n",
		"b/a.eml":        "Date: Tue, 7 May 2019 07:08:09 +0000\nSubject: tre\n\n",
		"b/b.eml":        "Date: Tue, 7 May 2019 07:08:09 +0000\r\nSubject: tre\r\n\r\n",
		"b/leggimi.txt":  "Ciao.\n",
		"b/Inbox.msf":    "x",
		"b/outlook.msg":  "\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
		"b/evil\x1b.eml": "Subject: quattro\n\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	code, stdout, _ := p.run("import", anna, "-from", dir, "-folder", "Vecchia posta", "-json")
	var got []string
	for line := range strings.Lines(stdout) {
		var l struct {
			State, Source, Folder, Quoting, Date string
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if i := strings.LastIndexByte(l.Folder, '/'); i > 0 {
			l.Folder = l.Folder[:i]
		}
		got = append(got, strings.TrimRight(fmt.Sprintf("%s %s|%s|%s", l.State, l.Source, l.Folder, l.Quoting), "|"))
	}
	want := []string{
		"note Lavoro.mbox at 46",
		"imported Lavoro.mbox at 0|Imported/Vecchia posta/Lavoro|undecidable",
		"imported Lavoro.mbox at 65|Imported/Vecchia posta/Lavoro|none",
		"skipped b/Inbox.msf",
		"imported b/a.eml|Imported/Vecchia posta/b",
		"duplicate b/b.eml|Imported/Vecchia posta/b",
		"imported b/evil\x1b.eml|Imported/Vecchia posta/b",
		"refused b/leggimi.txt",
		"refused b/outlook.msg",
	}
	// Two of the same bytes are asked for at once: either is the duplicate.
	if i := slices.IndexFunc(got, func(line string) bool { return strings.HasPrefix(line, "duplicate b/a.eml") }); i >= 0 {
		got[i], got[i+1] = strings.Replace(got[i], "duplicate", "imported", 1), strings.Replace(got[i+1], "imported", "duplicate", 1)
	}
	if code != 1 || !slices.Equal(got, want) {
		t.Errorf("exit status %d, got\n%s", code, strings.Join(got, "\n"))
	}
	if log := p.must("mailbox", "log", anna); !strings.Contains(log, "import from "+dir) || strings.Count(log, "import from ") != 1 {
		t.Errorf("log: %s", log)
	}
	for _, e := range p.entries(anna) {
		if e.Subject == "tre" && e.Imported.Date.Format("2006-01-02") != "2019-05-07" || e.Subject == "quattro" && strings.Contains(e.Imported.Source, "\x1b") {
			t.Errorf("%+v", e.Imported)
		}
	}

	code, stdout, _ = p.run("import", anna, "-from", dir, "-folder", "Vecchia posta")
	if code != 1 || !strings.Contains(stdout, "b/outlook.msg: a message of Outlook (.msg)") || !strings.Contains(stdout, ": 0 messages of 0 B imported, 5 were there already\n2 not taken, see above\n1 no mail") {
		t.Errorf("exit status %d: %s", code, stdout)
	}
	// A full archive stops it, and says how to go on.
	p.must("mailbox", "set", anna, "quota=500B")
	more := p.write("more.mbox", "From - Mon May  6 07:08:09 2019\nSubject: a\n\n"+strings.Repeat("a", 250)+"\n\nFrom - Mon May  6 07:08:09 2019\nSubject: b\n\n"+strings.Repeat("b", 250)+"\n")
	if code, stdout, stderr := p.run("import", anna, "-from", more, "-dry-run"); code != 1 || !strings.Contains(stdout, "2 messages of ") || !strings.Contains(stderr, "the archive has room for ") {
		t.Errorf("dry run: exit status %d: %s%s", code, stdout, stderr)
	}
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, []byte("From - Mon May  6 07:08:09 2019\nSubject: piccolo\n\n"+"\nFrom -\nSubject: x\nX: y\n\n"+strings.Repeat("x", 1000)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := p.run("import", anna, "-from", big)
	if code != 1 || !strings.Contains(stderr, "the archive is full; give it more room") || !strings.Contains(stdout, "big at 51: the archive is full\n") || !strings.Contains(stdout, ": 1 messages of ") {
		t.Errorf("exit status %d: %s%s", code, stdout, stderr)
	}
	p.must("mailbox", "set", anna, "quota=1GB")
	if out := p.must("import", anna, "-from", big); !strings.Contains(out, "1 messages of 1.0 kB imported, 1 were there already") {
		t.Errorf("goes on: %s", out)
	}
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"nothing named": {[]string{anna}, 2, "-from"},
		"not there":     {[]string{anna, "-from", filepath.Join(dir, "absent")}, 2, "no such file"},
		"nothing found": {[]string{anna, "-from", t.TempDir()}, 1, ""},
		"no archive":    {[]string{"carla@alpha.test", "-from", big}, 1, "enable or resume it first"},
	} {
		if code, stdout, stderr := p.run(append([]string{"import"}, c.args...)...); code != c.code || !strings.Contains(stderr, c.says) {
			t.Errorf("%s: exit status %d: %s%s", name, code, stdout, stderr)
		}
	}
}
