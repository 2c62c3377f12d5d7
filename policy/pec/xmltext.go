package pec

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"copialettere/journal/part"
)

// maxGuess is the number of bytes examined to guess a document's encoding.
const maxGuess = 4 << 10

// xmlText converts a document to UTF-8. It goes by the bytes first (a byte-order mark, the zero bytes of UTF-16), then by charset, from the header
// of the part, then by the document's declaration. What is valid UTF-8 is read as UTF-8, whatever charset is named. If none is named, invalid
// bytes are taken as Windows-1252, as in text parts.
func xmlText(r io.Reader, charset string) io.Reader {
	in := bufio.NewReaderSize(r, maxGuess)
	head, _ := in.Peek(maxGuess)
	switch {
	case bytes.HasPrefix(head, []byte("\xef\xbb\xbf")):
		in.Discard(3) // it was peeked
		return unicodeText(in)
	case bytes.HasPrefix(head, []byte("\xff\xfe")):
		in.Discard(2)
		return &utf16Reader{from: in}
	case bytes.HasPrefix(head, []byte("\xfe\xff")):
		in.Discard(2)
		return &utf16Reader{from: in, big: true}
	case len(head) > 1 && head[0] != 0 && head[1] == 0:
		return &utf16Reader{from: in}
	case len(head) > 1 && head[0] == 0 && head[1] != 0:
		return &utf16Reader{from: in, big: true}
	}
	for _, name := range []string{charset, declaredEncoding(head)} {
		if isOtherCharset(name) && !isUTF8(head) {
			return charsetText(in, name)
		}
	}
	return unicodeText(in)
}

// unicodeText reads UTF-8, and takes invalid bytes as Windows-1252.
func unicodeText(r io.Reader) io.Reader { return part.Decoder(part.Part{Type: "text/xml"}, r) }

// charsetText converts from a charset. An unknown one is read like unicodeText.
func charsetText(r io.Reader, name string) io.Reader {
	return part.Decoder(part.Part{Type: "text/xml", ContentType: `text/xml; charset="` + name + `"`}, r)
}

// isOtherCharset reports whether name is a charset other than UTF-8 that a document beginning with ASCII bytes may be in.
func isOtherCharset(name string) bool {
	name = strings.ToLower(name)
	if name == "" || strings.ContainsAny(name, "\"\\ ;") {
		return false
	}
	for _, prefix := range []string{"utf", "ucs", "iso-10646", "us-ascii", "ascii"} {
		if strings.HasPrefix(name, prefix) {
			return false
		}
	}
	return true
}

// isUTF8 reports whether the beginning of a document is UTF-8 with characters beyond ASCII.
func isUTF8(head []byte) bool {
	more := false
	for len(head) > 0 {
		r, n := utf8.DecodeRune(head)
		if r == utf8.RuneError && n == 1 {
			return more && !utf8.FullRune(head)
		}
		more = more || n > 1
		head = head[n:]
	}
	return more
}

// declaredEncoding returns the encoding that an XML declaration names, or "".
func declaredEncoding(head []byte) string {
	head = bytes.TrimLeft(head, " \t\r\n")
	if !bytes.HasPrefix(head, []byte("<?xml")) {
		return ""
	}
	end := bytes.Index(head, []byte("?>"))
	if end < 0 {
		return ""
	}
	t := tag{attr: head[len("<?xml"):end]}
	return t.attribute("encoding")
}

// utf16Reader converts UTF-16 to UTF-8. Half a surrogate pair becomes a replacement character.
type utf16Reader struct {
	from *bufio.Reader
	big  bool
	out  []byte // converted, not yet read
	high rune   // first half of a pair, or 0
	err  error
}

func (r *utf16Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(r.out) == 0 && r.err == nil {
		r.fill()
	}
	if len(r.out) == 0 {
		return 0, r.err
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

// fill converts the next units.
func (r *utf16Reader) fill() {
	var unit [2]byte
	for len(r.out) < maxGuess && r.err == nil {
		if _, err := io.ReadFull(r.from, unit[:]); err != nil {
			if r.err = err; errors.Is(err, io.ErrUnexpectedEOF) {
				r.err = io.EOF
			}
			if r.high != 0 {
				r.out = utf8.AppendRune(r.out, utf8.RuneError)
			}
			return
		}
		c := rune(unit[1])<<8 | rune(unit[0])
		if r.big {
			c = rune(unit[0])<<8 | rune(unit[1])
		}
		if r.high != 0 {
			whole := utf16.DecodeRune(r.high, c)
			r.high = 0
			r.out = utf8.AppendRune(r.out, whole)
			if whole != utf8.RuneError {
				continue
			}
		}
		if c >= 0xd800 && c <= 0xdbff {
			r.high = c
		} else {
			r.out = utf8.AppendRune(r.out, c)
		}
	}
}
