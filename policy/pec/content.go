package pec

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"net/mail"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"

	"copialettere/journal/part"
)

// partContent is what a comparison needs of a part.
type partContent struct {
	kind  string   // media type
	names []string // its possible file names; in a receipt also without .hash
	exact [sha256.Size]byte
	text  [sha256.Size]byte // over UTF-8 lines with LF, without trailing line ends
	lines bool              // compare as text

	hash     *[sha1.Size]byte           // in a receipt: the hash that is the part's whole content, or nil
	readings map[[sha1.Size]byte]string // in the original: every hash that may stand for the part, with the name of its reading
}

// readContent reads a part of a receipt or of the original.
func readContent(r io.ReaderAt, p *part.Part, receipt bool) (partContent, error) {
	c := partContent{kind: p.Type, names: fileNames(p, receipt)}
	text := strings.HasPrefix(p.Type, "text/")
	c.lines = text || p.Encoding() != "base64"

	exact, head := sha256.New(), &headWriter{}
	decoded, encoded := newLineHash(sha1.New), newLineHash(sha1.New)
	whole := sha1.New()
	content := io.MultiWriter(exact, head)
	if !receipt {
		content = io.MultiWriter(exact, whole, decoded)
		// The decoder may stop before the end of the body, so each takes a pass of its own.
		if _, err := io.Copy(encoded, partBody(r, p)); err != nil {
			return c, err
		}
	}
	if _, err := io.Copy(content, part.ContentDecoder(*p, partBody(r, p))); err != nil {
		return c, err
	}
	exact.Sum(c.exact[:0])
	if c.lines {
		lines := newLineHash(sha256.New)
		if _, err := io.Copy(lines, part.Decoder(*p, partBody(r, p))); err != nil {
			return c, err
		}
		lines.lf.Sum(c.text[:0])
	}
	if receipt {
		c.hash = head.hash()
		return c, nil
	}
	c.readings = make(map[[sha1.Size]byte]string)
	c.reading(whole, "decoded")
	encoded.readings("encoded", p.Encoding() == "base64", c.reading)
	if text {
		decoded.readings("text", false, c.reading)
	}
	return c, nil
}

// reading keeps a hash that may stand for the part, under its first name.
func (c *partContent) reading(h hash.Hash, name string) {
	var sum [sha1.Size]byte
	h.Sum(sum[:0])
	if _, ok := c.readings[sum]; !ok {
		c.readings[sum] = name
	}
}

// agrees returns the reading in which this part of a receipt stands for a part of the original, or "".
func (c *partContent) agrees(original *partContent) string {
	lines := c.lines && original.lines // in another charset, the same bytes are another text
	switch {
	case c.kind == original.kind && (lines && c.text == original.text || !lines && c.exact == original.exact):
		return "equal"
	case c.hash != nil:
		return original.readings[*c.hash]
	}
	return ""
}

// mayBe reports whether the names allow a part of a receipt to stand for one of the original. A nameless part may stand for any.
func (c *partContent) mayBe(original *partContent) bool {
	return len(c.names) == 0 || len(original.names) == 0 ||
		slices.ContainsFunc(c.names, func(name string) bool { return slices.Contains(original.names, name) })
}

// fileNames returns the names of a part: filename and name may differ, and a receipt may add .hash to either.
func fileNames(p *part.Part, receipt bool) []string {
	var list []string
	for _, field := range []struct{ value, parameter string }{{p.Disposition, "filename"}, {p.ContentType, "name"}} {
		_, params := part.Params(field.value)
		name := strings.TrimSpace(norm.NFC.String(part.Decode(params[field.parameter])))
		if name == "" {
			continue
		}
		list = append(list, name)
		if bare := withoutSuffix(name); receipt && bare != name && bare != "" {
			list = append(list, bare)
		}
	}
	return list
}

// withoutSuffix returns NAME for NAME.hash, and any other name as it is.
func withoutSuffix(name string) string {
	if n := len(name) - len(hashSuffix); n >= 0 && strings.EqualFold(name[n:], hashSuffix) {
		return strings.TrimSpace(name[:n])
	}
	return name
}

// headWriter keeps the first maxHashFile bytes written.
type headWriter struct {
	head []byte
	more bool
}

func (w *headWriter) Write(p []byte) (int, error) {
	n := min(len(p), maxHashFile-len(w.head))
	w.head, w.more = append(w.head, p[:n]...), w.more || n < len(p)
	return len(p), nil
}

// hash returns the SHA-1, if nothing but its hexadecimal digits and white space around them was written; else nil.
func (w *headWriter) hash() *[sha1.Size]byte {
	value := bytes.TrimSpace(bytes.TrimPrefix(w.head, []byte("\xef\xbb\xbf")))
	var sum [sha1.Size]byte
	if len(value) != hex.EncodedLen(len(sum)) || w.more {
		return nil
	}
	if _, err := hex.Decode(sum[:], value); err != nil {
		return nil
	}
	return &sum
}

// lineHash digests lines in three forms: with CRLF, with LF, and without line breaks. It holds trailing line breaks back until more follows.
type lineHash struct {
	crlf, lf, joined hash.Hash
	breaks           int // line breaks not digested yet
	cr               bool
}

func newLineHash(h func() hash.Hash) *lineHash { return &lineHash{crlf: h(), lf: h(), joined: h()} }

// Write never fails.
func (l *lineHash) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if l.cr {
			l.cr = false
			if p[0] != '\n' {
				l.line([]byte("\r"))
			}
		}
		switch i := bytes.IndexAny(p, "\r\n"); {
		case i < 0:
			l.line(p)
			return n, nil
		case i > 0:
			l.line(p[:i])
			p = p[i:]
		case p[0] == '\r':
			l.cr, p = true, p[1:]
		default:
			l.breaks, p = l.breaks+1, p[1:]
		}
	}
	return n, nil
}

// line digests bytes without line breaks.
func (l *lineHash) line(b []byte) {
	l.end(l.breaks)
	l.breaks = 0
	l.crlf.Write(b)
	l.lf.Write(b)
	l.joined.Write(b)
}

// end digests line breaks.
func (l *lineHash) end(breaks int) {
	const block = 64
	for ; breaks > 0; breaks -= block {
		n := min(breaks, block)
		l.crlf.Write(bytes.Repeat([]byte("\r\n"), n))
		l.lf.Write(bytes.Repeat([]byte("\n"), n))
	}
}

// readings passes on the hashes of all forms: with the trailing line breaks as they are, with one more (the one before a delimiter belongs
// to the delimiter, RFC 2046 5.1.1), with none, and with one. With joined, the form without any line break counts too. It ends the digest.
func (l *lineHash) readings(name string, joined bool, add func(hash.Hash, string)) {
	if l.cr {
		l.line([]byte("\r"))
	}
	done := 0
	for _, n := range slices.Compact(slices.Sorted(slices.Values([]int{0, 1, l.breaks, l.breaks + 1}))) {
		l.end(n - done)
		done = n
		switch n {
		case l.breaks:
			add(l.crlf, name)
		case l.breaks + 1:
			add(l.crlf, name+", with its last line end")
		default:
			add(l.crlf, name+", without the line ends at its end")
		}
		add(l.lf, name+", with LF")
	}
	if joined {
		add(l.joined, name+", without line breaks")
	}
}

// header compares the fields of the message itself that an access point does not change.
func (c *hashComparison) header() error {
	ours, theirs, err := c.headers(0, 0)
	if err != nil {
		return err
	}
	for _, name := range []string{"From", "To", "Cc", "Subject", "Date"} {
		have, want := part.Value(ours, name), part.Value(theirs, name)
		// A mail program may leave these to the MTA.
		added := want == "" && (name == "From" || name == "To" || name == "Date")
		if added || sameField(name, have, want) {
			continue
		}
		c.checks = append(c.checks, HashCheck{Field: name, Result: HashMismatch})
	}
	return nil
}

// sameField reports whether two values of a field mean the same.
func sameField(name, have, want string) bool {
	switch name {
	case "From", "To", "Cc":
		if a, b := addressesOf(have), addressesOf(want); len(a) > 0 && len(b) > 0 {
			return slices.Equal(a, b)
		}
	case "Date":
		a, errA := mail.ParseDate(have)
		b, errB := mail.ParseDate(want)
		if errA == nil && errB == nil {
			return a.Equal(b)
		}
	}
	plain := func(value string) string {
		return norm.NFC.String(strings.Join(strings.Fields(part.Decode(value)), " "))
	}
	return plain(have) == plain(want)
}

func addressesOf(value string) []string {
	var list []string
	for _, a := range part.Addresses(value) {
		list = append(list, NormalAddress(a.Mailbox()))
	}
	return list
}

// sameHeader reports whether two attached messages have the same header.
func (c *hashComparison) sameHeader(i, j int) (bool, error) {
	ours, theirs, err := c.headers(i, j)
	if err != nil {
		return false, err
	}
	return len(ours) < maxSameField && bytes.Equal(ours, theirs), nil
}

// headers returns the headers of message i of the receipt and message j of the original.
func (c *hashComparison) headers(i, j int) (ours, theirs []byte, err error) {
	if ours, err = headerOf(c.receipt, &c.receiptTable.Parts[i]); err != nil {
		return nil, nil, fmt.Errorf("read receipt: %w", err)
	}
	if theirs, err = headerOf(c.original, &c.originalTable.Parts[j]); err != nil {
		return nil, nil, fmt.Errorf("read original: %w", err)
	}
	return ours, theirs, nil
}

// headerOf returns the header of a part, cut to maxSameField bytes.
func headerOf(r io.ReaderAt, p *part.Part) ([]byte, error) {
	return io.ReadAll(io.NewSectionReader(r, p.Header, min(p.Body-p.Header, maxSameField)))
}
