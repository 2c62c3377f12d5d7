package part

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestFields(t *testing.T) {
	tests := []struct {
		name, header string
		want         []string // name=value, or the value alone for junk
	}{
		{"empty", "", nil},
		{"only a blank line", "\r\nA: b\r\n", nil},
		{"usual", "A: b\r\nC:d\r\n\r\nE: body\r\n", []string{"A= b", "C=d"}},
		{"folds are kept", "A: b\r\n c\r\n\td\r\nE: f", []string{"A= b\r\n c\r\n\td", "E= f"}},
		{"a fold of white space alone", "A: b\r\n \r\nC: d\r\n", []string{"A= b\r\n ", "C= d"}},
		{"no colon", "A: b\r\njunk\r\n more\r\nC: d\r\n", []string{"A= b", "junk\r\n more", "C= d"}},
		{"first line is a continuation", " A: b\r\nC: d\r\n", []string{" A: b", "C= d"}},
		{"no name", ": b\r\nC: d\r\n", []string{": b", "C= d"}},
		{"space before the colon", "A \t: b\r\n", []string{"A= b"}},
		{"space in the name", "From a@b Tue Nov 3 10:11\r\nC: d\r\n", []string{"From a@b Tue Nov 3 10:11", "C= d"}},
		{"8-bit name", "\xe8: b\r\nC: d\r\n", []string{"\xe8: b", "C= d"}},
		{"bare LF", "A: b\n c\nC: d\n\nE: f\n", []string{"A= b\n c", "C= d"}},
		{"bare CR", "A: b\rc\r\nC: d\r", []string{"A= b\rc", "C= d"}},
		{"empty value", "A:\r\nC: d\r\n", []string{"A=", "C= d"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for f := range Fields([]byte(test.header)) {
				if f.Name == nil {
					got = append(got, string(f.Value))
				} else {
					got = append(got, string(f.Name)+"="+string(f.Value))
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestValue(t *testing.T) {
	header := []byte("junk\r\nSubject: one\r\n\ttwo \r\nsubject: three\r\nX:\r\n \r\n y\r\nLongest: " + strings.Repeat("a", MaxValue) + "\r\nLong: " + strings.Repeat("a", MaxValue+1) + "\r\n\r\nBody: no\r\n")
	for name, want := range map[string]string{"SUBJECT": "one\ttwo", "X": "y", "Body": "", "junk": "", "": ""} {
		if got := Value(header, name); got != want {
			t.Errorf("%q is %q, want %q", name, got, want)
		}
	}
	for _, name := range []string{"Longest", "Long"} {
		if n := len(Value(header, name)); n != MaxValue {
			t.Errorf("%s: a value of %d bytes, want %d", name, n, MaxValue)
		}
	}
}

func TestDecode(t *testing.T) {
	tests := []struct{ name, value, want string }{
		{"plain", "Fattura", "Fattura"},
		{"Q", "=?iso-8859-1?Q?perch=E9_no?= si", "perché no si"},
		{"B", "=?UTF-8?b?cGVyY2jDqQ==?=", "perché"},
		{"B without padding", "=?UTF-8?B?cGVyY2jDqQ?=", "perché"},
		{"between words", "a =?utf-8?q?b?= =?utf-8?q?c?=\td =?utf-8?q?e?=", "a bc\td =?utf-8?q?e?="},
		{"two charsets", "=?utf-8?q?=C3=A9?= =?iso-8859-1?q?=E9?=", "éé"},
		{"character cut in two", "=?utf-8?q?perch=C3?= =?utf-8?q?=A9?=", "perché"},
		{"character cut in two, base64", "=?utf-8?B?cGVyY2jD?=\r\n =?UTF-8?B?qQ==?=", "perché"},
		{"spaces in the word", "=?utf-8?Q?a b?=", "a b"},
		{"language", "=?utf-8*it?Q?a?=", "a"},
		{"unknown charset", "=?x-none?Q?perch=C3=A9?= =?x-none?Q?perch=E9?=", "perchéperché"},
		{"unknown encoding", "=?utf-8?X?a?=", "=?utf-8?X?a?="},
		{"not closed", "=?utf-8?Q?a", "=?utf-8?Q?a"},
		{"wrong escapes", "=?utf-8?Q?a=_=4_=ZZ?=", "a= =4 =ZZ"},
		{"raw UTF-8", "perché =?utf-8?q?s=C3=AC?=", "perché sì"},
		{"raw Windows-1252", "\x80 perch\xe9 \x81", "€ perché \ufffd"},
		{"controls", "a\x00b\x1b[31m =?utf-8?q?=0D=0AX:_y?=", "a b [31m   X: y"},
		{"japanese", "=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "日本"},
		{"wrong bytes in the charset", "=?utf-8?Q?=FF?=", "ÿ"},
		{"empty", "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			want := strings.ReplaceAll(test.want, "\t", " ")
			if test.name == "between words" {
				want = "a bc d e"
			}
			if got := Decode(test.value); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestParams(t *testing.T) {
	tests := []struct {
		name, value, kind string
		params            map[string]string
	}{
		{"empty", "", "", nil},
		{"usual", `text/plain; charset=utf-8; Format="flowed"`, "text/plain", map[string]string{"charset": "utf-8", "format": "flowed"}},
		{"comments", `text/plain (a;b=c); (d) charset (e) = (f) us-ascii (Plain text)`, "text/plain", map[string]string{"charset": "us-ascii"}},
		{"quoted", `a/b; name="a;b=\"c\\ (d)"; e=f`, "a/b", map[string]string{"name": `a;b="c\ (d)`, "e": "f"}},
		{"path", `attachment; filename="C:\dir\a.txt"`, "attachment", map[string]string{"filename": `C:\dir\a.txt`}},
		{"quote not closed", `a/b; name="a; b`, "a/b", map[string]string{"name": "a; b"}},
		{"quotes in a name", `attachment; filename="Allegato "A" firmato.pdf"; size=12`, "attachment",
			map[string]string{"filename": `Allegato "A" firmato.pdf`, "size": "12"}},
		{"quotes and semicolons in a name", `a/b; name="uno "due"; tre.pdf" ; x="y"`, "a/b", map[string]string{"name": `uno "due"; tre.pdf`, "x": "y"}},
		{"a quote at the end of a name", `a/b; name="il "Caso""`, "a/b", map[string]string{"name": `il "Caso"`}},
		{"quotes in a name, escaped", `a/b; name="il \"Caso\".pdf"; x=y`, "a/b", map[string]string{"name": `il "Caso".pdf`, "x": "y"}},
		{"quotes in a name and no semicolon", `a/b; name="a.pdf" x="y"; z=1`, "a/b", map[string]string{"name": "a.pdf", "z": "1"}},
		{"no semicolon behind a name", `a/b; name="a.pdf" x=y`, "a/b", map[string]string{"name": "a.pdf"}},
		{"a comment behind a name", `a/b; name="a.pdf" (c)`, "a/b", map[string]string{"name": "a.pdf"}},
		{"comment behind a name", `attachment; filename="a.pdf" (una "copia"); size="3"`, "attachment", map[string]string{"filename": "a.pdf", "size": "3"}},
		{"quotes and brackets in a name", `a/b; name="Copia "A" (1); due.pdf"; x="y"`, "a/b", map[string]string{"name": `Copia "A" (1); due.pdf`, "x": "y"}},
		{"quotes in a piece of a name", `a/b; name*0="uno "d"; name*1="ue".pdf"`, "a/b", map[string]string{"name": `uno "due".pdf`}},
		{"quotes elsewhere", `a/b; boundary="x"y"; z=1`, "a/b", map[string]string{"boundary": "x", "z": "1"}},
		{"name with spaces", `a/b; name=a b (1).pdf ; x=y z`, "a/b", map[string]string{"name": "a b (1).pdf", "x": "y"}},
		{"no semicolon", `text/html charset=utf-8; a=b`, "text/html", map[string]string{"charset": "utf-8", "a": "b"}},
		{"empty parameters", `a/b;; ;x;y=;=z; c=d;`, "a/b", map[string]string{"y": "", "c": "d"}},
		{"the first counts", `a/b; x=1; X=2`, "a/b", map[string]string{"x": "1"}},
		{"charset", `a/b; filename*=iso-8859-1'it'perch%E9%20no; filename=x`, "a/b", map[string]string{"filename": "perché no"}},
		{"pieces", `a/b; name*1*=%A9.txt; name*0*=utf-8''perch%C3; name*2="%41"; name*4=z`, "a/b", map[string]string{"name": "perché.txt%41"}},
		{"pieces without the first", `a/b; name*1=x; name=y`, "a/b", map[string]string{"name": "y"}},
		{"wrong pieces", `a/b; name*x=y; name*-1=a; name*99999999=b`, "a/b", nil},
		{"unknown charset", `a/b; name*=x-none''perch%C3%A9`, "a/b", map[string]string{"name": "perché"}},
		{"no charset", `a/b; name*=a%20b%2`, "a/b", map[string]string{"name": "a b%2"}},
		{"disposition", `Inline; filename=a`, "inline", map[string]string{"filename": "a"}},
		{"unreadable", `"text"/x; a=b`, "", map[string]string{"a": "b"}},
		{"wide spaces", "text / html ; a = b", "text/html", map[string]string{"a": "b"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			kind, params := Params(test.value)
			if kind != test.kind || !maps.Equal(params, test.params) {
				t.Errorf("got %q %q, want %q %q", kind, params, test.kind, test.params)
			}
		})
	}
}

func TestName(t *testing.T) {
	tests := []struct{ name, contentType, disposition, want string }{
		{"none", "text/plain", "inline", ""},
		{"filename first", "a/b; name=x", "attachment; filename=y", "y"},
		{"name", "a/b; name=x", "attachment", "x"},
		{"encoded word", `a/b; name="=?utf-8?Q?perch=C3=A9?="`, "", "perché"},
		{"RFC 2231", "a/b", "attachment; filename*=utf-8''perch%C3%A9", "perché"},
		{"raw 8-bit", "a/b; name=perch\xe9", "", "perché"},
	}
	for _, test := range tests {
		p := Part{ContentType: test.contentType, Disposition: test.disposition}
		if got := p.Name(); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestAddresses(t *testing.T) {
	tests := []struct {
		name, value string
		want        []Address
	}{
		{"empty", " \t", nil},
		{"bare", "mario@alpha.test", []Address{{Local: "mario", Domain: "alpha.test"}}},
		{"two with names", `Mario Rossi <mario@alpha.test>, "Bianchi, Anna" <anna@beta.test>`, []Address{
			{Name: "Mario Rossi", Local: "mario", Domain: "alpha.test"}, {Name: "Bianchi, Anna", Local: "anna", Domain: "beta.test"}}},
		{"envelope", `"Per conto di: mario@alpha.test" <posta-certificata@alpha.test>`, []Address{
			{Name: "Per conto di: mario@alpha.test", Local: "posta-certificata", Domain: "alpha.test"}}},
		{"envelope without quotes", `Per conto di: mario@alpha.test <posta-certificata@alpha.test>`, []Address{
			{Name: "Per conto di: mario@alpha.test", Local: "posta-certificata", Domain: "alpha.test"}}},
		{"comment", "mario@alpha.test (Mario (M) Rossi)", []Address{{Name: "Mario (M) Rossi", Local: "mario", Domain: "alpha.test"}}},
		{"comments between", "(a) Mario (b) <mario@alpha.test> (c)", []Address{{Name: "Mario", Local: "mario", Domain: "alpha.test"}}},
		{"encoded words stay", "=?utf-8?q?a?=  =?utf-8?q?b?= <mario@alpha.test>", []Address{
			{Name: "=?utf-8?q?a?= =?utf-8?q?b?=", Local: "mario", Domain: "alpha.test"}}},
		{"quoted local part", `"a b@c"@alpha.test, <"d,e"@beta.test>`, []Address{
			{Local: `"a b@c"`, Domain: "alpha.test"}, {Local: `"d,e"`, Domain: "beta.test"}}},
		{"address in quotes", `"mario@alpha.test"`, []Address{{Local: "mario", Domain: "alpha.test"}}},
		{"group", "amici: mario@alpha.test, Anna <anna@beta.test>;, luca@ext.test", []Address{
			{Local: "mario", Domain: "alpha.test", Group: "amici"}, {Name: "Anna", Local: "anna", Domain: "beta.test", Group: "amici"},
			{Local: "luca", Domain: "ext.test"}}},
		{"empty group", "undisclosed-recipients:;", []Address{{Group: "undisclosed-recipients"}}},
		{"empty group, not closed", "undisclosed-recipients:", []Address{{Group: "undisclosed-recipients"}}},
		{"no domain", "postmaster, root <root>", []Address{{Local: "postmaster"}, {Name: "root", Local: "root"}}},
		{"null", "<>", []Address{{}}},
		{"source route", "<@a.test,@b.test:mario@alpha.test>", []Address{{Local: "mario", Domain: "alpha.test"}}},
		{"comments within", "<mario (M) @ (il \"server\") alpha.test>", []Address{{Local: "mario", Domain: "alpha.test"}}},
		{"parenthesis in quotes", `<"ma(rio"@alpha.test>`, []Address{{Local: `"ma(rio"`, Domain: "alpha.test"}}},
		{"parenthesis not closed", "<ma(rio@alpha.test>", []Address{{Local: "ma(rio", Domain: "alpha.test"}}},
		{"empty items", ",, mario@alpha.test ,", []Address{{Local: "mario", Domain: "alpha.test"}}},
		{"no address", "Mario Rossi senza indirizzo", []Address{{Name: "Mario Rossi senza indirizzo"}}},
		{"not closed", `"Mario <mario@alpha.test`, []Address{{Name: "Mario", Local: "mario", Domain: "alpha.test"}}},
		{"angle not closed", "Mario <mario@alpha.test", []Address{{Name: "Mario", Local: "mario", Domain: "alpha.test"}}},
		{"raw 8-bit", "Perch\xe9 <mario@alpha.test>", []Address{{Name: "Perch\xe9", Local: "mario", Domain: "alpha.test"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := Addresses(test.value); !slices.Equal(got, test.want) {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
	if got := (Address{Local: "mario", Domain: "alpha.test"}).Mailbox(); got != "mario@alpha.test" {
		t.Errorf("mailbox %q", got)
	}
}

// TestHostileValues reads values that take many readers quadratic time or worse. Each takes milliseconds here; the limit of a second is
// for slow machines.
func TestHostileValues(t *testing.T) {
	const n = 400 << 10
	for name, unit := range map[string]string{"comments": "(", "nested comments": "(a)(", "quotes": `"`, "backslashes": `\`, "quoted quotes": `\"`, "angles": "<",
		"quoted comments": `"(`, "quoted semicolons": `";`, "quoted words": `"a `,
		"quotes in angles": `<"`, "colons": "a@:", "colons alone": "a:", "commas": "a,", "semicolons": "a=;", "words": "=?a?Q?", "half words": "=?",
		"good words": "=?x?B?YQ==?= ", "stars": ";a*0=b", "charsets": "=?x-none?Q?=E9?=", "spaces": " ", "routes": "<@a:"} {
		value := strings.Repeat(unit, n/len(unit))
		start := time.Now()
		Decode(value)
		Addresses(value)
		Params(value)
		Params("a/b; " + value)
		Params(`a/b; name="` + value)
		p := Part{ContentType: value, Disposition: value, TransferEncoding: value}
		p.Name()
		p.Charset()
		p.Encoding()
		if took := time.Since(start); took > time.Second {
			t.Errorf("%s: %v", name, took)
		}
	}
}

func FuzzFields(f *testing.F) {
	f.Add([]byte(ordinary))
	f.Add([]byte("A: b\n c\r\r\n: x\r\n \r\nB : c\r\n\r\nbody"))
	f.Fuzz(func(t *testing.T, header []byte) {
		end := 0
		for field := range Fields(header) {
			if field.Start != end || field.End <= field.Start {
				t.Fatalf("field at %d to %d behind %d", field.Start, field.End, end)
			}
			end = field.End
			if raw := header[field.Start:field.End]; !bytes.HasPrefix(raw, field.Name) || !bytes.Contains(raw, field.Value) {
				t.Fatalf("name %q and value %q are not in %q", field.Name, field.Value, raw)
			}
			if field.Name == nil {
				continue
			}
			if got := Value(header, string(field.Name)); strings.ContainsAny(got, "\n") {
				t.Fatalf("value %q", got)
			}
		}
		if rest := header[end:]; len(rest) > 0 && !isBlank(rest[:lineEnd(rest, 0)]) {
			t.Fatalf("%q is left", rest)
		}
	})
}

func FuzzDecode(f *testing.F) {
	for _, seed := range []string{"", "=?utf-8?q?a=C3?= =?utf-8?b?qQ?=", "=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "\xff=?x?q?=?=?=", "=?utf-16?B?/v8=?="} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		got := Decode(value)
		if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }) {
			t.Fatalf("got %q", got)
		}
	})
}

func FuzzAddresses(f *testing.F) {
	for _, seed := range []string{"", `"a, b" <c@d>, e: f@g (h);, <@a,@b:c@d>`, `Per conto di: a@b <c@d>`, `"a@b"`, "x:;y:z", `<"@">`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		list := Addresses(value)
		if len(list) > maxAddresses+1 {
			t.Fatalf("%d addresses", len(list))
		}
		for _, a := range list {
			if len(a.Name)+len(a.Local)+len(a.Domain)+len(a.Group) > 2*len(value) {
				t.Fatalf("%+v out of %q", a, value)
			}
		}
	})
}

func FuzzParams(f *testing.F) {
	for _, seed := range []string{"", `text/plain; charset="utf-8"; name*0*=utf-8''a%20; name*1=b`, `a/b;c="\"`, `a(b)/c d=e;f="`, `x;a*=b'c'%;b`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		kind, params := Params(value)
		if kind != strings.ToLower(kind) || strings.ContainsAny(kind, " ;\"") {
			t.Fatalf("kind %q", kind)
		}
		total := 0
		for name, v := range params {
			total += len(name) + len(v)
			if strings.ContainsAny(name, "=;* ") {
				t.Fatalf("name %q", name)
			}
		}
		if total > 4*len(value) {
			t.Fatalf("%d bytes out of %d", total, len(value))
		}
	})
}
