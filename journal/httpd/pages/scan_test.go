package pages

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"copialettere/journal/httpd/clamd"
)

// scanning lets the pages ask a daemon that gives one answer to all, until the returned function ends it.
func (r *rig) scanning(answer string) (stop func()) {
	r.t.Helper()
	address := filepath.Join(r.t.TempDir(), "clamd")
	l, err := net.Listen("unix", address)
	r.must(err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			// The end of the file is an empty chunk. What is sent here is shorter than one.
			in := bufio.NewReader(nc)
			io.CopyN(io.Discard, in, int64(len("zINSTREAM\x00")))
			for {
				var length [4]byte
				if _, err := io.ReadFull(in, length[:]); err != nil || length == [4]byte{} {
					break
				}
				io.CopyN(io.Discard, in, int64(length[2])<<8|int64(length[3]))
			}
			io.WriteString(nc, answer+"\x00")
			nc.Close()
		}
	}()
	r.pages.options.Scanner = clamd.New("unix", address)
	stop = func() { l.Close(); <-done }
	r.t.Cleanup(stop)
	return stop
}

// TestScan gives out no file in which a virus was found, and one that could not be examined only after a second step. The message as it is stays.
func TestScan(t *testing.T) {
	r := newRig(t)
	ref := r.received(mixed)
	b := r.signedIn(anna)
	part := at(ref) + "/parts/3"
	for _, c := range []struct {
		name, answer, path string
		status             int
		want               string
	}{
		{"clean", "stream: OK", part, http.StatusOK, "GIF89a"},
		{"found", "stream: Test.Signature FOUND", part, http.StatusForbidden, "Test.Signature"},
		{"found, as before", "stream: Test.Signature FOUND", part + "?unscanned=1", http.StatusForbidden, "Test.Signature"},
		{"found, and the message", "stream: Test.Signature FOUND", at(ref) + "/raw", http.StatusOK, "Subject:"},
		{"too large", "INSTREAM size limit exceeded. ERROR", part, http.StatusServiceUnavailable, "non esamina file così grandi"},
		{"a fault", "stream: fault ERROR", part, http.StatusServiceUnavailable, "Scarica senza controllo"},
		{"a fault, after the second step", "stream: fault ERROR", part + "?unscanned=1", http.StatusOK, "GIF89a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			defer r.scanning(c.answer)()
			if w := b.get(c.path); w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
				t.Errorf("%d: %s", w.Code, w.Body)
			}
		})
	}
	r.scanning("")()
	if w := b.get(part); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "antivirus in questo momento non risponde") {
		t.Errorf("no daemon: %d: %s", w.Code, w.Body)
	}
}
