package pec

import (
	"io"

	"copialettere/journal/part"
)

// maxInnerHeader is how many bytes of the header of an enclosed message are read.
const maxInnerHeader = 1 << 20

// Inner is what the header of the message in postacert.eml says: unfolded and trimmed, not decoded, at most 1 KiB each, "" where absent.
// Of an envelope it is the message that somebody sent, of a receipt the one that the receipt is about.
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
	// The reader keeps its own fault.
	header, _ := io.ReadAll(io.LimitReader(body, maxInnerHeader))
	for f := range part.Fields(header) {
		if slot := m.Inner.slot(f.Name); slot != nil && *slot == "" {
			*slot = fieldValue(header, f)
		}
	}
}

// slot returns where the value of a field goes, or nil.
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

// InnerOrData returns what the message inside says of itself. A record from before this was kept has the certification data instead.
func (m *Message) InnerOrData() Inner {
	inner := m.Inner
	if inner == (Inner{}) && m.Data != nil && m.Postacert >= 0 {
		inner.From, inner.Subject = m.Data.Sender, m.Data.Subject
	}
	return inner
}
