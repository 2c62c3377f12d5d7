package e2e

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
	"copialettere/policy/archive"
)

// webSystem is a daemon with all its listeners for people on sockets of systemd, and a certificate of its own for localhost.
type webSystem struct {
	hook        *rig.Daemon
	folder      string
	certificate string         // path
	ports       map[string]int // of localhost by FileDescriptorName
}

func newWeb(t *testing.T) *webSystem {
	t.Helper()
	folder := rig.Folder(t)
	s := &webSystem{folder: folder, certificate: filepath.Join(folder, "certificate.pem"), ports: make(map[string]int)}
	makeCertificate(t, s.certificate, filepath.Join(folder, "key.pem"))
	var sockets []rig.Activated
	for _, name := range []string{"imaps", "imap", "submissions", "web", "web-plain", "policy"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		sockets = append(sockets, rig.Activated{Name: name, File: rig.Descriptor(t, l)})
		s.ports[name] = l.Addr().(*net.TCPAddr).Port
		l.Close() // the descriptor stays
	}
	passwords := filepath.Join(folder, "passwd")
	if err := os.WriteFile(passwords, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	rig.GiveToDaemon(t, passwords)
	policyKey := filepath.Join(folder, "policy.key")
	if err := os.WriteFile(policyKey, []byte(strings.Repeat("k", 48)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	rig.GiveToDaemon(t, policyKey)
	s.hook = rig.NewDaemon(t, program, filepath.Join(folder, "hook"), fmt.Sprintf(`
[received]
listen = ["unix:received.sock"]
next_hop = "maildir:%s"
[auth]
source = "file:%s"
archive_host = "archivio.example.org"
[tls]
certificate = %q
key = %q
[imap]
listen = ["tls:systemd:imaps", "systemd:imap"]
name = "localhost"
[submission]
listen = ["tls:systemd:submissions"]
[dovecot_policy]
listen = ["tls:systemd:policy"]
key_file = %q
[web]
listen = ["tls:systemd:web", "systemd:web-plain"]
public_url = "https://localhost:%d"
[mailbox_servers]
imap = "imap.alpha.test:993"
smtp = "smtp.alpha.test:465"
[[domain]]
name = "alpha.test"
`, filepath.Join(folder, "hook", "mail"), passwords, s.certificate, filepath.Join(folder, "key.pem"), policyKey, s.ports["web"]), sockets...)
	s.hook.Enable(t, anna)
	s.hook.Must(t, "mailbox", "set", anna, "imap=on")
	return s
}

// curl asks URL as a host of the name in it, which leads to the daemon, and returns the body and the status.
func (s *webSystem) curl(t *testing.T, url string, more ...string) (body []byte, status string) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "body")
	command := exec.Command("curl", append([]string{"-sS", "--cacert", s.certificate, "-o", out, "-w", "%{http_code} %{content_type}", url}, more...)...)
	report, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("curl %s: %v\n%s", url, err, report)
	}
	body, _ = os.ReadFile(out)
	return body, string(report)
}

// python runs a script with a file and returns what it prints.
func python(t *testing.T, script string, content []byte) string {
	t.Helper()
	command := exec.Command("python3", "-c", script)
	command.Stdin = bytes.NewReader(content)
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("python3: %v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

const readAutoconfig = `
import sys, xml.etree.ElementTree as tree
root = tree.fromstring(sys.stdin.buffer.read())
for kind in ("incomingServer", "outgoingServer"):
    for server in root.find("emailProvider").findall(kind):
        print(server.get("type"), *(server.find(name).text for name in ("hostname", "port", "socketType", "username")))
`

const readProfile = `
import sys, plistlib
profile = plistlib.loads(sys.stdin.buffer.read())
mail, = profile["PayloadContent"]
print(profile["PayloadType"], mail["PayloadType"], mail["EmailAccountType"], mail["EmailAddress"], mail["IncomingMailServerHostName"], mail["IncomingMailServerPortNumber"],
      mail["IncomingMailServerUsername"], mail["OutgoingMailServerHostName"], mail["OutgoingMailServerPortNumber"], "Password" in str(mail.keys() - {"OutgoingPasswordSameAsIncomingPassword"}))
`

const annasProfile = "Configuration com.apple.mail.managed EmailTypeIMAP " + anna + " localhost 993 anna_alpha.test@archivio.example.org localhost 465 False"

// opened verifies the signature of a profile with openssl and returns what was signed.
func (s *webSystem) opened(t *testing.T, profile []byte) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "profile")
	if err := os.WriteFile(path, profile, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", path, "-CAfile", s.certificate, "-purpose", "any").Output()
	if err != nil {
		t.Fatalf("openssl cms -verify: %v", err)
	}
	return out
}

// TestSetUp sets programs up as Thunderbird, Outlook and a telephone do it.
func TestSetUp(t *testing.T) {
	s := newWeb(t)
	secure := func(host string) (url string, resolve []string) {
		// The certificate is for localhost alone.
		return fmt.Sprintf("https://%s:%d", host, s.ports["web"]), []string{"--resolve", fmt.Sprintf("%s:%d:127.0.0.1", host, s.ports["web"]), "-k"}
	}
	t.Run("autoconfig", func(t *testing.T) {
		url, more := secure("autoconfig.alpha.test")
		body, status := s.curl(t, url+"/mail/config-v1.1.xml?emailaddress=anna%40alpha.test", more...)
		want := "imap imap.alpha.test 993 SSL %EMAILADDRESS%\nsmtp smtp.alpha.test 465 SSL %EMAILADDRESS%"
		if got := python(t, readAutoconfig, body); status != "200 application/xml; charset=utf-8" || got != want {
			t.Errorf("%s: %s", status, got)
		}
		url, more = secure("archivio.example.org")
		body, _ = s.curl(t, url+"/.well-known/autoconfig/mail/config-v1.1.xml", more...)
		want = "imap localhost 993 SSL %EMAILADDRESS%\nsmtp localhost 465 SSL %EMAILADDRESS%"
		if got := python(t, readAutoconfig, body); got != want {
			t.Errorf("archive: %s", got)
		}
	})
	t.Run("autodiscover", func(t *testing.T) {
		request := `<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"><Request><EMailAddress>` + anna +
			`</EMailAddress></Request></Autodiscover>`
		body, status := s.curl(t, fmt.Sprintf("http://localhost:%d/Autodiscover/Autodiscover.xml", s.ports["web-plain"]), "-H", "Content-Type: text/xml", "-d", request)
		if !strings.HasPrefix(status, "200 application/xml") || !strings.Contains(string(body), "<Server>imap.alpha.test</Server>") {
			t.Errorf("%s: %s", status, body)
		}
	})
	t.Run("profile", func(t *testing.T) {
		if got := python(t, readProfile, s.opened(t, s.hook.Must(t, "profile", anna))); got != annasProfile {
			t.Errorf("%s\nwant\n%s", got, annasProfile)
		}
	})
	t.Run("QR code", s.followQR)
	t.Run("names", func(t *testing.T) {
		stdout, _, _ := s.hook.Command(t, "check")
		out := string(stdout)
		if !strings.Contains(out, "signature of profiles") || strings.Contains(out, "will not trust") {
			t.Errorf("%s", out)
		}
	})
	t.Run("sockets", func(t *testing.T) {
		text, err := os.ReadFile(s.certificate)
		if err != nil {
			t.Fatal(err)
		}
		trusted := x509.NewCertPool()
		trusted.AppendCertsFromPEM(text)
		for name, want := range map[string]string{"imaps": "* OK", "submissions": "220 ", "imap": "* OK"} {
			nc, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.ports[name]))
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			if strings.HasSuffix(name, "s") {
				nc = tls.Client(nc, &tls.Config{RootCAs: trusted, ServerName: "localhost"})
			}
			nc.SetDeadline(time.Now().Add(10 * time.Second))
			greeting := make([]byte, 4)
			if _, err := io.ReadFull(nc, greeting); err != nil || string(greeting) != want {
				t.Errorf("%s: %q, %v", name, greeting, err)
			}
		}
		if _, status := s.curl(t, fmt.Sprintf("https://localhost:%d/?command=allow", s.ports["policy"]), "-d", "{}"); !strings.HasPrefix(status, "401 ") {
			t.Errorf("policy requests without the key: %s", status)
		}
	})
	s.hook.Verify(t)
}

// followQR reads the QR code as a camera does, and follows its link: it works once, also when the daemon is killed right after that.
func (s *webSystem) followQR(t *testing.T) {
	link := func(picture []byte) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "qr.png")
		if err := os.WriteFile(path, picture, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("zbarimg", "-q", "--raw", path).Output()
		if err != nil {
			t.Fatalf("zbarimg: %v", err)
		}
		return strings.TrimSpace(string(out))
	}
	first := link(s.hook.Must(t, "profile", anna, "-png"))
	if page, status := s.curl(t, first); status != "200 text/html; charset=utf-8" || !strings.Contains(string(page), "scarica il profilo") {
		t.Fatalf("%s: %s", status, page)
	}
	profile, status := s.curl(t, first, "-d", "show=profile")
	s.hook.Kill()
	if status != "200 application/x-apple-aspen-config" {
		t.Fatalf("%s: %s", status, profile)
	}
	if got := python(t, readProfile, s.opened(t, profile)); got != annasProfile {
		t.Errorf("%s\nwant\n%s", got, annasProfile)
	}
	s.hook.Start(t)
	if page, status := s.curl(t, first, "-d", "show=profile"); status != "410 text/html; charset=utf-8" || !strings.Contains(string(page), "non vale più") {
		t.Errorf("again: %s: %s", status, page)
	}
	var made archive.SetUpLink
	if err := json.Unmarshal(s.hook.Must(t, "profile", anna, "-qr", "-json"), &made); err != nil || link(made.PNG) != made.Link {
		t.Fatalf("%+v, %v", made, err)
	}
	s.hook.Kill()
	s.hook.Start(t)
	if page, status := s.curl(t, made.Link, "-d", "show=parameters"); !strings.HasPrefix(status, "200 text/html") || !strings.Contains(string(page), "anna_alpha.test@archivio.example.org") {
		t.Errorf("after a kill: %s: %s", status, page)
	}
	if logged := s.hook.Logged(t, made.Link[strings.LastIndexByte(made.Link, '/')+1:]); len(logged) > 0 {
		t.Errorf("the log has the token: %q", logged)
	}
}
