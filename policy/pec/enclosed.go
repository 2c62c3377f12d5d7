package pec

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"copialettere/journal/part"
)

// maxEncoded is the most bytes held in memory of an enclosed message with a transfer encoding. The rules forbid the encoding.
const maxEncoded = 32 << 20

// ErrEnclosed says that a part encloses no message, or one that cannot be opened.
var ErrEnclosed = errors.New("enclosed message cannot be opened")

// Enclosed opens the message inside part i, such as postacert.eml: its bytes, and a part table whose offsets count in them. Nothing is read if
// t already holds the inner parts. A message with a transfer encoding is decoded into memory, up to 32 MiB; a part of another type is
// scanned. Errors wrap ErrEnclosed, except those of r.
func Enclosed(r io.ReaderAt, t *part.Table, i int) (*io.SectionReader, *part.Table, error) {
	if i < 0 || i >= len(t.Parts) {
		return nil, nil, fmt.Errorf("%w: no part %d", ErrEnclosed, i)
	}
	p := &t.Parts[i]
	body := partBody(r, p)
	if inner := t.Enclosed(i); inner >= 0 {
		return body, rebase(t, inner, p.Body), nil
	}
	if encoding := p.Encoding(); encoding == "base64" || encoding == "quoted-printable" {
		decoded, err := io.ReadAll(io.LimitReader(part.ContentDecoder(*p, body), maxEncoded+1))
		switch {
		case err != nil:
			return nil, nil, fmt.Errorf("read enclosed message: %w", err)
		case len(decoded) > maxEncoded:
			return nil, nil, fmt.Errorf("%w: over %d bytes decoded", ErrEnclosed, maxEncoded)
		}
		body = io.NewSectionReader(bytes.NewReader(decoded), 0, int64(len(decoded)))
	}
	s := part.NewScanner(part.DefaultLimits())
	if _, err := io.Copy(s, io.NewSectionReader(body, 0, body.Size())); err != nil {
		return nil, nil, fmt.Errorf("read enclosed message: %w", err)
	}
	return body, s.Close(), nil
}

// endOf returns the index after the last part inside part i.
func endOf(t *part.Table, i int) int {
	end := i + 1
	for end < len(t.Parts) && t.Parts[end].Parent >= i {
		end++
	}
	return end
}

// rebase returns the table of the message at part inner, with offsets that count from base.
func rebase(t *part.Table, inner int, base int64) *part.Table {
	end := endOf(t, inner)
	table := &part.Table{Parts: make([]part.Part, end-inner)}
	copy(table.Parts, t.Parts[inner:end])
	for k := range table.Parts {
		p := &table.Parts[k]
		p.Parent -= inner
		p.Header -= base
		p.Body -= base
		p.End -= base
		table.Odd |= p.Odd
	}
	table.Parts[0].Parent = -1
	return table
}
