package httpd

import (
	"slices"
	"time"

	"copialettere/journal"
	"copialettere/policy/pec"
)

// CertificationView is what was found when certified mail, or mail that says that it is, arrived: its certification data, and the result of its
// signature. Others script against its names. What is absent was absent in the message.
type CertificationView struct {
	Type        string          `json:"type,omitempty"` // @tipo of daticert.xml, as written; the same holds for the rest down to events
	Error       string          `json:"error,omitempty"`
	Sender      string          `json:"sender,omitempty"`
	Recipients  []RecipientView `json:"recipients,omitempty"`
	Delivery    string          `json:"delivery,omitempty"`     // the recipient that a receipt is about
	ReceiptKind string          `json:"receipt_kind,omitempty"` // "completa", "breve" or "sintetica"
	Provider    string          `json:"provider,omitempty"`
	Time        *time.Time      `json:"time,omitempty"`
	Identifier  string          `json:"identifier,omitempty"`
	MessageID   string          `json:"message_id,omitempty"`   // the one that the sender's program had set
	ErrorDetail string          `json:"error_detail,omitempty"` // errore-esteso
	Subject     string          `json:"subject,omitempty"`      // oggetto
	Replies     string          `json:"replies,omitempty"`      // risposte: where answers go
	Received    []string        `json:"received,omitempty"`     // ricezione: the recipients that a presa-in-carico is about
	Date        string          `json:"date,omitempty"`         // giorno and ora, as "20/11/2026 10:11:12"; Time is made of it and of Zone
	Zone        string          `json:"zone,omitempty"`         // @zona, as "+0100"
	Events      []string        `json:"events,omitempty"`       // of a REM message
	Evidence    []EvidenceView  `json:"evidence,omitempty"`     // of a REM message, in order
	DataError   string          `json:"data_error,omitempty"`   // why the certification data are not whole

	// OtherDeliveries are further recipients that a receipt is about. Omitted counts the recipients that are not kept because they are too many.
	// Unread is text of daticert.xml that was not taken for a fact: a second value where one is allowed, and what was cut off.
	OtherDeliveries []string      `json:"other_deliveries,omitempty"`
	Omitted         int           `json:"recipients_omitted,omitempty"`
	Unread          []ElementView `json:"unread,omitempty"`

	// Contradictions are the differences between the header, which is not signed, and the certification data.
	Contradictions []ContradictionView `json:"contradictions,omitempty"`
	HeaderConflict bool                `json:"header_conflict,omitempty"` // the header contradicts itself: two classes
	InvoiceNotices []InvoiceNoticeView `json:"invoice_notices,omitempty"`

	SignatureReason string `json:"signature_reason,omitempty"` // why the signature is not verified
	WeakSignature   bool   `json:"weak_signature,omitempty"`   // SHA-1 was used, by the signer or in the chain
	// Revocation is "good", "revoked" or "unknown", and RevocationReason says why it is not good. Absent where no revocation list is configured.
	Revocation       string     `json:"revocation,omitempty"`
	RevocationReason string     `json:"revocation_reason,omitempty"`
	SigningTime      *time.Time `json:"signing_time,omitempty"` // as the signer claims
	Signer           string     `json:"signer,omitempty"`       // subject of the certificate
	IndexedAs        string     `json:"indexed_as,omitempty"`   // the signer's name in the provider index
}

// RecipientView is one recipient of a certified message.
type RecipientView struct {
	Address string `json:"address"`
	Kind    string `json:"kind"` // "certificato" or "esterno"
}

// ElementView is the text of an element of daticert.xml.
type ElementView struct {
	Element string `json:"element"`
	Text    string `json:"text"`
}

// ContradictionView is one difference between the header and the certification data of a message.
type ContradictionView struct {
	Field       string `json:"field"`       // "Subject", "X-Ricevuta" and so on; "postacert.eml From" of the message inside
	Header      string `json:"header"`      // decoded; empty where the field is absent and its absence means something
	Certificate string `json:"certificate"` // what the certification data have in its place
}

// InvoiceNoticeView is a notification of the exchange system for electronic invoices (SdI).
type InvoiceNoticeView struct {
	Kind         string `json:"kind"`                 // "RC", "NS", "MC", "NE", "DT", "AT", "MT", "EC" or "SE"
	Name         string `json:"name"`                 // of that kind
	File         string `json:"file"`                 // as attached
	Part         string `json:"part,omitempty"`       // its number in the part table
	Invoice      string `json:"invoice"`              // the file of the invoice, or the part of File that is the invoice's
	Identifier   string `json:"identifier,omitempty"` // IdentificativoSdI: the exchange system's number of the invoice
	FromExchange bool   `json:"from_exchange"`        // certification data that are believed say that the exchange system sent it
}

// viewCertification returns nil for an entry of ordinary mail. inner is what is known of the message inside certified mail.
func viewCertification(e *journal.Entry) (v *CertificationView, inner pec.Inner) {
	if len(e.Certification) == 0 {
		return nil, inner
	}
	var r pec.Record
	if err := r.UnmarshalBinary(e.Certification); err != nil {
		return &CertificationView{DataError: "what was kept of it cannot be read: " + err.Error()}, inner
	}
	return viewRecord(e, &r), r.Message.InnerOrData()
}

func viewRecord(e *journal.Entry, r *pec.Record) *CertificationView {
	m := &r.Message
	v := &CertificationView{
		DataError: m.DataError, SignatureReason: r.Signature.Reason, WeakSignature: r.Signature.Weak,
		SigningTime: known(r.Signature.SigningTime), IndexedAs: r.Signature.Provider,
		Revocation: string(r.Signature.Revocation), RevocationReason: r.Signature.RevocationReason,
	}
	if chain, err := r.Signature.Certificates(); err == nil && len(chain) > 0 {
		v.Signer = pec.SubjectText(chain[0])
	}
	for _, e := range m.Evidence {
		v.Events = append(v.Events, e.Event)
	}
	v.Events, v.Evidence = slices.Compact(v.Events), viewEvidence(m.Evidence)
	if c := m.Data; c != nil {
		v.Type, v.Error, v.Sender, v.Delivery, v.ReceiptKind = c.Type, c.Error, c.Sender, c.Delivery, c.ReceiptKind
		v.Provider, v.Time, v.Identifier, v.MessageID = c.Provider, known(c.Time), c.Identifier, c.MessageID
		v.ErrorDetail, v.Subject, v.Replies, v.Received, v.Date, v.Zone = c.ErrorDetail, c.Subject, c.Replies, c.Received, c.Date, c.Zone
		for _, one := range c.Recipients {
			v.Recipients = append(v.Recipients, RecipientView{one.Address, one.Kind})
		}
		v.OtherDeliveries, v.Omitted = c.OtherDeliveries, c.Omitted
		for _, one := range c.Unread {
			v.Unread = append(v.Unread, ElementView{one.Name, one.Text})
		}
	}
	v.HeaderConflict = m.Declared.Conflict
	for _, c := range m.Contradictions(e.Subject, e.Date) {
		v.Contradictions = append(v.Contradictions, ContradictionView(c))
	}
	names := pec.InvoiceKinds()
	for _, n := range m.Invoices {
		view := InvoiceNoticeView{Kind: n.Kind, Name: names[n.Kind], File: n.File, Invoice: n.Invoice, Identifier: n.Identifier}
		if n.Part >= 0 && n.Part < len(e.Parts.Parts) {
			view.Part = e.Parts.Number(n.Part)
		}
		view.FromExchange = e.Class == string(pec.PostaCertificata) && m.Data != nil && m.Data.FromExchange()
		v.InvoiceNotices = append(v.InvoiceNotices, view)
	}
	return v
}
