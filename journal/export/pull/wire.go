package pull

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// Bounds on what a server may say.
const (
	maxLine    = 64 << 10 // bytes of one response, without the literal of a message
	maxDepth   = 16       // parentheses within each other
	bufferSize = 32 << 10
	// silence is how long a server may say nothing while it owes an answer: listing a large folder can take Courier minutes.
	silence = 5 * time.Minute
)

// errProtocol says that a server spoke no IMAP.
var errProtocol = errors.New("the server's answer is no IMAP")

// wire reads and writes what goes over a connection. One goroutine uses it.
type wire struct {
	nc   net.Conn
	in   *bufio.Reader
	left int       // bytes that the response under way may still have
	end  time.Time // when the command under way must have ended
}

func newWire(nc net.Conn) *wire {
	w := &wire{nc: nc}
	w.in = bufio.NewReaderSize((*patient)(w), bufferSize)
	return w
}

// patient reads from the connection of a wire, and waits as long as silence and the command allow.
type patient wire

// Read implements io.Reader.
func (p *patient) Read(b []byte) (int, error) {
	limit := time.Now().Add(silence)
	if !p.end.IsZero() && p.end.Before(limit) {
		limit = p.end
	}
	if err := p.nc.SetReadDeadline(limit); err != nil {
		return 0, err
	}
	return p.nc.Read(b)
}

// interrupt closes the connection when ctx ends, until release is called.
func (w *wire) interrupt(ctx context.Context) (release func()) {
	stop := context.AfterFunc(ctx, func() { w.nc.Close() })
	return func() { stop() }
}

func (w *wire) write(text string) error {
	if err := w.nc.SetWriteDeadline(time.Now().Add(silence)); err != nil {
		return err
	}
	_, err := io.WriteString(w.nc, text)
	return err
}

// begin begins a response.
func (w *wire) begin() { w.left = maxLine }

func (w *wire) readByte() (byte, error) {
	if w.left--; w.left < 0 {
		return 0, fmt.Errorf("%w: a response of more than %d bytes", errProtocol, maxLine)
	}
	b, err := w.in.ReadByte()
	return b, broken(err)
}

// broken makes the end of a connection inside a response an error that nobody takes for the end of a message.
func broken(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (w *wire) peekByte() (byte, error) {
	b, err := w.in.Peek(1)
	if err != nil {
		return 0, broken(err)
	}
	return b[0], nil
}

// expect reads one byte that must come.
func (w *wire) expect(want byte) error {
	b, err := w.readByte()
	if err == nil && b != want {
		err = fmt.Errorf("%w: %q where %q must be", errProtocol, b, want)
	}
	return err
}

// line reads the rest of a line. Literals in it are read over.
func (w *wire) line() (string, error) {
	var text strings.Builder
	for {
		b, err := w.readByte()
		if err != nil {
			return "", err
		}
		if b != '\n' {
			text.WriteByte(b)
			continue
		}
		line := strings.TrimSuffix(text.String(), "\r")
		size, ok := literalAtEnd(line)
		if !ok {
			return line, nil
		}
		if size > int64(w.left) {
			return "", fmt.Errorf("%w: a literal of %d bytes", errProtocol, size)
		}
		w.left -= int(size)
		if _, err := w.in.Discard(int(size)); err != nil {
			return "", broken(err)
		}
	}
}

// literalAtEnd returns the size of the literal that a line announces at its end.
func literalAtEnd(line string) (int64, bool) {
	i := strings.LastIndexByte(line, '{')
	if i < 0 || !strings.HasSuffix(line, "}") {
		return 0, false
	}
	return literalSize(line[i+1 : len(line)-1])
}

func literalSize(digits string) (int64, bool) {
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	return n, err == nil
}

// atom reads up to the next blank, parenthesis or line end, which it leaves. What is in brackets belongs to it, as in BODY[HEADER.FIELDS (DATE)].
func (w *wire) atom() (string, error) {
	var text strings.Builder
	for inside := false; ; {
		b, err := w.peekByte()
		if err != nil {
			return "", err
		}
		switch {
		case b == '\r' || b == '\n', !inside && (b == ' ' || b == '(' || b == ')'):
			return text.String(), nil
		case b == '[':
			inside = true
		case b == ']':
			inside = false
		}
		if b, err = w.readByte(); err != nil {
			return "", err
		}
		text.WriteByte(b)
	}
}

// value reads a value: nil for NIL, a string, or a []any of values.
func (w *wire) value() (any, error) { return w.valueIn(0) }

func (w *wire) valueIn(depth int) (any, error) {
	b, err := w.peekByte()
	if err != nil {
		return nil, err
	}
	switch b {
	case '"':
		return w.quoted()
	case '{':
		size, err := w.literal()
		if err != nil {
			return nil, err
		}
		if size > int64(w.left) {
			return nil, fmt.Errorf("%w: a literal of %d bytes", errProtocol, size)
		}
		w.left -= int(size)
		text := make([]byte, size)
		_, err = io.ReadFull(w.in, text)
		return string(text), broken(err)
	case '(':
		return w.list(depth)
	}
	text, err := w.atom()
	switch {
	case err != nil:
		return nil, err
	case text == "":
		return nil, fmt.Errorf("%w: a value is missing", errProtocol)
	case strings.EqualFold(text, "NIL"):
		return nil, nil
	}
	return text, nil
}

func (w *wire) list(depth int) (any, error) {
	if depth >= maxDepth {
		return nil, fmt.Errorf("%w: lists are nested too deep", errProtocol)
	}
	if err := w.expect('('); err != nil {
		return nil, err
	}
	list := []any{}
	for {
		switch b, err := w.peekByte(); {
		case err != nil:
			return nil, err
		case b == ')':
			_, err = w.readByte()
			return list, err
		case b == ' ':
			if _, err = w.readByte(); err != nil {
				return nil, err
			}
			continue
		}
		v, err := w.valueIn(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
}

func (w *wire) quoted() (string, error) {
	if err := w.expect('"'); err != nil {
		return "", err
	}
	var text strings.Builder
	for {
		b, err := w.readByte()
		switch {
		case err != nil:
			return "", err
		case b == '"':
			return text.String(), nil
		case b == '\r' || b == '\n':
			return "", fmt.Errorf("%w: a line ends inside quotes", errProtocol)
		case b == '\\':
			if b, err = w.readByte(); err != nil {
				return "", err
			}
		}
		text.WriteByte(b)
	}
}

// literal reads what announces a literal, "{4711}" and the line end, and returns the size. The bytes follow.
func (w *wire) literal() (int64, error) {
	if err := w.expect('{'); err != nil {
		return 0, err
	}
	var digits strings.Builder
	for {
		b, err := w.readByte()
		if err != nil {
			return 0, err
		}
		if b == '}' {
			break
		}
		digits.WriteByte(b)
	}
	size, ok := literalSize(digits.String())
	if !ok {
		return 0, fmt.Errorf("%w: a literal of %.20q bytes", errProtocol, digits.String())
	}
	return size, w.lineEnd()
}

// lineEnd reads the end of a line.
func (w *wire) lineEnd() error {
	b, err := w.readByte()
	if err == nil && b == '\r' {
		b, err = w.readByte()
	}
	if err == nil && b != '\n' {
		err = fmt.Errorf("%w: %q where the line must end", errProtocol, b)
	}
	return err
}

// blank reads a blank.
func (w *wire) blank() error { return w.expect(' ') }
