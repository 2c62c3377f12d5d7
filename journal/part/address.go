package part

import "strings"

const (
	// From one value at most maxAddresses addresses and maxAddressBytes bytes are read.
	maxAddresses    = 16 << 10
	maxAddressBytes = 1 << 20
)

// Address is one address of a From, To or similar field (RFC 5322 3.4).
type Address struct {
	Name   string // display name, unquoted, or else the comment after the address; not decoded: see Decode. "" if absent
	Local  string // local part as found, quotes included; "" for a Group without members
	Domain string // "" if absent
	Group  string // name of the address's group, or ""
}

// Mailbox returns the address without its name, as "mario@alpha.test".
func (a Address) Mailbox() string {
	if a.Domain == "" {
		return a.Local
	}
	return a.Local + "@" + a.Domain
}

// Addresses reads an address list in linear time. It never fails: an item that is no address gives an Address with the raw text as its Name. A
// group without members gives one Address that has only a Group. It reads at most 1 MiB and 16,384 addresses.
func Addresses(value string) []Address {
	a := addressReader{rest: clip(value, maxAddressBytes)}
	for a.rest != "" && len(a.list) < maxAddresses {
		a.step()
	}
	a.item()
	a.unclosed()
	return a.list
}

// addressReader reads one item after the other. Commas separate items.
type addressReader struct {
	rest string
	list []Address

	words   []byte // words outside angle brackets, unquoted, with single spaces between them
	raw     []byte // the same words with quotes and without spaces, as an address is written
	at      bool   // raw holds an @
	odd     bool   // a quote is not closed: it and all later ones are ignored
	comment string
	angle   string
	angled  bool

	group   string
	inGroup bool
	first   int // where the members of the group begin in list
}

// step reads one lexical element.
func (a *addressReader) step() {
	switch a.rest[0] {
	case ' ', '\t', '\r', '\n':
		a.rest = a.rest[1:]
		if n := len(a.words); n > 0 && a.words[n-1] != ' ' {
			a.words = append(a.words, ' ')
		}
	case '(':
		n := commentEnd(a.rest)
		if a.comment == "" {
			a.comment = strings.TrimSpace(strings.TrimSuffix(a.rest[1:n], ")"))
		}
		a.rest = a.rest[n:]
	case '"':
		c := cursor{rest: a.rest}
		text, closed := "", false
		if !a.odd {
			text, closed = c.quoted()
		}
		if !closed {
			a.odd, a.rest = true, a.rest[1:]
			return
		}
		a.words = append(a.words, text...)
		a.raw = append(a.raw, a.rest[:len(a.rest)-len(c.rest)]...)
		a.rest = c.rest
	case '<':
		n := angleEnd(a.rest)
		if !a.angled {
			a.angle, a.angled = strings.TrimSuffix(a.rest[1:n], ">"), true
		}
		a.rest = a.rest[n:]
	case ',':
		a.item()
		a.rest = a.rest[1:]
	case ';':
		a.item()
		a.closeGroup()
		a.rest = a.rest[1:]
	case ':':
		a.rest = a.rest[1:]
		if a.inGroup || a.angled || len(a.words) == 0 || a.at {
			a.words, a.raw = append(a.words, ':'), append(a.raw, ':')
			return
		}
		a.group, a.inGroup, a.first = strings.TrimSpace(string(a.words)), true, len(a.list)
		a.clear()
	default:
		n := strings.IndexAny(a.rest, " \t\r\n(\"<,;:")
		if n < 0 {
			n = len(a.rest)
		}
		a.words, a.raw = append(a.words, a.rest[:n]...), append(a.raw, a.rest[:n]...)
		a.at = a.at || strings.IndexByte(a.rest[:n], '@') >= 0
		a.rest = a.rest[n:]
	}
}

// angleEnd returns the length of the text in angle brackets at the start of s, brackets included.
func angleEnd(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			c := cursor{rest: s[i:]}
			c.quoted()
			i = len(s) - len(c.rest) - 1
		case '>':
			return i + 1
		}
	}
	return len(s)
}

func (a *addressReader) clear() {
	a.words, a.raw, a.at, a.comment, a.angle, a.angled = a.words[:0], a.raw[:0], false, "", "", false
}

// item ends an item.
func (a *addressReader) item() {
	name := strings.TrimSpace(string(a.words))
	switch {
	case a.angled:
		if name == "" {
			name = a.comment
		}
		a.add(name, a.angle)
	case name == "":
	case a.at || strings.IndexByte(name, ' ') < 0:
		a.add(a.comment, string(a.raw))
	default:
		a.list = append(a.list, Address{Name: name, Group: a.group})
	}
	a.clear()
}

// add adds an address, without the source route that may precede it (RFC 5322 4.4).
func (a *addressReader) add(name, address string) {
	address = strings.TrimSpace(withoutComments(address))
	if strings.HasPrefix(address, "@") {
		if i := strings.IndexByte(address, ':'); i >= 0 {
			address = address[i+1:]
		}
	}
	local, domain := address, ""
	if strings.HasSuffix(address, `"`) && strings.IndexByte(address, '@') >= 0 {
		address = strings.Trim(address, `"`) // the whole address was quoted
	}
	if i := strings.LastIndexByte(address, '@'); i >= 0 {
		local, domain = strings.TrimSpace(address[:i]), strings.TrimSpace(address[i+1:])
	}
	a.list = append(a.list, Address{Name: name, Local: local, Domain: domain, Group: a.group})
}

// withoutComments returns an address without the comments in it. They mean nothing (RFC 5322 3.2.2).
func withoutComments(s string) string {
	if strings.IndexByte(s, '(') < 0 {
		return s
	}
	var b []byte
	for s != "" {
		n := 1
		switch s[0] {
		case '(':
			end := commentEnd(s)
			if end == len(s) && s[end-1] != ')' {
				return string(append(b, s...)) // it does not end, and is none
			}
			s = s[end:]
			continue
		case '"':
			c := cursor{rest: s}
			c.quoted()
			n = len(s) - len(c.rest)
		}
		b, s = append(b, s[:n]...), s[n:]
	}
	return string(b)
}

// closeGroup ends the current group.
func (a *addressReader) closeGroup() {
	if a.inGroup && len(a.list) == a.first {
		a.list = append(a.list, Address{Group: a.group})
	}
	a.group, a.inGroup = "", false
}

// unclosed reads a group that does not end as a name with a colon in it, as in: Per conto di: mario <posta@alpha.test>.
func (a *addressReader) unclosed() {
	if !a.inGroup {
		return
	}
	if len(a.list) == a.first {
		a.closeGroup()
		return
	}
	for i := a.first; i < len(a.list); i++ {
		a.list[i].Group = ""
	}
	first := &a.list[a.first]
	first.Name = strings.TrimSpace(a.group + ": " + first.Name)
}
