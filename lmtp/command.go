package lmtp

import (
	"errors"
	"maps"
	"slices"
	"strings"

	"copialettere/policy"
)

// errSyntax means that the command gets a 501. No mail transfer agent sends one like it.
var errSyntax = errors.New("syntax error in parameters")

// path is the command line of MAIL or RCPT (RFC 5321 sections 4.1.1.2 and 4.1.1.3). Nothing is decoded or re-quoted, so it can be handed
// on as it came.
type path struct {
	address string   // between the angle brackets, without a source route
	params  []string // KEY=VALUE or KEY, as received
}

// param returns the value of a parameter. The key is in upper case; the line may have it in any.
func (p path) param(key string) (string, bool) {
	for _, v := range p.params {
		k, value, _ := strings.Cut(v, "=")
		if strings.EqualFold(k, key) {
			return value, true
		}
	}
	return "", false
}

// only returns the parameters whose key, in upper case, is wanted. They are as received; of a repeated key the first counts, as in param.
func (p path) only(wanted func(key string) bool) []string {
	var list, keys []string
	for _, v := range p.params {
		key, _, _ := strings.Cut(v, "=")
		if key = strings.ToUpper(key); wanted(key) && !slices.Contains(keys, key) {
			list, keys = append(list, v), append(keys, key)
		}
	}
	return list
}

// parseArgument reads the text after "MAIL FROM:" or "RCPT TO:". Like other servers it accepts spaces before the path, and a path without
// brackets. The error is errSyntax.
func parseArgument(s string) (path, error) {
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return path{}, errSyntax
		}
	}
	s = strings.TrimLeft(s, " \t")
	var address, rest string
	if strings.HasPrefix(s, "<") {
		end := closingBracket(s)
		if end < 0 {
			// The quotes do not match. The next hop judges the text before the first bracket.
			end = strings.IndexByte(s, '>')
		}
		if end < 0 {
			return path{}, errSyntax
		}
		address, rest = s[1:end], s[end+1:]
	} else {
		end := strings.IndexAny(s, " \t")
		if end < 0 {
			end = len(s)
		}
		if address, rest = s[:end], s[end:]; address == "" {
			return path{}, errSyntax
		}
	}
	address, ok := policy.WithoutRoute(address)
	if !ok {
		return path{}, errSyntax
	}
	if strings.ContainsAny(address, "<>") && !strings.HasPrefix(address, `"`) {
		return path{}, errSyntax
	}
	// Not strings.Fields: an ORCPT in UTF-8 may hold other white space.
	return path{address: address, params: strings.FieldsFunc(rest, func(r rune) bool { return r == ' ' || r == '\t' })}, nil
}

// closingBracket returns the index of the bracket that ends the path at the front of s, or -1. Brackets in a quoted local part do not count.
func closingBracket(s string) int {
	quoted := false
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == '>' && !quoted:
			return i
		}
	}
	return -1
}

// unavailable is the XFORWARD value for what the MTA does not know.
const unavailable = "[UNAVAILABLE]"

// xforward holds what the MTA said about its client, by attribute. Values are decoded.
type xforward map[string]string

// xforwardAttributes are those of Postfix.
const xforwardAttributes = "NAME ADDR PORT PROTO HELO IDENT SOURCE"

// parse adds the attributes of one XFORWARD command to x. On errSyntax, x is unchanged.
func (x xforward) parse(s string) error {
	attributes := strings.Fields(s)
	if len(attributes) == 0 {
		return errSyntax
	}
	read := make(xforward)
	for _, a := range attributes {
		key, value, ok := strings.Cut(a, "=")
		key = strings.ToUpper(key)
		if !ok || !strings.Contains(" "+xforwardAttributes+" ", " "+key+" ") {
			return errSyntax
		}
		value, _ = policy.DecodeXtext(value) // what cannot be decoded stays as it came
		value = withoutControls(value)
		if strings.EqualFold(value, unavailable) {
			value = ""
		}
		read[key] = value
	}
	maps.Copy(x, read)
	return nil
}

// withoutControls replaces each control character by a question mark.
func withoutControls(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c < ' ' || c == 0x7f {
			b[i] = '?'
		}
	}
	return string(b)
}

// attributes returns x as XFORWARD parameters.
func (x xforward) attributes() []string {
	var list []string
	for _, key := range strings.Fields(xforwardAttributes) {
		if value, ok := x[key]; ok {
			if value == "" {
				value = unavailable
			}
			list = append(list, key+"="+encodeXtext(value))
		}
	}
	return list
}

func encodeXtext(s string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c == '+' || c == '=' || c > '~' {
			b.Write([]byte{'+', digits[c>>4], digits[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
