//go:build bench

package bench

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
)

const (
	pullMessages = 5000
	pullSize     = 3600 // bytes of a message
	pullRounds   = 5
)

// TestBenchPull imports an account of 5,000 messages from Dovecot, Courier and Cyrus, and pulls each with mbsync into a Maildir, in interleaved rounds. It
// prints the ratio of the speeds, which must not be below a half. mbsync syncs what it writes, as it does by default.
func TestBenchPull(t *testing.T) {
	rig.RemoveLeftovers()
	folder := rig.Folder(t)
	program, err := rig.Build(folder)
	check(t, err)
	hook := rig.NewDaemon(t, program, filepath.Join(folder, "hook"), fmt.Sprintf(hookConfig, fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t)), "", "127.0.0.1:9"))
	for _, start := range []func(testing.TB, string) *rig.Source{rig.DovecotSource, rig.CourierSource, rig.CyrusSource} {
		server := start(t, filepath.Join(folder, fmt.Sprint("server", seeds.Add(1))))
		t.Run(server.Name, func(t *testing.T) { benchPull(t, hook, server, t.TempDir()) })
	}
}

func benchPull(t *testing.T, hook *rig.Daemon, source *rig.Source, folder string) {
	messages := make([]string, pullMessages)
	for i := range messages {
		var body bytes.Buffer
		fmt.Fprintf(&body, "From: Lorenzo <lorenzo@ext.test>\nSubject: Consegna %d\n\n", i)
		check(t, newRandom(seeds.Add(1)).write(&body, pullSize))
		messages[i] = strings.ReplaceAll(strings.ReplaceAll(body.String(), "\r\n", "\n"), "\n", "\r\n")
	}
	source.Fill(t, messages)
	server, user := source.Address, source.User
	password := filepath.Join(folder, "password")
	check(t, os.WriteFile(password, []byte(rig.Password+"\n"), 0o644))
	check(t, os.Chmod(folder, 0o755))
	check(t, os.Chmod(filepath.Dir(folder), 0o755))
	pull := func(round int) time.Duration {
		mailbox := fmt.Sprintf("%s%d@alpha.test", source.Name, round)
		hook.Enable(t, mailbox)
		start := time.Now()
		out := string(hook.Must(t, "import", mailbox, "-from", "imap://"+user+"@"+server, "-password-file", password))
		took := time.Since(start)
		if !strings.Contains(out, fmt.Sprintf("imported %d messages", pullMessages)) {
			t.Fatal(out)
		}
		return took
	}
	host, port, _ := strings.Cut(server, ":")
	mbsync := func(round int) time.Duration {
		target := filepath.Join(folder, fmt.Sprintf("mbsync%d", round))
		check(t, os.Mkdir(target, 0o755))
		config := filepath.Join(target, "mbsyncrc")
		check(t, os.WriteFile(config, []byte(fmt.Sprintf(`SyncState *
IMAPStore far
Host %s
Port %s
User %s
Pass %s
SSLType None
AuthMechs LOGIN

MaildirStore near
Path %[5]s/
Inbox %[5]s/INBOX

Channel all
Far :far:
Near :near:
Patterns INBOX
Sync Pull
Create Near
`, host, port, user, rig.Password, target)), 0o600))
		start := time.Now()
		out, err := exec.Command("mbsync", "-c", config, "-a").CombinedOutput()
		took := time.Since(start)
		found, _ := filepath.Glob(filepath.Join(target, "INBOX", "*", "*.*"))
		if err != nil || len(found) < pullMessages {
			t.Fatalf("mbsync: %v, %d messages: %s", err, len(found), out)
		}
		return took
	}
	pull(0)
	mbsync(0) // the server has its indexes now
	var ratios []float64
	for round := 1; round <= pullRounds; round++ {
		ours, theirs := pull(round), mbsync(round)
		ratios = append(ratios, theirs.Seconds()/ours.Seconds())
		t.Logf("round %d: import %.2f s, mbsync %.2f s", round, ours.Seconds(), theirs.Seconds())
	}
	slices.Sort(ratios)
	median := ratios[len(ratios)/2]
	t.Logf("import of %d messages of %d bytes from "+source.Name+": %.2f times the speed of mbsync (%.2f to %.2f)", pullMessages, pullSize, median, ratios[0], ratios[len(ratios)-1])
	if median < 0.5 {
		t.Errorf("less than half as fast as mbsync")
	}
}
