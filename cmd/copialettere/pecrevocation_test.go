package main

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"copialettere/policy/pec/pectest"
)

// TestRevokedUnderTheDaemon: a receipt of a provider whose certificate was revoked is not believed, and one without a list in force says so.
func TestRevokedUnderTheDaemon(t *testing.T) {
	office, c := chain(t)
	p := pecPlace(t, "signature", office.Authority.PEM())
	folder := filepath.Join(p.dir, "crl")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	p.configure(fmt.Sprintf("crl_folder = %q\n", folder))
	pectest.Overwrite(t, filepath.Join(folder, "ca.crl"), string(office.Authority.RevocationList(pectest.Written, time.Now().Add(time.Hour), nil,
		x509.RevocationListEntry{SerialNumber: office.Sender.Identity.Certificate.SerialNumber, RevocationTime: pectest.Written})), pectest.Written)
	stop := p.daemon()
	p.must("mailbox", "enable", anna)
	p.deliver(string(c.Acceptance), anna, anna)
	p.deliver(string(c.Deliveries[0].Message), anna, anna)
	stop()
	pectest.Overwrite(t, filepath.Join(folder, "ca.crl"), string(office.Authority.RevocationList(pectest.Written, time.Now().Add(-time.Hour), nil)), pectest.Written)
	if out := p.must("check"); !strings.Contains(out, "it expired on") || !strings.Contains(out, "1 revocation lists") {
		t.Errorf("check: %s", out)
	}
	stop = p.daemon()
	p.deliver(string(c.Deliveries[1].Message), anna, anna)
	stop()
	var got []string
	for _, e := range p.entries(anna) {
		got = append(got, fmt.Sprintf("%s %s %s %t", e.Class, e.Signature, e.Certification.Revocation, e.Certification.RevocationReason != ""))
	}
	want := "ordinary untrusted revoked true\navvenuta-consegna verified good false\navvenuta-consegna verified unknown true"
	if strings.Join(got, "\n") != want {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
}

// TestOldAuthorityUnderTheDaemon: sha1_chains decides whether signatures with SHA-1 certificates in their chain count.
func TestOldAuthorityUnderTheDaemon(t *testing.T) {
	office, _ := chain(t)
	office.Authority.SHA1 = true
	office.Sender.Identity = office.Authority.Issue(office.Sender.Address(), office.Sender.Name, office.Sender.Identity.Key, nil)
	c := office.Send(pectest.Mail{From: anna, To: []string{"bruno@beta.test"}, Subject: "Vecchia", Text: "Testo\n"}, "")
	for value, want := range map[string]string{"untrusted": "ordinary untrusted", "weak": "accettazione weak"} {
		p := pecPlace(t, "signature", office.Authority.PEM())
		p.configure(fmt.Sprintf("sha1_chains = %q\n", value))
		stop := p.daemon()
		p.must("mailbox", "enable", anna)
		p.deliver(string(c.Acceptance), anna, anna)
		stop()
		list := p.entries(anna)
		if len(list) != 1 || list[0].Class+" "+list[0].Signature != want || list[0].Certification.SignatureReason == "" {
			t.Errorf("%s: %+v", value, list)
		}
	}
}
