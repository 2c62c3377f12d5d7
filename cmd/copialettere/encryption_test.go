package main

import (
	"bytes"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"copialettere/journal/kv"
	"copialettere/journal/kv/keyed"
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

// TestErasedKey erases an archive and then puts the month back as it was before, as whoever has kept a copy of the disk could: no entry of the erased archive
// can be read with all keys that there are, and those of another one can.
func TestErasedKey(t *testing.T) {
	p := newPlace(t)
	key := filepath.Join(p.dir, "key")
	if err := os.WriteFile(key, []byte(p.must("encryption-key")), 0o600); err != nil {
		t.Fatal(err)
	}
	p.configure("[encryption]\nkey_file = \"" + key + "\"\n")
	p.must("init")
	stop := p.daemon()
	for _, mailbox := range []string{anna, bruno} {
		p.must("mailbox", "enable", mailbox)
		p.deliver(message, mailbox, "rfc822;"+mailbox)
	}
	stop()
	month := p.folder(string(kv.MonthOf(time.Now())))
	before := filepath.Join(t.TempDir(), "before")
	p.do(os.CopyFS(before, os.DirFS(month)))
	keys, err := os.ReadFile(filepath.Join(p.dir, "data", "mailbox.keys"))
	p.do(err)
	stop = p.daemon()
	p.must("mailbox", "disable", anna, "-confirm", anna, "-now")
	p.await("the erasure", func() bool {
		now, err := os.ReadFile(filepath.Join(p.dir, "data", "mailbox.keys"))
		p.do(err)
		_, changed := keyed.Scrub(keys, now)
		return changed
	})
	stop()
	p.do(os.RemoveAll(month))
	p.do(os.CopyFS(month, os.DirFS(before)))
	a, err := openArchive(t.Context(), p.config(), slog.New(slog.DiscardHandler))
	p.do(err)
	defer a.close()
	list := func(mailbox string) (entries int, failed error) {
		for _, err := range a.journal.List(t.Context(), mailbox) {
			if err != nil {
				return entries, err
			}
			entries++
		}
		return entries, nil
	}
	if n, err := list(bruno); n != 1 || err != nil {
		t.Errorf("of another archive: %d entries, %v", n, err)
	}
	if n, err := list(anna); n != 0 || err == nil || !strings.Contains(err.Error(), "lost or was destroyed") {
		t.Errorf("of the erased archive: %d entries, %v", n, err)
	}
}
