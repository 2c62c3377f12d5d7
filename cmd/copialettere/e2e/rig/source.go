package rig

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2/imapclient"
)

// Unpacked is where "make needs" unpacks the Debian packages that cannot be installed beside dovecot-imapd.
const Unpacked = "/var/lib/copialettere-test"

// Source is an IMAP server with one account, from which mail is imported.
type Source struct {
	Name    string
	Address string // of the server
	User    string // its password is Password
	Prefix  string // before the names of folders other than INBOX, as the server wants them

	storage string // all that the server keeps
	inbox   string // the Maildir of INBOX; empty where the server has none
	stop    func()
	start   func()
	saved   string
}

// Save keeps a copy of all that the server has.
func (s *Source) Save(t testing.TB) {
	t.Helper()
	s.stop()
	s.saved = s.storage + ".saved"
	copyAll(t, s.storage, s.saved)
	s.start()
}

// Restore puts the copy of Save back, as from a backup.
func (s *Source) Restore(t testing.TB) {
	t.Helper()
	s.stop()
	copyAll(t, s.saved, s.storage)
	s.start()
}

func copyAll(t testing.TB, from, to string) {
	t.Helper()
	if err := os.RemoveAll(to); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
}

// DovecotSource starts Dovecot with an account.
func DovecotSource(t testing.TB, folder string) *Source {
	t.Helper()
	const user = "mario@alpha.test"
	d := StartDovecot(t, folder, []Account{{Address: user}})
	return &Source{
		Name: "dovecot", Address: d.ServeIMAP(t, user, nil), User: user, storage: filepath.Join(folder, "mail"),
		inbox: filepath.Join(folder, "mail", "alpha.test", "mario"), stop: d.Stop, start: func() { d.Start(t) },
	}
}

// Fill puts messages with CRLF into the empty INBOX, by what is fastest for the server.
func (s *Source) Fill(t testing.TB, messages []string) {
	t.Helper()
	for i, text := range messages {
		if s.inbox == "" {
			break
		}
		name := filepath.Join(s.inbox, "cur", fmt.Sprintf("%d.M%dP1.rig:2,S", 1_700_000_000+i, i))
		writeFile(t, name, strings.ReplaceAll(text, "\r\n", "\n"))
	}
	if s.inbox != "" {
		if out, err := exec.Command("chown", "-R", "nobody:nogroup", s.inbox).CombinedOutput(); err != nil {
			t.Fatalf("chown: %v: %s", err, out)
		}
		return
	}
	nc, err := net.Dial("tcp", s.Address)
	if err != nil {
		t.Fatal(err)
	}
	c := imapclient.New(nc, nil)
	defer c.Close()
	if err := c.Login(s.User, Password).Wait(); err != nil {
		t.Fatal(err)
	}
	for _, text := range messages {
		put := c.Append("INBOX", int64(len(text)), nil)
		io.WriteString(put, text)
		put.Close()
		if _, err := put.Wait(); err != nil {
			t.Fatalf("append: %v", err)
		}
	}
}

// CyrusSource starts Cyrus with an account.
func CyrusSource(t testing.TB, folder string) *Source {
	t.Helper()
	makeFolder(t, folder, "cyrus", 0o755)
	store := filepath.Join(folder, "store")
	port := FreePort(t)
	config := filepath.Join(folder, "imapd.conf")
	writeFile(t, config, fmt.Sprintf(`configdirectory: %[1]s/conf
defaultpartition: default
partition-default: %[1]s/spool
admins: cyrus
allowplaintext: yes
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: %[2]s/sasldb2
sasl_mech_list: PLAIN
servername: localhost
altnamespace: no
unixhierarchysep: no
`, store, folder))
	writeFile(t, filepath.Join(folder, "cyrus.conf"), fmt.Sprintf(`START {
  recover cmd="/usr/sbin/cyrus ctl_cyrusdb -C %[1]s -r"
}
SERVICES {
  imap cmd="%[2]s/cyrus-imapd/usr/lib/cyrus/bin/imapd -C %[1]s" listen="127.0.0.1:%[3]d" prefork=0
}
EVENTS {
}
`, config, Unpacked, port))
	for _, name := range []string{"store", "store/conf", "store/spool", "store/conf/db", "store/conf/socket", "store/conf/proc", "store/conf/log", "store/conf/msg"} {
		makeFolder(t, filepath.Join(folder, name), "cyrus", 0o755)
	}
	load := exec.Command("db5.3_load", "-T", "-t", "hash", filepath.Join(folder, "sasldb2"))
	var users strings.Builder
	for _, user := range []string{"mario", "cyrus"} {
		fmt.Fprintf(&users, "%s\\00localhost\\00userPassword\n%s\n", user, Password)
	}
	load.Stdin = strings.NewReader(users.String())
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("db5.3_load: %v: %s", err, out)
	}
	if out, err := exec.Command("chown", "-R", "cyrus:mail", folder).CombinedOutput(); err != nil {
		t.Fatalf("chown: %v: %s", err, out)
	}
	s := &Source{Name: "cyrus", Address: loopback(port), User: "mario", Prefix: "INBOX.", storage: store}
	var process *Process
	log := filepath.Join(folder, "log")
	s.start = func() {
		process = launch(t, exec.Command("/usr/sbin/cyrmaster", "-C", config, "-M", filepath.Join(folder, "cyrus.conf"), "-p", filepath.Join(folder, "pid")), log)
		s.await(t)
	}
	s.stop = func() { process.Stop() }
	showLog(t, log)
	s.start()
	t.Cleanup(func() { s.stop() })
	nc, err := net.Dial("tcp", s.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	lines := bufio.NewReader(nc)
	lines.ReadString('\n')
	for _, command := range []string{"LOGIN cyrus " + Password, "CREATE user.mario"} {
		fmt.Fprintf(nc, "a %s\r\n", command)
		for line := ""; !strings.HasPrefix(line, "a OK"); {
			if line, err = lines.ReadString('\n'); err != nil || strings.HasPrefix(line, "a NO") {
				t.Fatalf("cyrus: %s: %q, %v", command, line, err)
			}
		}
	}
	return s
}

// await waits until the server greets.
func (s *Source) await(t testing.TB) {
	t.Helper()
	Wait(t, 20*time.Second, s.Name+" to listen", func() bool {
		nc, err := net.Dial("tcp", s.Address)
		if err != nil {
			return false
		}
		defer nc.Close()
		nc.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, err = nc.Read(make([]byte, 1))
		return err == nil
	})
}

// CourierSource serves an account by Courier's imapd. Only the sign-in before it is the rig's: that of Courier reads its settings from /etc.
func CourierSource(t testing.TB, folder string) *Source {
	t.Helper()
	makeFolder(t, folder, "nobody", 0o755)
	store := filepath.Join(folder, "Maildir")
	for _, name := range []string{"", "cur", "new", "tmp"} {
		makeFolder(t, filepath.Join(store, name), "nobody", 0o755)
	}
	if out, err := exec.Command("chown", "-R", "nobody:nogroup", folder).CombinedOutput(); err != nil {
		t.Fatalf("chown: %v: %s", err, out)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			nc, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { serveCourier(nc.(*net.TCPConn), folder) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		serving.Wait()
	})
	return &Source{
		Name: "courier", Address: listener.Addr().String(), User: "mario", Prefix: "INBOX.", storage: store, inbox: store, stop: func() {}, start: func() {},
	}
}

// serveCourier signs somebody in, and leaves the connection to Courier.
func serveCourier(nc *net.TCPConn, folder string) {
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(time.Minute))
	const capability = "IMAP4rev1 UIDPLUS CHILDREN NAMESPACE QUOTA IDLE"
	fmt.Fprintf(nc, "* OK [CAPABILITY %s] Courier-IMAP ready.\r\n", capability)
	lines := bufio.NewReader(nc)
	tag := ""
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		fields := strings.Fields(line)
		switch {
		case len(fields) < 2:
			return
		case strings.EqualFold(fields[1], "CAPABILITY"):
			fmt.Fprintf(nc, "* CAPABILITY %s\r\n%s OK done\r\n", capability, fields[0])
			continue
		case strings.EqualFold(fields[1], "LOGIN"):
			tag = fields[0]
		default:
			fmt.Fprintf(nc, "%s NO sign in first\r\n", fields[0])
			continue
		}
		break
	}
	nc.SetDeadline(time.Time{})
	file, err := nc.File()
	if err != nil {
		return
	}
	defer file.Close()
	command := exec.Command(Unpacked+"/courier-imap/usr/bin/imapd", "Maildir")
	command.Dir = folder
	command.Env = append(os.Environ(), "HOME="+folder, "IMAPLOGINTAG="+tag, "PROTOCOL=IMAP", "AUTHENTICATED=mario", "AUTHADDR=mario", "TCPREMOTEIP=127.0.0.1",
		"TCPREMOTEPORT=1", "IMAP_CAPABILITY="+capability, "IMAP_USELOCKS=1", "IMAP_CHECK_ALL_FOLDERS=0")
	command.Stdin, command.Stdout, command.Stderr = file, file, io.Discard
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, Pdeathsig: syscall.SIGTERM}
	command.Run()
}
