package practice

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"copialettere/journal"
	"copialettere/journal/part"
	"copialettere/policy/pec"
)

// confirm turns a guess into MatchContent if a complete delivery receipt encloses a message with the text of the one that was found. If not, it
// stays a guess: an access point may have changed the message.
func confirm(ctx context.Context, j *journal.Journal, p *group) error {
	if p.by != pec.MatchGuess || p.complete == nil {
		return nil
	}
	same, err := sameText(ctx, j, *p.complete, p.sent.ref)
	switch {
	case errors.Is(err, journal.ErrNotFound): // deleted since it was listed
		return nil
	case err != nil:
		return fmt.Errorf("compare complete receipt: %w", err)
	case same:
		p.by = pec.MatchContent
	}
	return nil
}

// sameText reports whether a receipt encloses a message with the body of a sent one: everything below the header.
func sameText(ctx context.Context, j *journal.Journal, receipt, sent journal.Ref) (bool, error) {
	original, err := j.Entry(ctx, sent)
	if err != nil {
		return false, err
	}
	inner, table, err := enclosed(ctx, j, receipt)
	if errors.Is(err, pec.ErrEnclosed) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	whole, err := j.Body(ctx, original)
	if err != nil {
		return false, err
	}
	if len(table.Parts) == 0 || len(original.Parts.Parts) == 0 {
		return false, nil
	}
	one, other := table.Parts[0].Body, original.Parts.Parts[0].Body
	if inner.Size()-one != original.Size-other {
		return false, nil
	}
	return sameBytes(io.NewSectionReader(inner, one, inner.Size()-one), io.NewSectionReader(whole, other, original.Size-other))
}

// enclosed opens the message that an archived receipt encloses: its bytes, and a part table whose offsets count in them. If there is none, or it
// cannot be opened, the error wraps pec.ErrEnclosed.
func enclosed(ctx context.Context, j *journal.Journal, receipt journal.Ref) (*io.SectionReader, *part.Table, error) {
	entry, err := j.Entry(ctx, receipt)
	if err != nil {
		return nil, nil, err
	}
	var record pec.Record
	if err := record.UnmarshalBinary(entry.Certification); err != nil {
		return nil, nil, fmt.Errorf("%s %s %d: %w", receipt.Mailbox, receipt.FolderName(), receipt.UID, err)
	}
	body, err := j.Body(ctx, entry)
	if err != nil {
		return nil, nil, err
	}
	return pec.Enclosed(body, &entry.Parts, record.Message.Postacert)
}

// sameBytes reports whether two readers of the same length yield the same bytes.
func sameBytes(a, b io.Reader) (bool, error) {
	const block = 64 << 10
	one, other := make([]byte, block), make([]byte, block)
	for {
		n, err := io.ReadFull(a, one)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return false, err
		}
		if _, err := io.ReadFull(b, other[:n]); err != nil {
			return false, err
		}
		if !bytes.Equal(one[:n], other[:n]) {
			return false, nil
		}
		if err != nil {
			return true, nil
		}
	}
}
