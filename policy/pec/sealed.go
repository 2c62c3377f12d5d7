package pec

import (
	"time"

	"copialettere/journal/part"
)

// SignatureParts returns the indices of the part that is signed and of the signature, of a message that is signed as PEC is; -1 and -1 of any other.
func SignatureParts(t *part.Table) (signed, signature int) {
	signed, signature, reason := signatureParts(t)
	if reason != "" || signature < 0 {
		return -1, -1
	}
	return signed, signature
}

// Moment returns the time at which the certificates of a message that arrived at some time have to be valid: see Verifier.Verify.
func (s *Signature) Moment(at time.Time) time.Time { return s.moment(at) }
