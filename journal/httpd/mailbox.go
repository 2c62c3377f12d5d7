package httpd

import (
	"context"
	"fmt"
	"strings"

	"copialettere/policy"
	"copialettere/policy/archive"
)

func (a *api) mailboxes(c *call) error {
	var missing error
	for v, err := range a.b.Archive.Mailboxes(c.Context(), c.domain) {
		if err != nil {
			return err
		}
		if c.out.write(v) != nil {
			return nil // the client has gone
		}
		if err := v.Missing(); err != nil {
			missing = err
		}
	}
	return missing
}

func (a *api) mailbox(c *call) error {
	v, err := a.b.Archive.Mailbox(c.Context(), c.who, c.mailbox)
	if err != nil {
		return err
	}
	c.out.write(v)
	return v.Missing()
}

func (a *api) settings(c *call) error {
	v, err := a.b.Archive.Mailbox(c.Context(), c.who, c.mailbox)
	if err != nil {
		return err
	}
	for _, s := range v.Settings {
		c.out.write(s)
	}
	return nil
}

func (a *api) previewRetention(c *call) error {
	v, err := a.b.Archive.PreviewRetention(c.Context(), c.mailbox, c.query("retention"))
	return c.answer(v, err)
}

func (a *api) log(c *call) error  { return tell(c, a.b.Archive.Log(c.Context(), c.mailbox)) }
func (a *api) gaps(c *call) error { return tell(c, a.b.Archive.Gaps(c.Context(), c.mailbox)) }

func (a *api) access(c *call) error { return tell(c, a.b.Archive.Accesses(c.Context(), c.mailbox)) }

func (a *api) why(c *call) error {
	return tell(c, a.b.Archive.Why(c.Context(), c.mailbox, c.query("message_id")))
}

// turn serves a change of a mailbox that takes no parameters of its own.
func turn(change func(*archive.Archive, context.Context, policy.Actor, policy.Address) (archive.Mailbox, error)) func(*api, *call) error {
	return func(a *api, c *call) error {
		return c.changed(change(a.b.Archive, c.Context(), c.who, c.mailbox))
	}
}

// changed answers with a mailbox that was changed.
func (c *call) changed(v archive.Mailbox, err error) error {
	if err != nil {
		return err
	}
	c.out.write(v)
	return nil
}

func (a *api) holdMailbox(c *call) error {
	return c.changed(a.b.Archive.HoldMailbox(c.Context(), c.who, c.mailbox, c.body.(*Reason).Reason))
}

func (a *api) disable(c *call) error {
	b := c.body.(*Disable)
	return c.changed(a.b.Archive.Disable(c.Context(), c.who, c.mailbox, b.Confirm, b.Now))
}

func (a *api) confirmNotify(c *call) error {
	b := c.body.(*NoticeConfirmation)
	if b.Confirmed != (b.Code == "") {
		return fmt.Errorf("%w: want the code, or confirmed without a code", errRequest)
	}
	return c.changed(a.b.Archive.ConfirmNotify(c.Context(), c.who, c.mailbox, b.Code))
}

func (a *api) rename(c *call) error {
	to, err := policy.ParseAddress(c.body.(*NewAddress).To)
	if err != nil {
		return err
	}
	return c.changed(a.b.Archive.Rename(c.Context(), c.who, c.mailbox, to))
}

func (a *api) handOver(c *call) error {
	return c.changed(a.b.Archive.HandOver(c.Context(), c.who, c.mailbox, c.body.(*Confirmation).Confirm))
}

func (a *api) set(c *call) error {
	assignments := *c.body.(*Assignments)
	if len(assignments) == 0 {
		return fmt.Errorf("%w: no setting: the keys are %s", errRequest, strings.Join(policy.Keys(), ", "))
	}
	return c.changed(a.b.Archive.Set(c.Context(), c.who, c.mailbox, assignments))
}
