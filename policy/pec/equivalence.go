package pec

import "strings"

// equivalence pairs a receipt of PEC with an evidence of REM that reports the same event.
type equivalence struct {
	event EventKind
	pec   Class
	rem   string // last part of ERDSEventId (ETSI EN 319 522-1, 6)
	// reason, if not empty, is the last part of a reason code that the evidence must have.
	reason   string
	all      bool // about all recipients that it lists, unless it names some
	external bool // about recipients without PEC or REM
}

// equivalences is the one table of what PEC and REM call the same thing: the first row that fits counts. REM events that AgID's REM-Policy-IT
// does not use are read by the definitions of EN 319 522-1. Events not listed here change no state: ReceivedFromNonERDS, which is PEC's anomaly
// envelope, and notifications. Neither does a dispatch, which is the envelope.
//
// A sender's provider that heard nothing in time issues a notice of delay, the last one: it does not know that the message was not
// delivered.
var equivalences = [...]equivalence{
	{event: EventAccepted, pec: Accettazione, rem: "SubmissionAcceptance", all: true},
	{event: EventRefused, pec: NonAccettazione, rem: "SubmissionRejection", all: true},
	{event: EventTaken, pec: PresaInCarico, rem: "RelayAcceptance"},
	{event: EventDelivered, pec: AvvenutaConsegna, rem: "ContentConsignment"},
	{event: EventLate, pec: PreavvisoErroreConsegna, rem: "ContentConsignmentFailure", reason: "S_ERDSP_ReceivedNoDeliveryInfoFromR_ERDSP"},
	{event: EventLate, pec: PreavvisoErroreConsegna, rem: "RelayFailure", reason: "S_ERDSP_ReceivedNoRelayAcceptanceInfoFromR_ERDSP"},
	{event: EventFailed, pec: ErroreConsegna, rem: "ContentConsignmentFailure"},
	{event: EventFailed, pec: ErroreConsegna, rem: "RelayFailure"},
	{event: EventFailed, pec: ErroreConsegna, rem: "RelayRejection"},
	{event: EventFailed, pec: ErroreConsegna, rem: "ConsignmentRejection"},
	{event: EventFailed, pec: ErroreConsegna, rem: "AcceptanceRejectionExpiry"},
	{event: EventAccepted, pec: Accettazione, rem: "RelayToNonERDS", external: true},
	{event: EventFailed, pec: ErroreConsegna, rem: "RelayToNonERDSFailure", external: true},
}

// eventOf returns the event that a receipt of PEC reports, or "".
func eventOf(c Class) EventKind {
	for i := range equivalences {
		if equivalences[i].pec == c {
			return equivalences[i].event
		}
	}
	return ""
}

// equivalence returns the row that fits the evidence, or nil.
func (e *Evidence) equivalence() *equivalence {
	event := lastSegment(e.Event)
	for i := range equivalences {
		row := &equivalences[i]
		if equalFold(event, row.rem) && (row.reason == "" || e.hasReason(row.reason)) {
			return row
		}
	}
	return nil
}

func (e *Evidence) hasReason(code string) bool {
	for _, r := range e.Reasons {
		if equalFold(lastSegment(r.Code), code) {
			return true
		}
	}
	return false
}

// Equivalent returns the class of PEC whose receipts report the same event, or Ordinary if there is none.
func (e *Evidence) Equivalent() Class {
	if row := e.equivalence(); row != nil {
		return row.pec
	}
	return Ordinary
}

// evidenceEvents returns the events that the evidences of a REM message report. A dispatch has none: its evidences are for its recipients, and
// say nothing of a message that the mailbox sent.
func (m *Message) evidenceEvents() []Event {
	if m.isDispatch() {
		return nil
	}
	var events []Event
	for i := range m.Evidence {
		events = append(events, m.Evidence[i].events()...)
	}
	return events
}

// isDispatch reports whether a REM message delivers a message to its recipients.
func (m *Message) isDispatch() bool {
	if m.Postacert >= 0 {
		return true
	}
	for _, f := range m.Declared.REM {
		if equalFold(f.Name, "REM-Section-Type") && equalFold(f.Value, "rem_message/original") ||
			equalFold(f.Name, "REM-MessageType") && equalFold(lastSegment(f.Value), "dispatch") {
			return true
		}
	}
	return false
}

func (e *Evidence) events() []Event {
	row, identifier := e.equivalence(), e.messageID()
	if row == nil || identifier == "" {
		return nil
	}
	about, named := e.about(row.all)
	code, detail := e.reason()
	if row.event == EventDelivered {
		detail = "" // REM does not have PEC's kinds of delivery receipt
	}
	var events []Event
	for _, r := range about {
		kind := strings.ToLower(r.Kind)
		if row.external && named {
			kind = KindExternal
		}
		events = append(events, Event{Key: Key{identifier, NormalAddress(r.Address)}, Kind: row.event, Unnamed: !named, Time: e.At,
			RecipientKind: kind, Code: code, Detail: detail, Final: row.event == EventLate})
	}
	return events
}

// about returns the recipients that the evidence is about. Named is false if it is about one of them without saying which.
func (e *Evidence) about(all bool) (recipients []Recipient, named bool) {
	for _, n := range e.RefersTo {
		if n >= 1 && n <= len(e.Recipients) {
			recipients = append(recipients, e.Recipients[n-1])
		}
	}
	if len(recipients) > 0 {
		return recipients, true
	}
	return e.Recipients, all && len(e.RefersTo) == 0 || len(e.Recipients) == 1
}

// reason returns the reasons as shown to people: the names of the codes, and the details.
func (e *Evidence) reason() (code, detail string) {
	var codes, details []string
	for _, r := range e.Reasons {
		codes = append(codes, lastSegment(r.Code))
		details = append(details, r.Details...)
	}
	return strings.Join(codes, ", "), strings.Join(details, " ")
}

// lastSegment returns the last part of a URI.
func lastSegment(uri string) string { return uri[strings.LastIndexAny(uri, "/#")+1:] }

// EventName returns the last part of the event's URI, such as "ContentConsignment".
func (e *Evidence) EventName() string { return lastSegment(e.Event) }
