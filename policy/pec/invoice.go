package pec

import (
	"io"
	"strings"

	"copialettere/journal/part"
)

// maxInvoiceNotices is the most notifications read from one message; one is usual.
const maxInvoiceNotices = 8

// maxInvoiceXML is the most bytes read of one notification.
const maxInvoiceXML = 256 << 10

// InvoiceNotice is a notification from the exchange system for electronic invoices (Sistema di Interscambio, SdI), attached to certified mail
// (technical rules of DM 55/2013, annex B, 2 and 4; Agenzia delle Entrate, provv. 30 April 2018, annex A).
type InvoiceNotice struct {
	Part       int    // index in the part table
	Kind       string // two letters, a key of InvoiceKinds: from the root element, else from the file name
	File       string // file name, such as IT01234567890_00001_RC_001.xml
	Invoice    string // NomeFile: the file of the invoice; if absent, the invoice's part of File
	Identifier string // IdentificativoSdI: the exchange system's number of the invoice; "" if it could not be read
}

// InvoiceKinds returns the Italian name of each kind of notification, by its two letters. The map is the caller's.
func InvoiceKinds() map[string]string {
	return map[string]string{
		"RC": "ricevuta di consegna", "NS": "notifica di scarto", "MC": "notifica di mancata consegna", "NE": "notifica di esito",
		"DT": "notifica di decorrenza termini", "AT": "attestazione di avvenuta trasmissione con impossibilità di recapito",
		"MT": "file dei metadati", "EC": "notifica di esito committente", "SE": "scarto dell'esito committente",
	}
}

// invoiceRoots maps root elements to kinds. Some notifications to private parties have other names than those to public bodies.
var invoiceRoots = map[string]string{
	"RicevutaConsegna": "RC", "NotificaScarto": "NS", "RicevutaScarto": "NS", "NotificaMancataConsegna": "MC",
	"RicevutaImpossibilitaRecapito": "MC", "NotificaEsito": "NE", "NotificaDecorrenzaTermini": "DT", "AttestazioneTrasmissioneFattura": "AT",
	"MetadatiInvioFile": "MT", "FileMetadati": "MT", "NotificaEsitoCommittente": "EC", "ScartoEsitoCommittente": "SE",
}

// ExchangeDomain is the domain that the exchange system sends from.
const ExchangeDomain = "pec.fatturapa.it"

// FromExchange reports whether the certification data name the exchange system as the sender.
func (c *Certification) FromExchange() bool {
	_, domain, _ := strings.Cut(NormalAddress(c.Sender), "@")
	return domain == ExchangeDomain
}

// readInvoices finds notifications in an envelope's message by the names of its parts.
func (m *Message) readInvoices(r io.ReaderAt, t *part.Table) {
	inner := t.Enclosed(m.Postacert)
	if inner < 0 {
		return
	}
	for i, end := inner, endOf(t, inner); i < end; i++ {
		p := &t.Parts[i]
		// A cheap test excludes most parts: the names have underscores, unless they are encoded (RFC 2047, RFC 2231).
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

// invoiceName splits the file name of a notification, such as IT01234567890_00001_RC_001.xml: country and tax code, number of the invoice,
// kind, number of the notification. Signed files end in .p7m, attestations that contain the invoice in .zip.
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

// invoiceNotice lists what is read of a notification. The root has many names, so its end tag does not end a text that lacks its own.
var invoiceNotice = vocabulary{facts: map[string]string{"IdentificativoSdI": "root", "NomeFile": "root"}}

// invoiceReader goes through a notification.
type invoiceReader struct {
	markupReader
	notice *InvoiceNotice
	file   string
}

// read takes what identifies the invoice from the XML of a notification: elements directly below the root. As in daticert.xml, a malformed
// fact costs no other. At most 256 KiB are read.
func (n *InvoiceNotice) read(r io.Reader, size int64) {
	p := invoiceReader{notice: n, markupReader: newMarkupReader(io.LimitReader(r, maxInvoiceXML), size, &invoiceNotice)}
	// Facts read before an error stay.
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
