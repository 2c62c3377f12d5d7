package imapd

import (
	"bytes"
	"strings"
	"sync"
	"time"
)

const (
	maxPending = 32 << 10 // bytes for the program that are collected before they are sent
	maxTail    = 24       // bytes at the end of a line that can hold the size of a literal
)

// output is what goes to the program. go-imap writes from two goroutines while IDLE runs, so it has a lock.
//
// It follows the lines that go-imap writes, skipping literals, until it has seen the tagged reply to the command under way. It changes these
// lines of go-imap, and no others:
//
//	greeting, * CAPABILITY, OK [CAPABILITY ...]   the capabilities that conn adds, or that do not hold yet
//	tagged OK to SELECT                           [READ-ONLY] where nothing may be changed
//	+ =                                           the empty challenge of AUTHENTICATE, which is "+ " (RFC 9051 section 6.2.2): programs decode it
//	NO [SERVERBUG] to AUTHENTICATE                BAD: an initial response that is not base64 is no fault of ours
type output struct {
	conn *conn

	mu      sync.Mutex
	pending []byte
	err     error // of a write to the network; nothing is sent any more

	command command
	done    bool   // its tagged reply has been written
	line    []byte // the line under way, where lines may be changed
	head    []byte // else its first bytes, as many as a tag needs
	tail    []byte // and its last ones
	within  bool   // the line under way goes on behind a literal
	literal int64  // bytes of a literal still to come
}

// expect begins to follow the reply to a command.
func (o *output) expect(c command) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.command, o.done = c, false
	o.line, o.head, o.tail, o.within, o.literal = nil, o.head[:0], o.tail[:0], false, 0
}

// answered reports whether the command has had its reply.
func (o *output) answered() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.done
}

// say adds a reply of conn itself. It is only called where no command is under way, or where the connection ends.
func (o *output) say(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pending = append(o.pending, text...)
}

// write takes what go-imap says.
func (o *output) write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return 0, o.err
	}
	if o.rewrites() {
		o.change(p)
	} else {
		o.follow(p)
		o.pending = append(o.pending, p...)
	}
	if len(o.pending) >= maxPending || o.command.verb == "IDLE" {
		o.send()
	}
	return len(p), o.err
}

// rewrites reports whether replies to the command may have to be changed. None of them has a literal.
func (o *output) rewrites() bool {
	switch o.command.verb {
	case greeting, "CAPABILITY", "LOGIN", "AUTHENTICATE", "SELECT":
		return true
	}
	return false
}

// follow looks for the tagged reply.
func (o *output) follow(p []byte) {
	for len(p) > 0 {
		if o.literal > 0 {
			n := min(o.literal, int64(len(p)))
			o.literal -= n
			p = p[n:]
			continue
		}
		end := bytes.IndexByte(p, '\n') + 1
		piece := p
		if end > 0 {
			piece = p[:end]
		}
		p = p[len(piece):]
		if want := len(o.command.tag) + 1 - len(o.head); want > 0 && !o.within {
			o.head = append(o.head, piece[:min(want, len(piece))]...)
		}
		o.tail = append(o.tail, piece[max(0, len(piece)-maxTail):]...)
		o.tail = o.tail[max(0, len(o.tail)-maxTail):]
		if end > 0 {
			o.endLine()
		}
	}
}

// endLine looks at a line that is complete, or that a literal follows.
func (o *output) endLine() {
	if size, _, ok := literalOf(o.tail); ok {
		o.literal, o.within = size, true
		o.tail = o.tail[:0]
		return
	}
	if string(o.head) == o.command.tag+" " && o.command.tag != "" {
		o.done = true
	}
	o.head, o.tail, o.within = o.head[:0], o.tail[:0], false
}

// change takes lines that may have to be changed.
func (o *output) change(p []byte) {
	o.line = append(o.line, p...)
	for {
		end := bytes.IndexByte(o.line, '\n') + 1
		if end == 0 {
			return
		}
		line := string(o.line[:end])
		o.line = o.line[end:]
		tagged := o.command.tag != "" && strings.HasPrefix(line, o.command.tag+" ") || o.command.verb == greeting
		if tagged {
			o.done = true
		}
		if tagged && o.command.verb == "SELECT" && o.conn.session.readOnly() {
			line = strings.Replace(line, "[READ-WRITE]", "[READ-ONLY]", 1)
		}
		if o.command.verb == "AUTHENTICATE" {
			line = strings.Replace(line, "NO [SERVERBUG] Internal server error", "BAD "+malformedSASL, 1)
			if line == "+ =\r\n" {
				line = "+ \r\n"
			}
		}
		o.pending = append(o.pending, o.conn.capabilities(line)...)
	}
}

// flush sends all that has been collected.
func (o *output) flush() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.send()
	return o.err
}

func (o *output) send() {
	if len(o.pending) == 0 || o.err != nil {
		return
	}
	nc := o.conn.transport()
	nc.SetWriteDeadline(time.Now().Add(writeTimeout))
	o.conn.turn.outside(o.conn.ctx, func() { _, o.err = nc.Write(o.pending) })
	o.pending = o.pending[:0]
	if cap(o.pending) > 2*maxPending || o.command.verb == "IDLE" || o.done {
		o.pending = nil // an idle connection holds no memory
	}
}

// fail ends all output: the reply under way cannot be finished.
func (o *output) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.send()
	o.err = err
}

// capabilities returns a line with the capabilities that hold for the connection now.
func (c *conn) capabilities(line string) string {
	const list = "CAPABILITY IMAP4rev1"
	i := strings.Index(line, list)
	if i < 0 {
		return line
	}
	more := " ID"
	if c.session != nil && c.session.signedIn() {
		more += " ACL QUOTA QUOTA=RES-STORAGE"
	} else if !c.overTLS() && c.server.config.TLS != nil {
		more += " STARTTLS"
	}
	line = strings.Replace(line[:i+len(list)]+more+line[i+len(list):], " LITERAL+", "", 1)
	if !c.secure {
		line = strings.Replace(line, " AUTH=PLAIN", " LOGINDISABLED", 1)
	}
	return line
}
