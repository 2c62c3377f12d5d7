package pull

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"
)

// authority issues certificates.
type authority struct {
	t           *testing.T
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	pair := a.issue(func(c *x509.Certificate) {
		c.Subject.CommonName, c.IsCA, c.BasicConstraintsValid, c.KeyUsage, c.IPAddresses = "Test CA", true, true, x509.KeyUsageCertSign, nil
	})
	a.certificate, a.key = pair.Leaf, pair.PrivateKey.(*ecdsa.PrivateKey)
	return a
}

// issue returns a certificate for 127.0.0.1 that is valid now, but for what edit changes. The first one of an authority signs itself.
func (a *authority) issue(edit func(*x509.Certificate)) *tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	now := time.Now()
	one := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "imap.ext.test"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	edit(one)
	signer, with := a.certificate, a.key
	if signer == nil {
		signer, with = one, key
	}
	der, err := x509.CreateCertificate(rand.Reader, one, signer, &key.PublicKey, with)
	if err != nil {
		a.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// roots returns the certificates as -ca has them read.
func roots(t *testing.T, list ...*x509.Certificate) *x509.CertPool {
	t.Helper()
	var text strings.Builder
	for _, one := range list {
		if err := pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: one.Raw}); err != nil {
			t.Fatal(err)
		}
	}
	reach, err := NewService(nil, nil).reach(true, text.String())
	if err != nil {
		t.Fatal(err)
	}
	return reach.Roots
}

// TestCertificates imports by imaps:// and imap+starttls://, and only from servers whose certificate is right. Otherwise no password is sent.
func TestCertificates(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	good := ours.issue(func(*x509.Certificate) {})
	self := (&authority{t: t}).issue(func(*x509.Certificate) {})
	for _, test := range []struct {
		name        string
		certificate *tls.Certificate
		roots       *x509.CertPool // those of the system where nil
		why         string         // what the error says; empty where it is right
	}{
		{"right", good, roots(t, theirs.certificate, ours.certificate), ""},
		{"signed by itself, and given with -ca", self, roots(t, self.Leaf), ""},
		{"signed by itself", self, nil, "certificate"},
		{"of an authority that is not believed", good, nil, "unknown authority"},
		{"of another authority than that of -ca", good, roots(t, theirs.certificate), "unknown authority"},
		{"of another host", ours.issue(func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"imap.ext.test"} }), roots(t, ours.certificate), "127.0.0.1"},
		{"of another address", ours.issue(func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 2)} }), roots(t, ours.certificate), "127.0.0.2"},
		{"expired", ours.issue(func(c *x509.Certificate) { c.NotBefore, c.NotAfter = c.NotBefore.AddDate(-1, 0, 0), c.NotBefore }), roots(t, ours.certificate), "expired"},
		{"not yet valid", ours.issue(func(c *x509.Certificate) { c.NotBefore = c.NotAfter.Add(-time.Minute) }), roots(t, ours.certificate), "not yet valid"},
		{"for no servers", ours.issue(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), roots(t, ours.certificate), "usage"},
	} {
		for _, security := range []Security{TLS, STARTTLS} {
			t.Run(test.name+", "+string(security), func(t *testing.T) {
				r := newRig(t, one(1))
				server := &tls.Config{Certificates: []tls.Certificate{*test.certificate}}
				if r.account.Security = security; security == TLS {
					r.tls = server
				} else {
					r.starttls, r.capability = server, "IMAP4rev1 STARTTLS LOGINDISABLED"
				}
				r.options.Reach = Reach{Roots: test.roots}
				if test.why == "" {
					r.encrypted = "IMAP4rev1 UIDPLUS"
					r.want("imported", "imported 1")
					return
				}
				_, err := r.run()
				var bad *tls.CertificateVerificationError
				if !errors.As(err, &bad) || !errors.Is(err, ErrAccount) || !strings.Contains(err.Error(), test.why) {
					t.Errorf("error %v", err)
				}
				if n := len(r.sent("LOGIN")) + len(r.sent("AUTHENTICATE")); n > 0 || len(r.shelf.has) > 0 {
					t.Errorf("%d passwords were sent, %d messages came", n, len(r.shelf.has))
				}
			})
		}
	}
}

// TestSTARTTLS never goes on in the clear where it was to be encrypted, and believes nothing that was said before.
func TestSTARTTLS(t *testing.T) {
	ours := newAuthority(t)
	server := &tls.Config{Certificates: []tls.Certificate{*ours.issue(func(*x509.Certificate) {})}}
	for _, test := range []struct {
		name   string
		change func(*rig)
		want   error
		why    string
	}{
		{"not offered", func(r *rig) { r.capability = "IMAP4rev1" }, ErrPlaintext, "does not offer STARTTLS"},
		{"refused", func(r *rig) { r.starttls, r.refuse = nil, map[string]string{"STARTTLS": "NO not now"} }, ErrAccount, "not now"},
		{"something behind the answer", func(r *rig) { r.injected = "* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\nA3 OK in\r\n" }, errProtocol, "not encrypted"},
		{"somebody is let in before", func(r *rig) { r.preauth = true }, errProtocol, "before STARTTLS"},
		{"no TLS behind it", func(r *rig) { r.starttls, r.refuse, r.cut = nil, map[string]string{"STARTTLS": "A1 OK go on"}, true }, ErrAccount, "encrypt the line"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, one(1))
			r.account.Security, r.starttls, r.capability = STARTTLS, server, "IMAP4rev1 STARTTLS"
			r.options.Reach.Roots = roots(t, ours.certificate)
			test.change(r)
			if _, err := r.run(); !errors.Is(err, test.want) || !errors.Is(err, ErrAccount) || !strings.Contains(err.Error(), test.why) {
				t.Errorf("error %v", err)
			}
			if n := len(r.sent("LOGIN")) + len(r.sent("AUTHENTICATE")); n > 0 || len(r.shelf.has) > 0 {
				t.Errorf("%d passwords were sent, %d messages came", n, len(r.shelf.has))
			}
		})
	}
	t.Run("what the server can is asked again", func(t *testing.T) {
		r := newRig(t, one(1))
		r.account.Security, r.starttls, r.capability, r.encrypted = STARTTLS, server, "IMAP4rev1 STARTTLS AUTH=PLAIN", "IMAP4rev1 LOGINDISABLED"
		r.options.Reach.Roots = roots(t, ours.certificate)
		if _, err := r.run(); !errors.Is(err, ErrLogin) || len(r.sent("AUTHENTICATE"))+len(r.sent("LOGIN")) > 0 {
			t.Errorf("error %v, sent %q", err, r.commands)
		}
	})
}

// TestOldTLS has a server that speaks nothing newer than TLS 1.1.
func TestOldTLS(t *testing.T) {
	ours := newAuthority(t)
	r := newRig(t, one(1))
	r.account.Security = TLS
	r.tls = &tls.Config{Certificates: []tls.Certificate{*ours.issue(func(*x509.Certificate) {})}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	r.options.Reach.Roots = roots(t, ours.certificate)
	if _, err := r.run(); !errors.Is(err, ErrAccount) || !strings.Contains(err.Error(), "protocol version") || len(r.commands) > 0 {
		t.Errorf("error %v, sent %q", err, r.commands)
	}
}

// TestOpenLine sends no password over an open line to another machine, unless an operator said so.
func TestOpenLine(t *testing.T) {
	for _, test := range []struct {
		name string
		open bool
		want error
	}{{"encrypted, within the machine, or allowed", false, nil}, {"open", true, ErrPlaintext}} {
		c := hear("* CAPABILITY IMAP4rev1\r\nA1 OK\r\nA2 OK in\r\n* CAPABILITY IMAP4rev1\r\nA3 OK\r\n")
		err := c.login("anna", "s3cret", test.open)
		sent := strings.Contains(c.w.nc.(*heard).sent.String(), "s3cret")
		if !errors.Is(err, test.want) || sent == test.open {
			t.Errorf("%s: %v, the password was sent: %v", test.name, err, sent)
		}
	}
}
