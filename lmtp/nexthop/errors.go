package nexthop

import (
	"errors"
	"fmt"
	"strings"
)

// Errors that a caller decides on. They come wrapped with what was being done. Every one of them means "try later" to the
// sender: none says that the hop refused for good.
var (
	// ErrTimeout says that the hop did not answer, or did not take bytes, before the deadline.
	ErrTimeout = errors.New("next hop did not answer in time")
	// ErrProtocol says that the hop sent something that is no reply, or one that does not fit the command.
	ErrProtocol = errors.New("next hop broke the protocol")
	// ErrBroken is the answer of a connection that has failed before, or was aborted.
	ErrBroken = errors.New("connection to the next hop is broken")
	// ErrNotSent says that the dot was not sent, so that the hop has nothing that it may deliver.
	ErrNotSent = errors.New("the end of the message was not sent")
	// ErrUnknown says that the dot may have been sent, and what the hop answered is not known: it may have delivered.
	ErrUnknown = errors.New("what became of the message is not known")
	// ErrNotPending says that a reply was asked for and none is outstanding. The connection stays usable.
	ErrNotPending = errors.New("no reply is outstanding")
	// ErrSequence says that the caller used a connection in the wrong order, or handed in text that cannot stand in a command.
	ErrSequence = errors.New("next hop connection used in the wrong order")
)

// ReplyError says that the hop refused the connection itself, in its greeting or in its answer to LHLO or EHLO, or that it
// spoke unasked.
type ReplyError struct {
	Stage string // "greeting", "LHLO", "EHLO" or "message"
	Reply Reply  // mostly 4xx or 5xx
}

// Error names the stage and the reply.
func (e *ReplyError) Error() string {
	return "next hop answered to " + e.Stage + ": " + e.Reply.String()
}

// RefusedError says that the hop refused what Submit asked it for.
type RefusedError struct {
	Command string // "MAIL", "RCPT", "DATA" or "the message"
	Reply   Reply  // 4xx: for now; 5xx: for good
}

// Error names the command and the reply.
func (e *RefusedError) Error() string { return e.Command + ": " + e.Reply.String() }

// Attempt is one address that was tried in vain.
type Attempt struct {
	Address string // "192.0.2.1:24" or "unix:/path"
	Err     error
}

// ConnectError says that no address of a hop could be used. Its attempts are in the order they were made; errors.As finds the
// ReplyError of a hop that was reached and refused.
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
