package pec

import (
	"slices"
	"strings"
	"time"

	"copialettere/journal/part"
)

// mailScheme begins an address written as a URI (RFC 6068), which REM allows.
const mailScheme = "mailto:"

// EventKind is what happened, according to a receipt.
type EventKind string

// The kinds of event.
const (
	EventAccepted  EventKind = "accepted"     // accettazione; equivalences has REM's names
	EventRefused   EventKind = "not-accepted" // non-accettazione
	EventTaken     EventKind = "taken"        // presa-in-carico
	EventDelivered EventKind = "delivered"    // avvenuta-consegna
	EventFailed    EventKind = "failed"       // errore-consegna
	EventLate      EventKind = "late"         // preavviso-errore-consegna, of 12 or of 24 hours
)

// Key identifies one recipient of one certified message.
type Key struct {
	Identifier string // see Links
	Recipient  string // in the form of NormalAddress
}

// Event is what a receipt says about one recipient.
type Event struct {
	Key
	Kind EventKind
	// Unnamed says that the receipt is about one recipient without naming it. This is one of the recipients that it lists.
	Unnamed       bool
	Time          time.Time // UTC; zero if daticert.xml has none
	RecipientKind string    // KindCertified or KindExternal; "" if the receipt does not list the recipient
	Code          string    // errore; nessuno if nothing went wrong
	Detail        string    // for a delivery the kind of receipt, else errore-esteso or the details of an evidence's reasons
	Final         bool      // of a notice of delay: known to be the last one
}

// Events returns what a receipt says about the recipients of a sent message: all that it lists, or the one that it is about. A receipt about one
// of several recipients that does not say which gives an Unnamed event for each. Other messages give none, nor do receipts whose
// certification data are missing or name no practice. The type is that of daticert.xml, or of a REM message's evidence. The caller first
// decides whether to believe the message.
func (m *Message) Events() []Event {
	if m.Data == nil {
		return m.evidenceEvents()
	}
	c := m.Data
	kind := eventOf(c.Class())
	identifier := m.Links().Identifier
	if identifier == "" || kind == "" {
		return nil
	}
	recipients, named := c.addresses(), true
	switch kind {
	case EventTaken:
		recipients = c.Received
	case EventDelivered, EventFailed, EventLate:
		recipients, named = c.about()
	}
	kinds := c.kinds(recipients)
	detail := c.ErrorDetail
	if kind == EventDelivered {
		detail = strings.ToLower(c.ReceiptKind)
	}
	var events []Event
	for _, address := range recipients {
		events = append(events, Event{Key: Key{identifier, NormalAddress(address)}, Kind: kind, Unnamed: !named, Time: c.Time,
			RecipientKind: kinds(address), Code: strings.ToLower(c.Error), Detail: detail})
	}
	return events
}

// Practices returns the identifiers of the practices that a message belongs to, each once: those of its events, or, for a receipt that lists
// nobody, the one in its certification data. It is faster than Events.
func (m *Message) Practices() []string {
	if m.Data != nil {
		if identifier := m.Links().Identifier; identifier != "" && eventOf(m.Data.Class()) != "" {
			return []string{identifier}
		}
		return nil
	}
	if m.isDispatch() {
		return nil
	}
	var list []string
	for i := range m.Evidence {
		e := &m.Evidence[i]
		if id := e.messageID(); id != "" && e.equivalence() != nil && !slices.Contains(list, id) {
			list = append(list, id)
		}
	}
	return list
}

// kinds returns a function that gives the kind under which the receipt lists a recipient, or "". A receipt about one of thousands should not
// cost normalizing them all.
func (c *Certification) kinds(wanted []string) func(address string) string {
	if len(wanted) > 1 {
		listed := make(map[string]string, len(c.Recipients))
		for _, r := range c.Recipients {
			listed[NormalAddress(r.Address)] = strings.ToLower(r.Kind)
		}
		return func(address string) string { return listed[NormalAddress(address)] }
	}
	return func(address string) string {
		for _, r := range c.Recipients {
			if r.Address == address {
				return strings.ToLower(r.Kind)
			}
		}
		address = NormalAddress(address)
		for _, r := range c.Recipients {
			if NormalAddress(r.Address) == address {
				return strings.ToLower(r.Kind)
			}
		}
		return ""
	}
}

// addresses returns the addresses of all recipients.
func (c *Certification) addresses() []string {
	list := make([]string, len(c.Recipients))
	for i, r := range c.Recipients {
		list[i] = r.Address
	}
	return list
}

// about returns the recipients that a receipt is about: one, by the rules. Without consegna these are all that it lists, and named is false
// unless there is just one.
func (c *Certification) about() (recipients []string, named bool) {
	if c.Delivery != "" {
		return append([]string{c.Delivery}, c.OtherDeliveries...), true
	}
	return c.addresses(), len(c.Recipients) == 1
}

// NormalAddress returns an address in the form in which recipients are compared: without a display name, a comment, or a URI scheme, in lower
// case, since PEC providers ignore case, and with the domain in the canonical form of package policy.
func NormalAddress(address string) string {
	address = strings.TrimSpace(address)
	if len(address) > len(mailScheme) && equalFold(address[:len(mailScheme)], mailScheme) {
		address = address[len(mailScheme):]
	}
	if strings.ContainsAny(address, " \t\r\n<>()\",:;") {
		if list := part.Addresses(address); len(list) == 1 && list[0].Domain != "" {
			address = list[0].Mailbox()
		}
	}
	address = strings.ToLower(strings.Trim(address, "<>"))
	i := strings.LastIndexByte(address, '@')
	return address[:i+1] + domainKey(address[i+1:])
}
