package nexthop

import (
	"context"
	"errors"
	"fmt"
)

// Submit hands one message of this program's own to one recipient, in a transaction of its own. The addresses are without angle brackets, the
// message has CRLF line ends. SMTPUTF8 is asked for where an address needs it and the hop announces it.
//
// It returns nil when the hop took the message. A *ConnectError says that the hop was not reached, ErrUnknown that it may have taken the
// message, and a *RefusedError that it refused it; after that, and any other error, the hop has nothing.
func (h *Hop) Submit(ctx context.Context, from, to string, message []byte) error {
	conn, err := h.Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Quit()
	defer context.AfterFunc(ctx, conn.Abort)()
	var params []string
	if !isASCII(from+to) && conn.Announced().SMTPUTF8 {
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
	if _, err := conn.Write(message); err != nil {
		return err
	}
	if err := conn.Flush(); err != nil {
		return err
	}
	if err := conn.End(ctx); errors.Is(err, ErrNotSent) {
		return err
	} else if err != nil {
		return fmt.Errorf("%w: %w", ErrUnknown, err)
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

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] > '~' {
			return false
		}
	}
	return true
}

// Unreachable reports whether the hop could not be reached the last time, and cannot be now. It costs nothing while the last time was good.
func (h *Hop) Unreachable(ctx context.Context) bool {
	if !h.Failing() {
		return false
	}
	_, err := h.Probe(ctx)
	return err != nil
}
