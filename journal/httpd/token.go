package httpd

import (
	"time"

	"copialettere/policy/auth"
)

func (a *api) tokens(c *call) error {
	list, err := a.b.Archive.Tokens(c.Context(), c.query("domain"))
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

func (a *api) addToken(c *call) (err error) {
	b := c.body.(*NewToken)
	var until time.Time
	if b.Until != "" {
		if until, err = endOf(b.Until); err != nil {
			return err
		}
	}
	v, err := a.b.Archive.AddToken(c.Context(), c.who, auth.Token{Name: b.Name, Domain: b.Domain, Scope: b.Scope, Until: until})
	return c.answer(v, err)
}

func (a *api) revokeToken(c *call) error {
	v, err := a.b.Archive.RevokeToken(c.Context(), c.who, c.PathValue("name"))
	return c.answer(v, err)
}

func (a *api) signInLink(c *call) error {
	v, err := a.b.Archive.MakeSignInLink(c.Context(), c.who, c.mailbox)
	return c.answer(v, err)
}
