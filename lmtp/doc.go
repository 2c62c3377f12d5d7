// Package lmtp is the hook in the delivery path. It takes mail from the MTA by LMTP (received mail, RFC 2033) or SMTP (sent mail, from
// the submission service's FILTER), journals what the mailboxes want, and hands every message on to the next hop unchanged.
//
// A Server serves one direction. A message passes through:
//
//   - conn, the connection layer: reads command lines and keeps replies in order. Behind it go-smtp is the protocol engine.
//   - session: hands MAIL and each RCPT on to the next hop at once, and passes its replies back.
//   - transaction: streams the message to the next hop and into a journal draft in the same pass. The dot is the commit: every wanted
//     entry is durable before the next hop gets its final dot. The next hop's reply for each recipient goes back after that.
//
// A final 250 means: durable in the journal, where wanted, and accepted by the next hop. Any fault of the hook itself is a temporary
// refusal (reply.go): the MTA keeps the message and tries again. A journal fault refuses only the recipients for which the message would
// be archived (hold.go). One limit covers all that a message waits for the journal (patience.go).
//
// The hook announces DSN and XFORWARD for what they tell it. It hands DSN parameters on to a next hop that announces DSN. If the next hop
// does not, nobody answers a request for a success notice; the MTA must discard DSN from its clients (see contrib/postfix).
package lmtp
