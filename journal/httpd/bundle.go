package httpd

import (
	"mime"
	"net/http"
	"time"

	"copialettere/journal/export/bundle"
)

// BundleRequest is the body that says what an evidence bundle is of.
type BundleRequest struct {
	Practice bool `json:"practice,omitempty"` // all of the practice that the message belongs to, not the message alone
}

// bundle answers with an evidence bundle, and puts that on record. It ends before its end where something cannot be read on the way.
func (a *api) bundle(c *call) error {
	ref, err := c.ref()
	if err != nil {
		return err
	}
	b, err := bundle.Open(c.Context(), bundle.Options{
		Source: bundle.Of(a.b.Archive, c.who, c.mailbox), Mailbox: c.mailbox.String(), Ref: ref, Practice: c.body.(*BundleRequest).Practice,
		Program: a.b.Version, Now: time.Now(), Zone: time.Local, Logger: a.b.Logger,
	})
	if err != nil {
		return err
	}
	c.w.Header().Set("Content-Type", bundleType)
	c.w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": b.Name()}))
	if err := b.Write(c.Context(), c.w); err != nil {
		// The chunks end without the last one, so the client sees that the ZIP is not whole.
		a.b.Logger.Error("an evidence bundle broke off", "mailbox", ref.Mailbox, "folder", ref.FolderName(), "uid", ref.UID, "error", err)
		panic(http.ErrAbortHandler)
	}
	return nil
}
