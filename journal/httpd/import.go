package httpd

import (
	"fmt"
	"io"
	"time"

	"copialettere/policy/archive"
)

// importMessage imports the message in the body.
func (a *api) importMessage(c *call) error {
	p := archive.Piece{Folder: c.query("folder"), Source: c.query("source"), Quoting: c.query("quoting"), Size: c.ContentLength, Message: NewPatientReader(c.w, c.Body)}
	if p.Size == 0 {
		p.Size = -1 // also of a body of unknown length, where no connection is between
	}
	switch p.Quoting {
	case "", archive.QuotingNone, archive.QuotingUndecidable, archive.QuotingUndone:
	default:
		return fmt.Errorf("%w: quoting %.100q: want none, undecidable or mboxrd", errRequest, p.Quoting)
	}
	if text := c.query("date"); text != "" {
		var err error
		if p.Date, err = time.Parse(time.RFC3339, text); err != nil {
			return fmt.Errorf("%w: date %.100q: want a time of RFC 3339, such as 2026-11-29T00:00:00Z", errRequest, text)
		}
	}
	dry, err := c.flag("dry_run")
	if err != nil {
		return err
	}
	from := c.query("from")
	if from == "" {
		from = p.Source
	}
	importing, err := a.b.Archive.Import(c.Context(), c.who, c.mailbox, archive.ImportOptions{From: from, DryRun: dry})
	if err != nil {
		return err
	}
	kept, err := importing.Keep(c.Context(), p)
	if err != nil {
		return err
	}
	// A client that still sends would not see the answer.
	if _, err := io.CopyN(io.Discard, p.Message, archive.DefaultMaxMessage); err != nil && err != io.EOF {
		return fmt.Errorf("%w: the body does not end", errRequest)
	}
	return c.out.write(kept)
}
