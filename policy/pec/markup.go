package pec

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// maxWindow is how many bytes a markupReader looks ahead.
	maxWindow = 32 << 10
	// maxTag is the longest tag, in bytes, less than maxWindow.
	maxTag = 8 << 10
	// maxReference is the longest numeric reference that is read, without & and ;.
	maxReference = 12
)

// vocabulary lists the elements that the rules of a document know, each with its parent.
type vocabulary struct {
	root       string
	containers map[string]string // those that hold others
	facts      map[string]string // those that hold text
}

// knows reports whether an element is one of the rules.
func (v *vocabulary) knows(name string) bool {
	return v.facts[name] != "" || v.containers[name] != "" || name == v.root
}

// markupReader reads a document that ought to be XML: tags in order, and the text of an element. It expands nothing, never fails on
// content, and takes for text what cannot be markup.
type markupReader struct {
	from    *bufio.Reader
	rules   *vocabulary
	found   bool     // walk met the root element
	path    []string // names of open elements, outermost first, without those whose text was taken
	at      int64    // bytes read
	endless [3]int64 // by kind of section: no section ends before this position
	doctype bool     // a document type declaration was met
}

// newMarkupReader returns a reader of a document whose part has at most size bytes, however encoded.
func newMarkupReader(r io.Reader, size int64, rules *vocabulary) markupReader {
	return markupReader{from: bufio.NewReaderSize(r, windowFor(size)), rules: rules}
}

// windowFor returns the size of a buffer for a document of size bytes: all of a short one fits. No byte becomes more than three in UTF-8.
func windowFor(size int64) int { return int(min(maxWindow, 3*min(size, maxWindow)+16)) }

var errNoRoot = errors.New("unexpected root element")

// walk calls open with each start tag up to the end of the root element or the document; the path is empty for the root. Open either takes the
// element's text with text, or adds the element to the path with enter. Errors are those of open and of the reader, and errNoRoot.
func (m *markupReader) walk(isRoot func(name string) bool, open func(tag) error) error {
	for {
		t, err := m.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case t.end:
			m.close(t.name)
		case !m.found && !isRoot(t.name):
			return errNoRoot
		default:
			m.found = true
			if err := open(t); err != nil {
				return err
			}
		}
		if m.found && len(m.path) == 0 {
			return nil
		}
	}
}

// enter adds an element to the path, unless it is empty. It reports false if the path already has longest elements.
func (m *markupReader) enter(t tag, longest int) bool {
	if !t.empty && len(m.path) < longest {
		m.path = append(m.path, t.name)
		return true
	}
	return t.empty
}

// close ends an element, and those left open inside it. It ignores an end without a beginning.
func (m *markupReader) close(name string) {
	for k := len(m.path) - 1; k >= 0; k-- {
		if m.path[k] == name {
			m.path = m.path[:k]
			return
		}
	}
}

// sections are the kinds of markup whose content is not markup, without their <.
var sections = [...]struct{ begin, end string }{{"!--", "-->"}, {"![CDATA[", "]]>"}, {"?", "?>"}}

// sectionAt returns the kind of section that begins after a <, or -1.
func sectionAt(b []byte) int {
	for kind, s := range sections {
		if bytes.HasPrefix(b, []byte(s.begin)) {
			return kind
		}
	}
	return -1
}

// sectionEnd returns the length of a section, or 0 if it does not end.
func sectionEnd(b []byte, kind int) int {
	s := &sections[kind]
	i := bytes.Index(b[len(s.begin):], []byte(s.end))
	if i < 0 {
		return 0
	}
	return len(s.begin) + i + len(s.end)
}

// discard skips n bytes.
func (m *markupReader) discard(n int) error {
	n, err := m.from.Discard(n)
	m.at += int64(n)
	return err
}

// tag is a start or end tag.
type tag struct {
	name  string // without a prefix
	end   bool   // it is an end tag
	empty bool   // it ends with />
	attr  []byte // what follows the name, valid until the next read
}

// peek returns the next n bytes, or all that are left. Its error is nil if there are any.
func (m *markupReader) peek(n int) ([]byte, error) {
	b, err := m.from.Peek(min(n, m.from.Size()))
	if len(b) > 0 || err == nil {
		return b, nil
	}
	return nil, err
}

// next returns the next tag and moves past it. It skips comments, processing instructions, CDATA sections and a document type declaration. At
// the end the error is io.EOF.
func (m *markupReader) next() (tag, error) {
	for {
		text, err := m.from.ReadSlice('<')
		m.at += int64(len(text))
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil:
			return tag{}, err
		}
		b, err := m.peek(maxTag)
		if err != nil {
			return tag{}, err
		}
		if b[0] == '!' || b[0] == '?' {
			if err := m.skip(); err != nil {
				return tag{}, err
			}
			continue
		}
		if t, n := parseTag(b); n > 0 {
			t.attr = bytes.Clone(t.attr)
			return t, m.discard(n)
		}
	}
}

// skip moves past markup that begins with <! or <?, after the <. Markup that does not end within the window is text.
func (m *markupReader) skip() error {
	const doctype = "!DOCTYPE"
	b, err := m.peek(len(doctype) + 1)
	if err != nil {
		return err
	}
	kind := sectionAt(b)
	declares := !m.doctype && len(b) >= len(doctype) && strings.EqualFold(string(b[:len(doctype)]), doctype)
	if !declares && (kind < 0 || m.at < m.endless[kind]) {
		return nil
	}
	if b, err = m.peek(maxWindow); err != nil {
		return err
	}
	if declares {
		m.doctype = true
		return m.discard(doctypeEnd(b))
	}
	n := sectionEnd(b, kind)
	if n == 0 {
		m.endless[kind] = m.at + int64(len(b)) - int64(len(sections[kind].end))
	}
	return m.discard(n)
}

// doctypeEnd returns the length of a document type declaration, or 0 if it does not end.
func doctypeEnd(b []byte) int {
	quote, depth := byte(0), 0
	for i, c := range b {
		switch {
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '[':
			depth++
		case c == ']':
			depth--
		case c == '>' && depth <= 0:
			return i + 1
		}
	}
	return 0
}

// parseTag reads a tag, after its <, and returns its length: 0 if it is not one. A tag without > ends before the next <.
func parseTag(b []byte) (t tag, n int) {
	i := 0
	if t.end = b[0] == '/'; t.end {
		i++
	}
	start := i
	for i < len(b) && isNameChar(b[i]) {
		i++
	}
	name := b[start:i]
	if k := bytes.LastIndexByte(name, ':'); k >= 0 {
		name = name[k+1:]
	}
	if len(name) == 0 || !isNameStart(b[start]) || i < len(b) && !isSpace(b[i]) && b[i] != '>' && b[i] != '/' && b[i] != '<' {
		return tag{}, 0
	}
	t.name = string(name[:min(len(name), 64)])
	start = i
	limit := len(b)
	if k := bytes.IndexByte(b[i:], '<'); k >= 0 {
		limit = i + k
	}
	quote := byte(0)
	for ; i < len(b); i++ {
		switch c := b[i]; {
		case c == '<':
			t.attr = b[start:i]
			return t, i
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			// A quote that is never closed does not count.
			if bytes.IndexByte(b[i+1:limit], c) >= 0 {
				quote = c
			}
		case c == '>':
			t.attr = b[start:i]
			if t.empty = !t.end && bytes.HasSuffix(t.attr, []byte("/")); t.empty {
				t.attr = t.attr[:len(t.attr)-1]
			}
			return t, i + 1
		}
	}
	return tag{}, 0
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func isNameStart(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c == ':' || c >= 0x80
}

func isNameChar(c byte) bool { return isNameStart(c) || c >= '0' && c <= '9' || c == '-' || c == '.' }

// attribute returns the value of an attribute, trimmed and at most maxValue bytes, or "".
func (t *tag) attribute(name string) string {
	for b := t.attr; len(b) > 0; {
		b = bytes.TrimLeft(b, " \t\r\n/")
		n := bytes.IndexAny(b, "= \t\r\n")
		if n < 0 {
			return ""
		}
		key := b[:n]
		if k := bytes.LastIndexByte(key, ':'); k >= 0 {
			key = key[k+1:]
		}
		b = bytes.TrimLeft(b[n:], " \t\r\n")
		if len(b) == 0 || b[0] != '=' {
			continue
		}
		b = bytes.TrimLeft(b[1:], " \t\r\n")
		var value []byte
		if len(b) > 0 && (b[0] == '"' || b[0] == '\'') && bytes.IndexByte(b[1:], b[0]) >= 0 {
			end := 1 + bytes.IndexByte(b[1:], b[0])
			value, b = b[1:end], b[end+1:]
		} else {
			n := bytes.IndexAny(b, " \t\r\n")
			if n < 0 {
				n = len(b)
			}
			value, b = bytes.Trim(b[:n], "\"'"), b[n:]
		}
		if string(key) == name {
			return clipRunes(decodeText(string(value), true), maxValue)
		}
	}
	return ""
}

// text returns the raw text of the element whose start tag was just read, at most what a fact needs, and whether the text is whole rather than
// cut off by the end of the document. It ends before the element's end tag. If the surrounding element ends, or this one begins again, before
// that tag comes, the text ends before the first tag of the rules inside it.
func (m *markupReader) text(name string) (string, bool, error) {
	const overlap = maxTag / 16
	kept, long := "", false
	for n := 512; ; n = min(8*n, maxWindow) {
		b, err := m.peek(n)
		if errors.Is(err, io.EOF) {
			return kept, false, nil
		}
		if err != nil {
			return "", false, err
		}
		end := textEnd(b, m.rules, name, long)
		last := len(b) < n // nothing follows
		switch {
		case end < 0 && !last && n < maxWindow:
			continue
		case end < 0 && last:
			end = len(b)
		case end < 0:
			// No fact is that long: skip what is beyond the window, up to the next tag of the rules.
			end = len(b) - overlap
			if !long {
				kept, long = string(b[:2*maxText]), true
			}
			if err := m.discard(end); err != nil {
				return "", false, err
			}
			continue
		}
		if !long {
			kept = string(b[:end])
		}
		return kept, !last || end < len(b), m.discard(end)
	}
}

// textEnd returns where the text of an element ends, or -1 if b does not show it. With any, every tag of the rules ends it.
func textEnd(b []byte, rules *vocabulary, name string, any bool) int {
	first := -1 // a tag of the rules in the text
	var endless [len(sections)]bool
	for i := 0; i < len(b); i++ {
		k := bytes.IndexByte(b[i:], '<')
		if k < 0 || i+k+1 >= len(b) {
			return -1
		}
		i += k
		if kind := sectionAt(b[i+1:]); kind >= 0 {
			if !endless[kind] {
				n := sectionEnd(b[i+1:], kind)
				endless[kind] = n == 0
				i += n
			}
			continue
		}
		t, n := parseTag(b[i+1 : min(len(b), i+1+maxTag)])
		if n == 0 {
			continue
		}
		known := rules.knows(t.name)
		switch {
		case t.name == name && t.end, any && known:
			return i
		case t.name == name, t.end && rules.facts[t.name] == "" && known:
			// The element's own end tag is missing.
			if first >= 0 {
				return first
			}
			return i
		case known && first < 0:
			first = i
		}
	}
	return -1
}

// decodeText decodes raw text: CDATA sections become their content, comments vanish, the five entities of XML and numeric references become
// characters. Other references stay as written. Markup stays too in free text; elsewhere tags are left out. The result is valid UTF-8,
// trimmed.
func decodeText(raw string, free bool) string {
	d := textDecoder{rest: []byte(raw), free: free}
	var out []byte
	for len(d.rest) > 0 {
		i := bytes.IndexAny(d.rest, "<&")
		if i < 0 {
			break
		}
		out = append(out, d.rest[:i]...)
		d.rest = d.rest[i:]
		text, n := d.markup()
		if n == 0 {
			text, n = d.rest[:1], 1
		}
		out = append(out, text...)
		d.rest = d.rest[n:]
	}
	out = append(out, d.rest...)
	return strings.TrimSpace(strings.ToValidUTF8(string(out), string(utf8.RuneError)))
}

// textDecoder goes through the text of an element.
type textDecoder struct {
	rest    []byte
	free    bool
	endless [len(sections)]bool // no section of that kind ends in the rest
}

// markup decodes what begins with < or &, and returns the result and the length read; 0 for a character that stands for itself.
func (d *textDecoder) markup() ([]byte, int) {
	if d.rest[0] == '&' {
		text, n := decodeReference(d.rest)
		return []byte(text), n
	}
	b := d.rest[1:]
	if kind := sectionAt(b); kind >= 0 {
		if d.endless[kind] || sections[kind].begin == "?" {
			return nil, 0
		}
		n := sectionEnd(b, kind)
		switch d.endless[kind] = n == 0; {
		case n == 0:
			return nil, 0
		case sections[kind].begin == "!--":
			return nil, 1 + n
		}
		return b[len(sections[kind].begin) : n-len(sections[kind].end)], 1 + n
	}
	if len(b) == 0 || d.free {
		return nil, 0
	}
	if _, n := parseTag(b); n > 0 {
		return nil, 1 + n
	}
	return nil, 0
}

// decodeReference decodes what begins with &, and returns the character and the length read; 0 if it stands for itself.
func decodeReference(b []byte) (string, int) {
	end := bytes.IndexByte(b[:min(len(b), maxReference+2)], ';')
	if end < 0 {
		return "", 0
	}
	name := string(b[1:end])
	switch name {
	case "lt":
		return "<", end + 1
	case "gt":
		return ">", end + 1
	case "amp":
		return "&", end + 1
	case "apos":
		return "'", end + 1
	case "quot":
		return `"`, end + 1
	}
	digits, ok := strings.CutPrefix(name, "#")
	base := 10
	if hex, isHex := strings.CutPrefix(digits, "x"); isHex {
		digits, base = hex, 16
	}
	n, err := strconv.ParseUint(digits, base, 32)
	if !ok || err != nil || n > utf8.MaxRune || !isXMLChar(rune(n)) {
		return "", 0
	}
	return string(rune(n)), end + 1
}

// isXMLChar reports whether XML 1.0 allows a character (section 2.2).
func isXMLChar(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' || r >= ' ' && r <= 0xd7ff || r >= 0xe000 && r <= 0xfffd || r >= 0x10000 && r <= 0x10ffff
}

// clipRunes cuts a string to at most max bytes, without splitting a character.
func clipRunes(s string, max int) string {
	if len(s) <= max {
		return s
	}
	for max > 0 && !utf8.RuneStart(s[max]) {
		max--
	}
	return s[:max]
}
