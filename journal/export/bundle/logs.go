package bundle

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"strconv"
	"time"

	"copialettere/journal"
	"copialettere/journal/export"
	"copialettere/policy"
)

// rows is a table in memory, as spreadsheets want it.
type rows struct {
	bytes.Buffer
	csv *csv.Writer
}

func newRows(fields ...string) (*rows, error) {
	r := new(rows)
	r.WriteString("\ufeff") // else spreadsheets take it for Latin-1
	r.csv = csv.NewWriter(&r.Buffer)
	r.csv.UseCRLF = true
	return r, r.csv.Write(fields)
}

// add adds a line. Values that others have chosen are no formulas.
func (r *rows) add(values ...string) {
	for i, v := range values {
		values[i] = export.PlainCell(v)
	}
	r.csv.Write(values) // a buffer takes everything
}

// into adds the table to a bundle.
func (r *rows) into(f *files, name string) error {
	r.csv.Flush()
	if err := r.csv.Error(); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return f.addBytes(name, r.Bytes())
}

// The columns of the extracts of the logs.
var (
	changesColumns  = []string{"time", "who", "key", "before", "after"}
	accessesColumns = []string{"time", "until", "count", "login", "role", "protocol", "by", "app_password"}
)

func timeText(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// noLog is why a bundle has no extract of the logs, for whoever may not look at them.
const noLog = "whoever asked for this bundle may read the messages, but not the logs of the mailbox"

// writeLog adds the extracts of the logs, where whoever asks may see them.
func (w *writer) writeLog() error {
	var refs []journal.Ref
	var since time.Time
	for _, s := range w.shown {
		refs = append(refs, s.ref)
		if at := s.Envelope.Time; since.IsZero() || at.Before(since) {
			since = at
		}
	}
	t, err := newRows(changesColumns...)
	if err != nil {
		return err
	}
	damaged := false
	for c, err := range w.Source.Changes(w.ctx, refs, since) {
		switch {
		case errors.Is(err, policy.ErrForbidden):
			w.manifest.NoLog = noLog
			return nil
		case errors.Is(err, journal.ErrDamaged):
			damaged = true
		case err != nil:
			return fmt.Errorf("log of %s: %w", w.Mailbox, err)
		case w.later(c.Time):
		default:
			t.add(timeText(&c.Time), c.Who, c.Key, c.Before, c.After)
		}
	}
	if damaged {
		w.manifest.Missing = append(w.manifest.Missing, changesName+": a part of the log cannot be read")
	}
	if err := t.into(w.files, changesName); err != nil {
		return err
	}
	return w.writeAccesses(since)
}

// clockStep is how exact the times of the tables are.
const clockStep = time.Second

// later reports whether something has happened since the bundle was begun: it tells of that time, however long the making takes.
func (w *writer) later(at time.Time) bool { return at.After(w.manifest.Created.Add(clockStep)) }

// writeAccesses adds who was let in.
func (w *writer) writeAccesses(since time.Time) error {
	t, err := newRows(accessesColumns...)
	if err != nil {
		return err
	}
	damaged := false
	for one, err := range w.Source.Accesses(w.ctx, since) {
		switch {
		case errors.Is(err, policy.ErrForbidden):
			w.manifest.NoLog = noLog
			return nil
		case errors.Is(err, journal.ErrDamaged):
			damaged = true
			continue
		case err != nil:
			return fmt.Errorf("accesses of %s: %w", w.Mailbox, err)
		case w.later(one.Time):
			continue
		}
		t.add(timeText(&one.Time), timeText(&one.Until), strconv.FormatUint(one.Count, 10), one.Login, string(one.Role), string(one.Protocol), one.By, one.AppPassword)
	}
	if damaged {
		w.manifest.Missing = append(w.manifest.Missing, accessesName+": a part of the log cannot be read")
	}
	return t.into(w.files, accessesName)
}
