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
	addDialogues(f)
	f.Add([]byte("a LOGIN anna@alpha.test segreta\r\nb SELECT INBOX/2026-11\r\nc SEARCH RETURN (SAVE MIN) OR TEXT lana NOT (LARGER 10 SENTSINCE 1-Nov-2026)\r\n" +
		"d FETCH $ (FULL BODY[1.2.HEADER.FIELDS.NOT (A {1}\r\nB)]<1.2>)\r\ne UID FETCH *:1 FAST\r\n"))
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

// FuzzActs says anything where messages can be moved, deleted and put in: the server does not panic, ends when the program does, and the journal is sound
// in the end.
func FuzzActs(f *testing.F) {
	addDialogues(f)
	var n atomic.Int64
	r := newRig(f, func(c *Config) { c.Logger = slog.New(panics{slog.DiscardHandler, &n}) })
	r.set(anna, "write", "on")
	r.set(anna, "append", "on")
	for i := range 50 {
		r.add(anna, journal.Received, fmt.Sprintf("Subject: %d\r\n\r\nTesto\r\n", i))
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		if len(input) > 20000 {
			return
		}
		before := n.Load()
		r.answers(t, input, 7)
		if n.Load() != before {
			t.Errorf("%q: a panic", input)
		}
	})
}

// addDialogues adds what the programs of the transcripts say.
func addDialogues(f *testing.F) {
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
