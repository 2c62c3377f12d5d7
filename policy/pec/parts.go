package pec

import (
	"errors"
	"io"
	"iter"
	"strings"

	"copialettere/journal/part"
)

// maxOpened is how deep nested messages are opened that the part table does not hold.
const maxOpened = 4

// Located is one part of a message, or of a message enclosed in it.
type Located struct {
	// Number is the part's IMAP section number, such as "1.3.2" (RFC 9051 6.4.5). In an enclosed message it begins with the number of the part
	// around that message. It is "" for a message that is a multipart: the part around it has the same content.
	Number string
	Depth  int // how many parts are around it
	Part   part.Part
	Closed string // why the message inside could not be opened, for people; "" if it could, or there is none

	from io.ReaderAt // the offsets of Part count in it
}

// Content returns the content of the part with its transfer encoding undone, and nothing else changed. For a part around a message that is the
// message. Errors are those of the reader that the part comes from.
func (l *Located) Content() io.Reader {
	return part.ContentDecoder(l.Part, partBody(l.from, &l.Part))
}

// Text returns the content of the part for readers: as Content does, and text in UTF-8.
func (l *Located) Text() io.Reader {
	return part.Decoder(l.Part, partBody(l.from, &l.Part))
}

// Header returns the header of the part, its blank line included. That of a message is its header.
func (l *Located) Header() io.Reader {
	return io.NewSectionReader(l.from, l.Part.Header, l.Part.Body-l.Part.Header)
}

// Parts yields the parts of a message in order, each before those inside it. Enclosed messages that the table does not hold, such as a
// postacert.eml with a transfer encoding or of another type, are opened with Enclosed, one at a time. An error of the reader ends it.
func Parts(r io.ReaderAt, t *part.Table) iter.Seq2[Located, error] {
	return func(yield func(Located, error) bool) { (&partWalk{yield: yield}).walk(r, t, "", 0, 0) }
}

// FindPart returns the part with a number, or ErrNoPart. It opens only messages on the way to the part. Other errors are those of the reader.
func FindPart(r io.ReaderAt, t *part.Table, number string) (*Located, error) {
	var found *Located
	var failed error
	w := &partWalk{wanted: number, yield: func(l Located, err error) bool {
		if failed = err; err == nil && number != "" && l.Number == number {
			found = &l
		}
		return failed == nil && found == nil
	}}
	w.walk(r, t, "", 0, 0)
	if failed == nil && found == nil {
		failed = ErrNoPart
	}
	return found, failed
}

// ErrNoPart says that a message has no part with the number asked for.
var ErrNoPart = errors.New("no such part")

// partWalk visits the parts of a message.
type partWalk struct {
	wanted string // the number of the only part wanted, or "" for all
	yield  func(Located, error) bool
}

// walk visits the parts of a table, with a prefix before their numbers. It reports whether to go on.
func (w *partWalk) walk(r io.ReaderAt, t *part.Table, prefix string, depth, opened int) bool {
	depths := make([]int, len(t.Parts))
	for i := range t.Parts {
		if parent := t.Parts[i].Parent; parent >= 0 {
			depths[i] = depths[parent] + 1
		}
		l := Located{Number: t.Number(i), Depth: depth + depths[i], Part: t.Parts[i], from: r}
		if l.Number != "" {
			l.Number = prefix + l.Number
		}
		if !l.encloses() || t.Enclosed(i) >= 0 || opened >= maxOpened || w.wanted != "" && !strings.HasPrefix(w.wanted, l.Number+".") {
			if !w.yield(l, nil) {
				return false
			}
			continue
		}
		body, inner, err := Enclosed(r, t, i)
		if errors.Is(err, ErrEnclosed) {
			l.Closed = err.Error()
		} else if err != nil {
			w.yield(l, err)
			return false
		}
		if !w.yield(l, nil) || err == nil && !w.walk(body, inner, l.Number+".", l.Depth+1, opened+1) {
			return false
		}
	}
	return true
}

// encloses reports whether a part contains a message. A multipart does not, whatever its name: its parts are in the table.
func (l *Located) encloses() bool {
	return l.Number != "" && (l.Part.IsMessage() || !l.Part.IsMultipart() && equalFold(l.Part.Name(), "postacert.eml"))
}
