package pec

import (
	"slices"
	"time"
)

// Practice is what all receipts with one provider's id say. The zero value with an Identifier is a practice without receipts.
type Practice struct {
	Identifier string // see Links
	Client     string // Message-ID that the sender's program set; "" if no receipt names one
	Sender     string // in the form of NormalAddress
	Subject    string
	States     States      // one Key for each recipient that a receipt is about
	Listed     []string    // the recipients that receipts list, in the form of NormalAddress, sorted
	last       []Recipient // as the last receipt listed them: most list the same
	accepted   time.Time   // of the acceptance or refusal
	first      time.Time   // of the first event
}

// Time returns when the access point accepted or refused the message, else the time of the first other event; zero if receipts have no time.
func (p *Practice) Time() time.Time {
	if p.accepted.IsZero() {
		return p.first
	}
	return p.accepted
}

// maxClaimed is the most recipients that a practice takes from messages that are not believed, and maxClaimedAddress the greatest length of one
// in bytes (RFC 5321 4.5.3.1.3): anybody can send such messages.
const maxClaimed, maxClaimedAddress = 20, 256

// Apply adds what a message with events of this practice says. The order of messages does not change the result.
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

// Claim adds what links a message that is not believed to the sent one, and nothing else: no state, no time, and at most 20 of the recipients
// that such messages list.
func (p *Practice) Claim(m *Message) {
	recipients := p.describe(m)
	for _, r := range recipients[:min(len(recipients), maxClaimed)] {
		if len(p.Listed) < maxClaimed && len(r.Address) <= maxClaimedAddress {
			p.list([]Recipient{r})
		}
	}
}

// describe adds what a message says about the sent one, except the recipients, which it returns.
func (p *Practice) describe(m *Message) []Recipient {
	sender, subject, recipients := m.listed()
	p.Client = firstOf(p.Client, m.Links().Client)
	p.Sender, p.Subject = firstOf(p.Sender, NormalAddress(sender)), firstOf(p.Subject, subject)
	return recipients
}

// list adds recipients to Listed.
func (p *Practice) list(recipients []Recipient) {
	for _, r := range recipients {
		address := NormalAddress(r.Address)
		if i, found := slices.BinarySearch(p.Listed, address); !found {
			p.Listed = slices.Insert(p.Listed, i, address)
		}
	}
}

// earlierTime returns the earlier of two times; a zero one does not count.
func earlierTime(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// firstOf returns the lesser of two strings; an empty one does not count. This makes the order of receipts irrelevant.
func firstOf(a, b string) string {
	if a == "" || b != "" && b < a {
		return b
	}
	return a
}

// listed returns what a receipt says about the message that it is about.
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
