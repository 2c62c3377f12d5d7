package pec

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"
)

// MaxRevocationLists is the greatest size of a file of revocation lists, in bytes.
const MaxRevocationLists = 8 << 20

// Revocation is what revocation lists say about the certificates of a chain. Others script against the values.
type Revocation string

// The answers.
const (
	RevocationUnchecked Revocation = ""        // not asked: no lists are configured, or there is no chain
	RevocationGood      Revocation = "good"    // a list in force at arrival covers each certificate, and none was revoked at signing
	RevocationRevoked   Revocation = "revoked" // a certificate was revoked when the message was signed
	RevocationUnknown   Revocation = "unknown" // a certificate has no list, or none that was in force
)

// RevocationList is a complete CRL (RFC 5280 5). It is immutable.
type RevocationList struct {
	crl      *x509.RevocationList
	revoked  map[string]time.Time // by the bytes of the serial number: since when
	points   []string             // URIs of the distribution points that the list is limited to
	partial  bool                 // limited to distribution points
	userOnly bool                 // about certificates that are not of authorities only
	caOnly   bool                 // about authorities only
}

// Issuer returns the name of the issuer for people.
func (l *RevocationList) Issuer() string {
	return SubjectText(&x509.Certificate{Subject: l.crl.Issuer})
}

// Len returns the number of revoked certificates.
func (l *RevocationList) Len() int { return len(l.revoked) }

// NextUpdate returns when the list expires, in UTC.
func (l *RevocationList) NextUpdate() time.Time { return l.crl.NextUpdate.UTC() }

// ParseRevocationLists reads one CRL in DER, or one or more in PEM, with any text between them. Lists of other issuers' certificates, of some
// reasons only, or of changes to another list (RFC 5280 5.2.4, 5.2.5) are errors: such a list cannot prove a certificate good. So are
// files over MaxRevocationLists.
func ParseRevocationLists(b []byte) ([]*RevocationList, error) {
	if len(b) > MaxRevocationLists {
		return nil, fmt.Errorf("over %d bytes", MaxRevocationLists)
	}
	if len(b) > 0 && b[0] == tagSequence {
		l, err := parseRevocationList(b)
		return []*RevocationList{l}, err
	}
	blocks, err := pemBlocks(b, "X509 CRL")
	if err != nil {
		return nil, err
	}
	if len(blocks) == 0 {
		return nil, errors.New("no revocation list in DER or PEM")
	}
	lists := make([]*RevocationList, len(blocks))
	for i, block := range blocks {
		if lists[i], err = parseRevocationList(block); err != nil {
			return nil, fmt.Errorf("list %d: %w", i+1, err)
		}
	}
	return lists, nil
}

var (
	oidInvalidityDate  = asn1.ObjectIdentifier{2, 5, 29, 24}
	oidDistribution    = asn1.ObjectIdentifier{2, 5, 29, 28}
	harmlessListParts  = []asn1.ObjectIdentifier{{2, 5, 29, 20}, {2, 5, 29, 35}, {2, 5, 29, 46}} // number, key of the issuer, freshest list
	harmlessEntryParts = []asn1.ObjectIdentifier{{2, 5, 29, 21}, oidInvalidityDate}              // reason
)

func parseRevocationList(b []byte) (*RevocationList, error) {
	crl, err := x509.ParseRevocationList(b)
	if err != nil {
		return nil, err
	}
	l := &RevocationList{revoked: make(map[string]time.Time, len(crl.RevokedCertificateEntries))}
	for _, e := range crl.Extensions {
		switch {
		case e.Id.Equal(oidDistribution):
			if err := l.readDistribution(e.Value); err != nil {
				return nil, err
			}
		case e.Critical && !slices.ContainsFunc(harmlessListParts, e.Id.Equal):
			return nil, fmt.Errorf("unsupported critical extension %v: the list may be incomplete", e.Id)
		}
	}
	for i := range crl.RevokedCertificateEntries {
		r := &crl.RevokedCertificateEntries[i]
		since := r.RevocationTime
		for _, e := range r.Extensions {
			switch {
			case e.Id.Equal(oidInvalidityDate):
				// The owner is known or suspected to have lost the key at that time (RFC 5280 5.3.2).
				d := der(e.Value)
				if tag, content, _, ok := d.next(); ok {
					if t := parseTime(tag, content); !t.IsZero() && t.Before(since) {
						since = t
					}
				}
			case e.Critical && !slices.ContainsFunc(harmlessEntryParts, e.Id.Equal):
				return nil, fmt.Errorf("certificate %v has the unknown critical extension %v", r.SerialNumber, e.Id)
			}
		}
		serial := string(r.SerialNumber.Bytes())
		if before, ok := l.revoked[serial]; !ok || since.Before(before) {
			l.revoked[serial] = since.UTC()
		}
	}
	// Drop the entries: the map holds them in less memory. CheckSignatureFrom needs only these fields.
	l.crl = &x509.RevocationList{
		RawTBSRevocationList: crl.RawTBSRevocationList, RawIssuer: crl.RawIssuer, Issuer: crl.Issuer,
		Signature: crl.Signature, SignatureAlgorithm: crl.SignatureAlgorithm,
		ThisUpdate: crl.ThisUpdate, NextUpdate: crl.NextUpdate,
	}
	return l, nil
}

// readDistribution reads the IssuingDistributionPoint (RFC 5280 5.2.5): which certificates the list is about.
func (l *RevocationList) readDistribution(value []byte) error {
	d := der(value)
	fields, ok := d.take(tagSequence)
	for ok && len(fields) > 0 {
		var tag byte
		var content []byte
		if tag, content, _, ok = fields.next(); !ok {
			break
		}
		set := len(content) == 1 && content[0] != 0
		switch tag {
		case tagContext0:
			l.partial = true
			point := der(content)
			names, _ := point.take(tagContext0)
			for len(names) > 0 {
				const tagURI = 0x86 // [6]
				tag, uri, _, ok := names.next()
				if !ok {
					break
				}
				if tag == tagURI {
					l.points = append(l.points, string(uri))
				}
			}
		case 0x81:
			l.userOnly = set
		case 0x82:
			l.caOnly = set
		default: // some reasons only, indirect, attribute certificates
			if tag == 0x83 || set {
				return errors.New("the list covers only some reasons, other issuers, or attribute certificates")
			}
		}
	}
	if !ok {
		return errDER
	}
	return nil
}

// covers reports whether the list would name a certificate of its issuer if that were revoked.
func (l *RevocationList) covers(c *x509.Certificate) bool {
	switch {
	case l.userOnly && c.IsCA, l.caOnly && !c.IsCA:
		return false
	case l.partial:
		return slices.ContainsFunc(c.CRLDistributionPoints, func(uri string) bool { return slices.Contains(l.points, uri) })
	}
	return true
}

// issuerKey identifies an authority by name and key: it may have several certificates with one name, some of them with the same key.
func issuerKey(c *x509.Certificate) string {
	return string(c.RawSubject) + string(c.RawSubjectPublicKeyInfo)
}

// useRevocationLists takes the lists signed by a certificate of the bundle.
func (v *Verifier) useRevocationLists(bundle []*x509.Certificate, lists []*RevocationList) {
	used := make(map[*RevocationList]bool)
	v.revocations = make(map[string][]*RevocationList)
	for _, l := range lists {
		reason := "its issuer is not in the trust bundle"
		for i, c := range bundle {
			key := issuerKey(c)
			if !bytes.Equal(c.RawSubject, l.crl.RawIssuer) ||
				slices.ContainsFunc(bundle[:i], func(b *x509.Certificate) bool { return issuerKey(b) == key }) {
				continue
			}
			switch {
			case !v.sha1 && usesSHA1(l.crl.SignatureAlgorithm):
				reason = "it is signed with SHA-1"
			case l.crl.CheckSignatureFrom(c) != nil:
				reason = "no authority in the trust bundle made its signature"
			default:
				v.revocations[key] = append(v.revocations[key], l)
				used[l] = true
			}
		}
		if !used[l] {
			v.unused = append(v.unused, fmt.Sprintf("revocation list of %s: %s", l.Issuer(), reason))
		}
	}
}

// checkRevocation says whether certificates of a chain, except the trusted one at its end, were revoked at the given moment. At is when the
// message arrived: lists must have been in force then. The text says why the result is not RevocationGood.
func (v *Verifier) checkRevocation(chain []*x509.Certificate, moment, at time.Time) (Revocation, string) {
	if v.revocations == nil {
		return RevocationUnchecked, ""
	}
	result, reason := RevocationGood, ""
	for i, c := range chain[:len(chain)-1] {
		switch r, why := v.revoked(c, chain[i+1], moment, at); {
		case r == RevocationRevoked:
			return r, why
		case r == RevocationUnknown && result == RevocationGood:
			result, reason = r, why
		}
	}
	return result, reason
}

// revoked says whether one certificate was revoked.
func (v *Verifier) revoked(c, issuer *x509.Certificate, moment, at time.Time) (Revocation, string) {
	result, reason := RevocationUnknown, "there is no revocation list of "+SubjectText(issuer)
	for _, l := range v.revocations[issuerKey(issuer)] {
		// An expired list still tells what was revoked.
		if since, ok := l.revoked[string(c.SerialNumber.Bytes())]; ok && !moment.Before(since) {
			return RevocationRevoked, fmt.Sprintf("the certificate of %s was revoked on %s", SubjectText(c), since.Format(time.RFC3339))
		}
		if why := l.silent(c, at); why == "" {
			result, reason = RevocationGood, ""
		} else if result == RevocationUnknown {
			reason = fmt.Sprintf("the revocation list of %s %s", SubjectText(issuer), why)
		}
	}
	return result, reason
}

// silent returns why the list, by not naming a certificate, does not prove it good; "" if it does prove it.
func (l *RevocationList) silent(c *x509.Certificate, at time.Time) string {
	from, until := l.crl.ThisUpdate, l.crl.NextUpdate
	switch {
	case !l.covers(c):
		return "does not cover this kind of certificate"
	case until.IsZero():
		return "does not say when it expires"
	case !at.Before(until):
		return "expired on " + until.UTC().Format(time.RFC3339)
	case from.After(at.Add(clockSkew)):
		return "is in force only from " + from.UTC().Format(time.RFC3339)
	case from.After(c.NotAfter):
		// Lists need not name expired certificates (RFC 5280 3.3).
		return "was made after the certificate expired"
	}
	return ""
}
