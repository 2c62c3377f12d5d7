package pec

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"copialettere/journal/part"
)

// Evidence is one evidence of a REM message (ETSI EN 319 522-3 and 319 532-3, AgID REM-Policy-IT; of the older TS 102 640-2 the event, its
// time and the ids are read). Values are as they stand there, trimmed and at most 1 KiB each. A message may hold several.
type Evidence struct {
	Part              int         // index in the part table
	Name              string      // file name, decoded
	Event             string      // ERDSEventId or EventCode: a URI; Equivalent tells what PEC calls it
	Time              string      // EventTime as written
	At                time.Time   // EventTime in UTC, to the second; zero where it could not be read, or has no zone
	Submitted         string      // SubmissionTime as written
	Identifier        string      // EvidenceIdentifier
	MessageIdentifier string      // MessageIdentifier: names the transaction, as identificativo does
	ClientIdentifier  string      // AppLayerIdentifier: the Message-ID that the sender's program had set
	Issuer            string      // legal name of the provider that issued it
	Sender            string      // address of the sender
	Subject           string      // of the message
	Reasons           []Reason    // at most 16
	Recipients        []Recipient // of the message, in order; KindExternal for those that are reached outside of REM
	RefersTo          []int       // which of the recipients it is about, counted from 1; empty where it does not say
	Error             string      // why it is not whole; "" where it is
}

// Reason is why an event came about.
type Reason struct {
	Code    string   // URI
	Details []string // such as "RD04", and a text; at most 8
}

const (
	// maxEvidenceXML is how many bytes of one evidence are read. One recipient with its identity takes about 700.
	maxEvidenceXML = 4 << 20
	// maxEvidenceText is how many bytes of text are kept of all evidences of a message together.
	maxEvidenceText = 256 << 10
	// A text of no bytes costs some all the same.
	textCost          = 16
	maxReasons        = 16
	maxDetails        = 8
	maxEvidenceDepth  = 64 // of elements in one another; a signature has a dozen
	legalNameSuffix   = "/LegalName"
	evidenceRootWords = "Evidence"
)

// readREM looks for REM fields in the headers of the parts inside a part, and for evidences among the XML parts.
func (m *Message) readREM(r io.ReaderAt, t *part.Table, container int, documents []int) {
	count := 0
	for i := range t.Children(container) {
		if count++; count > maxParts {
			break
		}
		p := &t.Parts[i]
		header := make([]byte, min(p.Body-p.Header, maxPartHeader))
		n, _ := r.ReadAt(header, p.Header)
		header = header[:n]
		for f := range part.Fields(header) {
			if f.Name != nil && isREM(f.Name) {
				m.Declared.addREM(header, f, i)
			}
		}
	}
	if len(m.Declared.REM) == 0 {
		return
	}
	m.Class = REM
	room := maxEvidenceText
	for _, i := range documents[:min(len(documents), maxEvidence)] {
		p := &t.Parts[i]
		e, err := parseEvidence(xmlReader(r, p), &room)
		if errors.Is(err, errNoEvidence) {
			continue
		}
		if err != nil {
			m.DataError = fmt.Sprintf("%.100s: %v", p.Name(), err)
			continue
		}
		e.Part, e.Name = i, clip(p.Name())
		if e.Error != "" {
			m.DataError = fmt.Sprintf("%.100s: %s", p.Name(), e.Error)
		}
		m.Evidence = append(m.Evidence, e)
	}
}

var errNoEvidence = errors.New("the root element is no evidence")

// parseEvidence reads an evidence by the local names of its elements, since qualified and unqualified ones occur, and by their place. It
// tolerates unknown and missing elements and end tags that do not match; no entity is ever resolved. At most 4 MiB are read, and as
// much text is kept as room tells, which it lessens. What could be read before an error stays where it names an event.
func parseEvidence(r io.Reader, room *int) (Evidence, error) {
	limited := &io.LimitedReader{R: r, N: maxEvidenceXML + 1}
	d := xml.NewDecoder(limited)
	d.Strict = false
	d.CharsetReader = func(_ string, input io.Reader) (io.Reader, error) { return input, nil }
	p := evidenceReader{room: room}
	var err error
	for err == nil {
		var token xml.Token
		if token, err = d.RawToken(); err == nil {
			err = p.take(token)
		}
	}
	switch {
	case limited.N <= 0:
		err = fmt.Errorf("over %d bytes", maxEvidenceXML)
	case !errors.Is(err, io.EOF):
	case p.e.Event == "":
		err = errors.New("no event")
	case len(p.path) > 0:
		err = errors.New("it ends before its root element does")
	default:
		err = nil
	}
	if p.e.Event == "" {
		return Evidence{}, fmt.Errorf("read evidence: %w", err)
	}
	p.finish()
	if err != nil {
		p.e.Error = clip(err.Error())
	}
	return p.e, nil
}

// evidenceReader goes through the tokens of an evidence.
type evidenceReader struct {
	e         Evidence
	room      *int
	path      []string // local names of the open elements, outermost first
	text      []byte   // of the innermost
	mail      bool     // the Identifier under way is a mail address
	legalName bool     // the Attribute under way is a legal name
	untrusted []int    // recipients that are reached outside of REM, counted from 1
}

var errEvidenceRoom = errors.New("more text than is kept")

func (p *evidenceReader) take(token xml.Token) error {
	switch token := token.(type) {
	case xml.StartElement:
		name := token.Name.Local
		if len(p.path) == 0 && !strings.Contains(name, evidenceRootWords) {
			return errNoEvidence
		}
		if len(p.path) >= maxEvidenceDepth {
			return fmt.Errorf("elements more than %d deep", maxEvidenceDepth)
		}
		p.path = append(p.path, name)
		p.text = p.text[:0]
		p.start(token)
	case xml.CharData:
		if len(p.path) > 0 {
			p.text = append(p.text, token[:min(len(token), maxText-len(p.text))]...)
		}
	case xml.EndElement:
		return p.close(token.Name.Local)
	}
	return nil
}

// start takes what matters of the element that was opened last, besides its text.
func (p *evidenceReader) start(e xml.StartElement) {
	switch p.place() {
	case "EventReasons/EventReason":
		if len(p.e.Reasons) < maxReasons {
			p.e.Reasons = append(p.e.Reasons, Reason{})
		}
	case "SenderDetails/Identifier", "RecipientDetails/Identifier":
		scheme := attribute(e, "IdentifierSchemeName")
		p.mail = scheme == "" || equalFold(scheme, "mailto")
	default:
		if e.Name.Local == "Attribute" {
			p.legalName = strings.HasSuffix(attribute(e, "Name"), legalNameSuffix)
		}
	}
}

// place returns the names of the open elements without the root, with a slash between.
func (p *evidenceReader) place() string {
	if len(p.path) < 2 || len(p.path) > 6 {
		return ""
	}
	return strings.Join(p.path[1:], "/")
}

// close ends an element, and those inside it that were left open. An end without a beginning is nothing.
func (p *evidenceReader) close(name string) error {
	k := len(p.path) - 1
	for k >= 0 && p.path[k] != name {
		k--
	}
	for k >= 0 && len(p.path) > k {
		if err := p.end(clip(strings.TrimSpace(string(p.text)))); err != nil {
			return err
		}
		p.path = p.path[:len(p.path)-1]
		p.text = p.text[:0]
	}
	return nil
}

// end takes the text of the innermost element.
func (p *evidenceReader) end(text string) error {
	if text == "" {
		return nil
	}
	place := p.place()
	if slot := p.e.slot(place); slot != nil {
		if *slot == "" {
			*slot = text
			return p.spend(text)
		}
		return nil
	}
	switch place {
	case "EventReasons/EventReason/Code", "EventReasons/EventReason/Details":
		return p.reason(place, text)
	case "SenderDetails/Identifier":
		if p.mail && p.e.Sender == "" {
			p.e.Sender = text
			return p.spend(text)
		}
	case "RecipientDetails/Identifier":
		if p.mail && strings.Contains(text, "@") {
			p.e.Recipients = append(p.e.Recipients, Recipient{Address: text, Kind: KindCertified})
			return p.spend(text)
		}
	case "EvidenceIssuerDetails/Identity/Attribute/AttributeValue":
		if p.legalName && p.e.Issuer == "" {
			p.e.Issuer = text
			return p.spend(text)
		}
	case "EvidenceRefersToRecipient", "Extensions/Extension/RelayEvidenceInfo/RelayEvidenceRefersTo":
		return p.number(&p.e.RefersTo, text)
	case "Extensions/Extension/GeneralEvidenceInfo/UntrustedPathToRecipient":
		return p.number(&p.untrusted, text)
	}
	return nil
}

// slot returns where the text of an element goes that may stand once, or nil.
func (e *Evidence) slot(place string) *string {
	switch place {
	case "ERDSEventId", "EventCode":
		return &e.Event
	case "EventTime":
		return &e.Time
	case "SubmissionTime":
		return &e.Submitted
	case "EvidenceIdentifier":
		return &e.Identifier
	case "MessageIdentifier":
		return &e.MessageIdentifier
	case "UserContentInfo/AppLayerIdentifier":
		return &e.ClientIdentifier
	case "Extensions/Extension/GeneralEvidenceInfo/Subject":
		return &e.Subject
	}
	return nil
}

func (p *evidenceReader) reason(place, text string) error {
	if len(p.e.Reasons) == 0 {
		return nil
	}
	r := &p.e.Reasons[len(p.e.Reasons)-1]
	switch {
	case strings.HasSuffix(place, "/Code") && r.Code == "":
		r.Code = text
	case strings.HasSuffix(place, "/Details") && len(r.Details) < maxDetails:
		r.Details = append(r.Details, text)
	default:
		return nil
	}
	return p.spend(text)
}

// number adds one that counts a recipient.
func (p *evidenceReader) number(list *[]int, text string) error {
	if n, err := strconv.Atoi(text); err == nil && n >= 1 && n <= maxEvidenceText {
		*list = append(*list, n)
		return p.spend("")
	}
	return nil
}

// spend counts what is kept.
func (p *evidenceReader) spend(text string) error {
	if *p.room -= len(text) + textCost; *p.room < 0 {
		return errEvidenceRoom
	}
	return nil
}

// finish reads the time, and marks the recipients outside of REM. Without a zone there is no time.
func (p *evidenceReader) finish() {
	if t, err := time.Parse(time.RFC3339, strings.ToUpper(p.e.Time)); err == nil {
		p.e.At = t.UTC().Truncate(time.Second)
	}
	for _, n := range p.untrusted {
		if n <= len(p.e.Recipients) {
			p.e.Recipients[n-1].Kind = KindExternal
		}
	}
}

// messageID returns the id of the transaction as it is compared.
func (e *Evidence) messageID() string { return part.MessageID(e.MessageIdentifier) }
