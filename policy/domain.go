package policy

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// maxDomain is the longest domain, in bytes (RFC 5321 section 4.5.3.1.2).
const maxDomain = 255

// CanonicalDomain returns a domain or an address literal in the one form in which domains are stored and compared: lower case, no trailing
// dot, each label in Unicode. Mail and lists of domains use either form of a label (RFC 5890 section 2.3.2.1), "xn--citt-3na" and "città". A
// label that only looks encoded stays as written. A label in Unicode also stays as written: nothing is normalised.
//
// Stored keys contain domains in this form. So it never depends on tables that change between versions of Unicode, as the mappings of
// UTS 46 do. Errors wrap ErrAddress.
func CanonicalDomain(s string) (string, error) {
	bad := func(why string) (string, error) { return "", fmt.Errorf("domain %.100q: %w: %s", s, ErrAddress, why) }
	if len(s) > maxDomain || !utf8.ValidString(s) {
		return bad("too long, or invalid UTF-8")
	}
	if len(s) > 2 && s[0] == '[' && s[len(s)-1] == ']' {
		if strings.IndexFunc(s[1:len(s)-1], notLiteral) >= 0 {
			return bad("bad address literal")
		}
		return strings.ToLower(s), nil
	}
	if isCanonical(s) {
		return s, nil
	}
	labels := strings.Split(strings.ToLower(strings.TrimSuffix(s, ".")), ".")
	for i, label := range labels {
		if label == "" {
			return bad("empty label")
		}
		if strings.IndexFunc(label, notLabel) >= 0 {
			return bad("bad character")
		}
		labels[i] = unicodeLabel(label)
	}
	domain := strings.Join(labels, ".")
	if len(domain) > maxDomain {
		return bad("too long")
	}
	return domain, nil
}

// isCanonical reports whether a domain is surely as CanonicalDomain returns it: nearly all are, and need no copy.
func isCanonical(s string) bool {
	label := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '.' && label == 0:
			return false
		case c == '.':
			label = 0
			continue
		case c == '-' && s[i-label:i] == "xn-":
			return false
		case (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_':
			return false
		}
		label++
	}
	return label > 0
}

// unicodeLabel returns a lower-case label in Unicode.
func unicodeLabel(label string) string {
	if !strings.HasPrefix(label, "xn--") {
		return label
	}
	decoded, err := idna.Punycode.ToUnicode(label)
	if err != nil || strings.ToLower(decoded) != decoded || strings.IndexFunc(decoded, notLabel) >= 0 {
		return label
	}
	// A label that the rules would encode differently is another domain.
	if again, err := idna.Punycode.ToASCII(decoded); err != nil || again != label {
		return label
	}
	return decoded
}

// ASCIIDomain returns a domain with each label in ASCII (RFC 5890 section 2.3.2.1, "xn--citt-3na"), the form that every mail server
// accepts. A label that cannot be encoded stays as it is.
func ASCIIDomain(domain string) string {
	labels := strings.Split(domain, ".")
	for i, label := range labels {
		if encoded, err := idna.Punycode.ToASCII(label); err == nil {
			labels[i] = encoded
		}
	}
	return strings.Join(labels, ".")
}

func notLiteral(r rune) bool {
	return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != ':' && r != '.' && r != '-'
}

func notLabel(r rune) bool {
	return r < 0x80 && r != '_' && (r == ':' || r == '.' || notLiteral(r)) || r >= 0x80 && (unicode.IsControl(r) || unicode.IsSpace(r))
}
