package pec

import (
	"bytes"
	"errors"
	"math/bits"
)

// Identifier octets of the elements read here (X.690 8.1.2).
const (
	tagInteger     = 0x02
	tagOctetString = 0x04
	tagOID         = 0x06
	tagUTCTime     = 0x17
	tagTime        = 0x18
	tagSequence    = 0x30
	tagSet         = 0x31
	tagContext0    = 0xa0 // [0], constructed
	tagContext1    = 0xa1
	tagKeyID       = 0x80 // [0], primitive

	constructed      = 0x20
	constructedOctet = tagOctetString | constructed
	indefinite       = 0x80

	// maxDepth is how deep elements may be nested; certificates need about ten.
	maxDepth = 40
)

var errDER = errors.New("malformed ASN.1")

// toDER converts BER to DER: definite lengths, strings in one piece (X.690 10.1, 10.2). Signatures made as a stream, as Bouncy Castle does,
// have indefinite lengths. Sets keep their order. Bytes after the first element are ignored.
func toDER(ber []byte) ([]byte, error) {
	out, _, err := appendDER(make([]byte, 0, len(ber)), ber, 0)
	return out, err
}

// elementHeader reads identifier and length octets. Length is -1 for an indefinite one.
func elementHeader(b []byte) (tag []byte, length int, rest []byte, err error) {
	n := 1
	if len(b) > 1 && b[0]&0x1f == 0x1f {
		for n < len(b) && n < 5 && b[n]&0x80 != 0 {
			n++
		}
		n++
	}
	if len(b) <= n {
		return nil, 0, nil, errDER
	}
	tag, b = b[:n], b[n:]
	first := b[0]
	b = b[1:]
	switch {
	case first < indefinite:
		length = int(first)
	case first == indefinite:
		return tag, -1, b, nil
	default:
		n := int(first &^ indefinite)
		if n > 4 || n > len(b) {
			return nil, 0, nil, errDER
		}
		for _, c := range b[:n] {
			length = length<<8 | int(c)
		}
		b = b[n:]
	}
	if length > len(b) {
		return nil, 0, nil, errDER
	}
	return tag, length, b, nil
}

// appendDER appends the element at the start of in, and returns what follows it.
func appendDER(out, in []byte, depth int) ([]byte, []byte, error) {
	tag, length, in, err := elementHeader(in)
	if err != nil || depth > maxDepth {
		return nil, nil, errDER
	}
	if tag[0]&constructed == 0 {
		if length < 0 {
			return nil, nil, errDER
		}
		return appendElement(out, tag, in[:length]), in[length:], nil
	}
	content, rest := in, []byte(nil)
	if length >= 0 {
		content, rest = in[:length], in[length:]
	}
	// A string in pieces becomes one string: its children lose their headers.
	pieces := len(tag) == 1 && tag[0] == constructedOctet
	var inner []byte
	for {
		if length < 0 && len(content) >= 2 && content[0] == 0 && content[1] == 0 {
			rest = content[2:]
			break
		}
		if len(content) == 0 {
			if length < 0 {
				return nil, nil, errDER
			}
			break
		}
		start := len(inner)
		if inner, content, err = appendDER(inner, content, depth+1); err != nil {
			return nil, nil, err
		}
		if pieces {
			d := der(inner[start:])
			piece, ok := d.take(tagOctetString)
			if !ok {
				return nil, nil, errDER
			}
			inner = append(inner[:start], piece...)
		}
	}
	if pieces {
		tag = []byte{tagOctetString}
	}
	return appendElement(out, tag, inner), rest, nil
}

// appendElement appends an element in DER.
func appendElement(out, tag, content []byte) []byte {
	out = append(out, tag...)
	if n := len(content); n < indefinite {
		out = append(out, byte(n))
	} else {
		size := (bits.Len(uint(n)) + 7) / 8
		out = append(out, indefinite|byte(size))
		for i := size - 1; i >= 0; i-- {
			out = append(out, byte(n>>(8*i)))
		}
	}
	return append(out, content...)
}

// der is a run of DER elements, taken off one by one.
type der []byte

// next takes the next element of any kind: its first identifier octet, its content, and the whole element.
func (d *der) next() (tag byte, content, whole []byte, ok bool) {
	name, length, rest, err := elementHeader(*d)
	if err != nil || length < 0 {
		return 0, nil, nil, false
	}
	whole = (*d)[:len(*d)-len(rest)+length]
	*d = rest[length:]
	return name[0], rest[:length], whole, true
}

// peek reports whether the next element has the given identifier octet.
func (d *der) peek(tag byte) bool { return len(*d) > 0 && (*d)[0] == tag }

// take takes the content of the next element, which must have the given identifier octet.
func (d *der) take(tag byte) (der, bool) {
	if !d.peek(tag) {
		return nil, false
	}
	_, content, _, ok := d.next()
	return content, ok
}

// skip takes the next element if it has the given identifier octet. It reports false only if that element is malformed.
func (d *der) skip(tag byte) bool {
	if !d.peek(tag) {
		return true
	}
	_, _, _, ok := d.next()
	return ok
}

// equal compares the bytes of two runs.
func (d der) equal(other []byte) bool { return bytes.Equal(d, other) }
