package policy

import (
	"bytes"
	"iter"
	"net/netip"
	"slices"
	"strings"
)

// evidence is what the header tells that no sender can have written.
type evidence struct {
	deliveredTo []Address // of the trusted region: by whom the MTA's local delivery agent had the message before
	redirected  bool      // a Sieve redirect brought the message
}

// examine reads the trusted region of a header: the fields above the first Received that names a client, for that one was written
// by our own MTA when the message came in, and all below it by others. Received fields without a client, as local(8) writes them
// when it sends a message on, do not end the region. A header in which no Received names a client (a bounce of our own MTA that was
// sent on) is trusted down to its last Received, and one without any Received not at all.
//
// A Delivered-To counts only below such a Received without a client: local(8) writes the one when it sends a message on, and the MTA puts the
// other on top of it. One at the very top was there when the message was handed in, as in a file that a mailstore has exported.
func (p *rules) examine(o Origin) evidence {
	var trusted, pending evidence // pending is what was found since the last Received
	queueID := attribute(o.QueueID)
	client := parseClient(o.ClientAddr)
	below := false  // behind the Received that ends the region
	sentOn := false // behind a Received without a client: the MTA has sent the message on
	for name, value := range fields(o.Header) {
		received := strings.EqualFold(name, "Received")
		switch {
		case below && received:
			return trusted
		case below:
			// A redirect leaves its mark directly under the Received of its own hop. It counts only when that hop is Dovecot's.
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
				// "postsuper -r" puts one on top that bears the new id, and XFORWARD still tells the first one.
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

// attribute returns the value of an XFORWARD attribute, and the empty string where it is not known.
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

// namesClient says of the value of a Received field that it may tell of a message taken from outside of the MTA: from a client, or
// from a user of the machine. Postfix writes "from host (name [address]) by ..." for the one and "by host (Postfix, from userid n)" for
// the other; "by host (Postfix) id ..." is its own. Large providers write "by host with SMTP id ..." of what they took from a client.
func namesClient(received string) bool {
	words := receivedWords(strings.ToLower(received))
	return len(words) == 0 || words[0] != "by" || slices.Contains(words, "from") || slices.Contains(words, "with")
}

// fromUser says of the value of a Received field that the message was taken from a user of the machine: Postfix's own user, where it was
// requeued.
func fromUser(received string) bool {
	words := receivedWords(strings.ToLower(received))
	return len(words) > 0 && words[0] == "by" && slices.Contains(words, "userid")
}

// bearsID says of the value of a Received field that the message had that queue id there.
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

// clientOf takes the client's address from the value of a Received field: "from helo (name [address])". The client chooses the helo
// name, but Postfix lets no parenthesis into it.
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

// parseClient reads an address as XFORWARD and Received fields write it; the zero Addr means that it is not known.
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

// fields yields names and raw values of a header, folded lines included, up to its end or the first line that is no field.
func fields(header []byte) iter.Seq2[string, string] {
	return func(yield func(name, value string) bool) {
		for len(header) > 0 {
			end := 0
			for {
				i := bytes.IndexByte(header[end:], '\n')
				if i < 0 {
					// The last line may have been cut where the header was capped, and a cut name or value is not evidence.
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

// unfold returns the value of a field on one line, without white space at its ends.
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
