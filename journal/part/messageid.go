package part

import (
	"iter"
	"strings"
)

// MaxMessageID is how many bytes of an id count: no line of a message may be longer (RFC 5322 2.1.1). Of longer ones the beginning does.
const MaxMessageID = 998

// MessageID returns the id of a Message-ID field (RFC 5322 3.6.4), or of one that names another message, as ids are compared everywhere:
// the first in angle brackets, without them, or else the whole value; without comments outside the brackets, white space, folds and control
// characters; at most MaxMessageID bytes. It is "" where there is none. The same id written with other white space or with a
// comment is the same; upper and lower case are not.
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

// MessageIDs yields the ids of a list, as in References (RFC 5322 3.6.4): those in angle brackets, and of what stands outside of them the words
// that hold an "@". Each is as MessageID returns it.
func MessageIDs(value string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for id, bracketed := range messageIDs(value) {
			if (bracketed && id != "" || strings.Contains(id, "@")) && !yield(id) {
				return
			}
		}
	}
}

// messageIDs yields what stands in angle brackets, and the words outside of them. A comment begins at the start of a word only, so that an id
// without brackets may hold a parenthesis, as one in brackets may.
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

// isBlankByte reports whether a byte is white space, or a control character, none of which an id may hold.
func isBlankByte(c byte) bool { return c <= ' ' || c == 0x7f }

// bareID returns what counts of an id.
func bareID(s string) string {
	b := make([]byte, 0, min(len(s), MaxMessageID))
	for i := 0; i < len(s) && len(b) < MaxMessageID; i++ {
		if !isBlankByte(s[i]) {
			b = append(b, s[i])
		}
	}
	return string(b)
}
