package lmtp

import (
	"bytes"
	"strings"
)

// maxHead is how far into a message, in bytes, the header that the MTA prepends for us is looked for.
const maxHead = 64 << 10

// headFilter removes the header field that the hook asked the MTA to prepend, and keeps its value. It holds back the first bytes of a
// message until it has found the field, or knows that there is none. Only a field that the MTA itself can have added counts: the very first
// one, or one above the topmost Received. All others are the sender's and stay.
type headFilter struct {
	header OriginHeader
	held   []byte
	next   int // how many bytes must be held before the next search
	done   bool
	found  bool
	value  string // unfolded
}

// take takes the next bytes of the message and returns those that go on. They are valid as long as p is.
func (h *headFilter) take(p []byte) []byte {
	if h.done {
		return p
	}
	if len(h.held) == 0 {
		// Mostly the first bytes decide, and need no copy.
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
		// Do not search again after each piece of a message that comes in small ones.
		h.next = min(2*len(h.held), maxHead)
		return nil
	}
	return h.release(start, end)
}

// rest returns the bytes still held back at the end of the message.
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

// find returns where the field lies in b. sure reports that the bytes after b cannot change the answer.
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

// fieldLength returns the length of the header field at the front of b, folded lines included. complete reports that b holds the byte after
// it too.
func fieldLength(b []byte) (length int, complete bool) {
	for {
		n := indexLF(b[length:])
		if n < 0 || length+n+1 >= len(b) {
			return 0, false
		}
		if length == 0 && n <= 1 {
			return 0, true // the blank line after the header
		}
		length += n + 1
		if b[length] != ' ' && b[length] != '\t' {
			return length, true
		}
	}
}
