package httpd

import (
	"fmt"
	"time"

	"copialettere/policy"
)

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
	b := c.body.(*NewDelegate)
	person, err := personOf(b.Person)
	if err != nil {
		return err
	}
	until, err := endOf(b.Until)
	if err != nil {
		return err
	}
	who := c.who
	if b.As != "" {
		// Whoever is in as somebody does not become somebody else.
		if who.Role != policy.RoleOperator {
			return fmt.Errorf("as %.100q: %w for %s", b.As, policy.ErrForbidden, who)
		}
		if who, err = a.b.Archive.SignedIn(c.Context(), b.As, b.Password, b.Code, c.mailbox); err != nil {
			return err
		}
	}
	v, err := a.b.Archive.AddDelegate(c.Context(), who, c.mailbox, person, until)
	return c.answer(v, err)
}

func (a *api) revokeDelegate(c *call) error {
	person, err := personOf(c.PathValue("person"))
	if err != nil {
		return err
	}
	v, err := a.b.Archive.RevokeDelegate(c.Context(), c.who, c.mailbox, person)
	return c.answer(v, err)
}

// personOf reads who is to be a delegate.
func personOf(text string) (policy.Address, error) {
	person, err := policy.ParseAddress(text)
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
