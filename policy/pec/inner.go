package pec

import (
	"io"

	"copialettere/journal/part"
)

// maxInnerHeader is the most bytes read of an enclosed message's header.
const maxInnerHeader = 1 << 20

// Inner holds header fields of the message in postacert.eml: unfolded and trimmed, not decoded, at most 1 KiB each, "" where absent. In an
// envelope this is the message that somebody sent, in a receipt the one that the receipt is about.
type Inner struct {
	From, Subject, Date, MessageID string
}

// readInner reads the header of the enclosed message, whether the part table holds it or not.
func (m *Message) readInner(r io.ReaderAt, t *part.Table) {
	p := &t.Parts[m.Postacert]
	body := io.Reader(partBody(r, p))
	if inner := t.Enclosed(m.Postacert); inner >= 0 {
		from := t.Parts[inner].Header
		body = io.NewSectionReader(r, from, t.Parts[inner].Body-from)
	} else {
		body = part.ContentDecoder(*p, body)
	}
	// The reader, a faultReader, keeps the error.
	header, _ := io.ReadAll(io.LimitReader(body, maxInnerHeader))
	for f := range part.Fields(header) {
		if slot := m.Inner.slot(f.Name); slot != nil && *slot == "" {
			*slot = fieldValue(header, f)
		}
	}
}

// slot returns where to keep the value of a field, or nil.
func (n *Inner) slot(name []byte) *string {
	switch s := string(name); {
	case equalFold(s, "From"):
		return &n.From
	case equalFold(s, "Subject"):
		return &n.Subject
	case equalFold(s, "Date"):
		return &n.Date
	case equalFold(s, "Message-ID"):
		return &n.MessageID
	}
	return nil
}

// InnerOrData returns the header of the message inside. For records stored before Inner existed, sender and subject come from the
// certification data.
func (m *Message) InnerOrData() Inner {
	inner := m.Inner
	if inner == (Inner{}) && m.Data != nil && m.Postacert >= 0 {
		inner.From, inner.Subject = m.Data.Sender, m.Data.Subject
	}
	return inner
}
