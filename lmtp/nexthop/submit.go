package nexthop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Message is one message to one recipient, for Deliver.
type Message struct {
	From, To string // without angle brackets; the null sender is ""
	// Body has the bytes of the message, with CRLF line ends.
	Body io.WriterTo
	Size int64 // bytes of the body; 0 if nobody knows
	// EightBit says that the body may have bytes above 127 (RFC 6152).
	EightBit bool
	// BeforeDot, which may be nil, is called when the hop has all bytes. After an error of it the hop gets no dot, and delivers nothing.
	BeforeDot func() error
}

// Submit hands one message of this program's own to one recipient, as Deliver does.
func (h *Hop) Submit(ctx context.Context, from, to string, message []byte) error {
	_, err := h.Deliver(ctx, Message{From: from, To: to, Body: bytes.NewReader(message)})
	return err
}

// Deliver hands on a message in a transaction of its own, and returns the hop's last reply. It asks for SMTPUTF8 if an address needs it and the hop
// announces it.
//
// The error is nil when the hop took the message. A *ConnectError means that the hop was not reached, a *RefusedError that it refused, and
// ErrUnknown that it may have taken the message. After any error but ErrUnknown, the hop has nothing.
func (h *Hop) Deliver(ctx context.Context, m Message) (Reply, error) {
	conn, err := h.Connect(ctx)
	if err != nil {
		return Reply{}, err
	}
	defer conn.Quit()
	defer context.AfterFunc(ctx, conn.Abort)()
	conn.Mail(m.From, m.params(conn.Announced()))
	conn.Rcpt(m.To, nil)
	conn.Data()
	for _, command := range []string{"MAIL", "RCPT", "DATA"} {
		if r, err := conn.Reply(ctx); err != nil {
			return Reply{}, err
		} else if r.Temporary() || r.Permanent() {
			return r, &RefusedError{command, r}
		}
	}
	if err := m.send(ctx, conn); err != nil {
		return Reply{}, err
	}
	r, err := conn.Reply(ctx)
	if err != nil {
		return Reply{}, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	if r.Temporary() || r.Permanent() {
		return r, &RefusedError{"the message", r}
	}
	return r, nil
}

// params returns the parameters of MAIL, as far as the hop announces them.
func (m *Message) params(a Announced) (list []string) {
	if m.EightBit && a.EightBitMIME {
		list = append(list, "BODY=8BITMIME")
	}
	if m.Size > 0 && a.Size >= 0 {
		list = append(list, "SIZE="+strconv.FormatInt(m.Size, 10))
	}
	if (NeedsSMTPUTF8(m.From) || NeedsSMTPUTF8(m.To)) && a.SMTPUTF8 {
		list = append(list, "SMTPUTF8")
	}
	return list
}

// send sends the bytes and the dot. If the dot may have been sent all the same, the error wraps ErrUnknown.
func (m *Message) send(ctx context.Context, conn Conn) error {
	if _, err := m.Body.WriteTo(conn); err != nil {
		return err
	}
	if err := conn.Flush(); err != nil {
		return err
	}
	if m.BeforeDot != nil {
		if err := m.BeforeDot(); err != nil {
			return err
		}
	}
	err := conn.End(ctx)
	if err != nil && !errors.Is(err, ErrNotSent) {
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return err
}

// Unreachable reports whether the hop could not be reached the last time, and still cannot be. It connects only if the last Connect failed.
func (h *Hop) Unreachable(ctx context.Context) bool {
	if !h.Failing() {
		return false
	}
	_, err := h.Probe(ctx)
	return err != nil
}
