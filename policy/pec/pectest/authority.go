// Package pectest makes certified mail for tests and for the demonstration: a certification authority, providers, and every type of PEC message in
// the forms that real providers use. All names, addresses and keys are invented. The same input gives the same messages. It also writes the files
// of [pec].
package pectest

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	_ "embed"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// keyText holds RSA keys: making them would take longer than everything that tests do with them.
//
//go:embed keys.pem
var keyText []byte

// The positions of keys in keys.pem.
const (
	keyAuthority = iota
	keyRogue
	keySender
	keyReceiver
	keySpare
)

// key returns the key at a position in keys.pem.
func key(n int) *rsa.PrivateKey {
	text := keyText
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			panic(fmt.Sprintf("keys.pem has no key %d", n))
		}
		if text = rest; n > 0 {
			n--
			continue
		}
		k, err := x509.ParsePKCS1PrivateKey(block.Bytes)
		if err != nil {
			panic(err)
		}
		return k
	}
}

// Authority is a certification authority. Its certificate is valid from 2020 to 2049.
type Authority struct {
	Certificate *x509.Certificate
	SHA1        bool // sign with SHA-1, as authorities did until 2015
	key         crypto.Signer
	issued      int64
}

// NewAuthority returns the authority that issues to providers. Each call returns a new one with the same certificate.
func NewAuthority() *Authority { return newAuthority("Autorità di prova CA1", keyAuthority) }

// NewRogue returns an authority that nobody trusts.
func NewRogue() *Authority { return newAuthority("Autorità di nessuno", keyRogue) }

func newAuthority(name string, n int) *Authority {
	k := key(n)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2049, 1, 1, 0, 0, 0, 0,
			time.UTC),
		Subject: pkix.Name{Country: []string{"IT"}, Organization: []string{"Agenzia di prova"}, CommonName: name},
		IsCA:    true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	return &Authority{Certificate: certificate(template, template, &k.PublicKey, k), key: k, issued: 1}
}

// certificate makes and signs a certificate.
func certificate(template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) *x509.Certificate {
	b, err := x509.CreateCertificate(nil, template, parent, public, signer)
	if err != nil {
		panic(err)
	}
	c, err := x509.ParseCertificate(b)
	if err != nil {
		panic(err)
	}
	return c
}

// PEM returns the certificate as a trust bundle.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate.Raw})
}

// Identity is a certificate with its key, which signs messages.
type Identity struct {
	Certificate *x509.Certificate
	Key         crypto.Signer
	Extra       []*x509.Certificate // placed before it in signatures
}

// Issue returns an identity for an address, by the profile of RFC 6109 5.5: the address as rfc822Name, keyUsage critical with digitalSignature, no
// basicConstraints. It is valid as long as the authority. Edit, if not nil, changes the template first.
func (a *Authority) Issue(address, organization string, k crypto.Signer, edit func(*x509.Certificate)) *Identity {
	a.issued++
	public := k.Public()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		panic(err)
	}
	id := sha1.Sum(der)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(a.issued), NotBefore: a.Certificate.NotBefore, NotAfter: a.Certificate.NotAfter,
		Subject:        pkix.Name{Country: []string{"IT"}, Organization: []string{organization}, CommonName: organization},
		EmailAddresses: []string{address}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection},
		SubjectKeyId: id[:],
	}
	if a.SHA1 {
		template.SignatureAlgorithm = x509.SHA1WithRSA
	}
	if edit != nil {
		edit(template)
	}
	return &Identity{Certificate: certificate(template, a.Certificate, public, a.key), Key: k}
}

// Subordinate returns an authority certified by this one. Edit, if not nil, changes the template first.
func (a *Authority) Subordinate(name string, edit func(*x509.Certificate)) *Authority {
	k := key(keySpare)
	id := a.Issue("", name, k, func(c *x509.Certificate) {
		c.EmailAddresses, c.ExtKeyUsage = nil, nil
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
		if edit != nil {
			edit(c)
		}
	})
	return &Authority{Certificate: id.Certificate, SHA1: a.SHA1, key: k, issued: 1}
}

// RevocationList returns a CRL in DER, in force from one time until another. Edit, if not nil, changes the template first.
func (a *Authority) RevocationList(from, until time.Time, edit func(*x509.RevocationList), revoked ...x509.RevocationListEntry) []byte {
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: from, NextUpdate: until, RevokedCertificateEntries: revoked}
	if a.SHA1 {
		template.SignatureAlgorithm = x509.SHA1WithRSA
	}
	if edit != nil {
		edit(template)
	}
	b, err := x509.CreateRevocationList(nil, template, a.Certificate, a.key)
	if err != nil {
		panic(err)
	}
	return b
}

// IndexLDIF returns a provider index (RFC 6109 4.5) with the given providers. It has folded lines and a comment.
func IndexLDIF(providers ...*Provider) []byte {
	var b strings.Builder
	b.WriteString("version: 1\n# indice di prova\n\ndn: o=postacert\nobjectClass: top\nobjectClass: organization\n" +
		"objectClass: LDIFLocationURLObject\no: postacert\nLDIFLocationURL: https://index.ext.test/igpec.ldif.p7m\n\n")
	for _, p := range providers {
		hash := sha1.Sum(p.Identity.Certificate.Raw)
		text := strings.ToUpper(hex.EncodeToString(hash[:]))
		fmt.Fprintf(&b, "dn: providerName=%s,o=postacert\nobjectClass: top\nobjectClass: provider\nproviderName: %s\n"+
			"providerCertificateHash: %s\n %s\nproviderCertificate;binary::\n%s\nmailReceipt: ricevute@%s\nmanagedDomains: %s\n"+
			"managedDomains: altro.%s\ndescription:< file:///etc/passwd\n\n",
			p.Name, p.Name, text[:20], text[20:], foldBase64(p.Identity.Certificate.Raw, " "), p.Domain, p.Domain, p.Domain)
	}
	return []byte(b.String())
}
