package lmtp

import (
	"bytes"
	"strings"
)

// maxHead is how many bytes of a message are searched for the header that the MTA prepends for us.
const maxHead = 64 << 10

// headFilter takes off the header field that the MTA prepends because the hook asked for it, and keeps its value. It holds the first
// bytes of a message back until it knows. Only a field that the MTA itself can have put there counts: the very first one, or one above
// the topmost Received; all others are the sender's and stay.
type headFilter struct {
	header OriginHeader
	held   []byte
	next   int // how many bytes must be held before it is worth looking again
	done   bool
	found  bool
	value  string // unfolded
}

// take returns the bytes that are to go on, when more of the message has come in. They are valid as long as p is.
func (h *headFilter) take(p []byte) []byte {
	if h.done {
		return p
	}
	if len(h.held) == 0 {
		// Mostly the first bytes tell, and need not be copied.
		if _, end, sure := h.find(p); sure && end == 0 {
			h.done = true
			return p
		}
	}
	h.held = append(h.held, p...)
	if len(h.held) < h.next {
		return nil
	}
	start, end, sure := h.find(h.held)
	if !sure && len(h.held) < maxHead {
		// A message that comes in small pieces must not be searched once for each.
		h.next = min(2*len(h.held), maxHead)
		return nil
	}
	return h.release(start, end)
}

// rest returns what is still held back at the end of the message.
func (h *headFilter) rest() []byte {
	if h.done {
		return nil
	}
	start, end, sure := h.find(append(h.held, '.'))
	if !sure {
		start, end = 0, 0
	}
	return h.release(start, end)
}

func (h *headFilter) release(start, end int) []byte {
	h.done = true
	if end > start {
		h.found = true
		_, value, _ := bytes.Cut(h.held[start:end], []byte(":"))
		h.value = strings.Join(strings.Fields(string(value)), " ")
		return append(h.held[:start], h.held[end:]...)
	}
	return h.held
}

// find looks for the field; sure says that what comes behind b cannot change the answer.
func (h *headFilter) find(b []byte) (start, end int, sure bool) {
	if h.header.Name == "" {
		return 0, 0, true
	}
	at := 0
	for {
		length, complete := fieldLength(b[at:])
		if !complete {
			return 0, 0, false
		}
		name, _, ok := bytes.Cut(b[at:at+length], []byte(":"))
		switch {
		case !ok || length == 0:
			return 0, 0, true
		case strings.EqualFold(string(name), h.header.Name):
			return at, at + length, true
		case h.header.First || strings.EqualFold(string(name), "Received"):
			return 0, 0, true
		}
		at += length
	}
}

// fieldLength returns the length of the header field at the front of b with its folded lines; complete says that the byte behind it was seen.
func fieldLength(b []byte) (length int, complete bool) {
	for {
		n := indexLF(b[length:])
		if n < 0 || length+n+1 >= len(b) {
			return 0, false
		}
		if length == 0 && n <= 1 {
			return 0, true // the blank line behind the header
		}
		length += n + 1
		if b[length] != ' ' && b[length] != '\t' {
			return length, true
		}
	}
}
