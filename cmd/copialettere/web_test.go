package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"copialettere/cmd/copialettere/config"
)

// TestCheckNames has names that the certificate is for, and others.
func TestCheckNames(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Fatalf("%v: make needs installs it", err)
	}
	p := newPlace(t)
	certificate, key := filepath.Join(p.dir, "c.pem"), filepath.Join(p.dir, "k.pem")
	if out, err := exec.Command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=x",
		"-addext", "subjectAltName=DNS:archivio.alpha.test,DNS:mail.alpha.test", "-keyout", key, "-out", certificate).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	const base = "data = \"/srv\"\n[received]\nlisten = [\"systemd:a\"]\nnext_hop = \"lmtp:unix:/l\"\n[auth]\nsource = \"file:/p\"\n[[domain]]\nname = \"alpha.test\"\n" +
		"[tls]\ncertificate = %q\nkey = %q\n"
	imap := func(name string) string { return "[imap]\nlisten = [\"tls:systemd:imap\"]\nname = \"" + name + "\"\n" }
	submission := func(name string) string {
		return "[submission]\nlisten = [\"tls:systemd:submission\"]\nname = \"" + name + "\"\n"
	}
	web := func(listen, url string) string {
		return "[web]\nlisten = [\"" + listen + ":systemd:web\"]\npublic_url = \"" + url + "\"\n"
	}
	for _, c := range []struct{ name, text, want string }{
		{"all in it", imap("archivio.alpha.test") + submission("mail.alpha.test") + web("tls", "https://archivio.alpha.test:8443"), ""},
		{"the server for mail programs", imap("imap.alpha.test"), "imap.alpha.test ([imap] name)"},
		{"the outgoing server", imap("archivio.alpha.test") + submission("smtp.alpha.test"), "smtp.alpha.test ([submission] name)"},
		{"the pages", web("tls", "https://web.alpha.test"), "web.alpha.test ([web] public_url)"},
		{"the pages behind a proxy", strings.ReplaceAll(web("tls", "https://web.alpha.test"), "tls:", ""), ""},
		{"an archive host", imap("archivio.alpha.test") + "[[archive_host]]\nname = \"archivio.beta.test\"\ndomains = [\"alpha.test\"]\n", "archivio.beta.test ([[archive_host]]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			parsed, err := config.Parse("test.toml", fmt.Appendf(nil, base+c.text, certificate, key))
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			in := &invocation{stdout: &out, stderr: os.Stderr}
			if !in.checkSetUp(parsed) || !strings.Contains(out.String(), "signature of profiles") {
				t.Errorf("%s", out.String())
			}
			n := strings.Count(out.String(), "warning")
			if c.want == "" && n != 0 || c.want != "" && (n != 1 || !strings.Contains(out.String(), c.want)) {
				t.Errorf("%s", out.String())
			}
		})
	}
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	open, err := config.Parse("test.toml", fmt.Appendf(nil, base, certificate, key))
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	if !(&invocation{stdout: &said, stderr: os.Stderr}).checkSetUp(open) || !strings.Contains(said.String(), "every user of the machine can read the private key "+key) {
		t.Errorf("%s", said.String())
	}
	if err := os.WriteFile(key, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	parsed, err := config.Parse("test.toml", fmt.Appendf(nil, base+"[profile]\ncertificate = %q\nkey = %q\n", certificate, key, certificate, key))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if (&invocation{stdout: &out, stderr: &out}).checkSetUp(parsed) {
		t.Errorf("a key that cannot be read is no fault:\n%s", out.String())
	}
}
