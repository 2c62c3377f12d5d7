package pec

import (
	"context"
	"fmt"
	"io"
	"time"

	"copialettere/journal/part"
)

// Classification is what kind of message one is, as its entry keeps it.
type Classification struct {
	Record Record
	Class  Class    // the one that is believed
	Stored []byte   // the record as the entry keeps it; nil for an ordinary message without a signature
	Links  []string // under which its practice is found
}

// Unclassified returns the classification of an ordinary message without a signature. It also stands in where classifying failed.
func Unclassified() *Classification {
	return &Classification{Record: Record{Signature: Signature{Result: ResultUnsigned}}, Class: Ordinary}
}

// Classify reads what kind of message one is, and verifies its signature. table is the part table of the message, and header its top-level header.
// sent says that the message was sent. Errors come from body or from ctx.
func (v *Verifier) Classify(ctx context.Context, trust Trust, body io.ReaderAt, table *part.Table, header []byte, sent bool) (*Classification, error) {
	m := Read(body, table, header)
	if m.Fault != nil {
		return nil, fmt.Errorf("read message back: %w", m.Fault)
	}
	c := Unclassified()
	c.Record.Message = *m
	if m.Signed >= 0 {
		var err error
		if c.Record.Signature, err = v.Verify(ctx, body, table, m.Declared.From, time.Now()); err != nil {
			return nil, fmt.Errorf("verify signature: %w", err)
		}
	}
	c.Class = Believed(trust, m.Class, c.Record.Verified())
	if m.Class != Ordinary || c.Class != Ordinary || sent {
		c.Links = m.Links().Names()
	}
	if m.Signed >= 0 || m.Class != Ordinary {
		stored, err := c.Record.AppendBinary(nil)
		if err != nil {
			return nil, fmt.Errorf("store classification: %w", err)
		}
		c.Stored = stored
	}
	return c, nil
}
