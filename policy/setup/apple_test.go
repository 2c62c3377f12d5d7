package setup

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"maps"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"howett.net/plist"

	"copialettere/policy"
)

// profileOf returns the profile of an account of mario@DOMAIN, unsigned, as a property list.
func profileOf(t *testing.T, domain string, c Choice, archive string, l policy.Language) map[string]any {
	t.Helper()
	g := example(t)
	p, err := g.Parameters(parse(t, "mario@"+domain), "mario_"+domain+"@archivio.example.org", c)
	if err != nil {
		t.Fatal(err)
	}
	b, err := g.Profile(p, archive, l)
	if err != nil {
		t.Fatal(err)
	}
	v := make(map[string]any)
	if format, err := plist.Unmarshal(b, v); err != nil || format != plist.XMLFormat {
		t.Fatalf("format %d, %v", format, err)
	}
	return v
}

// TestProfile compares whole profiles with what Apple's reference wants of them.
func TestProfile(t *testing.T) {
	for _, c := range []struct {
		name   string
		choice Choice
		lang   policy.Language
		title  string
		mail   map[string]any
	}{
		{"archive", Choice{Account: AccountArchive}, policy.Italian, "Archivio di sicurezza mario@alpha.test", map[string]any{
			"EmailAccountType": "EmailTypeIMAP", "IncomingMailServerHostName": "archivio.example.org", "IncomingMailServerPortNumber": uint64(993),
			"IncomingMailServerUsername": "mario_alpha.test@archivio.example.org", "OutgoingMailServerHostName": "archivio.example.org",
			"OutgoingMailServerPortNumber": uint64(465), "OutgoingMailServerUsername": "mario_alpha.test@archivio.example.org",
		}},
		{"mailbox", Choice{Account: AccountMailbox}, policy.English, "Mailbox mario@alpha.test", map[string]any{
			"EmailAccountType": "EmailTypeIMAP", "IncomingMailServerHostName": "imap.alpha.test", "IncomingMailServerPortNumber": uint64(993),
			"IncomingMailServerUsername": "mario@alpha.test", "OutgoingMailServerHostName": "smtp.alpha.test", "OutgoingMailServerPortNumber": uint64(587),
			"OutgoingMailServerUsername": "mario@alpha.test",
		}},
		{"mailbox by POP3", Choice{AccountMailbox, POP3}, policy.Italian, "Casella di posta mario@alpha.test", map[string]any{
			"EmailAccountType": "EmailTypePOP", "IncomingMailServerHostName": "pop.alpha.test", "IncomingMailServerPortNumber": uint64(110),
			"IncomingMailServerUsername": "mario@alpha.test", "OutgoingMailServerHostName": "smtp.alpha.test", "OutgoingMailServerPortNumber": uint64(587),
			"OutgoingMailServerUsername": "mario@alpha.test",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := profileOf(t, "alpha.test", c.choice, "mario@alpha.test", c.lang)
			content, ok := v["PayloadContent"].([]any)
			if !ok || len(content) != 1 {
				t.Fatalf("%v", v)
			}
			mail := content[0].(map[string]any)
			maps.Copy(c.mail, map[string]any{
				"EmailAccountDescription": c.title, "EmailAddress": "mario@alpha.test", "IncomingMailServerAuthentication": "EmailAuthPassword",
				"IncomingMailServerUseSSL": true, "OutgoingMailServerAuthentication": "EmailAuthPassword", "OutgoingMailServerUseSSL": true,
				"OutgoingPasswordSameAsIncomingPassword": true, "PayloadDisplayName": c.title, "PayloadType": "com.apple.mail.managed",
				"PayloadVersion": uint64(1), "PayloadIdentifier": v["PayloadIdentifier"].(string) + ".mail",
				"PayloadDescription": v["PayloadDescription"], "PayloadUUID": mail["PayloadUUID"],
			})
			if !maps.Equal(mail, c.mail) {
				t.Errorf("mail\n%v\nwant\n%v", mail, c.mail)
			}
			delete(v, "PayloadContent")
			want := map[string]any{
				"PayloadDisplayName": c.title, "PayloadOrganization": "alpha.test", "PayloadType": "Configuration", "PayloadVersion": uint64(1),
				"PayloadIdentifier": "copialettere." + string(c.choice.Account) + "." + v["PayloadUUID"].(string), "PayloadUUID": v["PayloadUUID"],
				"PayloadDescription": mail["PayloadDescription"],
			}
			if !maps.Equal(v, want) {
				t.Errorf("profile\n%v\nwant\n%v", v, want)
			}
			form := regexp.MustCompile(`^[0-9A-F]{8}-[0-9A-F]{4}-8[0-9A-F]{3}-[89AB][0-9A-F]{3}-[0-9A-F]{12}$`)
			if a, b := v["PayloadUUID"].(string), mail["PayloadUUID"].(string); a == b || !form.MatchString(a) || !form.MatchString(b) {
				t.Errorf("UUIDs %s and %s", a, b)
			}
		})
	}
}

// TestProfileIdentifiers: a second profile of the same person replaces the first on the device, also when something in it has changed; no other does.
func TestProfileIdentifiers(t *testing.T) {
	identifier := func(c Choice, archive string, l policy.Language) string {
		return profileOf(t, "alpha.test", c, archive, l)["PayloadIdentifier"].(string)
	}
	first := identifier(Choice{Account: AccountMailbox}, "mario@alpha.test", policy.Italian)
	if again := identifier(Choice{AccountMailbox, POP3}, "mario@alpha.test", policy.English); again != first {
		t.Errorf("%s, and then %s", first, again)
	}
	for _, other := range []string{
		identifier(Choice{Account: AccountArchive}, "mario@alpha.test", policy.Italian),
		identifier(Choice{Account: AccountMailbox}, "mario@alpha.test/2", policy.Italian), // the next person of the address
	} {
		if other == first {
			t.Errorf("%s twice", first)
		}
	}
}

// TestProfileAppPassword says which password is wanted where the second factor is on.
func TestProfileAppPassword(t *testing.T) {
	g := example(t)
	p, err := g.Parameters(parse(t, "mario@alpha.test"), "", Choice{Account: AccountArchive})
	if err != nil {
		t.Fatal(err)
	}
	for _, needs := range []bool{false, true} {
		p.AppPassword = needs
		for l, want := range map[policy.Language]string{policy.Italian: "password per programmi", policy.English: "app password"} {
			text, err := g.Profile(p, "mario@alpha.test", l)
			if err != nil || bytes.Contains(text, []byte(want)) != needs {
				t.Errorf("app password needed %v: %v\n%s", needs, err, text)
			}
		}
	}
}

func TestProfileWithoutOutgoing(t *testing.T) {
	g := example(t)
	p, err := g.Parameters(parse(t, "mario@gamma.test"), "", Choice{Account: AccountMailbox})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Profile(p, "mario@gamma.test", policy.Italian); !errors.Is(err, ErrNotOffered) {
		t.Error(err)
	}
}

// signer makes an authority, an intermediate one and a certificate with a key, and returns the Signer with the path of the authority.
func signer(t *testing.T, key crypto.Signer) (s Signer, authority string) {
	t.Helper()
	folder := t.TempDir()
	var parent *x509.Certificate
	var parentKey crypto.Signer
	var chain []byte
	write := func(name string, b []byte) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for i, name := range []string{"root", "intermediate", "archivio.example.org"} {
		mine := key
		if i < 2 {
			made, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			mine = made
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i + 1)), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			IsCA: i < 2, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		}
		if i < 2 {
			template.KeyUsage = x509.KeyUsageCertSign
		} else {
			// As the certificates of TLS servers have it.
			template.DNSNames, template.ExtKeyUsage = []string{name}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		}
		if parent == nil {
			parent, parentKey = template, mine
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, mine.Public(), parentKey)
		if err == nil {
			parent, err = x509.ParseCertificate(der)
		}
		if err != nil {
			t.Fatal(err)
		}
		parentKey = mine
		block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		if i == 0 {
			authority = write("root.pem", block)
			continue
		}
		chain = append(block, chain...)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return Signer{write("chain.pem", chain), write("key.pem", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}))}, authority
}

// TestProfileSigned has openssl verify signed profiles, against the authority alone: the certificate between is in the signature.
func TestProfileSigned(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Fatalf("%v: make needs installs it", err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"RSA": rsaKey, "P-256": p256, "P-384": p384} {
		t.Run(name, func(t *testing.T) {
			g := example(t)
			p, err := g.Parameters(parse(t, "mario@alpha.test"), "mario@alpha.test", Choice{Account: AccountArchive})
			if err != nil {
				t.Fatal(err)
			}
			plain, err := g.Profile(p, "mario@alpha.test", policy.Italian)
			if err != nil {
				t.Fatal(err)
			}
			s, authority := signer(t, key)
			if err := s.Check(); err != nil {
				t.Fatal(err)
			}
			g.config.Signer = s
			signed, err := g.Profile(p, "mario@alpha.test", policy.Italian)
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "signed")
			verify := func(b []byte) ([]byte, error) {
				if err := os.WriteFile(path, b, 0o600); err != nil {
					t.Fatal(err)
				}
				return exec.Command("openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", path, "-CAfile", authority, "-purpose", "any").Output()
			}
			if inside, err := verify(signed); err != nil || !slices.Equal(inside, plain) {
				t.Errorf("%v: signed is %q", err, inside)
			}
			i := len(signed) / 3 // in the profile
			changed := slices.Clone(signed)
			changed[i] ^= 1
			if _, err := verify(changed); err == nil {
				t.Error("a changed profile is verified")
			}
		})
	}
}

func TestSignerFaults(t *testing.T) {
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	odd, _ := signer(t, edwards)
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	one, _ := signer(t, p256)
	for name, s := range map[string]Signer{
		"no file": {"/nowhere/certificate.pem", one.Key}, "the key of another": {one.Certificate, odd.Key}, "a key that Apple does not take": odd,
	} {
		if err := s.Check(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
