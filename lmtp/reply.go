package lmtp

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"copialettere/lmtp/nexthop"
)

// ourReply returns a reply of the hook itself. The text ends in the transaction id, if there is one: it leads to the log.
func ourReply(code int, enhanced, text, transaction string) nexthop.Reply {
	line := enhanced + " " + text
	if transaction != "" {
		line += " (" + transaction + ")"
	}
	return nexthop.Reply{Code: code, Enhanced: enhanced, Lines: []string{line}}
}

// Faults of the hook that become a reply in faultReply.
var (
	errJournal  = errors.New("journal fault")
	errPolicy   = errors.New("settings cannot be read")
	errFull     = errors.New("archive full") // the quota of a mailbox; a full disk is errJournal
	errTooLarge = errors.New("message too large")
	errShutdown = errors.New("shutting down")
	errInternal = errors.New("panic")
)

// faultReply is the one place that turns an error into a reply: without internal text, and temporary. Only a message over the size limit is
// refused for good, because trying again cannot help.
func faultReply(err error, transaction string) nexthop.Reply {
	var connect *nexthop.ConnectError
	switch {
	case errors.Is(err, errTooLarge):
		return ourReply(552, "5.3.4", "Message is larger than the limit announced", transaction)
	case errors.Is(err, errJournal):
		return ourReply(451, "4.3.0", "Journal is not available, try again later", transaction)
	case errors.Is(err, errFull):
		return ourReply(452, "4.2.2", "Archive of the mailbox is full, try again later", transaction)
	case errors.Is(err, errPolicy):
		return ourReply(451, "4.3.0", "Settings are not available, try again later", transaction)
	case errors.Is(err, errShutdown):
		return ourReply(421, "4.3.2", "Shutting down, try again later", transaction)
	case errors.Is(err, errInternal):
		return ourReply(421, "4.3.0", "Internal error, try again later", transaction)
	case errors.As(err, &connect):
		return ourReply(451, "4.4.1", "Next hop is not reachable, try again later", transaction)
	case errors.Is(err, nexthop.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return ourReply(451, "4.4.2", "Next hop does not answer in time, try again later", transaction)
	default:
		return ourReply(451, "4.4.2", "Connection to the next hop was lost, try again later", transaction)
	}
}

// appendReply appends a reply in wire form (RFC 5321 section 4.2).
func appendReply(b []byte, r nexthop.Reply) []byte {
	lines := r.Lines
	if len(lines) == 0 {
		lines = []string{""}
	}
	for i, line := range lines {
		separator := byte('-')
		if i == len(lines)-1 {
			separator = ' '
		}
		b = append(strconv.AppendInt(b, int64(r.Code), 10), separator)
		b = append(append(b, strings.TrimRight(line, "\r\n")...), "\r\n"...)
	}
	return b
}
