package nexthop

import "context"

// Conn is a connection to a next hop. It carries one transaction at a time. One goroutine uses it; only Abort may be called from any
// other, at any time. Reply sends what the other methods queue.
//
// After an I/O error, a malformed reply, or a 421, the connection is broken: all methods that return an error fail with ErrBroken. Abort it
// then.
type Conn interface {
	// Announced returns what the hop announced to this connection.
	Announced() Announced
	// LMTP reports whether the hop answers the message once per accepted recipient. If not, it answers once in all.
	LMTP() bool

	// XForward queues XFORWARD with those attributes (NAME=VALUE, values already in xtext) that the hop announced, if any. Call it
	// before Mail. Reply skips the hop's answers to it. A refusal is only logged, because the message can go without.
	XForward(attributes []string)
	// Mail queues MAIL FROM. Give the address without angle brackets; it is sent as it is, quotes and all. The null sender is "".
	// Parameters, as in "SIZE=1", are sent as they are.
	Mail(from string, params []string)
	// Rcpt queues RCPT TO, in the same form.
	Rcpt(to string, params []string)
	// Data queues DATA. Queue nothing after it until its reply is read.
	Data()
	// Reset queues RSET, which ends a transaction that has not come to the message.
	Reset()

	// Pending returns how many replies are outstanding: one for each queued command, XFORWARD apart; after End, one for each
	// accepted recipient, or one in all.
	Pending() int
	// Reply sends the queued commands and returns the next outstanding reply, in the order of the commands. Each reply may take
	// Timeouts.Command; those after End share Timeouts.Final. A 421 is returned like any reply, and breaks the connection. The
	// only positive reply to DATA is 354.
	Reply(ctx context.Context) (Reply, error)

	// Write takes message bytes after a 354, with CRLF line ends and cut anywhere. A bare CR passes through. A bare LF must not
	// occur, because some hops take it as a line end. Bytes are buffered; each write to the hop may take Timeouts.Data. To let a
	// context interrupt Write, use context.AfterFunc with Abort.
	Write(p []byte) (int, error)
	// Flush sends the message bytes that are still buffered.
	Flush() error
	// End sends the bytes still buffered, a CRLF if the message does not end in one, and the dot. If the hop has closed the
	// connection or spoken before, the dot is not sent and the error wraps ErrNotSent.
	End(ctx context.Context) error

	// Watch has the end of a context interrupt all calls, until the connection is closed. Calls that come under it then cost less. Call it at
	// most once, before any other call.
	Watch(ctx context.Context)
	// Alive reports, without waiting, whether the connection looks fit for another transaction: not broken, not closed by the
	// hop, and no unasked reply from it.
	Alive() bool
	// Broken reports whether the connection has failed or was aborted.
	Broken() bool
	// Quit sends QUIT and closes the connection without waiting for the answer. Inside a message it only aborts.
	Quit()
	// Abort closes the connection at once. Before End the hop gets no dot, and so delivers nothing. It may be called twice.
	Abort()
}
