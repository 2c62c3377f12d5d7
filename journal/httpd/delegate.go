package httpd

import (
	"bufio"
	"fmt"
	"io"
	"time"

	"copialettere/policy"
)

// maxLogin is how much of a body is read for a password and a code, in bytes.
const maxLogin = 4 << 10

func (a *api) delegates(c *call) error {
	list, err := a.b.Archive.Delegates(c.Context(), c.mailbox)
	if err != nil {
		return err
	}
	for _, one := range list {
		if c.out.write(one) != nil {
			return nil // the client has gone
		}
	}
	return nil
}

func (a *api) addDelegate(c *call) error {
	person, err := c.person()
	if err != nil {
		return err
	}
	until, err := endOf(c.FormValue("until"))
	if err != nil {
		return err
	}
	who := c.who
	if login := c.FormValue("as"); login != "" {
		// Whoever is in as somebody does not become somebody else.
		if who.Role != policy.RoleOperator {
			return fmt.Errorf("as %.100q: %w for %s", login, policy.ErrForbidden, who)
		}
		lines := bufio.NewScanner(io.LimitReader(c.Body, maxLogin))
		lines.Scan()
		password := lines.Text()
		lines.Scan()
		if who, err = a.b.Archive.SignedIn(c.Context(), login, password, lines.Text(), c.mailbox); err != nil {
			return err
		}
	}
	v, err := a.b.Archive.AddDelegate(c.Context(), who, c.mailbox, person, until)
	return c.answer(v, err)
}

func (a *api) revokeDelegate(c *call) error {
	person, err := c.person()
	if err != nil {
		return err
	}
	v, err := a.b.Archive.RevokeDelegate(c.Context(), c.who, c.mailbox, person)
	return c.answer(v, err)
}

// person reads who is to be a delegate: person=ADDR.
func (c *call) person() (policy.Address, error) {
	person, err := policy.ParseAddress(c.FormValue("person"))
	if err == nil && person.Domain == "" {
		err = fmt.Errorf("%w: person: want an address with its domain", errRequest)
	}
	return person, err
}

// endOf reads a time, or a day with which something ends, in the time zone of the machine.
func endOf(text string) (time.Time, error) {
	if day, err := time.ParseInLocation(time.DateOnly, text, time.Local); err == nil {
		return day.AddDate(0, 0, 1), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, fmt.Errorf("%w: until %.100q: want a day as 2027-01-31, or a time as 2027-01-31T12:00:00Z", errRequest, text)
	}
	return at, nil
}
