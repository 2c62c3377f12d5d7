package notice

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"copialettere/journal/kv"
	"copialettere/policy"
)

// Limits of the codes that confirm an address.
const (
	codeLength = 10 // characters, of which there are 32
	maxGuesses = 5  // wrong codes for one pending address
	keptCodes  = 2  // a mail with a code whose outcome was unknown is repeated with a new code; both are good
)

// codeAlphabet has the characters of a code: those that cannot be taken for one another.
const codeAlphabet = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"

// ErrCode means that a code does not confirm the address. The error that wraps it says why, and what to do.
var ErrCode = errors.New("the address is not confirmed")

// sentCodes are the codes sent to the pending address of a mailbox.
type sentCodes struct {
	To      string    `json:"to"`
	Until   time.Time `json:"until"` // of the pending address: set anew, it needs a new code
	Codes   [][]byte  `json:"codes"` // SHA-256 of each
	Guesses int       `json:"wrong"` // wrong codes so far
}

func codeKey(mailbox string) []byte { return []byte("wc" + mailbox) }

// newCode returns a random code.
func newCode() string {
	var b [codeLength]byte
	rand.Read(b[:])
	for i := range b {
		b[i] = codeAlphabet[b[i]%byte(len(codeAlphabet))]
	}
	return string(b[:])
}

// shownCode writes a code as people see it.
func shownCode(code string) string {
	if code == "" {
		return ""
	}
	return code[:codeLength/2] + "-" + code[codeLength/2:]
}

// hashCode returns what is stored of a code, whatever way it was typed in.
func hashCode(code string) []byte {
	code = strings.Map(func(r rune) rune {
		if r == '-' || r == ' ' {
			return -1
		}
		return r
	}, strings.ToUpper(code))
	hash := sha256.Sum256([]byte(code))
	return hash[:]
}

func readCodes(tx kv.Tx, mailbox string) (*sentCodes, error) {
	c := new(sentCodes)
	b, err := tx.Get(codeKey(mailbox))
	if errors.Is(err, kv.ErrNotFound) {
		return c, nil
	}
	if err == nil {
		err = json.Unmarshal(b, c)
	}
	return c, err
}

func (c *sentCodes) write(tx kv.Tx, mailbox string) error {
	b, err := json.Marshal(c)
	if err == nil {
		tx.Put(codeKey(mailbox), b)
	}
	return err
}

// note stores the code that a notice is going to bring.
func (q *Queue) noteCode(tx kv.Tx, w *waiting) error {
	c, err := readCodes(tx, w.Mailbox)
	if err != nil {
		return err
	}
	if c.To != w.To || !c.Until.Equal(w.Due) {
		*c = sentCodes{To: w.To, Until: w.Due}
	}
	c.Codes = append(c.Codes, hashCode(w.code))
	c.Codes = c.Codes[max(0, len(c.Codes)-keptCodes):]
	return c.write(tx, w.Mailbox)
}

// ForgetCodes removes the codes of addresses that were not confirmed in time from a settings store, for all mailboxes, and returns of how many mailboxes
// they were. They confirm nothing any more.
func ForgetCodes(ctx context.Context, settings kv.Store, now time.Time) (removed int, err error) {
	over := func(value []byte) bool {
		var c sentCodes
		return json.Unmarshal(value, &c) == nil && !now.Before(c.Until)
	}
	var mailboxes []string
	for p, err := range settings.Scan(ctx, codeKey(""), []byte("wd")) {
		if err != nil {
			return 0, fmt.Errorf("forget codes: %w", err)
		}
		if over(p.Value) {
			mailboxes = append(mailboxes, string(p.Key[len(codeKey("")):]))
		}
	}
	for _, mailbox := range mailboxes {
		err := settings.Update(ctx, []string{historyLock(mailbox)}, func(tx kv.Tx) error {
			value, err := tx.Get(codeKey(mailbox))
			if err == nil && over(value) {
				tx.Delete(codeKey(mailbox))
			}
			if errors.Is(err, kv.ErrNotFound) {
				return nil
			}
			return err
		})
		if err != nil {
			return removed, fmt.Errorf("forget the codes of %s: %w", mailbox, err)
		}
		removed++
	}
	return removed, nil
}

// CheckCode returns nil if a code was sent to the pending address of a mailbox. It counts wrong codes durably before it answers, and takes none after
// a few. Otherwise the error wraps ErrCode or policy.ErrNotPending, or comes from the store.
func (n *Pump) CheckCode(ctx context.Context, mailbox string, pending policy.Pending, code string) error {
	if n == nil {
		return fmt.Errorf("%w: no code was sent, because the configuration has no [notices]", ErrCode)
	}
	if pending == (policy.Pending{}) {
		return policy.ErrNotPending
	}
	var answer error
	err := n.queue.update(ctx, []string{historyLock(mailbox)}, func(tx kv.Tx) error {
		answer = nil
		c, err := readCodes(tx, mailbox)
		switch {
		case err != nil:
			return err
		case c.To != pending.Address.String() || !c.Until.Equal(pending.Until):
			answer = fmt.Errorf("%w: the code for %s was not sent yet", ErrCode, pending.Address)
			return nil
		case c.Guesses >= maxGuesses:
			answer = fmt.Errorf("%w: too many wrong codes: set the address again for a new code", ErrCode)
			return nil
		}
		hash := hashCode(code)
		for _, sent := range c.Codes {
			if subtle.ConstantTimeCompare(sent, hash) == 1 {
				return nil
			}
		}
		c.Guesses++
		answer = fmt.Errorf("%w: that is not the code sent to %s; %d more tries", ErrCode, pending.Address, maxGuesses-c.Guesses)
		return c.write(tx, mailbox)
	})
	return errors.Join(err, answer)
}
