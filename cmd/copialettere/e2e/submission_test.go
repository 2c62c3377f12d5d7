package e2e

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"copialettere/cmd/copialettere/e2e/rig"
)

// outgoing is a daemon with an outgoing server, which takes the passwords of a Dovecot.
type outgoing struct {
	hook          *rig.Daemon
	tls, starttls int    // ports of localhost
	certificate   string // path
}

func newOutgoing(t *testing.T, dovecot *rig.Dovecot, keys string) *outgoing {
	t.Helper()
	folder := rig.Folder(t)
	o := &outgoing{tls: rig.FreePort(t), starttls: rig.FreePort(t), certificate: filepath.Join(folder, "certificate.pem")}
	makeCertificate(t, o.certificate, filepath.Join(folder, "key.pem"))
	o.hook = rig.NewDaemon(t, program, filepath.Join(folder, "hook"), fmt.Sprintf(`
[received]
listen = ["tcp:127.0.0.1:%d"]
next_hop = "maildir:%s"
[auth]
source = "dovecot:unix:%s"
archive_host = "archivio.test"
[tls]
certificate = %q
key = %q
[submission]
listen = ["tls:127.0.0.1:%d", "tcp:127.0.0.1:%d"]
name = "localhost"
%s
[[domain]]
name = "alpha.test"
`, rig.FreePort(t), filepath.Join(folder, "hook", "mail"), dovecot.Auth, o.certificate, filepath.Join(folder, "key.pem"), o.tls, o.starttls, keys))
	o.hook.Enable(t, anna)
	o.hook.Must(t, "mailbox", "set", anna, "imap=on")
	return o
}

// swaks tries to send with swaks in the clear, and returns its dialogue.
func (o *outgoing) swaks(more ...string) (dialogue string, sent bool) {
	out, err := exec.Command("swaks", append([]string{"--server", "127.0.0.1", "--port", fmt.Sprint(o.starttls), "--from", anna, "--to", anna,
		"--auth-user", anna}, more...)...).CombinedOutput()
	return string(out), err == nil
}

// smtplibScript sends a message of standard input by Python's smtplib, over TLS from the first byte and over STARTTLS. It prints what the server refuses.
const smtplibScript = `
import smtplib, ssl, sys
port, starttls, ca, user, password, to = sys.argv[1:]
message = sys.stdin.buffer.read()
context = ssl.create_default_context(cafile=ca)
first = smtplib.SMTP_SSL("localhost", int(port), context=context)
second = smtplib.SMTP("localhost", int(starttls))
second.ehlo()
print("in the clear:", second.has_extn("auth"))
second.starttls(context=context)
for s in (first, second):
    s.login(user, password)
    try:
        s.sendmail("anna@alpha.test", [to], message, ["BODY=8BITMIME"])
        print("sent")
    except smtplib.SMTPSenderRefused as e:
        print(e.smtp_code, e.smtp_error.decode())
    except smtplib.SMTPRecipientsRefused as e:
        print(*e.recipients.values())
    s.quit()
`

func (o *outgoing) smtplib(t *testing.T, user, to string, message []byte) string {
	t.Helper()
	command := exec.Command("python3", "-c", smtplibScript, fmt.Sprint(o.tls), fmt.Sprint(o.starttls), o.certificate, user, rig.Password, to)
	command.Stdin = bytes.NewReader(message)
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("smtplib: %v\n%s", err, out)
	}
	return string(out)
}

// TestOutgoingServer sends with swaks and Python's smtplib: first nothing is sent, and they are told so; then all passes to a Postfix that asks the
// same Dovecot for passwords.
func TestOutgoingServer(t *testing.T) {
	t.Parallel()
	folder := rig.Folder(t)
	dovecot := rig.StartDovecot(t, filepath.Join(folder, "dovecot"), []rig.Account{{Address: anna}})
	const sentence = "Questo account serve solo per consultare l'archivio"
	message := []byte("From: <anna@alpha.test>\r\nSubject: perch\xc3\xa9 no\r\n\r\n.\r\n..due\r\nbyte \xff\xfe\r\n" + strings.Repeat("x", 990) + "\r\nfine-del-messaggio\r\n")
	t.Run("refused", func(t *testing.T) {
		o := newOutgoing(t, dovecot, "insecure_loopback = true")
		for _, mechanism := range []string{"PLAIN", "LOGIN"} {
			if out, sent := o.swaks("--auth", mechanism, "--auth-password", rig.Password); sent || !strings.Contains(out, "550 5.7.1 "+sentence) {
				t.Errorf("swaks by %s:\n%s", mechanism, out)
			}
		}
		if out, sent := o.swaks("--auth", "LOGIN", "--auth-password", "wrong"); sent || !strings.Contains(out, "535 5.7.8 ") {
			t.Errorf("swaks with a wrong password:\n%s", out)
		}
		if out := o.smtplib(t, "anna_alpha.test@archivio.test", anna, message); strings.Count(out, "550 5.7.1 "+sentence) != 2 {
			t.Errorf("smtplib:\n%s", out)
		}
		o.hook.Must(t, "mailbox", "set", anna, "imap=off")
		if out, sent := o.swaks("--auth", "PLAIN", "--auth-password", rig.Password); sent || !strings.Contains(out, "535 5.7.8 L'accesso all'archivio") {
			t.Errorf("swaks with imap=off:\n%s", out)
		}
		// The access log tells of each way in.
		if out := o.hook.Must(t, "access", anna); bytes.Count(out, []byte("submission")) < 3 {
			t.Errorf("access log:\n%s", out)
		}
	})
	t.Run("relayed", func(t *testing.T) {
		postfix := rig.StartPostfix(t, filepath.Join(folder, "postfix"), rig.PostfixConfig{Dovecot: dovecot, VirtualMailboxes: anna + " x\n"})
		o := newOutgoing(t, dovecot, fmt.Sprintf("relay = %q", "smtp:"+postfix.Submission))
		if out := string(o.hook.Must(t, "check")); !strings.Contains(out, "relay smtp:"+postfix.Submission+": takes passwords by ") {
			t.Errorf("check:\n%s", out)
		}
		if out := o.smtplib(t, "anna_alpha.test@archivio.test", anna, message); out != "in the clear: False\nsent\nsent\n" {
			t.Errorf("smtplib:\n%s", out)
		}
		if out := o.smtplib(t, anna, "nobody@alpha.test", message); strings.Count(out, "5.1.1 <nobody@alpha.test>") != 2 {
			t.Errorf("smtplib to an unknown recipient:\n%s", out)
		}
		postfix.Drain(t)
		copies := dovecot.Copies(t, anna, "fine-del-messaggio")
		if len(copies) != 2 {
			t.Fatalf("%d messages came", len(copies))
		}
		for _, text := range copies {
			if _, body, _ := bytes.Cut(text, []byte("\r\n\r\n")); !bytes.HasSuffix(message, append([]byte("\r\n\r\n"), body...)) || !bytes.Contains(text, []byte("Subject: perch\xc3\xa9 no\r\n")) {
				t.Errorf("what came is\n%q, sent was\n%q", text, message)
			}
		}
	})
}
