package e2e

import (
	"bufio"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
	"copialettere/policy"
	"copialettere/policy/auth"
)

// delegateScript signs in by an authorization identity (RFC 4616), looks at INBOX, waits until the server ends the connection, and prints what it says.
const delegateScript = `
import imaplib, ssl, sys
port, ca, mailbox, login, password = sys.argv[1:]
program = imaplib.IMAP4_SSL("localhost", int(port), ssl_context=ssl.create_default_context(cafile=ca))
program.authenticate("PLAIN", lambda _: chr(0).join([mailbox, login, password]).encode())
print(program.select("INBOX", readonly=True)[0], flush=True)
program.sock.settimeout(30)
print(program.readline().decode().strip())
`

// TestDelegateByMailProgram has another person read anna's archive with curl and Python's imaplib, until that is revoked, which ends the open connection.
func TestDelegateByMailProgram(t *testing.T) {
	const bruno, brunosPassword = "bruno@beta.test", "sigillo d'oro"
	s := newIMAP(t, false)
	b, err := policy.ParseAddress(bruno)
	if err == nil {
		err = auth.SetPassword(s.passwords, b, brunosPassword)
	}
	if err != nil {
		t.Fatal(err)
	}
	text := []byte("From: ext@ext.test\r\nTo: " + anna + "\r\nSubject: lana\r\n\r\nlana\r\n")
	replies, err := rig.Deliver("tcp", s.lmtp, rig.Mail{From: "ext@ext.test", To: []string{"<" + anna + "> ORCPT=rfc822;" + anna}, Message: text})
	if err != nil || replies[0].Code != 250 {
		t.Fatalf("%v, %v", replies, err)
	}
	path := "INBOX%2F" + time.Now().UTC().Format("2006-01") + ";MAILINDEX=1"
	as := func(user, password string) (string, error) {
		out, err := s.curl(path, "-u", user+":"+password).CombinedOutput()
		return string(out), err
	}
	if out, err := as(anna+"*"+bruno, brunosPassword); err == nil {
		t.Errorf("before it is granted: %s", out)
	}
	s.hook.Must(t, "app-password", "add", bruno, "tablet")
	command := exec.Command(program, "delegate", "add", anna, bruno, "-until", time.Now().AddDate(0, 0, 7).Format(time.DateOnly), "-as", anna, "-config", s.hook.Config)
	command.Stdin = strings.NewReader(annasPassword + "\n")
	if out, err := command.CombinedOutput(); err != nil || !strings.Contains(string(out), bruno+" may read until ") {
		t.Fatalf("granted: %s, %v", out, err)
	}
	if out, err := as(anna+"*"+bruno, brunosPassword); err != nil || out != string(text) {
		t.Errorf("curl: %q, %v", out, err)
	}
	if out, err := as(bruno, brunosPassword); err == nil {
		t.Errorf("in the name of a mailbox without an archive: %s", out)
	}
	script := exec.Command("python3", "-c", delegateScript, fmt.Sprint(s.tls), s.certificate, anna, bruno, brunosPassword)
	out, err := script.StdoutPipe()
	if err == nil {
		err = script.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { script.Process.Kill() })
	lines := bufio.NewReader(out)
	said, err := lines.ReadString('\n')
	if err != nil || !strings.HasPrefix(said, "OK") {
		t.Fatalf("imaplib: %q, %v", said, err)
	}
	began := time.Now()
	s.hook.Must(t, "delegate", "revoke", anna, bruno)
	if said, err = lines.ReadString('\n'); err != nil || !strings.HasPrefix(said, "* BYE [UNAVAILABLE]") || time.Since(began) > 10*time.Second {
		t.Errorf("when it is revoked, after %v: %q, %v", time.Since(began), said, err)
	}
	script.Wait()
	if out, err := as(anna+"*"+bruno, brunosPassword); err == nil {
		t.Errorf("after it was revoked: %s", out)
	}
	if log := string(s.hook.Must(t, "access", anna)); !strings.Contains(log, bruno+" (delegate) from 127.0.0.1") {
		t.Errorf("anna's access log is\n%s", log)
	}
	s.hook.Verify(t)
}

// TestSecondFactorByMailProgram turns anna's second factor on: her password no longer opens the archive to curl, which is told why, and an app password does.
func TestSecondFactorByMailProgram(t *testing.T) {
	s := newIMAP(t, false)
	app := strings.TrimSpace(string(s.hook.Must(t, "app-password", "add", anna, "curl")))
	secret, _, _ := strings.Cut(string(s.hook.Must(t, "second-factor", "on", anna)), "\n")
	if out, err := s.curl("").CombinedOutput(); err != nil {
		t.Errorf("before it is confirmed: %s, %v", out, err)
	}
	code, err := exec.Command("python3", "-c", `import sys, hmac, base64, struct, time
mac = hmac.new(base64.b32decode(sys.argv[1]), struct.pack(">Q", int(time.time()) // 30), "sha1").digest()
print("%06d" % ((struct.unpack(">I", mac[mac[19] & 15:][:4])[0] & 0x7fffffff) % 1000000))`, secret).Output()
	if err != nil {
		t.Fatal(err)
	}
	s.hook.Must(t, "second-factor", "on", anna, strings.TrimSpace(string(code)))
	out, err := s.curl("", "-v").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "NO [ALERT] Con l'autenticazione a due fattori") || !strings.Contains(string(out), "they need an app password") {
		t.Errorf("the password: %s, %v", out, err)
	}
	if out, err := s.curl("", "-u", anna+":"+app).CombinedOutput(); err != nil || !strings.Contains(string(out), "INBOX") {
		t.Errorf("an app password: %s, %v", out, err)
	}
	if shown := string(s.hook.Must(t, "mailbox", "show", anna)); !strings.Contains(shown, "second factor  on since ") {
		t.Errorf("the mailbox is\n%s", shown)
	}
	s.hook.Must(t, "second-factor", "off", anna)
	if out, err := s.curl("").CombinedOutput(); err != nil {
		t.Errorf("once it is off: %s, %v", out, err)
	}
}
