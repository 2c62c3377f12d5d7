package httpd

import (
	"slices"
	"time"

	"copialettere/journal"
	"copialettere/policy/pec"
)

// CertificationView is what was found at arrival of a message that is certified mail, or says that it is: what its certification data
// say, and what came of its signature. Others script against its names. What is absent was absent in the message.
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
	MessageID   string          `json:"message_id,omitempty"` // the one that the sender's program had set
	Events      []string        `json:"events,omitempty"`     // of a REM message
	Evidence    []EvidenceView  `json:"evidence,omitempty"`   // of a REM message, in order
	DataError   string          `json:"data_error,omitempty"` // why the certification data are not whole

	// OtherDeliveries are further recipients that a receipt is about, and Omitted is how many recipients are not kept for their number. Unread
	// is text of daticert.xml that was not taken for a fact: a second value of what may stand once, and what was cut off.
	OtherDeliveries []string      `json:"other_deliveries,omitempty"`
	Omitted         int           `json:"recipients_omitted,omitempty"`
	Unread          []ElementView `json:"unread,omitempty"`

	SignatureReason string     `json:"signature_reason,omitempty"` // why the signature is not verified
	WeakSignature   bool       `json:"weak_signature,omitempty"`   // SHA-1 was used
	SigningTime     *time.Time `json:"signing_time,omitempty"`     // as the signer claims
	Signer          string     `json:"signer,omitempty"`           // subject of the certificate
	IndexedAs       string     `json:"indexed_as,omitempty"`       // the signer's name in the provider index
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

// viewCertification returns nil for an entry of ordinary mail.
func viewCertification(e *journal.Entry) *CertificationView {
	if len(e.Certification) == 0 {
		return nil
	}
	var r pec.Record
	if err := r.UnmarshalBinary(e.Certification); err != nil {
		return &CertificationView{DataError: "what was kept of it can not be read: " + err.Error()}
	}
	v := &CertificationView{
		DataError: r.Message.DataError, SignatureReason: r.Signature.Reason, WeakSignature: r.Signature.Weak,
		SigningTime: known(r.Signature.SigningTime), IndexedAs: r.Signature.Provider,
	}
	if chain, err := r.Signature.Certificates(); err == nil && len(chain) > 0 {
		v.Signer = chain[0].Subject.String()
	}
	for _, e := range r.Message.Evidence {
		v.Events = append(v.Events, e.Event)
	}
	v.Events, v.Evidence = slices.Compact(v.Events), viewEvidence(r.Message.Evidence)
	if c := r.Message.Data; c != nil {
		v.Type, v.Error, v.Sender, v.Delivery, v.ReceiptKind = c.Type, c.Error, c.Sender, c.Delivery, c.ReceiptKind
		v.Provider, v.Time, v.Identifier, v.MessageID = c.Provider, known(c.Time), c.Identifier, c.MessageID
		for _, one := range c.Recipients {
			v.Recipients = append(v.Recipients, RecipientView{one.Address, one.Kind})
		}
		v.OtherDeliveries, v.Omitted = c.OtherDeliveries, c.Omitted
		for _, one := range c.Unread {
			v.Unread = append(v.Unread, ElementView{one.Name, one.Text})
		}
	}
	return v
}
