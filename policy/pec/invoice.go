package pec

import (
	"io"
	"strings"

	"copialettere/journal/part"
)

// maxInvoiceNotices is how many notifications of the exchange system are read from one message; one is the rule.
const maxInvoiceNotices = 8

// maxInvoiceXML is how many bytes of one are read.
const maxInvoiceXML = 256 << 10

// InvoiceNotice is a notification of the exchange system for electronic invoices (Sistema di Interscambio, SdI), which comes as an
// attachment of certified mail (technical rules of DM 55/2013, annex B, 2 and 4; Agenzia delle Entrate, provv. 30 April 2018, annex A).
type InvoiceNotice struct {
	Part       int    // index in the part table
	Kind       string // two letters, a key of InvoiceKinds: by the root element, else by the name of the file
	File       string // the name of the file, as IT01234567890_00001_RC_001.xml
	Invoice    string // NomeFile: the file of the invoice; without it, the part of File that is the invoice's
	Identifier string // IdentificativoSdI: the number that the exchange system gave to the invoice; "" where it could not be read
}

// InvoiceKinds are the kinds of notification and what they are called.
func InvoiceKinds() map[string]string {
	return map[string]string{
		"RC": "ricevuta di consegna", "NS": "notifica di scarto", "MC": "notifica di mancata consegna", "NE": "notifica di esito",
		"DT": "notifica di decorrenza termini", "AT": "attestazione di avvenuta trasmissione con impossibilità di recapito",
		"MT": "file dei metadati", "EC": "notifica di esito committente", "SE": "scarto dell'esito committente",
	}
}

// invoiceRoots are the root elements of notifications: to public bodies, and to others where they have another name there.
var invoiceRoots = map[string]string{
	"RicevutaConsegna": "RC", "NotificaScarto": "NS", "RicevutaScarto": "NS", "NotificaMancataConsegna": "MC",
	"RicevutaImpossibilitaRecapito": "MC", "NotificaEsito": "NE", "NotificaDecorrenzaTermini": "DT", "AttestazioneTrasmissioneFattura": "AT",
	"MetadatiInvioFile": "MT", "FileMetadati": "MT", "NotificaEsitoCommittente": "EC", "ScartoEsitoCommittente": "SE",
}

// ExchangeDomain is the domain from which the exchange system sends.
const ExchangeDomain = "pec.fatturapa.it"

// FromExchange reports whether certification data name the exchange system as the sender.
func (c *Certification) FromExchange() bool {
	_, domain, _ := strings.Cut(NormalAddress(c.Sender), "@")
	return domain == ExchangeDomain
}

// readInvoices looks for notifications among the parts of an envelope's message, by their names.
func (m *Message) readInvoices(r io.ReaderAt, t *part.Table) {
	inner := t.Enclosed(m.Postacert)
	if inner < 0 {
		return
	}
	for i, end := inner, endOf(t, inner); i < end; i++ {
		p := &t.Parts[i]
		// Most parts are told apart by a look: the names have underscores, unless they are encoded (RFC 2047, RFC 2231).
		if !strings.ContainsAny(p.ContentType+p.Disposition, "_?*") {
			continue
		}
		name := p.Name()
		kind, invoice, ok := invoiceName(name)
		if !ok {
			continue
		}
		n := InvoiceNotice{Part: i, Kind: kind, File: clip(name), Invoice: invoice}
		if hasSuffixFold(name, ".xml") {
			n.read(xmlText(part.ContentDecoder(*p, partBody(r, p)), p.Charset()), p.End-p.Body)
		}
		if m.Invoices = append(m.Invoices, n); len(m.Invoices) == maxInvoiceNotices {
			return
		}
	}
}

// invoiceName takes the name of the file of a notification apart: country, tax code and number of the invoice, kind, and number of the
// notification, as in IT01234567890_00001_RC_001.xml. Signed ones end in .p7m, attestations with the invoice in them in .zip.
func invoiceName(name string) (kind, invoice string, ok bool) {
	if hasSuffixFold(name, ".p7m") {
		name = name[:len(name)-4]
	}
	if !hasSuffixFold(name, ".xml") && !hasSuffixFold(name, ".zip") {
		return "", "", false
	}
	fields := strings.Split(name[:len(name)-4], "_")
	if len(fields) != 4 {
		return "", "", false
	}
	for i, limit := range []struct{ least, most int }{{4, 30}, {1, 5}, {2, 2}, {1, 3}} {
		if len(fields[i]) < limit.least || len(fields[i]) > limit.most || strings.ContainsFunc(fields[i], notAlphanumeric) {
			return "", "", false
		}
	}
	kind = strings.ToUpper(fields[2])
	_, ok = InvoiceKinds()[kind]
	return kind, fields[0] + "_" + fields[1], ok && !strings.ContainsAny(fields[0][:2], "0123456789")
}

func notAlphanumeric(r rune) bool {
	return !(r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z')
}

func hasSuffixFold(s, suffix string) bool {
	return len(s) >= len(suffix) && equalFold(s[len(s)-len(suffix):], suffix)
}

// invoiceNotice is what is read of a notification. Its root element has many names, so none ends a text whose own end is missing.
var invoiceNotice = vocabulary{facts: map[string]string{"IdentificativoSdI": "root", "NomeFile": "root"}}

// invoiceReader goes through a notification.
type invoiceReader struct {
	markupReader
	notice *InvoiceNotice
	file   string
}

// read takes what identifies the invoice from the XML of a notification: the elements of these names below the root. As with daticert.xml, what is
// malformed costs nothing else. At most 256 KiB are read.
func (n *InvoiceNotice) read(r io.Reader, size int64) {
	p := invoiceReader{notice: n, markupReader: newMarkupReader(io.LimitReader(r, maxInvoiceXML), size, &invoiceNotice)}
	// What could be read before an error stays.
	_ = p.walk(func(string) bool { return true }, p.open)
	if p.file != "" {
		n.Invoice = p.file
	}
}

// open takes a start tag, and the text of an element that is a fact.
func (p *invoiceReader) open(t tag) error {
	if kind := invoiceRoots[t.name]; len(p.path) == 0 && kind != "" {
		p.notice.Kind = kind
	}
	if len(p.path) != 1 || t.empty || invoiceNotice.facts[t.name] == "" {
		p.enter(t, maxNesting)
		return nil
	}
	text, whole, err := p.text(t.name)
	if err != nil || !whole {
		return err
	}
	slot := &p.notice.Identifier
	if t.name == "NomeFile" {
		slot = &p.file
	}
	if *slot == "" {
		*slot = clipRunes(decodeText(text, false), maxValue)
	}
	return nil
}
