package lmtp

import (
	"context"
	"time"

	"copialettere/journal"
	"copialettere/policy"
	"copialettere/policy/pec"
)

// Does not compile unless the journal takes the longest name of a link.
const _ = uint(journal.MaxLink - pec.MaxLinkName)

// classify reads what kind of message the draft holds, and verifies its signature. Errors come from the journal or from the time limit.
func (t *transaction) classify(ctx context.Context) (*pec.Classification, error) {
	table, body := t.draft.Finish()
	return t.pec.Verifier.Classify(ctx, t.pec.Trust, body, table, t.draft.Header(), t.s.direction() == journal.Sent)
}

// describe fills in the fields of an entry that tell its class.
func describe(in *journal.Intent, c *pec.Classification) {
	in.Class, in.DeclaredClass = string(c.Class), string(c.Record.Message.Class)
	in.Signature = string(c.Record.Signature.Result)
	in.Certification, in.Links = c.Stored, c.Links
}

// learn stores which recipients a believed acceptance receipt calls certified. The filter of later sent mail uses it.
func (t *transaction) learn(ctx context.Context) {
	if t.class == nil || t.class.Class != pec.Accettazione && t.class.Class != pec.REM {
		return
	}
	var recipients []policy.Recipient
	var at time.Time
	for _, e := range t.class.Record.Message.Events() {
		if e.Kind == pec.EventAccepted {
			at = e.Time
			recipients = append(recipients, policy.Recipient{Address: e.Recipient, Certified: e.RecipientKind != pec.KindExternal})
		}
	}
	if len(recipients) == 0 {
		return
	}
	if err := t.s.c.server.config.Policy.Learn(ctx, at, recipients); err != nil {
		t.log().Warn("recipients of a receipt not learned", "error", err)
	}
}
