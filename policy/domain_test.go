package policy

import (
	"errors"
	"strings"
	"testing"
)

func TestCanonicalDomain(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{ // an empty want means a refusal
		{"ASCII", "alpha.test", "alpha.test"},
		{"case and trailing dot", "Alpha.TEST.", "alpha.test"},
		{"U-label", "città.test", "città.test"},
		{"U-label in upper case", "CITTÀ.test", "città.test"},
		{"A-label", "xn--citt-3na.test", "città.test"},
		{"A-label in upper case", "XN--CITT-3NA.TEST", "città.test"},
		{"some labels of each form", "xn--citt-3na.perché.xn--fiqs8s.test", "città.perché.中国.test"},
		{"A-label, nothing plain in it", "xn--fiqs8s.test", "中国.test"},
		{"A-label of right to left", "xn--4dbcagdahymbxekheh6e0a7fei0b.test", "למההםפשוטלאמדבריםעברית.test"},
		{"A-label of a sign", "xn--i-7iq.test", "i❤.test"},
		{"A-label with a sharp s", "xn--strae-oqa.test", "straße.test"},
		{"underscore in an A-label", "xn--a_b-0oa.test", "āa_b.test"},
		{"address literal", "[IPv6:2001:DB8::1]", "[ipv6:2001:db8::1]"},

		{"cut", "xn--citt-3n.test", "xn--citt-3n.test"},
		{"bad digit", "xn--citt-3_a.test", "xn--citt-3_a.test"},
		{"beyond Unicode", "xn--99999999.test", "xn--99999999.test"},
		{"a surrogate in it", "xn--ib9b.test", "xn--ib9b.test"},
		{"upper case in it", "xn--caff-oka.test", "xn--caff-oka.test"},
		{"a control character in it", "xn--ab-qa.test", "xn--ab-qa.test"},
		{"a blank in it", "xn--ab-1ca.test", "xn--ab-1ca.test"},
		{"only ASCII in it", "xn--abc-.test", "xn--abc-.test"},
		{"nothing in it", "xn--.test", "xn--.test"},
		{"a needless delimiter", "xn---fiqs8s.test", "xn---fiqs8s.test"},
		{"encoded twice", "xn--xn---8oa.test", "xn--xn---8oa.test"},
		{"a good label beside a bad one", "xn--citt-3na.xn--citt-3n.test", "città.xn--citt-3n.test"},

		{"empty", "", ""},
		{"empty label", "a..test", ""},
		{"a blank", "al pha.test", ""},
		{"a blank beyond ASCII", "al\u00a0pha.test", ""},
		{"a wildcard", "*.alpha.test", ""},
		{"invalid UTF-8", "citt\xe0.test", ""},
		{"longest", strings.Repeat("a.", 125) + "atest", strings.Repeat("a.", 125) + "atest"},
		{"too long", strings.Repeat("a.", 126) + "test", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := CanonicalDomain(c.in)
			if got != c.want || (err == nil) != (c.want != "") || err != nil && !errors.Is(err, ErrAddress) {
				t.Fatalf("CanonicalDomain(%q) = %q, %v; want %q", c.in, got, err, c.want)
			}
			if err != nil {
				return
			}
			if again, err := CanonicalDomain(got); err != nil || again != got {
				t.Errorf("CanonicalDomain(%q) = %q, %v; want the same", got, again, err)
			}
		})
	}
}

// TestOneMailboxInTwoForms enables a mailbox under one form of its domain and delivers under the other.
func TestOneMailboxInTwoForms(t *testing.T) {
	const unicode, encoded, canonical = "mario@città.test", "mario@xn--citt-3na.test", "mario@città.test"
	for _, c := range []struct{ name, domain, enabled, rcpt, orcpt string }{
		{"as the daemon has it", "xn--citt-3na.test", encoded, encoded, "rfc822;" + encoded},
		{"enabled as Unicode", "xn--citt-3na.test", unicode, encoded, "rfc822;" + encoded},
		{"delivered as Unicode", "xn--citt-3na.test", encoded, unicode, `utf-8;mario@citt\x{E0}.test`},
		{"rewritten on its way", "xn--citt-3na.test", unicode, unicode, "rfc822;" + encoded},
		{"domain as Unicode", "città.test", encoded, "MARIO@XN--CITT-3NA.test", "rfc822;" + encoded},
		{"with an extension", "città.test", unicode, "mario+x@xn--citt-3na.test", "rfc822;mario+2Bx@xn--citt-3na.test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := Config{Domains: []Domain{{Name: c.domain, RecipientDelimiter: "+", Postmasters: []string{"postmaster@" + c.domain}}}}
			p, _ := openTest(t, config, c.enabled)
			if v, err := p.Wanted(t.Context(), c.rcpt); err != nil || !v.Enabled || v.Mailbox != canonical {
				t.Errorf("Wanted: %+v, %v", v, err)
			}
			v, err := p.Judge(t.Context(), header(received), one(c.rcpt, c.orcpt))
			if err != nil || !v[0].Journal || v[0].Mailbox != canonical || len(v[0].Flags) > 0 {
				t.Errorf("Judge: %+v, %v", v, err)
			}
			if v, err := p.JudgeSent(t.Context(), Origin{}, c.rcpt); err != nil || !v.Journal || v.Mailbox != canonical {
				t.Errorf("JudgeSent: %+v, %v", v, err)
			}
			postmaster := Actor{Role: RolePostmaster, Name: "postmaster@città.test"}
			if err := p.May(postmaster, mustAddress(t, c.enabled), KeyQuota); err != nil {
				t.Errorf("May: %v", err)
			}
		})
	}
}

func TestASCIIDomain(t *testing.T) {
	for in, want := range map[string]string{
		"alpha.test": "alpha.test", "città.test": "xn--citt-3na.test", "xn--citt-3na.test": "xn--citt-3na.test", "[192.0.2.1]": "[192.0.2.1]",
		"[ipv6:2001:db8::7]": "[ipv6:2001:db8::7]", "a_b.test": "a_b.test", "ö.città.test": "xn--nda.xn--citt-3na.test", "": "",
	} {
		if got := ASCIIDomain(in); got != want {
			t.Errorf("ASCIIDomain(%q) = %q, want %q", in, got, want)
		}
		// It is another form of the same domain.
		if in != "" {
			is, err := CanonicalDomain(ASCIIDomain(in))
			was, wasErr := CanonicalDomain(in)
			if is != was || err != nil || wasErr != nil {
				t.Errorf("%q in ASCII is the domain %q, %v; want %q", in, is, err, was)
			}
		}
	}
}
