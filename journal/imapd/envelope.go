package imapd

import (
	"net/mail"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"

	"copialettere/journal/part"
)

// envelopeOf returns the ENVELOPE of a message (RFC 3501 section 7.4.2). Values are passed on as they stand where go-imap writes them unchanged:
// encoded words stay encoded. Raw 8-bit text is decoded, and go-imap then encodes it.
func envelopeOf(header []byte) *imap.Envelope {
	value := func(name string) string { return part.Value(header, name) }
	e := &imap.Envelope{
		Date: dateOf(value("Date")), Subject: textOf(value("Subject")), From: addresses(value("From")), Sender: addresses(value("Sender")),
		ReplyTo: addresses(value("Reply-To")), To: addresses(value("To")), Cc: addresses(value("Cc")), Bcc: addresses(value("Bcc")),
		MessageID: idOf(value("Message-ID")),
	}
	for id := range part.MessageIDs(value("In-Reply-To")) {
		e.InReplyTo = append(e.InReplyTo, withoutControls(id))
	}
	return e
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
	t, err := mail.ParseDate(value)
	if err != nil || t.Year() < 1 || t.Year() > 9999 {
		return time.Time{}
	}
	return t
}
