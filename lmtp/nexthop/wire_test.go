package nexthop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// play is a hop that follows a transcript. It sends "S:" lines and expects "C:" lines; successive "C:" lines must come in one write. A line
// "C--" begins another write, and "S--: 6s" keeps silent for a while. It returns the client's connection, and a function that waits for the
// end of the transcript and returns the first deviation.
func play(transcript string) (net.Conn, func() error) {
	client, server := net.Pipe()
	done := make(chan error, 1)
	go func() {
		defer server.Close()
		done <- follow(server, transcript)
	}()
	return client, func() error { return <-done }
}

func follow(server net.Conn, transcript string) error {
	buffer := make([]byte, 1<<20)
	want := ""
	read := func() error {
		if want == "" {
			return nil
		}
		n, err := server.Read(buffer)
		if got := string(buffer[:n]); got != want || err != nil {
			return fmt.Errorf("one write of %q, %v; want %q", got, err, want)
		}
		want = ""
		return nil
	}
	for line := range strings.SplitSeq(strings.TrimSpace(transcript), "\n") {
		side, text, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch side {
		case "C":
			want += text + "\r\n"
			continue
		case "C--", "S", "S--":
			if err := read(); err != nil {
				return err
			}
		}
		if side == "S--" {
			pause, err := time.ParseDuration(text)
			if err != nil {
				return err
			}
			time.Sleep(pause)
		}
		if side == "S" {
			if _, err := io.WriteString(server, text+"\r\n"); err != nil {
				return fmt.Errorf("sending %q: %w", text, err)
			}
		}
	}
	return read()
}

// pipeHop returns a hop that connects by calling dial.
func pipeHop(scheme Scheme, dial func() net.Conn, timeouts Timeouts) *Hop {
	h := New(Spec{Scheme: scheme, Path: "/hop"}, Options{HelloName: "hook.test", Timeouts: timeouts})
	h.dial = func(context.Context, string, string) (net.Conn, error) { return dial(), nil }
	return h
}

// replies reads n replies as text; an error ends the list.
func replies(ctx context.Context, c Conn, n int) []string {
	var list []string
	for range n {
		r, err := c.Reply(ctx)
		if err != nil {
			return append(list, "error: "+err.Error())
		}
		list = append(list, r.String())
	}
	return list
}

const (
	greetLMTP = `
		S: 220 hop.test ready
		C: LHLO hook.test
	`
	announceAll = `
		S: 250-hop.test
		S: 250-PIPELINING
		S: 250-XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE
		S: 250 8BITMIME
	`
	announceNothing = `
		S: 250 hop.test
	`
)

func TestTranscripts(t *testing.T) {
	tests := []struct {
		name       string
		scheme     Scheme
		transcript string
		do         func(ctx context.Context, c Conn) []string
		want       []string
	}{
		{
			name: "one write for the commands, one for the message, one for the dot", scheme: LMTP,
			transcript: greetLMTP + announceAll + `
				C: MAIL FROM:<ext@ext.test> SIZE=12 BODY=8BITMIME
				C: RCPT TO:<anna@alpha.test> ORCPT=rfc822;anna@alpha.test
				C: RCPT TO:<"m o"@alpha.test>
				C: DATA
				S: 250 2.1.0 ok
				S: 250 2.1.5 ok
				S: 550 5.1.1 unknown
				S: 354 go on
				C: a
				C: ..b
				C--
				C: .
				S: 250 2.0.0 <anna@alpha.test> Saved 1
				C: QUIT`,
			do: func(ctx context.Context, c Conn) []string {
				c.Mail("ext@ext.test", []string{"SIZE=12", "BODY=8BITMIME"})
				c.Rcpt("anna@alpha.test", []string{"ORCPT=rfc822;anna@alpha.test"})
				c.Rcpt(`"m o"@alpha.test`, nil)
				c.Data()
				got := append(replies(ctx, c, 4), message(ctx, c, "a\r\n.b\r\n")...)
				got = append(got, replies(ctx, c, c.Pending())...)
				c.Quit()
				return got
			},
			want: []string{"250 2.1.0 ok", "250 2.1.5 ok", "550 5.1.1 unknown", "354 go on", "250 2.0.0 <anna@alpha.test> Saved 1"},
		},
		{
			name: "two RCPT lines of one address have a reply each", scheme: LMTP,
			transcript: greetLMTP + announceAll + `
				C: MAIL FROM:<>
				C: RCPT TO:<anna@alpha.test>
				C: RCPT TO:<anna@alpha.test>
				C: DATA
				S: 250 ok
				S: 250 first
				S: 250 second
				S: 354 go on
				C: a
				C--
				C: .
				S: 250 2.0.0 first stored
				S: 552 5.2.2 second is over quota`,
			do: func(ctx context.Context, c Conn) []string {
				c.Mail("", nil)
				c.Rcpt("anna@alpha.test", nil)
				c.Rcpt("anna@alpha.test", nil)
				c.Data()
				got := append(replies(ctx, c, 4), message(ctx, c, "a\r\n")...)
				return append(got, replies(ctx, c, c.Pending())...)
			},
			want: []string{"250 ok", "250 first", "250 second", "354 go on", "250 2.0.0 first stored", "552 5.2.2 second is over quota"},
		},
		{
			name: "SMTP answers once", scheme: SMTP,
			transcript: `
				S: 220-hop.test
				S: 220 ready
				C: EHLO hook.test` + announceAll + `
				C: MAIL FROM:<anna@alpha.test>
				C: RCPT TO:<a@ext.test>
				C: RCPT TO:<b@ext.test>
				C: DATA
				S: 250 ok
				S: 250 ok
				S: 250 ok
				S: 354 go on
				C: a
				C--
				C: .
				S: 250 2.0.0 queued`,
			do: func(ctx context.Context, c Conn) []string {
				c.Mail("anna@alpha.test", nil)
				c.Rcpt("a@ext.test", nil)
				c.Rcpt("b@ext.test", nil)
				c.Data()
				got := append(replies(ctx, c, 4), message(ctx, c, "a\r\n")...)
				return append(got, replies(ctx, c, c.Pending())...)
			},
			want: []string{"250 ok", "250 ok", "250 ok", "354 go on", "250 2.0.0 queued"},
		},
		{
			name: "a hop without PIPELINING gets one command at a time", scheme: LMTP,
			transcript: greetLMTP + announceNothing + `
				C: MAIL FROM:<ext@ext.test>
				S: 250 ok
				C: RCPT TO:<anna@alpha.test>
				S: 250 ok
				C: DATA
				S: 354 go on
				C: a
				C--
				C: .
				S: 451 4.2.0 later`,
			do: func(ctx context.Context, c Conn) []string {
				c.XForward([]string{"NAME=mail.ext.test"})
				c.Mail("ext@ext.test", nil)
				c.Rcpt("anna@alpha.test", nil)
				c.Data()
				got := append(replies(ctx, c, 3), message(ctx, c, "a\r\n")...)
				return append(got, replies(ctx, c, c.Pending())...)
			},
			want: []string{"250 ok", "250 ok", "354 go on", "451 4.2.0 later"},
		},
		{
			name: "commands may be queued after replies were read", scheme: LMTP,
			transcript: greetLMTP + announceAll + `
				C: MAIL FROM:<ext@ext.test>
				S: 250 ok
				C: RCPT TO:<anna@alpha.test>
				C: RCPT TO:<mario@alpha.test>
				S: 250 anna
				S: 452 4.2.2 mario
				C: RSET
				C: MAIL FROM:<>
				S: 250 reset
				S: 250 again`,
			do: func(ctx context.Context, c Conn) []string {
				c.Mail("ext@ext.test", nil)
				got := replies(ctx, c, 1)
				c.Rcpt("anna@alpha.test", nil)
				c.Rcpt("mario@alpha.test", nil)
				got = append(got, replies(ctx, c, 2)...)
				c.Reset()
				c.Mail("", nil)
				return append(got, replies(ctx, c, 2)...)
			},
			want: []string{"250 ok", "250 anna", "452 4.2.2 mario", "250 reset", "250 again"},
		},
		{
			name: "XFORWARD takes announced attributes, in short lines, and its replies are read on the way", scheme: LMTP,
			transcript: greetLMTP + announceAll + `
				C: XFORWARD NAME=` + strings.Repeat("n", 255) + ` ADDR=192.0.2.7
				C: XFORWARD HELO=` + strings.Repeat("h", 255) + `
				C: MAIL FROM:<ext@ext.test>
				S: 250 ok
				S: 501 5.5.4 bad attribute
				S: 250 2.1.0 ok`,
			do: func(ctx context.Context, c Conn) []string {
				c.XForward([]string{"NAME=" + strings.Repeat("n", 255), "ADDR=192.0.2.7", "LOGIN=anna", "HELO=" + strings.Repeat("h", 255)})
				c.Mail("ext@ext.test", nil)
				return replies(ctx, c, c.Pending())
			},
			want: []string{"250 2.1.0 ok"},
		},
		{
			name: "no recipient: LMTP refuses DATA, and the connection can be used again", scheme: LMTP,
			transcript: greetLMTP + announceAll + `
				C: MAIL FROM:<ext@ext.test>
				C: RCPT TO:<nobody@alpha.test>
				C: DATA
				S: 250 ok
				S: 550 5.1.1 unknown
				S: 503 5.5.1 no recipients
				C: RSET
				S: 250 ok`,
			do: func(ctx context.Context, c Conn) []string {
				c.Mail("ext@ext.test", nil)
				c.Rcpt("nobody@alpha.test", nil)
				c.Data()
				got := replies(ctx, c, 3)
				c.Reset()
				return append(got, replies(ctx, c, 1)...)
			},
			want: []string{"250 ok", "550 5.1.1 unknown", "503 5.5.1 no recipients", "250 ok"},
		},
		{
			name: "no recipient: SMTP may take DATA all the same, and gets the dot (RFC 2920 section 3.1)", scheme: SMTP,
			transcript: `
				S: 220 ready
				C: EHLO hook.test` + announceAll + `
				C: MAIL FROM:<ext@ext.test>
				C: RCPT TO:<nobody@alpha.test>
				C: DATA
				S: 250 ok
				S: 550 5.1.1 unknown
				S: 354 go on
				C: .
				S: 554 5.5.1 no valid recipients`,
			do: func(ctx context.Context, c Conn) []string {
				c.Mail("ext@ext.test", nil)
				c.Rcpt("nobody@alpha.test", nil)
				c.Data()
				got := replies(ctx, c, 3)
				if err := c.End(ctx); err != nil {
					got = append(got, err.Error())
				}
				return append(got, replies(ctx, c, c.Pending())...)
			},
			want: []string{"250 ok", "550 5.1.1 unknown", "354 go on", "554 5.5.1 no valid recipients"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, wait := play(tt.transcript)
				conn, err := pipeHop(tt.scheme, func() net.Conn { return client }, Timeouts{}).Connect(t.Context())
				if err != nil {
					t.Fatalf("%v (hop: %v)", err, wait())
				}
				got := tt.do(t.Context(), conn)
				conn.Abort()
				if err := wait(); err != nil {
					t.Error(err)
				}
				if !slices.Equal(got, tt.want) {
					t.Errorf("replies\n%q\nwant\n%q", got, tt.want)
				}
			})
		})
	}
}

// message writes, flushes and ends a message. It returns what went wrong.
func message(ctx context.Context, c Conn, text string) []string {
	if _, err := io.WriteString(c, text); err != nil {
		return []string{"Write: " + err.Error()}
	}
	if err := c.Flush(); err != nil {
		return []string{"Flush: " + err.Error()}
	}
	if err := c.End(ctx); err != nil {
		return []string{"End: " + err.Error()}
	}
	return nil
}

// TestBatches sends more recipients than go out ahead of their replies.
func TestBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		transcript := greetLMTP + announceAll
		const recipients = 2*maxBatch + 10
		for i := 0; i < recipients; {
			n := min(maxBatch, recipients-i)
			transcript += strings.Repeat("C: RCPT TO:<anna@alpha.test>\n", n)
			for range n {
				transcript += fmt.Sprintf("S: 250 %d\n", i)
				i++
			}
		}
		client, wait := play(transcript)
		conn, err := pipeHop(LMTP, func() net.Conn { return client }, Timeouts{}).Connect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Abort()
		for range recipients {
			conn.Rcpt("anna@alpha.test", nil)
		}
		for i, got := range replies(t.Context(), conn, recipients) {
			if want := fmt.Sprintf("250 %d", i); got != want {
				t.Fatalf("reply %q, want %q", got, want)
			}
		}
		if err := wait(); err != nil {
			t.Error(err)
		}
	})
}

// TestWrongReplies: hops give replies that do not fit the command. Each breaks the connection.
func TestWrongReplies(t *testing.T) {
	const mailRcptData = `
		C: MAIL FROM:<ext@ext.test>
		C: RCPT TO:<anna@alpha.test>
		C: DATA
	`
	tests := []struct {
		name, transcript string
		want             []string // before the error
		err              error
	}{
		{"354 to MAIL", mailRcptData + "S: 354 go on", nil, ErrProtocol},
		{"250 to DATA", mailRcptData + "S: 250 ok\nS: 250 ok\nS: 250 ok", []string{"250 ok", "250 ok"}, ErrProtocol},
		{"354 without a recipient", mailRcptData + "S: 250 ok\nS: 550 no\nS: 354 go", []string{"250 ok", "550 no"}, ErrProtocol},
		{"no reply at all", mailRcptData + "S: <html>", nil, ErrProtocol},
		{"421 to RCPT", mailRcptData + "S: 250 ok\nS: 421 4.3.2 closing", []string{"250 ok", "421 4.3.2 closing"}, ErrBroken},
		{"end instead of a reply", mailRcptData + "S: 250 ok", []string{"250 ok"}, io.ErrUnexpectedEOF},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, wait := play(greetLMTP + announceAll + tt.transcript)
				conn, err := pipeHop(LMTP, func() net.Conn { return client }, Timeouts{}).Connect(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				conn.Mail("ext@ext.test", nil)
				conn.Rcpt("anna@alpha.test", nil)
				conn.Data()
				if got := replies(t.Context(), conn, len(tt.want)); !slices.Equal(got, tt.want) {
					t.Errorf("got %q, want %q", got, tt.want)
				}
				if _, err := conn.Reply(t.Context()); !errors.Is(err, tt.err) {
					t.Errorf("error %v, want %v", err, tt.err)
				}
				if !conn.Broken() || conn.Alive() {
					t.Error("the connection does not count as broken")
				}
				conn.Mail("again@ext.test", nil)
				if _, err := conn.Reply(t.Context()); !errors.Is(err, ErrBroken) {
					t.Errorf("later error %v, want ErrBroken", err)
				}
				if err := wait(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestOrder: callers break the rules of Conn.
func TestOrder(t *testing.T) {
	tests := []struct {
		name string
		do   func(c Conn) error
	}{
		{"line end in an address", func(c Conn) error { c.Mail("a@ext.test>\r\nDATA\r\n", nil); return nil }},
		{"line end in a parameter", func(c Conn) error { c.Rcpt("a@ext.test", []string{"ORCPT=x\r\nRSET"}); return nil }},
		{"NUL in an address", func(c Conn) error { c.Rcpt("a\x00@ext.test", nil); return nil }},
		{"command after DATA", func(c Conn) error { c.Data(); c.Reset(); return nil }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, wait := play(greetLMTP + announceAll)
				conn, err := pipeHop(LMTP, func() net.Conn { return client }, Timeouts{}).Connect(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				tt.do(conn)
				if _, err := conn.Reply(t.Context()); !errors.Is(err, ErrSequence) || !conn.Broken() {
					t.Errorf("error %v, want ErrSequence and a broken connection", err)
				}
				if err := wait(); err != nil {
					t.Error(err)
				}
			})
		})
	}
	t.Run("no harm done", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			client, wait := play(greetLMTP + announceAll)
			conn, err := pipeHop(LMTP, func() net.Conn { return client }, Timeouts{}).Connect(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Abort()
			if _, err := conn.Reply(t.Context()); !errors.Is(err, ErrNotPending) {
				t.Errorf("Reply: %v, want ErrNotPending", err)
			}
			if _, err := conn.Write([]byte("x")); !errors.Is(err, ErrSequence) {
				t.Errorf("Write: %v, want ErrSequence", err)
			}
			if err := conn.End(t.Context()); !errors.Is(err, ErrSequence) {
				t.Errorf("End: %v, want ErrSequence", err)
			}
			if conn.Broken() {
				t.Error("the connection is broken")
			}
			if err := wait(); err != nil {
				t.Error(err)
			}
		})
	})
}
