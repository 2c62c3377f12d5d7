package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
)

// TestKillSwitches kills the daemon with SIGKILL while switches are turned. What a command has answered is in the files, before the daemon is started
// again; after that they say what the settings say. No file is ever cut off.
func TestKillSwitches(t *testing.T) {
	folder := rig.Folder(t)
	files := filepath.Join(folder, "auth")
	rig.DovecotFolder(t, files)
	hook := rig.NewDaemon(t, program, filepath.Join(folder, "hook"), fmt.Sprintf(`
[received]
listen = ["tcp:127.0.0.1:%d"]
next_hop = "maildir:%s"
[dovecot]
files = %q
[[domain]]
name = "alpha.test"
`, rig.FreePort(t), filepath.Join(folder, "hook", "mail"), files))
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	mailboxes := []string{"anna@alpha.test", "bruno@alpha.test", "carla@alpha.test"}
	for kill := range 6 {
		protocols := []string{"pop3", "imap"}[kill%2]
		answered := make([]bool, len(mailboxes))
		var turning sync.WaitGroup
		for i, mailbox := range mailboxes {
			turning.Go(func() {
				time.Sleep(time.Duration(i) * 100 * time.Millisecond)
				_, _, status := hook.Command(t, "mailbox", "set", mailbox, "protocols="+protocols)
				answered[i] = status == 0
			})
		}
		time.Sleep(time.Duration(random.Int64N(int64(1200 * time.Millisecond))))
		hook.Kill()
		turning.Wait()
		for i, mailbox := range mailboxes {
			closed := closedIn(t, files, mailbox)
			if want := closedBy(protocols); answered[i] && !slices.Equal(closed, want) {
				t.Errorf("kill %d: it was answered that %s has protocols=%s, and the files close %v", kill, mailbox, protocols, closed)
			}
		}
		hook.Start(t)
		for _, mailbox := range mailboxes {
			want := closedBy(protocolsOf(t, hook, mailbox))
			rig.Wait(t, 10*time.Second, fmt.Sprintf("the files to close %v to %s", want, mailbox), func() bool {
				return slices.Equal(closedIn(t, files, mailbox), want)
			})
		}
	}
	hook.Verify(t)
}

func closedBy(protocols string) []string {
	switch protocols {
	case "pop3":
		return []string{"imap", "smtp", "submission"}
	case "imap":
		return []string{"pop3", "smtp", "submission"}
	}
	return nil // all are on, as at first
}

// closedIn returns the services that the files close to a mailbox, and expects whole lines.
func closedIn(t *testing.T, files, mailbox string) (closed []string) {
	t.Helper()
	for _, service := range []string{"imap", "pop3", "smtp", "submission", "sieve"} {
		text, err := os.ReadFile(filepath.Join(files, "deny."+service))
		if err != nil || !strings.HasSuffix(string(text), "\n") {
			t.Fatalf("deny.%s has %q, %v", service, text, err)
		}
		for line := range strings.Lines(string(text)) {
			if !strings.HasPrefix(line, "#") && !strings.HasSuffix(line, "@alpha.test:\n") {
				t.Errorf("deny.%s has the line %q", service, line)
			}
			if line == mailbox+":\n" {
				closed = append(closed, service)
			}
		}
	}
	return closed
}

func protocolsOf(t *testing.T, hook *rig.Daemon, mailbox string) string {
	t.Helper()
	var m struct {
		Settings []struct{ Key, Value string }
	}
	if err := json.Unmarshal(hook.Must(t, "mailbox", "show", mailbox, "-json"), &m); err != nil {
		t.Fatal(err)
	}
	for _, s := range m.Settings {
		if s.Key == "protocols" {
			return s.Value
		}
	}
	t.Fatalf("%s has no protocols", mailbox)
	return ""
}
