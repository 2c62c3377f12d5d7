package config

import (
	"strings"

	"github.com/BurntSushi/toml"
)

// maxDepth is how deep lists, tables and dotted keys may nest. The file needs three levels; the TOML library takes quadratic
// time over deep nesting.
const maxDepth = 32

// place is the line of a key or of a list item, with the places of everything inside. The places of a file form a tree of the same shape as
// its values. They are here because the TOML library gives positions for its errors only.
type place struct {
	line  int               // from 1; 0 where not found
	keys  map[string]*place // the keys of a table
	items []*place          // the items of a list
}

// key returns the place of a key, or nil. The receiver may be nil.
func (p *place) key(name string) *place {
	if p == nil {
		return nil
	}
	return p.keys[name]
}

// item returns the place of a list item, or nil. The receiver may be nil.
func (p *place) item(i int) *place {
	if p == nil || i >= len(p.items) {
		return nil
	}
	return p.items[i]
}

// find returns the place of a dotted key of bare parts, or nil. For a list of tables it returns the place of the list.
func (p *place) find(key string) *place {
	for part := range strings.SplitSeq(key, ".") {
		p = p.key(part)
	}
	return p
}

// child returns the place of a key, and makes it at the first mention.
func (p *place) child(name string, line int) *place {
	if p.keys == nil {
		p.keys = make(map[string]*place)
	}
	k := p.keys[name]
	if k == nil {
		k = &place{line: line}
		p.keys[name] = k
	}
	return k
}

func (p *place) add(line int) *place {
	item := &place{line: line}
	p.items = append(p.items, item)
	return item
}

// descend follows the parts of a dotted key. A part that names a list of tables stands for its last table (TOML 1.0, Array of Tables).
func (p *place) descend(parts []string, line int) *place {
	for _, part := range parts {
		p = p.child(part, line)
		if n := len(p.items); n > 0 {
			p = p.items[n-1]
		}
	}
	return p
}

// locator walks over TOML text and notes where keys and list items stand. It checks nothing: text that is not TOML gives some tree, and the TOML
// library reports the error.
type locator struct {
	text string
	pos  int
	line int
	deep int // the line at which maxDepth was passed, or 0
}

// locate returns the places of a file, and the line at which it nests deeper than maxDepth, or 0.
func locate(text string) (root *place, deep int) {
	l := &locator{text: text, line: 1}
	root = &place{line: 1}
	table := root
	for {
		l.skipBlank()
		if l.end() {
			return root, l.deep
		}
		start := l.pos
		if l.accept("[") {
			list := l.accept("[")
			line := l.line
			parts := l.keyParts()
			table = root
			if n := len(parts); n > 0 {
				table = root.descend(parts[:n-1], line).child(parts[n-1], line)
			}
			if list {
				table = table.add(line)
			}
			l.accept("]")
			l.accept("]")
		} else {
			l.keyValue(table, 0)
		}
		if l.pos == start {
			l.pos++
		}
	}
}

func (l *locator) end() bool { return l.pos >= len(l.text) || l.deep > 0 }

func (l *locator) accept(s string) bool {
	if strings.HasPrefix(l.text[l.pos:], s) {
		l.pos += len(s)
		return true
	}
	return false
}

// skipSpace skips blanks within a line.
func (l *locator) skipSpace() {
	for l.pos < len(l.text) && (l.text[l.pos] == ' ' || l.text[l.pos] == '\t') {
		l.pos++
	}
}

// skipBlank skips blanks, line ends and comments.
func (l *locator) skipBlank() {
	for l.pos < len(l.text) {
		switch l.text[l.pos] {
		case '\n':
			l.line++
			l.pos++
		case ' ', '\t', '\r':
			l.pos++
		case '#':
			l.skipTo("\n")
		default:
			return
		}
	}
}

// skipTo moves to the next byte in set, or to the end.
func (l *locator) skipTo(set string) {
	if i := strings.IndexAny(l.text[l.pos:], set); i >= 0 {
		l.pos += i
	} else {
		l.pos = len(l.text)
	}
}

// keyParts reads a bare, quoted or dotted key.
func (l *locator) keyParts() []string {
	var parts []string
	for {
		l.skipSpace()
		start := l.pos
		if l.pos < len(l.text) && (l.text[l.pos] == '"' || l.text[l.pos] == '\'') {
			l.skipString()
			parts = append(parts, unquoteKey(l.text[start:l.pos]))
		} else {
			l.skipTo(" \t\r\n.=]\"'#")
			parts = append(parts, l.text[start:l.pos])
		}
		if len(parts) > maxDepth {
			l.deep = l.line
			return nil
		}
		l.skipSpace()
		if !l.accept(".") {
			return parts
		}
	}
}

// unquoteKey leaves the rules of escapes to the TOML library.
func unquoteKey(raw string) string {
	var v struct{ K string }
	if _, err := toml.Decode("K = "+raw, &v); err != nil {
		return raw
	}
	return v.K
}

// keyValue reads "key = value" into a table.
func (l *locator) keyValue(table *place, depth int) {
	line := l.line
	parts := l.keyParts()
	k := table.descend(parts, line)
	if l.accept("=") {
		l.skipSpace()
		l.value(k, depth)
	}
}

// value reads the value of a key or of a list item.
func (l *locator) value(p *place, depth int) {
	if depth > maxDepth {
		l.deep = l.line
	}
	if l.end() {
		return
	}
	switch l.text[l.pos] {
	case '"', '\'':
		l.skipString()
	case '[':
		l.pos++
		l.sequence("]", func() { l.value(p.add(l.line), depth+1) })
	case '{':
		l.pos++
		l.sequence("}", func() { l.keyValue(p, depth+1) })
	default:
		l.skipTo(",]}#\r\n")
	}
}

// sequence reads the members between brackets, with commas, line ends and comments between them.
func (l *locator) sequence(closing string, member func()) {
	for {
		l.skipBlank()
		if l.end() || l.accept(closing) {
			return
		}
		start := l.pos
		member()
		l.skipBlank()
		l.accept(",")
		if l.pos == start {
			// Neither a member nor a comma: this is no TOML.
			return
		}
	}
}

// skipString skips a string in any of its four forms (TOML 1.0, String).
func (l *locator) skipString() {
	mark := l.text[l.pos : l.pos+1]
	if long := strings.Repeat(mark, 3); l.accept(long) {
		l.skipLongString(long)
		return
	}
	for l.pos++; l.pos < len(l.text); l.pos++ {
		switch c := l.text[l.pos]; {
		case c == '\n':
			return
		case c == '\\' && mark == `"`:
			l.pos++
		case c == mark[0]:
			l.pos++
			return
		}
	}
	l.pos = len(l.text)
}

func (l *locator) skipLongString(marks string) {
	for l.pos < len(l.text) {
		switch c := l.text[l.pos]; {
		case c == '\\' && marks[0] == '"' && l.pos+1 < len(l.text) && l.text[l.pos+1] != '\n':
			l.pos += 2
		case c == marks[0] && l.accept(marks):
			// Up to two more quotes belong to the text: the last three close it.
			for range 2 {
				l.accept(marks[:1])
			}
			return
		default:
			if c == '\n' {
				l.line++
			}
			l.pos++
		}
	}
}
