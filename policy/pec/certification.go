package pec

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

const (
	// maxDaticert is the most bytes read of daticert.xml, as UTF-8; a recipient takes 60 to 150.
	maxDaticert = 4 << 20
	// maxProlog is the most bytes that may precede the root element.
	maxProlog = 256 << 10
	// maxRecipients is the most bytes kept of recipients, in a record of at most 1 MiB: 1,800 addresses of the greatest length, some 10,000 of
	// the usual one.
	maxRecipients = 500 << 10
	// maxOtherDeliveries is the most bytes kept of further recipients that a receipt is about, after the first.
	maxOtherDeliveries = 16 << 10
	// maxText is the most bytes kept of one element.
	maxText = 4 << 10
	// maxNesting is how deep elements may be nested; the rules need four.
	maxNesting = 16
	// maxUnread is the most elements kept that were not taken for facts, and maxUnreadText the most bytes of one.
	maxUnread     = 16
	maxUnreadText = 1 << 10
	// maxProblems is the most problems that an error names.
	maxProblems = 8
)

// Certification is what daticert.xml says (RFC 6109 4.4). Values are trimmed, at most 4 KiB each, and "" where absent. Values unknown to the
// rules are kept as they are, and so are unreadable references and markup inside values. At most 500 KiB of recipients are kept.
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
	MessageID   string      // msgid: the Message-ID that the sender's program set, with angle brackets
	ReceiptKind string      // ricevuta@tipo: completa, breve, sintetica
	Delivery    string      // consegna: the recipient that the receipt is about
	Received    []string    // ricezione: the recipients that a presa-in-carico is about
	ErrorDetail string      // errore-esteso

	OtherDeliveries []string  // further recipients in consegna, which the rules allow once; at most 16 KiB
	Unread          []Element // not taken for facts: text that was cut off, second values; at most 16, of 1 KiB each
	Omitted         int       // how many recipients in destinatari, consegna and ricezione were too many to keep
}

// Element is the text of an element of daticert.xml.
type Element struct{ Name, Text string }

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

// Class returns the class that the type names, or Ordinary for an unknown type.
func (c *Certification) Class() Class {
	if equalFold(c.Type, string(PostaCertificata)) {
		return PostaCertificata
	}
	return receiptClass(c.Type)
}

var errNoCertification = errors.New("the root element is not postacert")

// ParseCertification reads daticert.xml in UTF-8, UTF-16, or the encoding that it declares. It reads each fact by itself: a fault in one, or
// around it, costs no other. A value reaches to the end tag of its element, whatever it contains: unescaped markup, characters that XML
// forbids. Stray text, missing or unknown elements and attributes, and unmatched end tags are tolerated. A document type declaration is
// skipped: only the five entities of XML and numeric references are resolved. At most 4 MiB are read, and little is held besides the
// result. The error says what is missing or could not be read; the result is nil only if the root element is not postacert.
func ParseCertification(r io.Reader) (*Certification, error) {
	return parseCertification(r, maxDaticert, "")
}

// parseCertification is ParseCertification for a part with a size in bytes and a charset in its header, or "".
func parseCertification(r io.Reader, size int64, charset string) (*Certification, error) {
	limited := &io.LimitedReader{R: xmlText(r, charset), N: maxProlog}
	p := certificationReader{limited: limited, markupReader: newMarkupReader(limited, size, &daticert), c: Certification{Error: "nessuno"}}
	err := p.walk(func(name string) bool { return name == daticert.root }, p.open)
	switch {
	case !p.found && (err == nil || errors.Is(err, errNoRoot)):
		return nil, errNoCertification
	case !p.found:
		return nil, err
	case err != nil:
		p.problem(err.Error())
	case limited.N <= 0:
		p.problem(fmt.Sprintf("over %d bytes", maxDaticert))
	case len(p.path) > 0:
		p.problem("cut short")
	}
	p.finish()
	if len(p.problems) > 0 {
		return &p.c, errors.New(strings.Join(p.problems, "; "))
	}
	return &p.c, nil
}

// certificationReader goes through daticert.xml.
type certificationReader struct {
	markupReader
	limited        *io.LimitedReader
	c              Certification
	kept           int // bytes of recipients, without those of consegna
	keptDeliveries int
	day            string
	clock          string
	deep           bool     // an element stood too deep
	contested      []string // names of elements that had two values, so neither counts
	problems       []string
}

// problem notes what is wrong, once.
func (p *certificationReader) problem(what string) {
	if len(p.problems) < maxProblems && !slices.Contains(p.problems, what) {
		p.problems = append(p.problems, what)
	}
}

// daticert is what the rules know of daticert.xml (RFC 6109 4.4).
var daticert = vocabulary{root: "postacert", containers: map[string]string{"intestazione": "postacert", "dati": "postacert", "data": "dati"},
	facts: map[string]string{"mittente": "intestazione", "destinatari": "intestazione", "risposte": "intestazione", "oggetto": "intestazione",
		"gestore-emittente": "dati", "identificativo": "dati", "msgid": "dati", "consegna": "dati", "ricezione": "dati", "errore-esteso": "dati",
		"giorno": "data", "ora": "data"}}

// open takes a start tag, and the text of an element that is a fact.
func (p *certificationReader) open(t tag) error {
	if len(p.path) == 0 {
		p.limited.N += maxDaticert + 1 - maxProlog
		p.c.Type = t.attribute("tipo")
		if value := t.attribute("errore"); value != "" {
			p.c.Error = value
		}
		p.enter(t, maxNesting)
		return nil
	}
	parent := daticert.facts[t.name]
	if parent == "" {
		parent = daticert.containers[t.name]
	}
	if parent != "" {
		p.leave(parent)
	}
	in := p.path[len(p.path)-1]
	if in == parent && daticert.facts[t.name] != "" {
		if t.empty {
			return nil
		}
		text, whole, err := p.text(t.name)
		if err != nil {
			return err
		}
		p.take(t, text, whole)
		return nil
	}
	switch {
	case t.name == "data" && in == "dati":
		p.once("zona", &p.c.Zone, t.attribute("zona"))
	case t.name == "ricevuta" && in == "dati":
		p.once("ricevuta", &p.c.ReceiptKind, t.attribute("tipo"))
	}
	if !p.enter(t, maxNesting) {
		p.deep = true
	}
	return nil
}

// leave closes elements of the rules that lack their end tag, up to the parent of the next element.
func (p *certificationReader) leave(parent string) {
	for k := len(p.path) - 1; k > 0 && p.path[k] != parent && daticert.containers[p.path[k]] != ""; k-- {
		if slices.Contains(p.path[:k], parent) {
			p.path = p.path[:k]
		}
	}
}

// slot returns where to keep the text of an element that may stand once, or nil.
func (p *certificationReader) slot(name string) *string {
	c := &p.c
	switch name {
	case "mittente":
		return &c.Sender
	case "risposte":
		return &c.Replies
	case "oggetto":
		return &c.Subject
	case "gestore-emittente":
		return &c.Provider
	case "giorno":
		return &p.day
	case "ora":
		return &p.clock
	case "identificativo":
		return &c.Identifier
	case "msgid":
		return &c.MessageID
	case "errore-esteso":
		return &c.ErrorDetail
	}
	return nil
}

// take takes the raw text of a fact. A text cut off by the end of the document is not a fact.
func (p *certificationReader) take(t tag, raw string, whole bool) {
	free := t.name == "oggetto" || t.name == "errore-esteso" || t.name == "gestore-emittente"
	text := decodeText(raw, free)
	if len(text) > maxText {
		text = strings.TrimSpace(clipRunes(text, maxText))
		p.problem(fmt.Sprintf("%s over %d bytes", t.name, maxText))
	}
	slot := p.slot(t.name)
	switch {
	case text == "":
	case !whole:
		p.unread(t.name, text)
	case slot != nil:
		p.once(t.name, slot, text)
	default:
		p.recipient(t, text)
	}
}

// once takes a value that may stand only once. If there are several, the first counts in intestazione; after intestazione none does. A subject
// that the provider did not escape may have smuggled in the others, with any identificativo or time that its writer liked.
func (p *certificationReader) once(name string, slot *string, value string) {
	switch {
	case value == "" || value == *slot:
	case *slot == "" && !slices.Contains(p.contested, name):
		*slot = value
	case *slot == "" || daticert.facts[name] == "intestazione":
		p.unread(name, value)
	default:
		p.unread(name, *slot)
		p.unread(name, value)
		*slot, p.contested = "", append(p.contested, name)
		p.problem(name + ": two values, neither counts")
	}
}

// unread keeps a text that was not taken for a fact.
func (p *certificationReader) unread(name, text string) {
	if len(p.c.Unread) < maxUnread {
		p.c.Unread = append(p.c.Unread, Element{name, clipRunes(text, maxUnreadText)})
	}
}

// recipient takes the text of an element that names a recipient.
func (p *certificationReader) recipient(t tag, address string) {
	c := &p.c
	kind := ""
	if t.name == "destinatari" {
		if kind = t.attribute("tipo"); kind == "" {
			kind = KindCertified
		}
	}
	if t.name == "consegna" && c.Delivery == "" {
		c.Delivery = address
	}
	if t.name == "consegna" && (c.Delivery == address || slices.Contains(c.OtherDeliveries, address)) {
		return
	}
	kept, most := &p.kept, maxRecipients
	if t.name == "consegna" {
		kept, most = &p.keptDeliveries, maxOtherDeliveries
	}
	const overhead = 8 // tags and lengths of the stored form
	size := len(address) + len(kind) + overhead
	if *kept+size > most {
		c.Omitted++
		return
	}
	*kept += size
	switch t.name {
	case "destinatari":
		c.Recipients = append(c.Recipients, Recipient{Address: address, Kind: kind})
	case "consegna":
		c.OtherDeliveries = append(c.OtherDeliveries, address)
	case "ricezione":
		c.Received = append(c.Received, address)
	}
}

// finish assembles the time, and notes what is missing.
func (p *certificationReader) finish() {
	c := &p.c
	c.Date = strings.TrimSpace(p.day + " " + p.clock)
	c.Time = legalTime(p.day, p.clock, c.Zone)
	if c.Time.IsZero() && c.Date+c.Zone != "" {
		p.problem("data: the time cannot be read")
	}
	if p.deep {
		p.problem(fmt.Sprintf("elements more than %d deep", maxNesting))
	}
	if c.Type == "" {
		p.problem("no type")
	}
	if c.Identifier == "" && !slices.Contains(p.contested, "identificativo") {
		p.problem("no identificativo")
	}
	if c.Omitted > 0 {
		p.problem(fmt.Sprintf("recipients not kept: %d", c.Omitted))
	}
}

// legalTime reads a time of daticert.xml, in UTC; zero if it cannot. A time without a zone cannot be read: Italian legal time repeats an hour
// every year.
func legalTime(day, clock, zone string) time.Time {
	zone = strings.ReplaceAll(zone, ":", "")
	switch strings.ToUpper(zone) {
	case "Z", "UTC", "GMT":
		zone = "+0000"
	}
	for _, layout := range []string{"2/1/2006 15:4:5 -0700", "2/1/2006 15:4 -0700", "2/1/2006 15:4:5 -07", "2/1/2006 15:4 -07"} {
		if t, err := time.Parse(layout, day+" "+clock+" "+zone); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}
