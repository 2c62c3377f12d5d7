// Package part finds the parts of a message (RFC 5322, RFC 2045, RFC 2046) while its bytes stream by, and reads header values.
//
// A Scanner looks at every byte once, on the delivery path. It yields a Table for any message: a tree of byte ranges, with odd places
// flagged. It never fails, and its Limits bound its memory for any input. The Table is stored with the journal entry, so IMAP, the
// pages, the reading of PEC messages and export need not parse the message again.
//
// The stored form of a Table (AppendBinary) is one version byte, 1, followed by unsigned varints and strings. A string is its length
// and its bytes:
//
//	number of parts
//	for each part, depth first:
//	    distance to the parent          the index of the part minus that of its parent; 0 for part 0
//	    header                          minus the body offset of the parent; as it is for part 0
//	    body                            minus the header offset
//	    end                             minus the body offset
//	    lines
//	    oddity flags
//	    type                            from 1: a number in the list of knownTypes; 0: a string follows
//	    fields present                  one bit each, in the order of the fields of Part from ContentType on
//	    a string for each field present
//
// go-message/charset converts charsets. Its tables add about 1 MiB to the program.
package part

import (
	"errors"
	"iter"
	"strconv"
	"strings"
)

// ErrTable says that bytes are not the stored form of a Table, or that a Table has none.
var ErrTable = errors.New("malformed part table")

// Limits bounds what a Scanner keeps and looks at. Anything beyond a limit is flagged, never an error.
type Limits struct {
	Depth int // how many parts may enclose a part; a container at this depth is not opened
	Parts int // parts in the table; the rest of the message is one more part
	// HeaderBytes is how many bytes of each header block are interpreted, and kept of the top-level header. Of each field the first 64 KiB
	// count. Beyond the limit the fields that the archive reads (Content-, PEC and REM fields, From, To, Subject and the like) are kept too:
	// the first 4 KiB of the first field of each name.
	HeaderBytes int64
	ValueBytes  int // bytes of field values and types kept in one table
}

// DefaultLimits returns the limits for mail from anywhere. With them a Scanner holds less than 2 MiB.
func DefaultLimits() Limits {
	return Limits{Depth: 100, Parts: 2000, HeaderBytes: 256 << 10, ValueBytes: 256 << 10}
}

// Table is the structure of a message. The package comment describes its stored form.
type Table struct {
	Parts []Part // depth first: a part comes before its children, siblings in order. Parts[0] is the message itself
	Odd   Oddity // the flags of all parts
}

// Part is one part of a message, as byte ranges of the message. Header <= Body <= End. The parts inside a part lie between its Body
// and its End, in order and without overlap.
//
// A message/rfc822 or message/global part that was opened has one child: the enclosed message, whose header starts at the Body of
// the part. A multipart may have no child; readers then treat it as text.
type Part struct {
	Parent int   // index of the part that encloses this one, -1 for the message itself
	Header int64 // start of the header block
	Body   int64 // start of the body: after the blank line that ends the header, which belongs to the header
	End    int64 // end of the body; the line end before a delimiter belongs to the delimiter (RFC 2046 5.1.1)
	Lines  int64 // line ends in the body (IMAP BODYSTRUCTURE, counted as Dovecot does)

	Type string // media type in lower case, as "text/plain"; if absent or unreadable the default of RFC 2045 5.2 or RFC 2046 5.1.5

	// Values as found: unfolded, not decoded, at most MaxField bytes each, "" if absent. Of each name the first field counts.
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

// Oddity is a set of flags for whatever breaks the standards, or may surprise a reader.
type Oddity uint32

// The flags of an Oddity. Their values are stored: add at the end only.
const (
	OddBareCR         Oddity = 1 << iota // a CR without an LF after it
	OddBareLF                            // an LF without a CR before it
	OddNUL                               // a NUL byte
	OddLongLine                          // a line of more than 998 bytes (RFC 5322 2.1.1)
	Odd8BitHeader                        // a byte over 127 in the header
	OddJunkLine                          // a header line that is no field and continues none
	OddHeaderLimit                       // the header, or a field of it, is over its limit: something was left out
	OddNoBlankLine                       // no blank line ends the header
	OddNoHeader                          // a message without any header field
	OddDuplicateField                    // a second field of a name that Part keeps
	OddValueLimit                        // a field value was cut or left out for its size
	OddType                              // the Content-Type is unreadable
	OddNoBoundary                        // a multipart with no boundary, or one of more than MaxBoundary bytes: not opened
	OddNoParts                           // a multipart without a part
	OddUnterminated                      // a multipart without its closing delimiter
	OddEncoded                           // a multipart or message with a transfer encoding (forbidden by RFC 2045 6.4)
	OddDepth                             // a container over the depth limit: not opened
	OddParts                             // a container, or the rest of the message, over the limit of parts: not opened

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

func (p *Part) isAlternative() bool { return p.Type == "multipart/alternative" }

// IsMultipart reports whether the type is multipart/*.
func (p *Part) IsMultipart() bool { return strings.HasPrefix(p.Type, "multipart/") }

// IsMessage reports whether the type encloses a message: message/rfc822 or message/global (RFC 6532).
func (p *Part) IsMessage() bool { return p.Type == "message/rfc822" || p.Type == "message/global" }

// Encoding returns the transfer encoding in lower case, without comments, or "7bit" if there is none (RFC 2045 6.1).
func (p *Part) Encoding() string {
	if e := encodingToken(p.TransferEncoding); e != "" {
		return e
	}
	return "7bit"
}

// Charset returns the charset parameter of the type as found, or "".
func (p *Part) Charset() string { return parameter(p.ContentType, "charset") }

// Name returns the decoded file name of the part: the filename of its Content-Disposition, else the name of its Content-Type, else "".
// The sender chose it: it may hold path separators, so do not use it as a file name unchecked.
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
		// The descendants of a part are the parts that follow it, up to the first one whose parent comes before it.
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

// Enclosed returns the index of the message inside part i, or -1 if part i encloses no message or was not opened.
func (t *Table) Enclosed(i int) int {
	if !t.Parts[i].IsMessage() {
		return -1
	}
	return t.Child(i, 1)
}

// opened reports whether part i is a multipart with parts, which then have IMAP section numbers.
func (t *Table) opened(i int) bool { return t.Parts[i].IsMultipart() && t.Child(i, 1) >= 0 }

// Section returns the index of the part with an IMAP section number such as "1.2.1" (RFC 3501 6.4.5, RFC 9051 6.4.5), or -1. The empty
// number is the message itself. The caller splits off specifiers (HEADER, TEXT, MIME).
func (t *Table) Section(number string) int {
	if len(t.Parts) == 0 {
		return -1
	}
	if number == "" {
		return 0
	}
	i, message := 0, true // message: part i is a message, and the next number counts inside it
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

// Number returns the IMAP section number of part i, or "" if it has none of its own: a message that is a multipart is addressed by the
// number of the part that encloses it. For every other part, Section(Number(i)) is i.
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

// prefix returns the prefix of the numbers of the parts inside part i, its final dot included.
func (t *Table) prefix(i int) string {
	for i >= 0 {
		if number := t.Number(i); number != "" {
			return number + "."
		}
		i = t.Parts[i].Parent
	}
	return ""
}
