package imapd

import (
	"context"
	"errors"
	"io"

	"github.com/emersion/go-imap/v2"

	"copialettere/journal"
	"copialettere/journal/part"
	"copialettere/policy/archive"
)

// message reads one message for the reply to a command.
type message struct {
	ctx    context.Context
	reader *archive.Reader
	entry  *journal.Entry
	body   io.ReaderAt // of its bytes; nil until they are asked for
}

// bytes returns the message as it was journaled.
func (m *message) bytes() (io.ReaderAt, error) {
	if m.body == nil {
		body, err := m.reader.Body(m.ctx, m.entry)
		if err != nil {
			return nil, err
		}
		m.body = body
	}
	return m.body, nil
}

// maxFields is how many bytes of a header are read for ENVELOPE and searches: enough for the addresses that they can hold.
const maxFields = 1 << 20

// header returns the header of part i, or the first maxFields bytes of it.
func (m *message) header(i int) ([]byte, error) {
	body, err := m.bytes()
	if err != nil || i >= len(m.entry.Parts.Parts) {
		return nil, err
	}
	p := &m.entry.Parts.Parts[i]
	b := make([]byte, min(p.Body-p.Header, maxFields))
	if _, err := body.ReadAt(b, p.Header); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b, nil
}

// envelope returns the ENVELOPE of the message that is part i, from what was prepared when it was journaled, or else from its header.
func (m *message) envelope(i int) (*imap.Envelope, error) {
	if values, ok := prepared(m.entry, i); ok {
		return envelopeOf(func(f part.EnvelopeField) string { return values.Values[f] }), nil
	}
	header, err := m.header(i)
	if err != nil {
		return nil, err
	}
	return envelopeOf(func(f part.EnvelopeField) string { return part.WholeValue(header, f.String()) }), nil
}

// structure returns the BODYSTRUCTURE.
func (m *message) structure() (imap.BodyStructure, error) {
	if len(m.entry.Parts.Parts) == 0 {
		return nil, journal.ErrDamaged
	}
	return structureOf(&m.entry.Parts, 0, m.envelope)
}
