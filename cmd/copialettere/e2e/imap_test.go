package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
	"copialettere/policy"
	"copialettere/policy/auth"
)

const annasPassword = "ceralacca rossa"

// imapSystem is a daemon that serves archives over IMAP, on both kinds of listeners, with a certificate of its own for localhost.
type imapSystem struct {
	hook          *rig.Daemon
	lmtp          string // address
	tls, starttls int    // ports of localhost
	certificate   string // path
	passwords     string // path of the password file
}

func newIMAP(t *testing.T, insecure bool) *imapSystem {
	t.Helper()
	folder := rig.Folder(t)
	s := &imapSystem{tls: rig.FreePort(t), starttls: rig.FreePort(t), lmtp: fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t)), certificate: filepath.Join(folder, "certificate.pem")}
	makeCertificate(t, s.certificate, filepath.Join(folder, "key.pem"))
	s.passwords = filepath.Join(folder, "passwd")
	a, err := policy.ParseAddress(anna)
	if err == nil {
		err = auth.SetPassword(s.passwords, a, annasPassword)
	}
	if err == nil {
		err = os.Chmod(s.passwords, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.hook = rig.NewDaemon(t, program, filepath.Join(folder, "hook"), fmt.Sprintf(`
[received]
listen = ["tcp:%s"]
next_hop = "maildir:%s"
[auth]
source = "file:%s"
[tls]
certificate = %q
key = %q
[imap]
insecure_loopback = %v
listen = ["tls:127.0.0.1:%d", "tcp:127.0.0.1:%d"]
name = "localhost"
[[domain]]
name = "alpha.test"
`, s.lmtp, filepath.Join(folder, "hook", "mail"), s.passwords, s.certificate, filepath.Join(folder, "key.pem"), insecure, s.tls, s.starttls))
	s.hook.Enable(t, anna)
	s.hook.Must(t, "mailbox", "set", anna, "imap=on")
	return s
}

// makeCertificate writes a certificate for hosts and localhost that is its own authority.
func makeCertificate(t *testing.T, certificate, key string, hosts ...string) {
	t.Helper()
	hosts = append(hosts, "localhost")
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: hosts[0]}, DNSNames: hosts, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// fixtureMessages returns the messages of testdata/messages, in the order of their names.
func fixtureMessages(t *testing.T) [][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(rig.ModuleFolder(), "testdata", "messages", "*.eml"))
	if err != nil || len(files) < 13 {
		t.Fatalf("%d messages, %v", len(files), err)
	}
	var list [][]byte
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, text)
	}
	return list
}

// everyMail returns every message that the project has, and the odd ones.
func everyMail(t *testing.T) (list [][]byte) {
	for _, text := range allMessages(t) {
		list = append(list, []byte(text))
	}
	for _, text := range oddMail {
		list = append(list, []byte(strings.ReplaceAll(text, "\n", "\r\n")))
	}
	return list
}

func digestOf(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }

// TestMailPrograms reads an archive with curl, Python's imaplib and mbsync. What each downloads is what was journaled.
func TestMailPrograms(t *testing.T) {
	t.Parallel()
	s := newIMAP(t, false)
	var want []string
	for _, text := range everyMail(t) {
		replies, err := rig.Deliver("tcp", s.lmtp, rig.Mail{From: "ext@ext.test", To: []string{"<" + anna + "> ORCPT=rfc822;" + anna}, Message: text})
		if err != nil || replies[0].Code != 250 {
			t.Fatalf("%v, %v", replies, err)
		}
		want = append(want, digestOf(text))
	}
	entries := s.hook.List(t, anna)
	var stored []string
	for _, e := range entries {
		stored = append(stored, e.SHA256)
	}
	if !slices.Equal(stored, want) {
		t.Fatalf("journaled\n%q, want\n%q", stored, want)
	}
	folder := entries[0].Folder
	t.Run("curl", func(t *testing.T) { s.readWithCurl(t, folder, want) })
	t.Run("imaplib", func(t *testing.T) { s.readWithImaplib(t, folder, want) })
	t.Run("mbsync", func(t *testing.T) { s.readWithMbsync(t, folder, want) })
	t.Run("by type", func(t *testing.T) { s.readByType(t, entries) })
	t.Run("certificate renewed", s.renewCertificate)
	s.hook.Must(t, "mailbox", "set", anna, "imap=off")
	if out, err := s.curl("").CombinedOutput(); err == nil {
		t.Errorf("with imap=off curl signs in: %s", out)
	}
	s.hook.Verify(t)
}

func (s *imapSystem) curl(path string, more ...string) *exec.Cmd {
	arguments := append([]string{"-sS", "--cacert", s.certificate, "-u", anna + ":" + annasPassword}, more...)
	return exec.Command("curl", append(arguments, fmt.Sprintf("imaps://localhost:%d/%s", s.tls, path))...)
}

func (s *imapSystem) readWithCurl(t *testing.T, folder string, want []string) {
	out, err := s.curl("").CombinedOutput()
	if err != nil || !strings.Contains(string(out), folder) || !strings.Contains(string(out), "Posta inviata") {
		t.Errorf("folders: %v\n%s", err, out)
	}
	path := strings.ReplaceAll(folder, "/", "%2F")
	for i, digest := range want {
		out, err := s.curl(fmt.Sprintf("%s;MAILINDEX=%d", path, i+1)).Output()
		if err != nil || digestOf(out) != digest {
			t.Errorf("message %d: %d bytes, %v", i+1, len(out), err)
		}
	}
	if out, err := s.curl(path, "-X", "SEARCH SUBJECT lana").CombinedOutput(); err != nil || !regexp.MustCompile(`\* SEARCH \d`).Match(out) {
		t.Errorf("search: %v\n%s", err, out)
	}
	if out, err := s.curl(path, "-u", anna+":wrong").CombinedOutput(); err == nil {
		t.Errorf("a wrong password: %s", out)
	}
}

// imaplibScript prints the digest of every message of a folder, once over TLS and once over STARTTLS, and tries what must be refused.
const imaplibScript = `
import hashlib, imaplib, ssl, sys
host, tls, starttls, ca, user, password, folder = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)
first = imaplib.IMAP4_SSL(host, int(tls), ssl_context=context)
second = imaplib.IMAP4(host, int(starttls))
try:
    second.login(user, password)
    sys.exit("a password was taken without TLS")
except imaplib.IMAP4.error as e:
    assert "PRIVACYREQUIRED" in str(e), e
second.starttls(context)
for m in (first, second):
    m.login(user, password)
    typ, data = m.select('"' + folder + '"', readonly=True)
    assert typ == "OK", data
    typ, data = m.uid("SEARCH", "ALL")
    for uid in data[0].split():
        typ, got = m.uid("FETCH", uid, "(RFC822.SIZE BODY.PEEK[])")
        size = int(got[0][0].split(b"RFC822.SIZE ")[1].split(b" ")[0])
        assert size == len(got[0][1]), (size, len(got[0][1]))
        print(hashlib.sha256(got[0][1]).hexdigest())
    typ, data = m.append("INBOX", None, None, b"Subject: x\r\n\r\nx\r\n")
    assert typ == "NO", (typ, data)
    m.logout()
`

func (s *imapSystem) readWithImaplib(t *testing.T, folder string, want []string) {
	out, err := exec.Command("python3", "-c", imaplibScript, "localhost", fmt.Sprint(s.tls), fmt.Sprint(s.starttls), s.certificate, anna, annasPassword,
		folder).CombinedOutput()
	if got := strings.Fields(string(out)); err != nil || !slices.Equal(got, append(slices.Clone(want), want...)) {
		t.Errorf("%v\n%s", err, out)
	}
}

// mbsyncConfig writes the configuration of mbsync for a place, in which it keeps a copy of the archive. It returns its path.
func (s *imapSystem) mbsyncConfig(t *testing.T, place string) string {
	t.Helper()
	config := filepath.Join(place, "rc")
	text := fmt.Sprintf(`IMAPAccount archive
Host localhost
Port %d
User %s
Pass "%s"
SSLType IMAPS
CertificateFile %s

IMAPStore archive
Account archive

MaildirStore local
Inbox %[5]s/box
SubFolders Maildir++

Channel archive
Far :archive:
Near :local:
Patterns *
Create Near
Sync Pull
Expunge None
SyncState *
`, s.tls, anna, annasPassword, s.certificate, place)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return config
}

// readWithMbsync synchronises twice: the second time nothing is fetched. mbsync adds a line X-TUID to each header, and stores LF.
func (s *imapSystem) readWithMbsync(t *testing.T, folder string, want []string) {
	place := t.TempDir()
	config := s.mbsyncConfig(t, place)
	for run := range 2 {
		out, err := exec.Command("mbsync", "-Dn", "-c", config, "-a").CombinedOutput()
		if err != nil {
			t.Fatalf("run %d: %v\n%s", run+1, err, out)
		}
		if fetches := strings.Contains(string(out), "BODY.PEEK[]"); fetches != (run == 0) {
			t.Errorf("run %d fetches messages: %v\n%s", run+1, fetches, out)
		}
	}
	files, err := filepath.Glob(filepath.Join(place, "box", ".."+strings.TrimPrefix(folder, "INBOX/"), "cur", "*"))
	var got []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text = regexp.MustCompile(`(?m)^X-TUID: .*\n`).ReplaceAll(text, nil)
		got = append(got, string(text))
	}
	var all []string
	for _, text := range everyMail(t) {
		all = append(all, strings.ReplaceAll(string(text), "\r\n", "\n"))
	}
	slices.Sort(got)
	slices.Sort(all)
	if err != nil || len(got) != len(want) || !slices.Equal(got, all) {
		t.Errorf("%d messages of %d, %v; the bytes are not the same", len(got), len(want), err)
	}
}

// renewCertificate replaces the certificate: the next connections see the new one, without a restart.
func (s *imapSystem) renewCertificate(t *testing.T) {
	makeCertificate(t, s.certificate, filepath.Join(filepath.Dir(s.certificate), "key.pem"))
	rig.Wait(t, 30*time.Second, "the new certificate", func() bool { return s.curl("").Run() == nil })
}
