package pec

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	_ "crypto/sha1" // for crypto.SHA1.New: providers still sign with it
	_ "crypto/sha256"
	_ "crypto/sha512"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// maxCertificates is the most certificates read from one signature.
const maxCertificates = 16

// Object identifiers of RFC 5652, RFC 8017, RFC 5754 and RFC 5758: their contents in DER.
const (
	oidData       = "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01"
	oidSignedData = "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02"

	oidContentType   = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x03"
	oidMessageDigest = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x04"
	oidSigningTime   = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x05"

	oidSHA1   = "\x2b\x0e\x03\x02\x1a"
	oidSHA256 = "\x60\x86\x48\x01\x65\x03\x04\x02\x01"
	oidSHA384 = "\x60\x86\x48\x01\x65\x03\x04\x02\x02"
	oidSHA512 = "\x60\x86\x48\x01\x65\x03\x04\x02\x03"

	oidRSA         = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"
	oidRSASHA1     = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05"
	oidRSAPSS      = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a"
	oidRSASHA256   = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b"
	oidRSASHA384   = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c"
	oidRSASHA512   = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d"
	oidECDSASHA1   = "\x2a\x86\x48\xce\x3d\x04\x01"
	oidECDSASHA256 = "\x2a\x86\x48\xce\x3d\x04\x03\x02"
	oidECDSASHA384 = "\x2a\x86\x48\xce\x3d\x04\x03\x03"
	oidECDSASHA512 = "\x2a\x86\x48\xce\x3d\x04\x03\x04"
	oidECDSAKey    = "\x2a\x86\x48\xce\x3d\x02\x01" // some name the key type in place of an algorithm
	oidSHA1OIWWith = "\x2b\x0e\x03\x02\x1d"         // sha-1WithRSAEncryption of OIW, as RSASHA1
)

// digestOf returns the digest of a digest or signature algorithm by its object identifier; 0 for an unknown one.
func digestOf(oid string) crypto.Hash {
	switch oid {
	case oidSHA1, oidRSASHA1, oidSHA1OIWWith, oidECDSASHA1:
		return crypto.SHA1
	case oidSHA256, oidRSASHA256, oidECDSASHA256:
		return crypto.SHA256
	case oidSHA384, oidRSASHA384, oidECDSASHA384:
		return crypto.SHA384
	case oidSHA512, oidRSASHA512, oidECDSASHA512:
		return crypto.SHA512
	}
	return 0
}

// signedData holds what is needed of a CMS SignedData (RFC 5652 5) with one signer.
type signedData struct {
	content      []byte   // enclosed; nil in a detached signature
	certificates [][]byte // DER, in their order, at most maxCertificates

	digest        crypto.Hash
	issuer        der // Name, DER; empty if a key identifier names the signer
	serial        der
	keyID         []byte
	attributes    []byte // the signed attributes as a DER SET OF: the signature covers these bytes
	messageDigest []byte
	signingTime   time.Time // zero where absent
	algorithm     string    // object identifier of the signature algorithm
	parameters    der       // of the algorithm
	signature     []byte
}

// parseSignedData reads a CMS SignedData in BER. It must have signed attributes that name the content type data: a signature without them
// could be passed off as one over other bytes (RFC 5652 5.3).
func parseSignedData(ber []byte) (*signedData, error) {
	b, err := toDER(ber)
	if err != nil {
		return nil, err
	}
	top := der(b)
	info, ok := top.take(tagSequence)
	kind, ok1 := info.take(tagOID)
	explicit, ok2 := info.take(tagContext0)
	body, ok3 := explicit.take(tagSequence)
	if !ok || !ok1 || !ok2 || !ok3 {
		return nil, errDER
	}
	if string(kind) != oidSignedData {
		return nil, errors.New("not a SignedData")
	}
	var s signedData
	_, ok = body.take(tagInteger)
	_, ok1 = body.take(tagSet)
	enclosed, ok2 := body.take(tagSequence)
	if !ok || !ok1 || !ok2 || !s.readContent(enclosed) {
		return nil, errDER
	}
	if body.peek(tagContext0) {
		list, ok := body.take(tagContext0)
		if !ok || !s.readCertificates(list) {
			return nil, errDER
		}
	}
	if !body.skip(tagContext1) {
		return nil, errDER
	}
	signers, ok := body.take(tagSet)
	if !ok {
		return nil, errDER
	}
	signer, ok := signers.take(tagSequence)
	if !ok {
		return nil, errors.New("no signer")
	}
	if len(signers) > 0 {
		return nil, errors.New("more than one signer")
	}
	if err := s.readSigner(signer); err != nil {
		return nil, err
	}
	return &s, nil
}

// readContent reads the EncapsulatedContentInfo.
func (s *signedData) readContent(d der) bool {
	if _, ok := d.take(tagOID); !ok {
		return false
	}
	if !d.peek(tagContext0) {
		return true
	}
	explicit, ok := d.take(tagContext0)
	if !ok {
		return false
	}
	content, ok := explicit.take(tagOctetString)
	s.content = content
	return ok
}

// readCertificates reads the certificates, and skips other forms (attribute certificates).
func (s *signedData) readCertificates(d der) bool {
	for len(d) > 0 {
		tag, _, whole, ok := d.next()
		if !ok {
			return false
		}
		if tag == tagSequence && len(s.certificates) < maxCertificates {
			s.certificates = append(s.certificates, whole)
		}
	}
	return true
}

// readSigner reads the SignerInfo.
func (s *signedData) readSigner(d der) error {
	if _, ok := d.take(tagInteger); !ok {
		return errDER
	}
	tag, content, _, ok := d.next()
	switch {
	case ok && tag == tagKeyID:
		s.keyID = content
	case ok && tag == tagSequence:
		name := der(content)
		_, _, issuer, ok := name.next()
		serial, ok1 := name.take(tagInteger)
		if !ok || !ok1 {
			return errDER
		}
		s.issuer, s.serial = issuer, serial
	default:
		return errDER
	}
	oid, _, ok := takeAlgorithm(&d)
	if !ok {
		return errDER
	}
	if s.digest = digestOf(oid); s.digest == 0 {
		return errors.New("unknown digest algorithm")
	}
	if !d.peek(tagContext0) {
		return errors.New("no signed attributes")
	}
	attributes, ok := d.take(tagContext0)
	if !ok {
		return errDER
	}
	if err := s.readAttributes(attributes); err != nil {
		return err
	}
	s.attributes = appendElement(nil, []byte{tagSet}, attributes)
	if s.algorithm, s.parameters, ok = takeAlgorithm(&d); !ok {
		return errDER
	}
	if s.signature, ok = d.take(tagOctetString); !ok {
		return errDER
	}
	return nil
}

// takeAlgorithm takes an AlgorithmIdentifier: its object identifier and its parameters.
func takeAlgorithm(d *der) (oid string, parameters der, ok bool) {
	sequence, ok := d.take(tagSequence)
	if !ok {
		return "", nil, false
	}
	name, ok := sequence.take(tagOID)
	return string(name), sequence, ok
}

// readAttributes reads the signed attributes that matter. Each may stand once, with one value (RFC 5652 11).
func (s *signedData) readAttributes(d der) error {
	seen := make(map[string]bool)
	for len(d) > 0 {
		attribute, ok := d.take(tagSequence)
		name, ok1 := attribute.take(tagOID)
		values, ok2 := attribute.take(tagSet)
		if !ok || !ok1 || !ok2 {
			return errDER
		}
		oid := string(name)
		if oid != oidContentType && oid != oidMessageDigest && oid != oidSigningTime {
			continue
		}
		tag, content, _, ok := values.next()
		if !ok || len(values) > 0 || seen[oid] {
			return errors.New("a signed attribute does not have exactly one value")
		}
		seen[oid] = true
		switch {
		case oid == oidContentType && (tag != tagOID || string(content) != oidData):
			return errors.New("the content type is not data")
		case oid == oidMessageDigest:
			if tag != tagOctetString {
				return errDER
			}
			s.messageDigest = content
		case oid == oidSigningTime:
			s.signingTime = parseTime(tag, content)
		}
	}
	if !seen[oidContentType] || !seen[oidMessageDigest] {
		return errors.New("no content type or message digest among the signed attributes")
	}
	return nil
}

// parseTime reads a UTCTime or GeneralizedTime, in UTC; zero if it cannot. The years of a UTCTime run from 1950 (RFC 5652 11.3).
func parseTime(tag byte, content []byte) time.Time {
	layout := "060102150405Z0700"
	if tag == tagTime {
		layout = "20060102150405Z0700"
	} else if tag != tagUTCTime {
		return time.Time{}
	}
	t, err := time.Parse(layout, string(content))
	if err != nil {
		return time.Time{}
	}
	if tag == tagUTCTime && t.Year() >= 2050 {
		t = t.AddDate(-100, 0, 0)
	}
	return t.UTC()
}

// names reports whether the signature names this certificate as the signer's.
func (s *signedData) names(c *x509.Certificate) bool {
	if s.keyID != nil {
		return bytes.Equal(s.keyID, c.SubjectKeyId)
	}
	return s.issuer.equal(c.RawIssuer) && bytes.Equal(s.serial, serialOf(c))
}

// serialOf returns the bytes of a certificate's serial number as encoded, which is not always minimal.
func serialOf(c *x509.Certificate) []byte {
	d := der(c.RawTBSCertificate)
	body, _ := d.take(tagSequence)
	body.skip(tagContext0)
	serial, _ := body.take(tagInteger)
	return serial
}

var errSignature = errors.New("the signature does not match the certificate")

// check verifies the signature over the signed attributes with the key of a certificate.
func (s *signedData) check(c *x509.Certificate) error {
	hash := s.signatureHash()
	if hash == 0 {
		return errors.New("unknown signature algorithm")
	}
	h := hash.New()
	h.Write(s.attributes)
	digest := h.Sum(nil)
	switch key := c.PublicKey.(type) {
	case *rsa.PublicKey:
		if s.algorithm == oidRSAPSS {
			if rsa.VerifyPSS(key, hash, digest, s.signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto}) != nil {
				return errSignature
			}
			return nil
		}
		if s.isECDSA() || rsa.VerifyPKCS1v15(key, hash, digest, s.signature) != nil {
			return errSignature
		}
		return nil
	case *ecdsa.PublicKey:
		if !s.isECDSA() || !ecdsa.VerifyASN1(key, digest, s.signature) {
			return errSignature
		}
		return nil
	}
	return fmt.Errorf("keys of type %v are not supported", c.PublicKeyAlgorithm)
}

func (s *signedData) isECDSA() bool {
	switch s.algorithm {
	case oidECDSASHA1, oidECDSASHA256, oidECDSASHA384, oidECDSASHA512, oidECDSAKey:
		return true
	}
	return false
}

// signatureHash returns the digest that the attributes were signed with; 0 for an unknown algorithm.
func (s *signedData) signatureHash() crypto.Hash {
	switch s.algorithm {
	case oidRSA, oidECDSAKey:
		return s.digest
	case oidRSAPSS:
		// RSASSA-PSS-params (RFC 4055 3.1): the digest is [0], SHA-1 if absent. The mask function uses the same digest (RFC 4056 3).
		d := s.parameters
		parameters, ok := d.take(tagSequence)
		if !ok {
			return 0
		}
		if !parameters.peek(tagContext0) {
			return crypto.SHA1
		}
		explicit, _ := parameters.take(tagContext0)
		oid, _, _ := takeAlgorithm(&explicit)
		return digestOf(oid)
	}
	return digestOf(s.algorithm)
}
