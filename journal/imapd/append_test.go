package imapd

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
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
	message := large(48 << 20)
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
	// The store begins a second write buffer, of 11 MB, somewhere in it.
	if grown := int64(most.HeapAlloc) - int64(before.HeapAlloc); grown > 20<<20 {
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
		"empty date":    {`INBOX "" {%d+}`, "t BAD Want a date"},
	} {
		if got := p.dialogue(t, "APPEND "+fmt.Sprintf(c.arguments, len(message))+"\r\n"+message); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %q", name, got)
		}
		if got := p.dialogue(t, "NOOP"); got != "t OK NOOP completed\r\n" {
			t.Errorf("after %s: %q", name, got)
		}
	}
}

// TestAppendNotWhole sends messages whose command does not end where their size says, or not at all: nothing of them is kept, and what follows them is
// no command.
func TestAppendNotWhole(t *testing.T) {
	r := newRig(t, nil)
	r.set(anna, "append", "on")
	r.add(anna, journal.Received, "Subject: x\r\n\r\nTesto\r\n")
	const message = "Subject: y\r\n\r\nTesto\r\n"
	for name, c := range map[string]struct{ arguments, sent, want string }{
		"more bytes than said": {"INBOX {15+}", message + "\r\nu NOOP\r\n", "t BAD "},
		"words behind it":      {"INBOX {21+}", message + "altro\r\nu NOOP\r\n", "t BAD "},
		"another message":      {"INBOX {21+}", message + " {3+}\r\nabc\r\nu NOOP\r\n", "t BAD "},
		"UTF8, open":           {"INBOX UTF8 (~{21+}", message + "\r\nu NOOP\r\n", "t BAD "},
		"no UTF8, closed":      {"INBOX {21+}", message + ")\r\nu NOOP\r\n", "t BAD "},
		"no end of the line":   {"INBOX {21+}", message, ""},
	} {
		p := r.open("INBOX")
		_, err := fmt.Fprintf(p.nc, "t APPEND %s\r\n%s", c.arguments, c.sent)
		check(t, err)
		if c.want == "" {
			check(t, p.nc.(*net.TCPConn).CloseWrite())
		}
		answer, err := io.ReadAll(p.in)
		check(t, err)
		if got := string(answer); !strings.HasPrefix(got, c.want) || c.want != "" && !strings.HasSuffix(got, "\r\n* BYE Command not understood\r\n") ||
			strings.Contains(got, "APPENDUID") || strings.Contains(got, "NOOP") {
			t.Errorf("%s: %q", name, got)
		}
	}
	p := r.open("INBOX")
	if got := p.dialogue(t, "APPEND INBOX UTF8 (~{21+}\r\n"+message+")"); !strings.HasPrefix(got, "t OK [APPENDUID ") {
		t.Errorf("in UTF-8: %q", got)
	}
	e, err := r.journal.Folder(t.Context(), anna, "2026-11", "INBOX")
	if check(t, err); e.Entries != 2 || e.Imported != 1 {
		t.Errorf("%+v", e)
	}
}

// TestAppendForbiddenMeanwhile changes the settings while a message comes: what holds at its end counts.
func TestAppendForbiddenMeanwhile(t *testing.T) {
	r := newRig(t, nil)
	r.add(anna, journal.Received, "Subject: x\r\n\r\nTesto\r\n")
	for _, c := range []struct {
		name   string
		change func() error
		want   string
	}{
		{"append=off", func() error { r.set(anna, "append", "off"); return nil }, "t NO [NOPERM] In questo archivio non si possono inserire messaggi a mano\r\n"},
		{"paused", func() error { _, err := r.policy.Pause(t.Context(), address(t, anna), operator); return err },
			"t NO [NOPERM] L'archivio e' sospeso e non accetta messaggi\r\n"},
	} {
		r.set(anna, "append", "on")
		p := r.open("INBOX")
		_, err := fmt.Fprintf(p.nc, "t APPEND INBOX {21}\r\n")
		check(t, err)
		if line, err := p.in.ReadString('\n'); err != nil || !strings.HasPrefix(line, "+ ") {
			t.Fatalf("%s: %q, %v", c.name, line, err)
		}
		check(t, c.change())
		_, err = p.nc.Write([]byte("Subject: y\r\n\r\nTesto\r\n\r\n"))
		check(t, err)
		if line, err := p.in.ReadString('\n'); err != nil || line != c.want {
			t.Errorf("%s: came %q, %v, want %q", c.name, line, err, c.want)
		}
	}
	if e, err := r.journal.Folder(t.Context(), anna, "2026-11", "INBOX"); err != nil || e.Entries != 1 {
		t.Errorf("%+v, %v", e, err)
	}
}

// TestAppendTrashCounts puts in and deletes in turn: what waits in the trash takes room until it is gone.
func TestAppendTrashCounts(t *testing.T) {
	r := newRig(t, nil)
	for key, value := range map[string]string{"append": "on", "write": "on", "quota": "1kB"} {
		r.set(anna, key, value)
	}
	const full = "t NO [OVERQUOTA] L'archivio e' pieno (conta anche il cestino): il messaggio non e' stato inserito\r\n"
	message := "Subject: x\r\n\r\n" + strings.Repeat("Testo\r\n", 80)
	put := func(p *reader) string {
		return p.dialogue(t, fmt.Sprintf("APPEND INBOX {%d+}\r\n%s", len(message), message))
	}
	r.add(anna, journal.Received, "Subject: 1\r\n\r\nTesto\r\n")
	p := r.open("INBOX")
	if got := put(p); !strings.Contains(got, "t OK [APPENDUID ") {
		t.Fatal(got)
	}
	inbox := r.open("INBOX/2026-11")
	inbox.dialogue(t, "UID MOVE 2 Cestino")
	if got := inbox.dialogue(t, "STATUS Cestino (MESSAGES)"); !strings.HasPrefix(got, "* STATUS \"Cestino\" (MESSAGES 1)") {
		t.Fatal(got)
	}
	if got := put(p); got != full {
		t.Errorf("put in after a deletion: %q, want %q", got, full)
	}
	trash := r.open("Cestino")
	if got := trash.dialogue(t, "COPY 1 INBOX"); got != full {
		t.Errorf("copied from the trash: %q, want %q", got, full)
	}
	later := r.now.Load().Add(journal.DeletedGrace)
	r.now.Store(&later)
	if purged, err := r.journal.PurgeDeleted(t.Context()); err != nil || purged.Entries != 1 {
		t.Fatalf("%+v, %v", purged, err)
	}
	if got := put(p); !strings.Contains(got, "t OK [APPENDUID ") {
		t.Errorf("put in after the grace: %q", got)
	}
}
