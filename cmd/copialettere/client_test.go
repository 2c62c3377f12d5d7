package main

import (
	"bufio"
	"net"
	"net/http"
	"strings"
	"testing"
)

// TestDaemonEnds has a daemon that is killed while it answers a command.
func TestDaemonEnds(t *testing.T) {
	p := newPlace(t)
	p.configure("")
	p.must("init")
	l, err := net.Listen("unix", p.config().Admin.Socket())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			http.ReadRequest(bufio.NewReader(nc))
			nc.Close()
		}
	}()
	code, _, stderr := p.run("mailbox", "enable", anna)
	if code != 1 || !strings.Contains(stderr, "whether a change was made is not known") {
		t.Errorf("exit status %d: %s", code, stderr)
	}
	l.Close()
	<-done
}
