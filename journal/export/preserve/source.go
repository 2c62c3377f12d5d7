package preserve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"copialettere/journal"
	"copialettere/journal/export"
	"copialettere/policy/archive"
)

// source is the certified mail of a mailbox of a day: see export.Source.
type source struct {
	*maker
	since, until time.Time
	pace         *archive.Pace
}

// any reports whether there is any such mail, or something that cannot be read and may be.
func (s *source) any(ctx context.Context) (bool, error) {
	for e, err := range s.Archive.ArrivedIn(ctx, s.mailbox.Address, s.since, s.until) {
		if errors.Is(err, journal.ErrDamaged) {
			return true, nil
		}
		if err != nil || archive.Preservable(e) {
			return err == nil, err
		}
	}
	return false, nil
}

// Plan implements export.Source.
func (s *source) Plan(ctx context.Context) iter.Seq2[export.Line, error] {
	return func(yield func(export.Line, error) bool) {
		for e, err := range s.Archive.ArrivedIn(ctx, s.mailbox.Address, s.since, s.until) {
			var l export.Line
			switch {
			case errors.Is(err, journal.ErrDamaged):
				s.service.log.Error("left out of a package for legal preservation", "mailbox", s.mailbox.Address.String(), "error", err)
				err = fmt.Errorf("a part of the archive: %w", export.ErrUnreadable)
			case err != nil:
			case !archive.Preservable(e):
				continue
			default:
				l.Message = export.NewMessage(e)
				err = s.pace.Step(ctx)
			}
			if !yield(l, err) {
				return
			}
		}
		for g, err := range s.Archive.Gaps(ctx, s.mailbox.Address) {
			if err == nil && !export.GapWithin(&g, s.since, s.until) {
				continue
			}
			if errors.Is(err, journal.ErrDamaged) {
				err = fmt.Errorf("some gaps: %w", export.ErrUnreadable)
			}
			if !yield(export.Line{Gap: &g}, err) {
				return
			}
		}
	}
}

// Copy implements export.Source.
func (s *source) Copy(ctx context.Context, m *export.Message, to io.Writer) error {
	folder, month, err := journal.ParseFolder(m.Folder)
	if err != nil {
		return err
	}
	_, body, err := s.Archive.Message(ctx, journal.Ref{Mailbox: s.mailbox.Address.String(), Month: month, Folder: folder, UID: m.UID})
	if err == nil {
		_, err = body.WriteTo(s.pace.Writer(ctx, to))
	}
	switch {
	case errors.Is(err, journal.ErrNotFound):
		return export.ErrGone
	case errors.Is(err, journal.ErrDamaged):
		s.service.log.Error("message not read for legal preservation", "mailbox", m.Mailbox, "folder", m.Folder, "uid", m.UID, "error", err)
		return fmt.Errorf("%w: %w", export.ErrUnreadable, err)
	}
	return err
}
