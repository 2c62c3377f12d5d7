package nexthop

import (
	"context"
	"errors"
	"fmt"
)

// Submit hands one message of this program's own to one recipient, in a transaction of its own. Give the addresses without angle brackets,
// and the message with CRLF line ends. Submit asks for SMTPUTF8 if an address needs it and the hop announces it.
//
// It returns nil when the hop took the message. A *ConnectError means that the hop was not reached, a *RefusedError that it refused, and
// ErrUnknown that it may have taken the message. After any error but ErrUnknown, the hop has nothing.
func (h *Hop) Submit(ctx context.Context, from, to string, message []byte) error {
	conn, err := h.Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Quit()
	defer context.AfterFunc(ctx, conn.Abort)()
	var params []string
	if (NeedsSMTPUTF8(from) || NeedsSMTPUTF8(to)) && conn.Announced().SMTPUTF8 {
		params = []string{"SMTPUTF8"}
	}
	conn.Mail(from, params)
	conn.Rcpt(to, nil)
	conn.Data()
	for _, command := range []string{"MAIL", "RCPT", "DATA"} {
		if r, err := conn.Reply(ctx); err != nil {
			return err
		} else if r.Temporary() || r.Permanent() {
			return &RefusedError{command, r}
		}
	}
	if err := sendMessage(ctx, conn, message); err != nil {
		return err
	}
	r, err := conn.Reply(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	if r.Temporary() || r.Permanent() {
		return &RefusedError{"the message", r}
	}
	return nil
}

// sendMessage sends a message and its dot. If the dot may have been sent all the same, the error wraps ErrUnknown.
func sendMessage(ctx context.Context, conn Conn, message []byte) error {
	if _, err := conn.Write(message); err != nil {
		return err
	}
	if err := conn.Flush(); err != nil {
		return err
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
