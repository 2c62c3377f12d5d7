package part

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// ordinary is a message that the PEC messages below enclose.
var ordinary = message(`
Message-ID: <opec1.20261103101112.01838.310.1.63@alpha.test>
From: mario@alpha.test
To: anna@beta.test
Subject: Fattura
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="----=_Part_1"

------=_Part_1
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

Perché no.

------=_Part_1
Content-Type: application/pdf; name="=?utf-8?Q?perch=C3=A9.pdf?="
Content-Transfer-Encoding: base64
Content-Disposition: attachment;
 filename*=UTF-8''perch%C3%A9.pdf

JVBERi0xLjQK
------=_Part_1--
`)

// aruba is an envelope as Aruba, Namirial and Sogei build it: preamble, binary multiparts, daticert in base64 before postacert.
var aruba = message(`
From: "Per conto di: mario@alpha.test" <posta-certificata@alpha.test>
To: anna@beta.test
Subject: POSTA CERTIFICATA: Fattura
X-Trasporto: posta-certificata
MIME-Version: 1.0
Content-Type: multipart/signed; protocol="application/x-pkcs7-signature"; micalg=sha-256; boundary="----A"
Content-Transfer-Encoding: binary

This is an S/MIME signed message

------A
Content-Type: multipart/mixed; boundary="----=_Part_2"
Content-Transfer-Encoding: binary

------=_Part_2
Content-Type: multipart/alternative; boundary="----=_Part_3"

------=_Part_3
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

Messaggio di posta certificata
------=_Part_3
Content-Type: text/html; charset=iso-8859-1

<p>Messaggio di posta certificata</p>
------=_Part_3--

------=_Part_2
Content-Type: application/xml; name=daticert.xml
Content-Transfer-Encoding: base64
Content-Disposition: inline; filename=daticert.xml

PD94bWw+
------=_Part_2
Content-Type: message/rfc822; name="postacert.eml"
Content-Transfer-Encoding: 7bit
Content-Disposition: inline; filename="postacert.eml"

`) + ordinary + message(`

------=_Part_2--

------A
Content-Type: application/x-pkcs7-signature; name="smime.p7s"
Content-Transfer-Encoding: base64

MIIB
------A--

`)

// legalmail is a delivery receipt as Legalmail builds it: postacert before daticert, attachments, raw 8-bit bytes inside.
var legalmail = message(`
From: posta-certificata@beta.test
Subject: CONSEGNA: Fattura
X-Ricevuta: avvenuta-consegna
Content-Type: multipart/signed; boundary="B"; micalg=sha-1;
 protocol="application/pkcs7-signature"

--B
Content-Type: multipart/mixed; boundary="BB"

--BB
Content-Type: text/plain; charset=ISO-8859-1

Ricevuta
--BB
Content-Type: message/rfc822; name="postacert.eml"
Content-Disposition: attachment; filename="postacert.eml"

`) + ordinary + message(`
--BB
Content-Type: application/xml; charset=UTF-8; name="daticert.xml"
Content-Transfer-Encoding: quoted-printable
Content-Disposition: attachment; filename="daticert.xml"

<?xml version=3D"1.0"?>
--BB--
--B
Content-Type: application/pkcs7-signature; name="smime.p7s"

MIIB
--B--
`)

func TestCertifiedMail(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"aruba", aruba, `- multipart/signed
  1 multipart/mixed
    1.1 multipart/alternative
      1.1.1 text/plain "Messaggio di posta certificata"
      1.1.2 text/html "<p>Messaggio di posta certificata</p>"
    1.2 application/xml name=daticert.xml "PD94bWw+"
    1.3 message/rfc822 name=postacert.eml
      - multipart/mixed
        1.3.1 text/plain "Perché no.\r\n"
        1.3.2 application/pdf name=perché.pdf "JVBERi0xLjQK"
  2 application/x-pkcs7-signature name=smime.p7s "MIIB"
`},
		{"legalmail", legalmail, `- multipart/signed
  1 multipart/mixed
    1.1 text/plain "Ricevuta"
    1.2 message/rfc822 name=postacert.eml
      - multipart/mixed
        1.2.1 text/plain "Perché no.\r\n"
        1.2.2 application/pdf name=perché.pdf "JVBERi0xLjQK"
    1.3 application/xml name=daticert.xml "<?xml version=3D\"1.0\"?>"
  2 application/pkcs7-signature name=smime.p7s "MIIB"
`},
		{"envelope in a mailing list's digest", "Content-Type: multipart/digest; boundary=list\r\n\r\n--list\r\n\r\n" + aruba + "\r\n--list--\r\n",
			"- multipart/digest\n  1 message/rfc822\n" + `    - multipart/signed
      1.1 multipart/mixed
        1.1.1 multipart/alternative
          1.1.1.1 text/plain "Messaggio di posta certificata"
          1.1.1.2 text/html "<p>Messaggio di posta certificata</p>"
        1.1.2 application/xml name=daticert.xml "PD94bWw+"
        1.1.3 message/rfc822 name=postacert.eml
          - multipart/mixed
            1.1.3.1 text/plain "Perché no.\r\n"
            1.1.3.2 application/pdf name=perché.pdf "JVBERi0xLjQK"
      1.2 application/x-pkcs7-signature name=smime.p7s "MIIB"
`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			table, cuts := scan(t, DefaultLimits(), test.text, whole)
			if got := dump(table, test.text); got != test.want {
				t.Errorf("got\n%swant\n%s", got, test.want)
			}
			checkTable(t, table, DefaultLimits(), len(test.text))
			checkCutting(t, DefaultLimits(), test.text, table, cuts)
		})
	}
}

// pieces cuts a text at offsets.
func pieces(text string, cuts []int64) []string {
	var list []string
	from := int64(0)
	for _, cut := range append(slices.Clone(cuts), int64(len(text))) {
		list = append(list, text[from:cut])
		from = cut
	}
	return list
}

func TestEnclosedMessageHasTheSamePieces(t *testing.T) {
	_, cuts := scan(t, DefaultLimits(), ordinary, whole)
	alone := pieces(ordinary, cuts)
	if len(alone) != 5 {
		t.Fatalf("%d pieces: %q", len(alone), alone)
	}
	for name, text := range map[string]string{"aruba": aruba, "legalmail": legalmail} {
		_, cuts := scan(t, DefaultLimits(), text, whole)
		enclosed := pieces(text, cuts)
		for _, piece := range alone[:len(alone)-1] {
			if !slices.Contains(enclosed, piece) {
				t.Errorf("%s: the piece %q is not among\n%q", name, piece, enclosed)
			}
		}
		// The last piece may lack the last line end, which belongs to the delimiter.
		if name == "aruba" && !slices.Contains(enclosed, alone[len(alone)-1]) {
			t.Errorf("%s: the piece %q is not among\n%q", name, alone[len(alone)-1], enclosed)
		}
	}
}

// tree builds a random well-formed message, and what the scanner must find in it.
type tree struct {
	*rand.Rand
	text  strings.Builder
	parts []Part
	count int
}

func (g *tree) build(parent, depth int) {
	i := len(g.parts)
	p := Part{Parent: parent, Header: int64(g.text.Len()), Type: []string{"text/plain", "text/html", "image/png"}[g.IntN(3)]}
	if depth < 5 {
		switch g.IntN(4) {
		case 0:
			p.Type = "message/rfc822"
		case 1, 2:
			p.Type = []string{"multipart/mixed", "multipart/alternative"}[g.IntN(2)]
		}
	}
	g.parts = append(g.parts, p)
	g.count++
	boundary := fmt.Sprintf("b%d", g.count)
	p.ContentType = p.Type
	if p.IsMultipart() {
		p.ContentType += "; boundary=\"" + boundary + "\""
	}
	fmt.Fprintf(&g.text, "X-Number: %d\r\nContent-Type: %s\r\n\r\n", i, strings.ReplaceAll(p.ContentType, "; ", ";\r\n "))
	p.Body = int64(g.text.Len())
	switch {
	case p.IsMessage():
		g.build(i, depth+1)
	case p.IsMultipart():
		g.text.WriteString([]string{"", "preamble", "preamble\r\n--b\r\n"}[g.IntN(3)])
		for range 1 + g.IntN(4) {
			fmt.Fprintf(&g.text, "\r\n--%s\r\n", boundary)
			g.build(i, depth+1)
		}
		fmt.Fprintf(&g.text, "\r\n--%s--%s", boundary, []string{"", "\r\n", "\r\nepilogue\r\n--" + boundary}[g.IntN(3)])
	default:
		for range g.IntN(5) {
			g.text.WriteString([]string{"line\r\n", "\r\n", "--\r\n", "--b\r\n", "--b1x\r\n", "rest"}[g.IntN(6)])
		}
	}
	p.End = int64(g.text.Len())
	p.Lines = int64(strings.Count(g.text.String()[p.Body:p.End], "\n"))
	g.parts[i] = p
}

func TestRandomTrees(t *testing.T) {
	for seed := range uint64(400) {
		g := &tree{Rand: rand.New(rand.NewPCG(seed, 2))}
		g.build(-1, 0)
		text := g.text.String()
		table, cuts := scan(t, DefaultLimits(), text, whole)
		if !slices.Equal(table.Parts, g.parts) {
			t.Fatalf("seed %d: got\n%swant\n%sin\n%s", seed, dump(table, text), dump(&Table{Parts: g.parts}, text), text)
		}
		var want []int64
		for i, p := range g.parts {
			alternative := p.Parent >= 0 && g.parts[p.Parent].Type == "multipart/alternative" && strings.HasPrefix(p.Type, "text/")
			switch {
			case p.Type == "multipart/alternative":
				want = append(want, p.End)
			case p.IsMultipart(), alternative && i != p.Parent+1:
			case alternative:
				want = append(want, p.Body)
			default:
				want = append(want, p.Body, p.End)
			}
		}
		slices.Sort(want)
		want = slices.Compact(want)
		want = slices.DeleteFunc(want, func(cut int64) bool { return cut == int64(len(text)) })
		if !slices.Equal(cuts, want) {
			t.Fatalf("seed %d: cuts %v, want %v", seed, cuts, want)
		}
		checkTable(t, table, DefaultLimits(), len(text))
		checkCutting(t, DefaultLimits(), text, table, cuts)
	}
}

// TestRandomTokens scans random sequences of the tokens that matter to the scanner.
func TestRandomTokens(t *testing.T) {
	tokens := []string{"\r\n", "\r\n", "\r\n", "\r\n\r\n", "\n", "\r", "\x00", "\xe8", " ", "\t", "x", "-", "--", "--b", "--b", "\r\n--b", "\r\n--b\r\n",
		"\r\n--b--", "--bb", "--b--", "--bb--", "--b--\r\n", "--bb\r\n", "X: y\r\n", "Content-Type: multipart/mixed; boundary=b\r\n\r\n",
		"Content-Type: multipart/digest; boundary=bb\r\n\r\n", "Content-Type: multipart/mixed;\r\n boundary=\"b--\"\r\n",
		"Content-Type: message/rfc822\r\n\r\n", "Content-Type: message/rfc822\n\n", "Content-Transfer-Encoding: base64\r\n",
		"Content-Description: " + strings.Repeat("d", 90) + "\r\n", strings.Repeat("x", 990), "--b" + strings.Repeat(" ", maxDelimiter-10)}
	limits := Limits{Depth: 4, Parts: 12, HeaderBytes: 400, ValueBytes: 300}
	r := rand.New(rand.NewPCG(3, 4))
	for range 3000 {
		var b strings.Builder
		for range r.IntN(40) {
			b.WriteString(tokens[r.IntN(len(tokens))])
		}
		text := b.String()
		table, cuts := scan(t, limits, text, whole)
		checkTable(t, table, limits, len(text))
		checkCutting(t, limits, text, table, cuts)
		checkLines(t, table, []byte(text))
		if t.Failed() {
			t.Fatalf("in %q", text)
		}
	}
}

// repeat writes a text many times over.
func repeat(w io.Writer, text string, n int) {
	block := []byte(strings.Repeat(text, max(1, 64<<10/len(text))))
	for n *= len(text); n > 0; n -= len(block) {
		w.Write(block[:min(n, len(block))])
	}
}

// TestHostileSize scans messages of many megabytes, and checks how much memory the scanner keeps.
func TestHostileSize(t *testing.T) {
	nested := func(s *Scanner, n int, format string) {
		for i := range n {
			fmt.Fprintf(s, format, i, i)
		}
	}
	tests := []struct {
		name string
		feed func(s *Scanner)
		odd  Oddity
		most int // parts
	}{
		{"2,000 nested multiparts", func(s *Scanner) { nested(s, 2000, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n") },
			OddDepth | OddUnterminated, 101},
		{"2,000 nested messages", func(s *Scanner) { repeat(s, "Content-Type: message/rfc822\r\n\r\n", 2000) }, OddDepth, 101},
		{"a million parts", func(s *Scanner) {
			io.WriteString(s, "Content-Type: multipart/mixed; boundary=b\r\n\r\n")
			repeat(s, "--b\r\n\r\n\r\n", 1e6)
		}, OddParts, 2001},
		{"parts with long values", func(s *Scanner) {
			io.WriteString(s, "Content-Type: multipart/mixed; boundary=b\r\n\r\n")
			value := strings.Repeat("x", 3000)
			repeat(s, "--b\r\nContent-Description: "+value+"\r\nContent-Type: a/"+value[:100]+"; a="+value+"\r\n\r\n\r\n", 1900)
		}, OddValueLimit | OddLongLine | OddUnterminated, 1901},
		{"a header of 10 MB", func(s *Scanner) { repeat(s, "X-Field: value\r\n", 10<<20/16); io.WriteString(s, "\r\nhello") },
			OddHeaderLimit, 1},
		{"a header line of 10 MB", func(s *Scanner) { repeat(s, "X", 10<<20); io.WriteString(s, "\r\n\r\nhello") },
			OddHeaderLimit | OddLongLine | OddJunkLine, 1},
		{"a header of 10 MB of fields that are sought", func(s *Scanner) { repeat(s, "REM-Field: value\r\nSubject: value\r\n", 10<<20/34) },
			OddHeaderLimit | OddNoBlankLine, 1},
		{"a part header of 10 MB", func(s *Scanner) {
			io.WriteString(s, "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n")
			repeat(s, "X-Field: value\r\n", 10<<20/16)
		}, OddHeaderLimit | OddNoBlankLine | OddUnterminated, 2},
		{"a line of 150 MB", func(s *Scanner) { io.WriteString(s, "X: y\r\n\r\n"); repeat(s, "x", 150<<20) }, OddLongLine, 1},
		{"a delimiter with 10 MB of padding", func(s *Scanner) {
			io.WriteString(s, "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b")
			repeat(s, " ", 10<<20)
		}, OddLongLine | OddNoParts | OddUnterminated, 1},
		{"10 MB of NUL", func(s *Scanner) { repeat(s, "\x00", 10<<20) }, OddNUL | OddHeaderLimit | OddLongLine | OddNoBlankLine | OddJunkLine, 1},
		{"10 MB of CR", func(s *Scanner) { repeat(s, "\r", 10<<20) }, OddBareCR | OddHeaderLimit | OddLongLine | OddNoBlankLine, 1},
		{"10 MB of almost delimiters for 90 boundaries", func(s *Scanner) {
			nested(s, 90, "Content-Type: multipart/mixed; boundary=%02d\r\n\r\n--%02d\r\n")
			io.WriteString(s, "X: y\r\n\r\n")
			repeat(s, "--xx\r\n", 10<<20/6)
		}, OddUnterminated, 91},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := heap()
			s := NewScanner(DefaultLimits())
			test.feed(s)
			table := s.Close()
			if held := heap() - before; held > 2<<20 {
				t.Errorf("scanner and table hold %d bytes", held)
			}
			if table.Odd != test.odd {
				t.Errorf("flags %s, want %s", table.Odd, test.odd)
			}
			if len(table.Parts) > test.most {
				t.Errorf("%d parts, want at most %d", len(table.Parts), test.most)
			}
			if n := len(s.Header()); n > 256<<10+len(sought)*maxLate+maxLateREM*maxLate {
				t.Errorf("%d bytes of header kept", n)
			}
			checkTable(t, table, DefaultLimits(), int(s.written))
			b, err := table.AppendBinary(nil)
			if err != nil || len(b) > 512<<10 {
				t.Errorf("stored in %d bytes, %v", len(b), err)
			}
		})
	}
}

// heap returns how many bytes are in use on the heap.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestHeaderWhileItStreams(t *testing.T) {
	s := NewScanner(Limits{Depth: 9, Parts: 9, HeaderBytes: 20, ValueBytes: 99})
	steps := []struct {
		write, header string
		done          bool
	}{
		{"A: b", "A: b", false},
		{"\r", "A: b\r", false},
		{"\n\r", "A: b\r\n\r", false},
		{"\nbody", "A: b\r\n\r\n", true},
		{"X: y\r\n\r\n", "A: b\r\n\r\n", true},
	}
	for _, step := range steps {
		s.Write([]byte(step.write))
		if got := string(s.Header()); got != step.header || s.HeaderDone() != step.done {
			t.Errorf("after %q: header %q, done %t; want %q, %t", step.write, got, s.HeaderDone(), step.header, step.done)
		}
	}
	s.Reset()
	s.Write([]byte("A: b\r\nC: 45678901234567890\r\nSub"))
	s.Write([]byte("ject: x\r\nD: " + strings.Repeat("x", 99) + "\r\nSubject: y\r\nSubject: z\r\nTo:z\r\n\r\n"))
	if got := string(s.Header()); got != "A: b\r\nSubject: x\r\nSubject: y\r\nTo:z\r\n" || !s.HeaderDone() {
		t.Errorf("over the limit: header %q, done %t", got, s.HeaderDone())
	}
	s.Reset()
	s.Write([]byte("A: b\r\n"))
	if s.HeaderDone() {
		t.Error("Reset did not take the header back")
	}
	first := s.Close()
	if s.Write([]byte("\r\nmore")); s.Close() != first || s.Settled() != 6 {
		t.Error("Write after Close changed the result")
	}
}

func TestResetKeepsTables(t *testing.T) {
	s := NewScanner(DefaultLimits())
	s.Write([]byte(aruba))
	first := s.Close()
	want := dump(first, aruba)
	s.Reset()
	s.Write([]byte(legalmail))
	second := s.Close()
	if got := dump(first, aruba); got != want {
		t.Errorf("the first table is now\n%s", got)
	}
	fresh, _ := scan(t, DefaultLimits(), legalmail, whole)
	if !slices.Equal(second.Parts, fresh.Parts) {
		t.Errorf("after Reset: got\n%s", dump(second, legalmail))
	}
}

func FuzzScanner(f *testing.F) {
	for _, seed := range []string{"", "\r\n", "--b", ordinary, aruba, legalmail,
		"Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nX: y\r\n\r\n\r\n--b\r\nX: y\r\n--b--\r\n--b\r\n",
		"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/x; boundary=\"b--\"\r\n\r\n--b--\r\n\n\r\r\n--b----\r\n--b--",
		"Content-Type: message/rfc822\r\n\r\nContent-Type: multipart/a;boundary=-\r\n\r\n---\n\n---\r\nX\r\n-----\n",
		"Content-Type: multipart/x; boundary=a\n\n--a\nContent-Type: multipart/y; boundary=a\n\n--a \t\n\n\x00\r--a--\n--a--"} {
		f.Add([]byte(seed))
	}
	limits := Limits{Depth: 3, Parts: 5, HeaderBytes: 200, ValueBytes: 300}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, limits := range []Limits{limits, DefaultLimits()} {
			text := string(data)
			table, cuts := scan(t, limits, text, whole)
			checkTable(t, table, limits, len(text))
			checkCutting(t, limits, text, table, cuts)
			checkLines(t, table, data)
			stored, err := table.AppendBinary(nil)
			if err != nil {
				t.Fatal(err)
			}
			var read Table
			if err := read.UnmarshalBinary(stored); err != nil || !slices.Equal(read.Parts, table.Parts) || read.Odd != table.Odd {
				t.Fatalf("stored and read: %v", err)
			}
		}
	})
}

// checkLines counts the lines of each part again, and checks the flags that need no structure.
func checkLines(tb testing.TB, t *Table, text []byte) {
	tb.Helper()
	for i, p := range t.Parts {
		if n := int64(bytes.Count(text[p.Body:p.End], []byte("\n"))); n != p.Lines {
			tb.Fatalf("part %d has %d lines, counted %d", i, n, p.Lines)
		}
		body := text[p.Body:p.End]
		if t.Child(i, 1) >= 0 {
			continue
		}
		if bytes.IndexByte(body, 0) >= 0 && p.Odd&OddNUL == 0 {
			tb.Fatalf("part %d has a NUL and no flag", i)
		}
		// The LF of a CR at the end may be after the body.
		bare := bytes.Count(bytes.TrimSuffix(body, cr), cr) - bytes.Count(body, crlf)
		if bare > 0 && p.Odd&OddBareCR == 0 {
			tb.Fatalf("part %d has %d bare CRs and no flag", i, bare)
		}
	}
}
