package nexthop

import "context"

// Conn is a connection to a next hop. It carries one transaction at a time and is used by one goroutine; only Abort may be
// called by any other, at any time. What the methods queue is sent when a reply is asked for.
//
// After an I/O error, a reply that is none, or a 421, the connection is broken: all methods fail with ErrBroken and it
// remains to Abort it.
type Conn interface {
	// Announced returns what the hop announced to this connection.
	Announced() Announced
	// LMTP reports whether the hop answers to the message once per accepted recipient. If not, it answers once.
	LMTP() bool

	// XForward queues XFORWARD with those attributes (NAME=VALUE, values already in xtext) that the hop announced; none, and
	// nothing is queued. It stands before MAIL. Its replies are not the caller's: they are read on the way, and a refusal is
	// only logged, because the message can go without.
	XForward(attributes []string)
	// Mail queues MAIL FROM. The address comes without angle brackets and is sent as it is, quotes and all; the null sender is
	// "". Parameters are sent as they are, as in "SIZE=1".
	Mail(from string, params []string)
	// Rcpt queues RCPT TO, in the same form.
	Rcpt(to string, params []string)
	// Data queues DATA. Nothing may be queued behind it before its reply was read.
	Data()
	// Reset queues RSET, which ends a transaction that has not come to the message.
	Reset()

	// Pending returns how many replies are outstanding: one for each command that was queued (XFORWARD apart), and after End one
	// for each accepted recipient, or one in all.
	Pending() int
	// Reply sends what is queued and returns the next outstanding reply, in the order of the commands. Each reply has the time
	// of Timeouts.Command; those after End share that of Timeouts.Final. A 421 is returned as any reply, and breaks the
	// connection. A positive reply to DATA is 354, and nothing else.
	Reply(ctx context.Context) (Reply, error)

	// Write takes message bytes after a 354, with CRLF line ends and cut anywhere. A CR alone passes through; a LF alone must not
	// occur, because some hops take it as a line end. Bytes are buffered, and each write to the hop has the time of Timeouts.Data.
	// To make the end of a context interrupt it, use context.AfterFunc with Abort.
	Write(p []byte) (int, error)
	// Flush sends the message bytes that are still buffered.
	Flush() error
	// End sends the dot that ends the message, behind what Flush has left and behind a CRLF where the message does not end in
	// one. If the hop has closed the connection or spoken before, the dot is not sent and the error wraps ErrNotSent.
	End(ctx context.Context) error

	// Alive reports whether the connection looks fit for another transaction: not broken, not closed by the hop meanwhile,
	// nothing said by it unasked. It does not wait.
	Alive() bool
	// Broken reports whether the connection has failed or was aborted.
	Broken() bool
	// Quit ends the connection politely, without waiting for the answer. Inside a message it is an Abort.
	Quit()
	// Abort breaks the connection off. Before End the hop gets no dot, and so delivers nothing. It may be called twice.
	Abort()
}
