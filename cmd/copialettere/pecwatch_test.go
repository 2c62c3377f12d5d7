package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"copialettere/journal/httpd"
	"copialettere/policy/pec/pectest"
)

// written is the time at which test files were last modified, long ago. Each replacement is a second later.
var written = time.Date(2026, 11, 1, 6, 0, 0, 0, time.UTC)

// replace replaces a file as operators are told to: it writes beside it, then renames.
func replace(t *testing.T, path, text string, modified time.Time) {
	t.Helper()
	overwrite(t, path+".new", text, modified)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// overwrite writes a file in place.
func overwrite(t *testing.T, path, text string, modified time.Time) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, modified, modified); err != nil {
		t.Fatal(err)
	}
}

// TestPECFilesUnderTheDaemon replaces the files of [pec] under a daemon that takes mail: the next message is judged by the new ones.
func TestPECFilesUnderTheDaemon(t *testing.T) {
	office, c := chain(t)
	p, spec := sentPlace(t)
	domains, index, bundle := filepath.Join(p.dir, "domains"), filepath.Join(p.dir, "igpec.ldif"), filepath.Join(p.dir, "bundle.pem")
	p.configure(fmt.Sprintf("[pec]\ntrust = \"signature\"\ndomains_file = %q\nprovider_index = %q\ntrust_bundle = %q\n", domains, index, bundle))
	overwrite(t, domains, "list.test\n", written)
	overwrite(t, index, string(pectest.IndexLDIF(office.Sender)), written)
	overwrite(t, bundle, string(office.Authority.PEM()), written)
	k, log := keeperOf(t, p)
	if err := k.start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := k.stop(); err != nil {
			t.Error(err)
		}
	}()
	p.must("mailbox", "enable", anna)
	number := 0
	// judged sends a message to bruno@beta.test, and takes in a receipt that the provider of beta.test has signed.
	judged := func() string {
		number++
		p.send(spec, anna, []string{"bruno@beta.test"}, fmt.Appendf(nil, "Subject: sent %d\r\n\r\nText\r\n", number))
		p.deliver(fmt.Sprintf("Received: by mx.alpha.test id %d\r\n%s", number, c.Deliveries[0].Message), anna, anna)
		var sent, received httpd.EntryView
		for _, e := range p.entries(anna) {
			if e.Direction == "sent" && e.Subject == fmt.Sprint("sent ", number) {
				sent = e
			} else if e.Direction == "received" && e.UID > received.UID {
				received = e
			}
		}
		return fmt.Sprintf("sent to %s, receipt %s %s", sent.SentTo, received.Signature, received.Class)
	}
	for n, step := range []struct {
		name, path, text, want string
		logged                 string // "" where nothing
	}{
		{"at the start", "", "", "sent to unknown, receipt untrusted ordinary", ""},
		{"the provider comes into the index", index, string(pectest.IndexLDIF(office.Providers()...)),
			"sent to certified, receipt verified avvenuta-consegna", "igpec.ldif, 3 providers, 6 domains"},
		{"the index is broken", index, "<html>503 Service Unavailable</html>", "sent to certified, receipt verified avvenuta-consegna",
			"level=ERROR"},
		{"the domain comes into the list", domains, "list.test\n!beta.test\n", "sent to other, receipt verified avvenuta-consegna",
			"domains, 2 domains, 1 of them certified"},
		{"the list is broken", domains, "<html>\n", "sent to other, receipt verified avvenuta-consegna", "level=ERROR"},
		{"the domain leaves the list, in ASCII and Unicode", domains, "xn--citt-3na.test\ncittà.test\n",
			"sent to certified, receipt verified avvenuta-consegna", "domains, 1 domains, 1 of them certified"},
		{"another authority", bundle, string(pectest.NewRogue().PEM()), "sent to certified, receipt untrusted ordinary", "bundle.pem, 1 certificates"},
		{"the provider leaves the index", index, string(pectest.IndexLDIF(office.Sender)), "sent to unknown, receipt untrusted ordinary",
			"igpec.ldif, 1 providers, 2 domains"},
	} {
		before := len(log.String())
		if step.path != "" {
			replace(t, step.path, step.text, written.Add(time.Duration(n)*time.Hour))
		}
		k.house.Keep(t.Context(), time.Now())
		k.house.Keep(t.Context(), time.Now())
		said := log.String()[before:]
		if n := strings.Count(said, "file of [pec]"); (n == 1) != (step.logged != "") || !strings.Contains(said, step.logged) {
			t.Errorf("%s: %d lines, want %q:\n%s", step.name, n, step.logged, said)
		}
		if got := judged(); got != step.want {
			t.Errorf("%s: %s, want %s", step.name, got, step.want)
		}
	}
	p.must("verify")
}
