//go:build bench

package bench

import (
	"encoding/base64"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"copialettere/cmd/copialettere/e2e/rig"
)

// random is a source of base64 lines.
type random struct {
	source *rand.ChaCha8
	raw    [57 * 256]byte
	text   [78 * 256]byte
}

func newRandom(seed uint64) *random {
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	return &random{source: rand.NewChaCha8(key)}
}

// write writes at least that many bytes, in blocks of lines.
func (r *random) write(w io.Writer, size int) error {
	for size > 0 {
		r.source.Read(r.raw[:])
		lines := min(256, (size+77)/78)
		for i := range lines {
			line := r.text[78*i : 78*i+78]
			base64.StdEncoding.Encode(line, r.raw[57*i:57*i+57])
			line[76], line[77] = '\r', '\n'
		}
		if _, err := w.Write(r.text[:78*lines]); err != nil {
			return err
		}
		size -= 78 * lines
	}
	return nil
}

// seeds makes every message of a run different.
var seeds atomic.Uint64

// send delivers that many messages of random base64 by LMTP, over several connections. It makes the bodies while it sends them.
func send(t *testing.T, address string, connections, count, size int) {
	t.Helper()
	overConnections(t, address, connections, count, func(session *rig.Session) error { return sendOne(session, size) })
}

// overConnections sends that many messages over several connections at once.
func overConnections(t *testing.T, address string, connections, count int, one func(*rig.Session) error) {
	t.Helper()
	var clients sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(count))
	errors := make([]error, connections)
	for i := range connections {
		clients.Go(func() {
			session, err := rig.Dial("tcp", address, "LHLO")
			if err != nil {
				errors[i] = err
				return
			}
			defer session.Close()
			session.Limit(5 * time.Minute)
			for errors[i] == nil && left.Add(-1) >= 0 {
				errors[i] = one(session)
			}
		})
	}
	clients.Wait()
	for _, err := range errors {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func sendOne(session *rig.Session, size int) error {
	seed := seeds.Add(1)
	for _, line := range []string{"MAIL FROM:<" + sender + ">", "RCPT TO:<" + mailbox + ">", "DATA"} {
		if reply, err := session.Command("%s", line); err != nil || reply.Code/100 > 3 {
			return fmt.Errorf("%s: %v %v", line, reply, err)
		}
	}
	_, err := fmt.Fprintf(session, "From: <%s>\r\nSubject: misura %d\r\nMessage-ID: <%d@ext.test>\r\n\r\n", sender, seed, seed)
	if err == nil {
		err = newRandom(seed).write(session, size)
	}
	if err != nil {
		return err
	}
	if reply, err := session.Command("."); err != nil || reply.Code != 250 {
		return fmt.Errorf("after the dot: %v %v", reply, err)
	}
	return nil
}

// deliver sends one message.
func deliver(t *testing.T, address string, message []byte) {
	t.Helper()
	replies, err := rig.Deliver("tcp", address, rig.Mail{From: sender, To: []string{mailbox}, Message: message})
	if err != nil || replies[0].Code != 250 {
		t.Fatalf("%v %v", replies, err)
	}
}

// processorTime returns the user and system time of a process. The kernel counts it in hundredths of a second.
func processorTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	text := read(t, fmt.Sprintf("/proc/%d/stat", pid))
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:]) // begins with field 3 of proc(5)
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// written returns how many bytes a process has caused to be written to the disk.
func written(t *testing.T, pid int) int64 {
	t.Helper()
	return field(t, fmt.Sprintf("/proc/%d/io", pid), "write_bytes:")
}

// peakMemory returns the highest resident memory of a process, in bytes.
func peakMemory(t *testing.T, pid int) int64 {
	t.Helper()
	return field(t, fmt.Sprintf("/proc/%d/status", pid), "VmHWM:") << 10
}

func field(t *testing.T, path, name string) int64 {
	t.Helper()
	for line := range strings.Lines(read(t, path)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == name {
			n, err := strconv.ParseInt(fields[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("%s has no %s", path, name)
	return 0
}

// sendPipelined delivers that many messages by LMTP over several connections, as Postfix does: MAIL, RCPT and DATA in one write, the message with its dot in
// another. All bodies are alike, the Message-IDs are not.
func sendPipelined(t *testing.T, address string, size, connections, count int) {
	t.Helper()
	body := strings.Repeat(strings.Repeat("X", 76)+"\r\n", size/78)
	commands := fmt.Sprintf("MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nDATA\r\n", sender, mailbox)
	overConnections(t, address, connections, count, func(session *rig.Session) error {
		if _, err := io.WriteString(session, commands); err != nil {
			return err
		}
		for _, want := range []int{250, 250, 354} {
			if reply, err := session.Reply(); err != nil || reply.Code != want {
				return fmt.Errorf("to the commands: %v %v", reply, err)
			}
		}
		seed := seeds.Add(1)
		_, err := fmt.Fprintf(session, "From: <%s>\r\nSubject: misura\r\nMessage-ID: <%d.%d@ext.test>\r\n\r\n%s.\r\n", sender, os.Getpid(), seed, body)
		if err != nil {
			return err
		}
		if reply, err := session.Reply(); err != nil || reply.Code != 250 {
			return fmt.Errorf("to the message: %v %v", reply, err)
		}
		return nil
	})
}
