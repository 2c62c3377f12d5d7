// Package rig starts a real Postfix, a real Dovecot and the program itself on loopback, for the end-to-end tests and the benchmark. Each test
// has its own instances: configuration, queue, mailboxes and journal are in one folder under the system's temporary folder, all ports are
// free ones of 127.0.0.1, and nothing asks DNS or another machine. The tests use what operators copy: the settings between the three come
// from the files of contrib, with ports and names replaced.
//
// The rig needs root, as Postfix and Dovecot do. The program under test runs as the user nobody.
//
// Every process belongs to a goroutine that waits for it. It is stopped when the test ends; if the test dies before that, a guard stops it.
package rig

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// folderPrefix begins the name of every folder that the rig makes; the process id of the test follows.
const folderPrefix = "copialettere-e2e-"

// Missing returns nil if this machine can run the rig, or else an error with a line for each thing that is missing, and its remedy.
func Missing() error {
	var problems []error
	if os.Geteuid() != 0 {
		problems = append(problems, errors.New("not root: Postfix and Dovecot can only be started by root"))
	}
	for _, need := range []struct{ program, pack string }{
		{"/usr/sbin/postfix", "postfix"}, {"/usr/sbin/smtp-source", "postfix"}, {"/usr/sbin/smtp-sink", "postfix"},
		{"/usr/sbin/dovecot", "dovecot-core"}, {"/usr/lib/dovecot/lmtp", "dovecot-lmtpd"},
		{"/usr/lib/dovecot/modules/lib90_sieve_plugin.so", "dovecot-sieve"},
		{"/usr/lib/dovecot/pop3", "dovecot-pop3d"}, {"/usr/lib/dovecot/managesieve", "dovecot-managesieved"},
		{"/usr/lib/dovecot/submission", "dovecot-submissiond"},
		{"/usr/bin/swaks", "swaks"}, {"/usr/bin/perl", "perl"},
		{"/usr/bin/curl", "curl"}, {"/usr/bin/mbsync", "isync"}, {"/usr/bin/python3", "python3"}, {"/usr/bin/unzip", "unzip"},
		{"/usr/sbin/cyrmaster", "cyrus-common"}, {"/usr/bin/db5.3_load", "db5.3-util"}, {"/lib/libcourierauth.so.0", "courier-authlib"},
	} {
		if _, err := os.Stat(need.program); err != nil {
			problems = append(problems, fmt.Errorf("%s is missing: apt-get install %s", need.program, need.pack))
		}
	}
	for _, name := range []string{"courier-imap/usr/bin/imapd", "cyrus-imapd/usr/lib/cyrus/bin/imapd"} {
		if _, err := os.Stat(filepath.Join(Unpacked, name)); err != nil {
			problems = append(problems, fmt.Errorf("%s is missing in %s: make unpacked", name, Unpacked))
		}
	}
	for _, name := range []string{"postfix", "dovecot", "nobody", "games"} {
		if _, err := user.Lookup(name); err != nil {
			problems = append(problems, fmt.Errorf("there is no user %s", name))
		}
	}
	return errors.Join(problems...)
}

// RemoveLeftovers removes the folders of tests that died without cleaning up. It keeps those of running tests.
func RemoveLeftovers() {
	folders, _ := filepath.Glob(filepath.Join(os.TempDir(), folderPrefix+"*"))
	for _, folder := range folders {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(folder), folderPrefix), "-")
		if n, err := strconv.Atoi(pid); err == nil && syscall.Kill(n, 0) == syscall.ESRCH {
			os.RemoveAll(folder)
		}
	}
}

// NewFolder makes a folder that everybody may enter, with a path short enough for unix sockets. The caller must remove it.
func NewFolder() (string, error) {
	folder, err := os.MkdirTemp("", fmt.Sprintf("%s%d-", folderPrefix, os.Getpid()))
	if err != nil {
		return "", err
	}
	return folder, os.Chmod(folder, 0o755)
}

// Build compiles the program into the folder and returns the path of the binary.
func Build(folder string) (string, error) {
	binary := filepath.Join(folder, "copialettere")
	command := exec.Command("go", "build", "-o", binary, "./cmd/copialettere")
	command.Dir = ModuleFolder()
	if out, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build ./cmd/copialettere: %v\n%s", err, out)
	}
	return binary, nil
}

// ModuleFolder returns the folder of the program's go.mod, looking upwards from the working folder, also from a module inside it. It panics outside
// of the module.
func ModuleFolder() string {
	folder, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	for {
		text, err := os.ReadFile(filepath.Join(folder, "go.mod"))
		if err == nil && strings.HasPrefix(string(text), "module copialettere\n") {
			return folder
		}
		if folder == filepath.Dir(folder) {
			panic("the working folder is outside of the module")
		}
		folder = filepath.Dir(folder)
	}
}

// Contrib returns a file of contrib with replacements made, given as old, new, old, new. The test fails unless each old text occurs.
func Contrib(t testing.TB, name string, replacements ...string) string {
	t.Helper()
	text := readFile(t, filepath.Join(ModuleFolder(), "contrib", name))
	for i := 0; i < len(replacements); i += 2 {
		if !strings.Contains(text, replacements[i]) {
			t.Fatalf("contrib/%s does not contain %q", name, replacements[i])
		}
		text = strings.ReplaceAll(text, replacements[i], replacements[i+1])
	}
	return text
}

// Folder makes a folder for one rig, and removes it when the test ends.
func Folder(t testing.TB) string {
	t.Helper()
	folder, err := NewFolder()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	return folder
}

// FreePort returns a TCP port of 127.0.0.1 that was free a moment ago. It is below those that the system gives to outgoing connections, so that
// only another test's chance could take it.
func FreePort(t testing.TB) int {
	t.Helper()
	const first, last, tries = 10000, 32767, 100
	var err error
	for range tries {
		port := first + rand.IntN(last-first+1)
		var listener net.Listener
		if listener, err = net.Listen("tcp", loopback(port)); err == nil {
			listener.Close()
			return port
		}
	}
	t.Fatalf("no port is free: %v", err)
	return 0
}

// Wait polls until done reports true. After the limit it fails the test; what says what it waited for.
func Wait(t testing.TB, limit time.Duration, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		if done() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", limit, what)
		}
	}
}

// loopback returns the address of a port of 127.0.0.1.
func loopback(port int) string {
	return "127.0.0.1:" + strconv.Itoa(port)
}

func userID(t testing.TB, name string) (uid, gid int) {
	t.Helper()
	account, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, _ = strconv.Atoi(account.Uid)
	gid, _ = strconv.Atoi(account.Gid)
	return uid, gid
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func makeFolder(t testing.TB, path, owner string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(path, mode); err != nil {
		t.Fatal(err)
	}
	uid, gid := userID(t, owner)
	if err := os.Chown(path, uid, gid); err != nil {
		t.Fatal(err)
	}
}

// showLog prints the end of a log if the test fails.
func showLog(t testing.TB, path string) {
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		text, _ := os.ReadFile(path)
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		t.Logf("the end of %s:\n%s", filepath.Base(path), strings.Join(lines[max(0, len(lines)-60):], "\n"))
	})
}
