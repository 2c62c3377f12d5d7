package nexthop

import (
	"bytes"
	"time"
)

// lineState says how the message bytes written so far end.
type lineState int

const (
	lineStart   lineState = iota // nothing, or CRLF
	lineMiddle                   // something else
	lineAfterCR                  // CR: an LF would complete the line end
)

// after returns the state after p.
func (s lineState) after(p []byte) lineState {
	switch {
	case len(p) == 0:
		return s
	case bytes.HasSuffix(p, []byte("\r\n")), s == lineAfterCR && string(p) == "\n":
		return lineStart
	case p[len(p)-1] == '\r':
		return lineAfterCR
	}
	return lineMiddle
}

// stuff buffers message bytes and doubles each dot that begins a line (RFC 5321 section 4.5.2). Only CRLF ends a line.
func (c *wire) stuff(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	last := c.line.after(p)
	// The search below cannot find a line that begins where p does, or one byte later.
	if c.line == lineAfterCR && p[0] == '\n' {
		if err := c.put(p[:1]); err != nil {
			return err
		}
		p, c.line = p[1:], lineStart
	}
	if c.line == lineStart && len(p) > 0 && p[0] == '.' {
		if err := c.put([]byte{'.'}); err != nil {
			return err
		}
	}
	c.line = last
	for {
		i := bytes.Index(p, []byte("\r\n."))
		if i < 0 {
			return c.put(p)
		}
		// The dot is written twice: as the end of this piece and as the start of the next.
		i += len("\r\n")
		if err := c.put(p[:i+1]); err != nil {
			return err
		}
		p = p[i:]
	}
}

// put buffers bytes and writes full buffers. It does not copy long runs that meet an empty buffer.
func (c *wire) put(p []byte) error {
	for len(p) > 0 {
		if len(c.out) == 0 && len(p) >= bufferSize {
			if err := c.write(p[:bufferSize]); err != nil {
				return err
			}
			p = p[bufferSize:]
			continue
		}
		n := min(len(p), bufferSize-len(c.out))
		c.out = append(c.out, p[:n]...)
		p = p[n:]
		if len(c.out) == bufferSize {
			if err := c.write(c.out); err != nil {
				return err
			}
			c.out = c.out[:0]
		}
	}
	return nil
}

// write writes message bytes within Timeouts.Data.
func (c *wire) write(p []byte) error {
	c.begun = true
	c.nc.SetWriteDeadline(time.Now().Add(c.hop.options.Timeouts.Data))
	_, err := c.nc.Write(p)
	return err
}

// drain writes the buffered bytes. The caller sets the deadline.
func (c *wire) drain() error {
	if len(c.out) == 0 {
		return nil
	}
	_, err := c.nc.Write(c.out)
	c.out = c.out[:0]
	return err
}
