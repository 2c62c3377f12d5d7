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
	// maxSignature is how many bytes of smime.p7s are read, decoded.
	maxSignature = 256 << 10
	// maxChain is how many certificates a Signature keeps.
	maxChain = 8
	// maxReason is how many bytes of a reason are kept.
	maxReason = 2 << 10
	// maxKeyBits is the longest RSA key that is used, as in crypto/tls.
	maxKeyBits = 8192
	// maxTransit is how long before its arrival a message may have been signed for its certificate to count at that time: MTAs give up after
	// five days (RFC 5321 4.5.4.1).
	maxTransit = 5 * 24 * time.Hour
	// clockSkew is how far the clocks of a provider and of the archive may be apart.
	clockSkew = 10 * time.Minute
	// digestBlock is how many bytes of the signed part are read at a time.
	digestBlock = 64 << 10
)

// Result is what became of a signature. The values are an interface that others script against.
type Result string

// The results.
const (
	ResultVerified   Result = "verified"   // by the provider that the message comes from, trusted when it signed
	ResultWeak       Result = "weak"       // the same, over certificates that are signed with SHA-1, which the operator lets count
	ResultInvalid    Result = "invalid"    // it does not fit the message, or cannot be read
	ResultIncomplete Result = "incomplete" // it is over the bytes of the message, but the certificate of the signer does not come with it
	ResultUntrusted  Result = "untrusted"  // it fits the message, but it is not of a trusted provider, or not of the one in From
	ResultUnsigned   Result = "unsigned"   // there is none of the kind that PEC uses
)

// Signature is the result of a verification.
type Signature struct {
	Result      Result
	Reason      string    // for people, in English, at most 2 KiB; "" when verified
	Weak        bool      // SHA-1 was used, by the signer or in the chain. Providers still do, so this is no reason to mistrust
	Digest      string    // of the message: "SHA-1", "SHA-256", "SHA-384", "SHA-512"; "" where not known
	SigningTime time.Time // as the signer claims, UTC; zero where absent
	Provider    string    // the name in the provider index; "" without an index or a record
	// Revocation is what revocation lists say of the chain; of a revoked one the result is ResultUntrusted. RevocationReason says, for
	// people, why it is not RevocationGood.
	Revocation       Revocation
	RevocationReason string
	// Chain holds certificates in DER, at most 8: the one whose key made the signature first, and then those up to the trusted one, or,
	// where there is no such chain, the others that came with the signature. Certificates parses them.
	Chain [][]byte
}

// Proven reports whether the signature is one of a trusted provider: the result is ResultVerified or ResultWeak.
func (s *Signature) Proven() bool { return s.Result == ResultVerified || s.Result == ResultWeak }

// Certificates parses the chain: the signer is first. The error is that of the first one that cannot be read.
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
	roots       *x509.CertPool // nil: no one is trusted
	bundle      []*x509.Certificate
	index       *Index                       // nil: none
	sha1        bool                         // chains with SHA-1 count
	revocations map[string][]*RevocationList // by issuerKey; nil: revocation is not asked
	unused      []string                     // why lists are of no use
}

// A VerifierOption changes what a Verifier asks of a chain.
type VerifierOption func(*verifierOptions)

type verifierOptions struct {
	sha1, revocation bool
	lists            []*RevocationList
}

// WithSHA1Chains lets chains count in which certificates are signed with SHA-1, as ResultWeak; without it they are untrusted.
func WithSHA1Chains() VerifierOption { return func(o *verifierOptions) { o.sha1 = true } }

// WithRevocation has the certificates of a chain looked up in revocation lists. Those whose signature is not of a certificate of the
// bundle are not used.
func WithRevocation(lists []*RevocationList) VerifierOption {
	return func(o *verifierOptions) { o.revocation, o.lists = true, lists }
}

// NewVerifier returns a Verifier that trusts the certificates of the bundle, and those issued by them, root or not. The bundle is to hold
// the authority that issues to PEC providers (AgID CA1) and not the commercial one above it: any customer of that one could sign.
// With an empty bundle nothing is ever verified, at best untrusted. With an index, a certificate must also be one of the provider that
// manages the domain of the sender.
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

// UnusedLists returns, for people, which revocation lists are of no use, and why.
func (v *Verifier) UnusedLists() []string { return v.unused }

// ParseBundle reads a trust bundle: certificates in PEM. Text between them is passed over. A bundle without a certificate, with a block of
// another kind, or with one that is broken or cut off, is an error.
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

// pemBlocks returns what the blocks of a file in PEM hold. One of another kind, broken or cut off is an error.
func pemBlocks(text []byte, kind string) ([][]byte, error) {
	const begin = "\n-----BEGIN "
	// A byte-order mark, as editors put it there, would hide the first one.
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	begun := bytes.Count(append([]byte("\n"), text...), []byte(begin))
	var blocks [][]byte
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != kind {
			return nil, fmt.Errorf("block %d is a %s: want only %s", len(blocks)+1, block.Type, kind)
		}
		blocks = append(blocks, block.Bytes)
	}
	// The decoder passes over what it cannot read.
	if len(blocks) < begun {
		return nil, fmt.Errorf("of %d blocks in PEM only %d are whole", begun, len(blocks))
	}
	return blocks, nil
}

// Verify verifies the S/MIME signature of a message (RFC 8551 3.5.3; RFC 6109 2.1, 5.5). From is the value of its From field, as
// Declared keeps it: its one address must be that of the certificate. At is when the message arrived. The certificates must be valid
// when it was signed, where the signer's time agrees with that arrival: it is at most five days before it. Else, since anybody can
// write a time, they must be valid at the arrival. The signed part is read as a stream. An error is that of the reader or of ctx: nothing is known of the signature then.
func (v *Verifier) Verify(ctx context.Context, r io.ReaderAt, t *part.Table, from string, at time.Time) (Signature, error) {
	signed, signature, reason := signatureParts(t)
	if reason != "" {
		return Signature{Result: ResultUnsigned, Reason: reason}, nil
	}
	invalid := func(reason string) (Signature, error) { return Signature{Result: ResultInvalid, Reason: reason}, nil }
	if signature < 0 {
		return invalid("a multipart/signed has two parts, this one has not")
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
	// They tell of certificates that anybody may have made.
	s.Reason, s.RevocationReason = clipRunes(s.Reason, maxReason), clipRunes(s.RevocationReason, maxReason)
	return s, nil
}

// signatureParts returns the signed part and the signature part of a message (RFC 1847 2.1). Reason says why the message is unsigned;
// without one, a signature of -1 says that the parts are not as they must be.
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
		return -1, -1, "no multipart/signed"
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
		return -1, -1, fmt.Sprintf("signed as %.100q, not by S/MIME", kind)
	}
	if len(children) != 2 {
		return -1, -1, ""
	}
	return children[0], children[1], ""
}

func isSignatureType(name string) bool {
	return name == "application/pkcs7-signature" || name == "application/x-pkcs7-signature"
}

// matches reports whether the digest of the signed part is the one that was signed. The part goes from its header to its end; the line
// end before the delimiter is not signed. Lines in a message from elsewhere may end in LF alone; they were CRLF when signed (RFC 8551 3.1.1).
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

// errNoSigner says that the certificate of the signer did not come with a signature: nobody can say whether it is right.
var errNoSigner = errors.New("the certificate of the signer is missing")

// signer returns the certificate whose key made the signature. The certificates come in any order, and several may bear the name of the
// signer: what counts is the key.
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

// parseCertificate reads a certificate that came with a message; nil for one that cannot be read, or whose key is so long that its
// use would take the machine's time.
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

// chain returns what is kept of certificates that lead nowhere.
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

// judge decides whether a signature that fits the message is of a trusted provider, and of the one that the message comes from.
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
		s.Result, s.Weak, s.Reason = ResultWeak, true, "the chain holds a certificate that is signed with SHA-1"
	}
}

// moment returns the time at which the certificates must be valid: the signer's, where the arrival of the message agrees with it.
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
		return "", errors.New("the field From does not hold exactly one address")
	}
	return list[0].Mailbox(), nil
}

// sameAddress reports whether two addresses are the same in any case. A certificate has the domain in ASCII (RFC 5280 4.2.1.6), a From field
// in either form.
func sameAddress(a, b string) bool {
	i, j := strings.LastIndexByte(a, '@'), strings.LastIndexByte(b, '@')
	return i >= 0 && j >= 0 && equalFold(a[:i], b[:j]) && domainKey(a[i+1:]) == domainKey(b[j+1:])
}

// trust looks for a chain from the signer to the bundle. The profile (RFC 6109 5.5) wants a certificate that is no authority and whose
// key may sign; where extended uses are named, e-mail must be among them. Weak says that the chain holds a signature with SHA-1.
func (v *Verifier) trust(signer *x509.Certificate, data *signedData, moment time.Time) (chain []*x509.Certificate, weak bool, err error) {
	switch {
	case v.roots == nil:
		return nil, false, errors.New("no certificate is trusted")
	case signer.IsCA:
		return nil, false, errors.New("the certificate of the signer is one of an authority")
	case signer.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return nil, false, errors.New("the certificate of the signer is not for digital signatures")
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
