package clamd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
)

// daemon is a clamd that answers as it is told, and keeps what it was sent.
type daemon struct {
	address  string
	received chan []byte
}

// serve answers one connection: at once, or after the whole file.
func serve(t *testing.T, answer string, early bool) *daemon {
	t.Helper()
	d := &daemon{filepath.Join(t.TempDir(), "clamd"), make(chan []byte, 1)}
	l, err := net.Listen("unix", d.address)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		nc, err := l.Accept()
		if err != nil {
			return
		}
		defer nc.Close()
		command := make([]byte, len("zINSTREAM\x00"))
		io.ReadFull(nc, command)
		file := bytes.NewBuffer(command)
		for !early {
			var n uint32
			if binary.Read(nc, binary.BigEndian, &n) != nil || n == 0 {
				break
			}
			io.CopyN(file, nc, int64(n))
		}
		io.WriteString(nc, answer)
		d.received <- file.Bytes()
	}()
	return d
}

func TestScan(t *testing.T) {
	large := strings.Repeat("x", 3*chunkSize+1)
	for _, c := range []struct {
		name, content, answer string
		early                 bool
		signature             string
		err                   error
	}{
		{"clean", "words", "stream: OK\x00", false, "", nil},
		{"empty", "", "stream: OK\x00", false, "", nil},
		{"several chunks", large, "stream: OK\x00", false, "", nil},
		{"found", "words", "stream: Test.Signature FOUND\x00", false, "Test.Signature", nil},
		{"found before the end", "words", "stream: Test.Signature FOUND\x00", true, "Test.Signature", nil},
		{"too large for the daemon", large, "INSTREAM size limit exceeded. ERROR\x00", true, "", ErrTooLarge},
		{"a fault of the daemon", "words", "stream: Can't allocate memory ERROR\x00", false, "", ErrUnexamined},
		{"no answer", "words", "", false, "", ErrUnexamined},
		{"half an answer", "words", "stream: OK", false, "", ErrUnexamined},
		{"another answer", "words", "stream:  FOUND\x00", false, "", ErrUnexamined},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := serve(t, c.answer, c.early)
			signature, err := New("unix", d.address).Scan(t.Context(), iotest.HalfReader(strings.NewReader(c.content)))
			if signature != c.signature || !errors.Is(err, c.err) || c.err == nil && err != nil {
				t.Errorf("%q, %v", signature, err)
			}
			if got := <-d.received; !c.early && string(got) != "zINSTREAM\x00"+c.content {
				t.Errorf("%d bytes were received of %d", len(got), len(c.content))
			}
		})
	}
}

func TestScanTooLarge(t *testing.T) {
	d := serve(t, "stream: OK\x00", false)
	if _, err := New("unix", d.address).Scan(t.Context(), io.LimitReader(zeros{}, MaxSize+1)); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// TestScanFaults tells a fault of the file from one of the daemon.
func TestScanFaults(t *testing.T) {
	fault := errors.New("fault")
	d := serve(t, "stream: OK\x00", false)
	if _, err := New("unix", d.address).Scan(t.Context(), iotest.ErrReader(fault)); !errors.Is(err, fault) || errors.Is(err, ErrUnexamined) {
		t.Errorf("a file that cannot be read: %v", err)
	}
	if _, err := New("unix", filepath.Join(t.TempDir(), "none")).Scan(t.Context(), strings.NewReader("x")); !errors.Is(err, ErrUnexamined) {
		t.Errorf("no daemon: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // never answers
		if nc, err := l.Accept(); err == nil {
			cancel()
			io.Copy(io.Discard, nc)
			nc.Close()
		}
	}()
	if _, err := New("tcp", l.Addr().String()).Scan(ctx, strings.NewReader("x")); !errors.Is(err, ErrUnexamined) {
		t.Errorf("called off: %v", err)
	}
}
