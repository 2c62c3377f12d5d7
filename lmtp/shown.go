package lmtp

import (
	"bytes"
	"strings"

	"copialettere/lmtp/nexthop"
)

// This file decides which lines go-smtp sees and which of its replies the client sees. conn has the list and the reasons.

// Lines that go-smtp sees in place of the client's.
const (
	shownMail = "MAIL FROM:<>\r\n"
	shownRcpt = "RCPT TO:<recipient@hook.invalid>\r\n"
	shownBody = ".\r\n"
)

// phase is where go-smtp stands between two command lines.
type phase int

const (
	phaseCommands phase = iota // its reply is to a command
	phaseMessage               // it has said 354, and now reads the message
	phaseReplies               // it has read shownBody: what it writes are final replies
)

// shown takes one command line of the client and returns the line that go-smtp sees for it. If go-smtp sees none, shown queues the reply
// and returns "".
func (c *conn) shown(line []byte) (string, error) {
	text := string(bytes.TrimRight(line, "\r\n"))
	verb, argument, _ := strings.Cut(text, " ")
	verb = strings.ToUpper(verb)
	if endsReplies(verb) {
		if err := c.readReplies(); err != nil {
			return "", err
		}
	}
	switch verb {
	case "HELO", "LHLO", "EHLO":
		if len(argument) > maxHello {
			c.say(ourReply(501, "5.5.4", "Name too long", ""))
			return "", nil
		}
		c.greeting = verb != "HELO"
	case "MAIL":
		return c.shownPath(argument, "FROM:", shownMail, c.session.canMail), nil
	case "RCPT":
		return c.shownPath(argument, "TO:", shownRcpt, c.session.canRcpt), nil
	case "DATA":
		if c.session != nil && strings.TrimSpace(argument) == "" {
			return c.shownData()
		}
	case "XFORWARD":
		c.say(c.xforward(argument))
		return "", nil
	case "BDAT":
		return "", c.refuse(ourReply(502, "5.5.1", "CHUNKING is not offered", ""))
	}
	return text + "\r\n", nil
}

// endsReplies reports whether a command ends a transaction or depends on whether one is under way. The next hop's replies must be read
// before it.
func endsReplies(verb string) bool {
	switch verb {
	case "MAIL", "HELO", "LHLO", "EHLO", "RSET", "QUIT", "XFORWARD":
		return true
	}
	return false
}

// shownPath reads a MAIL or RCPT line into c.command. It returns substitute, the line that go-smtp sees, or "" after it has queued a
// refusal.
func (c *conn) shownPath(argument, keyword, substitute string, allowed func() (nexthop.Reply, bool)) string {
	if c.session == nil {
		return substitute // go-smtp refuses it: no greeting yet
	}
	if r, ok := allowed(); !ok {
		c.say(r)
		return ""
	}
	argument = strings.TrimLeft(argument, " \t")
	if len(argument) < len(keyword) || !strings.EqualFold(argument[:len(keyword)], keyword) {
		c.say(ourReply(501, "5.5.4", "Syntax: "+keyword+"<address>", ""))
		return ""
	}
	p, err := parseArgument(argument[len(keyword):])
	if err != nil || (keyword == "TO:" && p.address == "") {
		c.say(ourReply(501, "5.1.3", "Bad address syntax", ""))
		return ""
	}
	c.command = p
	return substitute
}

// shownData shows go-smtp the DATA if any recipient was accepted.
func (c *conn) shownData() (string, error) {
	c.session.pipelineData()
	if err := c.readReplies(); err != nil {
		return "", err
	}
	if r, ok := c.session.canData(); !ok {
		c.say(r)
		return "", nil
	}
	return "DATA\r\n", nil
}

// xforward stores what the MTA says about its client, for one transaction.
func (c *conn) xforward(argument string) nexthop.Reply {
	switch {
	case c.session == nil || c.session.begun():
		return ourReply(503, "5.5.1", "XFORWARD not allowed now", "")
	case c.forward.parse(argument) != nil:
		return ourReply(501, "5.5.4", "Bad XFORWARD attribute", "")
	}
	return ourReply(250, "2.0.0", "Ok", "")
}

// Write takes what go-smtp writes, and queues it reply by reply.
func (c *conn) Write(p []byte) (int, error) {
	if c.phase != phaseCommands {
		return len(p), nil
	}
	c.written = append(c.written, p...)
	for {
		end := endOfReply(c.written)
		if end < 0 {
			return len(p), nil
		}
		c.replied(c.written[:end])
		c.written = append(c.written[:0], c.written[end:]...)
	}
}

// endOfReply returns the length of the reply at the front of b, or -1 while it is not whole.
func endOfReply(b []byte) int {
	for end := 0; ; {
		n := indexLF(b[end:])
		if n < 0 {
			return -1
		}
		last := len(b) > end+3 && b[end+3] == ' '
		if end += n + 1; last {
			return end
		}
	}
}

// replied queues a whole reply of go-smtp, or its replacement. It does not keep text.
func (c *conn) replied(text []byte) {
	switch {
	case bytes.HasPrefix(text, []byte("354")):
		c.phase = phaseMessage
		return
	case c.greeting && bytes.HasPrefix(text, []byte("250")):
		text = c.server.keywords()
	case c.instead != nil:
		c.replies.addRead(c.instead)
		c.instead = nil
		return
	}
	c.greeting = false
	c.replies.add(text)
	if bytes.HasPrefix(text, []byte("221")) || bytes.HasPrefix(text, []byte("421")) {
		c.flush()
	}
}
