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
	// To, Cc and Files are filled in only where the part table does not hold the message inside, because it has a transfer encoding or another type. Files
	// are the names of its attachments in order, "" for one without a name, at most 100.
	To, Cc string
	Files  []string
}

// maxInnerFiles is the most names of attachments that are kept.
const maxInnerFiles = 100

// isZero reports whether nothing is known of the message inside.
func (n *Inner) isZero() bool {
	return n.From == "" && n.Subject == "" && n.Date == "" && n.MessageID == "" && n.To == "" && n.Cc == "" && len(n.Files) == 0
}

// readInner reads the header of the enclosed message, whether the part table holds it or not.
func (m *Message) readInner(r io.ReaderAt, t *part.Table) {
	p := &t.Parts[m.Postacert]
	body := io.Reader(partBody(r, p))
	inner := t.Enclosed(m.Postacert)
	if inner >= 0 {
		from := t.Parts[inner].Header
		body = io.NewSectionReader(r, from, t.Parts[inner].Body-from)
	} else {
		body = part.ContentDecoder(*p, body)
		m.readEncoded(r, p)
	}
	// The reader, a faultReader, keeps the error.
	header, _ := io.ReadAll(io.LimitReader(body, maxInnerHeader))
	for f := range part.Fields(header) {
		if slot := m.Inner.slot(f.Name, inner < 0); slot != nil && *slot == "" {
			*slot = fieldValue(header, f)
		}
	}
}

// readEncoded notes the attachments of an enclosed message that the part table does not hold. It scans the content as a stream.
func (m *Message) readEncoded(r io.ReaderAt, p *part.Part) {
	s := part.NewScanner(part.DefaultLimits())
	// The reader keeps its error, and an encoding that breaks off leaves what came before.
	_, _ = io.Copy(s, io.LimitReader(part.ContentDecoder(*p, partBody(r, p)), maxEncoded))
	t := s.Close()
	plain := Message{Class: Ordinary}
	for i := range plain.Attachments(t) {
		if len(m.Inner.Files) == maxInnerFiles {
			return
		}
		m.Inner.Files = append(m.Inner.Files, clipRunes(t.Parts[i].Name(), maxValue))
	}
}

// slot returns where to keep the value of a field, or nil. Recipients are kept only of a message that the part table does not hold.
func (n *Inner) slot(name []byte, recipients bool) *string {
	switch s := string(name); {
	case recipients && equalFold(s, "To"):
		return &n.To
	case recipients && equalFold(s, "Cc"):
		return &n.Cc
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
	if inner.isZero() && m.Data != nil && m.Postacert >= 0 {
		inner.From, inner.Subject = m.Data.Sender, m.Data.Subject
	}
	return inner
}
