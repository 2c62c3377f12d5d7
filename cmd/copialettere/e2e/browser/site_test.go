package browser

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
	"copialettere/journal/kv"
	"copialettere/journal/kv/level"
	"copialettere/policy/pec/pectest"
)

// The people of the site. All have the password of the rig. A test that changes something has mailboxes of its own.
const (
	mario      = "mario@alpha.test"      // an owner who reads Italian, with the mail of pectest.Story
	mary       = "mary@alpha.test"       // the same in English
	postmaster = "postmaster@alpha.test" // a postmaster of alpha.test who reads Italian
	hostmaster = "hostmaster@alpha.test" // the same in English
	bruno      = "bruno@beta.test"       // may read the archive of mario
	brian      = "brian@beta.test"       // may read the archive of mary
	chiusa     = "chiusa@alpha.test"     // an owner whose archive has been switched off
	closed     = "closed@alpha.test"     // the same in English
	guasta     = "guasta@alpha.test"     // an owner with a message that cannot be read
	damaged    = "damaged@alpha.test"    // the same in English
	chiave     = "chiave@alpha.test"     // an owner with a second factor
)

// Mailboxes that one test alone uses. Those of storied have the mail of pectest.Story, those of many have manyLetters letters, the others none.
const (
	olga = "olga@alpha.test" // TestSite/owner
	zeno = "zeno@alpha.test" // zip

	carlo = "carlo@alpha.test" // keyboard
	dario = "dario@alpha.test" // delegate
	elisa = "elisa@alpha.test" // delete
	franz = "franz@alpha.test" // move
	nino  = "nino@alpha.test"  // without script

	aldo  = "aldo@alpha.test"  // app password
	dora  = "dora@alpha.test"  // postmaster: it is switched off
	hanna = "hanna@alpha.test" // hand-over
	luisa = "luisa@alpha.test" // hostile mail
	rita  = "rita@alpha.test"  // time zones
	sara  = "sara@alpha.test"  // sign-in
	sofia = "sofia@alpha.test" // second factor
	nuova = "nuova@alpha.test" // postmaster: it has no archive and is switched on
	ugo   = "ugo@beta.test"    // delegate: he becomes one
)

var (
	storied = []string{mario, mary, olga, zeno}
	many    = []string{elisa, franz, nino}
	letters = []string{carlo, dario, rita, aldo, dora, hanna, luisa, sara, sofia, chiusa, closed, guasta, damaged, chiave}
)

// manyLetters is more than a page of a list shows.
const manyLetters = 53

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

// client returns a client that trusts the certificate alone.
func (p *keyPair) client() *http.Client {
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(p.certificate)
	return &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: trusted, ServerName: "localhost"}}}
}

// site is a running daemon with its pages.
type site struct {
	hook                 *rig.Daemon
	origin               string // of the pages, as "https://localhost:8443"
	received, sent, imap string // addresses of the hook, and of its IMAP server
	factor               string // the secret of the second factor of chiave
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
[scan]
clamd = "tcp:%[4]s"
[web]
listen = ["tls:systemd:web"]
public_url = "%[3]s"
support_url = "https://www.alpha.test/help"
more_room_url = "https://www.alpha.test/room"
[mailbox_servers]
imap = "imap.alpha.test:993"
smtp = "smtp.alpha.test:465"
[[domain]]
name = "alpha.test"
postmasters = ["postmaster@alpha.test", "hostmaster@alpha.test"]
[[domain]]
name = "beta.test"
`

// passwordHash is of the password of the rig, and cheap to try.
const passwordHash = "{BLF-CRYPT}$2y$05$NNVrrmV7frWR1l5WpCC7U.oXf8Q1xx74fTwtIT3JwtcUhzJ6c./7a"

// newSite starts a daemon and delivers the mail of all mailboxes.
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
	s.received, s.sent, s.imap = address["received"], address["sent"], address["imap"]
	_, port, _ := net.SplitHostPort(address["web"])
	s.origin = "https://localhost:" + port
	office := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("legalmail"))
	archives := slices.Concat(storied, many, letters)
	var passwords strings.Builder
	for _, person := range slices.Concat(archives, []string{nuova, bruno, brian, ugo, postmaster, hostmaster}) {
		fmt.Fprintf(&passwords, "%s:%s\n", person, passwordHash)
	}
	for name, text := range map[string]string{
		"authorities.pem": string(office.Authority.PEM()), "index.ldif": string(pectest.IndexLDIF(office.Providers()...)),
		"certificate.pem": string(certificate.certificate), "key.pem": string(certificate.key), "passwd": passwords.String(), "archives": strings.Join(archives, "\n"),
	} {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		rig.GiveToDaemon(t, path)
	}
	config := fmt.Sprintf(siteConfig, folder, startSink(t, folder), s.origin, startScanner(t))
	s.hook = rig.NewDaemon(t, program, filepath.Join(folder, "hook"), config, sockets...)
	s.hook.Must(t, "mailbox", "enable", "-from", filepath.Join(folder, "archives"))
	s.fill(t)
	return s
}

// startSink starts a server that takes what is sent, and returns its address.
func startSink(t *testing.T, folder string) string {
	sink := fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t))
	rig.Start(t, exec.Command("smtp-sink", "-u", "nobody", sink, "64"), filepath.Join(folder, "sink.log"))
	rig.Wait(t, 10*time.Second, "smtp-sink to listen", func() bool {
		connection, err := net.Dial("tcp", sink)
		if err == nil {
			connection.Close()
		}
		return err == nil
	})
	return sink
}

// fill delivers the mail of all mailboxes, and sets some of them up as their people have them.
func (s *site) fill(t *testing.T) {
	t.Helper()
	for _, box := range storied {
		for _, step := range pectest.Story(box, time.Now()) {
			s.carry(t, step)
		}
	}
	for i := range manyLetters {
		s.deliver(t, fmt.Sprintf("Lettera %d", i+1), many...)
	}
	for _, subject := range []string{"Auguri", "Ricetta della torta"} {
		s.deliver(t, subject, letters...)
	}
	s.damage(t, guasta, damaged)
	for _, c := range []struct {
		language, owner, delegate, postmaster string
		off, broken                           string
	}{
		{"it", mario, bruno, postmaster, chiusa, guasta}, {"en", mary, brian, hostmaster, closed, damaged},
	} {
		for _, person := range []string{c.owner, c.delegate, c.postmaster, c.off, c.broken} {
			s.hook.Must(t, "mailbox", "set", person, "language="+c.language)
		}
		s.hook.Must(t, "mailbox", "disable", c.off, "-confirm", c.off)
		s.richen(t, c.owner)
	}
	s.hook.Must(t, "mailbox", "set", franz, "write=on", "manual_delete=on")
	for _, person := range []string{elisa, nino} {
		s.hook.Must(t, "mailbox", "set", person, "manual_delete=on")
	}
	secret, _, _ := strings.Cut(string(s.hook.Must(t, "second-factor", "on", chiave)), "\n")
	s.factor = secret
	s.hook.Must(t, "second-factor", "on", chiave, totp(t, secret, time.Now()))
}

// richen gives an archive some of everything that its pages can show.
func (s *site) richen(t *testing.T, owner string) {
	t.Helper()
	s.hook.Must(t, "mailbox", "pause", owner)
	s.hook.Must(t, "mailbox", "resume", owner)
	s.hook.Must(t, "mailbox", "set", owner, "write=on", "manual_delete=on", "append=on", "imap=on")
	s.hook.Must(t, "app-password", "add", owner, "Telefono")
	pictures := make([]byte, 8<<20) // more than a socket takes in: see holdZIP
	rand.Read(pictures)
	letter := pectest.Mail{From: "rosa@ext.test", To: []string{owner}, Subject: "Le fotografie", Text: "Ecco.\n",
		Attachments: []pectest.Attachment{{Name: "fotografie.bin", Type: "application/octet-stream", Content: pictures}}}
	s.carry(t, pectest.Step{Name: "pictures", From: "rosa@ext.test", To: []string{owner}, Message: letter.Bytes()})
	gone := s.entry(t, owner, "Re: Riunione di lunedì")
	s.hook.Must(t, "delete", owner, gone.Folder, fmt.Sprint(gone.UID))
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
	if err != nil || slices.ContainsFunc(replies, func(r rig.Reply) bool { return r.Code != 250 }) {
		t.Fatalf("%s: %v, %v", step.Name, replies, err)
	}
}

// deliver brings an ordinary letter to mailboxes.
func (s *site) deliver(t *testing.T, subject string, to ...string) []byte {
	t.Helper()
	message := []byte(strings.ReplaceAll(fmt.Sprintf("From: Zia Rosa <rosa@ext.test>\nTo: %s\nSubject: %s\nDate: %s\nMessage-ID: <%x@ext.test>\n\nA presto.\n", to[0], subject,
		time.Now().Format(time.RFC1123Z), sha256.Sum256([]byte(to[0]+subject))), "\n", "\r\n"))
	s.carry(t, pectest.Step{Name: subject, From: "rosa@ext.test", To: to, Message: message})
	return message
}

// damage makes the first message of each mailbox unreadable, while the daemon is down.
func (s *site) damage(t *testing.T, mailboxes ...string) {
	t.Helper()
	s.hook.Stop(t)
	engine, err := level.Open(filepath.Join(s.hook.Data, "journal"), level.Options{})
	if err != nil {
		t.Fatal(err)
	}
	volume, err := engine.Volume(t.Context(), kv.MonthOf(time.Now()), false)
	if err != nil {
		t.Fatal(err)
	}
	for _, mailbox := range mailboxes {
		prefix := "e" + mailbox
		for pair, err := range volume.Scan(t.Context(), []byte(prefix), nil) {
			if err != nil || !strings.HasPrefix(string(pair.Key), prefix) {
				t.Fatalf("%s has no message: %v", mailbox, err)
			}
			if err := volume.Update(t.Context(), nil, func(tx kv.Tx) error { tx.Put(pair.Key, []byte{1, 2, 3}); return nil }); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	if err := engine.Close(); err != nil {
		t.Fatal(err)
	}
	s.hook.Own(t)
	s.hook.Start(t)
}
