package lmtp

import (
	"strconv"

	"copialettere/lmtp/nexthop"
)

// unfit says whether what a next hop announces tells that it does not take the message, and returns the refusal that is its recipients'; zero
// where it may take it. Without the hook the MTA would find the same, and bounce the message for them.
func (t *transaction) unfit(a nexthop.Announced) nexthop.Reply {
	size, _ := t.from.param("SIZE")
	if n, err := strconv.ParseInt(size, 10, 64); err == nil && a.Size > 0 && n > a.Size {
		return ourReply(552, "5.3.4", "Message is larger than the mail store takes", t.id)
	}
	if t.needsUTF8(t.from.address) && !a.SMTPUTF8 {
		return ourReply(550, "5.6.7", "Mail store takes no internationalized addresses (SMTPUTF8)", t.id)
	}
	return nexthop.Reply{}
}

// needsUTF8 says that an address is one that only a hop with SMTPUTF8 takes (RFC 6531). Without the keyword at MAIL nobody has promised
// what its octets are: it goes on as it came.
func (t *transaction) needsUTF8(address string) bool {
	_, declared := t.from.param("SMTPUTF8")
	return declared && !isASCII(address)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// refuseUTF8 refuses a message whose header needs SMTPUTF8 (RFC 6531 section 3.5) for the recipients whose next hop is without. An MTA
// asks for SMTPUTF8 also where the message turns out to need none: that goes to every hop, and only the header tells.
func (t *transaction) refuseUTF8() {
	if !t.utf8.found {
		return
	}
	for _, l := range t.legs {
		if l.ready && l.err == nil && !l.conn.Announced().SMTPUTF8 {
			t.setFinal(l, ourReply(554, "5.6.9", "Mail store takes no internationalized header (SMTPUTF8)", t.id))
			l.fail(errAborted)
		}
	}
}

// utf8Header looks for octets above 127 in the header of a message that passes.
type utf8Header struct {
	found, done bool
	line        int // bytes of the line so far
}

func (h *utf8Header) write(p []byte) {
	for i := 0; i < len(p) && !h.done; i++ {
		switch c := p[i]; {
		case c >= 0x80:
			h.found, h.done = true, true
		case c == '\n':
			h.done = h.line == 0
			h.line = 0
		case c != '\r':
			h.line++
		}
	}
}
