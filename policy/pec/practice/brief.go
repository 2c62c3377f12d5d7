package practice

import (
	"context"
	"errors"
	"fmt"

	"copialettere/journal"
	"copialettere/policy/pec"
)

// BriefPart is a part or header field on which a sent message and its brief receipt differ.
type BriefPart struct {
	Part        string `json:"part,omitempty"`         // number in the sent message, such as "2.1"; absent if it has no such part
	ReceiptPart string `json:"receipt_part,omitempty"` // number in the enclosed message; absent if it has no such part
	Name        string `json:"name,omitempty"`         // of the file
	Field       string `json:"field,omitempty"`        // the header field that differs; absent for a part
	Result      string `json:"result"`                 // see Outcome.Brief
}

// maxBriefParts is the most differing parts listed for one receipt.
const maxBriefParts = 100

// checkBrief compares the brief receipts of a practice with the message that was sent.
func checkBrief(ctx context.Context, j *journal.Journal, p *group, v *Practice) error {
	for i := range v.Recipients {
		o := &v.Recipients[i]
		ref, found := p.brief[o.Address]
		if !found {
			continue
		}
		result, parts, err := briefResult(ctx, j, ref, p.sent)
		if errors.Is(err, journal.ErrNotFound) {
			continue // deleted since it was listed
		}
		if err != nil {
			return err
		}
		o.Brief, o.BriefParts = string(result), parts
	}
	return nil
}

// briefResult compares a brief receipt with a sent message, nil if not archived: the result for the whole, and the parts that differ.
func briefResult(ctx context.Context, j *journal.Journal, ref journal.Ref, mail *sentMail) (pec.HashResult, []BriefPart, error) {
	if mail == nil {
		return pec.HashNoOriginal, nil, nil
	}
	sent, err := j.Entry(ctx, mail.ref)
	if err != nil {
		return "", nil, err
	}
	inner, table, err := enclosed(ctx, j, ref)
	switch {
	case errors.Is(err, pec.ErrEnclosed):
		// A brief receipt that encloses nothing readable proves nothing.
		return pec.HashMismatch, nil, nil
	case err != nil:
		return "", nil, fmt.Errorf("open brief receipt: %w", err)
	}
	original, err := j.Body(ctx, sent)
	if err != nil {
		return "", nil, err
	}
	checks, err := pec.BriefHashes(inner, table, original, &sent.Parts)
	if err != nil {
		return "", nil, fmt.Errorf("compare brief receipt: %w", err)
	}
	var parts []BriefPart
	for _, c := range checks {
		if c.Result == pec.HashMatch || len(parts) == maxBriefParts {
			continue
		}
		v := BriefPart{Name: c.Name, Field: c.Field, Result: string(c.Result)}
		if c.Original >= 0 && c.Field == "" {
			v.Part = sent.Parts.Number(c.Original)
		}
		if c.Part >= 0 && c.Field == "" {
			v.ReceiptPart = table.Number(c.Part)
		}
		parts = append(parts, v)
	}
	return pec.WorstHash(checks), parts, nil
}
