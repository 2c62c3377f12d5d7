package policy

import (
	"bytes"
	"iter"
	"net/netip"
	"slices"
	"strings"
)

// evidence is what the header tells and no sender can have written.
type evidence struct {
	deliveredTo []Address // from the trusted region: for whom the MTA's local delivery agent handled the message before
	redirected  bool      // a Sieve redirect brought the message
}

// examine reads the trusted region of a header: the fields above the first Received that names a client. Our own MTA wrote that field when
// the message came in; others wrote everything below it. Received fields without a client, which local(8) writes when it sends a message
// on, do not end the region. If no Received names a client (a bounce of our own MTA that was sent on), the region ends at the last Received;
// without any Received nothing is trusted.
//
// A Delivered-To counts only below a Received without a client: local(8) writes the Delivered-To when it sends a message on, and the MTA
// puts the Received on top. A Delivered-To at the very top was there when the message was submitted, as in a file exported from a
// mailstore.
func (p *rules) examine(o Origin) evidence {
	var trusted, pending evidence // pending is what was found since the last Received
	queueID := attribute(o.QueueID)
	client := parseClient(o.ClientAddr)
	below := false  // below the Received that ends the region
	sentOn := false // below a Received without a client: the MTA sent the message on
	for name, value := range fields(o.Header) {
		received := strings.EqualFold(name, "Received")
		switch {
		case below && received:
			return trusted
		case below:
			// A redirect leaves its mark directly under the Received of its own hop. It counts only if that hop is Dovecot's.
			if strings.EqualFold(name, "X-Sieve-Redirected-From") && p.redirectsCome(client) {
				trusted.redirected = true
			}
		case received:
			trusted.deliveredTo = append(trusted.deliveredTo, pending.deliveredTo...)
			trusted.redirected = trusted.redirected || pending.redirected
			pending = evidence{}
			if value = unfold(value); !namesClient(value) {
				sentOn = true
				continue
			}
			if queueID != "" && !bearsID(value, queueID) {
				// "postsuper -r" adds a Received with the new id on top, while XFORWARD still gives the first id.
				if fromUser(value) {
					continue
				}
				return evidence{}
			}
			below = true
			if !client.IsValid() {
				client = clientOf(value)
			}
		case sentOn && strings.EqualFold(name, "Delivered-To"):
			if a, err := ParseAddress(unfold(value)); err == nil {
				pending.deliveredTo = append(pending.deliveredTo, a)
			}
		case p.redirectName != "" && strings.EqualFold(name, p.redirectName) && unfold(value) == p.redirectValue:
			pending.redirected = true
		}
	}
	if !below && queueID != "" {
		return evidence{}
	}
	return trusted
}

// attribute returns the value of an XFORWARD attribute; empty if unknown.
func attribute(s string) string {
	if strings.EqualFold(s, "[UNAVAILABLE]") || strings.EqualFold(s, "[TEMPUNAVAIL]") {
		return ""
	}
	return s
}

func (p *rules) redirectsCome(client netip.Addr) bool {
	for _, prefix := range p.redirectFrom {
		if client.IsValid() && prefix.Contains(client) {
			return true
		}
	}
	return false
}

// namesClient reports whether the value of a Received field may describe a message taken from outside the MTA: from a client, or from a
// user of the machine. Postfix writes "from host (name [address]) by ..." for a client and "by host (Postfix, from userid n)" for a user;
// "by host (Postfix) id ..." is its own. Large providers write "by host with SMTP id ..." for what they took from a client.
func namesClient(received string) bool {
	words := receivedWords(strings.ToLower(received))
	return len(words) == 0 || words[0] != "by" || slices.Contains(words, "from") || slices.Contains(words, "with")
}

// fromUser reports whether, by the value of a Received field, the message came from a user of the machine. For a requeued message that is
// Postfix's own user.
func fromUser(received string) bool {
	words := receivedWords(strings.ToLower(received))
	return len(words) > 0 && words[0] == "by" && slices.Contains(words, "userid")
}

// bearsID reports whether the value of a Received field has that queue id.
func bearsID(received, queueID string) bool {
	words := receivedWords(received)
	for i := 1; i < len(words); i++ {
		if words[i] == queueID && words[i-1] == "id" {
			return true
		}
	}
	return false
}

func receivedWords(received string) []string {
	return strings.FieldsFunc(received, func(r rune) bool { return strings.ContainsRune(" \t(),;", r) })
}

// clientOf takes the client's address from the value of a Received field: "from helo (name [address])". The client chooses the helo name,
// but Postfix allows no parenthesis in it.
func clientOf(received string) netip.Addr {
	_, comment, _ := strings.Cut(received, "(")
	comment, _, _ = strings.Cut(comment, ")")
	_, address, _ := strings.Cut(comment, "[")
	address, _, ok := strings.Cut(address, "]")
	if !ok {
		return netip.Addr{}
	}
	return parseClient(address)
}

// parseClient reads an address as XFORWARD and Received fields write it; the zero Addr means unknown.
func parseClient(s string) netip.Addr {
	if len(s) > 5 && strings.EqualFold(s[:5], "IPv6:") {
		s = s[5:]
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}

// fields yields the names and raw values of a header, folded lines included, up to its end or the first line that is not a field.
func fields(header []byte) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for len(header) > 0 {
			end := 0
			for {
				i := bytes.IndexByte(header[end:], '\n')
				if i < 0 {
					// The cap on the header may have cut the last line, and a cut name or value is not evidence.
					return
				}
				end += i + 1
				if end == len(header) || header[end] != ' ' && header[end] != '\t' {
					break
				}
			}
			name, value, ok := bytes.Cut(header[:end], []byte(":"))
			if !ok || !fieldName(name) || !yield(string(name), string(value)) {
				return
			}
			header = header[end:]
		}
	}
}

func fieldName(name []byte) bool {
	for _, c := range name {
		if c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return len(name) > 0
}

// unfold returns the value of a field on one line, without white space at either end.
func unfold(value string) string {
	value = strings.TrimSpace(value)
	if !strings.ContainsAny(value, "\r\n") {
		return value
	}
	return strings.Map(func(r rune) rune {
		if r == '\r' || r == '\n' {
			return -1
		}
		return r
	}, value)
}

// splitField reads "Name: value".
func splitField(s string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(s, ":")
	value = strings.TrimSpace(value)
	return name, value, ok && value != "" && fieldName([]byte(name)) && !strings.ContainsAny(s, "\r\n")
}
