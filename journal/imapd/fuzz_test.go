package imapd

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"copialettere/journal"
)

// panics counts what go-imap logs of panics, which it survives.
type panics struct {
	slog.Handler
	n *atomic.Int64
}

func (p panics) Enabled(context.Context, slog.Level) bool { return true }

func (p panics) Handle(_ context.Context, r slog.Record) error {
	if strings.Contains(r.Message, "panic") {
		p.n.Add(1)
	}
	return nil
}

func (p panics) WithAttrs([]slog.Attr) slog.Handler { return p }

// FuzzDialogue says anything to the server: at once and byte by byte it answers the same, without a panic, and ends when the program does.
func FuzzDialogue(f *testing.F) {
	files, err := filepath.Glob("testdata/transcripts/*.txt")
	check(f, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		check(f, err)
		var said1 strings.Builder
		for _, l := range strings.Split(string(text), "\n") {
			if strings.HasPrefix(l, "C") {
				said1.WriteString(said(f, l))
			}
		}
		f.Add([]byte(said1.String()))
	}
	f.Add([]byte("a LOGIN anna@alpha.test segreta\r\nb SELECT INBOX/2026-11\r\nc SEARCH RETURN (SAVE MIN) OR TEXT lana NOT (LARGER 10 SENTSINCE 1-Nov-2026)\r\n" +
		"d FETCH $ (FULL BODY[1.2.HEADER.FIELDS.NOT (A {1}\r\nB)]<1.2>)\r\ne UID FETCH *:1 FAST\r\n"))
	login := "a LOGIN anna@alpha.test segreta\r\nb SELECT INBOX/2026-11\r\n"
	for _, pipeline := range []string{
		"c NOOP\r\nd IDLE\r\nDONE\r\ne IDLE\r\nnon\r\nf FETCH 1 FAST\r\n",
		"c SEARCH SUBJECT {4}\r\nlana FROM {5+}\r\nanna\" \r\nd SELECT {5+}\r\nINBOX\r\ne LIST {0+}\r\n {1+}\r\n*\r\n",
		"c APPEND INBOX (\\Seen) {12+}\r\nSubject: x\r\n\r\nd APPEND INBOX {3}\r\ne NOOP\r\nf APPEND \"a&b\" {9999999999+}\r\n",
		"c FETCH 1 BODY[HEADER.FIELDS ({7+}\r\nSubject {4}\r\nFrom)]\r\nd UID FETCH 1:* BODY.PEEK[]<0.10>\r\ne FETCH 1 (BODY[1] RFC822.TEXT)\r\n",
		"c STARTTLS\r\nd LOGIN {16+}\r\nanna@alpha.test {7+}\r\nsegreta\r\n",
		"c STORE 1 +FLAGS (\\Deleted)\r\nd EXPUNGE\r\ne UID MOVE 1 Cestino\r\nf UID COPY 1:* {7+}\r\nCestino\r\ng CLOSE\r\n",
		"c AUTHENTICATE PLAIN\r\n*\r\nd AUTHENTICATE PLAIN AGFubmEAc2VncmV0YQ==\r\ne ENABLE UTF8=ACCEPT\r\nf LIST \"\" \"Cestin\xc3\xb2\"\r\n",
		"c GETQUOTAROOT {5}\r\nINBOX\r\nd MYRIGHTS (\r\ne ID (\"a\" NIL)\r\nf LOGOUT\r\ng NOOP\r\n",
	} {
		f.Add([]byte(pipeline))
		f.Add([]byte(login + pipeline))
	}
	var n atomic.Int64
	r := newRig(f, func(c *Config) { c.Logger = slog.New(panics{slog.DiscardHandler, &n}) })
	for _, text := range everyMessage(f) {
		if len(text) < 10000 {
			r.add(anna, journal.Received, text)
		}
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) > 20000 {
			return
		}
		before := n.Load()
		whole, pieces := r.answers(t, input, len(input)+1), r.answers(t, input, 1)
		if whole != pieces {
			t.Errorf("%q\nat once:\n%s\nbyte by byte:\n%s", input, whole, pieces)
		}
		if n.Load() != before {
			t.Errorf("%q: a panic", input)
		}
	})
}

// answers says something in pieces of a size, and returns all that the server says until it closes the connection.
func (r *rig) answers(t testing.TB, input []byte, size int) string {
	t.Helper()
	nc, err := net.Dial("tcp", r.addr)
	check(t, err)
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	sent := make(chan error, 1)
	go func() {
		defer close(sent)
		for len(input) > 0 {
			n, err := nc.Write(input[:min(size, len(input))])
			if err != nil {
				return // the server has closed the connection
			}
			input = input[n:]
		}
		sent <- nc.(*net.TCPConn).CloseWrite()
	}()
	out, err := io.ReadAll(nc)
	<-sent
	// A server that closes while the program still talks makes TCP reset the connection.
	if err != nil && !strings.Contains(fmt.Sprint(err), "reset") {
		t.Fatalf("%q: %v after %q", input, err, out)
	}
	return string(out)
}
