package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRootLeavesDataAlone has root run a command on the data folder of the daemon's user while no daemon runs: root is told to be that user, and no file changes
// hands. It needs root, as whom most of the tests run.
func TestRootLeavesDataAlone(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give the folder away")
	}
	p := newPlace(t)
	p.must("init")
	data := filepath.Join(p.dir, "data")
	const nobody = 65534
	if err := os.Chown(data, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{{"mailbox", "enable", anna}, {"import", anna, "-from", p.dir}, {"rebuild"}} {
		code, _, stderr := p.run(command...)
		if code == 0 || !strings.Contains(stderr, "sudo -u nobody") {
			t.Errorf("%s: exit status %d: %s", command, code, stderr)
		}
	}
	if err := os.Chown(data, 0, 0); err != nil {
		t.Fatal(err)
	}
	p.must("mailbox", "enable", anna)
}
