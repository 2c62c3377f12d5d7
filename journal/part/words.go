package part

import (
	"bytes"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-message/charset"
)

// maxDecode is how many bytes of a value Decode reads.
const maxDecode = 8 << 10

// Decode returns a header value for people to read, as valid UTF-8 without control characters. It decodes encoded words (RFC 2047), and
// reads raw 8-bit bytes as UTF-8, or else as Windows-1252. It never fails: undecodable text stays as it is, and bytes in an unknown
// charset are read as raw ones. It joins adjacent words of one charset before converting them, because many programs cut characters
// in two. It reads at most 8 KiB of the value.
func Decode(value string) string {
	value = clip(value, maxDecode)
	if isPrintable(value) && !strings.Contains(value, "=?") {
		return value
	}
	var out strings.Builder
	var run []byte
	runCharset := ""
	flush := func() {
		out.WriteString(toUTF8(runCharset, run))
		run, runCharset = run[:0], ""
	}
	for {
		i := strings.Index(value, "=?")
		if i < 0 {
			break
		}
		word, n := parseWord(value[i:])
		if n == 0 {
			flush()
			out.WriteString(toUTF8("", []byte(value[:i+2])))
			value = value[i+2:]
			continue
		}
		// White space between two encoded words does not belong to the text (RFC 2047 6.2).
		if runCharset == "" || strings.Trim(value[:i], " \t\r\n") != "" {
			flush()
			out.WriteString(toUTF8("", []byte(value[:i])))
		} else if !strings.EqualFold(runCharset, word.charset) {
			flush()
		}
		runCharset = word.charset
		run = append(run, word.text...)
		value = value[i+n:]
	}
	flush()
	out.WriteString(toUTF8("", []byte(value)))
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, out.String())
}

func isPrintable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

type encodedWord struct {
	charset string
	text    []byte
}

// parseWord reads the encoded word at the start of s, and returns its length, or 0 if there is none. It tolerates spaces in the text.
func parseWord(s string) (encodedWord, int) {
	const maxCharset = 75
	name := s[2:]
	i := strings.IndexByte(name[:min(len(name), maxCharset)], '?')
	if i <= 0 || len(name) < i+3 || name[i+2] != '?' || strings.ContainsAny(name[:i], " \t") {
		return encodedWord{}, 0
	}
	text := name[i+3:]
	end := strings.Index(text, "?=")
	if end < 0 {
		return encodedWord{}, 0
	}
	n := 2 + i + 3 + end + 2
	text = text[:end]
	// RFC 2231 5: a language may follow the charset.
	name, _, _ = strings.Cut(name[:i], "*")
	switch s[2+i+1] {
	case 'B', 'b':
		return encodedWord{name, decodeBase64(text)}, n
	case 'Q', 'q':
		return encodedWord{name, appendUnescaped(nil, strings.ReplaceAll(text, "_", " "), '=')}, n
	}
	return encodedWord{}, 0
}

// appendUnescaped appends s, turning each escape with two hexadecimal digits into a byte. Any other escape stays as it is.
func appendUnescaped(b []byte, s string, escape byte) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] == escape && i+2 < len(s) {
			high, low := unhex(s[i+1]), unhex(s[i+2])
			if high >= 0 && low >= 0 {
				b = append(b, byte(high<<4|low))
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return b
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// decodeBase64 decodes base64 as base64Reader does.
func decodeBase64(s string) []byte {
	b, _ := io.ReadAll(&base64Reader{from: strings.NewReader(s)})
	return b
}

// toUTF8 converts bytes from a charset to valid UTF-8.
func toUTF8(name string, b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if needsConversion(name) {
		if r, err := charset.Reader(name, bytes.NewReader(b)); err == nil {
			if converted, err := io.ReadAll(r); err == nil {
				return strings.ToValidUTF8(string(converted), string(utf8.RuneError))
			}
		}
	}
	if utf8.Valid(b) {
		return string(b)
	}
	return string(appendLenient(nil, b))
}

// needsConversion reports whether a charset is other than UTF-8 and ASCII. Those two are read leniently instead.
func needsConversion(name string) bool {
	switch strings.ToLower(name) {
	case "", "utf-8", "utf8", "us-ascii", "ascii", "unknown-8bit":
		return false
	}
	return true
}

// appendLenient appends bytes as UTF-8. Bytes that are not valid UTF-8 are read as Windows-1252.
func appendLenient(out, b []byte) []byte {
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		if r == utf8.RuneError && n == 1 {
			r = windows1252(b[0])
		}
		out = utf8.AppendRune(out, r)
		b = b[n:]
	}
	return out
}

// windows1252 returns the character of a byte over 127.
func windows1252(c byte) rune {
	if c >= 0xa0 {
		return rune(c)
	}
	const none = utf8.RuneError
	return [...]rune{'€', none, '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', none, 'Ž', none,
		none, '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', none, 'ž', 'Ÿ'}[c-0x80]
}
