package codec

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"
)

const (
	leastLine  = 16                                      // characters of the shortest line of a run
	longLine   = 1000                                    // and of the longest
	leastLines = 2                                       // whole lines of the shortest run
	maxRuns    = 64                                      // of one chunk
	maxTable   = (1 + 3*maxRuns) * binary.MaxVarintLen32 // bytes of the table
)

// A long run of which a sample shows that its bytes are as good as random, such as those of a picture or a ZIP, is left as it is: decoding it would save a
// thirtieth and cost a tenth of the time.
const (
	longRun     = 8 << 10 // decoded bytes
	sampleLines = 48      // lines of the sample
	// A sample is random when two of its bytes are alike about as seldom as two random ones: at most so many hundredths as often.
	randomMost = 125
)

// run is a run of base64 in a chunk.
type run struct {
	start, end int // in the chunk
	line       int // characters of a line
	decoded    int // bytes
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// pairs are the two characters of each twelve bits, the first one in the lower byte.
var pairs = func() (t [1 << 12]uint16) {
	for v := range t {
		t[v] = uint16(alphabet[v>>6]) | uint16(alphabet[v&63])<<8
	}
	return t
}()

// digits are the values of the characters, ready to be put together: the value of a character in its place among four, or invalid.
var digits = func() (t [4][256]uint32) {
	for place := range t {
		for c := range t[place] {
			t[place][c] = invalid
		}
		for v := range len(alphabet) {
			t[place][alphabet[v]] = uint32(v) << (18 - 6*place)
		}
	}
	return t
}()

// invalid is a bit that no three bytes have.
const invalid = 1 << 31

// decodeLine appends the bytes of characters, a multiple of four without padding. ok is false where one is not of base64.
func decodeLine(dst, characters []byte) (_ []byte, ok bool) {
	n := len(dst)
	dst = slices.Grow(dst, len(characters)/4*3)
	out := dst[n : n+len(characters)/4*3]
	dst = dst[:n+len(out)]
	var all uint32
	for len(characters) >= 4 && len(out) >= 3 {
		v := digits[0][characters[0]] | digits[1][characters[1]] | digits[2][characters[2]] | digits[3][characters[3]]
		all |= v
		out[0], out[1], out[2] = byte(v>>16), byte(v>>8), byte(v)
		characters, out = characters[4:], out[3:]
	}
	return dst, all&invalid == 0
}

// strict refuses padding whose bits are not zero: it would not come back.
var strict = base64.StdEncoding.Strict()

// decodeLast appends the bytes of a last line, which may have padding.
func decodeLast(dst, characters []byte) (_ []byte, ok bool) {
	n := len(characters) - 4
	if n < 0 || len(characters)%4 != 0 {
		return dst, false
	}
	before := len(dst)
	if dst, ok = decodeLine(dst, characters[:n]); !ok {
		return dst[:before], false
	}
	var three [3]byte
	w, err := strict.Decode(three[:], characters[n:])
	if err != nil || w == 0 {
		return dst[:before], false
	}
	return append(dst, three[:w]...), true
}

// wholeLine says whether a line of that many characters and its CRLF stand at the beginning of text.
func wholeLine(text []byte, characters int) bool {
	return len(text) >= characters+2 && text[characters] == '\r' && text[characters+1] == '\n'
}

// nextRun finds the next run in chunk, from an offset that is the beginning of a line, and appends its bytes to dst. Without one, ok is false.
func nextRun(dst, chunk []byte, from int) (r run, _ []byte, ok bool) {
	for from < len(chunk) {
		end := bytes.IndexByte(chunk[from:], '\n')
		if end < 0 {
			break
		}
		if line := end - 1; line >= leastLine && line <= longLine && line%4 == 0 && wholeLine(chunk[from:], line) && wholeLine(chunk[from+line+2:], line) {
			var looked int
			if r, dst, looked = runAt(dst, chunk, from, line); r.line > 0 {
				return r, dst, true
			}
			from += looked
			continue
		}
		from += end + 1
	}
	return run{}, dst, false
}

// runAt reads a run whose lines have so many characters. Without one, r.line is 0; looked is how far the next one is not.
func runAt(dst, chunk []byte, from, line int) (r run, _ []byte, looked int) {
	if lines := alike(chunk[from:], line); lines*line/4*3 > longRun && random(chunk[from:from+lines*(line+2)], line, lines) {
		return run{}, dst, lines * (line + 2)
	}
	before, at := len(dst), from
	for wholeLine(chunk[at:], line) {
		there, ok := decodeLine(dst, chunk[at:at+line])
		if !ok {
			break
		}
		dst = there
		at += line + 2
	}
	lines := (at - from) / (line + 2)
	if lines < leastLines {
		return run{}, dst[:before], line + 2
	}
	// What is left of it: a shorter line, or one with padding.
	rest := chunk[at:]
	if wholeLine(rest, line) {
		if last, ok := decodeLast(dst, rest[:line]); ok {
			dst, at = last, at+line+2
		}
	} else {
		last := bytes.IndexByte(rest[:min(len(rest), line)], '\r')
		if last < 0 {
			last = min(len(rest), line) // the chunk ends here
		}
		if last < line {
			if there, ok := decodeLast(dst, rest[:last]); ok {
				dst, at = there, at+last
			}
		}
	}
	return run{start: from, end: at, line: line, decoded: len(dst) - before}, dst, 0
}

// alike counts the whole lines of so many characters at the beginning of text.
func alike(text []byte, line int) (lines int) {
	for wholeLine(text, line) {
		text = text[line+2:]
		lines++
	}
	return lines
}

// random says whether a sample of the lines shows random bytes, or no base64.
func random(text []byte, line, lines int) bool {
	var sample [longLine]byte
	var counts [256]int
	n := 0
	step := max(lines/sampleLines, 1)
	for i := 0; i < lines; i += step {
		start := i * (line + 2)
		decoded, ok := decodeLine(sample[:0], text[start:start+line])
		if !ok {
			continue // runAt finds the end
		}
		for _, b := range decoded {
			counts[b]++
		}
		n += len(decoded)
	}
	pairs := 0
	for _, c := range counts {
		pairs += c * (c - 1)
	}
	return pairs*256*100 <= n*(n-1)*randomMost
}

// unfold returns the unfolded bytes of a chunk, which lie in the memory of buffer. ok is false where no run is worth it.
func unfold(buffer *[]byte, chunk []byte) (_ []byte, ok bool) {
	var runs [maxRuns]run
	count, from := 0, 0
	dst := slices.Grow((*buffer)[:0], maxTable)[:maxTable] // the table is known last, and goes there
	defer func() { *buffer = dst }()
	for count < maxRuns {
		if runs[count], dst, ok = nextRun(dst, chunk, from); !ok {
			break
		}
		from = runs[count].end
		count++
	}
	if count == 0 {
		return nil, false
	}
	table := binary.AppendUvarint(make([]byte, 0, maxTable), uint64(count))
	from = 0
	for _, r := range runs[:count] {
		dst = append(dst, chunk[from:r.start]...)
		table = binary.AppendUvarint(table, uint64(r.start-from))
		table = binary.AppendUvarint(table, uint64(r.line))
		table = binary.AppendUvarint(table, uint64(r.decoded))
		from = r.end
	}
	dst = append(dst, chunk[from:]...)
	start := maxTable - len(table)
	copy(dst[start:], table)
	return dst[start:], true
}

// fold appends the chunk of unfolded bytes to dst. It is at most MaxSize bytes longer.
func fold(dst, unfolded []byte) ([]byte, error) {
	count, rest, err := number(unfolded, maxRuns)
	if err != nil {
		return nil, err
	}
	var runs [maxRuns]run
	size, decoded := 0, 0
	for i := range runs[:count] {
		r := &runs[i]
		for _, v := range [...]*int{&r.start, &r.line, &r.decoded} { // start: of text before it
			if *v, rest, err = number(rest, MaxSize); err != nil {
				return nil, err
			}
		}
		if r.line < leastLine || r.line > longLine || r.line%4 != 0 {
			return nil, fmt.Errorf("a line of %d characters: %w", r.line, ErrMalformed)
		}
		size += r.length()
		decoded += r.decoded
		if size > MaxSize || decoded > len(rest) {
			return nil, fmt.Errorf("a run of %d bytes: %w", r.decoded, ErrMalformed)
		}
	}
	if size += len(rest) - decoded; size > MaxSize {
		return nil, fmt.Errorf("%d bytes: %w", size, ErrMalformed)
	}
	dst = slices.Grow(dst, size)
	text := rest[decoded:]
	for _, r := range runs[:count] {
		if r.start > len(text) {
			return nil, fmt.Errorf("%d bytes of text: %w", r.start, ErrMalformed)
		}
		dst = append(dst, text[:r.start]...)
		dst = r.write(dst, rest[:r.decoded])
		text, rest = text[r.start:], rest[r.decoded:]
	}
	return append(dst, text...), nil
}

// number reads a number from 0 to most.
func number(b []byte, most int) (int, []byte, error) {
	v, n := binary.Uvarint(b)
	if n <= 0 || v > uint64(most) {
		return 0, nil, ErrMalformed
	}
	return int(v), b[n:], nil
}

// length returns how many characters the run has.
func (r *run) length() int {
	characters := (r.decoded + 2) / 3 * 4
	return characters + 2*(characters/r.line)
}

// write appends the characters of the run.
func (r *run) write(dst, decoded []byte) []byte {
	whole := r.line / 4 * 3
	for len(decoded) >= whole {
		dst = append(encodeLine(dst, decoded[:whole]), '\r', '\n')
		decoded = decoded[whole:]
	}
	n := len(dst)
	dst = base64.StdEncoding.AppendEncode(dst, decoded)
	if len(dst)-n == r.line {
		dst = append(dst, '\r', '\n')
	}
	return dst
}

// encodeLine appends the characters of bytes, a multiple of three. The standard library takes twice as long.
func encodeLine(dst, decoded []byte) []byte {
	n := len(dst)
	size := len(decoded) / 3 * 4
	dst = slices.Grow(dst, size)[:n+size]
	out := dst[n:]
	for len(decoded) >= 3 && len(out) >= 4 {
		first, second := pairs[uint(decoded[0])<<4|uint(decoded[1])>>4], pairs[uint(decoded[1]&15)<<8|uint(decoded[2])]
		binary.LittleEndian.PutUint32(out, uint32(first)|uint32(second)<<16)
		decoded, out = decoded[3:], out[4:]
	}
	return dst
}
