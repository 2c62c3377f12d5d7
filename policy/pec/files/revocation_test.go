package files

import (
	"bytes"
	"crypto/x509"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"copialettere/journal/metrics"
	"copialettere/policy/pec/pectest"
)

// TestRevocationLists goes through what can happen to the folder of revocation lists under a daemon, look by look.
func TestRevocationLists(t *testing.T) {
	dir := t.TempDir()
	a, rogue := pectest.NewAuthority(), pectest.NewRogue()
	bundle, folder := filepath.Join(dir, "bundle.pem"), filepath.Join(dir, "crl")
	pectest.Overwrite(t, bundle, string(a.PEM()), pectest.Written)
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	now := pectest.Written.Add(time.Hour)
	list := func(of *pectest.Authority, until time.Duration, revoked ...x509.RevocationListEntry) string {
		return string(of.RevocationList(pectest.Written, now.Add(until), nil, revoked...))
	}
	one := x509.RevocationListEntry{SerialNumber: pectest.NewAuthority().Issue("x@alpha.test", "X",
		pectest.NewOffice(pectest.Shapes()[0], pectest.Shapes()[0]).Sender.Identity.Key, nil).Certificate.SerialNumber, RevocationTime: pectest.Written}
	var log bytes.Buffer
	m := new(metrics.Registry)
	w, err := Open(Sources{TrustBundle: bundle, CRLFolder: folder}, m, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil || !strings.Contains(log.String(), "0 revocation lists") {
		t.Fatalf("%v: %s", err, &log)
	}
	at := func(seconds int) time.Time { return pectest.Written.Add(time.Duration(seconds) * time.Second) }
	path := func(name string) string { return filepath.Join(folder, name) }
	for _, step := range []struct {
		name    string
		change  func()
		lists   int // in force
		failing bool
		logged  string // what the log must contain, separated by bars; "" for nothing
	}{
		{"nothing", func() {}, 0, false, ""},
		{"another file", func() { pectest.Overwrite(t, path("README"), "text", at(1)) }, 0, false, ""},
		{"a list", func() { pectest.Replace(t, path("a.crl"), list(a, time.Hour), at(2)) }, 1, false, "INFO|1 revocation lists, 0 revoked certificates|expires on"},
		{"being written", func() { pectest.Overwrite(t, path("b.crl"), list(a, time.Hour), now.Add(-untouchedTime+time.Second)) }, 1, false, ""},
		{"written", func() { pectest.Replace(t, path("b.crl"), list(a, time.Minute, one), at(3)) }, 2, false, "2 revocation lists, 1 revoked"},
		{"of another authority", func() { pectest.Replace(t, path("c.crl"), list(rogue, time.Hour), at(4)) }, 3, false,
			"INFO|WARN|revocation list of CN=Autorità di nessuno|not in the trust bundle"},
		{"that authority comes into the bundle", func() { pectest.Replace(t, bundle, string(a.PEM())+string(rogue.PEM()), at(5)) }, 3, false, "2 certificates"},
		{"broken", func() { pectest.Replace(t, path("b.crl"), "no list", at(6)) }, 3, true, "ERROR|" + path("b.crl") + "|no revocation list"},
		{"still broken", func() {}, 3, true, ""},
		{"taken away", func() {
			if err := os.Remove(path("b.crl")); err != nil {
				t.Fatal(err)
			}
		}, 2, false, "INFO|2 revocation lists"},
		{"expired", func() { now = now.Add(2 * time.Hour) }, 2, false, "WARN|expired|put a new one in its place"},
		{"expired, logged before", func() {}, 2, false, ""},
	} {
		log.Reset()
		step.change()
		now = now.Add(time.Nanosecond)
		w.Look(now)
		if got := len(w.inForce.Load().crls); got != step.lists {
			t.Errorf("%s: %d lists are in force, want %d", step.name, got, step.lists)
		}
		if got := m.Gauge("copialettere_pec_file_failing", "", "file", "crl_folder").Value(); (got == 1) != step.failing {
			t.Errorf("%s: the metric of failure is %d", step.name, got)
		}
		if step.logged == "" && log.Len() > 0 {
			t.Errorf("%s: logged %s", step.name, &log)
		}
		for want := range strings.SplitSeq(step.logged, "|") {
			if !strings.Contains(log.String(), want) {
				t.Errorf("%s: %q is not in the log: %s", step.name, want, &log)
			}
		}
	}
	if _, err := Open(Sources{TrustBundle: bundle, CRLFolder: filepath.Join(dir, "absent")}, m, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a folder that is not there")
	}
}
