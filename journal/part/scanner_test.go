package part

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// message converts a transcript with LF line ends to the form that the scanner gets.
func message(transcript string) string {
	return strings.ReplaceAll(strings.TrimPrefix(transcript, "\n"), "\n", "\r\n")
}

// dump prints a table, a line for each part: number, type, name of an attachment, body of a leaf, and flags.
func dump(t *Table, text string) string {
	var b strings.Builder
	depth := make([]int, len(t.Parts))
	for i := range t.Parts {
		p := &t.Parts[i]
		if p.Parent >= 0 {
			depth[i] = depth[p.Parent] + 1
		}
		number := t.Number(i)
		if number == "" {
			number = "-"
		}
		fmt.Fprintf(&b, "%s%s %s", strings.Repeat("  ", depth[i]), number, p.Type)
		if name := p.Name(); name != "" {
			fmt.Fprintf(&b, " name=%s", name)
		}
		if t.Child(i, 1) < 0 {
			body := text[p.Body:p.End]
			if len(body) > 60 {
				body = fmt.Sprintf("%s... %d bytes", body[:20], len(body))
			}
			fmt.Fprintf(&b, " %q", body)
		}
		if p.Odd != 0 {
			fmt.Fprintf(&b, " [%s]", p.Odd)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// scan scans a message in pieces of the sizes that next returns, checks what must hold while it streams, and returns the table and all
// cuts.
func scan(tb testing.TB, limits Limits, text string, next func() int) (*Table, []int64) {
	tb.Helper()
	s := NewScanner(limits)
	var cuts []int64
	settled := int64(0)
	look := func() {
		now := s.Settled()
		if now < settled {
			tb.Fatalf("Settled went back from %d to %d", settled, now)
		}
		for _, cut := range s.Cuts() {
			if cut < settled {
				tb.Fatalf("cut at %d came after Settled had been %d", cut, settled)
			}
			if cut >= now {
				tb.Fatalf("cut at %d with Settled at %d", cut, now)
			}
			if len(cuts) > 0 && cut <= cuts[len(cuts)-1] {
				tb.Fatalf("cut at %d after %d", cut, cuts[len(cuts)-1])
			}
			cuts = append(cuts, cut)
		}
		settled = now
	}
	for rest := []byte(text); len(rest) > 0; {
		n := min(len(rest), next())
		piece := bytes.Clone(rest[:n])
		if written, err := s.Write(piece); written != n || err != nil {
			tb.Fatalf("Write of %d bytes: %d, %v", n, written, err)
		}
		clear(piece) // Write must not keep it
		rest = rest[n:]
		look()
	}
	table := s.Close()
	look()
	if settled != int64(len(text)) {
		tb.Fatalf("Settled %d at the end, want %d", settled, len(text))
	}
	return table, cuts
}

func whole() int { return 1 << 30 }

func each() int { return 1 }

// checkTable fails the test if a table breaks the promises of Part and Limits.
func checkTable(tb testing.TB, t *Table, limits Limits, size int) {
	tb.Helper()
	if err := t.check(); err != nil {
		tb.Fatal(err)
	}
	if root := t.Parts[0]; root.Parent != -1 || root.Header != 0 || root.End != int64(size) {
		tb.Fatalf("the message is %d to %d, parent %d; want 0 to %d, -1", root.Header, root.End, root.Parent, size)
	}
	if len(t.Parts) > limits.Parts+1 {
		tb.Fatalf("%d parts with a limit of %d", len(t.Parts), limits.Parts)
	}
	kept := 0
	depth := make([]int, len(t.Parts))
	for i := range t.Parts {
		p := &t.Parts[i]
		for _, v := range p.values() {
			if kept += len(*v); len(*v) > MaxField {
				tb.Fatalf("part %d keeps a value of %d bytes", i, len(*v))
			}
		}
		if p.Parent >= 0 {
			depth[i] = depth[p.Parent] + 1
		}
		if depth[i] > limits.Depth {
			tb.Fatalf("part %d at depth %d", i, depth[i])
		}
		if number := t.Number(i); number != "" && t.Section(number) != i {
			tb.Fatalf("part %d has the number %q, which is part %d", i, number, t.Section(number))
		}
	}
	if kept > limits.ValueBytes {
		tb.Fatalf("%d bytes of values kept with a limit of %d", kept, limits.ValueBytes)
	}
}

func TestScanner(t *testing.T) {
	limits := Limits{Depth: 4, Parts: 8, HeaderBytes: 600, ValueBytes: 4 << 10}
	long := strings.Repeat("x", 999)
	tests := []struct{ name, text, want string }{
		{"empty input", "", "1 text/plain \"\" [no-blank-line,no-header]\n"},
		{"only a blank line", "\r\n", "1 text/plain \"\" [no-header]\n"},
		{"no header at all", "\r\nhello\r\n", "1 text/plain \"hello\\r\\n\" [no-header]\n"},
		{"no body", "Subject: x\r\n", "1 text/plain \"\" [no-blank-line]\n"},
		{"plain", "Subject: x\r\n\r\nhello\r\n", "1 text/plain \"hello\\r\\n\"\n"},
		{"no last line end", "Subject: x\r\n\r\nhello", "1 text/plain \"hello\"\n"},
		{"upper case type", "CONTENT-TYPE: Text/HTML; charset=x\r\n\r\nhello", "1 text/html \"hello\"\n"},
		{"type with comments", "Content-Type: (a (b)) text (c) / (d) html (e); charset=x\r\n\r\nhello", "1 text/html \"hello\"\n"},
		{"folded type", "Content-Type:\r\n text/html;\r\n\tname=\"a.txt\"\r\n\r\nhello", "1 text/html name=a.txt \"hello\"\n"},
		{"unreadable type", "Content-Type: text\r\n\r\nhello", "1 text/plain \"hello\" [type]\n"},
		{"junk lines do not end the header", "From alpha\r\n x\r\nSubject: x\r\n8-bit \xe8: x\r\n: y\r\nContent-Type: text/html\r\n\r\nhello",
			"1 text/html \"hello\" [8bit-header,junk-line]\n"},
		{"second type", "Content-Type: text/html\r\nContent-Type: text/plain\r\n\r\n", "1 text/html \"\" [duplicate-field]\n"},
		{"long lines", "X: " + long + "\r\n\r\n" + long + "\r\n", "1 text/plain \"xxxxxxxxxxxxxxxxxxxx... 1001 bytes\" [long-line,header-limit]\n"},
		{"998 is not long", "\r\n" + long[1:] + "\r\n", "1 text/plain \"xxxxxxxxxxxxxxxxxxxx... 1000 bytes\" [no-header]\n"},
		{"bare CR", "X: y\r\n\r\na\rb\r\n", "1 text/plain \"a\\rb\\r\\n\" [bare-cr]\n"},
		{"bare CR in the header", "X: a\rb\r\n\r\nb\r\n", "1 text/plain \"b\\r\\n\" [bare-cr]\n"},
		{"bare CR at the end", "X: y\r\n\r\na\r", "1 text/plain \"a\\r\" [bare-cr]\n"},
		{"bare LF", "X: y\n\na\nb\n", "1 text/plain \"a\\nb\\n\" [bare-lf]\n"},
		{"bare CR and bare LF", "X: y\r\n\r\na\rb\n", "1 text/plain \"a\\rb\\n\" [bare-cr,bare-lf]\n"},
		{"CR CR LF", "X: y\r\r\n\r\r\na\r\r\n", "1 text/plain \"a\\r\\r\\n\" [bare-cr]\n"},
		{"NUL", "X: y\r\n\r\na\x00b\r\n", "1 text/plain \"a\\x00b\\r\\n\" [nul]\n"},
		{"NUL in the header", "X: y\x00\r\n\r\nb\r\n", "1 text/plain \"b\\r\\n\" [nul]\n"},

		{"mixed", message(`
Content-Type: multipart/mixed; boundary=b

preamble
--b

one
--b
Content-Type: text/html

two

--b--
epilogue
--b
`), `- multipart/mixed
  1 text/plain "one"
  2 text/html "two\r\n"
`},
		{"padding and no last line end", message(`
Content-Type: multipart/mixed; boundary="b c"

--b c 	 

one
--b c-- `), `- multipart/mixed
  1 text/plain "one"
`},
		{"the longest delimiter line", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b" + strings.Repeat(" ", maxDelimiter-5) + "\r\n\r\none",
			"- multipart/mixed [unterminated]\n  1 text/plain \"one\"\n"},
		{"one byte more", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b" + strings.Repeat(" ", maxDelimiter-4) + "\r\n\r\none",
			"1 multipart/mixed \"--b                 ... 1286 bytes\" [long-line,no-parts,unterminated]\n"},
		{"lines that are no delimiters", message(`
Content-Type: multipart/mixed; boundary=b

--b

 --b
--bc
--b-
--b---
--b x
--
-b
x--b
--B
--b--
`), `- multipart/mixed
  1 text/plain " --b\r\n--bc\r\n--b-\r\n--b---\r\n--b x\r\n--\r\n-b\r\nx--b\r\n--B"
`},
		{"a delimiter right at the start of the body", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n--b--\r\n",
			"- multipart/mixed\n  1 text/plain \"one\"\n"},
		{"empty body, empty parts", message(`
Content-Type: multipart/mixed; boundary=b

--b

--b
--b
X: y
--b
X: y

--b--
`), `- multipart/mixed
  1 text/plain ""
  2 text/plain "" [no-blank-line]
  3 text/plain "" [no-blank-line]
  4 text/plain ""
`},
		{"nested", message(`
Content-Type: multipart/mixed; boundary=outer

--outer
Content-Type: multipart/alternative; boundary=inner

--inner

one
--inner
Content-Type: text/html

two
--inner--

--outer
Content-Type: application/pdf; name=a.pdf

three
--outer--
`), `- multipart/mixed
  1 multipart/alternative
    1.1 text/plain "one"
    1.2 text/html "two"
  2 application/pdf name=a.pdf "three"
`},
		{"an outer delimiter ends inner parts", message(`
Content-Type: multipart/mixed; boundary=outer

--outer
Content-Type: multipart/alternative; boundary=inner

--inner

one
--outer

two
--inner
--outer--
--inner
`), `- multipart/mixed
  1 multipart/alternative [unterminated]
    1.1 text/plain "one"
  2 text/plain "two\r\n--inner"
`},
		{"an outer delimiter ends an inner header", message(`
Content-Type: multipart/mixed; boundary=outer

--outer
Content-Type: multipart/alternative; boundary=inner

--inner
X: y
--outer--
`), `- multipart/mixed
  1 multipart/alternative [unterminated]
    1.1 text/plain "" [no-blank-line]
`},
		{"one boundary begins with the other", message(`
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: multipart/mixed; boundary=bb

--bb

one
--bb--
--b
Content-Type: multipart/mixed; boundary="b--"

--b--

two
--b----
--b--
`), `- multipart/mixed
  1 multipart/mixed
    1.1 text/plain "one"
  2 multipart/mixed
    2.1 text/plain "two"
`},
		{"the same boundary inside", message(`
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: multipart/mixed; boundary=b

--b

one
--b--
--b

two
--b--
`), `- multipart/mixed
  1 multipart/mixed
    1.1 text/plain "one"
  2 text/plain "two"
`},
		{"unterminated", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\none\r\n",
			"- multipart/mixed [unterminated]\n  1 text/plain \"one\\r\\n\"\n"},
		{"ends in a delimiter", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b",
			"- multipart/mixed [unterminated]\n  1 text/plain \"\" [no-blank-line]\n"},
		{"multipart without any part", "Content-Type: multipart/mixed; boundary=b\r\n\r\nhello\r\n",
			"1 multipart/mixed \"hello\\r\\n\" [no-parts,unterminated]\n"},
		{"multipart closed at once", "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b--\r\n",
			"1 multipart/mixed \"--b--\\r\\n\" [no-parts]\n"},
		{"empty boundary", "Content-Type: multipart/mixed; boundary=\"\"\r\n\r\n--\r\n\r\none\r\n----\r\n",
			"1 multipart/mixed \"--\\r\\n\\r\\none\\r\\n----\\r\\n\" [no-boundary]\n"},
		{"no boundary", "Content-Type: multipart/mixed\r\n\r\none\r\n", "1 multipart/mixed \"one\\r\\n\" [no-boundary]\n"},
		{"boundary in pieces", "Content-Type: multipart/mixed; boundary*0=b; boundary*1=c\r\n\r\n--bc\r\n\r\none\r\n--bc--",
			"- multipart/mixed\n  1 text/plain \"one\"\n"},
		{"multipart with a transfer encoding", message(`
Content-Type: multipart/mixed; boundary=b
Content-Transfer-Encoding: base64

--b

one
--b--
`), `- multipart/mixed [encoded]
  1 text/plain "one"
`},
		{"digest", message(`
Content-Type: multipart/digest; boundary=b

--b

Subject: one

hello
--b
Content-Type: text/plain

two
--b--
`), `- multipart/digest
  1 message/rfc822
    1.1 text/plain "hello"
  2 text/plain "two"
`},
		{"enclosed message that is a multipart", message(`
Content-Type: multipart/mixed; boundary=outer

--outer
Content-Type: message/rfc822

Content-Type: multipart/mixed; boundary=inner

--inner

one
--inner--

--outer
Content-Type: message/global
Content-Transfer-Encoding: 8-BIT (odd)

Subject: two

hello
--outer--
`), `- multipart/mixed
  1 message/rfc822
    - multipart/mixed
      1.1 text/plain "one"
  2 message/global
    2.1 text/plain "hello"
`},
		{"nested forwards", message(`
Content-Type: message/rfc822

Content-Type: message/rfc822

Subject: x

hello
`), `1 message/rfc822
  1.1 message/rfc822
    1.1.1 text/plain "hello\r\n"
`},
		{"enclosed message with a transfer encoding", "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nWDogeQ0K",
			"1 message/rfc822 \"WDogeQ0K\" [encoded]\n"},
		{"enclosed message without a header end", message(`
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: message/rfc822
--b
Content-Type: message/rfc822

Subject: x
--b--
`), `- multipart/mixed
  1 message/rfc822 "" [no-blank-line]
  2 message/rfc822
    2.1 text/plain "" [no-blank-line]
`},
		{"header over the limit", "X: " + strings.Repeat("y", 600) + "\r\nContent-Type: text/html\r\n\r\nhello",
			"1 text/html \"hello\" [header-limit]\n"},
		{"a field over the limit", "X: " + strings.Repeat("y", 590) + "\r\nDescription: z\r\nContent-Type: text/html\r\n\r\nhello",
			"1 text/html \"hello\" [header-limit]\n"},
		{"as deep as allowed", strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 4) + "X: y\r\n\r\nhello", `1 message/rfc822
  1.1 message/rfc822
    1.1.1 message/rfc822
      1.1.1.1 message/rfc822
        1.1.1.1.1 text/plain "hello"
`},
		{"too deep", strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 5) + "hello", `1 message/rfc822
  1.1 message/rfc822
    1.1.1 message/rfc822
      1.1.1.1 message/rfc822
        1.1.1.1.1 message/rfc822 "hello" [depth]
`},
		{"too many parts", "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\none\r\n", 8) + "--b--\r\n", `- multipart/mixed
  1 text/plain "one"
  2 text/plain "one"
  3 text/plain "one"
  4 text/plain "one"
  5 text/plain "one"
  6 text/plain "one"
  7 text/plain "one"
  8 application/octet-stream "\r\none\r\n--b--\r\n" [parts]
`},
		{"no room for the enclosed message", "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\n", 6) +
			"--b\r\nContent-Type: message/rfc822\r\nContent-X: y\r\nContent-Location: z\r\n\r\nX: y\r\n--b--\r\n", "- multipart/mixed\n" + func() (s string) {
			for i := range 6 {
				s += "  " + strconv.Itoa(i+1) + " text/plain \"\"\n"
			}
			return s + "  7 message/rfc822 \"X: y\" [parts]\n"
		}()},
		{"as many parts as allowed", "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\none\r\n", 7) + "--b--\r\n",
			"- multipart/mixed\n" + func() (s string) {
				for i := range 7 {
					s += "  " + strconv.Itoa(i+1) + " text/plain \"one\"\n"
				}
				return s
			}()},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			table, cuts := scan(t, limits, test.text, whole)
			if got := dump(table, test.text); got != test.want {
				t.Errorf("got\n%swant\n%s", got, test.want)
			}
			checkTable(t, table, limits, len(test.text))
			checkCutting(t, limits, test.text, table, cuts)
		})
	}
}

// checkCutting fails the test if the result depends on how a message is cut into Writes.
func checkCutting(tb testing.TB, limits Limits, text string, table *Table, cuts []int64) {
	tb.Helper()
	r := rand.New(rand.NewPCG(1, uint64(len(text))))
	for name, next := range map[string]func() int{"bytes": each, "random": func() int { return 1 + r.IntN(1+r.IntN(200)) }} {
		got, gotCuts := scan(tb, limits, text, next)
		if !slices.Equal(got.Parts, table.Parts) || got.Odd != table.Odd {
			tb.Fatalf("%s: table differs:\n%swant\n%s", name, dump(got, text), dump(table, text))
		}
		if !slices.Equal(gotCuts, cuts) {
			tb.Fatalf("%s: cuts %v, want %v", name, gotCuts, cuts)
		}
	}
}
