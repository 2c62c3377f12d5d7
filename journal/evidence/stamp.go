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
)

// stampInfo is what is read of a TSTInfo (RFC 3161 section 2.4.2).
type stampInfo struct {
	imprint messageImprint
	time    time.Time
	nonce   *big.Int // nil for none
}

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
// judged at the time of the stamp, since it may have ended meanwhile. roots may be nil: then who signed is not judged. The error wraps ErrStamp.
func CheckStamp(der []byte, digest Hash, roots *x509.CertPool) (Stamp, error) {
	token, info, err := readStamp(der)
	if err != nil {
		return Stamp{}, fmt.Errorf("%w: %w", ErrStamp, err)
	}
	if !info.imprint.Algorithm.Algorithm.Equal(oidSHA256) || !bytes.Equal(info.imprint.Hash, digest[:]) {
		return Stamp{}, fmt.Errorf("%w: it is over something else", ErrStamp)
	}
	signer := token.GetOnlySigner()
	if signer == nil {
		return Stamp{}, fmt.Errorf("%w: it has no single signer", ErrStamp)
	}
	if !slices.Contains(signer.ExtKeyUsage, x509.ExtKeyUsageTimeStamping) {
		return Stamp{}, fmt.Errorf("%w: the certificate of %s is not for time stamping", ErrStamp, signer.Subject)
	}
	if roots == nil {
		err = token.Verify()
	} else {
		err = token.VerifyWithChainAtTime(roots, info.time)
	}
	if err != nil {
		return Stamp{}, fmt.Errorf("%w: signed by %s: %w", ErrStamp, signer.Subject, err)
	}
	return Stamp{info.time.UTC(), signer.Subject.String(), info.nonce}, nil
}

// ReadStamp reads what an answer says, and judges nothing. The error wraps ErrStamp.
func ReadStamp(der []byte) (Stamp, error) {
	token, info, err := readStamp(der)
	if err != nil {
		return Stamp{}, fmt.Errorf("%w: %w", ErrStamp, err)
	}
	s := Stamp{Time: info.time.UTC(), nonce: info.nonce}
	if signer := token.GetOnlySigner(); signer != nil {
		s.Signer = signer.Subject.String()
	}
	return s, nil
}

func readStamp(der []byte) (*pkcs7.PKCS7, *stampInfo, error) {
	var response stampResponse
	if err := unmarshal(der, &response); err != nil {
		return nil, nil, fmt.Errorf("malformed answer: %w", err)
	}
	// The token tells, not the status alone: granted (0), or granted with changes (1).
	if s := response.Status; s.Status > 1 || len(response.Token.FullBytes) == 0 {
		return nil, nil, fmt.Errorf("the authority refused: status %d %q", s.Status, s.Text)
	}
	token, err := pkcs7.Parse(response.Token.FullBytes)
	if err != nil {
		return nil, nil, fmt.Errorf("malformed token: %w", err)
	}
	info, err := readInfo(token.Content)
	if err != nil {
		return nil, nil, fmt.Errorf("malformed token: %w", err)
	}
	return token, info, nil
}

// readInfo reads a TSTInfo. Of what is optional behind the time only the nonce is an INTEGER.
func readInfo(der []byte) (*stampInfo, error) {
	var all asn1.RawValue
	if err := unmarshal(der, &all); err != nil {
		return nil, err
	}
	var (
		info    stampInfo
		version int
		policy  asn1.ObjectIdentifier
		serial  *big.Int
		rest    = all.Bytes
		err     error
	)
	for _, v := range []any{&version, &policy, &info.imprint, &serial} {
		if rest, err = asn1.Unmarshal(rest, v); err != nil {
			return nil, err
		}
	}
	var written asn1.RawValue
	if rest, err = asn1.Unmarshal(rest, &written); err != nil {
		return nil, err
	}
	// With fractions of a second, which package asn1 does not read.
	if info.time, err = time.Parse("20060102150405Z", string(written.Bytes)); err != nil || written.Tag != asn1.TagGeneralizedTime {
		return nil, fmt.Errorf("time %q: %w", written.Bytes, errors.Join(err, ErrStamp))
	}
	for len(rest) > 0 {
		var v asn1.RawValue
		before := rest
		if rest, err = asn1.Unmarshal(rest, &v); err != nil {
			return nil, err
		}
		if v.Class == asn1.ClassUniversal && v.Tag == asn1.TagInteger {
			if _, err := asn1.Unmarshal(before, &info.nonce); err != nil {
				return nil, err
			}
		}
	}
	return &info, nil
}

// unmarshal reads DER without anything behind it.
func unmarshal(der []byte, v any) error {
	rest, err := asn1.Unmarshal(der, v)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%d bytes behind it", len(rest))
	}
	return err
}
