package body

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/base64"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"runtime"
	"strings"

	"github.com/microcosm-cc/bluemonday"
	"golang.org/x/net/html"
	"golang.org/x/net/html/charset"

	"copialettere/policy/pec"
)

const (
	// MaxHTML is how many bytes of an HTML text are shown, in UTF-8.
	MaxHTML = 2 << 20

	maxElements   = 50000    // of one text
	maxNesting    = 100      // elements in each other; deeper ones are left out, and their content stays
	maxAttributes = 40       // of one element
	maxStyle      = 4 << 10  // bytes of one style attribute
	maxURL        = 8 << 10  // bytes of a link
	maxImages     = 16 << 20 // bytes of all images by Content-ID in one text, before base64
)

// smallHTML is how many bytes of HTML, with their transfer encoding, take next to no time.
const smallHTML = 64 << 10

// Sanitizer makes HTML harmless. It may be used concurrently. At most half of the processors work on large texts at a time, so that hostile ones do not
// hold up deliveries; the others wait.
type Sanitizer struct {
	policy *bluemonday.Policy
	style  *regexp.Regexp // one declaration
	large  chan struct{}  // has an element for each large text under way
}

// Options say how a text is shown.
type Options struct {
	Images  bool                    // load images from other servers
	Related map[string]*pec.Located // as View.Related; nil leaves these images out
	Room    int64                   // bytes for those images; 0 for maxImages
}

// Found is what a text has that was not shown.
type Found struct {
	Remote int  // images on other servers; with Options.Images they are shown
	Cut    bool // the text goes on: it is longer than what is shown
}

// NewSanitizer returns a Sanitizer.
func NewSanitizer() *Sanitizer {
	p := bluemonday.NewPolicy()
	elements := []string{
		"a", "abbr", "acronym", "address", "article", "aside", "b", "bdi", "bdo", "big", "blockquote", "br", "caption", "center", "cite", "code", "col",
		"colgroup", "dd", "del", "dfn", "dir", "div", "dl", "dt", "em", "figcaption", "figure", "font", "footer", "h1", "h2", "h3", "h4", "h5", "h6",
		"header", "hr", "i", "img", "ins", "kbd", "li", "main", "mark", "nav", "ol", "p", "pre", "q", "s", "samp", "section", "small", "span", "strike",
		"strong", "sub", "sup", "table", "tbody", "td", "tfoot", "th", "thead", "time", "tr", "tt", "u", "ul", "var", "wbr",
	}
	p.AllowElements(elements...)
	p.AllowNoAttrs().OnElements(elements...)
	// Of an element that is left out the content stays. bluemonday would drop that of these to the end of the text if they are not closed.
	p.AllowElementsContent("frame", "frameset", "object", "noscript", "noframes", "noembed")

	number := regexp.MustCompile(`^[0-9]{1,5}%?$`)
	word := regexp.MustCompile(`^[a-zA-Z0-9#,. '"-]{1,100}$`)
	cells := []string{"table", "thead", "tbody", "tfoot", "tr", "td", "th", "col", "colgroup"}
	p.AllowAttrs("dir").Matching(regexp.MustCompile(`(?i)^(ltr|rtl|auto)$`)).Globally()
	p.AllowAttrs("lang").Matching(regexp.MustCompile(`^[a-zA-Z0-9-]{1,35}$`)).Globally()
	p.AllowAttrs("align", "valign").Matching(word).Globally()
	p.AllowAttrs("bgcolor").Matching(word).OnElements(cells...)
	p.AllowAttrs("width", "height").Matching(number).OnElements(append(cells, "img", "hr")...)
	p.AllowAttrs("border", "cellpadding", "cellspacing", "hspace", "vspace").Matching(number).OnElements("table", "img")
	p.AllowAttrs("colspan", "rowspan", "span").Matching(regexp.MustCompile(`^[0-9]{1,3}$`)).OnElements(cells...)
	p.AllowAttrs("nowrap").OnElements("td", "th")
	p.AllowAttrs("color", "face", "size").Matching(word).OnElements("font")
	p.AllowAttrs("start", "type", "value").Matching(word).OnElements("ol", "ul", "li")
	p.AllowAttrs("alt", "title", "src").OnElements("img")
	p.AllowAttrs("href").OnElements("a")

	p.RequireParseableURLs(true)
	p.AllowURLSchemes("http", "https", "mailto", "cid")
	p.AllowDataURIImages()

	p.AllowAttrs("style").Matching(regexp.MustCompile("^(?:" + declaration + "; ?)+$")).Globally()
	return &Sanitizer{p, regexp.MustCompile("^" + declaration + "$"), make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))}
}

// declaration matches one declaration of a style as plainStyle writes it. Functions that name a URL, escapes, comments and open strings fail to match.
// What a browser would have to guess at never reaches it.
const declaration = `(?:background-color|border|border-(?:bottom|left|right|top)|border-(?:(?:bottom|left|right|top)-)?(?:color|style|width)|` +
	`border-(?:collapse|radius|spacing)|clear|color|direction|display|float|font|font-(?:family|size|style|variant|weight)|height|letter-spacing|` +
	`line-height|list-style-type|margin|margin-(?:bottom|left|right|top)|max-width|min-width|overflow-wrap|padding|padding-(?:bottom|left|right|top)|` +
	`table-layout|text-(?:align|decoration|indent|transform)|vertical-align|white-space|width|word-(?:break|spacing|wrap)): ` +
	`(?:[a-zA-Z0-9#%.,!+ -]|'[a-zA-Z0-9 ,.-]*'|"[a-zA-Z0-9 ,.-]*"|(?:rgb|hsl)a?\([0-9., %/-]{1,60}\))+`

// Write writes the HTML of a part, made harmless, as the content of an element: all that it opens it closes, after an error too. Errors are those of the message and of w.
func (s *Sanitizer) Write(w io.Writer, l *pec.Located, o Options) (Found, error) {
	clean, cut, err := s.clean(l)
	if err != nil {
		return Found{}, err
	}
	out := bufio.NewWriter(w)
	r := rewriter{out: out, options: o, room: cmp.Or(o.Room, maxImages), open: make(map[string]int)}
	err = r.rewrite(clean)
	r.found.Cut = cut
	if flushed := out.Flush(); err == nil {
		err = flushed
	}
	return r.found, err
}

// clean returns the HTML of a part with what the allowlist has, and whether it was cut. It waits for its turn, and then for nothing but the journal.
func (s *Sanitizer) clean(l *pec.Located) (clean *bytes.Buffer, cut bool, err error) {
	if l.Part.End-l.Part.Body > smallHTML {
		s.large <- struct{}{}
		defer func() { <-s.large }()
	}
	source := &limited{from: decodeHTML(l), left: MaxHTML}
	var bounded bytes.Buffer
	cut, err = s.boundTags(&bounded, source)
	if err == nil {
		err = source.fault
	}
	if err != nil {
		return nil, false, fmt.Errorf("read HTML: %w", err)
	}
	clean = new(bytes.Buffer)
	if err := s.policy.SanitizeReaderToWriter(&bounded, clean); err != nil {
		return nil, false, fmt.Errorf("sanitize HTML: %w", err)
	}
	return clean, cut || source.cut, nil
}

// decodeHTML returns the HTML of a part in UTF-8. Where its header names no charset, the one that the HTML itself names counts.
func decodeHTML(l *pec.Located) io.Reader {
	if l.Part.Charset() != "" {
		return l.Text()
	}
	raw := bufio.NewReader(l.Content())
	beginning, _ := raw.Peek(1024) // the error comes again at the next read
	if _, name, certain := charset.DetermineEncoding(beginning, ""); certain && name != "utf-8" {
		if r, err := charset.NewReaderLabel(name, raw); err == nil {
			return r
		}
	}
	return l.Text()
}

// limited reads the beginning of a text. It ends a text with an error where the error is, and keeps it.
type limited struct {
	from  io.Reader
	left  int
	cut   bool
	fault error
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left == 0 {
		n, err := io.ReadFull(l.from, make([]byte, 1))
		l.cut = n > 0
		if err != nil && err != io.EOF {
			l.fault = err
		}
		return 0, io.EOF
	}
	n, err := l.from.Read(p[:min(len(p), l.left)])
	l.left -= n
	if err != nil && err != io.EOF {
		l.fault = err
	}
	return n, err
}

// boundTags copies HTML without attributes over maxAttributes, URLs that are too long, and styles that are not among those allowed: the sanitizer only
// leaves out the whole attribute. It reports whether it ended the text because it has too many elements.
func (s *Sanitizer) boundTags(w *bytes.Buffer, from io.Reader) (cut bool, err error) {
	z := html.NewTokenizer(from)
	for elements := 0; ; {
		switch z.Next() {
		case html.ErrorToken:
			if z.Err() == io.EOF {
				return false, nil
			}
			return false, z.Err()
		case html.StartTagToken, html.SelfClosingTagToken:
			if elements++; elements > maxElements {
				return true, nil
			}
			raw := z.Raw()
			if !bytes.ContainsRune(raw, '=') && len(raw) < 100 {
				w.Write(raw)
				continue
			}
			w.WriteString(s.boundAttributes(z))
		case html.CommentToken, html.DoctypeToken:
		default:
			w.Write(z.Raw())
		}
	}
}

// boundAttributes returns the start tag that the tokenizer stands at.
func (s *Sanitizer) boundAttributes(z *html.Tokenizer) string {
	name, more := z.TagName()
	tag := html.Token{Type: html.StartTagToken, Data: string(name)}
	for more {
		var key, value []byte
		key, value, more = z.TagAttr()
		if len(tag.Attr) == maxAttributes {
			continue
		}
		switch k := string(key); {
		case len(k) > 100, k == "href" && len(value) > maxURL, k == "style" && len(value) > maxStyle:
		case k == "style":
			tag.Attr = append(tag.Attr, html.Attribute{Key: k, Val: s.plainStyle(string(value))})
		default:
			tag.Attr = append(tag.Attr, html.Attribute{Key: k, Val: string(value)})
		}
	}
	return tag.String()
}

// plainStyle returns the declarations of a style that are allowed.
func (s *Sanitizer) plainStyle(style string) string {
	var list strings.Builder
	for d := range strings.SplitSeq(style, ";") {
		name, value, _ := strings.Cut(d, ":")
		plain := strings.ToLower(strings.TrimSpace(name)) + ": " + strings.Join(strings.Fields(value), " ")
		if s.style.MatchString(plain) {
			list.WriteString(plain + "; ")
		}
	}
	return strings.TrimSpace(list.String())
}

// rewriter writes sanitised HTML: balanced, its links and images as a reader may have them. It builds no tree: elements that are left open can make
// trees of any size (the formatting elements of HTML 13.2.4.3).
type rewriter struct {
	out     *bufio.Writer
	options Options
	room    int64 // for images
	found   Found
	stack   []string       // open elements, those left out included
	open    map[string]int // how many of each name are in the stack
}

// rewrite closes all that is open after an error too, so that what is said of it stands beside the text.
func (r *rewriter) rewrite(from io.Reader) error {
	err := r.tokens(html.NewTokenizer(from))
	for len(r.stack) > 0 {
		r.pop()
	}
	return err
}

func (r *rewriter) tokens(z *html.Tokenizer) error {
	for {
		switch z.Next() {
		case html.ErrorToken:
			if z.Err() == io.EOF {
				return nil
			}
			return z.Err()
		case html.TextToken:
			r.out.Write(z.Raw())
		case html.StartTagToken, html.SelfClosingTagToken:
			if err := r.start(z.Token()); err != nil {
				return err
			}
		case html.EndTagToken:
			name, _ := z.TagName()
			r.end(string(name))
		}
	}
}

// start writes a start tag, after the end tags that it implies.
func (r *rewriter) start(t html.Token) error {
	for len(r.stack) > 0 && implied(r.stack[len(r.stack)-1], t.Data) {
		r.pop()
	}
	switch t.Data {
	case "img":
		return r.image(t)
	case "br", "hr", "wbr", "col":
		r.out.WriteString(t.String())
		return nil
	case "a":
		t.Attr = linkAttributes(t.Attr)
	}
	r.stack = append(r.stack, t.Data)
	r.open[t.Data]++
	if len(r.stack) <= maxNesting {
		t.Type = html.StartTagToken
		r.out.WriteString(t.String())
	}
	return nil
}

// end writes an end tag, after those of the elements inside. One without a start tag is left out.
func (r *rewriter) end(name string) {
	for r.open[name] > 0 {
		if r.pop() == name {
			return
		}
	}
}

// pop ends the innermost element.
func (r *rewriter) pop() string {
	last := len(r.stack) - 1
	name := r.stack[last]
	if last < maxNesting {
		r.out.WriteString("</" + name + ">")
	}
	r.stack = r.stack[:last]
	r.open[name]--
	return name
}

// implied reports whether the start of an element ends the innermost open one: the end tags that HTML lets authors omit (13.1.2.4).
func implied(open, start string) bool {
	switch start {
	case "li":
		return open == "p" || open == "li"
	case "dt", "dd":
		return open == "p" || open == "dt" || open == "dd"
	case "td", "th":
		return open == "p" || open == "li" || open == "td" || open == "th"
	case "tr":
		return open == "p" || open == "li" || open == "td" || open == "th" || open == "tr"
	case "thead", "tbody", "tfoot":
		return open == "p" || open == "td" || open == "th" || open == "tr" || open == "thead" || open == "tbody" || open == "tfoot"
	case "p", "address", "article", "aside", "blockquote", "center", "dir", "div", "dl", "figure", "footer", "h1", "h2", "h3", "h4", "h5", "h6", "header",
		"hr", "main", "nav", "ol", "pre", "section", "table", "ul":
		return open == "p"
	}
	return false
}

// linkAttributes returns the attributes of a link. Its title is its target, since its text may claim another one.
func linkAttributes(attributes []html.Attribute) []html.Attribute {
	var list []html.Attribute
	for _, a := range attributes {
		if a.Key != "href" {
			if a.Key != "title" {
				list = append(list, a)
			}
			continue
		}
		u, err := url.Parse(a.Val)
		if err != nil || u.Scheme != "mailto" && (u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
			continue
		}
		list = append(list, a, html.Attribute{Key: "title", Val: a.Val}, html.Attribute{Key: "target", Val: "_blank"},
			html.Attribute{Key: "rel", Val: "noreferrer noopener nofollow"})
	}
	return list
}

// image writes an image. One that is not shown keeps its place and its alternative text.
func (r *rewriter) image(t html.Token) error {
	var source string
	shown := t.Attr[:0:0]
	for _, a := range t.Attr {
		if a.Key == "src" {
			source = a.Val
		} else {
			shown = append(shown, a)
		}
	}
	t.Type, t.Attr = html.StartTagToken, shown
	u, err := url.Parse(source)
	if err != nil {
		u = new(url.URL)
	}
	switch u.Scheme {
	case "http", "https":
		if r.found.Remote++; r.options.Images {
			t.Attr = append(t.Attr, html.Attribute{Key: "src", Val: source}, html.Attribute{Key: "referrerpolicy", Val: "no-referrer"})
		}
	case "data":
		t.Attr = append(t.Attr, html.Attribute{Key: "src", Val: source})
	case "cid":
		id, err := url.PathUnescape(u.Opaque)
		if l := r.options.Related[id]; err == nil && l != nil && l.Part.End-l.Part.Body <= r.room {
			return r.related(t, l)
		}
	}
	r.out.WriteString(t.String())
	return nil
}

// related writes an image that is part of the message as a data: URI, if it is an image that ServedType knows. It streams.
func (r *rewriter) related(t html.Token, l *pec.Located) error {
	content := bufio.NewReader(l.Content())
	beginning, _ := content.Peek(sniffed) // the error comes again at the next read
	kind := ImageType(beginning)
	if kind == "" {
		r.out.WriteString(t.String())
		return nil
	}
	r.out.WriteString(strings.TrimSuffix(t.String(), ">") + ` src="data:` + kind + `;base64,`)
	encoder := base64.NewEncoder(base64.StdEncoding, r.out)
	n, err := io.Copy(encoder, io.LimitReader(content, r.room))
	r.room -= n
	encoder.Close() // it writes to a bufio.Writer, which keeps the error
	r.out.WriteString(`">`)
	if err != nil {
		return fmt.Errorf("read image: %w", err)
	}
	return nil
}
