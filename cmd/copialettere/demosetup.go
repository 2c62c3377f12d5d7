package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"copialettere/policy"
	"copialettere/policy/auth"
	"copialettere/policy/pec/pectest"
)

const demoConfig = `# Made by "copialettere demo". contrib/copialettere.toml explains every key.
data = "%[1]s/data"

[received]
listen   = ["tcp:127.0.0.1:%[2]d"]
next_hop = "maildir:%[1]s/mail"

[sent]
listen   = ["tcp:127.0.0.1:%[3]d"]
next_hop = "smtp:127.0.0.1:%[4]d"
identity = "mail-from"

[admin]
listen = ["unix:admin.sock", "tcp:127.0.0.1:%[5]d"]

[auth]
source = "file:%[1]s/passwd"

[rights]
owner = ["archive", "pause", "filter", "write", "manual_delete", "append", "imap", "layout", "retention", "protocols", "notify", "notify_on", "language"]

[pec]
provider_index = "%[1]s/providers.ldif"
trust_bundle   = "%[1]s/authorities.pem"

[notices]
relay = "smtp:127.0.0.1:%[4]d"
from  = "archivio@alpha.test"

[tls]
certificate = "%[1]s/certificate.pem"
key         = "%[1]s/key.pem"

[imap]
listen = ["tls:127.0.0.1:%[6]d"]
name   = "localhost"

[web]
listen     = ["tcp:127.0.0.1:%[7]d"]
public_url = "%[8]s"

[mailbox_servers]
imap = "imap.alpha.test:993"
smtp = "smtp.alpha.test:465"

[[domain]]
name        = "alpha.test"
postmasters = ["%[9]s"]
`

// demoPorts are the ports of loopback that the demonstration listens on.
type demoPorts struct{ LMTP, Sent, Outbox, Admin, IMAP, Web int }

// Who may sign in.
const (
	demoOwner      = "mario@alpha.test" // with the mail of an office
	demoPostmaster = "postmaster@alpha.test"
)

// page returns the URL of the pages. Browsers treat localhost as they do a host with TLS, and warn of no certificate there.
func (d *demo) page() string { return fmt.Sprintf("http://localhost:%d/", d.ports.Web) }

// setUp writes the files that the daemon reads.
func (d *demo) setUp() error {
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return err
	}
	d.configFile = filepath.Join(d.dir, "copialettere.toml")
	office := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("legalmail"))
	for name, text := range map[string][]byte{
		"copialettere.toml": fmt.Appendf(nil, demoConfig, d.dir, d.ports.LMTP, d.ports.Sent, d.ports.Outbox, d.ports.Admin, d.ports.IMAP, d.ports.Web, d.page(), demoPostmaster),
		"authorities.pem":   office.Authority.PEM(),
		"providers.ldif":    pectest.IndexLDIF(office.Providers()...),
	} {
		if err := os.WriteFile(filepath.Join(d.dir, name), text, 0o600); err != nil {
			return err
		}
	}
	if err := demoCertificate(d.dir); err != nil {
		return fmt.Errorf("make a certificate: %w", err)
	}
	d.passwords = make(map[string]string)
	for _, login := range []string{demoOwner, demoPostmaster} {
		a, err := policy.ParseAddress(login)
		if err != nil {
			return err
		}
		// Another one each time, and short enough to be typed. Nobody else reaches loopback.
		d.passwords[login] = rand.Text()[:12]
		if err := auth.SetPassword(filepath.Join(d.dir, "passwd"), a, d.passwords[login]); err != nil {
			return err
		}
	}
	return nil
}

// demoCertificate makes a certificate for localhost, which its own key has signed.
func demoCertificate(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	now := time.Now()
	template := x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(0, 1, 0), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		return err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	write := func(name, kind string, b []byte) error {
		return os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600)
	}
	return errors.Join(write("certificate.pem", "CERTIFICATE", certificate), write("key.pem", "PRIVATE KEY", private))
}
