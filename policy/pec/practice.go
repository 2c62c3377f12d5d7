package pec

import (
	"cmp"
	"strings"
	"time"
)

// Links are the ids by which the messages of a practice find one another, without angle brackets, white space and folds; "" where absent.
// An id has no meaning beyond being equal to another.
//
// All messages of one practice share Identifier; receipts cite Client as well. A sent message as it was archived bears as Own what its
// sender's program had set, the Client of its receipts; or, where the access point had rewritten it before, the Identifier, with the
// former id in Client. Several messages may bear the same Own: the envelope, the message inside, and the sender's copy do.
type Links struct {
	Identifier string   // identificativo of daticert.xml; of an envelope without one, its Message-ID
	Client     string   // msgid of daticert.xml, or else X-Riferimento-Message-ID
	Own        string   // Message-ID
	References []string // In-Reply-To and References: an answer to a certified message names its Identifier there. At most 50
}

// maxReferences is how many ids Links takes from In-Reply-To and References.
const maxReferences = 50

// Links returns the ids of a message. They come from daticert.xml where there is one.
func (m *Message) Links() Links {
	l := Links{Client: normalID(m.Declared.Reference), Own: normalID(m.Declared.MessageID)}
	if m.Data != nil {
		l.Identifier = normalID(m.Data.Identifier)
		if id := normalID(m.Data.MessageID); id != "" {
			l.Client = id
		}
	}
	if l.Identifier == "" && m.Class == PostaCertificata {
		l.Identifier = l.Own
	}
	for _, value := range []string{m.Declared.InReplyTo, m.Declared.References} {
		for id := range strings.FieldsFuncSeq(value, func(r rune) bool { return strings.ContainsRune(" \t\r\n,<>", r) }) {
			if len(l.References) < maxReferences && strings.Contains(id, "@") {
				l.References = append(l.References, id)
			}
		}
	}
	return l
}

// normalID returns the first id of a value.
func normalID(value string) string {
	value = strings.TrimSpace(value)
	if i := strings.IndexByte(value, '<'); i >= 0 {
		value = value[i+1:]
		if i := strings.IndexByte(value, '>'); i >= 0 {
			value = value[:i]
		}
	}
	return strings.Join(strings.Fields(value), "")
}

// EventKind is what a receipt says happened.
type EventKind string

// The kinds of event.
const (
	EventAccepted  EventKind = "accepted"     // accettazione
	EventRefused   EventKind = "not-accepted" // non-accettazione
	EventTaken     EventKind = "taken"        // presa-in-carico
	EventDelivered EventKind = "delivered"    // avvenuta-consegna
	EventFailed    EventKind = "failed"       // errore-consegna
	EventLate      EventKind = "late"         // preavviso-errore-consegna, of 12 or of 24 hours
)

// Key names one recipient of one certified message.
type Key struct {
	Identifier string // as in Links
	Recipient  string // address in the form of NormalAddress
}

// Event is what a receipt says of one recipient.
type Event struct {
	Key
	Kind          EventKind
	Time          time.Time // UTC; zero where daticert.xml has none
	RecipientKind string    // KindCertified or KindExternal; "" where the receipt does not list the recipient
	Code          string    // errore; nessuno where nothing went wrong
	Detail        string    // of a delivery the kind of receipt, else errore-esteso
}

// Events returns what a message says of the recipients of a sent message: of all it lists, or of the one it is about. It is nothing for
// other messages, and for a receipt whose daticert.xml is missing or names no practice. The type is that of daticert.xml. Whether
// the message is to be believed is the caller's to ask before.
func (m *Message) Events() []Event {
	if m.Data == nil {
		return nil
	}
	c := m.Data
	kind, recipients := EventKind(""), []string(nil)
	switch c.Class() {
	case Accettazione:
		kind, recipients = EventAccepted, c.addresses()
	case NonAccettazione:
		kind, recipients = EventRefused, c.addresses()
	case PresaInCarico:
		kind, recipients = EventTaken, c.Received
	case AvvenutaConsegna:
		kind, recipients = EventDelivered, c.about()
	case ErroreConsegna:
		kind, recipients = EventFailed, c.about()
	case PreavvisoErroreConsegna:
		kind, recipients = EventLate, c.about()
	}
	identifier := m.Links().Identifier
	if identifier == "" || kind == "" {
		return nil
	}
	kinds := make(map[string]string, len(c.Recipients))
	for _, r := range c.Recipients {
		kinds[NormalAddress(r.Address)] = strings.ToLower(r.Kind)
	}
	detail := c.ErrorDetail
	if kind == EventDelivered {
		detail = strings.ToLower(c.ReceiptKind)
	}
	var events []Event
	for _, address := range recipients {
		address = NormalAddress(address)
		events = append(events, Event{Key: Key{identifier, address}, Kind: kind, Time: c.Time, RecipientKind: kinds[address],
			Code: strings.ToLower(c.Error), Detail: detail})
	}
	return events
}

// addresses returns the addresses of all recipients.
func (c *Certification) addresses() []string {
	list := make([]string, len(c.Recipients))
	for i, r := range c.Recipients {
		list[i] = r.Address
	}
	return list
}

// about returns the recipients that a receipt is about: one by the rules. Where consegna is missing, it is the only one.
func (c *Certification) about() []string {
	switch {
	case c.Delivery != "":
		return append([]string{c.Delivery}, c.OtherDeliveries...)
	case len(c.Recipients) == 1:
		return c.addresses()
	}
	return nil
}

// NormalAddress returns an address by which recipients are compared: in lower case, since PEC providers do not tell cases apart, and with the
// domain in the canonical form of package policy.
func NormalAddress(address string) string {
	address = strings.ToLower(strings.Trim(strings.TrimSpace(address), "<>"))
	i := strings.LastIndexByte(address, '@')
	return address[:i+1] + domainKey(address[i+1:])
}

// Fact is one thing that is known of a recipient.
type Fact struct {
	Known  bool
	Time   time.Time // UTC; zero where not known
	Code   string    // as in Event
	Detail string    // as in Event
}

// compare puts the facts that are known in an order: by time, those without one last, and then by their text.
func (f Fact) compare(g Fact) int {
	if f.Time.IsZero() != g.Time.IsZero() {
		return -f.Time.Compare(g.Time)
	}
	return cmp.Or(f.Time.Compare(g.Time), strings.Compare(f.Code, g.Code), strings.Compare(f.Detail, g.Detail))
}

// earlier returns the first of two facts.
func earlier(f, g Fact) Fact {
	if !f.Known || g.Known && g.compare(f) < 0 {
		return g
	}
	return f
}

// later returns the last of two facts; those without a time are none where there is another.
func later(f, g Fact) Fact {
	if !f.Known || g.Known && (f.Time.IsZero() && !g.Time.IsZero() || f.Time.IsZero() == g.Time.IsZero() && g.compare(f) > 0) {
		return g
	}
	return f
}

// Outcome is what is known of one recipient of a sent message. It is made of the first fact of each kind, and of the last notice of delay,
// and so does not depend on the order in which receipts come in, nor on how often.
type Outcome struct {
	RecipientKind string // KindCertified, KindExternal, or "" where not known
	Accepted      Fact
	Refused       Fact
	Taken         Fact
	Delivered     Fact // Detail is the kind of receipt
	Failed        Fact
	Late          Fact // first notice of delay
	LateLast      Fact // last notice of delay
	Final         bool // a notice of delay said that it is the last
}

// Merge returns the outcome with one more event.
func (o Outcome) Merge(e Event) Outcome {
	f := Fact{Known: true, Time: e.Time, Code: e.Code, Detail: e.Detail}
	// Certificato is what the DTD takes for granted, esterno was written by somebody.
	o.RecipientKind = max(o.RecipientKind, e.RecipientKind)
	switch e.Kind {
	case EventAccepted:
		o.Accepted = earlier(o.Accepted, f)
	case EventRefused:
		o.Refused = earlier(o.Refused, f)
	case EventTaken:
		o.Taken = earlier(o.Taken, f)
	case EventDelivered:
		o.Delivered = earlier(o.Delivered, f)
	case EventFailed:
		o.Failed = earlier(o.Failed, f)
	case EventLate:
		o.Late = earlier(o.Late, f)
		o.LateLast = later(o.LateLast, f)
		// The header does not tell the notices apart. Providers give the permanent code of RFC 3463 to the last one.
		o.Final = o.Final || strings.HasPrefix(strings.TrimSpace(e.Detail), "5.")
	}
	return o
}

// Status is the state of one recipient. The values are an interface that others script against.
type Status string

// The states.
const (
	StatusUnknown   Status = ""
	StatusAccepted  Status = "accepted"
	StatusRefused   Status = "not-accepted"
	StatusDelivered Status = "delivered"
	StatusFailed    Status = "failed"
	StatusLate12    Status = "late-12h" // no delivery in 12 hours; it may still follow
	StatusLate24    Status = "late-24h" // none in 24 hours: given up
)

const (
	// lastNotice is how long after the acceptance a notice is the last one: it does not come before 22 hours (RFC 6109 3.1.6).
	lastNotice = 22 * time.Hour
	// betweenNotices is how far apart two notices are at least, when they are not repetitions of one.
	betweenNotices = 6 * time.Hour
)

// Status returns the state: a delivery outweighs all else, then a failure, a refusal, and a delay.
func (o Outcome) Status() Status {
	switch {
	case o.Delivered.Known:
		return StatusDelivered
	case o.Failed.Known:
		return StatusFailed
	case o.Refused.Known:
		return StatusRefused
	case o.Late.Known && o.givenUp():
		return StatusLate24
	case o.Late.Known:
		return StatusLate12
	case o.Accepted.Known || o.Taken.Known:
		return StatusAccepted
	}
	return StatusUnknown
}

// givenUp reports whether the last notice of delay is that of 24 hours.
func (o Outcome) givenUp() bool {
	since := func(from, to Fact, least time.Duration) bool {
		return from.Known && !from.Time.IsZero() && !to.Time.IsZero() && to.Time.Sub(from.Time) >= least
	}
	return o.Final || since(o.Late, o.LateLast, betweenNotices) || since(o.Accepted, o.LateLast, lastNotice)
}

// Awaited reports whether a delivery receipt is still to come: the message was accepted, for a recipient who has PEC, and nothing final
// is known. None ever comes for other recipients.
func (o Outcome) Awaited() bool {
	status := o.Status()
	return (status == StatusAccepted || status == StatusLate12) && o.RecipientKind != KindExternal
}

// States holds the outcome of each recipient of any number of sent messages.
type States map[Key]Outcome

// Apply adds what a message says, as Events. The result is the same whatever the order of the messages, and however often one comes.
func (s States) Apply(m *Message) {
	for _, e := range m.Events() {
		s[e.Key] = s[e.Key].Merge(e)
	}
}
