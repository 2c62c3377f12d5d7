package lmtp

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// BenchmarkHook measures the hook between a client as lean as Postfix's and a next hop that does nothing, over loopback, one connection
// at a time. cpu-µs/msg is the CPU time of the whole process, client and next hop included; BenchmarkWithoutHook measures these two.
func BenchmarkHook(b *testing.B) {
	for _, size := range benchmarkSizes {
		for _, journaled := range []bool{false, true} {
			b.Run(fmt.Sprintf("%dkB/journaled=%t", size/1000, journaled), func(b *testing.B) {
				o := rigOptions{hop: func(tb testing.TB) string { return "lmtp:" + startHop(tb, serveSink) }}
				if journaled {
					o.enable = anna
				}
				r := newRig(b, o)
				benchmarkClient(b, r.address, size)
			})
		}
	}
}

func BenchmarkWithoutHook(b *testing.B) {
	for _, size := range benchmarkSizes {
		b.Run(fmt.Sprintf("%dkB", size/1000), func(b *testing.B) { benchmarkClient(b, startHop(b, serveSink), size) })
	}
}

var benchmarkSizes = []int{4000, 100000}

func benchmarkClient(b *testing.B, address string, size int) {
	nc, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	c := &client{tb: b, nc: nc, in: bufio.NewReader(nc)}
	c.want("220")
	c.say("LHLO mx.test\n")
	c.want("250")
	envelope := []byte("MAIL FROM:<ext@ext.test> SIZE=1000\r\nRCPT TO:<anna@alpha.test> ORCPT=rfc822;anna@alpha.test\r\nDATA\r\n")
	text := []byte("Received: from ext.test by mx.test with ESMTP id 1\r\nFrom: ext@ext.test\r\nTo: anna@alpha.test\r\nSubject: a message\r\n" +
		"Message-ID: <0000000000@ext.test>\r\n\r\n")
	id := bytes.Index(text, []byte("0000000000"))
	for i := 0; len(text) < size; i++ {
		text = fmt.Appendf(text, "%08d %s\r\n", i*7919, strings.Repeat(string(rune('a'+i%26)), 60))
	}
	text = append(text, ".\r\n"...)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	start := processorTime()
	for i := 0; b.Loop(); i++ {
		nc.Write(envelope)
		c.want("250", "250", "354")
		copy(text[id:], fmt.Sprintf("%010d", i))
		nc.Write(text)
		c.want("250")
	}
	b.ReportMetric(float64((processorTime()-start).Microseconds())/float64(b.N), "cpu-µs/msg")
	c.say("QUIT\n")
	c.want("221")
}

// processorTime returns the CPU time that this process has used so far.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// serveSink is a next hop that accepts everything and keeps nothing.
func serveSink(nc net.Conn) {
	in := bufio.NewReaderSize(nc, 64<<10)
	var out []byte
	say := func(reply string) {
		if out = append(out, reply...); in.Buffered() == 0 {
			nc.Write(out)
			out = out[:0]
		}
	}
	say("220 sink.test\r\n")
	for {
		line, err := in.ReadSlice('\n')
		switch {
		case err != nil:
			return
		case bytes.HasPrefix(line, []byte("LHLO")):
			say("250-sink.test\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
		case bytes.HasPrefix(line, []byte("DATA")):
			say("354 go\r\n")
			if skipMessage(in) != nil {
				return
			}
			say("250 2.0.0 ok\r\n")
		case bytes.HasPrefix(line, []byte("QUIT")):
			io.WriteString(nc, "221 bye\r\n")
			return
		default:
			say("250 ok\r\n")
		}
	}
}

// skipMessage reads up to a line that is one dot.
func skipMessage(in *bufio.Reader) error {
	for {
		line, err := in.ReadSlice('\n')
		if err != nil || string(line) == ".\r\n" {
			return err
		}
	}
}
