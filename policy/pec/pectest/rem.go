package pectest

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"time"
)

// Evidence describes one evidence of a REM message (ETSI EN 319 522-3, in the form of AgID's REM-Policy-IT).
type Evidence struct {
	Event     string        // such as ContentConsignment
	Reason    string        // such as MessageConsignedToRecipient
	Code      string        // such as RD01
	Text      string        // for people
	After     time.Duration // since the message was sent
	RefersTo  []int         // recipients that a consignment is about, from 1
	RelayedTo []int         // recipients that a relay is about, from 1
	Untrusted []int         // recipients without REM, from 1
	// Change changes the XML, if not nil.
	Change func(string) string
}

// REMReceipt makes the receipt of European registered mail with the given evidences that the sender gets for the message.
func (c *Chain) REMReceipt(evidences ...Evidence) []byte {
	return c.rem("receipt", nil, evidences)
}

// REMDispatch makes the REM message with the given evidences that brings the original to its recipients.
func (c *Chain) REMDispatch(evidences ...Evidence) []byte {
	return c.rem("dispatch", c.Rewritten, evidences)
}

func (c *Chain) rem(kind string, original []byte, evidences []Evidence) []byte {
	const boundary = "----=_Part_REM_2"
	p := c.office.Sender
	var signed, b bytes.Buffer
	fmt.Fprintf(&signed, "Content-Type: multipart/mixed;\r\n\tboundary=%q\r\n\r\n--%s\r\nREM-Section-Type: rem_message/introduction\r\n"+
		"Content-Type: text/plain; charset=\"UTF-8\"\r\n\r\nMessaggio REM\r\n", boundary, boundary)
	if original != nil {
		fmt.Fprintf(&signed, "\r\n--%s\r\nContent-Type: message/rfc822; name=AttachedMimeMessage\r\nContent-Transfer-Encoding: binary\r\n"+
			"Content-Disposition: attachment\r\nREM-Section-Type: rem_message/original\r\n\r\n%s", boundary, original)
	}
	event := ""
	for i, e := range evidences {
		event = e.Event
		fmt.Fprintf(&signed, "\r\n--%s\r\nContent-Type: application/xml; charset=UTF-8; name=\"%s.xml\"\r\nContent-Transfer-Encoding: base64\r\n"+
			"Content-Disposition: attachment; filename=\"%s.xml\"\r\nREM-Section-Type: rem_message/xml_evidence\r\n\r\n%s", boundary, e.Event,
			e.Event, crlf(foldBase64([]byte(c.evidence(i+1, e)), "")))
	}
	signed.WriteString("\r\n--" + boundary + "--\r\n")
	id, to := "<"+p.identifier(c.Time)+">", c.Mail.From
	if original != nil {
		id, to = "<"+c.Identifier+">", strings.Join(c.Mail.Recipients(), ",\r\n ")
	}
	fmt.Fprintf(&b, "From: <%s>\r\nTo: %s\r\nSubject: %s\r\nDate: %s\r\nMessage-ID: %s\r\nREM-MetadataVersion: EN31953203V010201\r\n"+
		"REM-MessageType: http://uri.etsi.org/19522/v1#/ERDMessageType/%s\r\nREM-EventIdentifier: http://uri.etsi.org/19522/Event/%s\r\n",
		p.Address(), to, encodeWord("REM "+event+": "+c.Mail.Subject), c.Time.Format(time.RFC1123Z), id, kind, event)
	if c.Mail.MessageID != "" {
		fmt.Fprintf(&b, "REM-UAMessageIdentifier: %s\r\n", c.Mail.MessageID)
	}
	b.WriteString("MIME-Version: 1.0\r\n")
	p.signed(&b, signed.Bytes(), c.Time, Variation{})
	return b.Bytes()
}

// evidence returns the XML, with both qualified and unqualified elements, like AgID's own messages.
func (c *Chain) evidence(number int, e Evidence) string {
	var b xmlWriter
	numbers := func(element string, list []int) {
		for _, n := range list {
			b.line("<%s>%d</%s>", element, n, element)
		}
	}
	b.line(`<?xml version="1.0" encoding="UTF-8" standalone="no"?>`)
	b.line(`<tns:Evidence xmlns:tns="http://uri.etsi.org/19522/v1#" xmlns:ext="http://uri.etsi.org/19532/v1#" version="EN319522v1.1.1">`)
	b.line(`<tns:EvidenceIdentifier>evidence-%d.%s</tns:EvidenceIdentifier>`, number, c.Identifier)
	b.line(`<tns:ERDSEventId>http://uri.etsi.org/19522/Event/%s</tns:ERDSEventId>`, e.Event)
	b.line(`<tns:EventReasons><tns:EventReason><Code>http://uri.etsi.org/19522/EventReason/%s</Code>`, e.Reason)
	b.line(`<Details>%s</Details><Details>%s</Details></tns:EventReason></tns:EventReasons>`, e.Code, e.Text)
	b.line(`<EventTime>%s</EventTime>`, c.Time.Add(e.After).UTC().Format(time.RFC3339))
	b.line(`<tns:EvidenceIssuerDetails><tns:Identity><saml:Attribute Name="http://eidas.europa.eu/attributes/legalperson/LegalName">`)
	b.line(`<saml:AttributeValue>%s</saml:AttributeValue></saml:Attribute></tns:Identity></tns:EvidenceIssuerDetails>`, c.office.Sender.Name)
	b.line(`<tns:SenderDetails><Identifier IdentifierSchemeName="mailto">%s</Identifier></tns:SenderDetails>`, c.Mail.From)
	for _, r := range c.Recipients {
		b.line(`<tns:RecipientDetails><tns:Identity><saml:Attribute Name="http://eidas.europa.eu/attributes/naturalperson/PersonIdentifier">`)
		b.line(`<saml:AttributeValue>IT/IT/0123</saml:AttributeValue></saml:Attribute></tns:Identity>`)
		b.line(`<Identifier IdentifierSchemeName="mailto">%s</Identifier></tns:RecipientDetails>`, r.Address)
	}
	b.line(`<SubmissionTime>%s</SubmissionTime>`, c.Time.UTC().Format(time.RFC3339))
	numbers("EvidenceRefersToRecipient", e.RefersTo)
	b.line(`<tns:MessageIdentifier>%s</tns:MessageIdentifier>`, c.Identifier)
	b.line(`<tns:UserContentInfo><AppLayerIdentifier>%s</AppLayerIdentifier><tns:PartsInfo><tns:PartInfo>`, c.Mail.MessageID)
	b.line(`<Identifier>urn:oid:1.3.6.1.7</Identifier></tns:PartInfo></tns:PartsInfo></tns:UserContentInfo>`)
	b.line(`<Extensions><Extension isCritical="false"><ext:GeneralEvidenceInfo><ext:Subject>%s</ext:Subject>`, c.Mail.Subject)
	numbers("ext:UntrustedPathToRecipient", e.Untrusted)
	b.line(`</ext:GeneralEvidenceInfo></Extension><Extension isCritical="false"><ext:RelayEvidenceInfo>`)
	numbers("ext:RelayEvidenceRefersTo", e.RelayedTo)
	b.line(`</ext:RelayEvidenceInfo></Extension></Extensions>`)
	b.line(`<ds:Signature><ds:SignatureValue>%s</ds:SignatureValue></ds:Signature>`, base64.StdEncoding.EncodeToString([]byte("prova")))
	b.WriteString(`</tns:Evidence>`)
	if e.Change != nil {
		return e.Change(b.String())
	}
	return b.String()
}
