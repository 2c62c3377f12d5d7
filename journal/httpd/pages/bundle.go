package pages

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"strconv"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"

	"copialettere/journal"
	"copialettere/journal/export"
	"copialettere/journal/part"
	"copialettere/policy/archive"
	"copialettere/policy/pec"
)

// bundle writes messages of an archive into a ZIP as they are read. Whatever their number it holds one message's pieces in memory, and at most
// maxIndex of the index.
//
//	INBOX/2026-11/20261129-101112_bruno_Subject_7.eml   a message: arrival in the reader's zone, sender, subject, UID
//	index.csv, index-2.csv, ...                         what is known of each, with its SHA-256
//	gaps.csv                                            the gaps of that time
//	INCOMPLETE.txt                                      only where something could not be read: what
//
// Tables are in UTF-8 with a byte order mark, as spreadsheets want it, with the names of fields that the API has.
type bundle struct {
	to           io.Writer
	reader       *archive.Reader
	gaps         iter.Seq2[archive.Gap, error]
	zone         *time.Location
	mailbox      string
	log          *slog.Logger
	since, until time.Time // of which the gaps are to be told; zero: the months of the messages

	out     *zip.Writer
	now     time.Time
	folders map[string]string // their names in the ZIP
	index   bytes.Buffer
	indexes int
	rows    *csv.Writer
	missing []string
}

// maxIndex is how many bytes of an index are held before a new one begins.
const maxIndex = 4 << 20

// mark is the byte order mark of UTF-8.
const mark = "\ufeff"

var indexFields = []string{"file", "mailbox", "direction", "folder", "uid", "time", "date", "mail_from", "rcpt_to", "from", "to", "subject", "inner_from", "inner_subject",
	"message_id", "class", "signature", "state", "size", "sha256"}

// write writes the ZIP of counted messages. With an error the ZIP is not whole.
func (b *bundle) write(ctx context.Context, c counted) error {
	b.out, b.now, b.folders = zip.NewWriter(b.to), time.Now(), make(map[string]string)
	b.out.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestSpeed) })
	b.beginIndex()
	for _, m := range c.passed.Months() {
		b.missing = append(b.missing, fmt.Sprintf("%s: the month cannot be read", m))
	}
	for _, s := range c.folders {
		for uid := range s.UIDs.Each() {
			if err := b.message(ctx, journal.Ref{Month: s.Month, Folder: s.Folder, UID: uid}); err != nil {
				return err
			}
		}
	}
	if err := b.endIndex(); err != nil {
		return err
	}
	if err := b.writeGaps(c); err != nil {
		return err
	}
	if len(b.missing) > 0 {
		text := "Not everything that was asked for could be read. The operator is told.\nNon tutto si è potuto leggere. Il gestore è avvisato.\n\n" + strings.Join(b.missing, "\n") + "\n"
		if err := b.file("INCOMPLETE.txt", strings.NewReader(text)); err != nil {
			return err
		}
	}
	return b.out.Close()
}

// message adds a message. One that cannot be read is noted as missing; one that is gone is not: it was deleted or moved meanwhile.
func (b *bundle) message(ctx context.Context, ref journal.Ref) error {
	e, body, err := b.reader.Message(ctx, ref)
	switch {
	case errors.Is(err, journal.ErrNotFound):
		return nil
	case errors.Is(err, journal.ErrDamaged):
		b.miss(ref)
		return nil
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
		b.miss(ref)
		return nil
	}
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return err
	}
	name := b.name(e)
	w, err := b.out.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: zipTime(e.Dated().In(b.zone))})
	if err != nil {
		return err
	}
	if _, err := body.WriteTo(w); err != nil {
		return err
	}
	return b.row(e, name)
}

func (b *bundle) miss(ref journal.Ref) {
	b.missing = append(b.missing, ref.FolderName()+" "+uidText(ref.UID))
}

// file adds a file beside the messages.
func (b *bundle) file(name string, from io.Reader) error {
	w, err := b.out.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: zipTime(b.now.In(b.zone))})
	if err == nil {
		_, err = io.Copy(w, from)
	}
	return err
}

// zipTime returns a time that the two fields of a ZIP can hold: those before 1980 and after 2107 would be read as others.
func zipTime(t time.Time) time.Time {
	return t.AddDate(min(max(t.Year(), 1980), 2107)-t.Year(), 0, 0)
}

func (b *bundle) beginIndex() {
	b.index.Reset()
	b.index.WriteString(mark)
	b.indexes++
	b.rows = csv.NewWriter(&b.index)
	b.rows.UseCRLF = true
	b.rows.Write(indexFields)
}

func (b *bundle) endIndex() error {
	b.rows.Flush()
	name := "index.csv"
	if b.indexes > 1 {
		name = "index-" + strconv.Itoa(b.indexes) + ".csv"
	}
	return b.file(name, &b.index)
}

// row adds a message to the index.
func (b *bundle) row(e *journal.Entry, name string) error {
	var inner pec.Inner
	var record pec.Record
	if len(e.Certification) > 0 && record.UnmarshalBinary(e.Certification) == nil {
		inner = record.Message.InnerOrData()
	}
	b.rows.Write([]string{
		name, b.mailbox, e.Direction.String(), e.FolderName(), uidText(e.UID), e.Time.UTC().Format(time.RFC3339), e.Dated().UTC().Format(time.RFC3339),
		export.PlainCell(e.MailFrom), export.PlainCell(strings.Join(archive.RecipientsOf(e), ", ")), export.PlainCell(part.Decode(e.From)), export.PlainCell(part.Decode(e.To)),
		export.PlainCell(part.Decode(e.Subject)), export.PlainCell(part.Decode(inner.From)), export.PlainCell(part.Decode(inner.Subject)), export.PlainCell(e.MessageID), e.Class, e.Signature,
		e.State.String(), strconv.FormatInt(e.Size, 10), e.SHA256.String(),
	})
	b.rows.Flush()
	if b.index.Len() < maxIndex {
		return nil
	}
	if err := b.endIndex(); err != nil {
		return err
	}
	b.beginIndex()
	return nil
}

// writeGaps adds the gaps of the time of the messages.
func (b *bundle) writeGaps(c counted) error {
	since, until := b.since, b.until
	if since.IsZero() && until.IsZero() && len(c.folders) > 0 {
		since, until = c.folders[0].Month.Start(), c.folders[len(c.folders)-1].Month.Next().Start()
	}
	w, err := b.out.CreateHeader(&zip.FileHeader{Name: "gaps.csv", Method: zip.Deflate, Modified: zipTime(b.now.In(b.zone))})
	if err != nil {
		return err
	}
	if _, err := io.WriteString(w, mark); err != nil {
		return err
	}
	rows := csv.NewWriter(w)
	rows.UseCRLF = true
	rows.Write([]string{"mailbox", "kind", "from", "until", "reason", "detail", "direction", "mail_from", "rcpt_to", "message_id", "entries", "bytes"})
	for g, err := range b.gaps {
		switch {
		case errors.Is(err, journal.ErrDamaged):
			b.missing = append(b.missing, "gaps.csv: some gaps cannot be read")
			continue
		case err != nil:
			return err
		case !gapWithin(&g, since, until):
			continue
		}
		rows.Write([]string{
			g.Mailbox, g.Kind, timeOf(g.From), timeOf(g.Until), g.Reason, export.PlainCell(g.Detail), g.Direction, export.PlainCell(g.MailFrom), export.PlainCell(g.RcptTo), export.PlainCell(g.MessageID),
			strconv.FormatUint(g.Entries, 10), strconv.FormatUint(g.Bytes, 10),
		})
	}
	rows.Flush()
	return rows.Error()
}

// gapWithin reports whether a gap touches a time; a zero end is none.
func gapWithin(g *archive.Gap, since, until time.Time) bool {
	if g.From != nil && !until.IsZero() && !g.From.Before(until) {
		return false
	}
	switch {
	case since.IsZero() || g.Until == nil && g.Kind == archive.GapPause:
		return true
	case g.Until != nil:
		return g.Until.After(since)
	}
	return g.From == nil || !g.From.Before(since)
}

func timeOf(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// name returns the name of the file of a message. No two messages have the same.
func (b *bundle) name(e *journal.Entry) string {
	folder, ok := b.folders[e.Folder]
	if !ok {
		var parts []string
		for _, name := range strings.Split(e.Folder, "/") {
			parts = append(parts, plainName(name, 60))
		}
		folder = strings.Join(parts, "/")
		for _, other := range b.folders {
			if strings.EqualFold(other, folder) {
				folder += "-" + strconv.Itoa(len(b.folders)+1)
			}
		}
		b.folders[e.Folder] = folder
	}
	s := summarize(e, "")
	return fmt.Sprintf("%s/%s/%s_%s_%s_%d.eml", folder, e.Month, e.Dated().In(b.zone).Format("20060102-150405"), plainName(s.Who, 40), plainName(s.Subject, 60), e.UID)
}

// plainName returns a text as a part of the name of a file that every system takes: ASCII letters and digits, and a few signs.
func plainName(text string, most int) string {
	var out strings.Builder
	for _, r := range norm.NFD.String(text) {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '@', r == '.', r == '_':
			out.WriteRune(r)
		case r >= 0x300 && r < 0x370: // the accent of the letter before
		default:
			if out.Len() > 0 && !strings.HasSuffix(out.String(), "-") {
				out.WriteByte('-')
			}
		}
		if out.Len() >= most {
			break
		}
	}
	// Dots at the ends hide a file, or get lost.
	name := strings.Trim(out.String(), "-.")
	if name == "" {
		return "-"
	}
	return name
}
