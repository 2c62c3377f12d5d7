package imapd

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	"copialettere/journal"
)

// large returns a message of about size bytes that cannot be compressed.
func large(size int) []byte {
	noise := rand.NewChaCha8([32]byte{7})
	text := []byte("Subject: large\r\n\r\n")
	line := make([]byte, 36)
	for len(text) < size {
		noise.Read(line)
		text = fmt.Appendf(text, "%x\r\n", line)
	}
	return text
}

// TestAppendLarge puts in a message in small pieces, and compares its bytes. The server's memory does not depend on its size.
func TestAppendLarge(t *testing.T) {
	r := newRig(t, nil)
	r.set(anna, "append", "on")
	r.add(anna, journal.Received, "Subject: x\r\n\r\nTesto\r\n")
	message := large(24 << 20)
	p := r.open("INBOX")
	_, err := fmt.Fprintf(p.nc, "t APPEND INBOX {%d}\r\n", len(message))
	check(t, err)
	if line, err := p.in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "+ ") {
		t.Fatalf("%q, %v", line, err)
	}
	runtime.GC()
	var before, most runtime.MemStats
	runtime.ReadMemStats(&before)
	for rest, n := message, 0; len(rest) > 0; n++ {
		piece := rest[:min(len(rest), 60_001)]
		_, err := p.nc.Write(piece)
		check(t, err)
		if rest = rest[len(piece):]; n%100 == 50 {
			runtime.GC()
			var now runtime.MemStats
			if runtime.ReadMemStats(&now); now.HeapAlloc > most.HeapAlloc {
				most = now
			}
		}
	}
	if grown := int64(most.HeapAlloc) - int64(before.HeapAlloc); grown > 12<<20 {
		t.Errorf("%d bytes of memory more for a message of %d", grown, len(message))
	}
	_, err = p.nc.Write([]byte("\r\nu NOOP\r\n"))
	check(t, err)
	for _, want := range []string{"t OK [APPENDUID 1794736800 2] APPEND completed\r\n", "u OK NOOP completed\r\n"} {
		if line, err := p.in.ReadString('\n'); err != nil || line != want {
			t.Fatalf("came %q, %v, want %q", line, err, want)
		}
	}
	e, err := r.journal.Entry(t.Context(), journal.Ref{Mailbox: anna, Month: "2026-11", Folder: "INBOX", UID: 2})
	check(t, err)
	body, err := r.journal.Body(t.Context(), e)
	check(t, err)
	digest := sha256.New()
	if _, err := io.Copy(digest, body); err != nil || !bytes.Equal(digest.Sum(nil), e.SHA256[:]) || e.SHA256 != journal.Digest(sha256.Sum256(message)) {
		t.Errorf("the bytes are not the same: %v", err)
	}
}

// TestAppendBrokenOff ends connections in the middle of a message: nothing of it is in the archive.
func TestAppendBrokenOff(t *testing.T) {
	r := newRig(t, nil)
	r.set(anna, "append", "on")
	r.add(anna, journal.Received, "Subject: x\r\n\r\nTesto\r\n")
	message := large(1 << 20)
	for _, sent := range []int{0, 1, 1000, len(message) - 1} {
		p := r.open("INBOX")
		_, err := fmt.Fprintf(p.nc, "t APPEND INBOX {%d+}\r\n%s", len(message), message[:sent])
		check(t, err)
		p.nc.Close()
	}
	deadline := time.Now().Add(10 * time.Second)
	for open := 1; open > 0; {
		r.server.mu.Lock()
		open = len(r.server.conns)
		r.server.mu.Unlock()
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are open", open)
		}
		time.Sleep(10 * time.Millisecond)
	}
	stats, err := r.journal.Stats(t.Context(), anna)
	check(t, err)
	for _, f := range stats {
		if f.Entries > 1 || f.Imported > 0 {
			t.Errorf("%+v", f)
		}
	}
}

// TestAppendNotTaken refuses messages that programs send without asking, and takes nothing in them for a command.
func TestAppendNotTaken(t *testing.T) {
	r := newRig(t, nil)
	r.add(anna, journal.Received, "Subject: x\r\n\r\nTesto\r\n")
	message := strings.Repeat("x LOGOUT\r\n", 1000)
	p := r.open("INBOX")
	for name, c := range map[string]struct{ arguments, want string }{
		"not allowed":   {"INBOX {%d+}", "t NO [NOPERM]"},
		"no date":       {`INBOX "yesterday" {%d+}`, "t NO [NOPERM]"},
		"unknown words": {"INBOX ANNOTATE {%d+}", "t NO [NOPERM]"},
	} {
		if got := p.dialogue(t, "APPEND "+fmt.Sprintf(c.arguments, len(message))+"\r\n"+message); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %q", name, got)
		}
	}
	r.set(anna, "append", "on")
	for name, c := range map[string]struct{ arguments, want string }{
		"bad date":      {`INBOX "yesterday" {%d+}`, "t BAD"},
		"unknown words": {"INBOX ANNOTATE {%d+}", "t BAD"},
		"bad flags":     {`INBOX (\Seen {%d+}`, "t BAD"},
		"UTF8, open":    {"INBOX UTF8 (~{%d+}", "t BAD"},
	} {
		if got := p.dialogue(t, "APPEND "+fmt.Sprintf(c.arguments, len(message))+"\r\n"+message); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %q", name, got)
		}
		if got := p.dialogue(t, "NOOP"); got != "t OK NOOP completed\r\n" {
			t.Errorf("after %s: %q", name, got)
		}
	}
}
