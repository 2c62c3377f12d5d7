package browser

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
	"copialettere/policy"
	"copialettere/policy/auth"
	"copialettere/policy/pec/pectest"
)

// The people of the site. All have the password of the rig.
const (
	mario      = "mario@alpha.test"      // an owner, with the mail of pectest.Story
	luisa      = "luisa@alpha.test"      // an owner with an archive of two letters
	nuova      = "nuova@alpha.test"      // has no archive
	bruno      = "bruno@beta.test"       // a delegate, where a test makes him one
	postmaster = "postmaster@alpha.test" // of alpha.test
)

// keyPair is a certificate for localhost that its own key has signed.
type keyPair struct {
	certificate, key []byte // in PEM
	hash             string // of the public key, by which Chromium is told to accept it
}

func newKeyPair() (*keyPair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(0, 1, 0), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	public, err2 := x509.MarshalPKIXPublicKey(key.Public())
	if err := errors.Join(err, err2); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(public)
	return &keyPair{
		certificate: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		key:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), hash: base64.StdEncoding.EncodeToString(sum[:]),
	}, nil
}

// site is a running daemon with its pages.
type site struct {
	hook           *rig.Daemon
	origin         string // of the pages, as "https://localhost:8443"
	received, sent string // addresses of the hook
	story          []pectest.Step
}

const siteConfig = `
[received]
listen = ["systemd:received"]
next_hop = "maildir:%[1]s/hook/mail"
[sent]
listen = ["systemd:sent"]
next_hop = "smtp:%[2]s"
identity = "mail-from"
[pec]
trust = "signature"
trust_bundle = "%[1]s/authorities.pem"
provider_index = "%[1]s/index.ldif"
[auth]
source = "file:%[1]s/passwd"
[rights]
owner = ["archive", "pause", "filter", "manual_delete", "notify", "notify_on", "language", "layout", "protocols", "imap"]
[tls]
certificate = "%[1]s/certificate.pem"
key = "%[1]s/key.pem"
[imap]
listen = ["tls:systemd:imap"]
name = "localhost"
[web]
listen = ["tls:systemd:web"]
public_url = "%[3]s"
[mailbox_servers]
imap = "imap.alpha.test:993"
smtp = "smtp.alpha.test:465"
[[domain]]
name = "alpha.test"
postmasters = ["postmaster@alpha.test"]
[[domain]]
name = "beta.test"
`

// newSite starts a daemon, and delivers the story of mario and two letters to luisa.
func newSite(t *testing.T) *site {
	t.Helper()
	folder := rig.Folder(t)
	s := new(site)
	var sockets []rig.Activated
	address := make(map[string]string)
	for _, name := range []string{"received", "sent", "imap", "web"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		sockets = append(sockets, rig.Activated{Name: name, File: rig.Descriptor(t, l)})
		address[name] = l.Addr().String()
		l.Close() // the descriptor stays
	}
	s.received, s.sent = address["received"], address["sent"]
	_, port, _ := net.SplitHostPort(address["web"])
	s.origin = "https://localhost:" + port
	office := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("legalmail"))
	for name, text := range map[string][]byte{
		"authorities.pem": office.Authority.PEM(), "index.ldif": pectest.IndexLDIF(office.Providers()...),
		"certificate.pem": certificate.certificate, "key.pem": certificate.key, "passwd": nil,
	} {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		rig.GiveToDaemon(t, path)
	}
	for _, person := range []string{mario, luisa, nuova, bruno, postmaster} {
		a, err := policy.ParseAddress(person)
		if err == nil {
			err = auth.SetPassword(filepath.Join(folder, "passwd"), a, rig.Password)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	sink := fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t))
	rig.Start(t, exec.Command("smtp-sink", "-u", "nobody", sink, "64"), filepath.Join(folder, "sink.log"))
	rig.Wait(t, 10*time.Second, "smtp-sink to listen", func() bool {
		connection, err := net.Dial("tcp", sink)
		if err == nil {
			connection.Close()
		}
		return err == nil
	})
	s.hook = rig.NewDaemon(t, program, filepath.Join(folder, "hook"), fmt.Sprintf(siteConfig, folder, sink, s.origin), sockets...)
	s.hook.Enable(t, mario, luisa)
	s.story = pectest.Story(mario, time.Now())
	for _, step := range s.story {
		s.carry(t, step)
	}
	for _, subject := range []string{"Auguri", "Ricetta della torta"} {
		s.deliver(t, luisa, subject)
	}
	return s
}

// carry brings a message to the hook.
func (s *site) carry(t *testing.T, step pectest.Step) {
	t.Helper()
	if step.Sent {
		rig.Send(t, s.sent, rig.Mail{From: step.From, To: step.To, Message: step.Message})
		return
	}
	to := make([]string, len(step.To))
	for i, a := range step.To {
		to[i] = "<" + a + "> ORCPT=rfc822;" + a
	}
	replies, err := rig.Deliver("tcp", s.received, rig.Mail{From: step.From, To: to, Message: step.Message})
	if err != nil || replies[0].Code != 250 {
		t.Fatalf("%s: %v, %v", step.Name, replies, err)
	}
}

// deliver brings an ordinary letter to a mailbox.
func (s *site) deliver(t *testing.T, to, subject string) []byte {
	t.Helper()
	message := []byte(strings.ReplaceAll(fmt.Sprintf("From: Zia Rosa <rosa@ext.test>\nTo: %s\nSubject: %s\nDate: %s\nMessage-ID: <%x@ext.test>\n\nA presto.\n", to, subject,
		time.Now().Format(time.RFC1123Z), sha256.Sum256([]byte(to+subject))), "\n", "\r\n"))
	s.carry(t, pectest.Step{Name: subject, From: "rosa@ext.test", To: []string{to}, Message: message})
	return message
}
