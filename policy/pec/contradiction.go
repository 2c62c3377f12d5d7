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
	// maxDateDifference is how far apart the Date of a message and the time in its certification data may be. The rules make them equal
	// (RFC 6109 4.1); in practice they differ by seconds.
	maxDateDifference = time.Hour
	// maxSubject is the length in bytes from which a subject may have been cut, and is not compared.
	maxSubject = 1000
)

// Contradiction is one point on which the header and the certification data differ. The signature does not cover the header.
type Contradiction struct {
	Field       string // of the header, such as "X-Ricevuta"; with the prefix "postacert.eml ", of the enclosed message
	Header      string // its decoded value; "" if its absence means something
	Certificate string // what the certification data say
}

// contradictions collects what add is given.
type contradictions []Contradiction

// add adds a contradiction unless the values are the same. Callers pass only what both sides state.
func (l *contradictions) add(field, header, certificate string, same bool) {
	if !same {
		*l = append(*l, Contradiction{field, header, certificate})
	}
}

// Contradictions lists where the header and the certification data of a message contradict each other; nil without such data. Subject and
// date are the raw fields of the header.
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
	if c.Subject != "" && !m.Inner.isZero() && len(m.Inner.Subject) < maxSubject {
		text := part.Decode(m.Inner.Subject)
		list.add("postacert.eml Subject", text, c.Subject, sameSubject(text, c.Subject, false))
	}
	return list
}

// envelopeContradictions adds those in fields that only envelopes take from the message inside.
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

// bareSubject returns a subject in the form that is compared: without white space and control characters.
func bareSubject(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unicode.IsControl(r) {
			return -1
		}
		return r
	}, s)
}

// sameSubject reports whether the header has the subject of the certification data; prefixed allows words and a colon before it. White space
// does not count: folds come and go. A subject that could not be decoded, or may have been cut, passes as the same.
func sameSubject(header, certificate string, prefixed bool) bool {
	header, certificate = bareSubject(header), bareSubject(certificate)
	if strings.ContainsRune(header+certificate, unicode.ReplacementChar) || len(certificate) >= maxSubject {
		return true
	}
	prefix, ok := strings.CutSuffix(header, certificate)
	return ok && (prefix == "" || prefixed && strings.IndexByte(prefix, ':') == len(prefix)-1)
}
