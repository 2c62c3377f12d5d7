package nexthoptest

import "time"

// Stage is a point in the dialogue at which a Script can delay the server or make it die.
type Stage int

// The stages, in the order of a transaction. At each, the server has read what the name says and has not answered yet.
const (
	Never   Stage = iota
	Greet         // a client has connected
	Hello         // LHLO or EHLO
	Mail          // MAIL
	Rcpt          // each RCPT
	Data          // DATA
	Body          // Script.BodyBytes of the message
	Dot           // all of the message, which is on record
	Replied       // the message; the first of its replies is already sent
)

// Script tells a Server what to do. The zero value is an LMTP server that accepts everything. Write replies with their code, and "\n"
// between the lines of one reply ("250-one\n250 two").
type Script struct {
	SMTP     bool     // EHLO, and one reply to a message
	Greeting string   // if empty, "220 nexthop.test ready"
	Hello    string   // a refusal of LHLO or EHLO; if empty, the server announces Keywords
	Keywords []string // if nil, PIPELINING, ENHANCEDSTATUSCODES and 8BITMIME

	Mail string // the reply to MAIL; if empty, "250 2.1.0 ok"
	Data string // the reply to DATA; if empty, a 354, or a 503 if no recipient was accepted
	// Rcpt holds the replies to RCPT by address: one each time the address comes, and the last one from then on. An address that is
	// not in it is accepted.
	Rcpt map[string][]string
	// Final holds the replies after the dot in the same way, by address, or under "" in SMTP. The reply to an address that is not in
	// it is "250 2.0.0 <ADDRESS> stored".
	Final map[string][]string

	Discard bool // messages are counted, but their bytes are not kept

	Delay map[Stage]time.Duration // how long the server waits at a stage; Close cuts it short
	Die   Stage                   // where the server closes the connection without an answer
	// Deaths is how many connections die; the server serves those after them. 0: all die.
	Deaths int
	// BodyBytes is how many bytes of a message, as on the wire, the server reads before it reaches the stage Body.
	BodyBytes int
}

// next returns the first reply to an address, and removes it unless it is the last.
func next(replies map[string][]string, address, otherwise string) string {
	list := replies[address]
	if len(list) == 0 {
		return otherwise
	}
	if len(list) > 1 {
		replies[address] = list[1:]
	}
	return list[0]
}
