// Package lmtp is the hook in the delivery path: it takes mail from the MTA by LMTP (received mail, RFC 2033) or SMTP (sent mail, from
// the submission service's FILTER), journals what is to be journaled, and hands every message on to the next hop unchanged.
//
// A Server serves one direction. The way of a message through it:
//
//   - conn, the connection layer, reads command lines and keeps replies in order; go-smtp behind it is the protocol engine.
//   - session hands MAIL and each RCPT on to the next hop at once and passes its replies back.
//   - transaction streams the message to the next hop and into a journal draft in the same pass. The dot is the commit: every wanted
//     entry is durable before the next hop gets its final dot, and the next hop's reply for each recipient goes back after that.
//
// A final 250 of the hook means: durable in the journal, where wanted, and accepted by the next hop. Whatever goes wrong in the hook
// itself is a temporary refusal (reply.go), so the MTA keeps the message and tries again. It is one of the recipients for which the message
// would be archived, and of no other (hold.go); all that a message waits for the journal has one limit (patience.go).
//
// DSN and XFORWARD are announced for what they tell the hook. DSN parameters are handed on where the next hop announces DSN; where it does
// not, a request for a success notice is answered by nobody (the MTA has the duty to discard DSN from its clients, see contrib/postfix).
package lmtp
