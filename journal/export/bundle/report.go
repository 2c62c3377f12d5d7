package bundle

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"strings"
	"time"

	"copialettere/journal/part"
	"copialettere/policy"
	"copialettere/policy/pec"
)

// Report is what the archive found of the signature of a message when that arrived, in signature.json. Others script against its names.
type Report struct {
	Result pec.Result   `json:"result"` // "verified", "weak", "invalid", "incomplete", "untrusted", "unsigned", or empty: it was not examined
	Words  policy.Label `json:"words"`  // the same as a sentence
	Reason string       `json:"reason,omitempty"`
	Proven bool         `json:"proven"` // a trusted provider made it: "verified" or "weak"
	// JudgedAt is the time at which the certificates had to be valid, and Arrived that of the arrival.
	JudgedAt    time.Time `json:"judged_at,omitzero"`
	Arrived     time.Time `json:"arrived"`
	SigningTime time.Time `json:"signing_time,omitzero"` // as the signer claims
	Digest      string    `json:"digest,omitempty"`      // of the message: "SHA-1", "SHA-256", "SHA-384" or "SHA-512"
	Weak        bool      `json:"weak_digest"`           // SHA-1 was used, by the signer or in the chain
	Provider    string    `json:"provider,omitempty"`    // in the provider index of that day
	// Revocation is "good", "revoked" or "unknown" by the revocation lists of that day; empty where there were none.
	Revocation       pec.Revocation `json:"revocation,omitempty"`
	RevocationReason string         `json:"revocation_reason,omitempty"`
	Chain            []Certificate  `json:"chain,omitempty"` // the signer's first; of a proven signature the trusted one last
	// OpenSSL is the command that verifies the signature in the unpacked bundle; where there is none, NoOpenSSL says why.
	OpenSSL   string `json:"openssl,omitempty"`
	NoOpenSSL string `json:"no_openssl,omitempty"`
}

// Certificate is one certificate of a chain.
type Certificate struct {
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	Serial    string    `json:"serial"` // hexadecimal
	Addresses []string  `json:"addresses,omitempty"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	Algorithm string    `json:"signature_algorithm"`
	SHA256    string    `json:"sha256"` // of its DER
	Anchor    bool      `json:"anchor,omitempty"`
}

// reportOf returns the report on a message in a folder of a bundle, and the certificates in DER.
func reportOf(folder string, m *message) (*Report, [][]byte) {
	r := &Report{Arrived: m.entry.Time.UTC()}
	if m.record == nil {
		r.Words = pec.Result("").Label()
		if _, signature := pec.SignatureParts(m.table); signature < 0 {
			r.Result, r.Words = pec.ResultUnsigned, pec.ResultUnsigned.Label()
		}
		r.NoOpenSSL = "no provider has signed this message"
		if r.Result == "" {
			r.NoOpenSSL = "the signature was not examined: the message is not certified mail"
		}
		return r, nil
	}
	s := &m.record.Signature
	r.Result, r.Words, r.Reason, r.Proven = s.Result, s.Result.Label(), s.Reason, s.Proven()
	r.SigningTime, r.Digest, r.Weak, r.Provider = s.SigningTime.UTC(), s.Digest, s.Weak, s.Provider
	if s.SigningTime.IsZero() {
		r.SigningTime = time.Time{}
	}
	r.Revocation, r.RevocationReason = s.Revocation, s.RevocationReason
	for i, b := range s.Chain {
		r.Chain = append(r.Chain, certificateOf(b, r.Proven && i == len(s.Chain)-1))
	}
	if len(s.Chain) > 0 {
		r.JudgedAt = s.Moment(m.entry.Time).UTC()
	}
	if r.Proven {
		r.OpenSSL, r.NoOpenSSL = opensslOf(folder, m.table, r)
	} else {
		r.NoOpenSSL = fmt.Sprintf("the signature was %s at the arrival: %s", s.Result, s.Reason)
	}
	return r, s.Chain
}

func certificateOf(b []byte, anchor bool) Certificate {
	sum := sha256.Sum256(b)
	v := Certificate{SHA256: hex.EncodeToString(sum[:]), Anchor: anchor}
	c, err := x509.ParseCertificate(b)
	if err != nil {
		v.Subject = "cannot be read: " + err.Error()
		return v
	}
	v.Subject, v.Issuer, v.Serial, v.Addresses = pec.SubjectText(c), pec.SubjectText(&x509.Certificate{Subject: c.Issuer}), c.SerialNumber.Text(16), c.EmailAddresses
	v.NotBefore, v.NotAfter, v.Algorithm = c.NotBefore.UTC(), c.NotAfter.UTC(), c.SignatureAlgorithm.String()
	return v
}

func pemOf(b []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: b}) }

// opensslOf returns the command of OpenSSL 3 that verifies a proven signature, or why there is none.
//
// -attime is needed, since certificates end; -partial_chain, since the anchor is the authority of the providers and not the root above it. The purpose
// of S/MIME is what a provider's certificate has. -binary must not be given: it fails with a message that is CRLF as it came. A chain with SHA-1 needs
// the lowest level of authentication.
func opensslOf(folder string, t *part.Table, r *Report) (command, why string) {
	trust := fmt.Sprintf("-attime %d -partial_chain", r.JudgedAt.Unix())
	if r.Result == pec.ResultWeak {
		trust += " -auth_level 0"
	}
	trust += fmt.Sprintf(" -CAfile %[1]s/%[2]s -certfile %[1]s/%[3]s -out /dev/null", folder, anchorName, chainName)
	signed, signature := pec.SignatureParts(t)
	if signed < 0 {
		return "", "the parts of the signature are not where this program expects them"
	}
	if p := &t.Parts[0]; plainSigned(p.ContentType) && plainSigned(t.Parts[signature].ContentType) {
		return fmt.Sprintf("openssl cms -verify -in %s/%s %s", folder, messageName, trust), ""
	}
	// OpenSSL cannot find the parts of this form by itself, so it is given them.
	p := &t.Parts[signed]
	if p.Odd&part.OddBareLF != 0 || t.Odd&part.OddBareLF != 0 {
		return "", "OpenSSL does not read this form of Content-Type, and the lines of the message do not end as they did when it was signed; \"copialettere verify-bundle\" verifies it"
	}
	return fmt.Sprintf("tail -c +%d %s/%s | head -c %d | openssl cms -verify -binary -inform DER -in %s/%s -content /dev/stdin %s",
		p.Header+1, folder, messageName, p.End-p.Header, folder, cmsName, trust), ""
}

// plainSigned reports whether OpenSSL 3.0 reads a Content-Type: it knows no comments, no continued parameters (RFC 2231), and no quoted pairs.
func plainSigned(contentType string) bool { return !strings.ContainsAny(contentType, `(\*`) }
