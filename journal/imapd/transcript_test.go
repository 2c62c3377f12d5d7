package imapd

import (
	"bufio"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"copialettere/journal"
)

// Each file in testdata/transcripts is one case. Its first lines, after "#", say what it is about. Then come, in the order of time:
//
//	C: LINE            what the program says, CRLF added. All C lines up to the next line of another kind are sent at once
//	C+ "TEXT"          the same as a Go string: any bytes, nothing added
//	S: LINE            one line of the server; unusual bytes as a Go string after S+
//	S! closed          the server closes the connection
//	A: received FILE   a message of testdata/messages arrives for anna, or "sent FILE", with its class or to whom it goes after the name of the file;
//	                   month YYYY-MM: the clock is there from now on;
//	                   set KEY VALUE: a setting of anna; delete FOLDER UID; hold FOLDER UID
//
// "go test -run Transcripts -update" rewrites the S lines. Where nothing but C and S lines follows the first S line, the case runs twice more: with
// all that the program says at once, and byte by byte. The server then says the same.
var update = flag.Bool("update", false, "write what came into the transcripts")

func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/transcripts/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("transcripts: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			check(t, err)
			lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
			came := runTranscript(t, lines)
			if *update && !t.Failed() {
				check(t, os.WriteFile(file, []byte(came), 0o644))
			} else if came != string(text) {
				t.Errorf("came:\n%s", came)
			}
			if t.Failed() || !dialogueOnly(lines) {
				return
			}
			for _, size := range []int{1, 1 << 20} {
				t.Run(fmt.Sprintf("%d bytes at a time", size), func(t *testing.T) { runPieces(t, lines, size) })
			}
		})
	}
}

// dialogueOnly reports whether nothing happens in the archive once the dialogue has begun.
func dialogueOnly(lines []string) bool {
	begun := false
	for _, l := range lines {
		begun = begun || strings.HasPrefix(l, "S")
		if begun && strings.HasPrefix(l, "A: ") {
			return false
		}
	}
	return true
}

type transcript struct {
	t    *testing.T
	rig  *rig
	nc   net.Conn
	in   *bufio.Reader
	send []byte
	came strings.Builder
}

func runTranscript(t *testing.T, lines []string) string {
	t.Helper()
	c := &transcript{t: t, rig: newRig(t, nil)}
	for i := 0; i < len(lines); i++ {
		l := lines[i]
		if !strings.HasPrefix(l, "C") {
			c.flush()
		}
		switch {
		case strings.HasPrefix(l, "#"):
		case strings.HasPrefix(l, "C"):
			c.send = append(c.send, said(t, l)...)
		case strings.HasPrefix(l, "A: "):
			c.act(strings.TrimPrefix(l, "A: "))
		case strings.HasPrefix(l, "S"):
			n := 1
			for i+n < len(lines) && strings.HasPrefix(lines[i+n], "S") {
				n++
			}
			c.read(n)
			i += n - 1
			continue
		default:
			t.Fatalf("line %q", l)
		}
		c.came.WriteString(l + "\n")
	}
	c.flush()
	if c.nc != nil {
		c.nc.Close()
	}
	return c.came.String()
}

// said returns the bytes of a C line.
func said(t testing.TB, l string) string {
	t.Helper()
	if text, ok := strings.CutPrefix(l, "C: "); ok {
		return text + "\r\n"
	}
	text, err := strconv.Unquote(strings.TrimPrefix(l, "C+ "))
	check(t, err)
	return text
}

func (c *transcript) connect() {
	if c.nc != nil {
		return
	}
	var err error
	c.nc, err = net.Dial("tcp", c.rig.addr)
	check(c.t, err)
	c.in = bufio.NewReader(c.nc)
}

func (c *transcript) flush() {
	if len(c.send) == 0 {
		return
	}
	c.connect()
	_, err := c.nc.Write(c.send)
	check(c.t, err)
	c.send = nil
}

// read takes n lines of the server, or all that come when transcripts are updated.
func (c *transcript) read(n int) {
	c.connect()
	for i := 0; i < n || *update; i++ {
		wait := 10 * time.Second
		if *update {
			wait = 1500 * time.Millisecond
		}
		c.nc.SetReadDeadline(time.Now().Add(wait))
		line, err := c.in.ReadString('\n')
		if err != nil {
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				if !*update {
					c.t.Errorf("no line %d of %d came", i+1, n)
				}
				return
			}
			c.came.WriteString("S! closed\n")
			return
		}
		c.came.WriteString(shown(line) + "\n")
	}
}

// shown returns a line of the server in the form of a transcript.
func shown(line string) string {
	text, crlf := strings.CutSuffix(line, "\r\n")
	for _, r := range text {
		if r < ' ' || r > '~' {
			crlf = false
		}
	}
	if crlf {
		return "S: " + text
	}
	return "S+ " + strconv.Quote(line)
}

func (c *transcript) act(what string) {
	words := strings.Fields(what)
	switch words[0] {
	case "received", "sent":
		in := journal.Intent{Mailbox: anna, Direction: journal.Received}
		if words[0] == "sent" {
			in.Direction = journal.Sent
		}
		switch {
		case len(words) == 2:
		case in.Direction == journal.Sent:
			in.SentTo = words[2]
		default:
			in.Class = words[2]
		}
		c.rig.addAs(in, fixtures(c.t)[words[1]])
	case "month":
		c.rig.month(words[1])
	case "set":
		c.rig.set(anna, words[1], words[2])
	case "delete", "hold":
		folder, month, err := journal.ParseFolder(words[1])
		check(c.t, err)
		uid, err := strconv.ParseUint(words[2], 10, 32)
		check(c.t, err)
		r := journal.Ref{Mailbox: anna, Month: month, Folder: folder, UID: uint32(uid)}
		if words[0] == "hold" {
			check(c.t, c.rig.journal.Hold(c.t.Context(), r, "test", "case"))
			break
		}
		_, err = c.rig.journal.Delete(c.t.Context(), r.Only(), "test")
		check(c.t, err)
	default:
		c.t.Fatalf("act %q", what)
	}
}

// runPieces says all that the program says in pieces of a size, and compares all that the server says.
func runPieces(t *testing.T, lines []string, size int) {
	t.Helper()
	c := &transcript{t: t, rig: newRig(t, nil)}
	var want strings.Builder
	for _, l := range lines {
		switch {
		case strings.HasPrefix(l, "A: "):
			c.act(strings.TrimPrefix(l, "A: "))
		case strings.HasPrefix(l, "C"):
			c.send = append(c.send, said(t, l)...)
		case strings.HasPrefix(l, "S"):
			want.WriteString(l + "\n")
		}
	}
	c.connect()
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for len(c.send) > 0 {
			n, err := c.nc.Write(c.send[:min(size, len(c.send))])
			if err != nil {
				return
			}
			c.send = c.send[n:]
		}
	}()
	c.read(strings.Count(want.String(), "\n"))
	c.nc.Close()
	<-sent
	if c.came.String() != want.String() {
		t.Errorf("came:\n%s", c.came.String())
	}
}
