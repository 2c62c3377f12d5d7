package nexthop

import (
	"errors"
	"fmt"
	"strings"
)

// Errors to test for with errors.Is. They come wrapped with what was being done. To the sender each means "try later": none says that the
// hop refused for good.
var (
	// ErrTimeout means that the hop did not answer, or did not take bytes, before the deadline.
	ErrTimeout = errors.New("next hop did not answer in time")
	// ErrProtocol means that the hop sent a malformed reply, or one that does not fit the command.
	ErrProtocol = errors.New("next hop broke the protocol")
	// ErrBroken means that the connection has failed before, or was aborted.
	ErrBroken = errors.New("connection to the next hop is broken")
	// ErrNotSent means that the dot was not sent: the hop has nothing that it may deliver.
	ErrNotSent = errors.New("the end of the message was not sent")
	// ErrUnknown means that the dot may have been sent and the answer is not known: the hop may have delivered.
	ErrUnknown = errors.New("the outcome of the message is not known")
	// ErrNotPending means that no reply is outstanding. The connection stays usable.
	ErrNotPending = errors.New("no reply is outstanding")
	// ErrSequence means that the caller used a connection in the wrong order, or passed text that cannot stand in a command.
	ErrSequence = errors.New("next hop connection used in the wrong order")
)

// ReplyError means that the hop refused the connection itself, in its greeting or in its answer to LHLO or EHLO, or that it spoke unasked.
type ReplyError struct {
	Stage string // "greeting", "LHLO", "EHLO" or "message"
	Reply Reply  // mostly 4xx or 5xx
}

// Error names the stage and the reply.
func (e *ReplyError) Error() string {
	return "next hop answered to " + e.Stage + ": " + e.Reply.String()
}

// RefusedError means that the hop refused a command of Submit, or the message.
type RefusedError struct {
	Command string // "MAIL", "RCPT", "DATA" or "the message"
	Reply   Reply  // 4xx: for now; 5xx: for good
}

// Error names the command and the reply.
func (e *RefusedError) Error() string { return e.Command + ": " + e.Reply.String() }

// Attempt is one failed try at an address.
type Attempt struct {
	Address string // "192.0.2.1:24" or "unix:/path"; empty if no address was found, and for a Maildir
	Err     error
}

// ConnectError means that no address of a hop could be used. The attempts are in the order in which they were made. errors.As finds the
// ReplyError of a hop that was reached but refused.
type ConnectError struct {
	Spec     Spec
	Attempts []Attempt
}

// Error lists every attempt.
func (e *ConnectError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "connecting to next hop %s", e.Spec)
	for i, a := range e.Attempts {
		sep := ": "
		if i > 0 {
			sep = "; "
		}
		b.WriteString(sep)
		if a.Address != "" {
			b.WriteString(a.Address + ": ")
		}
		b.WriteString(a.Err.Error())
	}
	return b.String()
}

// Unwrap returns the errors of the attempts.
func (e *ConnectError) Unwrap() []error {
	errs := make([]error, len(e.Attempts))
	for i, a := range e.Attempts {
		errs[i] = a.Err
	}
	return errs
}
