package housekeeping

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"copialettere/journal/metrics"
)

// writePair writes a certificate with a serial number, which ends on a day and is for hosts, and its key.
func writePair(t *testing.T, folder string, serial int64, end time.Time, hosts ...string) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: end, DNSNames: hosts}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	certificate, key = filepath.Join(folder, "certificate.pem"), filepath.Join(folder, "key.pem")
	for path, block := range map[string]*pem.Block{certificate: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}

// TestCertificate changes the files of a certificate: a good one is in force at the next look, a bad one never, and nothing is read between two looks.
func TestCertificate(t *testing.T) {
	folder := t.TempDir()
	end := time.Now().Add(time.Hour).Truncate(time.Second)
	certificate, key := writePair(t, folder, 1, end)
	var m metrics.Registry
	var log bytes.Buffer
	c, err := OpenCertificate("certificate", certificate, key, &m, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	serial := func() int64 {
		got, err := c.TLS().GetCertificate(nil)
		if err != nil {
			t.Fatal(err)
		}
		return got.Leaf.SerialNumber.Int64()
	}
	look := func() { c.looked = c.looked.Add(-certificateEvery) }
	if serial() != 1 || !c.End().Equal(end) || m.CertificateEnd("certificate").Value() != end.Unix() {
		t.Errorf("at first: %d, ends %v", serial(), c.End())
	}
	writePair(t, folder, 2, end.Add(time.Hour))
	if serial() != 1 {
		t.Error("the files were read again at once")
	}
	look()
	if serial() != 2 || m.CertificateEnd("certificate").Value() != end.Add(time.Hour).Unix() {
		t.Errorf("after the change: %d", serial())
	}
	for _, bad := range []struct {
		name string
		make func() error
	}{
		{"no certificate", func() error { return os.WriteFile(certificate, []byte("x"), 0o600) }},
		{"gone", func() error { return os.Remove(certificate) }},
	} {
		if err := bad.make(); err != nil {
			t.Fatal(err)
		}
		log.Reset()
		look()
		if serial() != 2 || !strings.Contains(log.String(), "the old one stays") {
			t.Errorf("%s: %d, %s", bad.name, serial(), log.String())
		}
	}
	writePair(t, folder, 3, end)
	if err := os.WriteFile(key, []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCertificate("certificate", certificate, key, &m, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), key) {
		t.Errorf("a key that does not fit: %v", err)
	}
	if _, err := OpenCertificate("certificate", filepath.Join(folder, "none"), key, &m, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("no error without a file")
	}
}

// TestKeepCertificate starts without files, with a wrong one, and with the right ones at last.
func TestKeepCertificate(t *testing.T) {
	var m metrics.Registry
	var log bytes.Buffer
	folder := t.TempDir()
	c := KeepCertificate("certificate", filepath.Join(folder, "certificate.pem"), filepath.Join(folder, "key.pem"), &m, slog.New(slog.NewTextHandler(&log, nil)))
	connect := func() error {
		c.looked = c.looked.Add(-certificateEvery)
		_, err := c.TLS(c).GetCertificate(&tls.ClientHelloInfo{ServerName: "archivio.alpha.test"})
		return err
	}
	if err := connect(); err == nil || !strings.Contains(log.String(), "nobody can connect") {
		t.Errorf("without files: %v\n%s", err, log.String())
	}
	certificate, key := writePair(t, folder, 1, time.Now().Add(time.Hour), "archivio.alpha.test")
	right, err := os.ReadFile(key)
	if err == nil {
		err = os.WriteFile(key, []byte("another"), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := connect(); err == nil || !strings.Contains(log.String(), certificate) {
		t.Errorf("with a wrong key: %v\n%s", err, log.String())
	}
	if err := os.WriteFile(key, right, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := connect(); err != nil || !strings.Contains(log.String(), "a changed certificate is in force") {
		t.Errorf("with both: %v\n%s", err, log.String())
	}
}

// TestCertificateOfHost connects with names of hosts: each is shown the certificate that is for it, and the others the first.
func TestCertificateOfHost(t *testing.T) {
	end := time.Now().Add(time.Hour)
	m := new(metrics.Registry)
	open := func(name string, serial int64, hosts ...string) *Certificate {
		t.Helper()
		certificate, key := writePair(t, t.TempDir(), serial, end, hosts...)
		c, err := OpenCertificate(name, certificate, key, m, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	beta := open("archive_host beta.test", 2, "imap.beta.test", "smtp.beta.test")
	config := open("certificate", 1, "archivio.alpha.test").TLS(beta, open("archive_host gamma.test", 3, "*.gamma.test"))
	for host, want := range map[string]int64{
		"": 1, "archivio.alpha.test": 1, "elsewhere.test": 1, "imap.beta.test": 2, "SMTP.beta.test": 2, "beta.test": 1, "archivio.gamma.test": 3,
	} {
		client, server := net.Pipe()
		done := make(chan error, 1)
		go func() { done <- tls.Server(server, config).Handshake() }()
		c := tls.Client(client, &tls.Config{ServerName: host, InsecureSkipVerify: true})
		if err := errors.Join(c.Handshake(), <-done); err != nil {
			t.Fatal(err)
		}
		if got := c.ConnectionState().PeerCertificates[0].SerialNumber.Int64(); got != want {
			t.Errorf("%q is shown certificate %d, want %d", host, got, want)
		}
		client.Close()
		server.Close()
	}
	if err := beta.For("smtp.beta.test"); err != nil {
		t.Error(err)
	}
	if err := beta.For("archivio.beta.test"); err == nil || !strings.Contains(err.Error(), beta.certificate) {
		t.Errorf("a host that it is not for: %v", err)
	}
	if got := m.CertificateEnd("archive_host beta.test").Value(); got != end.Unix() {
		t.Errorf("the metric says %d", got)
	}
}
