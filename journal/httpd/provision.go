package httpd

import (
	"io"
	"strings"

	"copialettere/policy"
	"copialettere/policy/archive"
)

// provision serves a change of many mailboxes.
func provision(enable bool) func(*api, *call) error {
	return func(a *api, c *call) error {
		dryRun, err := c.flag("dry_run")
		if err != nil {
			return err
		}
		p := archive.Provision{Name: c.FormValue("from"), Domain: c.FormValue("domain"), Assignments: c.assignments(), Enable: enable, DryRun: dryRun}
		if c.Form.Has("from") {
			p.Lines = c.lines()
		}
		for v, err := range a.b.Archive.Provision(c.Context(), c.who, p) {
			if err != nil {
				return err
			}
			if c.out.write(v) != nil {
				return nil // the client has gone
			}
		}
		return nil
	}
}

// lines returns the body of the request.
func (c *call) lines() io.Reader {
	if c.Body == nil {
		return strings.NewReader("")
	}
	return c.Body
}

// assignments returns the assignments in the parameters set=KEY=VALUE.
func (c *call) assignments() []policy.Assignment {
	c.FormValue("set") // fills c.Form
	var list []policy.Assignment
	for _, text := range c.Form["set"] {
		assignment, err := policy.ParseAssignment(text)
		if err != nil {
			// Set refuses it together with everything else that is wrong, because no key takes an empty value.
			assignment = policy.Assignment{Key: text}
		}
		list = append(list, assignment)
	}
	return list
}

func (a *api) usage(c *call) error {
	return tell(c, a.b.Archive.Usages(c.Context(), c.FormValue("domain")))
}

func (a *api) monthUsage(c *call) error {
	return tell(c, a.b.Archive.MonthUsages(c.Context(), c.mailbox))
}
