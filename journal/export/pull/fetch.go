package pull

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// dateTime is the form of INTERNALDATE (RFC 3501 section 9).
const dateTime = "_2-Jan-2006 15:04:05 -0700"

// fetch reads a FETCH response, whose items may come in any order.
func (c *client) fetch() error {
	if err := c.w.blank(); err != nil {
		return err
	}
	if err := c.w.expect('('); err != nil {
		return err
	}
	f := fetched{size: -1}
	for first := true; ; first = false {
		b, err := c.w.peekByte()
		if err != nil {
			return err
		}
		if b == ')' {
			break
		}
		if !first {
			if err := c.w.blank(); err != nil {
				return err
			}
		}
		if err := c.item(&f); err != nil {
			return err
		}
	}
	if _, err := c.w.line(); err != nil {
		return err
	}
	if c.fetchInto == nil || f.uid == 0 {
		return nil // a change of flags that nobody asked for
	}
	return c.fetchInto(&f)
}

// item reads one item of a FETCH response, with its value.
func (c *client) item(f *fetched) error {
	name, err := c.w.atom()
	if err != nil {
		return err
	}
	if err := c.w.blank(); err != nil {
		return err
	}
	name = strings.ToUpper(name)
	if name == "BODY[]" {
		return c.body(f)
	}
	value, err := c.w.value()
	if err != nil {
		return err
	}
	text, _ := value.(string)
	switch name {
	case "UID":
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil || n == 0 {
			return fmt.Errorf("%w: UID %.20q", errProtocol, text)
		}
		f.uid = uint32(n)
	case "RFC822.SIZE":
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			return fmt.Errorf("%w: RFC822.SIZE %.20q", errProtocol, text)
		}
		f.size = n
	case "INTERNALDATE":
		f.date, _ = time.Parse(dateTime, text)
	}
	return nil
}

// body reads the bytes of a message. What is more than bodies wants is read over, and read tells how much there was.
func (c *client) body(f *fetched) error {
	b, err := c.w.peekByte()
	if err != nil {
		return err
	}
	if f.hasBody {
		return fmt.Errorf("%w: a message comes twice in one response", errProtocol)
	}
	if b == '"' {
		text, err := c.w.quoted()
		f.hasBody, f.body, f.read = true, []byte(text), int64(len(text))
		if err == nil && c.bodies.to != nil {
			f.body = nil
			_, err = io.WriteString(c.bodies.to, text)
		}
		return err
	}
	if b != '{' {
		value, err := c.w.value()
		if err == nil && value != nil {
			err = fmt.Errorf("%w: a message as %.20q", errProtocol, fmt.Sprint(value))
		}
		return err
	}
	size, err := c.w.literal()
	if err != nil {
		return err
	}
	f.hasBody, f.read = true, size
	literal := io.LimitReader(c.w.in, size)
	var n int64
	switch {
	case c.bodies.to != nil:
		n, err = io.Copy(c.bodies.to, literal)
	case size <= c.bodies.keep:
		f.body = make([]byte, size)
		var read int
		read, err = io.ReadFull(literal, f.body)
		n = int64(read)
	default:
		n, err = io.Copy(io.Discard, literal)
	}
	if err == nil && n != size {
		err = io.ErrUnexpectedEOF // a lost connection inside a literal, which reads as its end
	}
	return broken(err)
}
