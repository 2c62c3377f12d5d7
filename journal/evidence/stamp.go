package evidence

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"slices"
	"time"

	"github.com/smallstep/pkcs7"
)

// ErrStamp says that an answer is no time stamp that counts.
var ErrStamp = errors.New("no valid time stamp")

var (
	oidSHA256 = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
)

// The structures of RFC 3161 section 2.4, as far as they are read.
type (
	algorithm struct {
		Algorithm  asn1.ObjectIdentifier
		Parameters asn1.RawValue `asn1:"optional"`
	}
	messageImprint struct {
		Algorithm algorithm
		Hash      []byte
	}
	stampRequest struct {
		Version int
		Imprint messageImprint
		Nonce   *big.Int
		CertReq bool
	}
	stampStatus struct {
		Status int
		Text   []string       `asn1:"optional"`
		Fail   asn1.BitString `asn1:"optional"`
	}
	stampResponse struct {
		Status stampStatus
		Token  asn1.RawValue `asn1:"optional"`
	}
	stampInfo struct {
		Version  int
		Policy   asn1.ObjectIdentifier
		Imprint  messageImprint
		Serial   *big.Int
		Time     time.Time     `asn1:"generalized"`
		Accuracy asn1.RawValue `asn1:"optional,tag:16,class:0"`
		Ordering bool          `asn1:"optional"`
		Nonce    *big.Int      `asn1:"optional"`
		TSA      asn1.RawValue `asn1:"optional,tag:0"`
		More     asn1.RawValue `asn1:"optional,tag:1"`
	}
)

// Stamp is what a time stamping authority says.
type Stamp struct {
	Time   time.Time // UTC
	Signer string    // the subject of its certificate
	nonce  *big.Int
}

// maxStamp is the largest answer of an authority that is read, in bytes.
const maxStamp = 1 << 20

// RequestStamp asks the authority at an URL for a time stamp over a SHA-256 (RFC 3161 section 3.4), and checks the answer. It returns the answer as it
// came, DER, which is what "openssl ts -verify -in" reads.
func RequestStamp(ctx context.Context, client *http.Client, url string, digest Hash, roots *x509.CertPool) ([]byte, Stamp, error) {
	fail := func(err error) ([]byte, Stamp, error) {
		return nil, Stamp{}, fmt.Errorf("ask %s for a time stamp: %w", url, err)
	}
	nonce, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 63))
	if err != nil {
		return fail(err)
	}
	null := asn1.RawValue{Tag: asn1.TagNull}
	query, err := asn1.Marshal(stampRequest{1, messageImprint{algorithm{oidSHA256, null}, digest[:]}, nonce, true})
	if err != nil {
		return fail(err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(query))
	if err != nil {
		return fail(err)
	}
	request.Header.Set("Content-Type", "application/timestamp-query")
	answer, err := client.Do(request)
	if err != nil {
		return fail(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fail(fmt.Errorf("HTTP status %s", answer.Status))
	}
	der, err := io.ReadAll(io.LimitReader(answer.Body, maxStamp))
	if err != nil {
		return fail(err)
	}
	stamp, err := CheckStamp(der, digest, roots)
	if err == nil && (stamp.nonce == nil || stamp.nonce.Cmp(nonce) != 0) {
		err = fmt.Errorf("%w: it answers another question", ErrStamp)
	}
	if err != nil {
		return fail(err)
	}
	return der, stamp, nil
}

// CheckStamp checks the answer of an authority about a SHA-256: that its certificate leads to one of the roots and is for time stamping. The certificate is
// judged at the time of the stamp, since it may have ended meanwhile. roots may be nil: then who signed is not judged.
func CheckStamp(der []byte, digest Hash, roots *x509.CertPool) (Stamp, error) {
	fail := func(format string, args ...any) (Stamp, error) {
		return Stamp{}, fmt.Errorf("%w: %w", ErrStamp, fmt.Errorf(format, args...))
	}
	var response stampResponse
	if rest, err := asn1.Unmarshal(der, &response); err != nil || len(rest) > 0 {
		return fail("malformed answer: %w", errors.Join(err, errTrailing(rest)))
	}
	// The token tells, not the status alone: granted (0), or granted with changes (1).
	if s := response.Status; s.Status > 1 || len(response.Token.FullBytes) == 0 {
		return fail("the authority refused: status %d %q", s.Status, s.Text)
	}
	token, err := pkcs7.Parse(response.Token.FullBytes)
	if err != nil {
		return fail("malformed token: %w", err)
	}
	var info stampInfo
	if rest, err := asn1.Unmarshal(token.Content, &info); err != nil || len(rest) > 0 {
		return fail("malformed token: %w", errors.Join(err, errTrailing(rest)))
	}
	if !info.Imprint.Algorithm.Algorithm.Equal(oidSHA256) || !bytes.Equal(info.Imprint.Hash, digest[:]) {
		return fail("it is over something else")
	}
	signer := token.GetOnlySigner()
	if signer == nil {
		return fail("it has no single signer")
	}
	if !slices.Contains(signer.ExtKeyUsage, x509.ExtKeyUsageTimeStamping) {
		return fail("the certificate of %s is not for time stamping", signer.Subject)
	}
	if roots == nil {
		err = token.Verify()
	} else {
		err = token.VerifyWithChainAtTime(roots, info.Time)
	}
	if err != nil {
		return fail("signed by %s: %w", signer.Subject, err)
	}
	return Stamp{info.Time.UTC(), signer.Subject.String(), info.Nonce}, nil
}

func errTrailing(rest []byte) error {
	if len(rest) == 0 {
		return nil
	}
	return fmt.Errorf("%d bytes behind it", len(rest))
}
