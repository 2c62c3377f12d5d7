package part

import (
	"bytes"
	"encoding/binary"
	"strings"
)

const (
	// MaxBoundary is the longest boundary that the Scanner looks for, in bytes. RFC 2046 5.1.1 allows 70.
	MaxBoundary = 1000
	// maxDelimiter is the longest delimiter line, in bytes with padding and line end. It bounds what is held back.
	maxDelimiter = MaxBoundary + 280
	// maxLine is the longest line that RFC 5322 2.1.1 allows, in bytes without its line end.
	maxLine = 998
	// keepBuffer is the largest header buffer that Reset keeps for the next message, in bytes.
	keepBuffer = 64 << 10
)

var (
	cr   = []byte("\r")
	crlf = []byte("\r\n")
)

// Scanner finds the parts of one message in a single pass. How the message is cut into Writes does not change the result. A Scanner
// belongs to one goroutine.
//
// A delimiter line is "--", the boundary, "--" if it closes, and white space (RFC 2046 5.1.1). With anything after that it is no
// delimiter: the standard allows more, but mail programs do not, and one boundary is often the beginning of another. The innermost
// multipart comes first; a delimiter of an outer one ends everything inside it.
type Scanner struct {
	limits     Limits
	parts      []Part
	stack      []node
	boundaries map[string]int // open boundaries, each with the index in stack of the innermost node that has it
	room       int            // bytes of values that may still be kept
	head       bool           // inside a header block
	done       *Table

	// The top-level header has its own buffer, because Header returns it until the end.
	top, inner headerBlock
	topDone    bool

	written   int64
	lines     int64 // line ends before lineStart
	lineStart int64 // offset of the current line
	eol       int64 // length of the line end before it
	lineLen   int64 // bytes of the current line that are accounted for; without those held
	held      []byte
	lastCR    bool  // the last byte accounted for is a CR
	blank     bool  // the current line has only CRs so far
	crs       int64 // CRs of the innermost part's own body, minus those before an LF

	cuts  []int64
	given int // how many of cuts Cuts has returned

	envelopes    []Envelope
	envelopeRoom int // bytes of envelopes that may still be kept
	envelopeSeen int // fields that the last envelope has had, one bit each
}

// node is a part that has not ended yet.
type node struct {
	part     int
	lines    int64  // line ends before its body
	boundary string // its boundary while it is a multipart that takes parts, else ""
	outer    int    // with a boundary: the next outer node with the same one, or -1
	digest   bool   // its parts are messages by default
	message  bool   // it is opened as a message
	multi    bool   // it is opened as a multipart
	closed   bool   // its closing delimiter was seen
	filled   bool   // it has a part
}

// NewScanner returns a Scanner at the start of a message.
func NewScanner(limits Limits) *Scanner {
	s := &Scanner{limits: limits, boundaries: make(map[string]int)}
	s.Reset()
	return s
}

// Reset makes the Scanner ready for another message. Tables it returned stay valid; slices from Header and Cuts do not.
func (s *Scanner) Reset() {
	clear(s.boundaries)
	*s = Scanner{limits: s.limits, boundaries: s.boundaries, stack: s.stack[:0], top: s.top, inner: s.inner,
		held: s.held[:0], cuts: s.cuts[:0], envelopes: s.envelopes[:0]}
	s.top.reset(keepBuffer)
	s.inner.reset(keepBuffer)
	s.room, s.envelopeRoom = s.limits.ValueBytes, maxEnvelopeBytes
	s.begin(-1)
}

// Write takes the next bytes of the message, with CRLF line ends. It never fails, does not keep p, and does nothing after Close.
func (s *Scanner) Write(p []byte) (int, error) {
	n := len(p)
	if s.done != nil {
		return n, nil
	}
	for len(p) > 0 {
		if !s.head && s.lineLen == 0 && len(s.held) == 0 {
			if p = p[s.bodyLines(p):]; len(p) == 0 {
				break
			}
		}
		p = p[s.piece(p):]
	}
	return n, nil
}

// bodyLines takes whole body lines from the start of p, up to the first that may be a delimiter, and returns their length in bytes.
func (s *Scanner) bodyLines(p []byte) int {
	n := 0
	var crlfs, lines, eol int64
	var odd Oddity
	seeking := len(s.boundaries) > 0
	for n < len(p) {
		if p[n] == '-' && seeking && (n+1 == len(p) || p[n+1] == '-') {
			break
		}
		i := bytes.IndexByte(p[n:], '\n')
		if i < 0 {
			break
		}
		if i > 0 && p[n+i-1] == '\r' {
			eol = 2
			crlfs++
		} else {
			eol = 1
			odd |= OddBareLF
		}
		if i+1-int(eol) > maxLine {
			odd |= OddLongLine
		}
		n += i + 1
		lines++
	}
	if n == 0 {
		return 0
	}
	s.body(p[:n])
	s.crs -= crlfs
	s.current().Odd |= odd
	s.lines += lines
	s.written += int64(n)
	s.lineStart, s.eol, s.lastCR = s.written, eol, false
	return n
}

// piece takes bytes up to the end of the current line or of p, and returns how many.
func (s *Scanner) piece(p []byte) int {
	i := bytes.IndexByte(p, '\n')
	if i >= 0 {
		p = p[:i+1]
	}
	s.written += int64(len(p))
	if s.lineLen > 0 || len(s.boundaries) == 0 || len(s.held) == 0 && p[0] != '-' {
		s.account(p)
		return len(p)
	}
	if len(s.held)+len(p) > maxDelimiter {
		s.release()
		s.account(p)
		return len(p)
	}
	s.held = append(s.held, p...)
	if i >= 0 {
		s.heldLine()
	} else if !s.mayDelimit(s.held) {
		s.release()
	}
	return len(p)
}

// heldLine decides whether the line held back is a delimiter, and takes it.
func (s *Scanner) heldLine() {
	k, closing := s.match(s.held)
	if k < 0 {
		s.release()
		return
	}
	crlf, complete := bytes.HasSuffix(s.held, crlf), s.held[len(s.held)-1] == '\n'
	s.held = s.held[:0]
	s.end(k+1, s.lineStart-s.eol)
	if complete {
		s.endLine(crlf)
	}
	n := &s.stack[k]
	switch {
	case closing:
		s.forget(k)
		n.closed, s.head = true, false
	case len(s.parts) >= s.limits.Parts:
		s.rest(k)
	default:
		n.filled = true
		s.begin(k)
	}
}

// release takes the bytes held back as ordinary ones.
func (s *Scanner) release() {
	if len(s.held) > 0 {
		s.account(s.held)
		s.held = s.held[:0]
	}
}

// account takes bytes of the current line that belong to no delimiter. Only the last may be an LF.
func (s *Scanner) account(b []byte) {
	if s.head {
		s.header(b)
	} else {
		s.body(b)
	}
	n := len(b)
	if b[n-1] != '\n' {
		s.lineLen += int64(n)
		s.lastCR = b[n-1] == '\r'
		return
	}
	s.lineLen += int64(n) - 1
	crlf := s.lastCR
	if n > 1 {
		crlf = b[n-2] == '\r'
	}
	if crlf {
		s.lineLen--
		s.crs--
	} else {
		s.current().Odd |= OddBareLF
	}
	s.checkLength()
	blank := s.head && s.blank
	s.endLine(crlf)
	if blank {
		s.endHeader(true)
	}
}

// body looks for odd bytes in a body. It counts all CRs at once, which is fast; those before an LF are subtracted elsewhere, and the rest are
// bare.
func (s *Scanner) body(b []byte) {
	s.crs += int64(bytes.Count(b, cr))
	if p := s.current(); p.Odd&OddNUL == 0 && bytes.IndexByte(b, 0) >= 0 {
		p.Odd |= OddNUL
	}
}

// header looks for odd bytes in a header block, and keeps the block within the limit.
func (s *Scanner) header(b []byte) {
	s.body(b)
	if p := s.current(); p.Odd&Odd8BitHeader == 0 && has8Bit(b) {
		p.Odd |= Odd8BitHeader
	}
	// A line of CRs alone counts as blank: otherwise mail with CRCRLF line ends would be all header.
	if s.blank {
		s.blank = isBlank(b)
	}
	s.block().write(b, s.lineLen == 0, int(s.limits.HeaderBytes))
}

// block returns the header block of the innermost part.
func (s *Scanner) block() *headerBlock {
	if len(s.stack) == 1 {
		return &s.top
	}
	return &s.inner
}

// has8Bit reports whether a byte is over 127.
func has8Bit(b []byte) bool {
	const high = 0x8080808080808080
	for ; len(b) >= 8; b = b[8:] {
		if binary.LittleEndian.Uint64(b)&high != 0 {
			return true
		}
	}
	for _, c := range b {
		if c >= 0x80 {
			return true
		}
	}
	return false
}

func (s *Scanner) checkLength() {
	if s.lineLen > maxLine {
		s.current().Odd |= OddLongLine
	}
}

// endLine moves on to the next line.
func (s *Scanner) endLine(crlf bool) {
	s.eol = 1
	if crlf {
		s.eol = 2
	}
	s.lines++
	s.lineStart = s.written
	s.lineLen, s.lastCR, s.blank = 0, false, true
}

// current returns the innermost part that has not ended.
func (s *Scanner) current() *Part { return &s.parts[s.stack[len(s.stack)-1].part] }

// match returns the index in stack of the node that the line delimits, or -1, and whether it closes that node.
func (s *Scanner) match(line []byte) (int, bool) {
	if len(line) < 2 || line[1] != '-' {
		return -1, false
	}
	line = bytes.TrimRight(line[2:], " \t\r\n")
	if len(line) == 0 {
		return -1, false
	}
	// A map, because hostile bodies are full of near-delimiters of a hundred multiparts.
	k, ok := s.boundaries[string(line)]
	if !ok {
		k = -1
	}
	if n := len(line) - 2; n > 0 && line[n] == '-' && line[n+1] == '-' {
		if closes, ok := s.boundaries[string(line[:n])]; ok && closes > k {
			return closes, true
		}
	}
	return k, false
}

// seek begins to look for the boundary of node k, the innermost node.
func (s *Scanner) seek(k int, boundary string) {
	n := &s.stack[k]
	n.boundary, n.outer = boundary, -1
	if outer, ok := s.boundaries[boundary]; ok {
		n.outer = outer
	}
	s.boundaries[boundary] = k
}

// forget stops looking for the boundary of node k, the innermost node that has one.
func (s *Scanner) forget(k int) {
	n := &s.stack[k]
	switch {
	case n.boundary == "":
	case n.outer >= 0:
		s.boundaries[n.boundary] = n.outer
	default:
		delete(s.boundaries, n.boundary)
	}
	n.boundary = ""
}

// mayDelimit reports whether an incomplete line may become a delimiter.
func (s *Scanner) mayDelimit(line []byte) bool {
	if len(line) < 2 {
		return true
	}
	if line[1] != '-' {
		return false
	}
	line = line[2:]
	for _, n := range s.stack {
		k := min(len(n.boundary), len(line))
		if n.boundary != "" && string(line[:k]) == n.boundary[:k] {
			return true
		}
	}
	return false
}

// begin begins a part inside node k, or the message itself for k = -1, after the bytes written so far.
func (s *Scanner) begin(k int) {
	parent := -1
	if k >= 0 {
		parent = s.stack[k].part
	}
	s.parts = append(s.parts, Part{Parent: parent, Header: s.written})
	s.stack = append(s.stack, node{part: len(s.parts) - 1})
	s.head, s.blank = true, true
	s.inner.reset(cap(s.inner.kept))
}

// rest begins the last part of a full table, inside node k. It takes the rest of the message.
func (s *Scanner) rest(k int) {
	for i := range s.stack {
		s.stack[i].boundary, s.stack[i].closed, s.stack[i].filled = "", true, true
	}
	clear(s.boundaries)
	s.begin(k)
	s.head = false
	s.stack[k+1].lines = s.lines
	p := s.current()
	p.Body, p.Type, p.Odd = s.written, "application/octet-stream", OddParts
	s.cut(p.Body)
}

// end ends all nodes from k on. Their bodies end at offset, or later if a header reaches further.
func (s *Scanner) end(k int, offset int64) {
	if len(s.stack) > k && s.head {
		s.endHeader(false)
	}
	s.flagCR()
	for i := len(s.stack) - 1; i >= k; i-- {
		n := &s.stack[i]
		p := &s.parts[n.part]
		offset = max(offset, p.Body)
		p.End = offset
		p.Lines = s.lines - n.lines
		if offset < s.lineStart {
			p.Lines--
		}
		s.forget(i)
		if n.multi && !n.closed {
			p.Odd |= OddUnterminated
		}
		if n.multi && !n.filled {
			p.Odd |= OddNoParts
		}
		if n.multi && p.isAlternative() || !n.multi && !s.isAlternative(p) {
			s.cut(p.End)
		}
	}
	s.stack = s.stack[:k]
}

// flagCR flags the innermost part if it has bare CRs. Call it before another part becomes the innermost.
func (s *Scanner) flagCR() {
	if s.crs != 0 && len(s.stack) > 0 {
		s.current().Odd |= OddBareCR
	}
	s.crs = 0
}

// endHeader ends the header of the innermost part after its blank line, or without one where the current line begins. It opens the part if
// that is a container.
func (s *Scanner) endHeader(blank bool) {
	s.head = false
	s.flagCR()
	k := len(s.stack) - 1
	n := &s.stack[k]
	p := &s.parts[n.part]
	p.Body = s.lineStart
	n.lines = s.lines
	block := s.block()
	block.endField(int(s.limits.HeaderBytes))
	if block.over {
		p.Odd |= OddHeaderLimit
	}
	s.topDone = s.topDone || k == 0
	message := p.Parent < 0 || s.stack[k-1].message
	boundary := s.interpret(p, block.kept, message, k > 0 && s.stack[k-1].digest)
	if !blank {
		p.Odd |= OddNoBlankLine
	}
	s.open(k, boundary, blank)
	if first := p.Parent == len(s.parts)-2; !s.stack[k].multi && (first || !s.isAlternative(p)) {
		s.cut(p.Body)
	}
}

// isAlternative reports whether a part is text that another part of the same multipart/alternative says too.
func (s *Scanner) isAlternative(p *Part) bool {
	return p.Parent >= 0 && s.parts[p.Parent].isAlternative() && strings.HasPrefix(p.Type, "text/")
}

// cut records an offset at which to cut the bytes for storage.
func (s *Scanner) cut(offset int64) {
	if len(s.cuts) == 0 || offset > s.cuts[len(s.cuts)-1] {
		s.cuts = append(s.cuts, offset)
	}
}

// HeaderDone reports whether the top-level header is complete. Header then stays the same.
func (s *Scanner) HeaderDone() bool { return s.topDone }

// Header returns the top-level header so far, raw and with its blank line. Over the limit, fields or ends of fields are left out. Do not
// change the slice. It is valid until Reset.
func (s *Scanner) Header() []byte { return s.top.kept[:len(s.top.kept):len(s.top.kept)] }

// Settled returns the offset before which all cuts are known: the bytes written, minus those that may still become a delimiter or the
// line end before one. It never goes back.
func (s *Scanner) Settled() int64 {
	switch {
	case len(s.boundaries) == 0 || s.done != nil:
		return s.written
	case s.lineLen > 0 && s.lastCR && !s.head:
		return s.written - 1
	case s.lineLen > 0:
		return s.written
	case s.head:
		return s.lineStart
	}
	return max(s.lineStart-s.eol, s.current().Body)
}

// Cuts returns the offsets before Settled at which to cut the bytes for storage, those that no earlier call returned, strictly growing. They
// are the start and end of the body of each part that is no multipart; of the texts of a multipart/alternative, which repeat each other and so are
// better compressed as one, the start of the first and the end of all. A message enclosed in another has the same cuts, relative to its
// start. Do not change the slice. It is valid until Reset.
func (s *Scanner) Cuts() []int64 {
	from := s.given
	for settled := s.Settled(); s.given < len(s.cuts) && s.cuts[s.given] < settled; {
		s.given++
	}
	return s.cuts[from:s.given:s.given]
}

// Close ends the message and returns its table, which belongs to the caller. Cuts then returns the last cuts. Closing again returns the
// same table.
func (s *Scanner) Close() *Table {
	if s.done != nil {
		return s.done
	}
	if len(s.held) > 0 {
		s.heldLine()
	}
	s.checkLength()
	s.lineStart, s.eol = s.written, 0
	s.end(0, s.written)
	s.done = &Table{Parts: s.parts}
	s.done.sum()
	return s.done
}
