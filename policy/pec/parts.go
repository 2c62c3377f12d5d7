package pec

import (
	"errors"
	"io"
	"iter"
	"strings"

	"copialettere/journal/part"
)

// maxOpened is how deep messages that a part table does not hold are opened in one another.
const maxOpened = 4

// Located is one part of a message, or of a message that is enclosed in it.
type Located struct {
	// Number is how IMAP addresses the part, as "1.3.2" (RFC 9051 6.4.5); a part of an enclosed message has the number of the part around the
	// message before its own. It is "" for a message that is a multipart: its content is that of the part around it.
	Number string
	Depth  int // how many parts stand around it
	Part   part.Part
	Closed string // why the message inside it could not be opened, for people; "" where it was, or where there is none

	from io.ReaderAt // that the ranges of Part count in
}

// Content returns what is in the part: its transfer encoding undone, and nothing else. Of a part with a message in it that is the message. Its
// errors are those of the reader that it comes from.
func (l *Located) Content() io.Reader {
	return part.ContentDecoder(l.Part, partBody(l.from, &l.Part))
}

// Parts yields the parts of a message in their order, each before those inside it. Enclosed messages that its table does not hold, as
// postacert.eml with a transfer encoding or with another type, are opened with Enclosed, one at a time. An error is that of the reader, and ends it.
func Parts(r io.ReaderAt, t *part.Table) iter.Seq2[Located, error] {
	return func(yield func(Located, error) bool) { (&partWalk{yield: yield}).walk(r, t, "", 0, 0) }
}

// FindPart returns the part of that number. Only messages on the way to it are opened. ErrNoPart says that there is none.
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

// ErrNoPart says that a message has no part of a number.
var ErrNoPart = errors.New("no such part")

// partWalk goes through the parts of a message.
type partWalk struct {
	wanted string // the number of the only part that is looked for, or ""
	yield  func(Located, error) bool
}

// walk goes through a table whose parts have a prefix before their numbers. It reports whether to go on.
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

// encloses reports whether a part is one around a message. A multipart is none, whatever its name: what is in it is in the table.
func (l *Located) encloses() bool {
	return l.Number != "" && (l.Part.IsMessage() || !l.Part.IsMultipart() && equalFold(l.Part.Name(), "postacert.eml"))
}
