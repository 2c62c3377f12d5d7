package files

import (
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"copialettere/journal/metrics"
	"copialettere/policy/pec/pectest"
)

// TestCertificateEnd follows the metric of when authorities and revocation lists end.
func TestCertificateEnd(t *testing.T) {
	dir := t.TempDir()
	bundle, folder := filepath.Join(dir, "bundle.pem"), filepath.Join(dir, "crl")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	a := pectest.NewAuthority()
	until := func(end time.Time) string {
		return string(a.Subordinate("CA2", func(c *x509.Certificate) { c.NotAfter = end }).PEM())
	}
	real := time.Now().UTC().Truncate(time.Second)
	soon, later := real.Add(24*time.Hour), real.Add(48*time.Hour)
	write := func(name, text string, at time.Time) { pectest.Replace(t, filepath.Join(dir, name), text, at) }
	write("bundle.pem", string(a.PEM())+until(later)+until(real.Add(-time.Hour)), pectest.Written)
	m := new(metrics.Registry)
	w, err := Open(Sources{TrustBundle: bundle, CRLFolder: folder}, m, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name           string
		change         func()
		now            time.Time
		authority, crl time.Time // zero: the metric is 0
	}{
		{"one has ended and does not count", func() {}, time.Time{}, later, time.Time{}},
		{"a list", func() {
			write("crl/a.crl", string(a.RevocationList(pectest.Written, soon, nil)), pectest.Written.Add(time.Second))
		}, real, later, soon},
		{"another one that ends sooner", func() {
			write("crl/b.crl", string(a.RevocationList(pectest.Written, real.Add(time.Hour), nil)), pectest.Written.Add(2*time.Second))
		}, real, later, real.Add(time.Hour)},
		{"a list has ended and must be renewed", func() {}, soon, later, real.Add(time.Hour)},
		{"the next is the authority itself", func() {}, later, a.Certificate.NotAfter, real.Add(time.Hour)},
		{"all have ended", func() {}, a.Certificate.NotAfter, time.Time{}, real.Add(time.Hour)},
	} {
		step.change()
		if !step.now.IsZero() {
			w.Look(step.now)
		}
		for file, want := range map[string]time.Time{"trust_bundle": step.authority, "crl_folder": step.crl} {
			got := m.CertificateEnd(file).Value()
			if want.IsZero() && got != 0 || !want.IsZero() && got != want.Unix() {
				t.Errorf("%s: the metric of %s is %d, want %s", step.name, file, got, want)
			}
		}
	}
}
