package main

import (
	"bytes"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// steers reports whether a character does something to a terminal, or to the text around it, rather than being seen: controls, the marks
// that turn the direction of text (with which a file name ends in .pdf that ends in .exe), and the separators of lines.
func steers(r rune) bool {
	switch {
	case r < ' ', r >= 0x7f && r < 0xa0, // C0, DEL, C1
		r == 0x061c, r == 0x200e, r == 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, // bidirectional text (UAX #9)
		r == 0x2028, r == 0x2029:
		return true
	}
	return false
}

// printable makes somebody's text safe for a terminal and for its place in a line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if steers(r) {
			return '?'
		}
		return r
	}, s)
}

// screen is where the program prints: on the way, all that steers becomes a question mark, save ends of lines and tabs. Each byte that is no
// UTF-8 becomes U+FFFD: some of them steer as well.
type screen struct {
	mu   sync.Mutex
	to   io.Writer
	rest []byte // the start of a character, or a CR: what comes next decides
}

// Write takes all of p, which may end within a character.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := p
	if len(s.rest) > 0 {
		text = append(s.rest, p...)
	}
	clean := make([]byte, 0, len(text))
	for len(text) > 0 && (utf8.FullRune(text) && (text[0] != '\r' || len(text) > 1)) {
		clean, text = appendSeen(clean, text)
	}
	s.rest = slices.Clone(text)
	if _, err := s.to.Write(clean); err != nil {
		return 0, err
	}
	return len(p), nil
}

// appendSeen appends what is to be seen of the first character of a text, and returns the text behind it.
func appendSeen(clean, text []byte) (seen, rest []byte) {
	r, size := utf8.DecodeRune(text)
	switch {
	case r == '\r' && len(text) > 1 && text[1] == '\n', r == '\n', r == '\t':
		clean = append(clean, text[0])
	case steers(r):
		clean = append(clean, '?')
	default:
		clean = utf8.AppendRune(clean, r)
	}
	return clean, text[size:]
}

// close writes what is left of a character that never became whole.
func (s *screen) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	var clean []byte
	for text := s.rest; len(text) > 0; {
		clean, text = appendSeen(clean, text)
	}
	s.rest = nil
	s.to.Write(clean)
}

// isTerminal reports whether what is written there is seen by somebody at once.
func isTerminal(w io.Writer) bool {
	if s, ok := w.(*screen); ok {
		w = s.to
	}
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// content returns where bytes of a message go: as they are to a file or a program, and as any text to a terminal.
func (in *invocation) content() io.Writer {
	if s, ok := in.stdout.(*screen); ok && !isTerminal(s) {
		return s.to
	}
	return in.stdout
}

// progress shows on a terminal, in place of what it showed before, how far something is; "" clears that. It does nothing elsewhere.
func (in *invocation) progress(text string) {
	if s, ok := in.stderr.(*screen); ok && isTerminal(s) {
		io.WriteString(s.to, "\r"+printable(text)+"\x1b[K")
	}
}

// escapeJSON returns JSON in which all that steers is escaped: read again, it is the same. It occurs within strings only.
func escapeJSON(b []byte) []byte {
	// The encoder has escaped the rest of what is ASCII.
	if !bytes.ContainsFunc(b, func(r rune) bool { return r >= 0x7f && steers(r) }) {
		return b
	}
	const digits = "0123456789abcdef"
	escaped := make([]byte, 0, len(b)+64)
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		if r >= 0x7f && steers(r) {
			escaped = append(escaped, '\\', 'u', digits[r>>12], digits[r>>8&15], digits[r>>4&15], digits[r&15])
		} else {
			escaped = append(escaped, b[:size]...)
		}
		b = b[size:]
	}
	return escaped
}

// jsonEscaper passes JSON on through escapeJSON. Each Write is of whole characters.
type jsonEscaper struct{ to io.Writer }

func (e jsonEscaper) Write(p []byte) (int, error) {
	if _, err := e.to.Write(escapeJSON(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}
