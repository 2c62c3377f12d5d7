package part

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

const (
	tableVersion = 1
	// partMinimum is the smallest size of a part in the stored form, in bytes.
	partMinimum = 8
	// maxOffset is the largest stored offset that is accepted. Sums of a few cannot overflow.
	maxOffset = 1 << 60
	fields    = 6
)

// knownTypes are stored as numbers, counted from 1. Add at the end only.
var knownTypes = [...]string{"text/plain", "text/html", "multipart/mixed", "multipart/alternative", "multipart/related", "multipart/signed",
	"multipart/report", "multipart/digest", "message/rfc822", "message/delivery-status", "application/octet-stream", "application/pdf",
	"application/xml", "application/pkcs7-signature", "application/x-pkcs7-signature", "application/pkcs7-mime", "application/zip",
	"image/jpeg", "image/png", "image/gif", "text/xml", "text/calendar", "text/rfc822-headers", "message/global"}

// typeNumber returns the number of a known type, or 0.
func typeNumber(name string) int {
	for i, known := range knownTypes {
		if name == known {
			return i + 1
		}
	}
	return 0
}

// values returns the stored field values of a part, in stored order.
func (p *Part) values() [fields]*string {
	return [fields]*string{&p.ContentType, &p.TransferEncoding, &p.Disposition, &p.ContentID, &p.Description, &p.Language}
}

// sum sets the flags of the table from those of its parts.
func (t *Table) sum() {
	t.Odd = 0
	for i := range t.Parts {
		t.Odd |= t.Parts[i].Odd
	}
}

// AppendBinary appends the stored form to b. It fails, with ErrTable, only if the ranges are not as Part says; those of a Scanner are.
func (t *Table) AppendBinary(b []byte) ([]byte, error) {
	if err := t.check(); err != nil {
		return b, err
	}
	b = append(b, tableVersion)
	b = binary.AppendUvarint(b, uint64(len(t.Parts)))
	for i := range t.Parts {
		p := &t.Parts[i]
		distance, base := 0, int64(0)
		if i > 0 {
			distance, base = i-p.Parent, t.Parts[p.Parent].Body
		}
		for _, n := range [...]int64{int64(distance), p.Header - base, p.Body - p.Header, p.End - p.Body, p.Lines, int64(p.Odd)} {
			b = binary.AppendUvarint(b, uint64(n))
		}
		number := typeNumber(p.Type)
		b = binary.AppendUvarint(b, uint64(number))
		if number == 0 {
			b = appendString(b, p.Type)
		}
		values := p.values()
		present := uint64(0)
		for k, v := range values {
			if *v != "" {
				present |= 1 << k
			}
		}
		b = binary.AppendUvarint(b, present)
		for _, v := range values {
			if *v != "" {
				b = appendString(b, *v)
			}
		}
	}
	return b, nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// UnmarshalBinary reads the stored form, which must fill b. It does not keep b, and for any b takes memory in proportion to its length.
// Errors wrap ErrTable and leave t as it was.
func (t *Table) UnmarshalBinary(b []byte) error {
	r := reader{rest: b}
	if version := r.byte(); version != tableVersion {
		return fmt.Errorf("%w: version %d", ErrTable, version)
	}
	count := r.uvarint(uint64(len(r.rest) / partMinimum))
	read := Table{Parts: make([]Part, 0, count)}
	for i := range int(count) {
		p := Part{Parent: i - int(r.uvarint(uint64(i)))}
		base := int64(0)
		if i == 0 {
			p.Parent = -1
		} else if p.Parent < i {
			base = read.Parts[p.Parent].Body
		}
		p.Header = base + r.offset()
		p.Body = p.Header + r.offset()
		p.End = p.Body + r.offset()
		p.Lines = r.offset()
		p.Odd = Oddity(r.uvarint(1<<32 - 1))
		if number := r.uvarint(uint64(len(knownTypes))); number > 0 {
			p.Type = knownTypes[number-1]
		} else {
			p.Type = r.string()
		}
		present := r.uvarint(1<<fields - 1)
		for k, v := range p.values() {
			if present&(1<<k) != 0 {
				*v = r.string()
			}
		}
		if r.failed {
			break
		}
		read.Parts = append(read.Parts, p)
	}
	if r.failed || len(r.rest) > 0 {
		return fmt.Errorf("%w: cut short or damaged", ErrTable)
	}
	if err := read.check(); err != nil {
		return err
	}
	read.sum()
	*t = read
	return nil
}

// check returns an error if the parts are not depth first, or their ranges not as Part says.
func (t *Table) check() error {
	if len(t.Parts) == 0 {
		return fmt.Errorf("%w: no part", ErrTable)
	}
	type open struct {
		part int
		free int64 // where the next part inside may begin
	}
	stack := []open{{part: -1}}
	for i := range t.Parts {
		p := &t.Parts[i]
		for stack[len(stack)-1].part > p.Parent {
			stack = stack[:len(stack)-1]
		}
		parent := &stack[len(stack)-1]
		end := int64(maxOffset)
		if p.Parent >= 0 {
			end = t.Parts[p.Parent].End
		}
		if parent.part != p.Parent || i > 0 && p.Parent < 0 || p.Header < parent.free || p.Body < p.Header || p.End < p.Body || p.End > end ||
			p.Lines < 0 || p.Lines > p.End-p.Body || p.Type == "" {
			return fmt.Errorf("%w: part %d is out of place", ErrTable, i)
		}
		parent.free = p.End
		stack = append(stack, open{part: i, free: p.Body})
	}
	return nil
}

// reader reads the stored form. After a failure it returns zeros.
type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) fail() {
	r.rest, r.failed = nil, true
}

func (r *reader) byte() byte {
	if len(r.rest) == 0 {
		r.fail()
		return 0
	}
	c := r.rest[0]
	r.rest = r.rest[1:]
	return c
}

// uvarint reads a number of at most max.
func (r *reader) uvarint(max uint64) uint64 {
	v, n := binary.Uvarint(r.rest)
	// Accept only the shortest form of a number, so that each table has one stored form.
	if n <= 0 || v > max || n > 1 && n != (bits.Len64(v)+6)/7 {
		r.fail()
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) offset() int64 { return int64(r.uvarint(maxOffset)) }

func (r *reader) string() string {
	n := r.uvarint(uint64(len(r.rest)))
	if n > uint64(len(r.rest)) {
		r.fail()
		return ""
	}
	s := string(r.rest[:n])
	r.rest = r.rest[n:]
	return s
}
