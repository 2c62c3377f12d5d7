package imapd

import (
	"net/mail"
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"

	"copialettere/journal"
	"copialettere/journal/part"
)

// envelopeOf returns the ENVELOPE of a message (RFC 3501 section 7.4.2) from the values of its header. They are passed on as they stand where go-imap
// writes them unchanged: encoded words stay encoded. Raw 8-bit text is decoded, and go-imap then encodes it.
func envelopeOf(value func(part.EnvelopeField) string) *imap.Envelope {
	e := &imap.Envelope{
		Date: dateOf(value(part.EnvelopeDate)), Subject: textOf(value(part.EnvelopeSubject)), From: addresses(value(part.EnvelopeFrom)),
		Sender: addresses(value(part.EnvelopeSender)), ReplyTo: addresses(value(part.EnvelopeReplyTo)), To: addresses(value(part.EnvelopeTo)),
		Cc: addresses(value(part.EnvelopeCc)), Bcc: addresses(value(part.EnvelopeBcc)), MessageID: idOf(value(part.EnvelopeMessageID)),
	}
	for id := range part.MessageIDs(value(part.EnvelopeInReplyTo)) {
		e.InReplyTo = append(e.InReplyTo, withoutControls(id))
	}
	return e
}

// prepared returns the values of the envelope of part i that an entry has, or false if it has not all of them.
func prepared(e *journal.Entry, i int) (envelope part.Envelope, ok bool) {
	k := slices.IndexFunc(e.Envelopes, func(v part.Envelope) bool { return v.Part == i })
	if k < 0 {
		return envelope, false
	}
	envelope = e.Envelopes[k]
	if i > 0 {
		return envelope, true
	}
	for _, v := range [...]struct {
		field part.EnvelopeField
		value string
	}{{part.EnvelopeDate, e.Date}, {part.EnvelopeSubject, e.Subject}, {part.EnvelopeFrom, e.From}, {part.EnvelopeTo, e.To},
		{part.EnvelopeMessageID, e.MessageID}} {
		if len(v.value) >= journal.MaxHeaderValue {
			return envelope, false // it may have been cut
		}
		envelope.Values[v.field] = v.value
	}
	return envelope, true
}

// textOf returns a header value for go-imap: as it stands if it is printable ASCII, else decoded.
func textOf(value string) string {
	for i := range len(value) {
		if c := value[i]; (c < ' ' || c > '~') && c != '\t' {
			return part.Decode(value)
		}
	}
	return value
}

func idOf(value string) string { return withoutControls(part.MessageID(value)) }

// addresses returns an address list for go-imap; nil for none. Where part of an address is missing it gets Dovecot's words for that: NIL would make
// it the begin or the end of a group.
func addresses(value string) []imap.Address {
	var list []imap.Address
	group := ""
	leave := func() {
		if group != "" {
			list = append(list, imap.Address{})
		}
	}
	for _, a := range part.Addresses(value) {
		if a.Group != group {
			leave()
			if group = a.Group; group != "" {
				list = append(list, imap.Address{Mailbox: withoutControls(textOf(group))})
			}
		}
		if a.Local == "" && a.Domain == "" && a.Name == "" {
			continue // a group without members
		}
		local, domain := withoutControls(a.Local), withoutControls(a.Domain)
		if local == "" {
			local = "MISSING_MAILBOX"
		}
		if domain == "" {
			domain = "MISSING_DOMAIN"
		}
		list = append(list, imap.Address{Name: textOf(a.Name), Mailbox: local, Host: domain})
	}
	leave()
	return list
}

// withoutControls leaves out control characters, which go-imap would write as they are.
func withoutControls(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s)
}

// dateOf reads a Date field; the zero time if it cannot be read.
func dateOf(value string) time.Time {
	t, err := time.Parse("Mon, 2 Jan 2006 15:04:05 -0700", value) // as nearly all are written
	if err != nil {
		t, err = mail.ParseDate(value)
	}
	if err != nil || t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}
	}
	return t
}
