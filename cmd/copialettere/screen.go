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

// steers reports whether a character acts on a terminal, or on the text around it, instead of being seen: controls, line separators, and
// marks that change the direction of text, which can make a name that ends in .exe look as if it ended in .pdf.
func steers(r rune) bool {
	switch {
	case r < ' ', r >= 0x7f && r < 0xa0, // C0, DEL, C1
		r == 0x061c, r == 0x200e, r == 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, // bidirectional text (UAX #9)
		r == 0x2028, r == 0x2029:
		return true
	}
	return false
}

// printable makes foreign text safe for a terminal, and keeps it on its line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if steers(r) {
			return '?'
		}
		return r
	}, s)
}

// screen is a writer that is safe for a terminal. Characters that steer become question marks, except line ends and tabs. Bytes that are not
// UTF-8, some of which steer too, become U+FFFD. Its methods may be called concurrently.
type screen struct {
	mu   sync.Mutex
	to   io.Writer
	rest []byte // the start of a character, or a CR: the next bytes decide
}

// Write takes all of p, which may end inside a character.
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

// appendSeen appends the first character of a text as it is to be seen, and returns the rest of the text.
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

// close writes the bytes that never became a whole character.
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

// isTerminal reports whether a writer leads to a terminal.
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

// content returns the writer for the bytes of a message: exact to a file or a program, made safe on a terminal.
func (in *invocation) content() io.Writer {
	if s, ok := in.stdout.(*screen); ok && !isTerminal(s) {
		return s.to
	}
	return in.stdout
}

// progress shows a text on a terminal, in place of the one before; "" clears it. Elsewhere it does nothing.
func (in *invocation) progress(text string) {
	if s, ok := in.stderr.(*screen); ok && isTerminal(s) {
		io.WriteString(s.to, "\r"+printable(text)+"\x1b[K")
	}
}

// escapeJSON escapes the characters of JSON that steer. They occur in strings only, so the JSON keeps its meaning.
func escapeJSON(b []byte) []byte {
	// The encoder has escaped those of ASCII but DEL.
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

// jsonEscaper passes JSON through escapeJSON. Each Write must be of whole characters.
type jsonEscaper struct{ to io.Writer }

func (e jsonEscaper) Write(p []byte) (int, error) {
	if _, err := e.to.Write(escapeJSON(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}
