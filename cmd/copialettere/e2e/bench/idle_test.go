//go:build bench

package bench

import (
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
)

const idleConfig = `
[received]
listen   = ["tcp:127.0.0.1:%d"]
next_hop = "maildir:%s/mail"

[auth]
source = "file:%[2]s/passwd"

[tls]
certificate = "%[2]s/certificate.pem"
key         = "%[2]s/key.pem"

[imap]
listen          = ["tls:127.0.0.1:%[3]d"]
name            = "localhost"
max_per_address = 3000
max_per_mailbox = 3000

[[domain]]
name = "alpha.test"

[log]
level = "warn"
`

// benchIdle measures the resident memory of the daemon for each of 2,000 mail programs that wait in IDLE over TLS.
func benchIdle(t *testing.T, program string) {
	const programs = 2000
	folder := rig.Folder(t)
	port := rig.FreePort(t)
	run := func(name string, arguments ...string) string {
		out, err := exec.Command(name, arguments...).Output()
		check(t, err)
		return strings.TrimSpace(string(out))
	}
	run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=localhost", "-days", "1",
		"-keyout", filepath.Join(folder, "key.pem"), "-out", filepath.Join(folder, "certificate.pem"))
	check(t, os.Chmod(filepath.Join(folder, "key.pem"), 0o644))
	line := mailbox + ":{SHA512-CRYPT}" + run("openssl", "passwd", "-6", readPassword) + "\n"
	check(t, os.WriteFile(filepath.Join(folder, "passwd"), []byte(line), 0o644))
	hook := rig.NewDaemon(t, program, filepath.Join(folder, "hook"), fmt.Sprintf(idleConfig, rig.FreePort(t), folder, port))
	hook.Enable(t, mailbox)
	hook.Must(t, "mailbox", "set", mailbox, "imap=on")
	resident := func() int64 {
		time.Sleep(time.Second)
		return field(t, fmt.Sprintf("/proc/%d/status", hook.PID()), "VmRSS:") << 10
	}
	wait := func(n int) {
		for range n {
			nc, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), &tls.Config{InsecureSkipVerify: true})
			check(t, err)
			t.Cleanup(func() { nc.Close() })
			fmt.Fprintf(nc, "a LOGIN %s \"%s\"\r\nb SELECT INBOX\r\nc IDLE\r\n", mailbox, readPassword)
			nc.SetReadDeadline(time.Now().Add(time.Minute))
			for said := ""; !strings.Contains(said, "\r\n+ "); {
				b := make([]byte, 1<<10)
				n, err := nc.Read(b)
				check(t, err)
				said += string(b[:n])
			}
		}
	}
	wait(10)
	before := resident()
	wait(programs)
	fmt.Printf("| resident memory (VmRSS) for each of %d programs that wait in IDLE over TLS | %d KiB | below 64 KiB |\n", programs, (resident()-before)/programs>>10)
}

// TestBenchIdle measures this row of TestBench by itself.
func TestBenchIdle(t *testing.T) {
	program, err := rig.Build(rig.Folder(t))
	check(t, err)
	benchIdle(t, program)
}
