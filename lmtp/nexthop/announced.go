package nexthop

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Announced is what a next hop announces in its answer to LHLO or EHLO (RFC 5321 section 4.1.1.1). Its slices are shared: do not change
// them.
type Announced struct {
	Pipelining          bool // RFC 2920
	EightBitMIME        bool // RFC 6152
	SMTPUTF8            bool // RFC 6531
	DSN                 bool // RFC 3461
	EnhancedStatusCodes bool // RFC 2034
	// XForward lists the attributes that the hop takes by XFORWARD, Postfix's extension. They are in upper case.
	XForward []string
	// Size is the largest message in bytes (RFC 1870): 0 if SIZE was announced without a limit, -1 if it was not announced.
	Size int64
	// Keywords holds the lines as received, without the first one, which names the domain.
	Keywords []string
}

// NeedsSMTPUTF8 reports whether an address holds octets above 127. Only a hop that announces SMTPUTF8 takes such an address (RFC 6531).
func NeedsSMTPUTF8(address string) bool {
	return strings.ContainsFunc(address, func(r rune) bool { return r >= utf8.RuneSelf })
}

// equal reports whether two answers are the same.
func (a Announced) equal(b Announced) bool { return slices.Equal(a.Keywords, b.Keywords) }

// parseAnnounced reads the answer to LHLO or EHLO. Keywords are not case sensitive (RFC 5321 section 2.4). Unknown ones are in Keywords
// only.
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
				// A bad or too large number counts as "no limit": the hop still refuses by itself.
				if n, err := strconv.ParseInt(fields[1], 10, 64); err == nil && n > 0 {
					a.Size = n
				}
			}
		}
	}
	return a
}
