package httpd

import (
	"errors"
	"fmt"
	"time"

	"copialettere/journal"
	"copialettere/journal/export"
)

// ExportRequest is the body that says which messages are exported.
type ExportRequest struct {
	Folder string `json:"folder,omitempty"` // "INBOX/2026-11", "INBOX" for all its months, or "2026-11" for all folders of the month
	Class  string `json:"class,omitempty"`  // or several, with commas between
	Since  string `json:"since,omitempty"`  // a time of RFC 3339: not before
	Until  string `json:"until,omitempty"`  // a time of RFC 3339: before
}

// export answers with what an export writes. The bytes of each message are asked for by a request of their own, so they may be asked for in any order,
// and as often as is needed.
func (a *api) export(c *call) error {
	b := c.body.(*ExportRequest)
	s := export.Selection{Folder: b.Folder, Class: b.Class}
	for _, field := range []struct {
		name, text string
		into       *time.Time
	}{{"since", b.Since, &s.Since}, {"until", b.Until, &s.Until}} {
		if field.text == "" {
			continue
		}
		var err error
		if *field.into, err = time.Parse(time.RFC3339, field.text); err != nil {
			return fmt.Errorf("%w: %s %.100q: want a time of RFC 3339, such as 2026-11-29T00:00:00Z", errRequest, field.name, field.text)
		}
	}
	for l, err := range export.List(c.Context(), a.b.Archive, c.who, c.mailbox, s) {
		if errors.Is(err, journal.ErrDamaged) {
			a.b.Logger.Error("left out of an export", "mailbox", c.mailbox, "error", err)
			l, err = export.Line{Unread: a.unread(err)}, nil
		}
		if err != nil {
			return err
		}
		if c.out.write(l) != nil {
			return nil // the client has gone
		}
	}
	return nil
}

// unread says what cannot be read.
func (a *api) unread(err error) string {
	if a.door.public {
		return "A part of the archive cannot be read now and is left out. The log of the server tells which."
	}
	return err.Error()
}
