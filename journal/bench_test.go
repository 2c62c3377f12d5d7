package journal

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"copialettere/journal/kv/level"
)

// BenchmarkDeliver takes in distinct messages, each for one mailbox, as the hook does: in blocks of 32 KiB, one Commit each, and the
// outcome. Beside the time it reports the processor time of a message, compactions and all.
func BenchmarkDeliver(b *testing.B) {
	for _, size := range []int{4 << 10, 100 << 10} {
		for _, writers := range []int{1, 32} {
			b.Run(fmt.Sprintf("%dkB/writers=%d", size>>10, writers), func(b *testing.B) { benchmarkDeliver(b, size, writers) })
		}
	}
}

func benchmarkDeliver(b *testing.B, size, writers int) {
	engine, err := level.Open(b.TempDir(), level.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer engine.Close()
	j, err := Open(engine, Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	b.SetBytes(int64(size))
	var number atomic.Int64
	deliver := func(m *benchmarkMessage) {
		n := number.Add(1)
		transaction := fmt.Sprint("t", n)
		d := j.NewDraft(b.Context())
		defer d.Discard()
		for rest := m.next(n); len(rest) > 0; {
			block := rest[:min(len(rest), 32<<10)]
			d.Write(block)
			rest = rest[len(block):]
		}
		mailbox := fmt.Sprintf("user%d@alpha.test", n%1000)
		placed, err := d.Commit(b.Context(), Envelope{MailFrom: "anna@ext.test", Transaction: transaction},
			[]Intent{{Mailbox: mailbox, Direction: Received, RcptTo: mailbox, Class: "ordinary"}}, nil)
		if err != nil {
			b.Error(err)
			return
		}
		j.Delivered(placed[0].Ref, transaction)
	}
	first := newBenchmarkMessage(size)
	begun := processorTime()
	const tries = 500
	for range tries {
		first.next(-1)
	}
	making := (processorTime() - begun) / tries
	deliver(first)

	b.ReportAllocs()
	b.ResetTimer()
	begun = processorTime()
	if writers == 1 {
		for range b.N {
			deliver(first)
		}
	} else {
		b.SetParallelism(writers / runtime.GOMAXPROCS(0))
		b.RunParallel(func(pb *testing.PB) {
			m := newBenchmarkMessage(size)
			m.random.Seed([32]byte{byte(number.Load()), byte(number.Add(1))})
			for pb.Next() {
				deliver(m)
			}
		})
	}
	b.StopTimer()
	b.ReportMetric((processorTime()-begun).Seconds()*1e3/float64(b.N)-making.Seconds()*1e3, "cpu-ms/op")
}

func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchmarkMessage makes messages of words, and from 8 kB on with an attachment of random bytes in base64: no two share any of it.
type benchmarkMessage struct {
	text   []byte
	number []byte // where the number of the message stands in text
	lines  []byte // of the attachment
	random *rand.ChaCha8
}

func newBenchmarkMessage(size int) *benchmarkMessage {
	m := &benchmarkMessage{random: rand.NewChaCha8([32]byte{1})}
	r := rand.New(m.random)
	var b bytes.Buffer
	fmt.Fprintf(&b, "From: anna@ext.test\r\nTo: mario@alpha.test\r\nSubject: Fattura\r\nMIME-Version: 1.0\r\nMessage-ID: <")
	number := b.Len()
	fmt.Fprintf(&b, "%012d@ext.test>\r\n", 0)
	text := min(size, 8<<10)
	if size > text {
		b.WriteString("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n")
	}
	b.WriteString("Content-Type: text/plain; charset=utf-8\r\n\r\n")
	for b.Len() < text {
		writeWords(&b, r)
	}
	lines := b.Len()
	if size > text {
		b.WriteString("--b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n")
		lines = b.Len()
		for b.Len() < size {
			b.WriteString(strings.Repeat("A", 76) + "\r\n")
		}
	}
	m.text = b.Bytes()
	m.number, m.lines = m.text[number:number+12], m.text[lines:]
	if size > text {
		m.text = append(m.text, "--b--\r\n"...)
		m.lines = m.text[lines : len(m.text)-len("--b--\r\n")]
		m.number = m.text[number : number+12]
	}
	return m
}

// next returns the next message, valid until the one after it.
func (m *benchmarkMessage) next(n int64) []byte {
	copy(m.number, fmt.Sprintf("%012d", n))
	var line [57]byte
	for rest := m.lines; len(rest) > 0; rest = rest[78:] {
		m.random.Read(line[:])
		base64.StdEncoding.Encode(rest, line[:])
	}
	return m.text
}

// writeWords writes one line of words.
func writeWords(b *bytes.Buffer, r *rand.Rand) {
	for range 9 {
		fmt.Fprintf(b, "parola%d ", r.IntN(5000))
	}
	b.WriteString("\r\n")
}
