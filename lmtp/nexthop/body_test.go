package nexthop

import (
	"bytes"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// sink is a connection that takes everything.
type sink struct {
	net.Conn // nil: no other method may be called
	bytes.Buffer
	keep   bool
	writes []int
}

func (s *sink) Write(p []byte) (int, error) {
	if !s.keep {
		return len(p), nil
	}
	s.writes = append(s.writes, len(p))
	return s.Buffer.Write(p)
}
func (s *sink) Read([]byte) (int, error)         { return 0, io.EOF }
func (s *sink) Close() error                     { return nil }
func (s *sink) SetDeadline(time.Time) error      { return nil }
func (s *sink) SetReadDeadline(time.Time) error  { return nil }
func (s *sink) SetWriteDeadline(time.Time) error { return nil }

// inMessageOver returns a connection that has just read its 354.
func inMessageOver(nc net.Conn) *wire {
	h := New(Spec{Scheme: LMTP, Path: "/hop"}, Options{})
	c := newWire(h, nc)
	c.stage, c.accepted = inMessage, 1
	return c
}

// onWire implements RFC 5321 section 4.5.2 in the plainest way.
func onWire(message string) string {
	lines := strings.SplitAfter(message, "\r\n")
	var b strings.Builder
	for _, line := range lines {
		if strings.HasPrefix(line, ".") {
			b.WriteByte('.')
		}
		b.WriteString(line)
	}
	if message != "" && !strings.HasSuffix(message, "\r\n") {
		b.WriteString("\r\n")
	}
	return b.String() + ".\r\n"
}

// send writes pieces as one message and returns the bytes that went out.
func send(t testing.TB, pieces ...string) string {
	t.Helper()
	s := &sink{keep: true}
	c := inMessageOver(s)
	for _, p := range pieces {
		if n, err := c.Write([]byte(p)); n != len(p) || err != nil {
			t.Fatalf("Write: %d, %v", n, err)
		}
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	flushed := s.Len()
	if err := c.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	if end := s.String()[flushed:]; end != ".\r\n" && end != "\r\n.\r\n" {
		t.Fatalf("End sent %q", end)
	}
	return s.String()
}

func TestDotStuffing(t *testing.T) {
	tests := []struct{ name, message, want string }{
		{"empty", "", ".\r\n"},
		{"no dot", "a\r\nb\r\n", "a\r\nb\r\n.\r\n"},
		{"dot first", ".\r\n", "..\r\n.\r\n"},
		{"dots alone", ".\r\n..\r\n.", "..\r\n...\r\n..\r\n.\r\n"},
		{"dot after an empty line", "\r\n\r\n.x\r\n", "\r\n\r\n..x\r\n.\r\n"},
		{"dot inside a line", "a.b\r\n", "a.b\r\n.\r\n"},
		{"CR and dot", "a\r.b\r\n", "a\r.b\r\n.\r\n"},
		{"CR CR LF and dot", "a\r\r\n.b\r\n", "a\r\r\n..b\r\n.\r\n"},
		{"ends in CR", "a\r", "a\r\r\n.\r\n"},
		{"ends in CR CR LF", "a\r\r\n", "a\r\r\n.\r\n"},
		{"ends without a line end", "a", "a\r\n.\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if ref := onWire(tt.message); ref != tt.want {
				t.Fatalf("the reference gives %q, want %q", ref, tt.want)
			}
			// Every way to cut the message into three pieces, empty ones included.
			for i := range len(tt.message) + 1 {
				for j := i; j <= len(tt.message); j++ {
					if got := send(t, tt.message[:i], tt.message[i:j], tt.message[j:]); got != tt.want {
						t.Fatalf("cut at %d and %d: got %q, want %q", i, j, got, tt.want)
					}
				}
			}
			var bytewise []string
			for _, b := range []byte(tt.message) {
				bytewise = append(bytewise, string([]byte{b}))
			}
			if got := send(t, bytewise...); got != tt.want {
				t.Errorf("byte by byte: got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestDotStuffingAtBuffer puts CR, LF and dots at every place around the end of the buffer.
func TestDotStuffingAtBuffer(t *testing.T) {
	for shift := -6; shift <= 6; shift++ {
		message := strings.Repeat("x", bufferSize+shift) + "\r\n.\r\n.." + strings.Repeat("y", 2*bufferSize) + "\r\n"
		for _, cut := range []int{0, 1, bufferSize - 1, bufferSize, bufferSize + 1, len(message)} {
			if got := send(t, message[:cut], message[cut:]); got != onWire(message) {
				t.Fatalf("wrong bytes with the line end at %d and a cut at %d", bufferSize+shift, cut)
			}
		}
	}
}

// TestWriteSizes checks that no write is larger than the buffer, whatever the caller passes: the Data timeout is for one write.
func TestWriteSizes(t *testing.T) {
	s := &sink{keep: true}
	c := inMessageOver(s)
	if _, err := c.Write(bytes.Repeat([]byte("x"), 1<<20)); err != nil {
		t.Fatal(err)
	}
	for _, n := range s.writes {
		if n > bufferSize {
			t.Fatalf("a write of %d bytes", n)
		}
	}
	if len(s.writes) != 1<<20/bufferSize {
		t.Errorf("%d writes for 1 MiB", len(s.writes))
	}
}

// FuzzBody checks the bytes of any message, cut anywhere, against onWire.
func FuzzBody(f *testing.F) {
	f.Add("a\r\n.b\r\n", uint16(3), uint16(4))
	f.Add(".\r\n..\r\n", uint16(1), uint16(1))
	f.Add("\r\r\n.", uint16(2), uint16(3))
	f.Fuzz(func(t *testing.T, message string, i, j uint16) {
		// Write requires CRLF line ends.
		message = strings.ReplaceAll(strings.ReplaceAll(message, "\r\n", "\n"), "\n", "\r\n")
		a := min(int(i), len(message))
		b := min(max(int(j), a), len(message))
		if got, want := send(t, message[:a], message[a:b], message[b:]), onWire(message); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}

// testMessage returns n bytes of lines of 76 characters; one line in forty begins with a dot.
func testMessage(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		if i%40 == 39 {
			b.WriteByte('.')
		}
		b.WriteString(strings.Repeat("abcd", 19) + "\r\n")
	}
	return append(b.Bytes()[:n-2], "\r\n"...)
}

func TestWriteAllocatesNothing(t *testing.T) {
	c, message := inMessageOver(new(sink)), testMessage(100_000)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := c.Write(message); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for one Write", n)
	}
}

func BenchmarkWrite(b *testing.B) {
	for name, size := range map[string]int{"4kB": 4_000, "100kB": 100_000} {
		b.Run(name, func(b *testing.B) {
			c, message := inMessageOver(new(sink)), testMessage(size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				// The hook passes the bytes in the blocks that it reads.
				for rest := message; len(rest) > 0; {
					n := min(len(rest), 16<<10)
					if _, err := c.Write(rest[:n]); err != nil {
						b.Fatal(err)
					}
					rest = rest[n:]
				}
			}
		})
	}
}
