package pec

import (
	"net/mail"
	"slices"
	"strings"
	"time"
	"unicode"

	"copialettere/journal/part"
)

const (
	// maxDateDifference is how far the Date of a message and the time in its certification data may be apart. By the rules they are one
	// (RFC 6109 4.1), and in practice seconds.
	maxDateDifference = time.Hour
	// maxSubject is from how many bytes on a subject may have been cut, and is not compared.
	maxSubject = 1000
)

// Contradiction is one thing in which a header and the certification data do not say the same. The header lies outside the signature.
type Contradiction struct {
	Field       string // of the header, as "X-Ricevuta"; with "postacert.eml " before it, of the enclosed message
	Header      string // its value, decoded; "" where it is absent and means something thereby
	Certificate string // what the certification data have in its place
}

// contradictions gathers them.
type contradictions []Contradiction

// add adds a contradiction where two values are not the same. Only what both say can be contradicted.
func (l *contradictions) add(field, header, certificate string, same bool) {
	if !same {
		*l = append(*l, Contradiction{field, header, certificate})
	}
}

// Contradictions returns in what the header and the certification data of a message contradict each other. Subject and date are the fields
// of its header, not decoded.
func (m *Message) Contradictions(subject, date string) []Contradiction {
	c, d := m.Data, &m.Declared
	if c == nil {
		return nil
	}
	var list contradictions
	envelope := c.Class() == PostaCertificata
	switch {
	case d.Transport != "":
		list.add("X-Trasporto", d.Transport, c.Type, transportClass(d.Transport) == c.Class())
	case d.Receipt != "" || !envelope:
		list.add("X-Ricevuta", d.Receipt, c.Type, equalFold(d.Receipt, c.Type))
	default:
		list.add("X-Trasporto", "", c.Type, false)
	}
	if kind := d.ReceiptKind; kind != "" && c.ReceiptKind != "" {
		list.add("X-TipoRicevuta", kind, c.ReceiptKind, equalFold(kind, c.ReceiptKind))
	} else if envelope && kind == "" && c.ReceiptKind != "" {
		list.add("X-TipoRicevuta", "", c.ReceiptKind, equalFold(c.ReceiptKind, ReceiptComplete))
	}
	if d.Reference != "" && c.MessageID != "" {
		list.add("X-Riferimento-Message-ID", d.Reference, c.MessageID, part.MessageID(d.Reference) == part.MessageID(c.MessageID))
	}
	if d.SecurityCheck != "" {
		list.add("X-VerificaSicurezza", d.SecurityCheck, c.Error, equalFold(d.SecurityCheck, "errore") == equalFold(c.Error, "virus"))
	}
	if d.Sender != "" && c.Sender != "" {
		list.add("X-Mittente", d.Sender, c.Sender, sameAddresses(d.Sender, c.Sender))
	}
	if envelope {
		m.envelopeContradictions(&list)
	}
	if c.Subject != "" && len(subject) < maxSubject {
		text := part.Decode(subject)
		list.add("Subject", text, c.Subject, sameSubject(text, c.Subject, true))
	}
	if t, err := mail.ParseDate(date); err == nil && !c.Time.IsZero() {
		list.add("Date", date, strings.TrimSpace(c.Date+" "+c.Zone), t.Sub(c.Time).Abs() <= maxDateDifference)
	}
	if m.Inner.From != "" && c.Sender != "" {
		list.add("postacert.eml From", part.Decode(m.Inner.From), c.Sender, sameAddresses(m.Inner.From, c.Sender))
	}
	if c.Subject != "" && m.Inner != (Inner{}) && len(m.Inner.Subject) < maxSubject {
		text := part.Decode(m.Inner.Subject)
		list.add("postacert.eml Subject", text, c.Subject, sameSubject(text, c.Subject, false))
	}
	return list
}

// envelopeContradictions adds those of the fields that only envelopes take from the message inside.
func (m *Message) envelopeContradictions(list *contradictions) {
	c, d := m.Data, &m.Declared
	if d.MessageID != "" && c.Identifier != "" {
		list.add("Message-ID", d.MessageID, c.Identifier, part.MessageID(d.MessageID) == part.MessageID(c.Identifier))
	}
	if addresses := part.Addresses(d.From); len(addresses) == 1 && onBehalf(d.From) && c.Sender != "" {
		_, name, _ := strings.Cut(part.Decode(addresses[0].Name), ":")
		if name = strings.TrimSpace(name); strings.Contains(name, "@") {
			list.add("From", part.Decode(d.From), c.Sender, sameAddresses(name, c.Sender))
		}
	}
	if d.ReplyTo != "" && c.Replies != "" {
		list.add("Reply-To", part.Decode(d.ReplyTo), c.Replies, sameAddresses(d.ReplyTo, c.Replies))
	}
}

// sameAddresses reports whether two lists hold the same addresses.
func sameAddresses(a, b string) bool {
	set := func(value string) []string {
		var list []string
		for _, address := range part.Addresses(value) {
			if address.Domain != "" {
				list = append(list, NormalAddress(address.Mailbox()))
			}
		}
		slices.Sort(list)
		return slices.Compact(list)
	}
	return slices.Equal(set(a), set(b))
}

// bareSubject returns what of a subject is compared: all but white space and control characters.
func bareSubject(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unicode.IsControl(r) {
			return -1
		}
		return r
	}, s)
}

// sameSubject reports whether a subject is that of the certification data, with one word or more and a colon before it where it is
// prefixed. White space does not count: folds come and go. What could not be decoded is not judged.
func sameSubject(header, certificate string, prefixed bool) bool {
	header, certificate = bareSubject(header), bareSubject(certificate)
	if strings.ContainsRune(header+certificate, unicode.ReplacementChar) || len(certificate) >= maxSubject {
		return true
	}
	prefix, ok := strings.CutSuffix(header, certificate)
	return ok && (prefix == "" || prefixed && strings.IndexByte(prefix, ':') == len(prefix)-1)
}
