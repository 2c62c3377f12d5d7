package housekeeping

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"copialettere/journal/metrics"
)

// writePair writes a certificate with a serial number, which ends on a day, and its key.
func writePair(t *testing.T, folder string, serial int64, end time.Time) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: end}
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
	c, err := OpenCertificate(certificate, key, &m, slog.New(slog.NewTextHandler(&log, nil)))
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
	if _, err := OpenCertificate(certificate, key, &m, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), key) {
		t.Errorf("a key that does not fit: %v", err)
	}
	if _, err := OpenCertificate(filepath.Join(folder, "none"), key, &m, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("no error without a file")
	}
}
