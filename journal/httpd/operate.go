package httpd

import (
	"errors"
	"fmt"

	"copialettere/journal"
	"copialettere/journal/kv"
	"copialettere/policy"
	"copialettere/policy/archive"
)

// ExpireLine is one line of a run of the retention. Lines of progress come first, the report last.
type ExpireLine struct {
	Progress *ExpireProgress       `json:"progress,omitempty"`
	Report   *journal.ExpireReport `json:"report,omitempty"`
	Refused  bool                  `json:"refused,omitempty"` // the run is abnormal, and nothing was deleted
}

// ExpireProgress is how far a run of the retention has come.
type ExpireProgress struct {
	Month   kv.Month        `json:"month"`
	Removed journal.Removed `json:"removed"`
}

func (a *api) runs(c *call) error {
	for run, err := range a.b.Archive.Runs(c.Context()) {
		if err != nil {
			return err
		}
		if c.out.write(run) != nil {
			return nil
		}
	}
	return nil
}

func (a *api) retention(c *call) error {
	request := archive.ExpireRequest{Progress: func(m kv.Month, removed journal.Removed) {
		c.out.write(ExpireLine{Progress: &ExpireProgress{m, removed}})
		c.out.flush()
	}}
	b := c.body.(*RetentionRun)
	request.DryRun, request.Yes = b.DryRun, b.Yes
	report, err := a.b.Archive.Expire(c.Context(), request)
	refused := errors.Is(err, journal.ErrAbnormal)
	if err != nil && !refused && !errors.Is(err, journal.ErrDamaged) {
		return err
	}
	c.out.write(ExpireLine{Report: report, Refused: refused})
	if refused {
		return nil
	}
	return err // it names the months that were passed over
}

// Progress is how far a check of the journal has come.
type Progress struct {
	Month   kv.Month `json:"month"`
	Entries int64    `json:"entries"` // checked so far
}

// VerifyLine is one line of a check of the journal. Lines of progress come first, the report last.
type VerifyLine struct {
	Progress *Progress       `json:"progress,omitempty"`
	Report   *journal.Report `json:"report,omitempty"`
	Error    string          `json:"error,omitempty"`
}

func (a *api) verify(c *call) error {
	report, err := a.b.Archive.Verify(c.Context(), func(m kv.Month, n int64) {
		c.out.write(VerifyLine{Progress: &Progress{m, n}})
		c.out.flush()
	})
	if err != nil {
		return err
	}
	c.out.write(VerifyLine{Report: report})
	return nil
}

func (a *api) checkpoint(c *call) error {
	made, err := a.b.Archive.CheckpointNow(c.Context(), c.who)
	return c.answer(made, err)
}

func (a *api) checkpoints(c *call) error {
	for checkpoint, err := range a.b.Archive.Checkpoints(c.Context(), c.who) {
		if err != nil {
			return err
		}
		if c.out.write(checkpoint) != nil {
			return nil
		}
	}
	return nil
}

// SigningKey is the answer to a request for another signing key.
type SigningKey struct {
	Verifier string `json:"verifier"` // what checks its signatures; no secret
}

func (a *api) newSigningKey(c *call) error {
	verifier, err := a.b.Archive.NewSigningKey(c.Context(), c.who)
	return c.answer(SigningKey{verifier}, err)
}

func (a *api) stats(c *call) error   { return a.foldersOf(c, nil) }
func (a *api) folders(c *call) error { return a.foldersOf(c, &c.mailbox) }

// foldersOf answers with the folders of one mailbox or, with nil, of all.
func (a *api) foldersOf(c *call, mailbox *policy.Address) error {
	list, err := a.b.Archive.Stats(c.Context(), mailbox)
	for _, f := range list {
		c.out.write(f)
	}
	return err
}

func (a *api) privacy(c *call) error {
	var o archive.PrivacyRequest
	var err error
	if o.Others, err = c.flag("others"); err != nil {
		return err
	}
	for h, err := range a.b.Archive.Privacy(c.Context(), c.who, c.mailbox, o) {
		if err != nil {
			return err
		}
		if c.out.write(h) != nil {
			return nil
		}
	}
	return nil
}

func (a *api) checkRoute(c *call) error {
	v, err := a.b.Archive.CheckRoute(c.Context(), c.who, c.mailbox)
	return c.answer(v, err)
}

func (a *api) warnQuota(c *call) error {
	w, err := a.b.Archive.WarnQuota(c.Context(), c.who, c.mailbox, c.body.(*QuotaPercent).Percent)
	return c.answer(w, err)
}

// ForgottenView is a month that was given up.
type ForgottenView struct {
	Forgotten kv.Month `json:"forgotten"`
}

func (a *api) forget(c *call) error {
	m, err := kv.ParseMonth(c.PathValue("month"))
	switch {
	case err != nil:
		err = fmt.Errorf("%w: %w", errRequest, err)
	case c.body.(*Confirmation).Confirm != string(m):
		err = fmt.Errorf("%w: confirm: name the month %s once more", errRequest, m)
	default:
		err = a.b.Archive.Forget(c.Context(), c.who, m)
	}
	if err != nil {
		return err
	}
	c.out.write(ForgottenView{m})
	return nil
}

// VersionView is the version of the program.
type VersionView struct {
	Version string `json:"version"`
}

func (a *api) version(c *call) error {
	c.out.write(VersionView{a.b.Version})
	return nil
}

func (a *api) labels(c *call) error {
	for _, vocabulary := range policy.Vocabularies() {
		for _, named := range policy.Labels(vocabulary) {
			c.out.write(LabelView{vocabulary, policy.LabelGroup(vocabulary, named.Name), named})
		}
	}
	return nil
}
