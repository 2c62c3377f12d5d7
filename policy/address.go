package policy

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxAddress is the longest accepted address, in bytes. RFC 5321 section 4.5.3.1.3 allows 256 for a path; MTAs take more.
const maxAddress = 1024

// Address is a mailbox address in canonical form: lower case, unquoted, the domain as CanonicalDomain returns it. Two addresses of one
// mailbox are equal as Go values, apart from their extensions.
type Address struct {
	Local  string // unquoted; never empty in a parsed address
	Domain string // empty only for the <postmaster> of RFC 5321 section 4.1.1.3
	// Closed is set only in the name of a mailbox that was handed over: the day of that in UTC, as "2026-11-29", with ".2" and so on for further
	// ones of that day. No mail and no login has such a name.
	Closed string
}

// ParseMailbox reads the name of a mailbox: an address, or the name of a mailbox that was handed over, as "mario@alpha.test~2026-11-29". Use it
// where an operator names a mailbox, and ParseAddress for all that comes from mail, logins and the configuration. Errors wrap ErrAddress.
func ParseMailbox(s string) (Address, error) {
	i := strings.LastIndexByte(s, '~')
	if i < 0 || !closedDay(s[i+1:]) {
		return ParseAddress(s)
	}
	a, err := ParseAddress(s[:i])
	if err == nil && a.Domain == "" {
		err = fmt.Errorf("%.100q: %w: no domain", s, ErrAddress)
	}
	if err != nil {
		return Address{}, err
	}
	a.Closed = s[i+1:]
	return a, nil
}

// closedDay reports whether a text has the form of Address.Closed.
func closedDay(s string) bool {
	day, number, numbered := strings.Cut(s, ".")
	if t, err := time.Parse(time.DateOnly, day); err != nil || t.Format(time.DateOnly) != day {
		return false
	}
	n, err := strconv.Atoi(number)
	return !numbered || err == nil && n > 1 && strconv.Itoa(n) == number
}

// ParseAddress reads an address as written in an SMTP path, a configuration file or on a command line, with or without angle brackets.
// It drops a source route (RFC 5321 appendix C). It accepts UTF-8 (RFC 6531) and, as MTAs do, dots anywhere in a local part. It rejects
// comments, control characters and invalid UTF-8. Errors wrap ErrAddress.
func ParseAddress(s string) (Address, error) {
	a, err := parsePath(s)
	if err == nil && a.Domain == "" && a.Local != "postmaster" {
		err = fmt.Errorf("%q: %w: no domain", s, ErrAddress)
	}
	// Quotes and lower case can lengthen it, and ParseAddress must accept what String returns.
	if err == nil && len(s) > maxAddress/4 && len(a.String()) > maxAddress {
		err = fmt.Errorf("%.100q: %w: too long", s, ErrAddress)
	}
	if err != nil {
		return Address{}, err
	}
	return a, nil
}

// parsePath is ParseAddress, but accepts any address without a domain.
func parsePath(s string) (Address, error) {
	bad := func(why string) (Address, error) { return Address{}, fmt.Errorf("%.100q: %w: %s", s, ErrAddress, why) }
	if len(s) > maxAddress {
		return bad("too long")
	}
	if !utf8.ValidString(s) {
		return bad("invalid UTF-8")
	}
	path := s
	if strings.HasPrefix(path, "<") && strings.HasSuffix(path, ">") {
		path = path[1 : len(path)-1]
	}
	path, ok := WithoutRoute(path)
	if !ok {
		return bad("no local part")
	}
	local, rest, ok := cutLocal(path)
	if !ok || local == "" {
		return bad("bad local part")
	}
	a := Address{Local: strings.ToLower(local)}
	if rest == "" {
		return a, nil
	}
	domain, err := CanonicalDomain(rest[1:])
	if rest[0] != '@' || err != nil {
		return bad("bad domain")
	}
	a.Domain = domain
	return a, nil
}

// WithoutRoute returns an SMTP path, given without its brackets, without a leading source route. A server must accept and ignore the
// route (RFC 5321 appendix C). It returns false for a route that nothing follows.
func WithoutRoute(path string) (string, bool) {
	if !strings.HasPrefix(path, "@") {
		return path, true
	}
	_, path, ok := strings.Cut(path, ":")
	return path, ok
}

// cutLocal cuts the local part from the front of a path and unquotes it.
func cutLocal(path string) (local, rest string, ok bool) {
	if !strings.HasPrefix(path, `"`) {
		end := strings.IndexByte(path, '@')
		if end < 0 {
			end = len(path)
		}
		return path[:end], path[end:], strings.IndexFunc(path[:end], notAtom) < 0
	}
	var b strings.Builder
	for i, escaped := 1, false; i < len(path); i++ {
		switch c := path[i]; {
		case c < ' ' || c == 0x7f:
			return "", "", false
		case escaped:
			b.WriteByte(c)
			escaped = false
		case c == '\\':
			escaped = true
		case c == '"':
			return b.String(), path[i+1:], strings.IndexFunc(b.String(), unicode.IsControl) < 0
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}

// notAtom reports whether r is neither atext (RFC 5322 section 3.2.3, RFC 6532 section 3.2) nor a dot.
func notAtom(r rune) bool {
	return r <= ' ' || r == 0x7f || strings.ContainsRune(`()<>[]:;@\,"`, r) || r > 0x7f && (unicode.IsControl(r) || unicode.IsSpace(r))
}

// String returns the address in canonical form, with a quoted local part only where RFC 5321 section 4.1.2 demands it. ParseMailbox
// turns it back into the same address, and ParseAddress does if it is not Closed. It contains no control characters.
func (a Address) String() string {
	local := a.Local
	if !dotString(local) {
		local = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(local) + `"`
	}
	if a.Domain == "" {
		return local
	}
	name := local + "@" + a.Domain
	if a.Closed != "" {
		name += "~" + a.Closed
	}
	return name
}

// ASCII returns the address as String does, but with its domain in ASCII (ASCIIDomain). This is the form to use in mail that goes out.
func (a Address) ASCII() string {
	a.Domain = ASCIIDomain(a.Domain)
	return a.String()
}

func dotString(s string) bool {
	return strings.IndexFunc(s, notAtom) < 0 && !strings.HasPrefix(s, ".") && !strings.HasSuffix(s, ".") && !strings.Contains(s, "..")
}

// WithoutExtension returns the address without the extension of its local part, and whether it had one. Delimiters is a set of
// characters; the first that occurs divides, as in Postfix.
func (a Address) WithoutExtension(delimiters string) (Address, bool) {
	switch a.Local {
	case "postmaster", "mailer-daemon", "double-bounce":
		return a, false
	}
	// Postfix does not split the administrative addresses of lists at a "-".
	if strings.Contains(delimiters, "-") && (strings.HasPrefix(a.Local, "owner-") || strings.HasSuffix(a.Local, "-request")) {
		return a, false
	}
	i := strings.IndexAny(a.Local, delimiters)
	if i <= 0 {
		return a, false
	}
	return Address{Local: a.Local[:i], Domain: a.Domain}, true
}

// ParseORCPT reads the value of an ORCPT parameter (RFC 3461 section 4.2) of the types rfc822, in xtext, and utf-8 (RFC 6533 section 3).
// Other types, bad encodings and invalid addresses are errors. They mean only that the original recipient is unknown. Errors wrap
// ErrAddress.
func ParseORCPT(s string) (Address, error) {
	path, err := decodeORCPT(s)
	if err != nil {
		return Address{}, err
	}
	return ParseAddress(path)
}

func decodeORCPT(s string) (string, error) {
	kind, text, ok := strings.Cut(s, ";")
	if !ok || len(s) > 3*maxAddress {
		return "", fmt.Errorf("ORCPT %.100q: %w: no address type, or too long", s, ErrAddress)
	}
	var path string
	switch {
	case strings.EqualFold(kind, "rfc822"):
		path, ok = DecodeXtext(text)
	case strings.EqualFold(kind, "utf-8"):
		path, ok = decodeUnitext(text)
	default:
		return "", fmt.Errorf("ORCPT %.100q: %w: address type %q", s, ErrAddress, kind)
	}
	if !ok {
		return "", fmt.Errorf("ORCPT %.100q: %w: bad encoding", s, ErrAddress)
	}
	return path, nil
}

// DecodeXtext decodes xtext (RFC 3461 section 4). It also accepts lower-case hexadecimal digits and raw UTF-8. If s is not valid xtext, ok
// is false and text keeps the undecodable characters as they came.
func DecodeXtext(s string) (text string, ok bool) {
	var b strings.Builder
	b.Grow(len(s))
	ok = true
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '+' && i+2 < len(s):
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				c = byte(n)
				i += 2
			} else {
				ok = false
			}
		case c <= ' ' || c == '+' || c == '=' || c == 0x7f:
			ok = false
		}
		b.WriteByte(c)
	}
	return b.String(), ok
}

// decodeUnitext decodes the \x{HEXPOINT} encoding of RFC 6533 section 3.
func decodeUnitext(s string) (string, bool) {
	var b strings.Builder
	for s != "" {
		if c := s[0]; c != '\\' {
			if c <= ' ' || c == '+' || c == '=' || c == 0x7f {
				return "", false
			}
			b.WriteByte(c)
			s = s[1:]
			continue
		}
		hex, after, ok := strings.Cut(strings.TrimPrefix(s, `\x{`), "}")
		n, err := strconv.ParseUint(hex, 16, 32)
		if !ok || err != nil || len(hex) > 6 || !utf8.ValidRune(rune(n)) {
			return "", false
		}
		b.WriteRune(rune(n))
		s = after
	}
	return b.String(), true
}
