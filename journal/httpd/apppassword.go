package httpd

func (a *api) appPasswords(c *call) error {
	list, err := a.b.Archive.AppPasswords(c.Context(), c.mailbox)
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

func (a *api) addAppPassword(c *call) error {
	v, err := a.b.Archive.AddAppPassword(c.Context(), c.who, c.mailbox, c.body.(*NewAppPassword).Name)
	return c.answer(v, err)
}

func (a *api) revokeAppPassword(c *call) error {
	v, err := a.b.Archive.RevokeAppPassword(c.Context(), c.who, c.mailbox, c.PathValue("name"))
	return c.answer(v, err)
}

// answer writes the answer of an act.
func (c *call) answer(v any, err error) error {
	if err != nil {
		return err
	}
	return c.out.write(v)
}

func (a *api) secondFactor(c *call) error {
	v, err := a.b.Archive.SecondFactor(c.Context(), c.mailbox)
	return c.answer(v, err)
}

func (a *api) beginSecondFactor(c *call) error {
	v, err := a.b.Archive.BeginSecondFactor(c.Context(), c.who, c.mailbox, c.body.(*Code).Code)
	return c.answer(v, err)
}

func (a *api) confirmSecondFactor(c *call) error {
	v, err := a.b.Archive.ConfirmSecondFactor(c.Context(), c.who, c.mailbox, c.body.(*Code).Code)
	return c.answer(v, err)
}

func (a *api) endSecondFactor(c *call) error {
	v, err := a.b.Archive.EndSecondFactor(c.Context(), c.who, c.mailbox, c.body.(*Code).Code)
	return c.answer(v, err)
}
