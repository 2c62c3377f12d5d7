package main

import (
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
)

// TestCheckDovecot checks the files for Dovecot, and the key that Dovecot shows, in every state in which an operator may leave them.
func TestCheckDovecot(t *testing.T) {
	p := newPlace(t)
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	folder, key := filepath.Join(p.dir, "auth"), filepath.Join(p.dir, "policy.key")
	p.configure("[dovecot]\nfiles = \"" + folder + "\"\nuser = \"" + me.Username + "\"\n" +
		"[dovecot_policy]\nlisten = [\"tcp:127.0.0.1:0\"]\nkey_file = \"" + key + "\"\n")
	p.must("init")
	check := func(when string, want ...string) {
		t.Helper()
		code, stdout, _ := p.run("check")
		failed := 0
		for _, line := range want {
			if !strings.Contains(stdout, line) {
				t.Errorf("%s: no %q in\n%s", when, line, stdout)
			}
			if strings.HasPrefix(line, "FAIL") {
				failed++
			}
		}
		if (code != 0) != (failed > 0) || strings.Count(stdout, "FAIL") != failed {
			t.Errorf("%s: %d\n%s", when, code, stdout)
		}
	}
	const good = "ok    key for Dovecot's policy requests: "
	check("at first", "FAIL  files for Dovecot: "+folder+" is not there", "FAIL  key for Dovecot's policy requests: ")
	if err := os.Mkdir(folder, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, []byte("spago-e-ceralacca\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := p.run("mailbox", "set", anna, "protocols=imap"); code != 0 {
		t.Fatalf("%d, %s", code, stderr)
	}
	check("after a change, without a daemon", "ok    files for Dovecot: "+folder+", the user "+me.Username+" reads them", good)
	if text, err := os.ReadFile(filepath.Join(folder, "deny.pop3")); err != nil || !strings.HasSuffix(string(text), "\n"+anna+":\n") {
		t.Errorf("deny.pop3 has %q, %v", text, err)
	}
	if err := os.Remove(filepath.Join(folder, "deny.imap")); err != nil {
		t.Fatal(err)
	}
	check("a file is absent", "FAIL  files for Dovecot: "+filepath.Join(folder, "deny.imap")+" is not there, and Dovecot closes nothing", good)
	if err := os.WriteFile(key, []byte("no\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.must("mailbox", "set", anna, "protocols=imap") // repeated, it writes what is absent
	check("a bad key", "ok    files for Dovecot: ", "FAIL  key for Dovecot's policy requests: "+key)
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := p.run("mailbox", "set", anna, "protocols=pop3"); code != 1 || !strings.Contains(stderr, "the change is made, but Dovecot does not know of it yet") {
		t.Errorf("without a folder: %d, %s", code, stderr)
	}
}
