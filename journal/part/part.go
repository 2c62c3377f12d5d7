// Package part finds the parts of a message (RFC 5322, RFC 2045, RFC 2046) while its bytes stream by, and reads header values.
//
// A Scanner looks at every byte once, on the delivery path. Whatever the message, it yields a Table: a tree of byte ranges, with
// the odd places flagged. It never fails, and its memory is bounded by its Limits whatever the input. The Table is kept with the
// journal entry; IMAP, the pages, the reading of PEC messages and export stand on it and need not parse the message again.
//
// The stored form of a Table (AppendBinary) is one version byte, 1, and then unsigned varints and strings. A string is its length
// and its bytes:
//
//	number of parts
//	for each part, depth first:
//	    distance to the parent          the index of the part less that of its parent; 0 for part 0
//	    header                          less the body offset of the parent; from 0 for part 0
//	    body                            less the header offset
//	    end                             less the body offset
//	    lines
//	    oddity flags
//	    type                            1 and more: a number in the list of knownTypes; 0: a string follows
//	    fields present                  one bit each, in the order of the fields of Part from ContentType
//	    a string for each field present
//
// Conversion of charsets comes from go-message/charset, whose tables add about 1 MiB to the program.
package part

import (
	"errors"
	"iter"
	"strconv"
	"strings"
)

// ErrTable says that bytes are not the stored form of a Table.
var ErrTable = errors.New("malformed part table")

// Limits bounds what a Scanner keeps and looks at. What lies beyond a limit is flagged, never an error.
type Limits struct {
	Depth int // how many parts may enclose a part; a container at this depth is not opened
	Parts int // parts in the table; the rest of the message is one more part
	// HeaderBytes is how many bytes of one header block are interpreted, and kept of the top-level header. A field counts with its first
	// 64 KiB, and what the archive reads of a message (its Content-, PEC and REM fields, From, To, Subject, and the like) is kept beyond
	// the limit as well, the first 4 KiB of the first one of a name.
	HeaderBytes int64
	ValueBytes  int // bytes of field values and types kept in one table
}

// DefaultLimits returns the limits for mail from anywhere. A Scanner then holds less than 2 MiB at worst.
func DefaultLimits() Limits {
	return Limits{Depth: 100, Parts: 2000, HeaderBytes: 256 << 10, ValueBytes: 256 << 10}
}

// Table is the structure of a message. Its stored form is described at the package.
type Table struct {
	Parts []Part // depth first: a part stands before its children, siblings in their order. Parts[0] is the message itself
	Odd   Oddity // the flags of all parts together
}

// Part is one part of a message, as byte ranges of the message. Header <= Body <= End, and the parts inside a part lie between its
// Body and its End, in order, without overlap.
//
// A message/rfc822 or message/global part that could be opened has one child: the enclosed message, whose header starts at the
// Body of the part. A multipart may have no child at all; readers then treat it as text.
type Part struct {
	Parent int   // index of the part that encloses this one, -1 for the message itself
	Header int64 // start of the header block
	Body   int64 // start of the body: behind the blank line that ends the header, which counts as header
	End    int64 // end of the body; the line end before a delimiter belongs to the delimiter (RFC 2046 5.1.1)
	Lines  int64 // line ends in the body (IMAP BODYSTRUCTURE, counted as Dovecot does)

	Type string // media type in lower case, as "text/plain"; the default of RFC 2045 5.2 or RFC 2046 5.1.5 where absent or unreadable

	// Values as found: unfolded, not decoded, at most MaxField bytes each, "" where absent. The first one of a name counts.
	ContentType      string
	TransferEncoding string
	Disposition      string
	ContentID        string
	Description      string
	Language         string

	Odd Oddity // what is odd about this part
}

// MaxField is how many bytes of a field value a Part keeps at most.
const MaxField = 2 << 10

// Oddity is a set of flags for what is not as the standards want it, or not as a reader might expect it.
type Oddity uint32

// The flags of an Oddity. Their values are stored: add at the end only.
const (
	OddBareCR         Oddity = 1 << iota // a CR that no LF follows
	OddBareLF                            // an LF that follows no CR
	OddNUL                               // a NUL byte
	OddLongLine                          // a line of more than 998 bytes (RFC 5322 2.1.1)
	Odd8BitHeader                        // a byte over 127 in the header
	OddJunkLine                          // a header line that is no field and continues none
	OddHeaderLimit                       // the header is over the limit, or a field of it: something was left out
	OddNoBlankLine                       // no blank line ends the header
	OddNoHeader                          // a message without any header field
	OddDuplicateField                    // a second Content-Type or other field of those in Part
	OddValueLimit                        // a field value was cut or left out for its size
	OddType                              // the Content-Type could not be read
	OddNoBoundary                        // a multipart with no boundary, or one of more than MaxBoundary bytes: not opened
	OddNoParts                           // a multipart in which no part was found
	OddUnterminated                      // a multipart without its closing delimiter
	OddEncoded                           // a multipart or message with a transfer encoding (forbidden by RFC 2045 6.4)
	OddDepth                             // a container over the depth limit: not opened
	OddParts                             // a container or rest over the limit of parts: not opened

	oddities = iota
)

var oddityNames = [oddities]string{"bare-cr", "bare-lf", "nul", "long-line", "8bit-header", "junk-line", "header-limit", "no-blank-line",
	"no-header", "duplicate-field", "value-limit", "type", "no-boundary", "no-parts", "unterminated", "encoded", "depth", "parts"}

// String returns the names of the flags, separated by commas, or "" for none.
func (o Oddity) String() string {
	var names []string
	for i, name := range oddityNames {
		if o&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// IsMultipart reports whether the type is multipart/*.
func (p *Part) IsMultipart() bool { return strings.HasPrefix(p.Type, "multipart/") }

// IsMessage reports whether the type is one that encloses a message: message/rfc822 or message/global (RFC 6532).
func (p *Part) IsMessage() bool { return p.Type == "message/rfc822" || p.Type == "message/global" }

// Encoding returns the transfer encoding in lower case, without comments; "7bit" where none is named (RFC 2045 6.1).
func (p *Part) Encoding() string {
	if e := encodingToken(p.TransferEncoding); e != "" {
		return e
	}
	return "7bit"
}

// Charset returns the charset parameter of the type as found, or "".
func (p *Part) Charset() string { return parameter(p.ContentType, "charset") }

// Name returns the file name of the part, decoded: the filename of its Content-Disposition, else the name of its Content-Type, else
// "". It comes from the sender: it may hold path separators, and is no safe file name.
func (p *Part) Name() string {
	if _, params := Params(p.Disposition); params["filename"] != "" {
		return Decode(params["filename"])
	}
	_, params := Params(p.ContentType)
	return Decode(params["name"])
}

// Children yields the indices of the parts directly inside part i, in order.
func (t *Table) Children(i int) iter.Seq[int] {
	return func(yield func(int) bool) {
		// The descendants of a part are the run of parts behind it whose parents are not before it.
		for j := i + 1; j < len(t.Parts) && t.Parts[j].Parent >= i; j++ {
			if t.Parts[j].Parent == i && !yield(j) {
				return
			}
		}
	}
}

// Child returns the index of the nth part directly inside part i, counted from 1, or -1.
func (t *Table) Child(i, n int) int {
	for j := range t.Children(i) {
		if n--; n == 0 {
			return j
		}
	}
	return -1
}

// Enclosed returns the index of the message inside a message/rfc822 or message/global part, or -1 where i is none or was not opened.
func (t *Table) Enclosed(i int) int {
	if !t.Parts[i].IsMessage() {
		return -1
	}
	return t.Child(i, 1)
}

// opened reports whether part i is a multipart with parts, which IMAP numbers.
func (t *Table) opened(i int) bool { return t.Parts[i].IsMultipart() && t.Child(i, 1) >= 0 }

// Section returns the index of the part with an IMAP section number as "1.2.1" (RFC 3501 6.4.5, RFC 9051 6.4.5), or -1. The empty
// number is the message itself. Specifiers (HEADER, TEXT, MIME) are the caller's to split off.
func (t *Table) Section(number string) int {
	if len(t.Parts) == 0 {
		return -1
	}
	if number == "" {
		return 0
	}
	i, message := 0, true // message: the next number counts within the message i, not within the part i
	for digits := range strings.SplitSeq(number, ".") {
		n, err := strconv.ParseUint(digits, 10, 31)
		if err != nil || n == 0 || digits[0] == '0' {
			return -1
		}
		if !message && t.Parts[i].IsMessage() {
			if i = t.Enclosed(i); i < 0 {
				return -1
			}
			message = true
		}
		switch {
		case t.opened(i):
			if i = t.Child(i, int(n)); i < 0 {
				return -1
			}
		case !message || n != 1:
			return -1
		}
		message = false
	}
	return i
}

// Number returns the IMAP section number of part i, or "" where it has none of its own: a message that is a multipart is addressed
// by the number of the part that encloses it. For every other part, Section(Number(i)) is i.
func (t *Table) Number(i int) string {
	p := &t.Parts[i]
	message := p.Parent < 0 || t.Parts[p.Parent].IsMessage()
	if message && t.opened(i) {
		return ""
	}
	n := 1
	if !message {
		for j := range t.Children(p.Parent) {
			if j == i {
				break
			}
			n++
		}
	}
	prefix := t.prefix(p.Parent)
	return prefix + strconv.Itoa(n)
}

// prefix returns what stands before the number of a part inside part i, the point included.
func (t *Table) prefix(i int) string {
	for i >= 0 {
		if number := t.Number(i); number != "" {
			return number + "."
		}
		i = t.Parts[i].Parent
	}
	return ""
}
