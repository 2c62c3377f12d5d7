package nexthop

import (
	"slices"
	"strconv"
	"strings"
)

// Announced is what a next hop says that it can do, in its answer to LHLO or EHLO (RFC 5321, 4.1.1.1). Its slices are
// shared: they are not to be changed.
type Announced struct {
	Pipelining          bool // RFC 2920
	EightBitMIME        bool // RFC 6152
	SMTPUTF8            bool // RFC 6531
	DSN                 bool // RFC 3461
	EnhancedStatusCodes bool // RFC 2034
	// XForward lists the attributes that the hop takes by XFORWARD, in upper case. It is Postfix's extension.
	XForward []string
	// Size is the largest message in bytes (RFC 1870): 0 where SIZE was announced without a limit, -1 where it was not announced.
	Size int64
	// Keywords holds the lines as they were received, the domain in the first one left out.
	Keywords []string
}

// equal reports whether two answers are the same.
func (a Announced) equal(b Announced) bool { return slices.Equal(a.Keywords, b.Keywords) }

// parseAnnounced reads the answer to LHLO or EHLO. Keywords are not case sensitive (RFC 5321, 2.4); what is not known is kept in
// Keywords only.
func parseAnnounced(reply Reply) Announced {
	a := Announced{Size: -1}
	if len(reply.Lines) == 0 {
		return a
	}
	a.Keywords = slices.Clone(reply.Lines[1:])
	for _, line := range a.Keywords {
		fields := strings.Fields(strings.ToUpper(line))
		if len(fields) == 0 {
			continue
		}
		switch fields[0] {
		case "PIPELINING":
			a.Pipelining = true
		case "8BITMIME":
			a.EightBitMIME = true
		case "SMTPUTF8":
			a.SMTPUTF8 = true
		case "DSN":
			a.DSN = true
		case "ENHANCEDSTATUSCODES":
			a.EnhancedStatusCodes = true
		case "XFORWARD":
			a.XForward = fields[1:]
		case "SIZE":
			a.Size = 0
			if len(fields) > 1 {
				// A number that is none, or too large, is taken as "no limit": the hop still refuses by itself.
				if n, err := strconv.ParseInt(fields[1], 10, 64); err == nil && n > 0 {
					a.Size = n
				}
			}
		}
	}
	return a
}
