package policy

import (
	"context"
	"strings"
	"time"
)

// Person is what the settings hold of an address, whoever it belongs to, beside what the log of its own mailbox says.
type Person struct {
	Mailbox Mailbox // that the address leads to
	SetUp   bool    // there is such a mailbox
	// Receipt is when an acceptance receipt last told whether mail to the address is certified; zero for never.
	Receipt   time.Time
	Certified bool
	// Postmaster are the domains whose configuration names the address as a postmaster.
	Postmaster []string
	// Notified are the other mailboxes whose notices go to the address, or will once it is confirmed, in the order of their names.
	Notified []Address
	// Logged is how many changes of other mailboxes name the address, as their author or in a value, and LoggedIn are these mailboxes.
	Logged   uint64
	LoggedIn []Address
	Oldest   time.Time // of these changes; zero without any
	Newest   time.Time
}

// Person returns what the settings hold of an address. It reads the logs of all mailboxes.
func (p *Policy) Person(ctx context.Context, a Address) (Person, error) {
	l, err := p.lead(ctx, a)
	if err != nil {
		return Person{}, err
	}
	who := Person{SetUp: l.record != nil}
	if who.Mailbox, err = p.Mailbox(ctx, a); err != nil {
		return Person{}, err
	}
	receipt, _, err := decodeRecipient(p.store.Get(ctx, recipientKey(a)))
	if err != nil {
		return Person{}, err
	}
	who.Receipt, who.Certified = receipt.Time, receipt.Certified
	who.Postmaster = p.PostmasterOf(a)
	for m, err := range p.Mailboxes(ctx) {
		if err == nil && m.Archive != l.name {
			err = p.addPerson(ctx, &who, a, m)
		}
		if err != nil {
			return Person{}, err
		}
	}
	return who, nil
}

// addPerson adds what another mailbox holds of an address.
func (p *Policy) addPerson(ctx context.Context, who *Person, a Address, m Mailbox) error {
	if m.Settings.Notify == a || m.Settings.NotifyPending.Address == a {
		who.Notified = append(who.Notified, m.Address)
	}
	text, before := a.String(), who.Logged
	for c, err := range p.Changes(ctx, m.Address) {
		if err != nil {
			return err
		}
		if c.Who != text && !valueNames(c.Before, text) && !valueNames(c.After, text) {
			continue
		}
		who.Logged++
		if who.Oldest.IsZero() || c.Time.Before(who.Oldest) {
			who.Oldest = c.Time
		}
		if c.Time.After(who.Newest) {
			who.Newest = c.Time
		}
	}
	if who.Logged > before {
		who.LoggedIn = append(who.LoggedIn, m.Address)
	}
	return nil
}

// valueNames says whether the value of a setting is an address, or an address that waits for its confirmation.
func valueNames(value, address string) bool {
	return value == address || strings.HasPrefix(value, address+" until ")
}

// WithoutExtension returns an address without the extension that it has by the delimiters of its domain; without one, the address itself.
func (p *Policy) WithoutExtension(a Address) Address {
	base, _ := a.WithoutExtension(p.rules().delimiter(a.Domain))
	return base
}
