package search

import (
	"bytes"
	"iter"
	"slices"
	"strings"

	"copialettere/journal"
	"copialettere/journal/part"
	"copialettere/policy/pec"
)

// field is one of the fields in which texts are looked for.
type field int

const (
	fromField field = iota
	toField
	subjectField
	fileField

	fields  = iota
	anyText = field(fields)
)

// description is what an entry tells of a message, as far as texts are looked for in it.
type description struct {
	values     [fields][]string
	attachment bool
}

func (d *description) add(f field, values ...string) {
	d.values[f] = append(d.values[f], values...)
}

// describe returns what an entry tells of its message and, of certified mail, of the message inside.
func describe(e *journal.Entry) *description {
	d := new(description)
	d.add(fromField, addresses(e.From)...)
	d.add(fromField, e.MailFrom)
	d.add(toField, addresses(e.To)...)
	d.add(toField, e.RcptTo)
	d.add(toField, e.Recipients...)
	d.add(subjectField, part.Decode(e.Subject))
	for i := range e.Envelopes {
		d.envelope(&e.Envelopes[i].Values)
	}
	record := pec.Record{Message: pec.Message{Class: pec.Ordinary, Postacert: -1}}
	if len(e.Certification) > 0 && record.UnmarshalBinary(e.Certification) == nil {
		d.certified(&record.Message)
	}
	for i := range e.Parts.Parts {
		d.add(fileField, fileName(&e.Parts.Parts[i]))
	}
	d.attachment = record.Message.HasAttachments(&e.Parts)
	return d
}

// envelope adds the header of a message, or of one that is enclosed in it.
func (d *description) envelope(values *[part.EnvelopeMessageID + 1]string) {
	for _, f := range [...]part.EnvelopeField{part.EnvelopeFrom, part.EnvelopeSender, part.EnvelopeReplyTo} {
		d.add(fromField, addresses(values[f])...)
	}
	for _, f := range [...]part.EnvelopeField{part.EnvelopeTo, part.EnvelopeCc, part.EnvelopeBcc} {
		d.add(toField, addresses(values[f])...)
	}
	d.add(subjectField, part.Decode(values[part.EnvelopeSubject]))
}

// certified adds the message inside, and what the provider says of it.
func (d *description) certified(m *pec.Message) {
	inner := m.InnerOrData()
	d.add(fromField, addresses(inner.From)...)
	d.add(toField, addresses(inner.To)...)
	d.add(toField, addresses(inner.Cc)...)
	d.add(subjectField, part.Decode(inner.Subject))
	d.add(fileField, inner.Files...)
	if m.Data == nil {
		for i := range m.Evidence {
			e := &m.Evidence[i]
			d.add(fromField, e.Sender)
			d.add(subjectField, e.Subject)
			for _, r := range e.Recipients {
				d.add(toField, r.Address)
			}
		}
		return
	}
	d.add(fromField, m.Data.Sender)
	d.add(subjectField, m.Data.Subject)
	for _, r := range m.Data.Recipients {
		d.add(toField, r.Address)
	}
	d.add(toField, m.Data.Delivery)
	d.add(toField, m.Data.OtherDeliveries...)
	d.add(toField, m.Data.Received...)
}

// addresses returns the addresses of a header value, each with its name in front.
func addresses(value string) []string {
	if value == "" {
		return nil
	}
	var list []string
	for _, a := range part.Addresses(value) {
		list = append(list, strings.TrimSpace(part.Decode(a.Name)+" "+a.Mailbox()))
		if a.Group != "" {
			list = append(list, part.Decode(a.Group))
		}
	}
	return list
}

// fileName returns the name of a part, if it is one that somebody gave it.
func fileName(p *part.Part) string {
	if p.Disposition == "" && p.ContentType == "" {
		return ""
	}
	name := p.Name()
	switch strings.ToLower(name) {
	case "daticert.xml", "postacert.eml", "smime.p7s", "certdata.xml": // of nearly all certified mail, so nobody finds anything by them
		return ""
	}
	return name
}

// appendText appends what texts are looked for in: the fields in their order, each after a byte of its own.
func (d *description) appendText(b []byte) []byte {
	for _, values := range d.values {
		b = append(b, record)
		start := len(b)
		for _, v := range values {
			at := len(b)
			b = appendFolded(b, v)
			// The message inside mostly says the same again.
			if len(b) == at || bytes.Contains(b[start:at], b[at:]) {
				b = b[:at]
				continue
			}
			b = append(b, between)
		}
	}
	return append(b, record)
}

// term is a folded text that is looked for in one field, or in any.
type term struct {
	text []byte
	in   field
}

// fieldOf returns a field of a text that appendText has made.
func fieldOf(text []byte, f field) []byte {
	for range f + 1 {
		text = text[bytes.IndexByte(text, record)+1:]
	}
	return text[:bytes.IndexByte(text, record)]
}

func (t term) foundIn(text []byte) bool {
	if t.in != anyText {
		text = fieldOf(text, t.in)
	}
	return bytes.Contains(text, t.text)
}

// termsOf returns the texts of a query, the longest first: it is the rarest.
func termsOf(q *Query) []term {
	var list []term
	for f, texts := range [...][]string{fromField: q.From, toField: q.To, subjectField: q.Subject, fileField: q.File, anyText: q.Text} {
		for _, text := range texts {
			if folded := fold(text); folded != "" {
				list = append(list, term{[]byte(folded), field(f)})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b term) int { return len(b.text) - len(a.text) })
	return list
}

// found yields the numbers of the texts in which all terms are found, in ascending order. Text n ends at ends[n], where the next one begins.
func found(terms []term, texts []byte, ends []int) iter.Seq[int] {
	return func(yield func(int) bool) {
		first := terms[0]
		for n, from := 0, 0; n < len(ends); {
			i := bytes.Index(texts[from:], first.text)
			if i < 0 {
				return
			}
			at := from + i
			// The next hit is mostly near.
			for step := 1; ends[n] <= at; step *= 2 {
				if n+step < len(ends) && ends[n+step] <= at {
					n += step
				} else {
					n++
					step = 1
				}
			}
			begin := 0
			if n > 0 {
				begin = ends[n-1]
			}
			if allIn(terms, texts[begin:ends[n]]) && !yield(n) {
				return
			}
			from = ends[n]
			n++
		}
	}
}

// allIn reports whether all terms are found in a text that the first one was found in, in whatever field.
func allIn(terms []term, text []byte) bool {
	for i, t := range terms {
		if (i > 0 || t.in != anyText) && !t.foundIn(text) {
			return false
		}
	}
	return true
}
