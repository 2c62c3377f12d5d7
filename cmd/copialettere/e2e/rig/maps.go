package rig

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// WatchMaps plays copialettere-postmap.path of contrib/systemd, until the test ends or stop is called: while the file of its PathExists= is
// there, it runs the commands of copialettere-postmap.service, as the daemon's user.
func (p *Postfix) WatchMaps(t testing.TB) (stop func()) {
	t.Helper()
	const folder = "/var/lib/copialettere/postfix"
	path := settingsOf(Contrib(t, "systemd/copialettere-postmap.path", folder, p.Maps), "PathExists")[0]
	service := Contrib(t, "systemd/copialettere-postmap.service", folder, p.Maps)
	commands := slices.Concat(settingsOf(service, "ExecStartPre"), settingsOf(service, "ExecStart"), settingsOf(service, "ExecStartPost"))
	quit := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-quit:
				return
			case <-time.After(20 * time.Millisecond):
			}
			if _, err := os.Stat(path); err != nil {
				continue
			}
			for _, command := range commands {
				if err := p.runAsDaemon(t, strings.Fields(command)); err != nil {
					t.Error(err)
				}
			}
		}
	})
	stop = sync.OnceFunc(func() {
		close(quit)
		watching.Wait()
	})
	t.Cleanup(stop)
	return stop
}

// settingsOf returns the values of a key of a unit.
func settingsOf(unit, key string) []string {
	var values []string
	for line := range strings.Lines(unit) {
		if value, ok := strings.CutPrefix(line, key+"="); ok {
			values = append(values, strings.TrimSpace(value))
		}
	}
	return values
}

// runAsDaemon runs a program as the daemon's user, for this Postfix.
func (p *Postfix) runAsDaemon(t testing.TB, command []string) error {
	uid, gid := userID(t, "nobody")
	c := exec.Command(command[0], command[1:]...)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	c.Env = append(os.Environ(), "MAIL_CONFIG="+p.Config)
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(command, " "), err, out)
	}
	return nil
}

// DeleteKey takes a key out of what postmap has made of a map, as postmap -d does.
func (p *Postfix) DeleteKey(t testing.TB, name, key string) {
	t.Helper()
	if err := p.runAsDaemon(t, []string{"postmap", "-d", key, "hash:" + filepath.Join(p.Maps, name)}); err != nil {
		t.Fatal(err)
	}
}

// Resolve asks Postfix's trivial-rewrite(8), as its queue manager does, where mail to an address goes: the name of the transport. The address is
// without quotes.
func (p *Postfix) Resolve(t testing.TB, address string) string {
	t.Helper()
	connection, err := net.Dial("unix", filepath.Join(p.queue, "private", "rewrite"))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(10 * time.Second))
	read := func() []string {
		var text strings.Builder
		buffer := make([]byte, 4096)
		for !strings.HasSuffix(text.String(), "\x00\x00") {
			n, err := connection.Read(buffer)
			if err != nil {
				t.Fatalf("trivial-rewrite: %v", err)
			}
			text.Write(buffer[:n])
		}
		return strings.Split(text.String(), "\x00")
	}
	read() // the name of the protocol
	if _, err := fmt.Fprintf(connection, "request\x00resolve\x00sender\x00\x00address\x00%s\x00\x00", address); err != nil {
		t.Fatal(err)
	}
	answer := read()
	for i := 0; i+1 < len(answer); i += 2 {
		if answer[i] == "transport" {
			return answer[i+1]
		}
	}
	t.Fatalf("trivial-rewrite answers %q", answer)
	return ""
}

// Logged says whether the mail log has a text.
func (p *Postfix) Logged(t testing.TB, text string) bool {
	t.Helper()
	return strings.Contains(readFile(t, p.Log), text)
}
