package imapd

import (
	"bufio"
	"bytes"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/emersion/go-imap/v2"

	"copialettere/journal/part"
)

// section is the answer to a BODY[...]: some bytes of the message, or some fields of one of its headers.
type section struct {
	from, to int64 // range in the message
	fields   *fieldFilter
}

// sectionOf returns what a BODY[...] asks for; an empty section for a part that is not there.
func sectionOf(t *part.Table, size int64, item *imap.FetchItemBodySection) section {
	if len(t.Parts) == 0 {
		return section{}
	}
	number := make([]string, len(item.Part))
	for i, n := range item.Part {
		number[i] = strconv.Itoa(n)
	}
	i := t.Section(strings.Join(number, "."))
	if i < 0 {
		return section{}
	}
	p := &t.Parts[i]
	switch {
	case item.Specifier == imap.PartSpecifierMIME && len(number) > 0:
		return section{from: p.Header, to: p.Body}
	case item.Specifier == imap.PartSpecifierNone && len(number) == 0:
		return section{to: size}
	case item.Specifier == imap.PartSpecifierNone:
		return section{from: p.Body, to: p.End}
	}
	if len(number) > 0 {
		// HEADER and TEXT of a part are those of the message in it.
		if i = t.Enclosed(i); i < 0 {
			return section{}
		}
		p = &t.Parts[i]
	}
	switch {
	case item.Specifier == imap.PartSpecifierText:
		return section{from: p.Body, to: p.End}
	case item.Specifier != imap.PartSpecifierHeader:
		return section{}
	case len(item.HeaderFields) > 0:
		return section{p.Header, p.Body, &fieldFilter{names: item.HeaderFields, want: true}}
	case len(item.HeaderFieldsNot) > 0:
		return section{p.Header, p.Body, &fieldFilter{names: item.HeaderFieldsNot}}
	}
	return section{from: p.Header, to: p.Body}
}

// maxHeader is up to how many bytes of a header fields are picked out in memory; of a larger one the bytes are read twice.
const maxHeader = 256 << 10

// open returns the number of bytes of a section, and a function that writes them.
func (c section) open(body io.ReaderAt) (size int64, write func(io.Writer) error, err error) {
	raw := func() io.Reader { return io.NewSectionReader(body, c.from, c.to-c.from) }
	if c.fields == nil {
		return c.to - c.from, func(w io.Writer) error { return copyAll(w, raw(), c.to-c.from) }, nil
	}
	filtered := func(w io.Writer) error { return c.fields.copy(w, raw()) }
	if c.to-c.from <= maxHeader {
		var b bytes.Buffer
		if err := filtered(&b); err != nil {
			return 0, nil, err
		}
		return int64(b.Len()), func(w io.Writer) error { _, err := w.Write(b.Bytes()); return err }, nil
	}
	var n counter
	if err := filtered(&n); err != nil {
		return 0, nil, err
	}
	return int64(n), filtered, nil
}

// copyAll copies size bytes; fewer are an error.
func copyAll(w io.Writer, r io.Reader, size int64) error {
	n, err := io.Copy(w, r)
	if err == nil && n < size {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// counter counts what is written to it.
type counter int64

func (n *counter) Write(p []byte) (int, error) {
	*n += counter(len(p))
	return len(p), nil
}

// narrow returns the part of a section that <offset.size> names, so that no more is read, and whether it has. Of picked out fields only partial can tell.
func (c section) narrow(p *imap.SectionPartial) (part section, ok bool) {
	if p == nil || c.fields != nil {
		return c, false
	}
	c.from += min(p.Offset, c.to-c.from)
	c.to = c.from + min(p.Size, c.to-c.from)
	return c, true
}

// partial narrows a section to <offset.size>.
func partial(size int64, write func(io.Writer) error, p *imap.SectionPartial) (int64, func(io.Writer) error) {
	if p == nil {
		return size, write
	}
	from := min(p.Offset, size)
	n := min(p.Size, size-from)
	return n, func(w io.Writer) error { return write(&window{w: w, skip: from, left: n}) }
}

// window passes on a range of what is written to it.
type window struct {
	w          io.Writer
	skip, left int64
}

func (w *window) Write(p []byte) (int, error) {
	n := len(p)
	skipped := min(w.skip, int64(len(p)))
	p, w.skip = p[skipped:], w.skip-skipped
	p = p[:min(w.left, int64(len(p)))]
	w.left -= int64(len(p))
	if len(p) > 0 {
		if _, err := w.w.Write(p); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// fieldFilter picks fields out of a header, with their folds, as they stand there, and ends with a blank line (RFC 3501 section 6.4.5).
type fieldFilter struct {
	names []string
	want  bool // these, and no others; else all but these
}

// maxFieldName is how many bytes at the front of a line are searched for the colon. No command can name a longer field.
const maxFieldName = maxLiteral + 64

// copy writes the fields of a header that are wanted. Its memory does not depend on the length of lines.
func (f *fieldFilter) copy(w io.Writer, header io.Reader) error {
	r := bufio.NewReaderSize(header, 2*maxFieldName)
	start, wanted := true, false
	for {
		line, err := r.ReadSlice('\n')
		if start && len(line) > 0 {
			switch {
			case strings.Trim(string(line[:min(len(line), 3)]), "\r\n") == "":
				// The blank line at the end. What follows, if anything, is no field.
				line, err = nil, io.EOF
			case line[0] != ' ' && line[0] != '\t':
				wanted = f.wants(line)
			}
		}
		if wanted && len(line) > 0 {
			if _, err := w.Write(line); err != nil {
				return err
			}
		}
		start = err == nil
		if err == io.EOF {
			_, err = io.WriteString(w, "\r\n")
			return err
		}
		if err != nil && err != bufio.ErrBufferFull {
			return err
		}
	}
}

// wants reports whether the field that begins with a line is picked. A line without a colon is no field: it is left out of those that are named, and
// stays among all but those.
func (f *fieldFilter) wants(line []byte) bool {
	name, _, ok := bytes.Cut(line[:min(len(line), maxFieldName)], []byte(":"))
	if !ok {
		return !f.want
	}
	text := strings.TrimRight(string(name), " \t")
	return slices.ContainsFunc(f.names, func(s string) bool { return strings.EqualFold(s, text) }) == f.want
}
