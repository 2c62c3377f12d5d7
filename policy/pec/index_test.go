package pec_test

import (
	"bytes"
	"crypto"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"copialettere/policy/pec"
	"copialettere/policy/pec/pectest"
)

func TestParseIndex(t *testing.T) {
	o := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("aruba"))
	ldif := pectest.IndexLDIF(o.Providers()...)
	seal := pectest.CMS{Identity: o.Sender.Identity, Digest: crypto.SHA256, Time: pectest.Start, Enclose: true}
	sealed := seal.Sign(ldif)
	hash := fmt.Sprintf("%x", sha1.Sum(o.Receivers[0].Identity.Certificate.Raw))
	for name, text := range map[string][]byte{
		"LDIF":            ldif,
		"byte-order mark": append([]byte("\xef\xbb\xbf"), ldif...),
		"of ldapsearch": slices.Concat([]byte("# extended LDIF\n#\n# LDAPv3\n# base <o=postacert> with scope subtree\n#\n\n"), ldif,
			[]byte("\n# search reference\nref: ldap://ext.test/o=postacert??sub\n\n# search result\nsearch: 2\nresult: 0 Success\n"+
				"control: 1.2.840.113556.1.4.319 false MAUCAQAEAA==\n\n# numResponses: 3\n# numEntries: 2\n")),
		"CRLF":          bytes.ReplaceAll(ldif, []byte("\n"), []byte("\r\n")),
		"no last line":  bytes.TrimRight(ldif, "\n"),
		"PKCS #7":       sealed,
		"streamed BER":  streamed(sealed, 0),
		"only hashes":   withoutValue(ldif, "providerCertificate;binary::"),
		"other options": bytes.ReplaceAll(ldif, []byte("managedDomains:"), []byte("MANAGEDDOMAINS;x-test:")),
	} {
		t.Run(name, func(t *testing.T) {
			x, err := pec.ParseIndex(bytes.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			if providers, domains := x.Len(); providers != 3 || domains != 6 {
				t.Errorf("%d providers, %d domains", providers, domains)
			}
			for domain, want := range map[string]bool{"beta.test": true, "BETA.test.": true, "altro.gamma.test": true, "ext.test": false,
				"x.beta.test": false, "": false} {
				if got := x.Certified(domain); got != want {
					t.Errorf("%q is certified: %v", domain, got)
				}
			}
			want := []pec.Provider{{Name: "Beta certificata", Mailbox: "ricevute@beta.test"}}
			for _, h := range []string{hash, strings.ToUpper(hash), strings.ToUpper(hash[:2]) + ":" + hash[2:]} {
				if got := x.Providers(h); !reflect.DeepEqual(got, want) {
					t.Errorf("%s: %+v", h, got)
				}
			}
			if got := x.Providers(strings.Repeat("0", 40)); got != nil {
				t.Errorf("unknown certificate: %+v", got)
			}
		})
	}
	changed := bytes.Replace(sealed, []byte("managedDomains: beta.test"), []byte("managedDomains: beta.tess"), 1)
	if _, err := pec.ParseIndex(bytes.NewReader(changed)); err == nil || !strings.Contains(err.Error(), "changed after it was signed") {
		t.Errorf("changed content: %v", err)
	}
	seal.Enclose = false
	if _, err := pec.ParseIndex(bytes.NewReader(seal.Sign(ldif))); err == nil || !strings.Contains(err.Error(), "nothing is enclosed") {
		t.Errorf("detached: %v", err)
	}
	if x := (*pec.Index)(nil); x.Certified("beta.test") || x.Providers(hash) != nil {
		t.Error("a nil index knows something")
	}
}

// withoutValue removes an attribute and its continuation lines.
func withoutValue(text []byte, name string) []byte {
	var out [][]byte
	skipping := false
	for line := range bytes.SplitSeq(text, []byte("\n")) {
		skipping = bytes.HasPrefix(line, []byte(name)) || skipping && bytes.HasPrefix(line, []byte(" "))
		if !skipping {
			out = append(out, line)
		}
	}
	return bytes.Join(out, []byte("\n"))
}

func TestParseIndexForms(t *testing.T) {
	hash := strings.Repeat("ab", 20)
	provider := "dn: providerName=A,o=postacert\nproviderName: A\nproviderCertificateHash: " + hash + "\nmanagedDomains: alpha.test\n"
	large := "dn: x\n" + strings.Repeat("a: "+strings.Repeat("x", 1<<20-len("a: \n"))+"\n", 8) // 3 bytes less than the limit of a record
	tests := []struct {
		name, text string
		err        string // part of the error, "" for none
	}{
		{"one record", provider, ""},
		{"base64", "dn:: " + base64.StdEncoding.EncodeToString([]byte("providerName=A")) +
			"\nproviderName:: QQ==\nproviderCertificateHash:" + hash +
			"\nmanagedDomains::   YWxwaGEudGVzdA==\n", ""},
		{"folded in a word", strings.Replace(provider, "alpha.test", "al\n pha.test", 1), ""},
		{"folded comment", "# a\n b\n" + provider, ""},
		{"changetype add", strings.Replace(provider, "\n", "\nchangetype: add\n", 1), ""},
		{"by URL", strings.Replace(provider, "\n", "\nmanagedDomains:< https://index.ext.test/domains\nproviderName:< file:///etc/passwd\n",
			1), ""},
		{"search not done", provider + "\n# search result\nsearch: 2\nresult: 4 Size limit exceeded\n", "line 8: the search ended with \"4 Size limit exceeded\""},
		{"changetype delete", "dn: x\nchangetype: delete\n\n" + provider, "record of changes"},
		{"empty", "", "no provider"},
		{"only the base", "dn: o=postacert\no: postacert\n", "no provider"},
		{"no dn", "providerName: A\n", "line 1: a record begins with dn"},
		{"no colon", "dn: x\nproviderName\n", "line 2: not an attribute"},
		{"wrong base64", "dn: x\nproviderName:: %%%\n", `line 2: value of "providername"`},
		{"longest line", "dn: " + strings.Repeat("x", 1<<20-len("dn: ")), "no provider"},
		{"long line", "dn: " + strings.Repeat("x", 1<<20-len("dn: ")+1), "over 1048576 bytes"},
		{"longest continuation", "dn: x\n " + strings.Repeat("x", 1<<19) + "\n " + strings.Repeat("x", 1<<19-len("dn: x")) + "\n", "no provider"},
		{"long continuation", "dn: x\n " + strings.Repeat("x", 1<<19) + "\n " + strings.Repeat("x", 1<<19-len("dn: x")+1) + "\n", "with its continuations"},
		{"longest record", large + "a:x\n", "no provider"},
		{"long record", large + "a:xx\n", "a record of over"},
		{"broken PKCS #7", "0\x80\x06", "PKCS #7"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			x, err := pec.ParseIndex(strings.NewReader(test.text))
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("error %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if list := x.Providers(hash); len(list) != 1 || list[0].Name != "A" || !x.Certified("alpha.test") {
				t.Errorf("providers %+v", list)
			}
		})
	}
}

// TestDomainForms has a provider's domain in Unicode and in ASCII, in the index and in a message. The certificate has it in ASCII.
func TestDomainForms(t *testing.T) {
	const unicode, ascii = "città.test", "xn--citt-3na.test"
	o := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("aruba"))
	o.Sender.Domain = ascii
	o.Sender.Identity = o.Authority.Issue(o.Sender.Address(), "CITTÀ PEC", o.Sender.Identity.Key, nil)
	ldif := pectest.IndexLDIF(o.Sender)
	plain := []byte("managedDomains: " + ascii)
	coded := func(domain string) []byte {
		return []byte("managedDomains:: " + base64.StdEncoding.EncodeToString([]byte(domain)))
	}
	for name, text := range map[string][]byte{
		"ASCII":             ldif,
		"ASCII, upper case": bytes.Replace(ldif, plain, []byte("managedDomains: XN--CITT-3NA.Test."), 1),
		"Unicode":           bytes.Replace(ldif, plain, coded(unicode), 1),
		"Unicode, raw":      bytes.Replace(ldif, plain, []byte("managedDomains: "+unicode), 1),
		"upper case":        bytes.Replace(ldif, plain, coded("CITTÀ.test"), 1),
	} {
		t.Run(name, func(t *testing.T) {
			x, err := pec.ParseIndex(bytes.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			for domain, want := range map[string]bool{unicode: true, ascii: true, "CITTÀ.TEST": true, "citta.test": false, "xn--citt-3n.test": false} {
				if got := x.Certified(domain); got != want {
					t.Errorf("%s is certified: %v", domain, got)
				}
			}
			for _, from := range []string{ascii, unicode} {
				c := o.Send(letter(), "")
				message := c.Notice(pectest.Notice{Class: pec.PostaCertificata, Variation: pectest.Variation{Header: func(fields []string) []string {
					for i, f := range fields {
						if strings.HasPrefix(f, "From:") {
							fields[i] = strings.ReplaceAll(f, ascii, from)
						}
					}
					return fields
				}}})
				if !strings.Contains(string(message), "posta-certificata@"+from) {
					t.Fatalf("the message is not from %s", from)
				}
				if s := verify(t, pec.NewVerifier(verifierBundle(o), x), message); s.Result != pec.ResultVerified {
					t.Errorf("from %s: %s: %s", from, s.Result, s.Reason)
				}
			}
		})
	}
	odd := bytes.Replace(ldif, plain, []byte("managedDomains: xn--citt-3n.test\nmanagedDomains: *.Wild.test"), 1)
	x, err := pec.ParseIndex(bytes.NewReader(odd))
	if err != nil {
		t.Fatalf("odd domains: %v", err)
	}
	for domain, want := range map[string]bool{"xn--citt-3n.test": true, "*.wild.test": true, "a.wild.test": false, unicode: false, "altro.città.test": true} {
		if got := x.Certified(domain); got != want {
			t.Errorf("odd domains: %s is certified: %v", domain, got)
		}
	}
}

// endless is a file that never ends.
type endless struct {
	line string
	at   int // in the line
}

func (e *endless) Read(p []byte) (int, error) {
	for n := 0; n < len(p); {
		k := copy(p[n:], e.line[e.at:])
		n += k
		e.at = (e.at + k) % len(e.line)
	}
	return len(p), nil
}

func TestIndexIsBounded(t *testing.T) {
	if _, err := pec.ParseIndex(&endless{line: "# nothing but a comment of some length, over and over\n\n"}); err == nil || !strings.Contains(err.Error(), "over 67108864 bytes") {
		t.Errorf("error %v", err)
	}
}

func FuzzParseIndex(f *testing.F) {
	o := pectest.NewOffice(pectest.ShapeOf("aruba"), pectest.ShapeOf("aruba"))
	ldif := pectest.IndexLDIF(o.Sender)
	f.Add(ldif)
	f.Add(pectest.CMS{Identity: o.Sender.Identity, Digest: crypto.SHA1, Time: pectest.Start, Enclose: true}.Sign(ldif))
	f.Add([]byte("version: 1\r\n\r\ndn:x\r\n y\r\na;b:: QQ==\r\nc:< file:///\r\n"))
	f.Add([]byte("0\x80"))
	f.Fuzz(func(t *testing.T, text []byte) {
		x, err := pec.ParseIndex(bytes.NewReader(text))
		if (x == nil) != (err != nil) {
			t.Fatalf("%v, %v", x, err)
		}
		if x != nil {
			if providers, _ := x.Len(); providers == 0 {
				t.Error("an index without providers")
			}
		}
	})
}
