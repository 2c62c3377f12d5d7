package main

import (
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"copialettere/policy/auth"
)

// TestAccess signs in to a daemon's archive, and shows the log of it from outside, and after the daemon's end.
func TestAccess(t *testing.T) {
	p := newPlace(t)
	file := filepath.Join(p.dir, "passwd")
	p.configure("[auth]\nsource = \"file:" + file + "\"\n")
	if err := os.WriteFile(file, []byte(anna+":{BLF-CRYPT}$2y$05$NNVrrmV7frWR1l5WpCC7U.oXf8Q1xx74fTwtIT3JwtcUhzJ6c./7a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.must("init")
	if code, _, _ := p.run("access", anna); code != 1 {
		t.Errorf("nobody has signed in: exit status %d", code)
	}
	p.must("mailbox", "enable", anna)
	p.must("mailbox", "set", anna, "imap=on")
	a, err := openArchive(t.Context(), p.config(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, password := range []string{"cera-lacca", "wrong", "wrong again"} {
		a.auth.Login(t.Context(), auth.Attempt{Login: anna, Password: password, Remote: netip.MustParseAddr("192.0.2.7"), Protocol: auth.ProtocolIMAP})
	}
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	out := p.must("access", anna)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "ok             imap        anna@alpha.test (owner) from 192.0.2.7") ||
		!strings.Contains(lines[1], "denied         imap        anna@alpha.test from 192.0.2.7, 2 times until ") || strings.Contains(out, "wrong") {
		t.Errorf("the log is\n%s", out)
	}
	if out := p.must("access", anna, "-json"); !strings.Contains(out, `"count":2,"login":"anna@alpha.test","protocol":"imap","address":"192.0.2.7","result":"denied"`) {
		t.Errorf("the log is\n%s", out)
	}
	p.must("verify")
}
