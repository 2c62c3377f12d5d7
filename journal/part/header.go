package part

import (
	"bytes"
	"iter"
	"strings"
)

// MaxValue is how many bytes of one header value Value and a Scanner read.
const MaxValue = 64 << 10

// Field is one field of a header block (RFC 5322 2.2), as slices of the block.
type Field struct {
	Name       []byte // as found, without white space before the colon; nil for lines that are no field
	Value      []byte // raw, from after the colon to the last line end: folded, with white space, not decoded
	Start, End int    // range in the block, including the last line end
}

// Fields yields the fields of a header block in order. It yields a line that is no field with a nil Name, and goes on. A blank line ends the
// block.
func Fields(header []byte) iter.Seq[Field] {
	return func(yield func(Field) bool) {
		for start := 0; start < len(header); {
			end := lineEnd(header, start)
			if isBlank(header[start:end]) {
				return
			}
			for end < len(header) && (header[end] == ' ' || header[end] == '\t') {
				end = lineEnd(header, end)
			}
			f := Field{Start: start, End: end, Value: trimEOL(header[start:end])}
			if name := fieldName(f.Value); name > 0 {
				f.Name = bytes.TrimRight(f.Value[:name], " \t")
				f.Value = f.Value[name+1:]
			}
			if !yield(f) {
				return
			}
			start = end
		}
	}
}

// lineEnd returns the offset after the line that starts at start, line end included.
func lineEnd(b []byte, start int) int {
	if i := bytes.IndexByte(b[start:], '\n'); i >= 0 {
		return start + i + 1
	}
	return len(b)
}

// isBlank reports whether a line has only CRs and its LF.
func isBlank(line []byte) bool {
	for _, c := range line {
		if c != '\r' && c != '\n' {
			return false
		}
	}
	return true
}

func trimEOL(b []byte) []byte {
	b = bytes.TrimSuffix(b, crlf[1:])
	return bytes.TrimSuffix(b, cr)
}

// fieldName returns the index of the colon after a field name, or -1. It accepts white space before the colon, the obsolete syntax of
// RFC 5322 4.5.
func fieldName(line []byte) int {
	for i, c := range line {
		switch {
		case c == ':':
			if i == 0 || line[0] == ' ' || line[0] == '\t' {
				return -1
			}
			return i
		case c == ' ' || c == '\t':
			if rest := bytes.TrimLeft(line[i:], " \t"); len(rest) == 0 || rest[0] != ':' {
				return -1
			}
		case c < ' ' || c > '~':
			return -1
		}
	}
	return -1
}

// Value returns the value of the first field of a name in a header block, or "". It is unfolded and trimmed, not decoded, and has at most
// MaxValue bytes. Case does not matter in name.
func Value(header []byte, name string) string {
	for f := range Fields(header) {
		if f.Name != nil && equalFold(f.Name, name) {
			return unfold(f.Value, MaxValue)
		}
	}
	return ""
}

// WholeValue is Value without the limit.
func WholeValue(header []byte, name string) string {
	for f := range Fields(header) {
		if f.Name != nil && equalFold(f.Name, name) {
			return unfold(f.Value, len(f.Value))
		}
	}
	return ""
}

// equalFold reports whether a field name is want, in any case.
func equalFold(name []byte, want string) bool {
	return len(name) == len(want) && strings.EqualFold(string(name), want)
}

// unfold returns at most max bytes of a raw value, without folds (RFC 5322 2.2.3) and trimmed.
func unfold(raw []byte, max int) string {
	raw = bytes.Trim(raw, " \t\r\n")
	if bytes.IndexByte(raw, '\n') < 0 {
		return string(raw[:min(len(raw), max)])
	}
	var b strings.Builder
	for line := range bytes.SplitAfterSeq(raw, crlf[1:]) {
		line = trimEOL(line)
		b.Write(line[:min(len(line), max-b.Len())])
	}
	return b.String()
}

// clip returns at most max bytes of a value. It bounds the cost of reading hostile values.
func clip(value string, max int) string { return value[:min(len(value), max)] }
