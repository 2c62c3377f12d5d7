package pec

import (
	"slices"
	"time"
)

// Practice is what the receipts with one provider's id say together. The zero value with an Identifier is one without receipts.
type Practice struct {
	Identifier string
	Client     string // Message-ID that the sender's program had set; "" where no receipt names one
	Sender     string // as NormalAddress
	Subject    string
	States     States      // one Key for each recipient of which a receipt tells
	Listed     []string    // the recipients that receipts list, as NormalAddress, sorted
	last       []Recipient // that the last receipt listed: most list the same
	accepted   time.Time   // of the acceptance or refusal
	first      time.Time   // of the first event
}

// Time returns when the access point took or refused the message, or else when the first of the other events was; zero where receipts have no
// time.
func (p *Practice) Time() time.Time {
	if p.accepted.IsZero() {
		return p.first
	}
	return p.accepted
}

// maxClaimed is how many recipients a practice takes from messages that are not believed, and maxClaimedAddress how long they may be (RFC 5321
// 4.5.3.1.3): anybody can send such messages.
const maxClaimed, maxClaimedAddress = 20, 256

// Apply adds what a message with events of this practice says. The result does not depend on the order.
func (p *Practice) Apply(m *Message) {
	if recipients := p.describe(m); !slices.Equal(recipients, p.last) {
		p.last = recipients
		p.list(recipients)
	}
	if p.States == nil {
		p.States = make(States)
	}
	for _, e := range m.Events() {
		if e.Identifier != p.Identifier {
			continue
		}
		p.States[e.Key] = p.States[e.Key].Merge(e)
		if e.Kind == EventAccepted || e.Kind == EventRefused {
			p.accepted = earlierTime(p.accepted, e.Time)
		}
		p.first = earlierTime(p.first, e.Time)
	}
}

// Claim adds what leads from a message that is not believed to the sent one, and nothing else: no state, no time, and of the recipients
// that such messages list the first 20.
func (p *Practice) Claim(m *Message) {
	recipients := p.describe(m)
	for _, r := range recipients[:min(len(recipients), maxClaimed)] {
		if len(p.Listed) < maxClaimed && len(r.Address) <= maxClaimedAddress {
			p.list([]Recipient{r})
		}
	}
}

// describe adds what a message says of the sent one, save its recipients, and returns these.
func (p *Practice) describe(m *Message) []Recipient {
	sender, subject, recipients := m.listed()
	p.Client = firstOf(p.Client, m.Links().Client)
	p.Sender, p.Subject = firstOf(p.Sender, NormalAddress(sender)), firstOf(p.Subject, subject)
	return recipients
}

// list adds recipients to those that are listed.
func (p *Practice) list(recipients []Recipient) {
	for _, r := range recipients {
		address := NormalAddress(r.Address)
		if i, found := slices.BinarySearch(p.Listed, address); !found {
			p.Listed = slices.Insert(p.Listed, i, address)
		}
	}
}

// earlierTime returns the earlier of two times, of those that are known.
func earlierTime(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// firstOf returns the value that comes first in the order of texts, of those that are not empty, so that the order of receipts does not matter.
func firstOf(a, b string) string {
	if a == "" || b != "" && b < a {
		return b
	}
	return a
}

// listed returns what a receipt says of the message that it is about.
func (m *Message) listed() (sender, subject string, recipients []Recipient) {
	if m.Data != nil {
		return m.Data.Sender, m.Data.Subject, m.Data.Recipients
	}
	for i := range m.Evidence {
		e := &m.Evidence[i]
		sender, subject = firstOf(sender, e.Sender), firstOf(subject, e.Subject)
		recipients = append(recipients, e.Recipients...)
	}
	return sender, subject, recipients
}
