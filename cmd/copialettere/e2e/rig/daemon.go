package rig

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Activated is a listening socket that the daemon gets as it would from systemd. The test keeps it open, so it outlives the daemon.
type Activated struct {
	Name string // FileDescriptorName; in the configuration "systemd:NAME"
	File *os.File
}

// ListenUnix makes the hook's unix socket as systemd would: owned by postfix, in its private folder. The caller closes it.
func ListenUnix(t testing.TB, socket string) net.Listener {
	t.Helper()
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	uid, gid := userID(t, "postfix")
	if err := os.Chown(socket, uid, gid); err != nil {
		t.Fatal(err)
	}
	return listener
}

// Descriptor returns the file descriptor of a listener. It stays open until the end of the test.
func Descriptor(t testing.TB, listener net.Listener) *os.File {
	t.Helper()
	file, err := listener.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file
}

// Daemon is the program under test, run by the user nobody with a configuration and data folder of its own.
type Daemon struct {
	Data   string // the data folder
	Config string // path of its configuration
	Log    string // path of its log
	// Environment is what it has beside the environment of the test, as NAME=VALUE. It may be changed while the daemon is stopped.
	Environment []string

	binary     string
	activated  []Activated
	credential *syscall.Credential
	process    *Process
}

// Entry is a line of "list -json".
type Entry struct {
	Mailbox     string    `json:"mailbox"`
	Direction   string    `json:"direction"`
	Folder      string    `json:"folder"`
	UID         uint32    `json:"uid"`
	Time        time.Time `json:"time"`
	MailFrom    string    `json:"mail_from"`
	RcptTo      string    `json:"rcpt_to"`
	ORCPT       string    `json:"orcpt"`
	Recipients  []string  `json:"recipients"` // of sent mail
	Subject     string    `json:"subject"`
	MessageID   string    `json:"message_id"`
	Size        int64     `json:"size"`
	SHA256      string    `json:"sha256"`
	Class       string    `json:"class"`
	State       string    `json:"state"`
	Flags       []string  `json:"flags"`
	Transaction string    `json:"transaction"`
}

// Verdict is a line of "why -json".
type Verdict struct {
	Mailbox   string `json:"mailbox"`
	RcptTo    string `json:"rcpt_to"`
	ORCPT     string `json:"orcpt"`
	Verdict   string `json:"verdict"`
	Reason    string `json:"reason"`
	MessageID string `json:"message_id"`
}

// NewDaemon writes the configuration, given without the key data, makes the data folder and starts the daemon.
func NewDaemon(t testing.TB, binary, folder, config string, activated ...Activated) *Daemon {
	t.Helper()
	d := Install(t, binary, folder, config, activated...)
	d.Start(t)
	return d
}

// Install is NewDaemon without the start.
func Install(t testing.TB, binary, folder, config string, activated ...Activated) *Daemon {
	t.Helper()
	makeFolder(t, folder, "nobody", 0o755)
	uid, gid := userID(t, "nobody")
	d := &Daemon{
		Data: filepath.Join(folder, "data"), Log: filepath.Join(folder, "daemon.log"), binary: binary,
		Config: filepath.Join(folder, "copialettere.toml"), activated: activated,
		credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)},
	}
	writeFile(t, d.Config, fmt.Sprintf("data = %q\n%s", d.Data, config))
	d.Must(t, "init")
	showLog(t, d.Log)
	t.Cleanup(func() {
		if d.process != nil {
			d.process.Stop()
		}
	})
	return d
}

// Own gives all files in the data folder to the daemon's user. Call it after the test itself has written there.
func (d *Daemon) Own(t testing.TB) {
	t.Helper()
	err := filepath.WalkDir(d.Data, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(d.credential.Uid), int(d.credential.Gid))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Start starts the daemon, for the first time or again after Stop or Kill, and waits until the daemon tells, as it tells systemd, that it is
// ready: then it listens on all its addresses. It runs until the test that made it ends.
func (d *Daemon) Start(t testing.TB) {
	t.Helper()
	// LISTEN_PID names the process that the sockets are for, and only that process knows its id.
	command := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, d.binary, "serve", "-config", d.Config)
	command.SysProcAttr = &syscall.SysProcAttr{Credential: d.credential}
	var names []string
	for _, a := range d.activated {
		command.ExtraFiles = append(command.ExtraFiles, a.File)
		names = append(names, a.Name)
	}
	notices := d.listenForReady(t)
	defer notices.Close()
	command.Env = append(append(os.Environ(), d.Environment...), fmt.Sprintf("LISTEN_FDS=%d", len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"),
		"NOTIFY_SOCKET="+notices.LocalAddr().String())
	d.process = launch(t, command, d.Log)
	Wait(t, 20*time.Second, "the daemon to be ready", func() bool {
		if ended, err := d.process.Ended(); ended {
			t.Fatalf("the daemon has ended: %v\n%s", err, readFile(t, d.Log))
		}
		notices.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		text := make([]byte, 100)
		n, _, err := notices.ReadFrom(text)
		return err == nil && string(text[:n]) == "READY=1"
	})
}

// listenForReady makes the socket where the daemon tells that it is ready.
func (d *Daemon) listenForReady(t testing.TB) net.PacketConn {
	t.Helper()
	path := filepath.Join(filepath.Dir(d.Config), "notify.sock")
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	notices, err := net.ListenPacket("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, int(d.credential.Uid), int(d.credential.Gid)); err != nil {
		t.Fatal(err)
	}
	return notices
}

// Stop stops the daemon with SIGTERM and fails the test unless it ends well.
func (d *Daemon) Stop(t testing.TB) {
	t.Helper()
	d.process.Stop()
	if _, err := d.process.Ended(); err != nil {
		t.Errorf("the daemon ended with %v", err)
	}
}

// Kill kills the daemon with SIGKILL.
func (d *Daemon) Kill() { d.process.Kill() }

// Logged returns the lines of the log that contain a text, those of earlier starts included.
func (d *Daemon) Logged(t testing.TB, text string) []string {
	t.Helper()
	log, err := os.ReadFile(d.Log)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, text) {
			lines = append(lines, strings.TrimSuffix(line, "\n"))
		}
	}
	return lines
}

// PID returns the process id of the running daemon.
func (d *Daemon) PID() int { return d.process.PID() }

// Command runs a sub-command as the daemon's user and returns its output and exit status.
func (d *Daemon) Command(t testing.TB, arguments ...string) (stdout []byte, stderr string, status int) {
	t.Helper()
	command := d.Prepared(arguments...)
	var complaints bytes.Buffer
	command.Stderr = &complaints
	stdout, err := command.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("copialettere %s: %v", strings.Join(arguments, " "), err)
	}
	return stdout, complaints.String(), command.ProcessState.ExitCode()
}

// Prepared returns a sub-command that is to run as the daemon's user.
func (d *Daemon) Prepared(arguments ...string) *exec.Cmd {
	command := exec.Command(d.binary, append(arguments, "-config", d.Config)...)
	command.SysProcAttr = &syscall.SysProcAttr{Credential: d.credential}
	command.Env = append(os.Environ(), d.Environment...)
	return command
}

// Must runs a sub-command that must succeed, and returns its output.
func (d *Daemon) Must(t testing.TB, arguments ...string) []byte {
	t.Helper()
	stdout, stderr, status := d.Command(t, arguments...)
	if status != 0 {
		t.Fatalf("copialettere %s: exit status %d\n%s%s", strings.Join(arguments, " "), status, stdout, stderr)
	}
	return stdout
}

// Enable switches the archive of mailboxes on.
func (d *Daemon) Enable(t testing.TB, mailboxes ...string) {
	t.Helper()
	for _, mailbox := range mailboxes {
		d.Must(t, "mailbox", "enable", mailbox)
	}
}

// List returns the entries of a mailbox.
func (d *Daemon) List(t testing.TB, mailbox string) []Entry {
	t.Helper()
	return objects[Entry](t, d, "list", mailbox)
}

// Find returns the entries of a mailbox with this Message-ID, given without brackets.
func (d *Daemon) Find(t testing.TB, mailbox, messageID string) []Entry {
	t.Helper()
	var found []Entry
	for _, entry := range d.List(t, mailbox) {
		if strings.Trim(entry.MessageID, "<>") == messageID {
			found = append(found, entry)
		}
	}
	return found
}

// Why returns the verdicts of a message, given by its Message-ID without brackets.
func (d *Daemon) Why(t testing.TB, mailbox, messageID string) []Verdict {
	t.Helper()
	return objects[Verdict](t, d, "why", mailbox, "-message-id", messageID)
}

// Cat returns the bytes of an entry.
func (d *Daemon) Cat(t testing.TB, entry Entry) []byte {
	t.Helper()
	return d.Must(t, "cat", entry.Mailbox, entry.Folder, fmt.Sprint(entry.UID))
}

// Verify fails the test unless the journal is sound.
func (d *Daemon) Verify(t testing.TB) {
	t.Helper()
	if stdout, stderr, status := d.Command(t, "verify"); status != 0 {
		t.Errorf("copialettere verify: exit status %d\n%s%s", status, stdout, stderr)
	}
}

// objects runs a sub-command with -json and reads its lines. Exit status 1 without output means that nothing was found.
func objects[T any](t testing.TB, d *Daemon, arguments ...string) []T {
	t.Helper()
	stdout, stderr, status := d.Command(t, append(arguments, "-json")...)
	if status > 1 || status == 1 && len(stdout) > 0 {
		t.Fatalf("copialettere %s: exit status %d\n%s%s", strings.Join(arguments, " "), status, stdout, stderr)
	}
	var list []T
	for decoder := json.NewDecoder(bytes.NewReader(stdout)); decoder.More(); {
		var one T
		if err := decoder.Decode(&one); err != nil {
			t.Fatalf("copialettere %s: %v\n%s", strings.Join(arguments, " "), err, stdout)
		}
		list = append(list, one)
	}
	return list
}
