package pec

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

const (
	// maxCertification is how many bytes of daticert.xml are read; a recipient takes about 70.
	maxCertification = 256 << 10
	// maxText is how many bytes of one element are kept.
	maxText = 4 << 10
	// maxNesting is how deep elements may stand in one another; the rules need four.
	maxNesting = 16
)

// Certification is what daticert.xml says (RFC 6109 4.4). Values are trimmed, at most 4 KiB each, and "" where absent; those that the
// rules do not know are kept as they are.
type Certification struct {
	Type        string      // @tipo
	Error       string      // @errore: nessuno, no-dest, no-dominio, virus, altro; nessuno where absent
	Sender      string      // mittente: the envelope sender
	Recipients  []Recipient // destinatari: the envelope recipients, in order
	Replies     string      // risposte: where answers go
	Subject     string      // oggetto
	Provider    string      // gestore-emittente
	Time        time.Time   // data, in UTC, to the second; zero where it could not be read
	Date        string      // giorno and ora as written: "20/11/2026 10:11:12"
	Zone        string      // @zona as written: "+0100"
	Identifier  string      // identificativo: names the transaction, without angle brackets
	MessageID   string      // msgid: the Message-ID that the sender's program had set, with its angle brackets
	ReceiptKind string      // ricevuta@tipo: completa, breve, sintetica
	Delivery    string      // consegna: the recipient that the receipt is about
	Received    []string    // ricezione: the recipients that a presa-in-carico is about
	ErrorDetail string      // errore-esteso
}

// Recipient is one recipient of a certified message.
type Recipient struct {
	Address string
	Kind    string // certificato or esterno; certificato where absent (default of the DTD)
}

// The kinds of recipient, and the kinds of delivery receipt (RFC 6109 3.3.2), as written.
const (
	KindCertified = "certificato"
	KindExternal  = "esterno"

	ReceiptComplete = "completa"
	ReceiptBrief    = "breve"
	ReceiptShort    = "sintetica"
)

// Class returns the class that the type names, or Ordinary for one that is not known.
func (c *Certification) Class() Class {
	if equalFold(c.Type, string(PostaCertificata)) {
		return PostaCertificata
	}
	return receiptClass(c.Type)
}

var errNoCertification = errors.New("the root element is not postacert")

// ParseCertification reads daticert.xml, in UTF-8. It tolerates stray text, unknown elements and attributes, missing ones, and end tags
// that do not match. A document type declaration is passed over: no entity is ever resolved. At most 256 KiB are read. On an error
// the result is nil, or what could be read before it where that names the type of the message.
func ParseCertification(r io.Reader) (*Certification, error) {
	limited := &io.LimitedReader{R: r, N: maxCertification + 1}
	d := xml.NewDecoder(limited)
	d.Strict = false
	// The caller has converted the text: what the declaration says of it no longer holds.
	d.CharsetReader = func(_ string, input io.Reader) (io.Reader, error) { return input, nil }
	p := certificationReader{c: Certification{Error: "nessuno"}}
	var err error
	for err == nil {
		var token xml.Token
		if token, err = d.RawToken(); err == nil {
			err = p.take(token)
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	switch {
	case limited.N <= 0:
		err = fmt.Errorf("over %d bytes", maxCertification)
	case err == nil && !p.found:
		err = errNoCertification
	case err == nil && p.c.Type == "":
		err = errors.New("no type")
	}
	p.finish()
	if p.c.Type == "" {
		return nil, err
	}
	return &p.c, err
}

// certificationReader goes through the tokens of daticert.xml.
type certificationReader struct {
	c     Certification
	found bool     // the root was seen
	path  []string // names of the open elements, outermost first
	text  []byte   // of the innermost
	kind  string   // of the recipient under way
	day   string
	clock string
}

func (p *certificationReader) take(token xml.Token) error {
	switch token := token.(type) {
	case xml.StartElement:
		if len(p.path) == 0 {
			if p.found || token.Name.Local != "postacert" {
				return errNoCertification
			}
			p.found = true
		}
		if len(p.path) >= maxNesting {
			return fmt.Errorf("elements more than %d deep", maxNesting)
		}
		p.path = append(p.path, token.Name.Local)
		p.text = p.text[:0]
		p.start(token)
	case xml.CharData:
		if len(p.path) > 0 {
			p.text = append(p.text, token[:min(len(token), maxText-len(p.text))]...)
		}
	case xml.EndElement:
		p.close(token.Name.Local)
	}
	return nil
}

// attribute returns an attribute, trimmed, or "".
func attribute(e xml.StartElement, name string) string {
	for _, a := range e.Attr {
		if a.Name.Local == name {
			return clip(strings.TrimSpace(a.Value))
		}
	}
	return ""
}

// start takes the attributes of the element that was opened last.
func (p *certificationReader) start(e xml.StartElement) {
	value := attribute(e, "tipo")
	switch p.place() {
	case "postacert":
		p.c.Type = value
		if value := attribute(e, "errore"); value != "" {
			p.c.Error = value
		}
	case "intestazione/destinatari":
		if p.kind = value; p.kind == "" {
			p.kind = KindCertified
		}
	case "dati/ricevuta":
		set(&p.c.ReceiptKind, value)
	case "dati/data":
		set(&p.c.Zone, attribute(e, "zona"))
	}
}

// place returns the names of the innermost element and the one around it, without the root.
func (p *certificationReader) place() string {
	switch n := len(p.path); n {
	case 1:
		return p.path[0]
	case 3, 4:
		return p.path[n-2] + "/" + p.path[n-1]
	}
	return ""
}

// close ends an element, and those inside it that were left open. An end without a beginning is nothing.
func (p *certificationReader) close(name string) {
	k := len(p.path) - 1
	for k >= 0 && p.path[k] != name {
		k--
	}
	for k >= 0 && len(p.path) > k {
		p.end(strings.TrimSpace(string(p.text)))
		p.path = p.path[:len(p.path)-1]
		p.text = p.text[:0]
	}
}

// set sets a value that may stand once only: the first one counts.
func set(slot *string, value string) {
	if *slot == "" {
		*slot = value
	}
}

// end takes the text of the innermost element.
func (p *certificationReader) end(text string) {
	c := &p.c
	switch p.place() {
	case "intestazione/mittente":
		set(&c.Sender, text)
	case "intestazione/destinatari":
		if text != "" {
			c.Recipients = append(c.Recipients, Recipient{Address: text, Kind: p.kind})
		}
	case "intestazione/risposte":
		set(&c.Replies, text)
	case "intestazione/oggetto":
		set(&c.Subject, text)
	case "dati/gestore-emittente":
		set(&c.Provider, text)
	case "data/giorno":
		set(&p.day, text)
	case "data/ora":
		set(&p.clock, text)
	case "dati/identificativo":
		set(&c.Identifier, text)
	case "dati/msgid":
		set(&c.MessageID, text)
	case "dati/consegna":
		set(&c.Delivery, text)
	case "dati/ricezione":
		if text != "" {
			c.Received = append(c.Received, text)
		}
	case "dati/errore-esteso":
		set(&c.ErrorDetail, text)
	}
}

// finish puts the time together. Without a zone there is no time: Italian legal time has an hour twice a year.
func (p *certificationReader) finish() {
	p.c.Date = strings.TrimSpace(p.day + " " + p.clock)
	zone := strings.ReplaceAll(p.c.Zone, ":", "")
	if t, err := time.Parse("2/1/2006 15:4:5 -0700", p.c.Date+" "+zone); err == nil {
		p.c.Time = t.UTC()
	}
}
