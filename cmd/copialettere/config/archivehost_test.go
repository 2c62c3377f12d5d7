package config

import (
	"reflect"
	"testing"
)

// TestArchiveHost gives the archive host of each domain: its own, that of [auth], or none.
func TestArchiveHost(t *testing.T) {
	const domains = "[[domain]]\nname = \"alpha.test\"\n[[domain]]\nname = \"beta.test\"\n[[domain]]\nname = \"gamma.test\"\n[auth]\nsource = \"file:/p\"\n"
	const brands = "[tls]\ncertificate = \"/c\"\nkey = \"/k\"\n[imap]\nlisten = [\"tls:0.0.0.0:993\"]\nname = \"imap.example.org\"\n" +
		"[[archive_host]]\nname = \"Archivio.beta.test\"\ndomains = [\"Beta.test\"]\n" +
		"[[archive_host]]\nname = \"archivio.gamma.test\"\ndomains = [\"gamma.test\"]\nimap = \"i.gamma.test\"\nsubmission = \"s.gamma.test\"\ncertificate = \"/g\"\nkey = \"/h\"\n"
	beta := ArchiveHost{"archivio.beta.test", []string{"beta.test"}, "archivio.beta.test", "archivio.beta.test", "", ""}
	gamma := ArchiveHost{"archivio.gamma.test", []string{"gamma.test"}, "i.gamma.test", "s.gamma.test", "/g", "/h"}
	for _, c := range []struct {
		name, text, domain string
		want               ArchiveHost
		ok                 bool
	}{
		{"none", domains, "alpha.test", ArchiveHost{}, false},
		{"that of all", domains + "archive_host = \"Archivio.example.org\"\n", "alpha.test", ArchiveHost{Name: "archivio.example.org", IMAP: "archivio.example.org", Submission: "archivio.example.org"}, true},
		{"that of all, where the server has a name", domains + "archive_host = \"archivio.example.org\"\n" + brands, "alpha.test",
			ArchiveHost{Name: "archivio.example.org", IMAP: "imap.example.org", Submission: "imap.example.org"}, true},
		{"a brand", domains + brands, "beta.test", beta, true},
		{"a brand with all keys", domains + "archive_host = \"archivio.example.org\"\n" + brands, "gamma.test", gamma, true},
		{"no brand", domains + brands, "alpha.test", ArchiveHost{}, false},
	} {
		c.text = minimal + c.text
		if got, ok := mustParse(t, c.text).ArchiveHost(c.domain); ok != c.ok || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %+v, %v, want %+v", c.name, got, ok, c.want)
		}
	}
}

// TestArchiveHostReloaded takes another archive host of [auth] into a running daemon. A brand needs a restart: it has listeners' certificates.
func TestArchiveHostReloaded(t *testing.T) {
	const text = minimal + "[[domain]]\nname = \"alpha.test\"\n[auth]\nsource = \"file:/p\"\n"
	running := mustParse(t, text)
	next, changes := running.Reloaded(mustParse(t, text+"archive_host = \"archivio.example.org\"\n[[archive_host]]\nname = \"archivio.alpha.test\"\ndomains = [\"alpha.test\"]\n"))
	if want := []Change{{"auth.archive_host", false}, {"archive_host", true}}; !reflect.DeepEqual(changes, want) {
		t.Errorf("changes %+v, want %+v", changes, want)
	}
	if h, ok := next.ArchiveHost("alpha.test"); !ok || h.Name != "archivio.example.org" || running.Auth.ArchiveHost != "" {
		t.Errorf("in force is %+v, %v; before, %+v", h, ok, running.Auth)
	}
}
