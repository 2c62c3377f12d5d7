package main

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"copialettere/policy/archive"
)

// write makes a file beside the configuration and returns its path.
func (p *place) write(name, text string) string {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// TestProvision enables mailboxes from a list by the commands, with a daemon and without.
func TestProvision(t *testing.T) {
	for _, daemon := range []bool{false, true} {
		t.Run(fmt.Sprintf("daemon %v", daemon), func(t *testing.T) {
			p := newPlace(t)
			p.must("init")
			if daemon {
				defer p.daemon()()
			}
			list := p.write("boxes.csv", "mailbox,quota,retention\nanna@alpha.test,5GB,24\nbruno@alpha.test,,\n")
			dry := p.must("mailbox", "enable", "-from", list, "-dry-run", "language=en")
			want := fmt.Sprintf("%-40s archive on, retention=24, quota=5GB, language=en\n%-40s archive on, language=en\n", "anna@alpha.test", "bruno@alpha.test")
			if dry != want+"would be changed: 2 of 2 mailboxes\n" {
				t.Errorf("dry run:\n%s", dry)
			}
			if code, out, _ := p.run("mailbox", "list"); code != 1 || out != "" {
				t.Errorf("after the dry run there is\n%s", out)
			}
			if got := p.must("mailbox", "enable", "-from", list, "language=en"); got != want+"changed: 2 of 2 mailboxes\n" {
				t.Errorf("enabled:\n%s", got)
			}
			if got := p.must("mailbox", "enable", "-from", list, "language=en"); got != "changed: 0 of 2 mailboxes\n" {
				t.Errorf("once more:\n%s", got)
			}
			if got := p.must("mailbox", "log", anna); strings.Count(got, "\n") != 4 || !strings.Contains(got, "retention from none to 24, by operator ") {
				t.Errorf("on record:\n%s", got)
			}
			bad := p.write("bad.csv", "mailbox,quota\ncarla@alpha.test,1GB\nnobody,2GB\ndario@alpha.test,3\n")
			code, out, errs := p.run("mailbox", "enable", "-from", bad)
			if code != 2 || out != "" || !strings.Contains(errs, "nothing was changed:\n"+bad+":3: ") || !strings.Contains(errs, bad+":4: enable dario@alpha.test: quota=\"3\"") {
				t.Errorf("bad lines: exit status %d\n%s%s", code, out, errs)
			}
			p.fails(2, []string{"does not lie in gamma.test"}, "mailbox", "enable", "-domain", "gamma.test", "-from", list)
			p.fails(2, []string{"name the mailboxes: -from FILE"}, "mailbox", "enable", "-dry-run")
			p.fails(2, []string{`"anna@alpha.test" beside -from or -domain: want KEY=VALUE`}, "mailbox", "set", anna, "-domain", "alpha.test")
			p.fails(2, []string{"no such file"}, "mailbox", "set", "-from", filepath.Join(p.dir, "none"), "quota=1GB")
			p.fails(2, []string{"no setting is given"}, "mailbox", "set", "-domain", "alpha.test")
			if got := p.must("mailbox", "set", "-domain", "Alpha.test", "quota=5GB"); !strings.HasPrefix(got, "bruno@alpha.test ") ||
				!strings.HasSuffix(got, " archive on, quota=5GB\nchanged: 1 of 2 mailboxes\n") {
				t.Errorf("set for a domain:\n%s", got)
			}
			p.must("verify")
		})
	}
}

// TestProvisionFromInput reads the list from the standard input.
func TestProvisionFromInput(t *testing.T) {
	p := newPlace(t)
	p.must("init")
	in, err := os.Open(p.write("boxes", "anna@alpha.test\n@\n"))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer func(before *os.File) { os.Stdin = before }(os.Stdin)
	os.Stdin = in
	p.fails(2, []string{"standard input:2: \"@\": not a mailbox address"}, "mailbox", "enable", "-from", "-")
}

// TestProvisionLimits reloads the limits of a domain: from then on they bind, whoever asks.
func TestProvisionLimits(t *testing.T) {
	p := newPlace(t)
	p.must("init")
	defer p.daemon()()
	p.must("mailbox", "enable", anna)
	p.must("mailbox", "set", anna, "quota=8GB")
	p.configure("max_mailboxes = 2\nquota_default = \"2GB\"\nquota_max = \"4GB\"\n")
	p.reload("configuration reloaded")
	if log := p.log.String(); !strings.Contains(log, `max_mailboxes, domain \"alpha.test\".quota_max`) {
		t.Errorf("the log does not name the keys:\n%s", log)
	}
	p.must("mailbox", "set", anna, "quota=7GB")
	p.fails(1, []string{"quota=8GB: over a limit of the domain: quota_max of alpha.test is 4GB"}, "mailbox", "set", anna, "quota=8GB")
	p.must("mailbox", "enable", "bruno@alpha.test")
	if got := p.must("mailbox", "show", "bruno@alpha.test"); !strings.Contains(got, "2GB") {
		t.Errorf("bruno has\n%s", got)
	}
	p.fails(1, []string{"alpha.test has 2 archives, and max_mailboxes is 2"}, "mailbox", "enable", "carla@alpha.test")
	p.must("mailbox", "disable", anna, "-confirm", anna, "-now")
	p.await("the archive erased", func() bool { return strings.Contains(p.must("mailbox", "show", anna), ", erased") })
	p.must("mailbox", "enable", "carla@alpha.test")
	p.fails(1, []string{"quota=7GB: over a limit"}, "mailbox", "enable", anna)
	p.must("mailbox", "set", anna, "quota=4GB")
	p.fails(1, []string{"max_mailboxes is 2"}, "mailbox", "enable", anna)
}

// TestUsage shows what mailboxes take in every form.
func TestUsage(t *testing.T) {
	p := newPlace(t)
	p.must("init")
	p.fails(1, nil, "usage")
	p.must("mailbox", "enable", "-from", p.write("boxes.csv", "mailbox,quota\nanna@alpha.test,1kB\nbruno@alpha.test,none\n"))
	p.must("mailbox", "set", "carla@alpha.test", "language=en")
	stop := p.daemon()
	p.deliver(message, anna, anna)
	stop()
	list := lines[archive.Usage](p, "usage")
	if len(list) != 3 || list[0].Entries != 1 || list[0].Bytes == 0 || list[0].Percent == nil || list[1].Quota != 0 || list[2].Since != nil {
		t.Fatalf("usage: %+v", list)
	}
	read := func(args ...string) [][]string {
		t.Helper()
		text := p.must(args...)
		if strings.Count(text, "\r\n") != strings.Count(text, "\n") {
			t.Errorf("%v: lines do not end with CRLF: %q", args, text)
		}
		rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		return rows
	}
	rows := read("usage", "-csv", "-domain", "alpha.test")
	want := [][]string{
		{"mailbox", "domain", "archive", "since", "entries", "bytes", "quota", "percent"},
		{anna, "alpha.test", "on", list[0].Since.Format(time.RFC3339), "1", fmt.Sprint(list[0].Bytes), "1000", fmt.Sprintf("%.1f", *list[0].Percent)},
		{"bruno@alpha.test", "alpha.test", "on", list[1].Since.Format(time.RFC3339), "0", "0", "", ""},
		{"carla@alpha.test", "alpha.test", "off", "", "0", "0", "1000000000", "0.0"},
	}
	if fmt.Sprint(rows) != fmt.Sprint(want) {
		t.Errorf("usage -csv\n%q, want\n%q", rows, want)
	}
	size, month := fmt.Sprint(list[0].Bytes), time.Now().UTC().Format("2006-01")
	rows = read("usage", "-csv", anna)
	if got, want := fmt.Sprint(rows[1:]), fmt.Sprint([][]string{{anna, month, "1", size, "1", size, "0", "0", "0", "0", "0", "0", "0", "0"}}); got != want || len(rows[0]) != 14 {
		t.Errorf("usage -csv by month\n%s, want\n%s", got, want)
	}
	if got := p.must("usage", anna); got != fmt.Sprintf("%s %9d entries %10s  (received 1, %s)\n", month, 1, size+" B", size+" B") {
		t.Errorf("usage by month:\n%s", got)
	}
	if got := p.must("usage"); !strings.Contains(got, "% of 1.0 kB\n") || !strings.Contains(got, "no quota\n") {
		t.Errorf("usage:\n%s", got)
	}
	p.fails(2, []string{"give one"}, "usage", "-csv", "-json")
	p.fails(2, []string{"give one"}, "usage", "-domain", "alpha.test", anna)
	p.fails(1, nil, "usage", "-domain", "gamma.test")
}
