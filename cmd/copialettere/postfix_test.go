package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// standInFor puts a program of that name first in PATH.
func (p *place) standInFor(name, script string) {
	p.t.Helper()
	folder := filepath.Join(p.dir, "bin")
	p.do(os.MkdirAll(folder, 0o700))
	// A program started meanwhile would inherit the open file, and Linux runs no file that is open for writing.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	p.do(os.WriteFile(filepath.Join(folder, name), []byte("#!/bin/sh\n"+script), 0o700))
	if path := os.Getenv("PATH"); !strings.HasPrefix(path, folder+":") {
		p.t.Setenv("PATH", folder+":"+path)
	}
}

// TestCheckRoute runs "check ADDR" without [postfix], and with a Postfix that routes the mail through the hook or not; and then with a daemon,
// which writes the maps, takes another right-hand side by a reload, and stops with the last change written.
func TestCheckRoute(t *testing.T) {
	p := newPlace(t)
	p.must("init")
	finds := func(want []string, args ...string) {
		t.Helper()
		code, stdout, stderr := p.run(args...)
		for _, one := range want {
			if code != 1 || !strings.Contains(stdout, one) {
				t.Errorf("copialettere %s: exit status %d, and does not say %q:\n%s%s", strings.Join(args, " "), code, one, stdout, stderr)
			}
		}
	}
	finds([]string{"FAIL  archive: off of anna@alpha.test", "copialettere mailbox enable anna@alpha.test", "FAIL  route: the configuration has no section [postfix]"},
		"check", anna)
	p.must("mailbox", "enable", anna)
	finds([]string{"ok    archive: on", "FAIL  route: the configuration has no section [postfix]"}, "check", anna)
	p.fails(2, []string{"not a mailbox address"}, "check", "nobody")

	p.configure("[postfix]\nmaps = \"postfix\"\n")
	p.standInFor("postconf", `[ "$1" != -x ] || echo "transport_maps = hash:t
virtual_transport = lmtp:unix:dovecot"`)
	p.standInFor("postmap", "exit 1\n")
	finds([]string{"FAIL  received: transport_maps (hash:t) has nothing for anna@alpha.test", "put ${default_database_type}:" + p.dir + "/data/postfix/copialettere_transport"},
		"check", anna)
	p.standInFor("postmap", "echo 'postmap: fatal: open database t.db: No such file or directory' >&2; exit 1\n")
	finds([]string{"FAIL  received: Postfix could not be asked: hash:t: postmap: open database t.db"}, "check", anna)
	p.standInFor("postmap", `sed 's/$/	copialettere-received:unix:private\/copialettere/'`)
	if out := p.must("check", anna); !strings.Contains(out, "ok    received: through the hook: transport_maps (hash:t) sends anna@alpha.test to") {
		t.Errorf("check %s:\n%s", anna, out)
	}
	if out := p.must("check", anna, "-json"); !strings.Contains(out, `"asked":true,"routes":[{"direction":"received","state":"routed",`) {
		t.Errorf("check %s -json:\n%s", anna, out)
	}
	if out := p.must("check"); !strings.Contains(out, "ok    maps for Postfix: "+p.dir+"/data/postfix") {
		t.Errorf("check:\n%s", out)
	}

	stop := p.daemon()
	lines := func(text string) bool {
		b, _ := os.ReadFile(filepath.Join(p.dir, "data", "postfix", "copialettere_transport"))
		return strings.Contains(string(b), "\n"+text+"\n")
	}
	p.await("the map at the start", func() bool { return lines(anna + "\tcopialettere-received:unix:private/copialettere") })
	p.configure("received = \"other:unix:hook\"\n")
	p.reload("configuration reloaded")
	p.await("the map after the reload", func() bool { return lines(anna + "\tother:unix:hook") })
	p.must("mailbox", "enable", "bea@alpha.test")
	stop()
	if !lines("bea@alpha.test\tother:unix:hook") {
		t.Error("the map lacks what was enabled before the stop")
	}
}
