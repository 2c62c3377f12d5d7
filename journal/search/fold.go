package search

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// The folded text of a message holds none of these: control characters become blanks.
const (
	between = '\n' // after each value of a field
	record  = 0x00 // before each field, and at the end
)

// foldings are what compatible forms (NFKD) leave as it is, and people take for the same.
var foldings = map[rune]string{
	'’': "'", '‘': "'", '‛': "'", 'ʼ': "'", '′': "'", '`': "'", '´': "'",
	'“': `"`, '”': `"`, '„': `"`, '«': `"`, '»': `"`,
	'‐': "-", '‑': "-", '‒': "-", '–': "-", '—': "-", '−': "-",
	'º': "°", 'ª': "°", 'ß': "ss", 'ẞ': "ss", 'æ': "ae", 'œ': "oe", 'ø': "o", 'ł': "l", 'đ': "d", 'ı': "i", 'ς': "σ",
	'\u00ad': "", '\u200b': "", '\u200c': "", '\u200d': "", '\ufeff': "",
}

// fold returns a text in the form in which texts are compared: without case and accents, typographic signs as they are typed, and one blank where
// there is white space. It has no control characters.
func fold(text string) string { return string(appendFolded(nil, text)) }

// appendFolded appends the folded form of a text to b.
func appendFolded(b []byte, text string) []byte {
	start := len(b)
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c >= utf8.RuneSelf:
			return appendFoldedRunes(b, start, text[i:])
		case 'A' <= c && c <= 'Z':
			b = append(b, c+'a'-'A')
		case c == '`':
			b = append(b, '\'')
		case c <= ' ' || c == 0x7f:
			b = appendBlank(b, start)
		default:
			b = append(b, c)
		}
	}
	return trimBlank(b, start)
}

// appendFoldedRunes is the rest of appendFolded, of a text that is not ASCII. What was appended begins at start.
func appendFoldedRunes(b []byte, start int, text string) []byte {
	var replaced strings.Builder
	for _, r := range text {
		if other, ok := foldings[unicode.ToLower(r)]; ok {
			replaced.WriteString(other)
		} else {
			replaced.WriteRune(r) // what is no UTF-8 becomes U+FFFD
		}
	}
	for _, r := range norm.NFKD.String(replaced.String()) {
		switch {
		case r <= ' ' || unicode.IsSpace(r) || unicode.IsControl(r):
			b = appendBlank(b, start)
		case unicode.Is(unicode.Mn, r):
		default:
			r = unicode.ToLower(r)
			if other, ok := foldings[r]; ok {
				b = append(b, other...)
			} else {
				b = utf8.AppendRune(b, r)
			}
		}
	}
	return trimBlank(b, start)
}

// appendBlank appends a blank unless there is one, or nothing, before it.
func appendBlank(b []byte, start int) []byte {
	if len(b) > start && b[len(b)-1] != ' ' {
		b = append(b, ' ')
	}
	return b
}

func trimBlank(b []byte, start int) []byte {
	if len(b) > start && b[len(b)-1] == ' ' {
		b = b[:len(b)-1]
	}
	return b
}

// hasWord reports whether a folded text has a letter or a digit.
func hasWord(folded string) bool {
	return strings.ContainsFunc(folded, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) })
}
