package body

import (
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"
)

func textPart(t testing.TB, params, text string) string {
	t.Helper()
	var out strings.Builder
	l := &partsOf(t, "Content-Type: text/plain; charset=utf-8"+params+"\nContent-Transfer-Encoding: 8bit\n\n"+text)[0]
	if _, err := WriteText(&out, l, MaxText); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestWriteText(t *testing.T) {
	link := func(u string) string {
		return `<a href="` + u + `" target="_blank" rel="noreferrer noopener nofollow">` + u + `</a>`
	}
	const flowed, joined = "; format=flowed", "; format=Flowed; delsp=yes"
	for _, c := range []struct{ name, params, in, want string }{
		{"lines", "", "a\n\nb", "a\n\nb\n"},
		{"markup", "", `<b>"a" & 'b'`, "&lt;b&gt;&#34;a&#34; &amp; &#39;b&#39;\n"},
		{"control characters", "", "a\x00\x1b[31mb\tc\u0085", "a[31mb\tc\n"},
		{"quotes", "", "a\n> b\n>> c\n> > d\n>e\nf", "a\n<blockquote>b\n<blockquote>c\nd\n</blockquote>e\n</blockquote>f\n"},
		{"a quote at the end", "", "> a", "<blockquote>a\n</blockquote>"},
		{"quotes too deep to show", "", strings.Repeat(">", 20) + "a", strings.Repeat("<blockquote>", 8) + "a\n" + strings.Repeat("</blockquote>", 8)},
		{"a mark of mbox", "", ">From here on", "From here on\n"},
		{"white space", "", "a  b\n  c ", "a  b\n  c \n"},
		{"flowed", flowed, "a \nb \nc\nd", "a b c\nd\n"},
		{"flowed quotes", flowed, "> a \n> b\n>> c \nd", "<blockquote>a b\n<blockquote>c \n</blockquote></blockquote>d\n"},
		{"stuffed", flowed, " > a\n  b", "&gt; a\n b\n"},
		{"signature", flowed, "a \n-- \nb", "a \n-- \nb\n"},
		{"joined words", joined, "ab \ncd", "abcd\n"},
		{"flowed at the end", flowed, "a ", "a "},
		{"URLs", "", "see https://x.test/a?b=1&c=2, HTTP://y.test.", "see " + link("https://x.test/a?b=1&amp;c=2") + ", " + link("HTTP://y.test") + ".\n"},
		{"a URL in brackets", "", "(http://x.test/a_(b)) <http://y.test/>", "(" + link("http://x.test/a_(b)") + ") &lt;" + link("http://y.test/") + "&gt;\n"},
		{"no URLs", "", "xhttp://x.test http:// ://x javascript://x ftp://x.test", "xhttp://x.test http:// ://x javascript://x ftp://x.test\n"},
		{"a URL with a quote", "", `http://x.test/"onclick="`, link("http://x.test/") + "&#34;onclick=&#34;\n"},
		{"a URL that turns the text around", "", "http://x.test/\u202eabc", link("http://x.test/") + "\u202eabc\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := textPart(t, c.params, c.in); got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

// TestWriteTextCut ends a text at its limit.
func TestWriteTextCut(t *testing.T) {
	for _, c := range []struct {
		name  string
		limit int
		want  string
		cut   bool
	}{
		{"shorter", 100, "<blockquote>one\ntwo\n</blockquote>", false},
		{"exact", 12, "<blockquote>one\ntwo\n</blockquote>", false},
		{"longer", 11, "<blockquote>one\ntw\n</blockquote>", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			l := &partsOf(t, "\n> one\n> two")[0]
			if cut, err := WriteText(&out, l, c.limit); err != nil || out.String() != c.want || cut != c.cut {
				t.Errorf("%q, %v, %v", out.String(), cut, err)
			}
		})
	}
}

// TestWriteTextBounds writes texts that would be costly to read twice, each longer than MaxText.
func TestWriteTextBounds(t *testing.T) {
	for _, c := range []struct{ name, unit string }{
		{"one line", "a "}, {"URLs", "http://x.test/ "}, {"one URL", "http://"}, {"schemes", "://"}, {"brackets", "http://x(((("}, {"quotes", ">"},
		{"lines", "\n"}, {"quoted lines", ">>>>>>>>>\n\n"}, {"entities", "<&>\"'"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &partsOf(t, "Content-Type: text/plain; format=flowed\n\n"+strings.Repeat(c.unit, 3<<20/len(c.unit)))[0]
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			cut, err := WriteText(io.Discard, l, MaxText)
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			if allocated := (after.TotalAlloc - before.TotalAlloc) >> 20; err != nil || !cut || took > time.Minute || allocated > 200 {
				t.Errorf("%v, %v, in %v, %d MiB", cut, err, took, allocated)
			}
		})
	}
}

// FuzzWriteText checks that text stays text: it makes no elements but links and balanced quotes.
func FuzzWriteText(f *testing.F) {
	f.Add("a\n> b http://x.test/<b>", true)
	f.Add("> a \n>> b \n-- \nc ", true)
	f.Add("HTTPS://x.test/(a))'\"", false)
	f.Fuzz(func(t *testing.T, text string, flowed bool) {
		params := ""
		if flowed {
			params = "; format=flowed"
		}
		out := textPart(t, params, text)
		z := html.NewTokenizer(strings.NewReader(out))
		for depth := 0; ; {
			kind := z.Next()
			if kind == html.ErrorToken {
				if depth != 0 {
					t.Fatalf("%d elements stay open in %q", depth, out)
				}
				return
			}
			name, _ := z.TagName()
			switch {
			case kind == html.TextToken:
			case kind == html.StartTagToken && (string(name) == "blockquote" || string(name) == "a"):
				depth++
			case kind == html.EndTagToken && depth > 0:
				depth--
			default:
				t.Fatalf("%v %s in %q", kind, name, out)
			}
		}
	})
}
