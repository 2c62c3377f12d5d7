package part

import (
	"encoding/base64"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-message/charset"
)

// Decoder returns the content of part p for readers. body is the body of the part, as it is in the message. Decoder undoes the transfer
// encoding, and converts text from its charset to UTF-8. It tolerates what mail brings: stray bytes and missing padding in base64, wrong
// escapes in quoted-printable, unknown encodings (left as they are) and unknown charsets (read as UTF-8, or as Windows-1252 if
// invalid). Its only errors are those of body. The result is at most three times as long as the body; further limits are the caller's.
// Memory is bounded for any body.
func Decoder(p Part, body io.Reader) io.Reader {
	r := ContentDecoder(p, body)
	if !strings.HasPrefix(p.Type, "text/") {
		return r
	}
	if name := p.Charset(); needsConversion(name) {
		if converted, err := charset.Reader(name, r); err == nil {
			return converted
		}
	}
	return &lenientReader{from: r}
}

// ContentDecoder is Decoder without the conversion of charsets: it returns the bytes that were attached, for a download.
func ContentDecoder(p Part, body io.Reader) io.Reader {
	switch p.Encoding() {
	case "base64":
		return &base64Reader{from: body}
	case "quoted-printable":
		return &quotedReader{from: body}
	}
	return body
}

// isEncoded reports whether a transfer encoding, in lower case, changes the bytes. Unknown and misspelled ones, such as "8-bit", do not.
func isEncoded(encoding string) bool {
	switch encoding {
	case "base64", "quoted-printable", "x-uuencode", "uuencode", "x-uue":
		return true
	}
	return false
}

const readSize = 4 << 10

// decoded is the part of a decoding reader that faces its caller: what is decoded and not read yet, and the error that comes after it.
type decoded struct {
	out []byte
	err error
}

// read answers a Read. fill decodes the next bytes, and may leave none.
func (d *decoded) read(p []byte, fill func()) (int, error) {
	for len(d.out) == 0 {
		if d.err != nil {
			return 0, d.err
		}
		if len(p) == 0 {
			return 0, nil
		}
		fill()
	}
	n := copy(p, d.out)
	d.out = d.out[n:]
	return n, nil
}

// base64Reader decodes base64, and skips all bytes outside the alphabet. It stops after the padding, as mailing lists add footers there.
type base64Reader struct {
	decoded
	from   io.Reader
	quanta []byte // characters not decoded yet, fewer than four
	padded bool
	raw    [readSize]byte
	buffer []byte
}

func (r *base64Reader) Read(p []byte) (int, error) { return r.read(p, r.fill) }

// fill decodes the next bytes. It decodes two or three characters left at the end as if they were padded.
func (r *base64Reader) fill() {
	n, err := r.from.Read(r.raw[:])
	chars := r.quanta
	if !r.padded {
		for _, c := range r.raw[:n] {
			if c == '=' {
				r.padded = true
				break
			}
			if isBase64(c) {
				chars = append(chars, c)
			}
		}
	}
	whole := len(chars) &^ 3
	if r.padded || err != nil {
		whole = len(chars)
		if whole&3 == 1 {
			whole--
		}
	}
	if r.buffer == nil {
		r.buffer = make([]byte, readSize)
	}
	// No error is possible: all characters are in the alphabet.
	size, _ := base64.RawStdEncoding.Decode(r.buffer, chars[:whole])
	r.out = r.buffer[:size]
	r.quanta = append(chars[:0], chars[whole:]...) // and keep the memory for the next bytes
	if r.padded {
		r.quanta = r.quanta[:0]
		if err == nil {
			err = io.EOF
		}
	}
	r.err = err
}

func isBase64(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '+' || c == '/'
}

// quotedReader decodes quoted-printable (RFC 2045 6.7). Invalid escapes stay as they are.
type quotedReader struct {
	decoded
	from    io.Reader
	buffer  []byte
	pending []byte // undecided bytes: white space that may end a line, or the beginning of an escape or soft line break
	raw     [readSize]byte
}

// maxPending is how many bytes of white space are held back to see whether they end a line.
const maxPending = 1 << 10

func (r *quotedReader) Read(p []byte) (int, error) { return r.read(p, r.fill) }

func (r *quotedReader) fill() {
	n, err := r.from.Read(r.raw[:])
	r.buffer = r.buffer[:0]
	for raw := r.raw[:n]; len(raw) > 0; raw = raw[1:] {
		if len(r.pending) == 0 {
			plain := plainRun(raw)
			r.buffer = append(r.buffer, raw[:plain]...)
			if raw = raw[plain:]; len(raw) == 0 {
				break
			}
		}
		r.take(raw[0])
	}
	if err != nil {
		r.end()
	}
	r.out, r.err = r.buffer, err
}

// plainRun returns how many bytes at the start of b need no decoding.
func plainRun(b []byte) int {
	for i, c := range b {
		if c == '=' || c == ' ' || c == '\t' {
			return i
		}
	}
	return len(b)
}

// take decodes one byte.
func (r *quotedReader) take(c byte) {
	if len(r.pending) > 0 && r.extend(c) {
		return
	}
	r.buffer = append(r.buffer, r.pending...)
	r.pending = r.pending[:0]
	if c == '=' || c == ' ' || c == '\t' {
		r.pending = append(r.pending, c)
	} else {
		r.buffer = append(r.buffer, c)
	}
}

// extend takes a byte if it continues the pending ones, and reports whether it does.
func (r *quotedReader) extend(c byte) bool {
	n := len(r.pending)
	first, last := r.pending[0], r.pending[n-1]
	space := c == ' ' || c == '\t'
	switch {
	case first != '=' && (c == '\r' || c == '\n'):
		// White space at the end of a line was added in transport.
		r.buffer, r.pending = append(r.buffer, c), r.pending[:0]
	case n > 1 && unhex(r.pending[1]) >= 0:
		low := unhex(c)
		if low < 0 {
			return false
		}
		r.buffer = append(r.buffer, byte(unhex(r.pending[1])<<4|low))
		r.pending = r.pending[:0]
	case first == '=' && c == '\n':
		r.pending = r.pending[:0]
	case first == '=' && n == 1 && unhex(c) >= 0, first == '=' && c == '\r' && last != '\r', space && last != '\r' && n < maxPending:
		r.pending = append(r.pending, c)
	default:
		return false
	}
	return true
}

// end decides about the pending bytes at the end: a soft line break disappears, anything else stays as it is.
func (r *quotedReader) end() {
	if len(r.pending) > 0 && (r.pending[0] != '=' || len(r.pending) > 1 && unhex(r.pending[1]) >= 0) {
		r.buffer = append(r.buffer, r.pending...)
	}
	r.pending = r.pending[:0]
}

// lenientReader makes valid UTF-8, as appendLenient does.
type lenientReader struct {
	decoded
	from io.Reader
	raw  [readSize]byte
	kept int // bytes at the start of raw that begin a character
	utf8 []byte
}

func (r *lenientReader) Read(p []byte) (int, error) { return r.read(p, r.fill) }

func (r *lenientReader) fill() {
	n, err := r.from.Read(r.raw[r.kept:])
	b := r.raw[:r.kept+n]
	whole := len(b)
	if err == nil {
		whole = wholeRunes(b)
	}
	r.utf8 = appendLenient(r.utf8[:0], b[:whole])
	r.kept = copy(r.raw[:], b[whole:])
	r.out, r.err = r.utf8, err
}

// wholeRunes returns the length of b without an incomplete character at its end.
func wholeRunes(b []byte) int {
	for i := len(b) - 1; i >= 0 && i > len(b)-utf8.UTFMax; i-- {
		if utf8.RuneStart(b[i]) {
			if !utf8.FullRune(b[i:]) {
				return i
			}
			break
		}
	}
	return len(b)
}
