package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"copialettere/cmd/copialettere/e2e/rig"
	"copialettere/policy"
	"copialettere/policy/auth"
)

// TestArchiveHosts has two brands at one listener: curl signs in under the names of archives, and each host shows the certificate that is for it.
func TestArchiveHosts(t *testing.T) {
	folder := rig.Folder(t)
	path := func(name string) string { return filepath.Join(folder, name) }
	const beta = "bruno@beta.test"
	makeCertificate(t, path("alpha.pem"), path("alpha.key"), "archivio.alpha.test")
	makeCertificate(t, path("beta.pem"), path("beta.key"), "archivio.beta.test")
	var errs []error
	for _, mailbox := range []string{anna, beta} {
		a, err := policy.ParseAddress(mailbox)
		errs = append(errs, err, auth.SetPassword(path("passwd"), a, annasPassword))
	}
	// 65534 is nobody, the daemon's user.
	if err := errors.Join(append(errs, os.Chown(path("passwd"), 65534, 65534))...); err != nil {
		t.Fatal(err)
	}
	port, lmtp := rig.FreePort(t), fmt.Sprintf("127.0.0.1:%d", rig.FreePort(t))
	hook := rig.NewDaemon(t, program, path("hook"), fmt.Sprintf(`
[received]
listen = ["tcp:%s"]
next_hop = "maildir:%s"
[auth]
source = "file:%s"
archive_host = "archivio.alpha.test"
[tls]
certificate = %q
key = %q
[imap]
listen = ["tls:127.0.0.1:%d"]
name = "archivio.alpha.test"
[[archive_host]]
name = "archivio.beta.test"
domains = ["beta.test"]
certificate = %q
key = %q
[[domain]]
name = "alpha.test"
[[domain]]
name = "beta.test"
`, lmtp, path("hook/mail"), path("passwd"), path("alpha.pem"), path("alpha.key"), port, path("beta.pem"), path("beta.key")))
	hook.Enable(t, anna, beta)
	hook.Must(t, "mailbox", "set", anna, "imap=on")
	hook.Must(t, "mailbox", "set", beta, "imap=on")
	if out := string(hook.Must(t, "check")); !strings.Contains(out, "ok    certificate of archivio.beta.test: ") {
		t.Errorf("check:\n%s", out)
	}
	curl := func(host, authority, user string) (string, error) {
		out, err := exec.Command("curl", "-sS", "--cacert", path(authority), "--resolve", fmt.Sprintf("%s:%d:127.0.0.1", host, port), "-u", user+":"+annasPassword,
			fmt.Sprintf("imaps://%s:%d/", host, port)).CombinedOutput()
		return string(out), err
	}
	for _, c := range []struct {
		name, host, authority, user string
		want                        string // in the folders; empty: refused
	}{
		{"an address at the first host", "archivio.alpha.test", "alpha.pem", anna, "Posta inviata"},
		{"an account name", "archivio.alpha.test", "alpha.pem", "anna_alpha.test@archivio.alpha.test", "Posta inviata"},
		{"an account name of a brand", "archivio.beta.test", "beta.pem", "bruno_beta.test@archivio.beta.test", "Posta inviata"},
		{"in capitals", "ARCHIVIO.beta.test", "beta.pem", "Bruno_BETA.test@Archivio.beta.test", "Posta inviata"},
		{"a name at the host of another brand", "archivio.alpha.test", "alpha.pem", "bruno_beta.test@archivio.alpha.test", ""},
		{"the certificate of another brand", "archivio.beta.test", "alpha.pem", beta, ""},
		{"a name without a mailbox", "archivio.beta.test", "beta.pem", "ugo_beta.test@archivio.beta.test", ""},
	} {
		out, err := curl(c.host, c.authority, c.user)
		if (err == nil) != (c.want != "") || !strings.Contains(out, c.want) {
			t.Errorf("%s: %v\n%s", c.name, err, out)
		}
	}
	// The access log knows the address alone.
	if out := string(hook.Must(t, "access", beta)); strings.Contains(out, "archivio") || !strings.Contains(out, beta+" (owner)") {
		t.Errorf("access log:\n%s", out)
	}
}
