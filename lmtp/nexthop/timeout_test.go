package nexthop

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// TestTimeouts: a hop falls silent at every place where the client waits. The clock is that of synctest.
func TestTimeouts(t *testing.T) {
	timeouts := Timeouts{Connect: 3 * time.Second, Command: 5 * time.Second, Data: 7 * time.Second, Final: 11 * time.Second}
	const upTo354 = greetLMTP + announceAll + `
		C: MAIL FROM:<ext@ext.test>
		C: RCPT TO:<anna@alpha.test>
		C: RCPT TO:<mario@alpha.test>
		C: DATA
		S: 250 ok
		S: 250 ok
		S: 250 ok
		S: 354 go on
	`
	tests := []struct {
		name, transcript string
		want             time.Duration
	}{
		{"no greeting", "", timeouts.Connect},
		{"no answer to LHLO", greetLMTP, timeouts.Connect},
		{"no answer to MAIL", greetLMTP + announceAll + `
			C: MAIL FROM:<ext@ext.test>
			C: RCPT TO:<anna@alpha.test>
			C: RCPT TO:<mario@alpha.test>
			C: DATA`, timeouts.Command},
		{"commands not read", greetLMTP + announceAll, timeouts.Command},
		{"message not read", upTo354, timeouts.Data},
		{"no answer to the message", upTo354 + `
			C: x
			C--
			C: .`, timeouts.Final},
		{"no second answer to the message", upTo354 + `
			C: x
			C--
			C: .
			S--: 1s
			S: 250 stored`, timeouts.Final},
	}
	for _, tt := range tests {
		for _, byContext := range []bool{false, true} {
			name, want := tt.name, tt.want
			if byContext {
				name += ", context first"
				want = 2 * time.Second
				if tt.want == timeouts.Data {
					continue // Write has no context
				}
			}
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					client, server := net.Pipe()
					played := make(chan error, 1)
					go func() { played <- follow(server, tt.transcript) }() // and then keeps silent
					ctx := t.Context()
					if byContext {
						var cancel context.CancelFunc
						ctx, cancel = context.WithTimeout(ctx, want)
						defer cancel()
					}
					h := pipeHop(LMTP, func() net.Conn { return client }, timeouts)
					start := time.Now()
					err := deliverTwo(ctx, h)
					if took := time.Since(start); took != want {
						t.Errorf("gave up after %v, want %v", took, want)
					}
					wantErr := ErrTimeout
					if byContext {
						wantErr = context.DeadlineExceeded
					}
					if !errors.Is(err, wantErr) {
						t.Errorf("error %v, want %v", err, wantErr)
					}
					server.Close()
					if err := <-played; err != nil && tt.transcript != "" {
						t.Errorf("hop: %v", err)
					}
				})
			})
		}
	}
}

// deliverTwo delivers a message to anna and mario and returns the first error.
func deliverTwo(ctx context.Context, h *Hop) error {
	conn, err := h.Connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Quit()
	conn.Mail("ext@ext.test", nil)
	conn.Rcpt("anna@alpha.test", nil)
	conn.Rcpt("mario@alpha.test", nil)
	conn.Data()
	for range 4 {
		if _, err := conn.Reply(ctx); err != nil {
			return err
		}
	}
	if _, err := io.WriteString(conn, "x\r\n"); err != nil {
		return err
	}
	if err := conn.Flush(); err != nil {
		return err
	}
	if err := conn.End(ctx); err != nil {
		return err
	}
	for conn.Pending() > 0 {
		if _, err := conn.Reply(ctx); err != nil {
			return err
		}
	}
	return nil
}

// TestCancel checks that the end of a context, or Abort from another goroutine, interrupts a blocked call at once.
func TestCancel(t *testing.T) {
	const mailOnly = greetLMTP + announceAll + "C: MAIL FROM:<ext@ext.test>\n"
	tests := []struct {
		name string
		stop func(cancel context.CancelFunc, c Conn)
		want error
	}{
		{"context", func(cancel context.CancelFunc, _ Conn) { cancel() }, context.Canceled},
		{"Abort", func(_ context.CancelFunc, c Conn) { c.Abort() }, ErrBroken},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := net.Pipe()
				defer server.Close()
				played := make(chan error, 1)
				go func() { played <- follow(server, mailOnly) }()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				conn, err := pipeHop(LMTP, func() net.Conn { return client }, Timeouts{}).Connect(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				conn.Mail("ext@ext.test", nil)
				failed := make(chan error, 1)
				go func() {
					_, err := conn.Reply(ctx)
					failed <- err
				}()
				synctest.Wait()
				start := time.Now()
				tt.stop(cancel, conn)
				if err := <-failed; !errors.Is(err, tt.want) {
					t.Errorf("error %v, want %v", err, tt.want)
				}
				if took := time.Since(start); took != 0 {
					t.Errorf("woke after %v", took)
				}
				if !conn.Broken() {
					t.Error("the connection does not count as broken")
				}
				if err := <-played; err != nil {
					t.Error(err)
				}
			})
		})
	}
}
