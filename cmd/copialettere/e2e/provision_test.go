package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
)

// TestProvisionKilled kills the daemon with SIGKILL while it enables mailboxes from a list, again and again, and repeats the same list until it is
// through. Every mailbox that a command printed is enabled, each is enabled once, with its settings, and the domain's limit counts each once.
func TestProvisionKilled(t *testing.T) {
	const mailboxes, kills = 2000, 6
	folder := rig.Folder(t)
	hook := rig.NewDaemon(t, program, filepath.Join(folder, "hook"), fmt.Sprintf("[received]\nlisten = [\"tcp:127.0.0.1:%d\"]\n"+
		"next_hop = \"maildir:%s\"\n[[domain]]\nname = \"alpha.test\"\nmax_mailboxes = %d\n", rig.FreePort(t), filepath.Join(folder, "mail"), mailboxes))
	var lines strings.Builder
	lines.WriteString("mailbox,retention\n")
	for i := range mailboxes {
		fmt.Fprintf(&lines, "m%04d@alpha.test,24\n", i)
	}
	list := filepath.Join(folder, "boxes.csv")
	if err := os.WriteFile(list, []byte(lines.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	printed := make(map[string]int)
	note := func(out []byte) {
		for line := range strings.Lines(string(out)) {
			if name, rest, ok := strings.Cut(line, " "); ok && strings.HasSuffix(rest, "archive on, retention=24\n") {
				printed[name]++
			}
		}
	}
	for range kills {
		killed := make(chan struct{})
		after := time.Duration(random.Int64N(int64(400 * time.Millisecond)))
		go func() {
			defer close(killed)
			time.Sleep(after)
			hook.Kill()
		}()
		out, _, _ := hook.Command(t, "mailbox", "enable", "-from", list) // without the daemon it would open the data folder itself
		<-killed
		note(out)
		hook.Start(t)
		on := enabled(t, hook)
		for name := range printed {
			if !on[name] {
				t.Fatalf("%s was printed as enabled before the kill, and is not", name)
			}
		}
	}
	note(hook.Must(t, "mailbox", "enable", "-from", list))
	if on := enabled(t, hook); len(on) != mailboxes {
		t.Errorf("%d mailboxes are enabled, want %d", len(on), mailboxes)
	}
	for name, times := range printed {
		if times != 1 {
			t.Errorf("%s was enabled %d times", name, times)
		}
	}
	for i := 0; i < mailboxes; i += 97 {
		name := fmt.Sprintf("m%04d@alpha.test", i)
		if log := string(hook.Must(t, "mailbox", "log", name)); strings.Count(log, "\n") != 2 {
			t.Errorf("on record of %s:\n%s", name, log)
		}
	}
	if _, stderr, status := hook.Command(t, "mailbox", "enable", "one-more@alpha.test"); status != 1 ||
		!strings.Contains(stderr, fmt.Sprintf("alpha.test has %d archives, and max_mailboxes is %d", mailboxes, mailboxes)) {
		t.Errorf("one more: exit status %d: %s", status, stderr)
	}
	hook.Verify(t)
}

// enabled returns the mailboxes whose archives are on.
func enabled(t *testing.T, hook *rig.Daemon) map[string]bool {
	t.Helper()
	on := make(map[string]bool)
	out, stderr, status := hook.Command(t, "usage", "-csv")
	if status != 0 && stderr != "" {
		t.Fatalf("usage: exit status %d: %s", status, stderr)
	}
	for line := range strings.Lines(string(out)) {
		if fields := strings.Split(line, ","); len(fields) > 2 && fields[2] == "on" {
			on[fields[0]] = true
		}
	}
	return on
}
