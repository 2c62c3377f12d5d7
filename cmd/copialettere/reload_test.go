package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"copialettere/cmd/copialettere/config"
	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/policy"
	"copialettere/policy/archive"
)

// rewrite makes replacements in the configuration.
func (p *place) rewrite(replacements ...string) {
	p.t.Helper()
	file := filepath.Join(p.dir, "copialettere.toml")
	old, err := os.ReadFile(file)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.NewReplacer(replacements...).Replace(string(old))), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// reload has the daemon reload its configuration, and waits until it has logged a text.
func (p *place) reload(logged string) {
	p.t.Helper()
	before := strings.Count(p.log.String(), logged)
	p.hangup <- syscall.SIGHUP
	p.await("the daemon to log "+logged, func() bool { return strings.Count(p.log.String(), logged) > before })
}

func (p *place) await(what string, done func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatalf("waited in vain for %s; the log:\n%s", what, p.log.String())
		}
	}
}

// TestReload changes the configuration under a running daemon. What it can take is in force from the next message, it names what needs a restart,
// and a bad file changes nothing.
func TestReload(t *testing.T) {
	p := newPlace(t)
	p.configure("recipient_delimiter = \"+\"\n[log]\nlevel = \"info\"\n[erase]\ngrace = \"72h\"\n")
	p.must("init")
	defer p.daemon()()
	p.must("mailbox", "enable", anna)
	if code, _, _ := p.run("mailbox", "enable", "bea@beta.test"); code == 0 {
		t.Error("a mailbox of an unknown domain was enabled")
	}

	p.rewrite("recipient_delimiter = \"+\"", "recipient_delimiter = \"-\"", "level = \"info\"", "level = \"debug\"", "grace = \"72h\"", "grace = \"2h\"",
		"listen = [\"unix:lmtp.sock\"]", "listen = [\"unix:lmtp.sock\"]\nmax_recipients = 500")
	p.configure("[[domain]]\nname = \"beta.test\"\n")
	p.reload("configuration reloaded")
	log := p.log.String()
	for _, want := range []string{`taken="log.level, erase.grace, domain \"alpha.test\".recipient_delimiter, domain \"beta.test\""`,
		`need a restart" keys=received.max_recipients`} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not say %s:\n%s", want, log)
		}
	}
	if p.level.Level() != slog.LevelDebug {
		t.Errorf("the log level is %v", p.level.Level())
	}
	p.must("mailbox", "enable", "bea@beta.test")
	p.deliver(message, "anna-x@alpha.test", "anna-x@alpha.test")
	if n := len(p.entries(anna)); n != 1 {
		t.Errorf("%d entries, want that of the new delimiter", n)
	}
	if got := p.must("mailbox", "disable", "bea@beta.test", "-confirm", "bea@beta.test", "-json"); !strings.Contains(got, `"erasure":"due"`) {
		t.Errorf("disable: %s", got)
	} else if left := time.Until(*viewOf(t, got).EraseAt); left > 2*time.Hour {
		t.Errorf("the grace is %v", left)
	}

	// Bad files, each of them with something good in it.
	for name, c := range map[string]struct{ from, to, logged string }{
		"a mistake":        {"grace = \"2h\"", "grace = \"3h\"\ngarce = \"4h\"", "erase.garce"},
		"no TOML":          {"grace = \"2h\"", "grace = \"3h", "copialettere.toml:"},
		"file of [pec]":    {"grace = \"2h\"", "grace = \"3h\"\n[pec]\ndomains_file = \"/does/not/exist\"", "/does/not/exist"},
		"impossible value": {"grace = \"2h\"", "grace = \"3s\"", "erase.grace"},
	} {
		p.rewrite(c.from, c.to)
		p.reload("the one before stays in force")
		if got := p.log.String(); !strings.Contains(got, "not taken") || !strings.Contains(got, c.logged) {
			t.Errorf("%s: the log does not say %s:\n%s", name, c.logged, got)
		}
		p.rewrite(c.to, c.from)
	}
	p.reload("configuration reloaded")
	p.await("the last of what a reload says", func() bool {
		return strings.HasSuffix(strings.TrimSpace(p.log.String()), `need a restart" keys=received.max_recipients`)
	})
	if got := p.log.String(); !strings.Contains(got, `taken=""`) {
		t.Errorf("a bad file has changed something:\n%s", got)
	}
}

// TestReloadHelp: the help of serve lists the keys that a reload takes.
func TestReloadHelp(t *testing.T) {
	for _, key := range config.Reloadable() {
		if !strings.Contains(serveHelp, key) {
			t.Errorf("the help does not name %s", key)
		}
	}
}

// ready asks a handler for /readyz.
func (p *place) ready(path string) (status int, text string) {
	p.t.Helper()
	c := socketClient(filepath.Join(p.dir, "data", "admin.sock"))
	defer c.close()
	response, err := c.http.Get("http://daemon" + path)
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(response.Body); err != nil {
		p.t.Fatal(err)
	}
	return response.StatusCode, b.String()
}

// TestReady fills the disk and stops the next hop. The daemon is alive but not ready, and says why in words without paths.
func TestReady(t *testing.T) {
	p := newPlace(t)
	p.configure("[disk]\nwarn = \"2%\"\nstop = \"1%\"\n")
	p.must("init")
	defer p.daemon()()
	want := func(doing string, status int, text string) {
		t.Helper()
		time.Sleep(archive.ReadyFor) // an answer holds for so long
		if code, got := p.ready("/readyz"); code != status || got != text {
			t.Errorf("%s: /readyz says %d %q, want %d %q", doing, code, got, status, text)
		}
		if code, got := p.ready("/healthz"); code != http.StatusOK || got != "ok\n" {
			t.Errorf("%s: /healthz says %d %q", doing, code, got)
		}
	}
	p.must("mailbox", "enable", anna)
	p.deliver(message, anna, anna)
	want("at first", 200, "ready\n")
	p.rewrite("warn = \"2%\"\nstop = \"1%\"", "warn = \"2000000GB\"\nstop = \"1000000GB\"")
	p.reload("configuration reloaded")
	want("with a full disk", 503, "not ready: "+archive.NotReadyDisk+"\n")
	if reply := p.try("X-Number: 2\r\n"+message, anna, anna); reply.Code != 451 {
		t.Errorf("delivered: %v", reply)
	}
	p.rewrite("warn = \"2000000GB\"\nstop = \"1000000GB\"", "warn = \"2%\"\nstop = \"1%\"")
	p.reload("configuration reloaded")
	want("with room again", 200, "ready\n")

	mail := filepath.Join(p.dir, "mail")
	if err := os.Rename(mail, mail+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(mail, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if reply := p.try(message, anna, anna); reply.Positive() {
		t.Errorf("delivered: %v", reply)
	}
	want("without its mailstore", 503, "not ready: "+archive.NotReadyHop+"\n")
	if err := os.Remove(mail); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(mail+".away", mail); err != nil {
		t.Fatal(err)
	}
	want("with its mailstore", 200, "ready\n")
	if log := p.log.String(); strings.Count(log, `msg="not ready"`) != 2 || strings.Count(log, `msg="ready again"`) != 2 {
		t.Errorf("the log:\n%s", log)
	}
}

// TestReadyOfBrokenStores breaks the stores of a daemon.
func TestReadyOfBrokenStores(t *testing.T) {
	for name, c := range map[string]struct {
		broken func(k *daemon)
		want   string
	}{
		"nothing": {func(*daemon) {}, ""},
		"settings of a mailbox": {func(k *daemon) {
			s, err := k.archive.folder.Engine.Settings(t.Context())
			if err == nil {
				err = s.Update(t.Context(), nil, func(tx kv.Tx) error { tx.Put([]byte("mbruno@alpha.test"), []byte("{")); return nil })
			}
			if err != nil {
				t.Fatal(err)
			}
		}, archive.NotReadySettings},
		"store": {func(k *daemon) { k.archive.folder.Engine.Close() }, archive.NotReadyJournal + ", " + archive.NotReadySettings},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			p.must("init")
			k, _ := keeperOf(t, p)
			addEntries(t, k, anna, 1)
			c.broken(k)
			if got := strings.Join(k.ready.Problems(t.Context()), ", "); got != c.want {
				t.Errorf("not ready because of %q, want %q", got, c.want)
			}
			k.ready.Wait()
		})
	}
}

// TestExpireSkipsOfSentMail: a daemon for sent mail only forgets the records of skips too.
func TestExpireSkipsOfSentMail(t *testing.T) {
	p := newPlace(t)
	p.rewrite("[received]\nlisten = [\"unix:lmtp.sock\"]\nnext_hop = \"maildir:"+filepath.Join(p.dir, "mail")+"\"",
		"[sent]\nlisten = [\"unix:smtp.sock\"]\nnext_hop = \"smtp:127.0.0.1:10026\"")
	p.must("init")
	k, _ := keeperOf(t, p)
	now := time.Now()
	addSkips(t, k, now.Add(-config.DefaultKeepSkips-time.Minute), now.Add(-config.DefaultKeepSkips+time.Minute))
	k.house.Keep(t.Context(), now)
	left := 0
	for _, err := range k.archive.journal.Records(t.Context(), anna) {
		if err != nil {
			t.Fatal(err)
		}
		left++
	}
	if left != 1 {
		t.Errorf("%d records are left, want that of the one just within the time", left)
	}
}

func addSkips(t *testing.T, k *daemon, times ...time.Time) {
	t.Helper()
	for _, at := range times {
		r := journal.Record{Kind: journal.Skip, Mailbox: anna, Time: at, Reason: policy.ReasonFilter, Direction: journal.Sent}
		if err := k.archive.journal.Record(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
}

func viewOf(t *testing.T, line string) archive.Mailbox {
	t.Helper()
	var v archive.Mailbox
	if err := json.Unmarshal([]byte(line), &v); err != nil {
		t.Fatal(err)
	}
	return v
}
