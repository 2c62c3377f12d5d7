// Package tsatest is a time stamping authority (RFC 3161) for tests, made with openssl. Its keys are new each time, and its certificates end after 30 days.
package tsatest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Authority is a time stamping authority "Prova TSA" under a root "Prova CA". It is an http.Handler that answers queries, one at a time.
type Authority struct {
	t    testing.TB
	dir  string
	CA   string // file with its root certificate, PEM
	busy sync.Mutex
}

// New makes an authority in a temporary folder of the test.
func New(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{t: t, dir: t.TempDir()}
	a.CA = filepath.Join(a.dir, "ca.pem")
	for name, text := range map[string]string{
		"serial": "01\n",
		"ext":    "extendedKeyUsage=critical,timeStamping\nkeyUsage=critical,digitalSignature\n",
		"tsa.cnf": "[tsa]\ndefault_tsa=t\n[t]\ndir=" + a.dir + "\nserial=$dir/serial\nsigner_cert=$dir/tsa.pem\ncerts=$dir/ca.pem\nsigner_key=$dir/tsa.key\n" +
			"signer_digest=sha256\ndefault_policy=1.2.3.4\ndigests=sha256\naccuracy=secs:1\nordering=yes\ntsa_name=yes\ness_cert_id_chain=no\ness_cert_id_alg=sha256\n",
	} {
		if err := os.WriteFile(filepath.Join(a.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a.Run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=Prova CA", "-days", "30")
	a.Run("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", "/CN=Prova TSA")
	a.Run("x509", "-req", "-in", "tsa.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "tsa.pem", "-days", "30", "-extfile", "ext")
	return a
}

// Run runs openssl in the folder of the authority, and returns what it says. The test ends if it fails.
func (a *Authority) Run(args ...string) []byte {
	a.t.Helper()
	out, err := a.openssl(args...)
	if err != nil {
		a.t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (a *Authority) openssl(args ...string) ([]byte, error) {
	c := exec.CommandContext(a.t.Context(), "openssl", args...)
	c.Dir = a.dir
	return c.CombinedOutput()
}

// Serve lets the authority answer on a loopback port until the test ends, and returns its URL.
func (a *Authority) Serve() string {
	server := httptest.NewServer(a)
	a.t.Cleanup(server.Close)
	return server.URL
}

// ServeHTTP implements http.Handler: RFC 3161 section 3.4.
func (a *Authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.busy.Lock()
	defer a.busy.Unlock()
	query, err := io.ReadAll(r.Body)
	if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/timestamp-query" {
		http.Error(w, "no query", http.StatusBadRequest)
		return
	}
	if err := os.WriteFile(filepath.Join(a.dir, "query"), query, 0o600); err != nil {
		a.t.Error(err)
	}
	if out, err := a.openssl("ts", "-reply", "-config", "tsa.cnf", "-queryfile", "query", "-out", "answer"); err != nil {
		a.t.Errorf("openssl ts -reply: %v\n%s", err, out)
	}
	answer, err := os.ReadFile(filepath.Join(a.dir, "answer"))
	if err != nil {
		a.t.Error(err)
	}
	w.Header().Set("Content-Type", "application/timestamp-reply")
	w.Write(answer)
}
