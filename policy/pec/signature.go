package pec

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strings"
	"time"

	"copialettere/journal/part"
)

const (
	// maxSignature is the most bytes read of smime.p7s, decoded.
	maxSignature = 256 << 10
	// maxChain is the most certificates that a Signature keeps.
	maxChain = 8
	// maxReason is the most bytes kept of a reason.
	maxReason = 2 << 10
	// maxKeyBits is the longest RSA key that is used, the same as in crypto/tls.
	maxKeyBits = 8192
	// maxTransit is how long before arrival the signing time may lie and still decide the moment at which certificates must be valid: MTAs give
	// up after five days (RFC 5321 4.5.4.1).
	maxTransit = 5 * 24 * time.Hour
	// clockSkew is how much the clocks of provider and archive may differ.
	clockSkew = 10 * time.Minute
	// digestBlock is the number of bytes of the signed part read at a time.
	digestBlock = 64 << 10
)

// Result is the outcome of verifying a signature. Others script against the values.
type Result string

// The results.
const (
	ResultVerified   Result = "verified"   // made by the provider that the message comes from, trusted when it signed
	ResultWeak       Result = "weak"       // the same, but the chain has a certificate signed with SHA-1, which the operator allows
	ResultInvalid    Result = "invalid"    // it does not match the message, or cannot be read
	ResultIncomplete Result = "incomplete" // it covers the message's bytes, but the signer's certificate did not come with it
	ResultUntrusted  Result = "untrusted"  // it matches the message, but its maker is not a trusted provider, or not the one in From
	ResultUnsigned   Result = "unsigned"   // no signature of the kind that PEC uses
)

// Signature is the result of a verification.
type Signature struct {
	Result      Result
	Reason      string    // for people, in English, at most 2 KiB; "" when verified
	Weak        bool      // the signer or the chain used SHA-1; providers still do, so this alone is no reason for distrust
	Digest      string    // of the message: "SHA-1", "SHA-256", "SHA-384", "SHA-512"; "" if unknown
	SigningTime time.Time // as the signer claims, UTC; zero if absent
	Provider    string    // name in the provider index; "" without an index or a record
	// Revocation is what revocation lists say about the chain; a revoked certificate makes Result ResultUntrusted. RevocationReason says, for
	// people, why it is not RevocationGood, in at most 2 KiB.
	Revocation       Revocation
	RevocationReason string
	// Chain holds at most 8 certificates in DER: first the signer's, then those up to the trusted one, or, without such a chain, the others
	// that came with the signature. Certificates parses them.
	Chain [][]byte
}

// Proven reports whether a trusted provider made the signature: Result is ResultVerified or ResultWeak.
func (s *Signature) Proven() bool { return s.Result == ResultVerified || s.Result == ResultWeak }

// Certificates parses Chain, the signer's certificate first. The error names the first certificate that cannot be read.
func (s *Signature) Certificates() ([]*x509.Certificate, error) {
	list := make([]*x509.Certificate, len(s.Chain))
	for i, b := range s.Chain {
		c, err := x509.ParseCertificate(b)
		if err != nil {
			return nil, fmt.Errorf("certificate %d of the chain: %w", i+1, err)
		}
		list[i] = c
	}
	return list, nil
}

// Verifier verifies the signatures of providers. Its methods may be called concurrently.
type Verifier struct {
	roots       *x509.CertPool // nil: nobody is trusted
	bundle      []*x509.Certificate
	index       *Index                       // nil: none
	sha1        bool                         // accept chains with SHA-1
	revocations map[string][]*RevocationList // by issuerKey; nil: revocation is not checked
	unused      []string                     // why each unused list is of no use
}

// A VerifierOption changes what a Verifier demands of a chain.
type VerifierOption func(*verifierOptions)

type verifierOptions struct {
	sha1, revocation bool
	lists            []*RevocationList
}

// WithSHA1Chains accepts chains with certificates signed with SHA-1, as ResultWeak. Without it such chains are untrusted.
func WithSHA1Chains() VerifierOption { return func(o *verifierOptions) { o.sha1 = true } }

// WithRevocation looks up the certificates of a chain in revocation lists. Only lists signed by a certificate of the bundle are used:
// UnusedLists names the others.
func WithRevocation(lists []*RevocationList) VerifierOption {
	return func(o *verifierOptions) { o.revocation, o.lists = true, lists }
}

// NewVerifier returns a Verifier that trusts the certificates of the bundle, roots or not, and those that they issued. Put the authority that
// issues to PEC providers (AgID CA1) into the bundle, not the commercial one above it: any customer of that one could sign. With an empty
// bundle no signature gets beyond ResultUntrusted. With an index, the certificate must also belong to the provider that manages the
// sender's domain.
func NewVerifier(bundle []*x509.Certificate, index *Index, options ...VerifierOption) *Verifier {
	var o verifierOptions
	for _, set := range options {
		set(&o)
	}
	v := &Verifier{bundle: bundle, index: index, sha1: o.sha1}
	if o.revocation {
		v.useRevocationLists(bundle, o.lists)
	}
	for _, c := range bundle {
		if v.roots == nil {
			v.roots = x509.NewCertPool()
		}
		v.roots.AddCert(c)
	}
	return v
}

// UnusedLists says, for people, which revocation lists are not used and why.
func (v *Verifier) UnusedLists() []string { return v.unused }

// ParseBundle reads a trust bundle: certificates in PEM, with any text between them. A bundle without a certificate, with a block of another
// kind, or with a broken or truncated block is an error.
func ParseBundle(text []byte) ([]*x509.Certificate, error) {
	blocks, err := pemBlocks(text, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	if len(blocks) == 0 {
		return nil, errors.New("no certificate in PEM")
	}
	bundle := make([]*x509.Certificate, len(blocks))
	for i, b := range blocks {
		if bundle[i], err = x509.ParseCertificate(b); err != nil {
			return nil, fmt.Errorf("certificate %d: %w", i+1, err)
		}
	}
	return bundle, nil
}

// pemBlocks returns the contents of the blocks of a PEM file. A block of another kind, or a broken or truncated one, is an error.
func pemBlocks(text []byte, kind string) ([][]byte, error) {
	const begin = "\n-----BEGIN "
	// A byte-order mark, which some editors add, would hide the first block.
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	begun := bytes.Count(append([]byte("\n"), text...), []byte(begin))
	var blocks [][]byte
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != kind {
			return nil, fmt.Errorf("block %d is a %s: want only %s", len(blocks)+1, block.Type, kind)
		}
		blocks = append(blocks, block.Bytes)
	}
	// The decoder skips what it cannot read.
	if len(blocks) < begun {
		return nil, fmt.Errorf("only %d of %d PEM blocks are whole", len(blocks), begun)
	}
	return blocks, nil
}

// Verify verifies the S/MIME signature of a message (RFC 8551 3.5.3; RFC 6109 2.1, 5.5). From is the From field as Declared keeps it: its one
// address must be that of the certificate. At is when the message arrived. The certificates must be valid at the signing time if that is at
// most five days before the arrival and at most ten minutes after it. Otherwise they must be valid at the arrival, since a signer can claim
// any time. The signed part is read as a stream. An error comes from the reader or ctx, and leaves the signature unjudged.
func (v *Verifier) Verify(ctx context.Context, r io.ReaderAt, t *part.Table, from string, at time.Time) (Signature, error) {
	signed, signature, reason := signatureParts(t)
	if reason != "" {
		return Signature{Result: ResultUnsigned, Reason: reason}, nil
	}
	invalid := func(reason string) (Signature, error) { return Signature{Result: ResultInvalid, Reason: reason}, nil }
	if signature < 0 {
		return invalid("a multipart/signed has two parts; this one does not")
	}
	reader := &faultReader{from: r}
	p := &t.Parts[signature]
	encoded, err := io.ReadAll(io.LimitReader(part.ContentDecoder(*p, partBody(reader, p)), maxSignature+1))
	switch {
	case reader.fault != nil:
		return Signature{}, fmt.Errorf("read signature: %w", reader.fault)
	case err != nil:
		return Signature{}, fmt.Errorf("read signature: %w", err)
	case len(encoded) > maxSignature:
		return invalid(fmt.Sprintf("the signature is over %d bytes", maxSignature))
	}
	data, err := parseSignedData(encoded)
	if err != nil {
		return invalid("the signature cannot be read: " + err.Error())
	}
	if data.content != nil {
		return invalid("the signature encloses other content")
	}
	s := Signature{Digest: data.digest.String(), SigningTime: data.signingTime}
	s.Weak = data.digest == crypto.SHA1 || data.signatureHash() == crypto.SHA1
	matches, err := data.matches(ctx, r, &t.Parts[signed], t.Odd&part.OddBareLF != 0)
	if err != nil {
		return Signature{}, fmt.Errorf("read signed part: %w", err)
	}
	signer, err := data.signer()
	switch {
	case !matches && errors.Is(err, errNoSigner), !matches && err == nil:
		s.Result, s.Reason = ResultInvalid, "the message was changed after it was signed"
	case errors.Is(err, errNoSigner):
		s.Result, s.Reason = ResultIncomplete, err.Error()
	case err != nil:
		s.Result, s.Reason = ResultInvalid, err.Error()
	default:
		v.judge(&s, signer, data, from, at)
	}
	if s.Chain == nil {
		s.Chain = data.chain(signer)
	}
	// Reasons quote certificates, which anybody can make of any size.
	s.Reason, s.RevocationReason = clipRunes(s.Reason, maxReason), clipRunes(s.RevocationReason, maxReason)
	return s, nil
}

// signatureParts returns the signed part and the signature part of a message (RFC 1847 2.1). Reason says why the message is unsigned. If
// reason is "" and signature -1, the message is signed but does not have its two parts.
func signatureParts(t *part.Table) (signed, signature int, reason string) {
	if len(t.Parts) == 0 {
		return -1, -1, "no part"
	}
	top := &t.Parts[0]
	switch top.Type {
	case "multipart/signed":
	case "application/pkcs7-mime", "application/x-pkcs7-mime":
		return -1, -1, "the signature encloses the message (application/pkcs7-mime); PEC uses multipart/signed"
	default:
		return -1, -1, "not multipart/signed"
	}
	var children []int
	for i := range t.Children(0) {
		if children = append(children, i); len(children) > 2 {
			break
		}
	}
	_, params := part.Params(top.ContentType)
	kind := strings.ToLower(params["protocol"])
	if len(children) > 1 && isSignatureType(t.Parts[children[1]].Type) {
		kind = t.Parts[children[1]].Type
	}
	if !isSignatureType(kind) {
		return -1, -1, fmt.Sprintf("signed as %.100q, not with S/MIME", kind)
	}
	if len(children) != 2 {
		return -1, -1, ""
	}
	return children[0], children[1], ""
}

func isSignatureType(name string) bool {
	return name == "application/pkcs7-signature" || name == "application/x-pkcs7-signature"
}

// matches reports whether the digest of the signed part is the one that was signed. The signature covers the part with its header, without the
// line end before the delimiter. Lines of imported messages may end in bare LF; they were CRLF when signed (RFC 8551 3.1.1).
func (s *signedData) matches(ctx context.Context, r io.ReaderAt, p *part.Part, bareLF bool) (bool, error) {
	exact, canonical := s.digest.New(), hash.Hash(nil)
	w := io.Writer(exact)
	if bareLF {
		canonical = s.digest.New()
		w = io.MultiWriter(exact, &lineWriter{to: canonical})
	}
	block := make([]byte, min(digestBlock, p.End-p.Header))
	for offset := p.Header; offset < p.End; {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		n, err := r.ReadAt(block[:min(int64(len(block)), p.End-offset)], offset)
		if n == 0 {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return false, err
		}
		w.Write(block[:n])
		offset += int64(n)
	}
	if bytes.Equal(exact.Sum(nil), s.messageDigest) {
		return true, nil
	}
	return canonical != nil && bytes.Equal(canonical.Sum(nil), s.messageDigest), nil
}

// lineWriter turns an LF that follows no CR into CRLF.
type lineWriter struct {
	to io.Writer // never fails
	cr bool      // the last byte was a CR
}

func (w *lineWriter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			w.to.Write(rest)
			w.cr = rest[len(rest)-1] == '\r'
			break
		}
		if i > 0 {
			w.cr = rest[i-1] == '\r'
		}
		w.to.Write(rest[:i])
		if !w.cr {
			w.to.Write([]byte{'\r'})
		}
		w.to.Write([]byte{'\n'})
		w.cr, rest = false, rest[i+1:]
	}
	return len(p), nil
}

// errNoSigner says that a signature came without the signer's certificate, and so cannot be checked.
var errNoSigner = errors.New("the signer's certificate is missing")

// signer returns the certificate whose key made the signature. Certificates come in any order, and several may name the signer: the key
// decides.
func (s *signedData) signer() (*x509.Certificate, error) {
	err := errNoSigner
	for _, b := range s.certificates {
		c := parseCertificate(b)
		if c == nil || !s.names(c) {
			continue
		}
		if err = s.check(c); err == nil {
			return c, nil
		}
	}
	return nil, err
}

// parseCertificate reads a certificate that came with a message. It returns nil for one that cannot be read, or whose key is too long to use
// at an acceptable cost.
func parseCertificate(b []byte) *x509.Certificate {
	c, err := x509.ParseCertificate(b)
	if err != nil {
		return nil
	}
	if key, ok := c.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() > maxKeyBits {
		return nil
	}
	return c
}

// chain returns the certificates to keep when there is no trusted chain.
func (s *signedData) chain(signer *x509.Certificate) [][]byte {
	var chain [][]byte
	if signer != nil {
		chain = append(chain, signer.Raw)
	}
	for _, b := range s.certificates {
		if len(chain) < maxChain && (signer == nil || !bytes.Equal(b, signer.Raw)) {
			chain = append(chain, slices.Clone(b))
		}
	}
	return chain
}

// judge decides whether a trusted provider, the one that the message comes from, made a signature that matches the message.
func (v *Verifier) judge(s *Signature, signer *x509.Certificate, data *signedData, from string, at time.Time) {
	s.Result = ResultUntrusted
	address, err := senderOf(from)
	if err != nil {
		s.Reason = err.Error()
		return
	}
	moment := s.moment(at)
	chain, weak, err := v.trust(signer, data, moment)
	if err != nil {
		s.Reason = err.Error()
		return
	}
	for _, c := range chain[:min(len(chain), maxChain)] {
		s.Chain = append(s.Chain, c.Raw)
	}
	if s.Revocation, s.RevocationReason = v.checkRevocation(chain, moment, at); s.Revocation == RevocationRevoked {
		s.Reason = s.RevocationReason
		return
	}
	if !slices.ContainsFunc(signer.EmailAddresses, func(a string) bool { return sameAddress(a, address) }) {
		s.Reason = fmt.Sprintf("the certificate is not for %.200q", address)
		return
	}
	if v.index != nil {
		fingerprint := sha1.Sum(signer.Raw)
		_, domain, _ := strings.Cut(address, "@")
		provider, found, manages := v.index.match(hex.EncodeToString(fingerprint[:]), domain)
		s.Provider = provider
		switch {
		case !found:
			s.Reason = "the certificate is not in the provider index"
			return
		case !manages:
			s.Reason = fmt.Sprintf("by the provider index, %.200q does not manage %.200q", provider, domain)
			return
		}
	}
	s.Result = ResultVerified
	if weak {
		s.Result, s.Weak, s.Reason = ResultWeak, true, "the chain has a certificate signed with SHA-1"
	}
}

// moment returns the time at which the certificates must be valid: the signer's, if it is plausible for a message that arrived at that time.
func (s *Signature) moment(at time.Time) time.Time {
	if s.SigningTime.Before(at.Add(-maxTransit)) || s.SigningTime.After(at.Add(clockSkew)) {
		return at
	}
	return s.SigningTime
}

// senderOf returns the one address of a From field.
func senderOf(from string) (string, error) {
	list := part.Addresses(from)
	if len(list) != 1 || list[0].Domain == "" || list[0].Local == "" {
		return "", errors.New("the From field does not have exactly one address")
	}
	return list[0].Mailbox(), nil
}

// sameAddress compares two addresses regardless of case. A certificate has the domain in ASCII (RFC 5280 4.2.1.6), a From field may have it in
// Unicode.
func sameAddress(a, b string) bool {
	i, j := strings.LastIndexByte(a, '@'), strings.LastIndexByte(b, '@')
	return i >= 0 && j >= 0 && equalFold(a[:i], b[:j]) && domainKey(a[i+1:]) == domainKey(b[j+1:])
}

// trust looks for a chain from the signer to the bundle. By the profile (RFC 6109 5.5) the signer is not an authority, and its key may sign;
// extended uses, if any, include e-mail. Weak says that a certificate in the chain is signed with SHA-1.
func (v *Verifier) trust(signer *x509.Certificate, data *signedData, moment time.Time) (chain []*x509.Certificate, weak bool, err error) {
	switch {
	case v.roots == nil:
		return nil, false, errors.New("no certificate is trusted")
	case signer.IsCA:
		return nil, false, errors.New("the signer's certificate is that of an authority")
	case signer.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return nil, false, errors.New("the signer's certificate is not for digital signatures")
	}
	intermediates := x509.NewCertPool()
	var others []*x509.Certificate
	for _, b := range data.certificates {
		if c := parseCertificate(b); c != nil {
			intermediates.AddCert(c)
			others = append(others, c)
		}
	}
	chains, err := signer.Verify(x509.VerifyOptions{Roots: v.roots, Intermediates: intermediates, CurrentTime: moment,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection}})
	if err == nil {
		return chains[0], false, nil
	}
	if !v.sha1 {
		return nil, false, fmt.Errorf("no trusted chain: %w", err)
	}
	finder := chainFinder{roots: v.bundle, others: others, at: moment}
	chain, weakErr := finder.find(signer)
	if weakErr != nil {
		return nil, false, fmt.Errorf("no trusted chain: %w; nor one with SHA-1: %w", err, weakErr)
	}
	return chain, true, nil
}
