package body

import (
	"encoding/base64"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"copialettere/policy/pec"
)

// onePixel is a GIF.
const onePixel = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"

func TestSanitize(t *testing.T) {
	related := func(content string) map[string]*pec.Located {
		l := partsOf(t, "Content-Type: image/gif\nContent-Transfer-Encoding: base64\n\n"+content)[0]
		return map[string]*pec.Located{"a@b": &l}
	}
	gif := Options{Related: related(onePixel)}
	link := ` target="_blank" rel="noreferrer noopener nofollow"`
	for _, c := range []struct {
		name, in string
		options  Options
		want     string
		remote   int
	}{
		{"structure", `<h1>A</h1><p align="center">b<br>c</p>`, Options{}, `<h1>A</h1><p align="center">b<br>c</p>`, 0},
		{"script", `a<script>alert(1)</script>b<p onclick="x()">c</p>`, Options{}, `ab<p>c</p>`, 0},
		{"style element", `<style>p{color:red}</style><p>a</p>`, Options{}, `<p>a</p>`, 0},
		{"named styles", `<p style="color:red; position:fixed; background-color:#fff">a</p>`, Options{}, `<p style="color: red; background-color: #fff;">a</p>`, 0},
		{"a style with a URL", `<p style="color:red;background:url(http://x.test/)">a</p>`, Options{}, `<p style="color: red;">a</p>`, 0},
		{"a style with an escape", `<p style="color:\75rl(x)">a</p>`, Options{}, `<p>a</p>`, 0},
		{"a function in a style", `<p style="width:expression(x); color:rgb(1, 2, 3)">a</p>`, Options{}, `<p style="color: rgb(1, 2, 3);">a</p>`, 0},
		{"links", `<a href="https://x.test/?a=1&amp;b=2" title="no">a</a>`, Options{},
			`<a href="https://x.test/?a=1&amp;b=2" title="https://x.test/?a=1&amp;b=2"` + link + `>a</a>`, 0},
		{"mail", `<a href="mailto:a@b.test">a</a>`, Options{}, `<a href="mailto:a@b.test" title="mailto:a@b.test"` + link + `>a</a>`, 0},
		{"other links", `<a href="javascript:alert(1)">a</a><a href="data:text/html,x">b</a><a href="cid:x">c</a><a href="/x">d</a><a href="#x">e</a>`,
			Options{}, `<a>a</a><a>b</a><a>c</a><a>d</a><a>e</a>`, 0},
		{"remote images", `<img src="http://x.test/a.png" alt="A"><img src="https://x.test/b.png"><img src="//x.test/c.png">`, Options{},
			`<img alt="A"><img><img>`, 2},
		{"remote images wanted", `<img alt="A" src="http://x.test/a.png" srcset="http://y.test/ 2x">`, Options{Images: true},
			`<img alt="A" src="http://x.test/a.png" referrerpolicy="no-referrer">`, 1},
		{"an image in the text", `<img src="cid:a%40b"><img src="cid:other">`, gif, `<img src="data:image/gif;base64,` + onePixel + `"><img>`, 0},
		{"an image that is none", `<img src="cid:a@b">`, Options{Related: related(base64.StdEncoding.EncodeToString([]byte("<svg onload=x>")))}, `<img>`, 0},
		{"an image in a URL", `<img src="data:image/gif;base64,` + onePixel + `"><img src="data:text/html;base64,eA==">`, Options{},
			`<img src="data:image/gif;base64,` + onePixel + `"><img>`, 0},
		{"elements left open", `<div><b>a`, Options{}, `<div><b>a</b></div>`, 0},
		{"elements that end nothing", `</div></body>a</td></p>`, Options{}, `a`, 0},
		{"crossed elements", `<b><i>a</b>b</i>`, Options{}, `<b><i>a</i></b>b`, 0},
		{"end tags left out", `<ul><li>a<li>b</ul><table><tr><td>c<td>d<tr><td>e</table><p>f<p>g`, Options{},
			`<ul><li>a</li><li>b</li></ul><table><tr><td>c</td><td>d</td></tr><tr><td>e</td></tr></table><p>f</p><p>g</p>`, 0},
		{"left out elements keep their text", `<form>a<button>b</button><select><option>c</select></form><svg><text>d</text></svg><object>e`, Options{}, `abcde`, 0},
		{"frames do not swallow the rest", `<frameset><frame src="x">a<noscript>b`, Options{}, `ab`, 0},
		{"markup in text", `1 &lt; 2 &amp; "3"`, Options{}, `1 &lt; 2 &amp; &#34;3&#34;`, 0},
		{"conditional comment", `<!--[if mso]><img src="http://x.test/"><![endif]-->a`, Options{}, `a`, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			found, err := NewSanitizer().Write(&out, htmlPart(t, c.in), c.options)
			if err != nil || out.String() != c.want || found != (Found{Remote: c.remote}) {
				t.Errorf("got  %s\nwant %s\n%+v, %v", out.String(), c.want, found, err)
			}
		})
	}
}

// TestSanitizeCharset reads the charset in the header, and else the one in the HTML.
func TestSanitizeCharset(t *testing.T) {
	for _, c := range []struct{ name, header, text string }{
		{"in the header", "; charset=iso-8859-1", "citt\xe0"},
		{"in the HTML", "", "<meta charset=iso-8859-1>citt\xe0"},
		{"nowhere, UTF-8", "", "città"},
		{"nowhere, Windows-1252", "", "citt\xe0"},
		{"the header counts", "; charset=utf-8", "<meta charset=iso-8859-15>città"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			if _, err := NewSanitizer().Write(&out, &partsOf(t, "Content-Type: text/html"+c.header+"\n\n"+c.text)[0], Options{}); err != nil ||
				strings.TrimSpace(out.String()) != "città" {
				t.Errorf("%q, %v", out.String(), err)
			}
		})
	}
}

// TestSanitizeImagesBound names one image more often than maxImages allows.
func TestSanitizeImagesBound(t *testing.T) {
	image, _ := base64.StdEncoding.DecodeString(onePixel)
	content := base64.StdEncoding.EncodeToString(append(image, make([]byte, 5<<20)...))
	l := partsOf(t, "Content-Type: image/gif\nContent-Transfer-Encoding: base64\n\n"+content)[0]
	var out counter
	_, err := NewSanitizer().Write(&out, htmlPart(t, strings.Repeat(`<img src="cid:a">`, 1000)), Options{Related: map[string]*pec.Located{"a": &l}})
	if err != nil || out > maxImages*4/3+64<<10 || out < 2*5<<20 {
		t.Errorf("%d bytes, %v", out, err)
	}
}

// counter counts what is written.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// FuzzSanitize checks that what comes out is balanced and holds nothing that the allowlist does not name, and that it stays as it is when it goes
// through once more.
func FuzzSanitize(f *testing.F) {
	for _, s := range []string{
		`<p style="color:red">a<script>b</script>`, `<a href="https://x.test/">a</a><img src=cid:a><img src=http://x.test/>`, `<table><tr><td><div></table></div>`,
		`<svg><style><img src=x></style></svg>`, `<math><mi><mglyph><style><a title="</style>">`, `<noscript><p title="</noscript>">`, `<textarea><p>`, "<plaintext>a<b>",
		`<b><a title="--&gt;&lt;img&gt;">x`, `<!--><p>--!>`, `<![CDATA[<p>]]>`,
	} {
		f.Add(s)
	}
	s := NewSanitizer()
	f.Fuzz(func(t *testing.T, text string) {
		var once, twice strings.Builder
		if _, err := s.Write(&once, htmlPart(t, text), Options{}); err != nil {
			t.Fatal(err)
		}
		checkHarmless(t, once.String())
		if _, err := s.Write(&twice, htmlPart(t, strings.ReplaceAll(once.String(), "\r\n", "\n")), Options{}); err != nil {
			t.Fatal(err)
		}
		checkHarmless(t, twice.String())
	})
}

// checkHarmless reads HTML as a browser does.
func checkHarmless(t *testing.T, text string) {
	t.Helper()
	// Inside a div, as in a page. What closes it would stand beside it.
	doc, err := html.Parse(strings.NewReader("<html><head></head><body><div id=mail>" + text + "</div><hr id=end></body></html>"))
	if err != nil {
		t.Fatalf("%v: %q", err, text)
	}
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		switch n.Data {
		case "script", "style", "link", "meta", "base", "iframe", "object", "embed", "form", "input", "svg", "math", "video", "audio", "template", "noscript":
			t.Fatalf("element %s in %q", n.Data, text)
		}
		for _, a := range n.Attr {
			if strings.HasPrefix(a.Key, "on") || a.Key == "src" && !strings.HasPrefix(a.Val, "data:image/") || a.Key == "srcset" || a.Key == "background" {
				t.Fatalf("attribute %s=%q in %q", a.Key, a.Val, text)
			}
			if a.Key == "id" && a.Val == "end" && n.Parent.Data != "body" {
				t.Fatalf("%q stays open", text)
			}
		}
	}
}
