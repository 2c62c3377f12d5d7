package pages

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"time"

	"copialettere/journal"
	"copialettere/journal/export"
	"copialettere/policy/archive"
)

// selectedZIP writes messages of an archive into a ZIP as they are read: see export.ZIP. Times are those of the reader's zone.
type selectedZIP struct {
	to           io.Writer
	reader       *archive.Reader
	gaps         iter.Seq2[archive.Gap, error]
	zone         *time.Location
	mailbox      string
	log          *slog.Logger
	since, until time.Time // of which the gaps are to be told; zero: the months of the messages

	out *export.ZIP
}

// write writes the ZIP of counted messages. With an error the ZIP is not whole.
func (b *selectedZIP) write(ctx context.Context, c counted) error {
	b.out = export.NewZIP(b.to, b.zone)
	for _, m := range c.passed.Months() {
		b.out.MissOther(fmt.Sprintf("%s: the month cannot be read", m))
	}
	for _, s := range c.folders {
		for uid := range s.UIDs.Each() {
			if err := b.message(ctx, journal.Ref{Month: s.Month, Folder: s.Folder, UID: uid}); err != nil {
				return err
			}
		}
	}
	return b.out.Close(b.gapsOf(c))
}

// message adds a message. One that cannot be read is noted as missing; one that is gone is not: it was deleted or moved meanwhile.
func (b *selectedZIP) message(ctx context.Context, ref journal.Ref) error {
	e, body, err := b.reader.Message(ctx, ref)
	switch {
	case errors.Is(err, journal.ErrNotFound):
		return nil
	case errors.Is(err, journal.ErrDamaged) && e == nil:
		b.out.MissOther(ref.FolderName() + " " + uidText(ref.UID))
		return nil
	case errors.Is(err, journal.ErrDamaged):
		return b.out.Miss(export.NewMessage(e))
	case err != nil:
		return err
	}
	// Read it through before its file begins, so no file ever holds a part of a message.
	digest := sha256.New()
	if _, err := body.WriteTo(digest); err != nil || journal.Digest(digest.Sum(nil)) != e.SHA256 {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		b.log.Error("message not read for a ZIP", "mailbox", b.mailbox, "folder", ref.FolderName(), "uid", ref.UID, "error", err)
		return b.out.Miss(export.NewMessage(e))
	}
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return err
	}
	return b.out.Add(export.NewMessage(e), body)
}

// gapsOf yields the gaps of the time of counted messages.
func (b *selectedZIP) gapsOf(c counted) iter.Seq2[archive.Gap, error] {
	since, until := b.since, b.until
	if since.IsZero() && until.IsZero() && len(c.folders) > 0 {
		since, until = c.folders[0].Month.Start(), c.folders[len(c.folders)-1].Month.Next().Start()
	}
	return func(yield func(archive.Gap, error) bool) {
		for g, err := range b.gaps {
			if (err != nil || export.GapWithin(&g, since, until)) && !yield(g, err) {
				return
			}
		}
	}
}
