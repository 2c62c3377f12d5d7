package policy

import (
	"errors"
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"plain", "anna@alpha.test", "anna@alpha.test"},
		{"brackets", "<anna@alpha.test>", "anna@alpha.test"},
		{"case", "ANNA@Alpha.TEST", "anna@alpha.test"},
		{"case beyond ASCII", "ÀNNA@Caffè.TEST", "ànna@caffè.test"},
		{"extension stays", "Anna+Tag@alpha.test", "anna+tag@alpha.test"},
		{"needless quotes", `"anna"@alpha.test`, "anna@alpha.test"},
		{"needless backslash", `"an\na"@alpha.test`, "anna@alpha.test"},
		{"quotes with a space", `"an na"@alpha.test`, `"an na"@alpha.test`},
		{"quotes with specials", `"a\"b\\c@d"@alpha.test`, `"a\"b\\c@d"@alpha.test`},
		{"dots at odd places", "anna..b.@alpha.test", `"anna..b."@alpha.test`},
		{"trailing dot", "anna@alpha.test.", "anna@alpha.test"},
		{"source route", "@r.test,@s.test:anna@alpha.test", "anna@alpha.test"},
		{"address literal", "anna@[IPv6:2001:DB8::1]", "anna@[ipv6:2001:db8::1]"},
		{"underscore in a label", "anna@my_host.test", "anna@my_host.test"},
		{"encoded domain", "anna@Mail.XN--Caff-8oa.test", "anna@mail.caffè.test"},
		{"encoded domain, nothing plain in it", "anna@xn--fiqs8s.test", "anna@中国.test"},
		{"encoded domain, badly", "anna@xn--caff-8o.test", "anna@xn--caff-8o.test"},
		{"encoded domain, upper case in it", "anna@xn--caff-oka.test", "anna@xn--caff-oka.test"},
		{"encoded domain, nothing in it", "anna@xn--.test", "anna@xn--.test"},
		{"encoded domain, only ASCII in it", "anna@xn--abc-.test", "anna@xn--abc-.test"},
		{"postmaster", "<Postmaster>", "postmaster"},
		{"routing in the local part", "anna%alpha.test@mx.test", "anna%alpha.test@mx.test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := ParseAddress(c.in)
			if err != nil || a.String() != c.want {
				t.Fatalf("ParseAddress(%q) = %v, %v; want %s", c.in, a, err, c.want)
			}
			if again, err := ParseAddress(a.String()); err != nil || again != a {
				t.Errorf("ParseAddress(%q) = %#v, %v; want %#v", a, again, err, a)
			}
		})
	}
}

// TestParseAddressLongest parses addresses and domains of exactly the greatest length.
func TestParseAddressLongest(t *testing.T) {
	for _, c := range []struct{ name, in string }{
		{"address", strings.Repeat("a", maxAddress-len("@alpha.test")) + "@alpha.test"},
		{"domain", "anna@" + strings.Repeat("a.", 125) + "atest"},
		{"address, in lower case", strings.Repeat("Ⱥ", 337) + "aa@alpha.test"},
		{"domain, in lower case", "anna@" + strings.Repeat("Ⱥ.", 62) + "abctest"},
	} {
		if _, err := ParseAddress(c.in); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestParseAddressRefuses(t *testing.T) {
	for _, c := range []struct{ name, in string }{
		{"empty", ""}, {"null path", "<>"}, {"no domain", "anna"}, {"empty domain", "anna@"}, {"no local part", "@alpha.test"},
		{"empty quotes", `""@alpha.test`}, {"open quotes", `"anna@alpha.test`}, {"open backslash", `"anna\`},
		{"text behind quotes", `"anna"x@alpha.test`}, {"comment", "anna(x)@alpha.test"}, {"spaces", " anna @ alpha.test "},
		{"two at signs", "anna@alpha.test@beta.test"}, {"NUL", "an\x00na@alpha.test"}, {"quoted NUL", "\"an\\\x00na\"@alpha.test"},
		{"line feed", "\"a\nb\"@alpha.test"}, {"C1 control", "\"a\u0085b\"@alpha.test"}, {"invalid UTF-8", "\xc3@alpha.test"},
		{"empty label", "anna@alpha..test"}, {"only a dot", "anna@."}, {"bad literal", "anna@[1.2.3.4"}, {"colon in domain", "anna@alpha:25"},
		{"long", strings.Repeat("a", maxAddress+1-len("@alpha.test")) + "@alpha.test"},
		{"long domain", "anna@" + strings.Repeat("a.", 126) + "test"},
		{"longer in lower case", strings.Repeat("Ⱥ", 338) + "@alpha.test"},
		{"domain longer in lower case", "anna@" + strings.Repeat("Ⱥ.", 63) + "test"},
		{"display name", "Anna <anna@alpha.test>"}, {"route without an end", "@r.test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if a, err := ParseAddress(c.in); !errors.Is(err, ErrAddress) {
				t.Fatalf("ParseAddress(%q) = %v, %v; want ErrAddress", c.in, a, err)
			}
		})
	}
}

func TestParseORCPT(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{ // an empty want means unknown
		{"plain", "rfc822;anna@alpha.test", "anna@alpha.test"},
		{"type in another case", "RFC822;anna@alpha.test", "anna@alpha.test"},
		{"xtext plus", "rfc822;anna+2Btag@alpha.test", "anna+tag@alpha.test"},
		{"xtext in lower case", "rfc822;anna+2btag@alpha.test", "anna+tag@alpha.test"},
		{"quotes", `rfc822;"anna"@alpha.test`, "anna@alpha.test"},
		{"SMTPUTF8 as Postfix sends it", "rfc822;+C3+BCnna@alpha.test", "ünna@alpha.test"},
		{"utf-8 with code points", `utf-8;\x{FC}nna@alpha.test`, "ünna@alpha.test"},
		{"utf-8 raw", "UTF-8;ünna@alpha.test", "ünna@alpha.test"},
		{"route as the sender typed it", "rfc822;@r.test:anna@alpha.test", "anna@alpha.test"},
		{"none", "", ""},
		{"no type", "anna@alpha.test", ""},
		{"x400", "x400;abc", ""},
		{"line feed", "rfc822;a+0Ab@alpha.test", ""},
		{"no address", "rfc822;a+0Ab", ""},
		{"cut xtext", "rfc822;anna@alpha.test+2", ""},
		{"plus without digits", "rfc822;anna+tag@alpha.test", ""},
		{"sign for a digit", "rfc822;anna++1@alpha.test", ""},
		{"equals sign", "rfc822;a=b@alpha.test", ""},
		{"space", "rfc822;a b@alpha.test", ""},
		{"cut UTF-8", "rfc822;+C3nna@alpha.test", ""},
		{"surrogate", `utf-8;\x{D800}nna@alpha.test`, ""},
		{"beyond Unicode", `utf-8;\x{110000}nna@alpha.test`, ""},
		{"backslash alone", `utf-8;\anna@alpha.test`, ""},
		{"code point without an end", `utf-8;\x{41`, ""},
		{"longest", "rfc822;" + strings.Repeat("+41", maxAddress-len("@alpha.test")) + "@alpha.test", strings.Repeat("a", maxAddress-len("@alpha.test")) + "@alpha.test"},
		{"long", "rfc822;" + strings.Repeat("+41", maxAddress-len("@alpha.test")+1) + "@alpha.test", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := ParseORCPT(c.in)
			switch {
			case c.want == "" && !errors.Is(err, ErrAddress):
				t.Fatalf("ParseORCPT(%q) = %v, %v; want ErrAddress", c.in, a, err)
			case c.want != "" && (err != nil || a.String() != c.want):
				t.Fatalf("ParseORCPT(%q) = %v, %v; want %s", c.in, a, err, c.want)
			}
		})
	}
}

func TestWithoutExtension(t *testing.T) {
	for _, c := range []struct{ name, local, delimiters, want string }{ // an empty want means no extension
		{"tag", "anna+tag", "+", "anna"},
		{"empty tag", "anna+", "+", "anna"},
		{"first delimiter divides", "anna+a-b+c", "-+", "anna"},
		{"none there", "anna", "+", ""},
		{"no delimiters", "anna+tag", "", ""},
		{"another delimiter", "anna+tag", "-", ""},
		{"nothing before it", "+tag", "+", ""},
		{"several delimiters", "anna-tag", "+-", "anna"},
		{"postmaster", "postmaster", "m", ""},
		{"list owner", "owner-list", "-", ""},
		{"list request", "list-request", "-", ""},
		{"owner with a tag", "owner+tag", "+", "owner"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := Address{Local: c.local, Domain: "alpha.test"}
			got, ok := a.WithoutExtension(c.delimiters)
			want := Address{Local: c.want, Domain: "alpha.test"}
			if c.want == "" {
				want = a
			}
			if ok != (c.want != "") || got != want {
				t.Errorf("WithoutExtension(%q) = %v, %v; want %v", c.delimiters, got, ok, want)
			}
		})
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"anna@alpha.test", `"a\"b"@x.test.`, "<postmaster>", "@a,@b:c@d", "ÀNNA@CAFFÈ.test", "a..b@[IPv6:::1]", "\xff@\x00",
		"rfc822;anna+2Btag@alpha.test", `utf-8;\x{FC}@a.test`, "x400;abc", "a@xn--caff-8oa.test"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, parse := range []func(string) (Address, error){ParseAddress, ParseORCPT} {
			a, err := parse(s)
			if err != nil {
				if !errors.Is(err, ErrAddress) || a != (Address{}) {
					t.Fatalf("%q: %#v, %v", s, a, err)
				}
				continue
			}
			if strings.ContainsAny(a.String(), "\x00\r\n") || a.Local == "" || a.Domain == "" && a.Local != "postmaster" {
				t.Fatalf("%q became %q", s, a)
			}
			if again, err := ParseAddress(a.String()); err != nil || again != a {
				t.Fatalf("%q became %q, and that %#v, %v", s, a, again, err)
			}
		}
	})
}
