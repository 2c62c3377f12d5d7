package lmtp

import (
	"context"
	"fmt"
	"time"

	"copialettere/journal"
	"copialettere/policy"
	"copialettere/policy/pec"
)

// classification says what kind of message a draft holds.
type classification struct {
	record pec.Record
	class  pec.Class // the one that is believed
	stored []byte    // the record as the entry keeps it; nil for an ordinary message without a signature
	links  []string
}

// Does not compile unless the journal takes the longest name of a link.
const _ = uint(journal.MaxLink - pec.MaxLinkName)

// ordinary returns the classification of an ordinary message without a signature. It also stands in where classifying failed.
func ordinary() *classification {
	return &classification{record: pec.Record{Signature: pec.Signature{Result: pec.ResultUnsigned}}, class: pec.Ordinary}
}

// classify reads what kind of message the draft holds, and verifies its signature. Errors come from the journal or from the time limit.
func (t *transaction) classify(ctx context.Context) (*classification, error) {
	table, body := t.draft.Finish()
	m := pec.Read(body, table, t.draft.Header())
	if m.Fault != nil {
		return nil, fmt.Errorf("read message back: %w", m.Fault)
	}
	c := ordinary()
	c.record.Message = *m
	if m.Signed >= 0 {
		var err error
		if c.record.Signature, err = t.pec.Verifier.Verify(ctx, body, table, m.Declared.From, time.Now()); err != nil {
			return nil, fmt.Errorf("verify signature: %w", err)
		}
	}
	c.class = pec.Believed(t.pec.Trust, m.Class, c.record.Verified())
	if m.Class != pec.Ordinary || c.class != pec.Ordinary || t.s.direction() == journal.Sent {
		c.links = m.Links().Names()
	}
	if m.Signed >= 0 || m.Class != pec.Ordinary {
		stored, err := c.record.AppendBinary(nil)
		if err != nil {
			return nil, fmt.Errorf("store classification: %w", err)
		}
		c.stored = stored
	}
	return c, nil
}

// describe fills in the fields of an entry that tell its class.
func (c *classification) describe(in *journal.Intent) {
	in.Class, in.DeclaredClass = string(c.class), string(c.record.Message.Class)
	in.Signature = string(c.record.Signature.Result)
	in.Certification, in.Links = c.stored, c.links
}

// learn stores which recipients a believed acceptance receipt calls certified. The filter of later sent mail uses it.
func (t *transaction) learn(ctx context.Context) {
	if t.class == nil || t.class.class != pec.Accettazione && t.class.class != pec.REM {
		return
	}
	var recipients []policy.Recipient
	var at time.Time
	for _, e := range t.class.record.Message.Events() {
		if e.Kind == pec.EventAccepted {
			at = e.Time
			recipients = append(recipients, policy.Recipient{Address: e.Recipient, Certified: e.RecipientKind != pec.KindExternal})
		}
	}
	if len(recipients) == 0 {
		return
	}
	if err := t.s.c.server.config.Policy.Learn(ctx, at, recipients); err != nil {
		t.log.Warn("recipients of a receipt not learned", "error", err)
	}
}
