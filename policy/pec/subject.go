package pec

import (
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"
)

var oidEmailAddress = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 1}

// attributeNames maps object identifiers of subject attributes to names: the short names of RFC 4514 3 and package crypto/x509/pkix, and the full
// names of X.520, RFC 4519 and ETSI EN 319 412-1 for others that occur in providers' certificates.
var attributeNames = map[string]string{
	"2.5.4.3": "CN", "2.5.4.5": "SERIALNUMBER", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST", "2.5.4.9": "STREET", "2.5.4.10": "O",
	"2.5.4.11": "OU", "2.5.4.17": "POSTALCODE", "0.9.2342.19200300.100.1.25": "DC", "0.9.2342.19200300.100.1.1": "UID",
	"2.5.4.4": "surname", "2.5.4.12": "title", "2.5.4.13": "description", "2.5.4.15": "businessCategory", "2.5.4.16": "postalAddress",
	"2.5.4.20": "telephoneNumber", "2.5.4.41": "name", "2.5.4.42": "givenName", "2.5.4.43": "initials", "2.5.4.44": "generationQualifier",
	"2.5.4.46": "dnQualifier", "2.5.4.65": "pseudonym", "2.5.4.97": "organizationIdentifier", "1.2.840.113549.1.9.1": "emailAddress",
	"1.3.6.1.4.1.311.60.2.1.1": "jurisdictionLocality", "1.3.6.1.4.1.311.60.2.1.2": "jurisdictionStateOrProvince",
	"1.3.6.1.4.1.311.60.2.1.3": "jurisdictionCountry",
}

// SubjectText returns the subject of a certificate for people, in the form of RFC 4514: the last attribute first, separated by commas, at most
// 1 KiB. Unknown attributes appear under their object identifier. Values always appear as text.
func SubjectText(c *x509.Certificate) string {
	var list []string
	size := 0
	for _, a := range slices.Backward(c.Subject.Names) {
		if size > maxValue {
			break
		}
		name := attributeNames[a.Type.String()]
		if name == "" {
			name = a.Type.String()
		}
		list = append(list, name+"="+escapeAttribute(clipRunes(fmt.Sprint(a.Value), maxValue)))
		size += len(list[len(list)-1])
	}
	return clipRunes(strings.Join(list, ","), maxValue)
}

// escapeAttribute escapes special characters in a value (RFC 4514 2.4).
func escapeAttribute(value string) string {
	var b strings.Builder
	for i, r := range value {
		switch {
		case r == 0:
			b.WriteString(`\00`)
			continue
		case strings.ContainsRune(`,+"\<>;`, r), i == 0 && (r == ' ' || r == '#'), i == len(value)-1 && r == ' ':
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}
