package httpd

import (
	"io"
	"strings"

	"copialettere/policy/archive"
)

// provision serves a change of many mailboxes: of those in the lines of the body, which all lie in the domain that the request is about, or of all of a
// domain, which must then be named.
func provision(enable bool) func(*api, *call) error {
	return func(a *api, c *call) error {
		dryRun, err := c.flag("dry_run")
		if err != nil {
			return err
		}
		query := c.URL.Query()
		p := archive.Provision{
			Name: query.Get("from"), Domain: query.Get("domain"), Assignments: assignmentsOf(query["set"]), Enable: enable, DryRun: dryRun,
		}
		if query.Has("from") {
			p.Lines, p.Domain = c.lines(), c.domain
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

func (a *api) usage(c *call) error {
	return tell(c, a.b.Archive.Usages(c.Context(), c.domain))
}

func (a *api) monthUsage(c *call) error {
	return tell(c, a.b.Archive.MonthUsages(c.Context(), c.mailbox))
}
