// Package submission is the outgoing server that mail programs want beside each account (RFC 6409, RFC 8314). The archive sends nothing. So the server
// signs people in as the archive does for mail programs, and then either refuses to send, in one sentence, or hands the connection to the
// provider's own submission service.
//
// go-smtp is the protocol engine, behind a connection layer (conn). When somebody has signed in, and a Relay is configured, the server signs in there
// with the same password, and from then on passes bytes both ways as they are (pipe.go): commands, messages and replies are between the program
// and the relay, and nothing is read, kept or changed on the way. So no reply is ours that is not true, and no message can be lost or altered here.
// If the relay does not take the password, its reply is the answer to the program.
//
// Nothing is stored, and nothing of a message is logged.
package submission
