package pectest

import (
	"bytes"
	"cmp"
	"crypto/sha1"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// Mail is a message that a person writes.
type Mail struct {
	From    string
	To, Cc  []string
	Subject string
	Text    string // lines end in LF
	HTML    string // the same in HTML, as an alternative; "" for none
	// Boundary is that of its multiparts; "" for the usual one.
	Boundary string
	// MessageID is what the sender's program sets, with angle brackets; "" for none. Send replaces "auto".
	MessageID   string
	ReplyTo     string
	Time        time.Time
	EightBit    bool // send the text as raw 8-bit bytes, else as quoted-printable
	Attachments []Attachment
}

// Attachment is a part with a name. Type message/rfc822 is enclosed as it is, any other in base64.
type Attachment struct {
	Name, Type string
	Content    []byte
}

// Recipients returns the addresses of To, then Cc.
func (m *Mail) Recipients() []string { return append(append([]string(nil), m.To...), m.Cc...) }

// Bytes returns the message as the sender's program submits it.
func (m *Mail) Bytes() []byte { return m.render(m.MessageID, "", hashNone) }

// hashing says what a brief receipt puts in place of a part.
type hashing int

const (
	hashNone    hashing = iota // the part itself
	hashDecoded                // the hash of its content
	hashEncoded                // of its body as it stands in the message
	hashWrong                  // of something else
)

// crlf turns line ends into CRLF.
func crlf(text string) string { return strings.ReplaceAll(text, "\n", "\r\n") }

// render returns the message with a Message-ID and a reference to the former one; each is left out if "".
func (m *Mail) render(id, reference string, h hashing) []byte {
	var b bytes.Buffer
	field := func(name, value string) {
		if value != "" {
			b.WriteString(name + ": " + value + "\r\n")
		}
	}
	field("Message-ID", id)
	field("X-Riferimento-Message-ID", reference)
	field("Date", m.Time.Format(time.RFC1123Z))
	field("From", m.From)
	field("Reply-To", m.ReplyTo)
	field("To", strings.Join(m.To, ",\r\n "))
	field("Cc", strings.Join(m.Cc, ",\r\n "))
	field("Subject", encodeWord(m.Subject))
	field("MIME-Version", "1.0")
	text := "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: "
	if m.EightBit {
		text += "8bit\r\n\r\n" + crlf(m.Text)
	} else {
		text += "quoted-printable\r\n\r\n" + crlf(quote(m.Text))
	}
	boundary := cmp.Or(m.Boundary, "----=_Mail_1")
	if m.HTML != "" {
		inner := boundary + "_text"
		text = "Content-Type: multipart/alternative;\r\n boundary=\"" + inner + "\"\r\n\r\n--" + inner + "\r\n" + text + "\r\n--" + inner +
			"\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" + crlf(quote(m.HTML)) + "\r\n--" + inner + "--\r\n"
	}
	if len(m.Attachments) == 0 {
		b.WriteString(text)
		return b.Bytes()
	}
	field("Content-Type", "multipart/mixed;\r\n boundary=\""+boundary+"\"")
	b.WriteString("\r\n--" + boundary + "\r\n" + text)
	for _, a := range m.Attachments {
		b.WriteString("\r\n--" + boundary + "\r\n")
		a.render(&b, h)
	}
	b.WriteString("\r\n--" + boundary + "--\r\n")
	return b.Bytes()
}

// render writes the part of an attachment, or what a brief receipt has in its place (RFC 6109 3.3.2.2).
func (a *Attachment) render(b *bytes.Buffer, h hashing) {
	kind, encoding, body := a.Type, "base64", crlf(foldBase64(a.Content, ""))
	if kind == "message/rfc822" {
		encoding, body = "7bit", string(a.Content)
	}
	name := a.Name
	if h != hashNone {
		hashed := a.Content
		switch h {
		case hashEncoded:
			hashed = []byte(body)
		case hashWrong:
			hashed = []byte("altro")
		}
		kind, encoding, body, name = "text/plain", "7bit", fmt.Sprintf("%x", sha1.Sum(hashed)), a.Name+".hash"
	}
	fmt.Fprintf(b, "Content-Type: %s;\r\n name=\"%s\"\r\nContent-Transfer-Encoding: %s\r\nContent-Disposition: attachment;\r\n filename=\"%s\"\r\n\r\n%s",
		kind, encodeWord(name), encoding, encodeWord(name), body)
}

// encodeWord encodes a value by RFC 2047 if it is not ASCII.
func encodeWord(s string) string {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return "=?UTF-8?Q?" + strings.ReplaceAll(strings.ReplaceAll(quoteBytes(s, "?_"), " ", "_"), "=\n", "") + "?="
		}
	}
	return s
}

// quote encodes text in quoted-printable.
func quote(text string) string { return quoteBytes(text, "") }

// quoteBytes is quote that also escapes the bytes in also.
func quoteBytes(text, also string) string {
	var b strings.Builder
	column := 0
	for i := range len(text) {
		c := text[i]
		if c == '\n' {
			b.WriteByte(c)
			column = 0
			continue
		}
		if column > 70 {
			b.WriteString("=\n")
			column = 0
		}
		if c == '=' || c >= 0x7f || c < ' ' || strings.IndexByte(also, c) >= 0 || c == ' ' && i+1 < len(text) && text[i+1] == '\n' {
			fmt.Fprintf(&b, "=%02X", c)
			column += 3
		} else {
			b.WriteByte(c)
			column++
		}
	}
	return b.String()
}

// Binary returns an attachment of size incompressible bytes, the same for the same seed.
func Binary(name string, size int, seed byte) Attachment {
	content := make([]byte, size)
	r := rand.NewChaCha8([32]byte{seed})
	r.Read(content) // never fails
	return Attachment{Name: name, Type: "application/octet-stream", Content: content}
}
