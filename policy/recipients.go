package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"copialettere/journal/kv"
)

// Recipient is what an acceptance receipt says of one recipient.
type Recipient struct {
	Address   string // as written there
	Certified bool
}

// knownRecipient is the stored record of a recipient.
type knownRecipient struct {
	Certified bool      `json:"certified"`
	Time      time.Time `json:"time"` // of the receipt that said so
}

// learnAgain is how much newer a receipt without news must be to be stored. It limits a recipient who is written to all day to one write.
const learnAgain = 24 * time.Hour

// recipientsLock is the lock of everything that Learn writes. It is not a key.
const recipientsLock = "recipients"

// maxLearn is the greatest number of recipients that one Update writes.
const maxLearn = 1000

func recipientKey(a Address) []byte { return []byte("r" + a.String()) }

// Learn stores what an acceptance receipt of that time says of its recipients. The newest of several receipts wins, to a day, in whatever
// order they come. A future time counts as now. Recipients that are not addresses with a domain are ignored. Learn reads before it writes,
// so a receipt without news costs no write.
//
// What it learns can keep later messages out of an archive, so pass in only receipts that your rule of trust accepts. An error comes from
// the store; what was learned before it stays.
func (p *Policy) Learn(ctx context.Context, at time.Time, recipients []Recipient) error {
	at = at.UTC().Round(0)
	if now := time.Now().UTC().Round(0); at.After(now) {
		at = now
	}
	news := make(map[Address]bool)
	for _, r := range recipients {
		a, err := ParseAddress(r.Address)
		if err != nil || a.Domain == "" {
			continue
		}
		stored, found, err := decodeRecipient(p.store.Get(ctx, recipientKey(a)))
		if err != nil {
			return fmt.Errorf("learn of %s: %w", a, err)
		}
		if !found || stored.outdated(r.Certified, at) {
			news[a] = r.Certified
		}
		if len(news) == maxLearn {
			if err := p.learn(ctx, at, news); err != nil {
				return err
			}
			clear(news)
		}
	}
	if len(news) == 0 {
		return nil
	}
	return p.learn(ctx, at, news)
}

func (p *Policy) learn(ctx context.Context, at time.Time, news map[Address]bool) error {
	err := p.store.Update(ctx, []string{recipientsLock}, func(tx kv.Tx) error {
		for a, certified := range news {
			// Another receipt may have come since Learn looked.
			stored, found, err := decodeRecipient(tx.Get(recipientKey(a)))
			if err != nil {
				return err
			}
			if found && !stored.outdated(certified, at) {
				continue
			}
			value, err := json.Marshal(knownRecipient{certified, at})
			if err != nil {
				return err
			}
			tx.Put(recipientKey(a), value)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("learn of recipients: %w", err)
	}
	return nil
}

// outdated reports whether a receipt of that time and content replaces the stored record. If two receipts of one time contradict each
// other, the one that says certified wins.
func (k knownRecipient) outdated(certified bool, at time.Time) bool {
	if certified == k.Certified {
		return at.Sub(k.Time) >= learnAgain
	}
	return at.After(k.Time) || at.Equal(k.Time) && certified
}

func decodeRecipient(b []byte, err error) (k knownRecipient, found bool, _ error) {
	if errors.Is(err, kv.ErrNotFound) {
		return knownRecipient{}, false, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &k)
	}
	return k, err == nil, err
}

// Certified says whether the mailboxes of a domain, given in the form of CanonicalDomain, are certified, and whether that is known. It is
// called for each recipient of a sent message, so it must be quick and safe for concurrent use. Nil knows no domain.
type Certified func(domain string) (certified, known bool)

// SentTo says to whom a message goes, from the paths of its envelope: SentToCertified if at least one recipient is certified, SentToOther if
// every recipient is known not to be, SentToUnknown otherwise. If the domain does not tell, what Learn stored decides. An error comes from
// the store.
func (p *Policy) SentTo(ctx context.Context, recipients []string, domains Certified) (SentTo, error) {
	all := len(recipients) > 0
	var open []Address
	for _, path := range recipients {
		a, err := ParseAddress(path)
		if err != nil || a.Domain == "" {
			all = false
			continue
		}
		certified, known := false, false
		if domains != nil {
			certified, known = domains(a.Domain)
		}
		switch {
		case known && certified:
			return SentToCertified, nil
		case !known:
			open = append(open, a)
		}
	}
	for _, a := range open {
		k, found, err := decodeRecipient(p.store.Get(ctx, recipientKey(a)))
		switch {
		case err != nil:
			return SentToUnknown, fmt.Errorf("recipient %s: %w", a, err)
		case k.Certified:
			return SentToCertified, nil
		case !found:
			all = false
		}
	}
	if all {
		return SentToOther, nil
	}
	return SentToUnknown, nil
}
