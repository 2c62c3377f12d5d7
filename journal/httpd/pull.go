package httpd

import (
	"copialettere/journal/export/pull"
	"copialettere/policy"
)

func (a *api) pulls(c *call) error {
	list, err := a.b.Pulls.List(c.Context(), c.mailbox)
	if err != nil {
		return err
	}
	if c.who.Role != policy.RoleOperator {
		for i := range list {
			list[i].HideInner()
		}
	}
	return writeAll(c, list)
}

// writeAll writes objects until there are no more, or the client has gone.
func writeAll[T any](c *call, list []T) error {
	for _, one := range list {
		if c.out.write(one) != nil {
			return nil
		}
	}
	return nil
}

func (a *api) addPull(c *call) error {
	v, err := a.b.Pulls.Add(c.Context(), c.who, c.mailbox, *c.body.(*pull.New))
	return c.answer(v, err)
}

func (a *api) removePull(c *call) error {
	v, err := a.b.Pulls.Remove(c.Context(), c.who, c.mailbox, c.PathValue("name"))
	return c.answer(v, err)
}

func (a *api) testPull(c *call) error {
	list, err := a.b.Pulls.Test(c.Context(), c.who, c.mailbox, c.PathValue("name"))
	if err != nil {
		return err
	}
	return writeAll(c, list)
}

// told writes what became of a message. It ends the import when the client has gone; the same request goes on then.
func (c *call) told(r pull.Result) error { return c.out.write(r) }

func (a *api) runPull(c *call) error {
	_, err := a.b.Pulls.Run(c.Context(), c.who, c.mailbox, c.PathValue("name"), c.told)
	return err
}

func (a *api) pullOnce(c *call) error {
	_, err := a.b.Pulls.Import(c.Context(), c.who, c.mailbox, *c.body.(*pull.Once), c.told)
	return err
}
