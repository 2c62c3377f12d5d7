// Package pec reads Italian certified mail (PEC: RFC 6109, DM 2 November 2005) and its successor, REM (ETSI EN 319 532, AgID REM-Policy-IT).
// It classifies a message at arrival from its part table, reads its certification data or evidences, verifies the provider's signature, checks
// the hashes of brief receipts, tells what a receipt says of each recipient of a sent message, and finds that message. One table, equivalences,
// holds the names that PEC and REM give to the same event.
//
// Two classes are kept apart. The declared class is what the top-level header says; anyone can write it. The verified class is what
// daticert.xml says inside a part that a trusted provider signed. Believed decides between them. A nested message, part of a value, or the
// text for people never decides anything (RFC 6109 3.1 to 3.3: programs may parse only the XML).
//
// Memory is bounded whatever the message: the signed part is digested as a stream, and everything loaded (daticert.xml, evidences, the
// signature, part headers) has a limit. No function follows a URL, resolves an entity, or panics on hostile input.
//
// The stored form of a Record (AppendBinary) is a version byte, 1, and then fields: a tag byte, a uvarint length, and that many bytes.
// Readers skip unknown tags.
package pec

import (
	"strings"

	"copialettere/journal/part"
)

// Class is the kind of a message. Others script against the values: they are those of X-Ricevuta and X-Trasporto (RFC 6109 2.2, 3), except
// Anomalia, REM and Ordinary.
type Class string

// The classes.
const (
	PostaCertificata        Class = "posta-certificata"         // envelope around a certified message
	Anomalia                Class = "anomalia"                  // envelope around mail that is not certified (X-Trasporto: errore)
	Accettazione            Class = "accettazione"              // the sender's provider accepted the message
	NonAccettazione         Class = "non-accettazione"          // it refused the message, for its form or a virus
	PresaInCarico           Class = "presa-in-carico"           // provider to provider: the receiver's provider took the message
	AvvenutaConsegna        Class = "avvenuta-consegna"         // the message lies in the receiver's mailbox
	ErroreConsegna          Class = "errore-consegna"           // it could not be delivered
	PreavvisoErroreConsegna Class = "preavviso-errore-consegna" // no answer after 12 or 24 hours
	RilevazioneVirus        Class = "rilevazione-virus"         // provider to provider: the message holds a virus
	REM                     Class = "rem"                       // European registered mail, whatever its event
	Ordinary                Class = "ordinary"                  // everything else, including unknown values of X-Ricevuta and X-Trasporto
)

// receiptClasses are the values of X-Ricevuta.
var receiptClasses = [...]Class{Accettazione, NonAccettazione, PresaInCarico, AvvenutaConsegna, ErroreConsegna, PreavvisoErroreConsegna,
	RilevazioneVirus}

// receiptClass returns the class that a value of X-Ricevuta names, or Ordinary.
func receiptClass(value string) Class {
	for _, c := range receiptClasses {
		if equalFold(value, string(c)) {
			return c
		}
	}
	return Ordinary
}

// transportClass returns the class that a value of X-Trasporto names, or Ordinary.
func transportClass(value string) Class {
	switch {
	case equalFold(value, "posta-certificata"):
		return PostaCertificata
	case equalFold(value, "errore"):
		return Anomalia
	}
	return Ordinary
}

// Group is one of the six classes that a mailbox filters by.
type Group string

// The groups. A sent message is in one of the last two. Its recipients decide which; the message alone does not tell.
const (
	Certified     Group = "certified"      // received envelopes of certified messages
	Other         Group = "other"          // any other received message
	Acceptance    Group = "acceptance"     // acceptance receipts
	Delivery      Group = "delivery"       // delivery receipts, failures and notices of failure
	SentCertified Group = "sent-certified" // sent to at least one certified recipient
	SentOther     Group = "sent-other"     // sent only to recipients that are not certified
)

// GroupOf returns the group of a received message. A non-accettazione is not an acceptance receipt: it is in Other, like everything that the
// definition of the groups does not name (anomalies, notices between providers, REM).
func GroupOf(c Class) Group {
	switch c {
	case PostaCertificata:
		return Certified
	case Accettazione:
		return Acceptance
	case AvvenutaConsegna, ErroreConsegna, PreavvisoErroreConsegna:
		return Delivery
	}
	return Other
}

// Trust says which class the filter believes.
type Trust string

// The values of the setting pec.trust.
const (
	TrustHeaders   Trust = "headers"   // the hook stands behind a PEC reception point, which lets no forged header through
	TrustSignature Trust = "signature" // only what a trusted provider signed counts
)

// Believed returns the class that counts: the declared one for TrustHeaders, else the verified one (Message.Verified), which is Ordinary
// wherever no trusted signature covers the message.
func Believed(trust Trust, declared, verified Class) Class {
	if trust == TrustHeaders {
		return declared
	}
	return verified
}

const (
	// maxValue is the most bytes kept of a header value.
	maxValue = 1 << 10
	// maxREMFields is the most REM fields kept of a message.
	maxREMFields = 64
)

// Declared holds values of the top-level header: unfolded and trimmed, otherwise as found, at most 1 KiB each, "" where absent. The signature
// does not cover them.
type Declared struct {
	Receipt       string  // X-Ricevuta
	Transport     string  // X-Trasporto
	ReceiptKind   string  // X-TipoRicevuta; absent means completa
	Reference     string  // X-Riferimento-Message-ID: the Message-ID that the sender's program set
	SecurityCheck string  // X-VerificaSicurezza
	Sender        string  // X-Mittente
	From          string  // From, not decoded; several fields are joined by commas
	MessageID     string  // Message-ID
	InReplyTo     string  // In-Reply-To
	References    string  // References
	ReplyTo       string  // Reply-To, not decoded
	REM           []Field // fields named REM-* or X-REM-*; at most 64, those of the parts included
	// Conflict says that the header contradicts itself: X-Ricevuta or X-Trasporto has two different values, or both of them name a class.
	Conflict bool
}

// Field is a header field kept with its name.
type Field struct {
	Name, Value string // as found
	Part        int    // index of the part whose header has it; 0 is the message itself
}

// slot returns where to keep the value of a field, or nil.
func (d *Declared) slot(name []byte) *string {
	for i, want := range [...]string{"x-ricevuta", "x-trasporto", "x-tiporicevuta", "x-riferimento-message-id", "x-verificasicurezza",
		"x-mittente", "from", "message-id", "in-reply-to", "references", "reply-to"} {
		if equalFold(string(name), want) {
			return [...]*string{&d.Receipt, &d.Transport, &d.ReceiptKind, &d.Reference, &d.SecurityCheck,
				&d.Sender, &d.From, &d.MessageID, &d.InReplyTo, &d.References, &d.ReplyTo}[i]
		}
	}
	return nil
}

// Declare reads the class from a top-level header. A value counts only if it is exactly one of the rules' values, in upper or lower case. The
// first of several equal fields counts. A message with both X-Trasporto and X-Ricevuta is an envelope: a provider that puts a foreign receipt
// into an envelope may keep its fields, but nobody turns an envelope into a receipt.
func Declare(header []byte) (Class, Declared) {
	var d Declared
	for f := range part.Fields(header) {
		if f.Name == nil {
			continue
		}
		if isREM(f.Name) {
			d.addREM(header, f, 0)
			continue
		}
		slot := d.slot(f.Name)
		if slot == nil {
			continue
		}
		value := fieldValue(header, f)
		switch {
		case *slot == "":
			*slot = value
		case slot == &d.From:
			// No certificate can stand for two senders.
			*slot = clip(*slot + ", " + value)
		case (slot == &d.Receipt || slot == &d.Transport) && !equalFold(*slot, value):
			d.Conflict = true
		}
	}
	transport, receipt := transportClass(d.Transport), receiptClass(d.Receipt)
	switch {
	case transport != Ordinary:
		d.Conflict = d.Conflict || receipt != Ordinary
		return transport, d
	case receipt != Ordinary:
		return receipt, d
	case len(d.REM) > 0:
		return REM, d
	}
	return Ordinary, d
}

// addREM keeps a field of a REM message, up to maxREMFields.
func (d *Declared) addREM(header []byte, f part.Field, index int) {
	if len(d.REM) < maxREMFields {
		d.REM = append(d.REM, Field{Name: clip(string(f.Name)), Value: fieldValue(header, f), Part: index})
	}
}

// isREM reports whether a field belongs to registered mail (EN 319 532-4; TS 102 640 with X-).
func isREM(name []byte) bool {
	const prefix = "rem-"
	if len(name) > 2 && (name[0] == 'X' || name[0] == 'x') && name[1] == '-' {
		name = name[2:]
	}
	return len(name) > len(prefix) && equalFold(string(name[:len(prefix)]), prefix)
}

// fieldValue returns the value of a header field in the form that Declared keeps.
func fieldValue(header []byte, f part.Field) string {
	return clip(strings.TrimSpace(part.Value(header[f.Start:f.End], string(f.Name))))
}

// clip cuts a value to maxValue bytes.
func clip(value string) string { return value[:min(len(value), maxValue)] }

// equalFold reports whether two strings are equal but for the case of ASCII letters, as long as one of them is ASCII: other letters that fold
// to ASCII (the long s) take more bytes, and the lengths differ.
func equalFold(a, b string) bool { return len(a) == len(b) && strings.EqualFold(a, b) }
