package pectest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/asn1"
	"encoding/base64"
	"slices"
	"strings"
	"time"
)

// Digests by their object identifiers.
var digests = map[crypto.Hash]asn1.ObjectIdentifier{
	crypto.SHA1:   {1, 3, 14, 3, 2, 26},
	crypto.SHA256: {2, 16, 840, 1, 101, 3, 4, 2, 1},
	crypto.SHA384: {2, 16, 840, 1, 101, 3, 4, 2, 2},
	crypto.SHA512: {2, 16, 840, 1, 101, 3, 4, 2, 3},
}

var (
	oidData       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}
	oidSignedData = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidRSA        = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
	oidECDSA      = map[crypto.Hash]asn1.ObjectIdentifier{crypto.SHA256: {1, 2, 840, 10045, 4, 3, 2}, crypto.SHA384: {1, 2, 840, 10045, 4, 3, 3}}
)

// element encodes an ASN.1 element.
func element(tag byte, contents ...[]byte) []byte {
	content := bytes.Join(contents, nil)
	head := []byte{tag, byte(len(content))}
	if len(content) >= 0x80 {
		head = []byte{tag, 0x83, byte(len(content) >> 16), byte(len(content) >> 8), byte(len(content))}
		if len(content) < 0x100 {
			head = []byte{tag, 0x81, byte(len(content))}
		} else if len(content) < 0x10000 {
			head = []byte{tag, 0x82, byte(len(content) >> 8), byte(len(content))}
		}
	}
	return append(head, content...)
}

// value encodes a value with encoding/asn1.
func value(v any) []byte {
	b, err := asn1.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}

// CMS says how to make a signature.
type CMS struct {
	Identity *Identity
	Digest   crypto.Hash
	Time     time.Time // signingTime
	Enclose  bool      // enclose the content in the signature
	Twice    bool      // name the signer twice
	Bare     bool      // leave out the signer's certificate
	// Attributes, if not nil, changes the signed attributes before signing. Each is a DER element.
	Attributes func([][]byte) [][]byte
}

// Sign signs content and returns the CMS SignedData (RFC 5652) in DER.
func (c CMS) Sign(content []byte) []byte {
	const set, sequence = 0x31, 0x30
	digest := func(b []byte) []byte {
		h := c.Digest.New()
		h.Write(b)
		return h.Sum(nil)
	}
	attribute := func(oid asn1.ObjectIdentifier, v []byte) []byte {
		return element(sequence, value(oid), element(set, v))
	}
	attributes := [][]byte{
		attribute(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}, value(oidData)),
		attribute(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 5}, value(c.Time.UTC())),
		attribute(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}, value(digest(content))),
	}
	if c.Attributes != nil {
		attributes = c.Attributes(attributes)
	}
	slices.SortFunc(attributes, bytes.Compare)
	signature, err := c.Identity.Key.Sign(rand.Reader, digest(element(set, attributes...)), c.Digest)
	if err != nil {
		panic(err)
	}
	algorithm := element(sequence, value(oidRSA), value(asn1.NullRawValue))
	if _, ok := c.Identity.Key.(*ecdsa.PrivateKey); ok {
		algorithm = element(sequence, value(oidECDSA[c.Digest]))
	}
	digestAlgorithm := element(sequence, value(digests[c.Digest]), value(asn1.NullRawValue))
	certificate := c.Identity.Certificate
	signer := element(sequence, value(1), element(sequence, certificate.RawIssuer, value(certificate.SerialNumber)), digestAlgorithm,
		element(0xa0, attributes...), algorithm, value(signature))
	if c.Twice {
		signer = append(signer, signer...)
	}
	enclosed := value(oidData)
	if c.Enclose {
		enclosed = append(enclosed, element(0xa0, value(content))...)
	}
	var certificates []byte
	for _, extra := range c.Identity.Extra {
		certificates = append(certificates, extra.Raw...)
	}
	if !c.Bare {
		certificates = append(certificates, certificate.Raw...)
	}
	if len(certificates) > 0 {
		certificates = element(0xa0, certificates)
	}
	data := element(sequence, value(1), element(set, digestAlgorithm), element(sequence, enclosed), certificates, element(set, signer))
	return element(sequence, value(oidSignedData), element(0xa0, data))
}

// foldBase64 encodes in base64, in lines of a prefix and 76 characters, separated by LF.
func foldBase64(b []byte, prefix string) string {
	text := base64.StdEncoding.EncodeToString(b)
	var out strings.Builder
	out.Grow(len(text) + len(text)/38 + 100)
	for len(text) > 76 {
		out.WriteString(prefix + text[:76] + "\n")
		text = text[76:]
	}
	out.WriteString(prefix + text)
	return out.String()
}
