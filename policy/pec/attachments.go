package pec

import (
	"iter"
	"strings"

	"copialettere/journal/part"
)

// Attachments yields the indices of the parts that people call attachments, in the order of the message. Of a certified message or a receipt these are
// the attachments of the message inside, and none if the table does not hold that; daticert.xml, postacert.eml and the signature are none. Pictures
// that a text shows are none either. A message that is attached counts once, whatever it holds. HasAttachments knows also of what the table does not hold.
func (m *Message) Attachments(t *part.Table) iter.Seq[int] {
	return func(yield func(int) bool) {
		if len(t.Parts) == 0 {
			return
		}
		top := 0
		if m.Class != Ordinary || m.Data != nil {
			if m.Postacert < 0 || m.Postacert >= len(t.Parts) {
				return
			}
			if top = t.Enclosed(m.Postacert); top < 0 {
				return
			}
		}
		end := endOf(t, top)
		for i := top; i < end; {
			switch {
			case i > top && t.Parts[i].IsMessage():
				if !yield(i) {
					return
				}
				i = endOf(t, i)
				continue
			case isAttachment(t, i):
				if !yield(i) {
					return
				}
			}
			i++
		}
	}
}

// HasAttachments reports whether a message has attachments, also those of a message inside that the table does not hold (Inner.Files).
func (m *Message) HasAttachments(t *part.Table) bool {
	for range m.Attachments(t) {
		return true
	}
	return len(m.Inner.Files) > 0
}

// isAttachment reports whether people call a part that encloses no other one an attachment.
func isAttachment(t *part.Table, i int) bool {
	p := &t.Parts[i]
	if p.IsMultipart() {
		return false
	}
	disposition, _ := part.Params(p.Disposition)
	switch p.Type {
	case "application/pkcs7-signature", "application/x-pkcs7-signature", "application/pgp-signature":
		return false
	}
	if strings.EqualFold(disposition, "attachment") {
		return true
	}
	if p.Parent >= 0 && t.Parts[p.Parent].Type == "multipart/related" && p.ContentID != "" {
		return false
	}
	return p.Name() != "" || !strings.HasPrefix(p.Type, "text/") && !strings.HasPrefix(p.Type, "multipart/")
}
