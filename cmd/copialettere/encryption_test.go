package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestEncryption runs an encrypted archive: no word of a message and no address lies under journal/, and the key can be changed.
func TestEncryption(t *testing.T) {
	p := newPlace(t)
	key := filepath.Join(p.dir, "key")
	write := func(mode fs.FileMode, lines ...string) {
		t.Helper()
		if err := os.WriteFile(key, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(key, mode); err != nil {
			t.Fatal(err)
		}
	}
	one, two := strings.TrimSpace(p.must("encryption-key")), strings.TrimSpace(p.must("encryption-key"))
	p.configure("[encryption]\nkey_file = \"" + key + "\"\n")
	write(0o644, one)
	if code, _, stderr := p.run("init"); code == 0 || !strings.Contains(stderr, "chmod 0600") {
		t.Errorf("a key that everybody can read: exit status %d, %s", code, stderr)
	}
	write(0o600, one)
	p.must("init")
	p.must("mailbox", "enable", "anna@alpha.test")
	stop := p.daemon()
	p.deliver(message, "anna@alpha.test", "rfc822;anna@alpha.test")
	stop()
	p.must("verify")
	files := 0
	err := filepath.WalkDir(filepath.Join(p.dir, "data", "journal"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		b, err := os.ReadFile(path)
		for _, word := range []string{"anna@alpha.test", "Subject", "ext.test"} {
			if bytes.Contains(b, []byte(word)) {
				t.Errorf("%s has %q", path, word)
			}
		}
		return err
	})
	if err != nil || files < 10 {
		t.Fatalf("%d files, %v", files, err)
	}
	write(0o600, two, one)
	p.must("verify")
	write(0o600, two)
	if out := p.must("list", "anna@alpha.test"); strings.Count(out, "\n") == 0 {
		t.Errorf("with the new key: %s", out)
	}
	write(0o600, one)
	if code, _, stderr := p.run("list", "anna@alpha.test"); code == 0 || !strings.Contains(stderr, "the journal is encrypted by the key ") {
		t.Errorf("with the old key: exit status %d, %s", code, stderr)
	}
	if text, err := runKeyCommand(t.Context(), []string{"/bin/echo", two}); err != nil || strings.TrimSpace(string(text)) != two {
		t.Errorf("a command prints %q, %v", text, err)
	}
	if _, err := runKeyCommand(t.Context(), []string{"/bin/sh", "-c", "echo sealed vault >&2; exit 3"}); err == nil || err.Error() != "exit status 3: sealed vault" {
		t.Errorf("a command that fails: %v", err)
	}
}
