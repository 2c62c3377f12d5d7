package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// accountConfig has two brands, and a domain with an underscore.
func accountConfig() Config {
	return Config{ArchiveHost: "Archivio.alpha.test", Domains: []Domain{
		{Name: "alpha.test"}, {Name: "c.test"}, {Name: "b_c.test"}, {Name: "xn--citt-3na.test"},
		{Name: "beta.test", ArchiveHost: "archivio.beta.test"},
	}}
}

// TestAccountMailboxes resolves names at archive hosts. The mailboxes without an archive are not set up.
func TestAccountMailboxes(t *testing.T) {
	p, _ := openTest(t, accountConfig(), "mario@alpha.test", "mario_rossi@alpha.test", "a_b@c.test", "a@b_c.test", "d@b_c.test", `"e f"@alpha.test`,
		"anna@città.test", "mario@beta.test")
	for _, c := range []struct {
		name, account string
		want          []string
	}{
		{"plain address", "mario@alpha.test", []string{"mario@alpha.test"}},
		{"plain address of a domain that is not configured", "mario@gamma.test", []string{"mario@gamma.test"}},
		{"account", "mario_alpha.test@archivio.alpha.test", []string{"mario@alpha.test"}},
		{"capitals", "Mario_Alpha.test@ARCHIVIO.alpha.test", []string{"mario@alpha.test"}},
		{"underscore in the local part", "mario_rossi_alpha.test@archivio.alpha.test", []string{"mario_rossi@alpha.test"}},
		{"no archive", "nessuno_alpha.test@archivio.alpha.test", []string{"nessuno@alpha.test"}},
		{"shared by two", "a_b_c.test@archivio.alpha.test", []string{"a@b_c.test", "a_b@c.test"}},
		{"one of two has an archive", "d_b_c.test@archivio.alpha.test", []string{"d@b_c.test"}},
		{"none of two has an archive", "g_b_c.test@archivio.alpha.test", []string{"g@b_c.test", "g_b@c.test"}},
		{"quoted", `"e f_alpha.test"@archivio.alpha.test`, []string{`"e f"@alpha.test`}},
		{"domain in Unicode", "anna_città.test@archivio.alpha.test", []string{"anna@città.test"}},
		{"domain in ASCII", "anna_xn--citt-3na.test@archivio.alpha.test", []string{"anna@città.test"}},
		{"another brand", "mario_beta.test@archivio.beta.test", []string{"mario@beta.test"}},
		{"at the host of another brand", "mario_alpha.test@archivio.beta.test", nil},
		{"at the host that other domains have", "mario_beta.test@archivio.alpha.test", nil},
		{"no underscore", "mario@archivio.alpha.test", nil},
		{"no domain", "mario_@archivio.alpha.test", nil},
		{"no local part", "_alpha.test@archivio.alpha.test", nil},
		{"domain that is not configured", "mario_gamma.test@archivio.alpha.test", nil},
		{"many underscores", strings.Repeat("_", 900) + "@archivio.alpha.test", nil},
	} {
		got, err := p.AccountMailboxes(t.Context(), mustAddress(t, c.account))
		var want []Address
		for _, a := range c.want {
			want = append(want, mustAddress(t, a))
		}
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, %v, want %v", c.name, got, err, want)
		}
	}
}

// TestArchiveAccount makes the names, and resolves them again.
func TestArchiveAccount(t *testing.T) {
	p, _ := openTest(t, accountConfig(), "anna@città.test", "mario@beta.test", `"e f"@alpha.test`)
	for mailbox, want := range map[string]string{
		"anna@città.test": "anna_xn--citt-3na.test@archivio.alpha.test", "mario@beta.test": "mario_beta.test@archivio.beta.test",
		`"e f"@alpha.test`: `"e f_alpha.test"@archivio.alpha.test`, "mario@gamma.test": "",
	} {
		a := mustAddress(t, mailbox)
		name, ok := p.ArchiveAccount(a)
		if ok != (want != "") || ok && name.String() != want {
			t.Errorf("%s: %s, %v, want %q", mailbox, name, ok, want)
		}
		if !ok {
			continue
		}
		if back, err := p.AccountMailboxes(t.Context(), mustAddress(t, name.String())); err != nil || len(back) != 1 || back[0] != a {
			t.Errorf("%s leads to %v, %v", name, back, err)
		}
	}
	if !p.IsArchiveHost("archivio.beta.test") || p.IsArchiveHost("beta.test") || p.ArchiveHost("gamma.test") != "" {
		t.Error("hosts")
	}
	for _, bad := range []Config{
		{ArchiveHost: "alpha.test", Domains: []Domain{{Name: "Alpha.test"}}},
		{Domains: []Domain{{Name: "alpha.test", ArchiveHost: "a..test"}}},
		{Domains: []Domain{{Name: "alpha.test", ArchiveHost: "[127.0.0.1]"}}},
	} {
		if err := bad.Validate(); err == nil || !strings.Contains(err.Error(), "archive host") {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// TestAccountReads counts what a name costs, among many mailboxes: one read for each place where a domain may begin.
func TestAccountReads(t *testing.T) {
	var enabled []string
	for i := range 300 {
		enabled = append(enabled, fmt.Sprintf("m%d_b@c.test", i))
	}
	p, store := openTest(t, accountConfig(), enabled...)
	for account, most := range map[string]int{"m7_b_c.test@archivio.alpha.test": 4, "m7_d@archivio.alpha.test": 0} {
		store.gets = 0
		if _, err := p.AccountMailboxes(t.Context(), mustAddress(t, account)); err != nil || store.gets > most {
			t.Errorf("%s: %d reads, %v", account, store.gets, err)
		}
	}
	store.fail = errors.New("broken")
	if _, err := p.AccountMailboxes(t.Context(), mustAddress(t, "m7_b_c.test@archivio.alpha.test")); !errors.Is(err, store.fail) {
		t.Errorf("a broken store: %v", err)
	}
}
