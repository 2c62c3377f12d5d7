//go:build bench

package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
)

// benchRecipients compares how fast a hook in front of Dovecot answers a recipient where one mailbox is enabled, and where 5,000 are. It asks both
// in turn and takes the medians.
func benchRecipients(t *testing.T, program string) {
	const asked = 3000
	folder := rig.Folder(t)
	dovecot := rig.StartDovecot(t, filepath.Join(folder, "dovecot"), []rig.Account{{Address: mailbox}})
	var sessions []*rig.Session
	for _, others := range []int{0, 4999} {
		hook, address := startHook(t, program, filepath.Join(folder, fmt.Sprint(others)), dovecot.DirectTCP)
		if others > 0 {
			enableOthers(t, hook, others)
		}
		session, err := rig.Dial("tcp", address, "LHLO")
		if err != nil {
			t.Fatal(err)
		}
		defer session.Close()
		session.Limit(5 * time.Minute)
		sessions = append(sessions, session)
	}
	var took [2][]time.Duration
	for i := range asked {
		for n := range sessions {
			n = (n + i) % len(sessions)
			took[n] = append(took[n], askRecipient(t, sessions[n]))
		}
	}
	var medians [2]time.Duration
	for n := range took {
		slices.Sort(took[n])
		medians[n] = took[n][asked/2]
	}
	fmt.Printf("| answer to a recipient with 1 mailbox enabled (%v) / with 5,000 (%v), Dovecot behind the hook | %.3f | 0.98 |\n",
		medians[0].Round(time.Microsecond), medians[1].Round(time.Microsecond), medians[0].Seconds()/medians[1].Seconds())
}

// enableOthers enables so many mailboxes more.
func enableOthers(t *testing.T, hook *rig.Daemon, count int) {
	t.Helper()
	var lines strings.Builder
	for i := range count {
		fmt.Fprintf(&lines, "other%04d@alpha.test\n", i)
	}
	list := filepath.Join(rig.Folder(t), "others")
	if err := os.WriteFile(list, []byte(lines.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	hook.Must(t, "mailbox", "enable", "-from", list)
}

// askRecipient begins a transaction, takes the time of the answer to its recipient, and breaks it off.
func askRecipient(t *testing.T, session *rig.Session) time.Duration {
	t.Helper()
	var took time.Duration
	for _, command := range []string{"MAIL FROM:<" + sender + ">", "RCPT TO:<" + mailbox + ">", "RSET"} {
		begun := time.Now()
		if reply, err := session.Command("%s", command); err != nil || reply.Code != 250 {
			t.Fatalf("%s: %v, %v", command, reply, err)
		}
		if strings.HasPrefix(command, "RCPT") {
			took = time.Since(begun)
		}
	}
	return took
}
