package part

import (
	"encoding/base64"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/emersion/go-message/charset"
)

// Decoder returns the content of part p for readers, from its body as it stands in the message: the transfer encoding is undone, and
// text is converted from its charset to UTF-8. It tolerates what mail brings: stray bytes and missing padding in base64, wrong
// escapes in quoted-printable, unknown encodings (left as they are) and unknown charsets (read as UTF-8, or Windows-1252 where it is
// none). Its only errors are those of body. The result has at most three times the length of the body; any further limit is the
// caller's. Memory is bounded whatever the body.
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

// ContentDecoder is Decoder without the conversion of charsets: it returns the bytes that were attached, as for a download.
func ContentDecoder(p Part, body io.Reader) io.Reader {
	switch p.Encoding() {
	case "base64":
		return &base64Reader{from: body}
	case "quoted-printable":
		return &quotedReader{from: body}
	}
	return body
}

// isEncoded reports whether a transfer encoding, in lower case, changes the bytes. Unknown and misspelled ones as "8-bit" do not.
func isEncoded(encoding string) bool {
	switch encoding {
	case "base64", "quoted-printable", "x-uuencode", "uuencode", "x-uue":
		return true
	}
	return false
}

const readSize = 4 << 10

// base64Reader decodes base64, skips all bytes outside the alphabet and stops behind the padding (what follows is no base64, as the
// footers that mailing lists add).
type base64Reader struct {
	from   io.Reader
	err    error
	quanta []byte // characters not decoded yet, fewer than four
	out    []byte // decoded, not read yet
	padded bool
	raw    [readSize]byte
	buffer []byte
}

func (r *base64Reader) Read(p []byte) (int, error) {
	for len(r.out) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		if len(p) == 0 {
			return 0, nil
		}
		r.fill()
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

// fill decodes the next bytes. At the end a rest of two or three characters is decoded as though it were padded.
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
	// The characters are all of the alphabet, so that no error is possible.
	decoded, _ := base64.RawStdEncoding.Decode(r.buffer, chars[:whole])
	r.out = r.buffer[:decoded]
	r.quanta = append(r.quanta[:0], chars[whole:]...)
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

// quotedReader decodes quoted-printable (RFC 2045 6.7). Escapes that are none stay as they are.
type quotedReader struct {
	from    io.Reader
	err     error
	out     []byte // decoded, not read yet
	buffer  []byte
	pending []byte // bytes not decided yet: white space that may end a line, or the beginning of an escape or soft line break
	raw     [readSize]byte
}

// maxPending bounds the white space that is held back to see whether it ends a line.
const maxPending = 1 << 10

func (r *quotedReader) Read(p []byte) (int, error) {
	for len(r.out) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		if len(p) == 0 {
			return 0, nil
		}
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
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

// plainRun returns how many bytes at the start of b stand for themselves.
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

// extend takes a byte that goes with those pending, and reports whether it does.
func (r *quotedReader) extend(c byte) bool {
	n := len(r.pending)
	first, last := r.pending[0], r.pending[n-1]
	space := c == ' ' || c == '\t'
	switch {
	case first != '=' && (c == '\r' || c == '\n'):
		// White space at the end of a line was added on the way.
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

// end decides about what is pending at the end: a soft line break is nothing, all else stays as it is.
func (r *quotedReader) end() {
	if len(r.pending) > 0 && (r.pending[0] != '=' || len(r.pending) > 1 && unhex(r.pending[1]) >= 0) {
		r.buffer = append(r.buffer, r.pending...)
	}
	r.pending = r.pending[:0]
}

// lenientReader turns bytes that ought to be UTF-8 into UTF-8.
type lenientReader struct {
	from io.Reader
	err  error
	out  []byte // converted, not read yet
	raw  [readSize]byte
	kept int // bytes at the start of raw that begin a character
	utf8 []byte
}

func (r *lenientReader) Read(p []byte) (int, error) {
	for len(r.out) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		if len(p) == 0 {
			return 0, nil
		}
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
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

// wholeRunes returns the length of b without a character at its end that goes on behind it.
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
