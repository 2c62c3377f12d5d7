package lmtp

import (
	"bufio"
	"io"
)

// bodyReader reads the message after a 354 up to the dot that ends it (RFC 5321 section 4.5.2). It removes dot-stuffing and makes line
// ends CRLF: this is the message that is journaled and handed on. Only <CRLF>.<CRLF> ends it. A bare LF becomes CRLF, and a dot after a
// bare LF is text. A bare CR passes through. It copies nothing: the bytes it returns lie in the buffer of r.
type bodyReader struct {
	r       *bufio.Reader
	inLine  bool // the next byte does not follow a CRLF
	lastCR  bool // the byte before the next one was a CR
	pending int  // bytes at the front of r that the last call returned
	done    bool
}

var crlf = []byte("\r\n")

// next returns the next bytes of the message, valid until the next call, or io.EOF after the last one. Any other error, such as
// io.ErrUnexpectedEOF, means that the sender broke off.
func (b *bodyReader) next() ([]byte, error) {
	b.r.Discard(b.pending)
	b.pending = 0
	for {
		if b.done {
			return nil, io.EOF
		}
		buf, err := b.peek(1)
		if err != nil {
			return nil, err
		}
		if !b.inLine && buf[0] == '.' {
			if buf, err = b.dot(buf); err != nil {
				return nil, err
			}
		}
		if len(buf) > 0 && !b.done {
			return b.run(buf), nil
		}
	}
}

// peek returns all buffered bytes, waiting until there are at least n.
func (b *bodyReader) peek(n int) ([]byte, error) {
	if _, err := b.r.Peek(n); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return b.r.Peek(b.r.Buffered())
}

// dot handles a line that begins with a dot: it ends the message, or the dot is stuffing. It returns the buffered bytes after the dot.
func (b *bodyReader) dot(buf []byte) ([]byte, error) {
	if len(buf) < 3 && (len(buf) == 1 || buf[1] == '\r') {
		var err error
		if buf, err = b.peek(3); err != nil {
			return nil, err
		}
	}
	if buf[1] == '\r' && buf[2] == '\n' {
		b.r.Discard(3)
		b.done = true
		return nil, nil
	}
	b.r.Discard(1)
	b.inLine = true
	return buf[1:], nil
}

// run returns the longest run at the front of buf that needs no change.
func (b *bodyReader) run(buf []byte) []byte {
	end := 0
	for end < len(buf) {
		n := indexLF(buf[end:])
		if n < 0 {
			b.inLine, end = true, len(buf)
			break
		}
		n += end
		cr := b.lastCR
		if n > 0 {
			cr = buf[n-1] == '\r'
		}
		if !cr && n > 0 {
			// The next call replaces the bare LF.
			b.inLine, end = true, n
			break
		}
		if !cr {
			b.inLine, b.lastCR, b.pending = true, false, 1
			return crlf
		}
		end = n + 1
		b.inLine = false
		if end < len(buf) && buf[end] == '.' {
			break
		}
	}
	b.lastCR = buf[end-1] == '\r'
	b.pending = end
	return buf[:end]
}
