package httpd

import (
	"time"

	"copialettere/policy/auth"
)

func (a *api) tokens(c *call) error {
	list, err := a.b.Archive.Tokens(c.Context(), c.FormValue("domain"))
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
	var until time.Time
	if text := c.FormValue("until"); text != "" {
		if until, err = endOf(text); err != nil {
			return err
		}
	}
	v, err := a.b.Archive.AddToken(c.Context(), c.who,
		auth.Token{Name: c.FormValue("name"), Domain: c.FormValue("domain"), Scope: auth.Scope(c.FormValue("scope")), Until: until})
	return c.answer(v, err)
}

func (a *api) revokeToken(c *call) error {
	v, err := a.b.Archive.RevokeToken(c.Context(), c.who, c.FormValue("name"))
	return c.answer(v, err)
}
