package rig

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const dovecotLogins = `protocols = lmtp imap pop3 sieve submission
# A wrong password is answered at once, also while the tests try many.
auth_failure_delay = 0
submission_relay_host = 127.0.0.1
submission_relay_port = %[5]s
service imap-login {
  service_count = 0
  inet_listener imap {
    address = 127.0.0.1
    port = %[1]d
  }
  inet_listener imaps {
    port = 0
  }
}
service pop3-login {
  service_count = 0
  inet_listener pop3 {
    address = 127.0.0.1
    port = %[2]d
  }
  inet_listener pop3s {
    port = 0
  }
}
service managesieve-login {
  service_count = 0
  inet_listener sieve {
    address = 127.0.0.1
    port = %[3]d
  }
}
service submission-login {
  service_count = 0
  inet_listener submission {
    address = 127.0.0.1
    port = %[4]d
  }
}
`

// LoginConfig is what a test decides about logins to Dovecot.
type LoginConfig struct {
	Files   string // the folder for the files that the daemon writes
	Policy  string // address of the daemon's listener for policy requests
	Key     string // that Dovecot shows there
	Webmail string // a network
	Relay   string // address of an SMTP server that Dovecot's submission service is connected to
}

// DovecotFolder makes a folder as contrib/dovecot/README.md says: the daemon's user owns it, and its group is Dovecot's.
func DovecotFolder(t testing.TB, path string) {
	t.Helper()
	makeFolder(t, path, "nobody", 0o755)
	uid, _ := userID(t, "nobody")
	_, gid := userID(t, "dovecot")
	if err := os.Chown(path, uid, gid); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o750|os.ModeSetgid); err != nil {
		t.Fatal(err)
	}
}

// ServeLogins starts Dovecot again with the files of contrib that have it obey switches, and ask the daemon. It returns the addresses by service; the
// service smtp is that of a Postfix.
func (d *Dovecot) ServeLogins(t testing.TB, c LoginConfig) map[string]string {
	t.Helper()
	var ports []int
	for range 4 {
		ports = append(ports, FreePort(t))
	}
	_, relay, _ := net.SplitHostPort(c.Relay)
	writeFile(t, filepath.Join(d.folder, "imap.conf"), fmt.Sprintf(dovecotLogins, ports[0], ports[1], ports[2], ports[3], relay))
	writeFile(t, filepath.Join(d.folder, "auth.conf"), Contrib(t, "dovecot/05-copialettere-auth.conf",
		"args = username_format=%u /etc/dovecot/users", "args = scheme=PLAIN username_format=%u "+d.folder+"/users",
		"127.0.0.1/32", c.Webmail, "/var/lib/copialettere/auth", c.Files)+
		// A test machine may be slower than a mail server.
		Contrib(t, "dovecot/06-copialettere-policy.conf", "127.0.0.1:9181", c.Policy, "KEY", c.Key, "timeout_msecs = 300", "timeout_msecs = 1500"))
	d.Stop()
	d.Start(t)
	return map[string]string{
		"imap": loopback(ports[0]), "pop3": loopback(ports[1]), "sieve": loopback(ports[2]), "submission": loopback(ports[3]),
	}
}

// SignIn signs somebody in to a service from an address of this machine, and returns whether it succeeded and the answer, without tags.
func SignIn(service, address, from, user, password string) (in bool, answer string, err error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 20 * time.Second}
	connection, err := dialer.Dial("tcp", address)
	if err != nil {
		return false, "", err
	}
	defer connection.Close()
	connection.SetDeadline(time.Now().Add(60 * time.Second))
	s := &signIn{w: connection, r: bufio.NewReader(connection)}
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
	switch service {
	case "imap":
		s.until("* ")
		s.send("a LOGIN \"%s\" \"%s\"", user, password)
		answer = strings.TrimPrefix(s.until("a "), "a ")
		in = strings.HasPrefix(answer, "OK ")
	case "pop3":
		s.until("+OK")
		s.send("USER %s", user)
		s.until("+OK")
		s.send("PASS %s", password)
		answer = s.until("+OK", "-ERR")
		in = strings.HasPrefix(answer, "+OK")
	case "sieve":
		s.until("OK")
		s.send("AUTHENTICATE \"PLAIN\" \"%s\"", plain)
		answer = s.until("OK", "NO", "BYE")
		in = strings.HasPrefix(answer, "OK")
	default:
		s.until("220 ")
		s.send("EHLO client.test")
		s.until("250 ")
		s.send("AUTH PLAIN %s", plain)
		answer = s.until("235 ", "4", "5")
		in = strings.HasPrefix(answer, "235 ")
	}
	return in, answer, s.err
}

// signIn is a dialogue. After an error it does nothing any more.
type signIn struct {
	w   net.Conn
	r   *bufio.Reader
	err error
}

func (s *signIn) send(format string, arguments ...any) {
	if s.err == nil {
		_, s.err = fmt.Fprintf(s.w, format+"\r\n", arguments...)
	}
}

// until reads lines up to one that begins with one of the texts, and returns that line.
func (s *signIn) until(begins ...string) string {
	for s.err == nil {
		var line string
		line, s.err = s.r.ReadString('\n')
		for _, begin := range begins {
			if s.err == nil && strings.HasPrefix(line, begin) {
				return strings.TrimRight(line, "\r\n")
			}
		}
	}
	return ""
}

// GiveToDaemon gives a file to the daemon's user.
func GiveToDaemon(t testing.TB, path string) {
	t.Helper()
	uid, gid := userID(t, "nobody")
	if err := os.Chown(path, uid, gid); err != nil {
		t.Fatal(err)
	}
}
