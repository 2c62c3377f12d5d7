package pec

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"copialettere/journal/part"
)

// Evidence is one evidence of a REM message (ETSI EN 319 522-3 and 319 532-3, AgID REM-Policy-IT; from the older TS 102 640-2 only the event, its
// time and the ids are read). Values are as written, trimmed, at most 1 KiB each. A message may hold several evidences.
type Evidence struct {
	Part              int         // index in the part table
	Name              string      // file name, decoded
	Event             string      // ERDSEventId or EventCode: a URI; Equivalent returns PEC's name for it
	Time              string      // EventTime as written
	At                time.Time   // EventTime in UTC, to the second; zero if it could not be read, or has no zone
	Submitted         string      // SubmissionTime as written
	Identifier        string      // EvidenceIdentifier
	MessageIdentifier string      // MessageIdentifier: names the transaction, like identificativo
	ClientIdentifier  string      // AppLayerIdentifier: the Message-ID that the sender's program set
	Issuer            string      // legal name of the issuing provider
	Sender            string      // address of the sender
	Subject           string      // of the message
	Reasons           []Reason    // at most 16
	Recipients        []Recipient // of the message, in order; KindExternal for those reached outside REM
	RefersTo          []int       // which of the recipients it is about, from 1; empty if it does not say
	Error             string      // why it is incomplete; "" if it is whole
}

// Reason is why an event happened.
type Reason struct {
	Code    string   // URI
	Details []string // such as "RD04" and a text; at most 8
}

const (
	// maxEvidenceXML is the most bytes read of one evidence. A recipient with its identity takes about 700.
	maxEvidenceXML = 4 << 20
	// maxEvidenceText is the most bytes of text kept of all evidences of a message together.
	maxEvidenceText  = 256 << 10
	textCost         = 16 // bytes that each text costs besides its own
	maxReasons       = 16
	maxDetails       = 8
	maxEvidenceDepth = 64 // of nested elements; a signature has a dozen
	maxEvidencePlace = 4  // elements around a fact
	legalNameSuffix  = "/LegalName"
)

// readREM looks for REM fields in the headers of the parts directly inside a part, and for evidences among the XML parts.
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
		e, err := parseEvidence(part.ContentDecoder(*p, partBody(r, p)), p.End-p.Body, p.Charset(), &room)
		if errors.Is(err, errNoRoot) {
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

// remEvidence lists the elements read of an evidence: those of EN 319 522-3, and in Extensions those of EN 319 532-3.
var remEvidence = vocabulary{root: "Evidence", containers: map[string]string{"EventReasons": "Evidence", "EventReason": "EventReasons",
	"EvidenceIssuerDetails": "Evidence", "SenderDetails": "Evidence", "RecipientDetails": "Evidence", "UserContentInfo": "Evidence",
	"Extensions": "Evidence", "Extension": "Extensions", "GeneralEvidenceInfo": "Extension", "RelayEvidenceInfo": "Extension"},
	facts: map[string]string{"ERDSEventId": "Evidence", "EventCode": "Evidence", "EventTime": "Evidence", "SubmissionTime": "Evidence",
		"EvidenceIdentifier": "Evidence", "MessageIdentifier": "Evidence", "EvidenceRefersToRecipient": "Evidence", "Code": "EventReason",
		"Details": "EventReason", "Identifier": "RecipientDetails", "AttributeValue": "Attribute", "AppLayerIdentifier": "UserContentInfo",
		"Subject": "GeneralEvidenceInfo", "UntrustedPathToRecipient": "GeneralEvidenceInfo", "RelayEvidenceRefersTo": "RelayEvidenceInfo"}}

// parseEvidence reads an evidence by the local names and places of its elements, since both qualified and unqualified names occur. As in
// daticert.xml, a malformed fact costs no other, and only the five entities of XML and numeric references are resolved. At most 4 MiB are
// read. The text kept is deducted from room, in bytes. After an error the result still has what was read before, if that names an event.
func parseEvidence(r io.Reader, size int64, charset string, room *int) (Evidence, error) {
	limited := &io.LimitedReader{R: xmlText(r, charset), N: maxEvidenceXML + 1}
	p := evidenceReader{room: room, markupReader: newMarkupReader(limited, size, &remEvidence)}
	err := p.walk(func(name string) bool { return strings.Contains(name, remEvidence.root) }, p.open)
	switch {
	case errors.Is(err, errNoRoot), err == nil && !p.found:
		return Evidence{}, errNoRoot
	case limited.N <= 0:
		err = fmt.Errorf("over %d bytes", maxEvidenceXML)
	case err == nil && len(p.path) > 0:
		err = errors.New("cut short")
	}
	if p.e.Event == "" {
		if err == nil {
			err = errors.New("no event")
		}
		return Evidence{}, fmt.Errorf("read evidence: %w", err)
	}
	p.finish()
	if err != nil {
		p.e.Error = clip(err.Error())
	}
	return p.e, nil
}

// evidenceReader reads an evidence.
type evidenceReader struct {
	markupReader
	e         Evidence
	room      *int
	legalName bool  // the current Attribute is a legal name
	untrusted []int // recipients reached outside REM, from 1
}

var errEvidenceRoom = errors.New("too much text to keep")

// open takes a start tag, and the text of an element that is a fact.
func (p *evidenceReader) open(t tag) error {
	place := t.name
	if len(p.path) > 1 && len(p.path) <= maxEvidencePlace {
		place = strings.Join(p.path[1:], "/") + "/" + t.name
	}
	if len(p.path) > 0 && remEvidence.facts[t.name] != "" && len(p.path) <= maxEvidencePlace && isEvidenceFact(place) {
		if t.empty {
			return nil
		}
		text, _, err := p.text(t.name)
		if err != nil {
			return err
		}
		return p.take(t, place, clipRunes(decodeText(text, true), maxValue))
	}
	switch {
	case place == "EventReasons/EventReason" && len(p.e.Reasons) < maxReasons:
		p.e.Reasons = append(p.e.Reasons, Reason{})
	case t.name == "Attribute":
		p.legalName = strings.HasSuffix(t.attribute("Name"), legalNameSuffix)
	}
	p.enter(t, maxEvidenceDepth)
	return nil
}

// The places of facts below the root, besides those of slot.
const (
	placeCode      = "EventReasons/EventReason/Code"
	placeDetails   = "EventReasons/EventReason/Details"
	placeSender    = "SenderDetails/Identifier"
	placeRecipient = "RecipientDetails/Identifier"
	placeIssuer    = "EvidenceIssuerDetails/Identity/Attribute/AttributeValue"
	placeRefersTo  = "EvidenceRefersToRecipient"
	placeRelayedTo = "Extensions/Extension/RelayEvidenceInfo/RelayEvidenceRefersTo"
	placeUntrusted = "Extensions/Extension/GeneralEvidenceInfo/UntrustedPathToRecipient"
)

// isEvidenceFact reports whether a place holds a fact.
func isEvidenceFact(place string) bool {
	switch place {
	case placeCode, placeDetails, placeSender, placeRecipient, placeIssuer, placeRefersTo, placeRelayedTo, placeUntrusted:
		return true
	}
	var e Evidence
	return e.slot(place) != nil
}

// take takes the text of a fact.
func (p *evidenceReader) take(t tag, place, text string) error {
	if text == "" {
		return nil
	}
	slot := p.e.slot(place)
	switch place {
	case placeCode, placeDetails:
		return p.reason(place, text)
	case placeSender:
		if isMail(t, text) {
			slot = &p.e.Sender
		}
	case placeIssuer:
		if p.legalName {
			slot = &p.e.Issuer
		}
	case placeRecipient:
		if !isMail(t, text) {
			return nil
		}
		if err := p.spend(text); err != nil {
			return err
		}
		p.e.Recipients = append(p.e.Recipients, Recipient{Address: text, Kind: KindCertified})
	case placeRefersTo, placeRelayedTo:
		return p.number(&p.e.RefersTo, text)
	case placeUntrusted:
		return p.number(&p.untrusted, text)
	}
	if slot == nil || *slot != "" {
		return nil
	}
	if err := p.spend(text); err != nil {
		return err
	}
	*slot = text
	return nil
}

// isMail reports whether an Identifier is a mail address.
func isMail(t tag, text string) bool {
	scheme := t.attribute("IdentifierSchemeName")
	return (scheme == "" || equalFold(scheme, "mailto")) && strings.Contains(text, "@")
}

// slot returns where to keep the text of an element that may stand once, or nil.
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
	if place == placeCode && r.Code != "" || place == placeDetails && len(r.Details) == maxDetails {
		return nil
	}
	if err := p.spend(text); err != nil {
		return err
	}
	if place == placeCode {
		r.Code = text
	} else {
		r.Details = append(r.Details, text)
	}
	return nil
}

// number adds the number of a recipient, and ignores text that is not one.
func (p *evidenceReader) number(list *[]int, text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxEvidenceText {
		return nil
	}
	if err := p.spend(""); err != nil {
		return err
	}
	*list = append(*list, n)
	return nil
}

// spend deducts a text from the room, and fails if there is not enough.
func (p *evidenceReader) spend(text string) error {
	if *p.room -= len(text) + textCost; *p.room < 0 {
		return errEvidenceRoom
	}
	return nil
}

// finish reads the time, which needs a zone, and marks the recipients outside REM.
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

// messageID returns the id of the transaction in the form that is compared.
func (e *Evidence) messageID() string { return part.MessageID(e.MessageIdentifier) }
