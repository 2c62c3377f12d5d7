package httpd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"copialettere/journal"
	"copialettere/journal/export"
	"copialettere/journal/export/jobs"
	"copialettere/journal/export/sincro"
	"copialettere/policy"
)

// ExportRequest is the body that says which messages are exported.
type ExportRequest struct {
	Folder string `json:"folder,omitempty"` // "INBOX/2026-11", "INBOX" for all its months, or "2026-11" for all folders of the month
	Class  string `json:"class,omitempty"`  // or several, with commas between
	Since  string `json:"since,omitempty"`  // a time of RFC 3339: not before
	Until  string `json:"until,omitempty"`  // a time of RFC 3339: before
}

// ZIPRequest is the body that says what is written into a ZIP.
type ZIPRequest struct {
	ExportRequest
	// Sincro is who answers for the ZIP before a service for legal preservation: PIndex.xml (SInCRO, UNI 11386) is then added to it.
	Sincro *sincro.Agent `json:"sincro,omitempty"`
}

// selection returns what the body says.
func (r *ExportRequest) selection() (export.Selection, error) {
	s := export.Selection{Folder: r.Folder, Class: r.Class}
	for _, field := range []struct {
		name, text string
		into       *time.Time
	}{{"since", r.Since, &s.Since}, {"until", r.Until, &s.Until}} {
		if field.text == "" {
			continue
		}
		var err error
		if *field.into, err = time.Parse(time.RFC3339, field.text); err != nil {
			return s, fmt.Errorf("%w: %s %.100q: want a time of RFC 3339, such as 2026-11-29T00:00:00Z", errRequest, field.name, field.text)
		}
	}
	return s, nil
}

// export answers with what an export writes. The bytes of each message are asked for by a request of their own, so they may be asked for in any order,
// and as often as is needed.
func (a *api) export(c *call) error {
	s, err := c.body.(*ExportRequest).selection()
	if err != nil {
		return err
	}
	for l, err := range export.List(c.Context(), a.b.Archive, c.who, c.mailbox, s) {
		if paced := a.pace.Step(c.Context()); paced != nil {
			return paced
		}
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

// errNoJobs says that nobody writes exports in the background.
var errNoJobs = errors.New("exports are written in the background by the daemon, and it does not run: start it, or use \"copialettere export\"")

// exports answers with the exports of the mailbox that the daemon writes or has written.
func (a *api) exports(c *call) error {
	if a.b.Exports == nil {
		return errNoJobs
	}
	list, err := a.b.Exports.List(c.Context(), c.who, c.mailbox)
	if err != nil {
		return err
	}
	for _, one := range list {
		if c.out.write(one) != nil {
			return nil
		}
	}
	return nil
}

// startExport begins an export in the background, and answers with it.
func (a *api) startExport(c *call) error {
	asked := c.body.(*ZIPRequest)
	s, err := asked.selection()
	if err != nil {
		return err
	}
	if asked.Sincro != nil {
		if err := asked.Sincro.Check(); err != nil {
			return fmt.Errorf("%w: sincro: %w", errRequest, err)
		}
	}
	if a.b.Exports == nil {
		return errNoJobs
	}
	one, err := a.b.Exports.Start(c.Context(), c.who, c.mailbox, s, asked.Sincro)
	if err != nil {
		return err
	}
	return c.out.write(one)
}

// ofExport returns a handler that does something with the export in the path, and answers with it.
func ofExport(do func(*jobs.Jobs, context.Context, policy.Actor, policy.Address, string) (jobs.Job, error)) func(*api, *call) error {
	return func(a *api, c *call) error {
		if a.b.Exports == nil {
			return errNoJobs
		}
		one, err := do(a.b.Exports, c.Context(), c.who, c.mailbox, c.PathValue("export"))
		if err != nil {
			return err
		}
		return c.out.write(one)
	}
}

// exportZIP answers with the ZIP of an export, or the part of it that is asked for.
func (a *api) exportZIP(c *call) error {
	if a.b.Exports == nil {
		return errNoJobs
	}
	zip, err := a.b.Exports.Open(c.Context(), c.who, c.mailbox, c.PathValue("export"))
	if err != nil {
		return err
	}
	defer zip.Close()
	ServeExport(c.w, c.Request, zip)
	return nil
}

// ServeExport answers with the ZIP of an export, or the parts of it that the request asks for (RFC 9110 section 14). It cuts the answer off where the
// export goes meanwhile.
func ServeExport(w http.ResponseWriter, r *http.Request, zip *jobs.ZIP) {
	h := w.Header()
	h.Set("Content-Type", zipType)
	h.Set("ETag", `"`+zip.SHA256+`"`)
	watched := &watchedReader{ReadSeeker: zip}
	http.ServeContent(w, r, "", zip.Ended, watched)
	if watched.err != nil {
		panic(http.ErrAbortHandler)
	}
}

// watchedReader remembers that it could not be read: net/http would end the answer as if it were whole.
type watchedReader struct {
	io.ReadSeeker
	err error
}

// Read implements io.Reader.
func (w *watchedReader) Read(b []byte) (int, error) {
	n, err := w.ReadSeeker.Read(b)
	if err != nil && err != io.EOF {
		w.err = err
	}
	return n, err
}
