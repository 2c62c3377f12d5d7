package part

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxParameters is how many bytes of a value Params reads.
const maxParameters = 8 << 10

// RawParams is Params without the conversion to UTF-8, as IMAP shows parameters (RFC 2231 section 6): pieces are joined, and a parameter with a
// charset keeps its escapes under a name that ends in an asterisk, as in "filename*".
func RawParams(value string) (string, map[string]string) {
	name, rest := nameOf(clip(value, maxParameters))
	params, pieces := parametersOf(rest)
	for base, list := range pieces {
		if encoded, val, ok := joinRaw(list); ok && encoded {
			params[base+"*"] = val
		} else if ok {
			params[base] = val
		}
	}
	return name, params
}

// nameOf splits a value into its media type or disposition and what follows.
func nameOf(value string) (name, rest string) {
	if name, rest = mediaType(value); name == "" {
		name, rest = token(value)
	}
	return name, rest
}

// Params reads a value such as Content-Type or Content-Disposition (RFC 2045 5.1). It returns the media type or disposition in lower case,
// or "", and the parameters, with names in lower case and values unquoted. It joins parameters in pieces or with a charset (RFC 2231) and
// converts them to UTF-8; they win over a plain parameter of the same name. Otherwise the first of a name counts. It never fails, and
// leaves out what is unreadable. It reads at most 8 KiB of the value.
func Params(value string) (string, map[string]string) {
	name, rest := nameOf(clip(value, maxParameters))
	params, pieces := parametersOf(rest)
	for base, list := range pieces {
		if val, ok := join(list); ok {
			params[base] = val
		}
	}
	return name, params
}

// parametersOf returns the plain parameters of a value, and the pieces of the others by their name.
func parametersOf(rest string) (params map[string]string, pieces map[string][]piece) {
	params, pieces = make(map[string]string), make(map[string][]piece)
	for c := parameters(rest); c.next(); {
		key, val := c.parameter()
		if key == "" {
			continue
		}
		base, section, star := strings.Cut(key, "*")
		if !star {
			if _, ok := params[key]; !ok {
				params[key] = val
			}
			continue
		}
		p := piece{value: val}
		section, p.encoded = strings.CutSuffix(section, "*")
		if section == "" {
			p.encoded = true
		} else if n, err := strconv.ParseUint(section, 10, 16); err == nil {
			p.number = int(n)
		} else {
			continue
		}
		pieces[base] = append(pieces[base], p)
	}
	return params, pieces
}

// piece is one section of a parameter in the form of RFC 2231.
type piece struct {
	number  int
	encoded bool
	value   string
}

// joinRaw joins the sections of a parameter, up to the first missing one, with their escapes. If any of them is encoded, all are in the result.
func joinRaw(list []piece) (encoded bool, value string, ok bool) {
	slices.SortStableFunc(list, func(a, b piece) int { return a.number - b.number })
	encoded = slices.ContainsFunc(list, func(p piece) bool { return p.encoded })
	var b strings.Builder
	next := 0
	for _, p := range list {
		if p.number > next {
			break
		}
		if p.number < next {
			continue
		}
		if next++; encoded && !p.encoded {
			p.value = escaped(p.value)
		}
		b.WriteString(p.value)
	}
	return encoded, b.String(), next > 0
}

// escaped returns a text with percent escapes for all but letters, digits and a few signs (RFC 2231 section 7, attribute-char).
func escaped(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c > ' ' && c < 0x7f && !strings.ContainsRune("*'%()<>@,;:\\\"/[]?=", rune(c)) {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// join joins the sections of a parameter, up to the first missing one.
func join(list []piece) (string, bool) {
	slices.SortStableFunc(list, func(a, b piece) int { return a.number - b.number })
	if list[0].number != 0 {
		return "", false
	}
	charset := ""
	var b []byte
	next := 0
	for _, p := range list {
		if p.number > next {
			break
		}
		if p.number < next {
			continue
		}
		if next++; !p.encoded {
			b = append(b, p.value...)
			continue
		}
		val := p.value
		if p.number == 0 {
			if parts := strings.SplitN(val, "'", 3); len(parts) == 3 {
				charset, val = parts[0], parts[2]
			}
		}
		b = appendUnescaped(b, val, '%')
	}
	return toUTF8(charset, b), true
}

// mediaType returns the media type at the start of a value in lower case, or "", and what follows it.
func mediaType(value string) (string, string) {
	major, rest := token(value)
	if major == "" || rest == "" || rest[0] != '/' {
		return "", value
	}
	minor, rest := token(rest[1:])
	// RFC 6838 4.2 allows 127 bytes each.
	if minor == "" || len(major) > 127 || len(minor) > 127 {
		return "", value
	}
	return major + "/" + minor, rest
}

// token returns the token (RFC 2045 5.1) at the start of a value in lower case, and what follows it and the comments around it.
func token(value string) (string, string) {
	c := cursor{rest: value}
	c.space()
	n := 0
	for n < len(c.rest) && isTokenChar(c.rest[n]) {
		n++
	}
	t := strings.ToLower(c.rest[:n])
	c.rest = c.rest[n:]
	c.space()
	return t, c.rest
}

func isTokenChar(b byte) bool {
	return b > ' ' && b < 0x7f && strings.IndexByte(`()<>@,;:\"/[]?=`, b) < 0
}

// encodingToken returns a transfer encoding in lower case, without comments.
func encodingToken(value string) string {
	t, _ := token(value)
	return t
}

// parameter returns the plain parameter of a name in lower case, or else the one in the form of RFC 2231, or "".
func parameter(value, name string) string {
	_, rest := mediaType(value)
	for c := parameters(rest); c.next(); {
		if key, val := c.parameter(); key == name {
			return val
		}
	}
	if strings.IndexByte(value, '*') < 0 {
		return ""
	}
	_, params := Params(value)
	return params[name]
}

// cursor goes through the parameters of a value. It only moves forward.
type cursor struct {
	rest string
	at   bool // rest begins with a parameter
}

// parameters returns a cursor before the first parameter in what follows a media type. The semicolon before the parameter may be missing.
func parameters(rest string) cursor {
	return cursor{rest: rest, at: rest != "" && rest[0] != ';'}
}

// space skips white space and comments (RFC 5322 3.2.2).
func (c *cursor) space() {
	for c.rest != "" {
		switch c.rest[0] {
		case ' ', '\t', '\r', '\n':
			c.rest = c.rest[1:]
		case '(':
			c.rest = c.rest[commentEnd(c.rest):]
		default:
			return
		}
	}
}

// commentEnd returns the length of the comment at the start of s, or of all of s if the comment is not closed.
func commentEnd(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(s)
}

// next moves to the next parameter and reports whether there is one.
func (c *cursor) next() bool {
	if c.at {
		c.at = false
		return true
	}
	if i := strings.IndexByte(c.rest, ';'); i >= 0 {
		c.rest = c.rest[i+1:]
		return true
	}
	return false
}

// parameter takes one parameter. It returns its name in lower case, or "" if there is none, and its value unquoted.
func (c *cursor) parameter() (name, value string) {
	c.space()
	n := strings.IndexAny(c.rest, "=; \t\"")
	if n < 0 {
		return "", ""
	}
	name = strings.ToLower(c.rest[:n])
	c.rest = c.rest[n:]
	c.space()
	if c.rest == "" || c.rest[0] != '=' {
		return "", ""
	}
	c.rest = c.rest[1:]
	c.space()
	if strings.HasPrefix(c.rest, `"`) {
		if isFileName(name) {
			return name, c.quotedName()
		}
		value, _ = c.quoted()
		return name, value
	}
	n = strings.IndexByte(c.rest, ';')
	if n < 0 {
		n = len(c.rest)
	}
	value = strings.TrimRight(c.rest[:n], " \t")
	c.rest = c.rest[n:]
	// Mail programs send file names with spaces unquoted. In other parameters a space ends the value.
	if !isFileName(name) {
		if i := strings.IndexAny(value, " \t"); i >= 0 {
			value = value[:i]
		}
	}
	return name, value
}

// isFileName reports whether a parameter, or a piece of it (RFC 2231), is the name of a file.
func isFileName(name string) bool {
	name, _, _ = strings.Cut(name, "*")
	return name == "name" || name == "filename"
}

// quotedName takes the quoted name of a file. Mail programs do not escape quotes in names, so a quote ends the name only if the value ends
// after it, or another parameter begins. If no quote does, the first one ends the name, as in any quoted string.
func (c *cursor) quotedName() string {
	s := c.rest[1:]
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
		case s[i] == '"' && endsParameter(s[i+1:]):
			c.rest = s[i+1:]
			return unquoted(s[:i])
		}
	}
	name, _ := c.quoted()
	return name
}

// endsParameter reports whether a parameter ends at a quote, by what follows: nothing; a semicolon, and nothing or another parameter after
// it; or, without the semicolon, a quoted parameter. A comment may stand before the semicolon or the end.
func endsParameter(rest string) bool {
	rest = afterComment(rest)
	next := strings.TrimLeft(rest, space+";")
	if next == "" {
		return true
	}
	n := 0
	for n < len(next) && isTokenChar(next[n]) {
		n++
	}
	value := strings.TrimLeft(next[n:], space)
	if n == 0 || !strings.HasPrefix(value, "=") {
		return false
	}
	between := rest[:len(rest)-len(next)]
	return strings.Contains(between, ";") || between != "" && strings.HasPrefix(value, `="`)
}

// space is the white space between the elements of a value.
const space = " \t\r\n"

// afterComment returns what follows a comment at the start of rest, if a parameter ends there. Otherwise it returns all of rest, as for
// ` (1).pdf"` in `"A" (1).pdf"`.
func afterComment(rest string) string {
	const most = 256 // bytes of a comment
	comment := strings.TrimLeft(rest, space)
	if !strings.HasPrefix(comment, "(") {
		return rest
	}
	n := commentEnd(comment[:min(len(comment), most)])
	after := strings.TrimLeft(comment[n:], space)
	if comment[n-1] == ')' && (after == "" || after[0] == ';') {
		return after
	}
	return rest
}

// unquoted returns the inside of a quoted string, without the backslashes that escape a quote or a backslash.
func unquoted(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\') {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// quoted takes a quoted string and reports whether it is closed; otherwise it goes to the end of the value. A backslash escapes only a quote
// or a backslash, so that paths keep theirs.
func (c *cursor) quoted() (text string, closed bool) {
	s := c.rest[1:]
	if i := strings.IndexAny(s, "\"\\"); i >= 0 && s[i] == '"' {
		c.rest = s[i+1:]
		return s[:i], true
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			c.rest = s[i+1:]
			return b.String(), true
		case s[i] == '\\' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\'):
			i++
		}
		b.WriteByte(s[i])
	}
	c.rest = ""
	return b.String(), false
}
