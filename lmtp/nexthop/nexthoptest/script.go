package nexthoptest

import "time"

// Stage is a point in the dialogue at which a Script can delay the server or let it die.
type Stage int

// The stages, in the order of a transaction. At each the server has read what the name says, and has not answered yet.
const (
	Never   Stage = iota
	Greet         // a client has connected
	Hello         // LHLO or EHLO
	Mail          // MAIL
	Rcpt          // each RCPT
	Data          // DATA
	Body          // Script.BodyBytes of the message, as they came
	Dot           // all of the message, which stays in the record
	Replied       // the message, and the first of its replies was sent
)

// Script tells a Server what to do. The zero value is an LMTP server that accepts everything. Replies are given with their code;
// lines of one reply are separated by "\n" ("250-one\n250 two").
type Script struct {
	SMTP     bool     // EHLO, and one reply to a message
	Greeting string   // "220 nexthop.test ready" where empty
	Hello    string   // a refusal of LHLO or EHLO; Keywords are announced where empty
	Keywords []string // PIPELINING, ENHANCEDSTATUSCODES and 8BITMIME where nil

	Mail string // the reply to MAIL: "250 2.1.0 ok" where empty
	Data string // the reply to DATA: 354, or 503 where no recipient was accepted, where empty
	// Rcpt holds the replies to RCPT by address, one after the other over the life of the script; the last one stays. An
	// address that is not in it is accepted.
	Rcpt map[string][]string
	// Final holds the replies after the dot by address in the same way, or under "" in SMTP. An address that is not in it
	// is answered by "250 2.0.0 <ADDRESS> stored".
	Final map[string][]string

	Discard bool // messages are counted and not kept

	Delay map[Stage]time.Duration // before the server goes on from a stage; cut short by Close
	Die   Stage                   // where the server closes the connection without an answer
	// Deaths is how many connections die before the server leaves the rest alone; 0 is all of them.
	Deaths int
	// BodyBytes is how much of a message the server reads, in bytes on the wire, before the stage Body is reached.
	BodyBytes int
}

// next returns the reply that is on in a list, and takes it off unless it is the last.
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
