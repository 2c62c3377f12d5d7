package browser

import (
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// startScanner starts a virus scanner with the INSTREAM command of clamd(8), and returns its address. It finds every file harmless, but does not answer
// about one with the word Tegole.
func startScanner(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var scans sync.WaitGroup
	scans.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			scans.Go(func() {
				defer c.Close()
				if content, err := receive(c); err == nil && !strings.Contains(content, "Tegole") {
					io.WriteString(c, "stream: OK\x00")
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		scans.Wait()
	})
	return l.Addr().String()
}

// receive reads the command and its file: each piece after its length, and an empty one at the end.
func receive(c io.Reader) (string, error) {
	if _, err := io.ReadFull(c, make([]byte, len("zINSTREAM\x00"))); err != nil {
		return "", err
	}
	var content strings.Builder
	for {
		var length [4]byte
		if _, err := io.ReadFull(c, length[:]); err != nil {
			return "", err
		}
		n := binary.BigEndian.Uint32(length[:])
		if n == 0 {
			return content.String(), nil
		}
		if _, err := io.CopyN(&content, c, int64(n)); err != nil {
			return "", err
		}
	}
}
