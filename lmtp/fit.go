package lmtp

import (
	"strconv"

	"copialettere/lmtp/nexthop"
)

// unfit returns the refusal for the recipients of a next hop whose announced limits exclude the message, or the zero Reply if the hop may
// take it. Without the hook the MTA would find the same limits, and bounce the message for these recipients.
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

// needsUTF8 reports whether only a hop with SMTPUTF8 takes an address (RFC 6531). If MAIL did not ask for SMTPUTF8, nobody has said that the
// address is UTF-8: it goes on as it came.
func (t *transaction) needsUTF8(address string) bool {
	_, declared := t.from.param("SMTPUTF8")
	return declared && nexthop.NeedsSMTPUTF8(address)
}

// refuseUTF8 refuses a message whose header needs SMTPUTF8 (RFC 6531 section 3.5) for the recipients whose next hop lacks it. An MTA may
// ask for SMTPUTF8 and send a message that does not need it. Only the header tells, so such a message goes to every hop.
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

// utf8Header looks for octets above 127 in the header of a message as it passes.
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
