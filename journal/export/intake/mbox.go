package intake

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"copialettere/policy"
	"copialettere/policy/archive"
)

// lookAhead is how many bytes behind a From line are looked at to find out what it is. A header that is longer has no Content-Length to be believed.
const lookAhead = 32 << 10

// separatorDate finds a date on a From line: as asctime has it, with or without the weekday, with a zone before or behind the year; as mails have it; or
// as ISO 8601 does.
var separatorDate = regexp.MustCompile(`(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[ ]+[0-9]{1,2},?[ ]+[0-9]{1,2}:[0-9]{2}.*[0-9]{4}` +
	`|[0-9]{1,2}[ -](?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[ -][0-9]{2,4}[ ]+[0-9]{1,2}:[0-9]{2}` +
	`|[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{1,2}:[0-9]{2}`)

// separator reports whether a line that begins with "From " separates messages. next is what follows it, as far as lookAhead; end says that the file ends
// there. With a date on the line, a header field, a blank line or the end has to follow, without one two header fields, or one and a blank line. A line
// ">From ", which some exporters put there, may come before.
func separator(line, next []byte, end bool) bool {
	if line = trimEnd(line); isFromField(line) {
		return false
	}
	first, rest, whole := cutLine(next)
	if bytes.HasPrefix(first, []byte(">"+fromLine)) {
		first, rest, whole = cutLine(rest)
	}
	if separatorDate.Match(line) {
		return len(trimEnd(first)) == 0 && (whole || end) || isField(first)
	}
	if !isField(first) {
		return false
	}
	for whole {
		var after []byte
		after, rest, whole = cutLine(rest)
		switch {
		case len(after) > 0 && (after[0] == ' ' || after[0] == '\t'): // the field goes on
		case len(trimEnd(after)) == 0:
			return whole || end
		default:
			return isField(after)
		}
	}
	return !end // a field longer than lookAhead
}

const fromLine = "From "

// isFromField reports whether a line that begins with "From " is a header field: "From : mario@alpha.test".
func isFromField(line []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(line[len(fromLine):], " \t"), []byte(":"))
}

// cutLine cuts the first line off, with its line end. whole says that it has one.
func cutLine(b []byte) (line, rest []byte, whole bool) {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return b[:i+1], b[i+1:], true
	}
	return b, nil, false
}

func trimEnd(line []byte) []byte { return bytes.TrimRight(line, "\r\n") }

// isField reports whether a line begins a header field (RFC 5322 section 2.2; with blanks before the colon, as section 4.5 has them).
func isField(line []byte) bool {
	name, _, ok := bytes.Cut(line, []byte(":"))
	name = bytes.TrimRight(name, " \t")
	if !ok || len(name) == 0 || len(name) > 200 {
		return false
	}
	return !bytes.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

// part is a message of an mbox.
type part struct {
	from       int64     // offset of its From line
	start, end int64     // of the message, without the From line and without what parts it from the next one
	quoted     bool      // it has a line of ">" and "From "
	deleted    bool      // Thunderbird has deleted it, and it waits to be compacted
	date       time.Time // of its From line, where its header has none; otherwise zero
}

// splitter splits an mbox.
type splitter struct {
	file   io.ReaderAt
	size   int64
	r      *bufio.Reader
	offset int64                   // of what r reads next
	known  func(offset int64) bool // of an export of this program: where its From lines are; otherwise nil
	part   func(part) error        // is told of each message
	note   func(offset int64, why policy.Label, args ...any) error

	window []byte // of contentLength
}

// split reads from a From line on to the end.
func (s *splitter) split(start int64) error {
	s.offset = start
	s.r = bufio.NewReaderSize(io.NewSectionReader(s.file, start, s.size-start), 4*lookAhead)
	from := start
	if err := s.skipLine(); err != nil {
		return err
	}
	for from >= 0 {
		var err error
		if from, err = s.message(from); err != nil {
			return err
		}
	}
	return nil
}

// message reads a message whose From line, at from, was read. It returns where the next one is, which it has read too; -1 if there is none.
func (s *splitter) message(from int64) (next int64, err error) {
	p := part{from: from, start: s.offset}
	head, err := s.peek()
	if err != nil {
		return 0, err
	}
	p.deleted = isDeleted(head)
	if body, date := headerField(head, "Date"); body >= 0 && date == "" {
		p.date = s.dateOf(from)
	}
	believed, err := s.contentLength(head, p)
	if err != nil {
		return 0, err
	}
	blank := true // the line before was blank
	for s.offset < s.size {
		at := s.offset
		line, whole, err := s.line()
		if err != nil {
			return 0, err
		}
		if whole && at >= believed && bytes.HasPrefix(line, []byte(fromLine)) {
			is, err := s.separates(at, bytes.Clone(line), blank)
			if err != nil {
				return 0, err
			}
			if is {
				p.end = at
				return at, s.done(p, believed)
			}
			blank = false
			continue
		}
		p.quoted = p.quoted || line[0] == '>' && bytes.HasPrefix(bytes.TrimLeft(line, ">"), []byte(fromLine))
		blank = whole && len(trimEnd(line)) == 0
		if !whole {
			if err := s.skipLine(); err != nil {
				return 0, err
			}
		}
	}
	p.end = s.size
	return -1, s.done(p, believed)
}

// maxFromLine is how many bytes of a From line are looked at for its date.
const maxFromLine = 1000

// dateOf returns the date of the From line at an offset; zero where it has none. Without a zone it is of UTC (RFC 4155, appendix A).
func (s *splitter) dateOf(from int64) time.Time {
	line := make([]byte, maxFromLine)
	n, _ := s.file.ReadAt(line, from)
	line, _, _ = cutLine(line[:n])
	found := asctime.FindSubmatch(line)
	if found == nil {
		return time.Time{}
	}
	month, day, clock, before, year, behind := found[1], found[2], found[3], found[4], found[5], found[6]
	zone := "+0000"
	if len(before)+len(behind) > 0 {
		zone = string(before) + string(behind)
	}
	layout := "Jan 2 15:04:05 2006 -0700"
	if len(clock) <= len("15:04") {
		layout = "Jan 2 15:04 2006 -0700"
	}
	at, err := time.Parse(layout, fmt.Sprintf("%s %s %s %s %s", month, day, clock, year, zone))
	if err != nil {
		return time.Time{}
	}
	return at.UTC()
}

// asctime finds month, day, time, zone, year and zone of a From line; it has no more than one of the zones. Zones that have but a name are not known.
var asctime = regexp.MustCompile(`(Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) +([0-9]{1,2}),? +([0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?)` +
	`(?: +([+-][0-9]{4}))? +([0-9]{4})(?: +([+-][0-9]{4}))?[ \r]*\n?$`)

// separates reports whether a line that was read is the From line of the next message.
func (s *splitter) separates(at int64, line []byte, blank bool) (bool, error) {
	if s.known != nil {
		return s.known(at), nil
	}
	next, err := s.peek()
	switch {
	case err != nil || isFromField(line):
		return false, err
	case !separator(line, next, s.offset+int64(len(next)) >= s.size):
		return false, s.note(at, say("una riga che inizia con «From » è presa per testo: non la segue un'intestazione", "a line that begins with \"From \" is taken for text: no header follows it"))
	case !blank:
		return true, s.note(at, say("qui inizia un messaggio senza una riga vuota prima", "a message begins here without a blank line before it"))
	}
	return true, nil
}

// done tells of a message. believed is where its Content-Length ends, or 0.
func (s *splitter) done(p part, believed int64) error {
	switch {
	case believed > 0:
		p.end = believed
	case s.known == nil:
		p.end = s.withoutBlank(p)
	}
	return s.part(p)
}

// withoutBlank returns the end of a message without the blank line that parts it from the next one.
func (s *splitter) withoutBlank(p part) int64 {
	var tail [4]byte
	n := min(p.end-p.start, int64(len(tail)))
	if _, err := s.file.ReadAt(tail[:n], p.end-n); err != nil && err != io.EOF {
		return p.end
	}
	last := string(tail[:n])
	switch {
	case last == "\r\n" || strings.HasSuffix(last, "\n\r\n"):
		return p.end - 2
	case last == "\n" || strings.HasSuffix(last, "\n\n"):
		return p.end - 1
	}
	return p.end
}

// contentLength returns where the Content-Length of a message ends, or 0 if it has none that can be believed: it must end at a From line or at the end of
// the file, with at most two line ends between.
func (s *splitter) contentLength(head []byte, p part) (int64, error) {
	if s.known != nil {
		return 0, nil
	}
	body, value := headerField(head, "Content-Length")
	n, err := strconv.ParseInt(value, 10, 64)
	if body < 0 || value == "" {
		return 0, nil
	}
	end := p.start + int64(body) + n
	if err == nil && n >= 0 && end >= p.start && end <= s.size {
		if s.window == nil {
			s.window = make([]byte, lookAhead)
		}
		window := s.window
		got, err := s.file.ReadAt(window, end)
		if err != nil && err != io.EOF {
			return 0, err
		}
		window = window[:got]
		atEnd := end+int64(got) >= s.size
		for range 2 {
			window = bytes.TrimPrefix(bytes.TrimPrefix(window, []byte("\r")), []byte("\n"))
		}
		line, next, _ := cutLine(window)
		if len(window) == 0 && atEnd || bytes.HasPrefix(line, []byte(fromLine)) && separator(line, next, atEnd) {
			return end, nil
		}
	}
	return 0, s.note(p.from, say("il suo Content-Length non torna e non viene creduto", "its Content-Length does not fit and is not believed"))
}

// headerField returns the value of the first header field of a name, and where the body begins; -1 if the header does not end in head.
func headerField(head []byte, name string) (body int, value string) {
	for rest := head; ; {
		line, after, whole := cutLine(rest)
		if !whole {
			return -1, value
		}
		rest = after
		if len(trimEnd(line)) == 0 {
			return len(head) - len(rest), value
		}
		field, text, ok := bytes.Cut(line, []byte(":"))
		if ok && value == "" && strings.EqualFold(string(bytes.TrimSpace(field)), name) {
			value = string(bytes.TrimSpace(text))
		}
	}
}

// isDeleted reports whether Thunderbird has deleted a message that is still in the file (X-Mozilla-Status, bit 3).
func isDeleted(head []byte) bool {
	_, value := headerField(head, "X-Mozilla-Status")
	status, err := strconv.ParseUint(value, 16, 32)
	return err == nil && status&8 != 0
}

// peek returns what comes next, as far as lookAhead.
func (s *splitter) peek() ([]byte, error) {
	b, err := s.r.Peek(lookAhead)
	if err != nil && err != io.EOF {
		return nil, err
	}
	return b, nil
}

// line reads a line, or as much of it as the buffer holds: it is whole then if it has a line end or the file ends.
func (s *splitter) line() (line []byte, whole bool, err error) {
	line, err = s.r.ReadSlice('\n')
	s.offset += int64(len(line))
	switch {
	case err == nil:
		return line, true, nil
	case err == io.EOF && len(line) > 0:
		s.offset = s.size // also where the file became shorter
		return line, true, nil
	case err == io.EOF:
		return nil, false, io.ErrUnexpectedEOF
	case errors.Is(err, bufio.ErrBufferFull):
		return line, false, nil
	}
	return nil, false, err
}

// skipLine reads the rest of a line.
func (s *splitter) skipLine() error {
	for s.offset < s.size {
		_, whole, err := s.line()
		if err != nil || whole {
			return err
		}
	}
	return nil
}

// quotingOf returns what is known of the quoting of a message.
func quotingOf(p part) string {
	if p.quoted {
		return archive.QuotingUndecidable
	}
	return archive.QuotingNone
}
