package pages

import (
	"strings"
	"time"

	"copialettere/policy"
	"copialettere/policy/pec"
)

// certificate is what certified mail says of itself, in words.
type certificate struct {
	Title          string
	Sentence       string // what the receipt says
	Facts          []fact
	Verdict        string // on the signature
	Good           bool   // the verdict is
	Signature      []fact
	Contradictions []pec.Contradiction
	Conflict       bool // the header names two classes
	Evidence       [][]fact
	Invoices       []invoice
}

// fact is one fact with its name.
type fact struct {
	Name string
	Text string
	Time time.Time // instead of Text
	List []string  // further texts
	Code bool      // an identifier, for programs more than for people
}

// invoice is a notification of the exchange system for electronic invoices.
type invoice struct {
	Kind, Name, File, Invoice string
	FromExchange              bool
}

// facts collects facts, without those that are empty.
type facts struct {
	*visit
	list []fact
}

func (f *facts) text(italian, english, text string) {
	if text != "" {
		f.list = append(f.list, fact{Name: f.t(italian, english), Text: text})
	}
}

func (f *facts) code(italian, english, text string) {
	if text != "" {
		f.list = append(f.list, fact{Name: f.t(italian, english), Text: text, Code: true})
	}
}

func (f *facts) time(italian, english string, t time.Time) {
	if !t.IsZero() {
		f.list = append(f.list, fact{Name: f.t(italian, english), Time: t})
	}
}

func (f *facts) several(italian, english string, texts []string, more int) {
	if len(texts) == 0 {
		return
	}
	if cut := len(texts) - shownPeople; cut > 0 {
		texts, more = texts[:shownPeople], more+cut
	}
	if more > 0 {
		texts = append(texts[:len(texts):len(texts)], f.t("e altri %d", "and %d more", more))
	}
	f.list = append(f.list, fact{Name: f.t(italian, english), List: texts})
}

// certificate returns what the certified message of a page says of itself.
func (v *visit) certificate(o *opened) *certificate {
	m, signature := &o.record.Message, &o.record.Signature
	c := &certificate{
		Title: v.t("Dati di certificazione", "Certification data"), Verdict: signature.Result.Label().In(v.language), Good: signature.Proven(),
		Conflict: m.Declared.Conflict, Contradictions: m.Contradictions(o.entry.Subject, o.entry.Date),
	}
	if m.Data != nil {
		c.Sentence = v.receiptSentence(pec.Class(o.entry.Class), m.Data)
		c.Facts = v.dataFacts(m)
	}
	for i := range m.Evidence {
		c.Evidence = append(c.Evidence, v.evidenceFacts(&m.Evidence[i]))
	}
	if m.DataError != "" {
		f := facts{visit: v, list: c.Facts}
		f.text("Non letti per intero", "Not read whole", m.DataError)
		c.Facts = f.list
	}
	c.Signature = v.signatureFacts(signature)
	names := pec.InvoiceKinds()
	for _, n := range m.Invoices {
		c.Invoices = append(c.Invoices, invoice{n.Kind, names[n.Kind], n.File, n.Invoice, pec.Class(o.entry.Class) == pec.PostaCertificata && m.Data != nil && m.Data.FromExchange()})
	}
	return c
}

// receiptSentence says what a receipt says, if it is believed.
func (v *visit) receiptSentence(class pec.Class, d *pec.Certification) string {
	when := v.t("a un'ora sconosciuta", "at an unknown time")
	if !d.Time.IsZero() {
		when = v.t("il %s", "on %s", timeText(v.language, v.zone, d.Time))
	}
	who := d.Delivery
	if who == "" {
		who = v.t("un destinatario che la ricevuta non nomina", "a recipient that the receipt does not name")
	}
	switch class {
	case pec.Accettazione:
		return v.t("Il gestore del mittente ha accettato il messaggio %s.", "The sender's provider accepted the message %s.", when)
	case pec.NonAccettazione:
		return v.t("Il gestore del mittente non ha accettato il messaggio %s.", "The sender's provider refused the message %s.", when)
	case pec.PresaInCarico:
		return v.t("Il gestore del destinatario ha preso in carico il messaggio %s.", "The recipient's provider took the message %s.", when)
	case pec.AvvenutaConsegna:
		return v.t("Il messaggio è stato consegnato nella casella di %s %s.", "The message was delivered to the mailbox of %s %s.", who, when)
	case pec.ErroreConsegna:
		return v.t("Il messaggio per %s non è stato consegnato: avviso %s.", "The message for %s was not delivered: notice %s.", who, when)
	case pec.PreavvisoErroreConsegna:
		return v.t("Il messaggio per %s non è stato consegnato nei tempi previsti: avviso %s.", "The message for %s was not delivered within the times of the rules: notice %s.", who, when)
	case pec.PostaCertificata:
		return v.t("Il gestore del mittente ha certificato l'invio %s.", "The sender's provider certified the dispatch %s.", when)
	}
	return ""
}

// dataFacts returns what daticert.xml says.
func (v *visit) dataFacts(m *pec.Message) []fact {
	d := m.Data
	f := facts{visit: v}
	f.text("Tipo", "Type", d.Type)
	kind := d.ReceiptKind
	if kind == "" && d.Class() == pec.AvvenutaConsegna {
		kind = pec.ReceiptComplete // RFC 6109 2.1.1.1.2
	}
	if kind != "" {
		italian, english := "Ricevuta", "Receipt"
		if d.Class() != pec.AvvenutaConsegna {
			italian, english = "Ricevuta richiesta", "Receipt asked for"
		}
		f.text(italian, english, pec.ReceiptKindLabel(strings.ToLower(kind)).In(v.language))
	}
	f.text("Mittente", "Sender", d.Sender)
	f.several("Destinatari", "Recipients", v.recipients(d.Recipients), d.Omitted)
	f.text("Consegna a", "Delivery to", d.Delivery)
	f.several("Consegna anche a", "Delivery also to", d.OtherDeliveries, 0)
	f.several("Presa in carico per", "Taken for", d.Received, 0)
	f.text("Risposte a", "Replies to", d.Replies)
	f.text("Oggetto", "Subject", d.Subject)
	if d.Time.IsZero() {
		f.text("Data", "Time", strings.TrimSpace(d.Date+" "+d.Zone))
	}
	f.time("Data", "Time", d.Time)
	if d.Error != "" && d.Error != "nessuno" {
		f.text("Errore", "Error", errorText(d.Error).In(v.language))
	}
	f.text("Dettagli dell'errore", "Details of the error", d.ErrorDetail)
	f.text("Gestore", "Provider", d.Provider)
	f.code("Identificativo", "Identifier", d.Identifier)
	f.code("Identificativo del mittente", "The sender's identifier", d.MessageID)
	for _, one := range d.Unread {
		f.text("Non interpretato: "+one.Name, "Not interpreted: "+one.Name, one.Text)
	}
	return f.list
}

// errorText returns what an @errore of daticert.xml means.
func errorText(code string) policy.Label {
	switch code {
	case "no-dest":
		return policy.Label{Italian: "destinatario sconosciuto", English: "unknown recipient"}
	case "no-dominio":
		return policy.Label{Italian: "dominio sconosciuto", English: "unknown domain"}
	case "virus":
		return policy.Label{Italian: "virus", English: "virus"}
	case "altro":
		return policy.Label{Italian: "altro", English: "other"}
	}
	return policy.Label{Italian: code, English: code}
}

func (v *visit) recipients(list []pec.Recipient) []string {
	var texts []string
	for _, r := range list {
		kind := r.Kind
		switch kind {
		case pec.KindCertified:
			kind = v.t("posta certificata", "certified mail")
		case pec.KindExternal:
			kind = v.t("non certificata: nessuna ricevuta di consegna", "not certified: no delivery receipt")
		}
		texts = append(texts, r.Address+" ("+kind+")")
	}
	return texts
}

// evidenceFacts returns what an evidence of a REM message says.
func (v *visit) evidenceFacts(e *pec.Evidence) []fact {
	f := facts{visit: v}
	f.text("Evento", "Event", e.EventName())
	if c := e.Equivalent(); c != pec.Ordinary {
		f.text("Nella PEC", "In PEC", c.Label().In(v.language))
	}
	if f.time("Data", "Time", e.At); e.At.IsZero() {
		f.text("Data", "Time", e.Time)
	}
	f.text("Gestore", "Provider", e.Issuer)
	f.text("Mittente", "Sender", e.Sender)
	f.several("Destinatari", "Recipients", v.recipients(e.Recipients), 0)
	f.text("Oggetto", "Subject", e.Subject)
	for _, r := range e.Reasons {
		f.text("Motivo", "Reason", strings.TrimSpace(r.Code+" "+strings.Join(r.Details, ", ")))
	}
	f.code("Identificativo", "Identifier", e.Identifier)
	f.code("Messaggio", "Message", e.MessageIdentifier)
	f.text("Non letta per intero", "Not read whole", e.Error)
	return f.list
}

// signatureFacts returns what is known of a signature beside the verdict.
func (v *visit) signatureFacts(s *pec.Signature) []fact {
	f := facts{visit: v}
	f.text("Motivo", "Reason", s.Reason)
	if chain, err := s.Certificates(); err == nil && len(chain) > 0 {
		f.text("Firmato da", "Signed by", pec.SubjectText(chain[0]))
		f.text("Certificato di", "Certificate by", pec.SubjectText(chain[len(chain)-1]))
	}
	f.text("Nell'indice dei gestori", "In the index of providers", s.Provider)
	f.time("Firmato il, secondo chi ha firmato", "Signed on, as the signer says", s.SigningTime)
	f.text("Impronta", "Digest", s.Digest)
	switch s.Revocation {
	case pec.RevocationGood:
		f.text("Revoca", "Revocation", v.t("nessun certificato era revocato", "no certificate was revoked"))
	case pec.RevocationRevoked:
		f.text("Revoca", "Revocation", v.t("un certificato era revocato", "a certificate was revoked"))
	case pec.RevocationUnknown:
		f.text("Revoca", "Revocation", v.t("non si sa", "not known"))
	}
	f.text("Sulla revoca", "On revocation", s.RevocationReason)
	return f.list
}
