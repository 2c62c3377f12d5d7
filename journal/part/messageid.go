package part

import (
	"iter"
	"strings"
)

// MaxMessageID is how many bytes of an id count, as no line of a message may be longer (RFC 5322 2.1.1). The rest of a longer id is ignored.
const MaxMessageID = 998

// MessageID returns the id in the value of a Message-ID field (RFC 5322 3.6.4), or of a field that names another message, in the form to
// compare: two ids that differ only in white space or comments become equal, while upper and lower case stay different. It is the first
// id in angle brackets, without the brackets, or else the whole value. Comments outside brackets, white space, folds and control
// characters are left out. It has at most MaxMessageID bytes, and is "" if there is no id.
func MessageID(value string) string {
	var words strings.Builder
	for id, bracketed := range messageIDs(value) {
		if bracketed {
			return id
		}
		words.WriteString(id)
	}
	id := words.String()
	return id[:min(len(id), MaxMessageID)]
}

// MessageIDs yields the ids of a list, as in References (RFC 5322 3.6.4): those in angle brackets, and the words outside them that hold
// an "@". Each is as MessageID returns it.
func MessageIDs(value string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for id, bracketed := range messageIDs(value) {
			if (bracketed && id != "" || strings.Contains(id, "@")) && !yield(id) {
				return
			}
		}
	}
}

// messageIDs yields each text in angle brackets, with true, and each word outside them, with false. A comment begins only at the start of a
// word, so an id without brackets may hold a parenthesis, as one in brackets may.
func messageIDs(value string) iter.Seq2[string, bool] {
	return func(yield func(string, bool) bool) {
		rest := clip(value, MaxValue)
		for rest != "" {
			text, bracketed := "", false
			switch c := rest[0]; {
			case isBlankByte(c) || c == ',' || c == '>':
				rest = rest[1:]
				continue
			case c == '(':
				rest = rest[commentEnd(rest):]
				continue
			case c == '<':
				bracketed = true
				text, rest, _ = strings.Cut(rest[1:], ">")
			default:
				n := strings.IndexFunc(rest, func(r rune) bool { return r == '<' || r == ',' || r < 0x80 && isBlankByte(byte(r)) })
				if n < 0 {
					n = len(rest)
				}
				text, rest = rest[:n], rest[n:]
			}
			if !yield(bareID(text), bracketed) {
				return
			}
		}
	}
}

// isBlankByte reports whether a byte is white space or a control character. An id holds neither.
func isBlankByte(c byte) bool { return c <= ' ' || c == 0x7f }

// bareID returns the bytes of an id that count.
func bareID(s string) string {
	b := make([]byte, 0, min(len(s), MaxMessageID))
	for i := 0; i < len(s) && len(b) < MaxMessageID; i++ {
		if !isBlankByte(s[i]) {
			b = append(b, s[i])
		}
	}
	return string(b)
}
