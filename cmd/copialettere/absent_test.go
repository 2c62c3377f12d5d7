package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"copialettere/journal/kv"
)

// aged returns a place whose journal has mail from three years ago, from last month and from today.
func aged(t *testing.T) (p *place, old kv.Month) {
	t.Helper()
	p = newPlace(t)
	p.must("init")
	p.must("mailbox", "enable", anna)
	now := time.Now()
	for _, at := range []time.Time{now.AddDate(-3, 0, 0), kv.MonthOf(now).Previous().Start().Add(time.Hour), now} {
		p.arrived(at, anna, 2)
	}
	return p, kv.MonthOf(now.AddDate(-3, 0, 0))
}

func (p *place) folder(name string) string { return filepath.Join(p.dir, "data", "journal", name) }

func (p *place) do(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// moveAway moves a folder out of the journal, if it is there. Removing it file by file could surprise a daemon that looks into it.
func (p *place) moveAway(name string) {
	p.t.Helper()
	if err := os.Rename(p.folder(name), filepath.Join(p.t.TempDir(), name)); !errors.Is(err, os.ErrNotExist) {
		p.do(err)
	}
}

// flipManifest flips a bit in the manifest of a month.
func (p *place) flipManifest(m kv.Month) {
	p.t.Helper()
	paths, err := filepath.Glob(filepath.Join(p.folder(string(m)), "MANIFEST-*"))
	if err != nil || len(paths) != 1 {
		p.t.Fatal(paths, err)
	}
	b, err := os.ReadFile(paths[0])
	p.do(err)
	b[7] ^= 0x10
	p.do(os.WriteFile(paths[0], b, 0o600))
}

// TestBadMonth damages or removes an old month, or the last one. Mail is still taken, and each command does what it can and then names the month.
func TestBadMonth(t *testing.T) {
	last := kv.MonthOf(time.Now()).Previous()
	for what, spoil := range map[string]func(p *place, m kv.Month){
		"flipped bit": (*place).flipManifest,
		"absent":      func(p *place, m kv.Month) { p.do(os.RemoveAll(p.folder(string(m)))) },
		"empty": func(p *place, m kv.Month) {
			p.do(os.RemoveAll(p.folder(string(m))))
			p.do(os.Mkdir(p.folder(string(m)), 0o700))
		},
	} {
		for _, which := range []string{"old", "last"} {
			t.Run(which+" month "+what, func(t *testing.T) {
				p, bad := aged(t)
				if which == "last" {
					bad = last
				}
				backup := filepath.Join(p.dir, "backup")
				p.do(os.CopyFS(backup, os.DirFS(p.folder(string(bad)))))
				spoil(p, bad)
				if code, out, _ := p.run("check"); code != 1 || !strings.Contains(out, string(bad)) {
					t.Errorf("check: exit status %d\n%s", code, out)
				}
				for _, running := range []bool{true, false} {
					stop := func() {}
					if running {
						stop = p.daemon()
						p.deliver(message, anna, anna)
					}
					testBadMonthCommands(t, p, bad, running)
					if running {
						p.do(os.CopyFS(p.folder("copy"), os.DirFS(backup)))
						p.moveAway(string(bad))
						p.do(os.Rename(p.folder("copy"), p.folder(string(bad))))
						time.Sleep(1100 * time.Millisecond) // the store tries a bad folder again after a second
						if got := p.must("list", anna); strings.Count(got, "\n") != 7 {
							t.Errorf("list of the mended archive:\n%s", got)
						}
						if got := p.must("verify"); !strings.HasSuffix(got, "sound\n") {
							t.Errorf("verify of the mended archive:\n%s", got)
						}
					}
					stop()
					spoil(p, bad)
				}
			})
		}
	}
}

func testBadMonthCommands(t *testing.T, p *place, bad kv.Month, running bool) {
	t.Helper()
	for _, c := range []struct {
		command []string
		lines   int // on standard output
	}{
		{[]string{"list", anna}, 5},
		{[]string{"why", anna}, 5},
		{[]string{"gaps", anna}, 1},
		{[]string{"stats", anna}, 2},
		{[]string{"practice", anna}, 0},
		{[]string{"mailbox", "log", anna}, 1},
		{[]string{"mailbox", "list"}, 1},
		{[]string{"mailbox", "show", anna}, 14},
		{[]string{"retention", "-dry-run"}, 1},
		{[]string{"verify"}, 4},
	} {
		code, stdout, stderr := p.run(c.command...)
		if c.command[0] == "verify" {
			stderr = stdout
		}
		if code != 1 || strings.Count(stdout, "\n") < c.lines || !strings.Contains(stderr, string(bad)) {
			t.Errorf("%v, daemon %v: exit status %d, want 1, %d lines, and %s named\n%s%s", c.command, running, code, c.lines, bad, stdout, stderr)
		}
	}
	if got := p.must("mailbox", "set", anna, "language=en"); !strings.Contains(got, string(bad)) {
		t.Errorf("set does not tell what is not counted:\n%s", got)
	}
}

// TestAbsentSettings removes the settings or the whole journal, or puts another archive's in their place. Nothing starts, and the error names the
// folder and the remedy.
func TestAbsentSettings(t *testing.T) {
	other, _ := aged(t)
	for what, spoil := range map[string]struct {
		do    func(p *place)
		names string // in the journal
	}{
		"settings absent": {func(p *place) { p.do(os.RemoveAll(p.folder("settings"))) }, "settings"},
		"settings empty": {func(p *place) {
			p.do(os.RemoveAll(p.folder("settings")))
			p.do(os.Mkdir(p.folder("settings"), 0o700))
		}, "settings"},
		"settings of another archive": {func(p *place) {
			p.do(os.RemoveAll(p.folder("settings")))
			p.do(os.CopyFS(p.folder("settings"), os.DirFS(other.folder("settings"))))
		}, "settings"},
		"journal absent": {func(p *place) { p.do(os.RemoveAll(p.folder(""))) }, ""},
		"journal empty": {func(p *place) {
			p.do(os.RemoveAll(p.folder("")))
			p.do(os.Mkdir(p.folder(""), 0o700))
		}, ""},
		"journal of another archive": {func(p *place) {
			p.do(os.RemoveAll(p.folder("")))
			p.do(os.CopyFS(p.folder(""), os.DirFS(other.folder(""))))
		}, ""},
		"register absent": {func(p *place) { p.do(os.Remove(p.folder("REGISTER"))) }, "REGISTER"},
	} {
		t.Run(what, func(t *testing.T) {
			p, _ := aged(t)
			spoil.do(p)
			for _, command := range []string{"serve", "check", "list " + anna, "gaps " + anna, "verify", "mailbox enable " + anna} {
				code, stdout, stderr := p.run(strings.Fields(command)...)
				if command == "check" {
					stderr = stdout
				}
				remedy := strings.Contains(stderr, "mount its disk") || strings.Contains(stderr, "put the right one back")
				if code != 1 || !strings.Contains(stderr, strings.TrimSuffix(p.folder(spoil.names), "/")) || !remedy {
					t.Errorf("%s: exit status %d, want 1, the folder, and what to do\n%s%s", command, code, stdout, stderr)
				}
			}
			// init does not make what is missing.
			p.must("init")
			if code, _, stderr := p.run("serve"); code != 1 {
				t.Errorf("serve behind init: exit status %d\n%s", code, stderr)
			}
		})
	}
}

// TestLostRegister follows the remedy that the error names.
func TestLostRegister(t *testing.T) {
	p, _ := aged(t)
	p.do(os.Remove(p.folder("REGISTER")))
	p.setFormat(1)
	if got := p.must("verify"); !strings.HasSuffix(got, "sound\n") || !strings.HasPrefix(got, "3 volumes, 6 entries") {
		t.Errorf("verify: %s", got)
	}
	p.hasFormat(plainFormat)
}

// earlier turns the data folder into one of an earlier version.
func (p *place) earlier() {
	p.t.Helper()
	tags, err := filepath.Glob(p.folder(filepath.Join("*", "STORE")))
	p.do(err)
	for _, path := range append(tags, p.folder("REGISTER")) {
		p.do(os.Remove(path))
	}
	p.setFormat(1)
}

// TestEarlierVersion opens the data folder of an earlier version: the first command that does so takes it in.
func TestEarlierVersion(t *testing.T) {
	for _, command := range []string{"serve", "check", "list", "init"} {
		t.Run(command, func(t *testing.T) {
			p, old := aged(t)
			p.earlier()
			switch command {
			case "serve":
				stop := p.daemon()
				p.deliver(message, anna, anna)
				stop()
			case "list":
				p.must("list", anna)
			default:
				p.must(command)
			}
			if got := p.must("verify"); !strings.HasSuffix(got, "sound\n") || !strings.HasPrefix(got, "3 volumes") {
				t.Errorf("verify: %s", got)
			}
			p.do(os.RemoveAll(p.folder(string(old))))
			if code, stdout, _ := p.run("verify"); code != 1 || !strings.Contains(stdout, string(old)) {
				t.Errorf("verify without %s: exit status %d\n%s", old, code, stdout)
			}
		})
	}
	t.Run("without settings", func(t *testing.T) {
		p, _ := aged(t)
		p.earlier()
		p.do(os.RemoveAll(p.folder("settings")))
		if code, _, stderr := p.run("serve"); code != 1 || !strings.Contains(stderr, p.folder("settings")) {
			t.Errorf("serve: exit status %d\n%s", code, stderr)
		}
	})
	t.Run("never started", func(t *testing.T) {
		p := newPlace(t)
		p.must("init")
		p.earlier()
		p.do(os.RemoveAll(p.folder("")))
		if code, _, stderr := p.run("serve"); code != 1 || !strings.Contains(stderr, `make it with "copialettere init"`) {
			t.Errorf("serve: exit status %d\n%s", code, stderr)
		}
		p.must("init")
		p.must("mailbox", "enable", anna)
	})
}

// TestBackup copies a data folder, changes the original, and puts the copy in its place.
func TestBackup(t *testing.T) {
	p, old := aged(t)
	data, backup := filepath.Join(p.dir, "data"), filepath.Join(p.dir, "backup")
	p.do(os.CopyFS(backup, os.DirFS(data)))
	p.do(os.RemoveAll(p.folder(string(old))))
	p.must("volume", "forget", string(old), "-confirm", string(old))
	if got := p.must("verify"); !strings.HasPrefix(got, "2 volumes") {
		t.Errorf("verify: %s", got)
	}
	// One month of the backup.
	p.do(os.CopyFS(p.folder(string(old)), os.DirFS(filepath.Join(backup, "journal", string(old)))))
	if got := p.must("verify"); !strings.HasPrefix(got, "3 volumes") || !strings.HasSuffix(got, "sound\n") {
		t.Errorf("verify with the month put back: %s", got)
	}
	// All of it.
	p.do(os.RemoveAll(data))
	p.do(os.Rename(backup, data))
	if got := p.must("verify"); !strings.HasPrefix(got, "3 volumes, 6 entries") || !strings.HasSuffix(got, "sound\n") {
		t.Errorf("verify of the backup: %s", got)
	}
}

// TestForgetVolume gives up a month, with the daemon and without.
func TestForgetVolume(t *testing.T) {
	for _, running := range []bool{true, false} {
		t.Run(fmt.Sprint("daemon ", running), func(t *testing.T) {
			p, old := aged(t)
			m := string(old)
			for _, args := range [][]string{{}, {"drop", m}, {"forget"}, {"forget", m}, {"forget", m, "-confirm", "2020-01"}, {"forget", "x", "-confirm", "x"}} {
				if code, _, stderr := p.run(append([]string{"volume"}, args...)...); code != 2 {
					t.Errorf("volume %v: exit status %d\n%s", args, code, stderr)
				}
			}
			if running {
				defer p.daemon()()
			}
			if code, _, stderr := p.run("volume", "forget", m, "-confirm", m); code != 1 || !strings.Contains(stderr, "move it away first") {
				t.Errorf("of a folder that is there: exit status %d\n%s", code, stderr)
			}
			if code, _, stderr := p.run("volume", "forget", "2020-01", "-confirm", "2020-01"); code != 1 || !strings.Contains(stderr, "2020-01") {
				t.Errorf("of a month that never was: exit status %d\n%s", code, stderr)
			}
			p.moveAway(m)
			var answer map[string]string
			if err := json.Unmarshal([]byte(p.must("volume", "forget", m, "-confirm", m, "-json")), &answer); err != nil || answer["forgotten"] != m {
				t.Errorf("answer %v, %v", answer, err)
			}
			if got := p.must("list", anna); strings.Count(got, "\n") != 4 {
				t.Errorf("list:\n%s", got)
			}
			if got := p.must("gaps", anna); strings.Count(got, "\n") != 2 || !strings.Contains(got, "lost (the whole month was given up by operator") {
				t.Errorf("gaps:\n%s", got)
			}
			if got := p.must("verify"); !strings.HasSuffix(got, "sound\n") {
				t.Errorf("verify: %s", got)
			}
		})
	}
}
