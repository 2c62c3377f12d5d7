package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"copialettere/policy/archive"
)

// TestCheckpoint makes checkpoints by the command, with a daemon and without, and finds an archive that was put back to an earlier state.
func TestCheckpoint(t *testing.T) {
	p := newPlace(t)
	outside := filepath.Join(p.dir, "outside")
	if err := os.Mkdir(outside, 0o700); err != nil {
		t.Fatal(err)
	}
	p.configure("[evidence]\ncheckpoints = \"" + outside + "\"\n")
	p.must("init")
	key, err := os.ReadFile(filepath.Join(p.dir, "data", "evidence.pub"))
	if err != nil {
		t.Fatal(err)
	}
	if code, _, _ := p.run("checkpoint", "-list"); code != 1 {
		t.Errorf("the list of an archive without checkpoints: exit status %d", code)
	}
	p.must("mailbox", "enable", "anna@alpha.test")
	p.must("checkpoint")
	before := filepath.Join(p.dir, "before")
	if err := os.CopyFS(before, os.DirFS(filepath.Join(p.dir, "data"))); err != nil {
		t.Fatal(err)
	}
	stop := p.daemon()
	p.deliver(message, "anna@alpha.test", "rfc822;anna@alpha.test")
	var made archive.Checkpoint
	if out := p.must("checkpoint", "-json"); json.Unmarshal([]byte(out), &made) != nil || made.Number != 1 || made.Heads != 1 || !strings.HasPrefix(made.Outside, outside) {
		t.Errorf("the second checkpoint: %s", out)
	}
	if out := p.must("verify"); !strings.Contains(out, "1 log of 2 leaves, kept since ") || !strings.Contains(out, "2 checkpoints, 0 with a time stamp, 2 compared that are kept outside") {
		t.Errorf("verify says %s", out)
	}
	stop()
	if out := p.must("checkpoint", "-list"); strings.Count(out, "checkpoint ") != 2 {
		t.Errorf("the list: %s", out)
	}
	if out := p.must("checkpoint", "-new-key"); !strings.Contains(out, "+") || out == string(key) {
		t.Errorf("another key: %s", out)
	}
	p.must("checkpoint")
	p.must("verify")

	if err := os.RemoveAll(filepath.Join(p.dir, "data")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(before, filepath.Join(p.dir, "data")); err != nil {
		t.Fatal(err)
	}
	code, out, _ := p.run("verify")
	if code != 1 || !strings.Contains(out, "it is of checkpoint 1, and the archive has 1 in all: the archive was put back to an earlier state") {
		t.Errorf("an older copy: exit status %d, %s", code, out)
	}
	t.Logf("verify says of an older copy:\n%s", out)
}
