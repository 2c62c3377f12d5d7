package e2e

import (
	"bytes"
	"fmt"
	"net"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"copialettere/cmd/copialettere/e2e/rig"
)

// transaction is what the recorder got in one LMTP transaction.
type transaction struct {
	from    string   // everything after "MAIL FROM:"
	lines   []string // everything after "RCPT TO:"
	forward []string // the XFORWARD attributes
	message []byte
}

// recorder is an LMTP server in place of the hook or the mailstore. It announces what the hook announces, and accepts everything. While
// refusing is set, it answers messages with 4xx after the dot.
type recorder struct {
	listener net.Listener
	workers  sync.WaitGroup
	keywords []string // announced beside the usual ones
	refusing atomic.Bool

	mu          sync.Mutex
	seen        []transaction         // guarded by mu
	connections map[net.Conn]struct{} // guarded by mu
}

// startRecorder listens on the socket, for the user postfix.
func startRecorder(t *testing.T, socket string) *recorder {
	t.Helper()
	return record(rig.ListenUnix(t, socket))
}

// record serves a listener until stop.
func record(listener net.Listener, keywords ...string) *recorder {
	r := &recorder{listener: listener, keywords: keywords, connections: make(map[net.Conn]struct{})}
	r.workers.Go(func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			r.connections[connection] = struct{}{}
			r.mu.Unlock()
			r.workers.Go(func() { r.serve(connection) })
		}
	})
	return r
}

// stop closes the socket and every connection, and waits for them.
func (r *recorder) stop() {
	r.listener.Close()
	r.mu.Lock()
	for connection := range r.connections {
		connection.Close()
	}
	r.mu.Unlock()
	r.workers.Wait()
}

// find returns the transactions whose message contains the mark.
func (r *recorder) find(mark string) []transaction {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []transaction
	for _, one := range r.seen {
		if bytes.Contains(one.message, []byte(mark)) {
			found = append(found, one)
		}
	}
	return found
}

func (r *recorder) serve(connection net.Conn) {
	defer connection.Close()
	text := textproto.NewConn(connection)
	var current transaction
	text.PrintfLine("220 recorder")
	for {
		line, err := text.ReadLine()
		if err != nil {
			return
		}
		verb, rest, _ := strings.Cut(line, " ")
		switch strings.ToUpper(verb) {
		case "LHLO":
			text.PrintfLine("250-recorder\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250-DSN\r\n250-SIZE")
			for _, keyword := range r.keywords {
				text.PrintfLine("250-%s", keyword)
			}
			text.PrintfLine("250 XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE")
		case "XFORWARD":
			current.forward = append(current.forward, strings.Fields(rest)...)
			text.PrintfLine("250 2.0.0 ok")
		case "MAIL":
			current.from = strings.TrimPrefix(rest, "FROM:")
			text.PrintfLine("250 2.1.0 ok")
		case "RCPT":
			current.lines = append(current.lines, strings.TrimPrefix(rest, "TO:"))
			text.PrintfLine("250 2.1.5 ok")
		case "RSET":
			current = transaction{}
			text.PrintfLine("250 2.0.0 ok")
		case "DATA":
			text.PrintfLine("354 go on")
			if current.message, err = text.ReadDotBytes(); err != nil {
				return
			}
			r.mu.Lock()
			r.seen = append(r.seen, current)
			r.mu.Unlock()
			reply := "250 2.0.0 recorded"
			if r.refusing.Load() {
				reply = "451 4.2.0 not now"
			}
			for range current.lines {
				text.PrintfLine("%s", reply)
			}
			current = transaction{}
		case "QUIT":
			text.PrintfLine("221 2.0.0 bye")
			return
		default:
			text.PrintfLine("502 5.5.2 %s?", verb)
		}
	}
}

// wire returns the RCPT lines of the transactions, sorted.
func wire(transactions []transaction) []string {
	var lines []string
	for _, one := range transactions {
		lines = append(lines, one.lines...)
	}
	slices.Sort(lines)
	return lines
}

// message makes a small message with that mark as its Message-ID. Further header lines end in CRLF each.
func message(mark string, header ...string) []byte {
	return fmt.Appendf(nil, "From: Ester <ester@ext.test>\r\nTo: chi legge <lettori@ext.test>\r\nSubject: prova %[1]s\r\n"+
		"Message-ID: <%[1]s@ext.test>\r\nDate: Mon, 02 Nov 2026 09:30:00 +0100\r\n%[2]s\r\nBuongiorno,\r\nquesta e' la prova %[1]s.\r\n",
		mark, strings.Join(header, ""))
}
