//go:build bench

package journal

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"copialettere/journal/kv/level"
	"copialettere/journal/metrics"
)

// A month is compared with itself when it had growthFirst entries. Few commits are measured then: LevelDB makes tables of them, and merges none before
// the month has 90,000. Of the later ones so many are measured that it merges level 0 at least once.
const (
	growthFirst       = 10_000
	growthFirstWindow = 20_000
	growthLastWindow  = 100_000
	growthWriters     = 32
	growthBoxes       = 1000
)

// TestBenchGrowth prints what a commit costs at 1,000,000 entries in the month against what it costs at 10,000, and how many bytes are written for a byte
// stored: of messages of 1.2 kB in that month, and of 20,000 of 75 kB in another. COPIALETTERE_GROWTH_ENTRIES is another number of entries.
func TestBenchGrowth(t *testing.T) {
	entries := 1_000_000
	if text := os.Getenv("COPIALETTERE_GROWTH_ENTRIES"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 2*growthLastWindow {
			t.Fatalf("COPIALETTERE_GROWTH_ENTRIES=%s: want a number, %d at least", text, 2*growthLastWindow)
		}
		entries = n
	}
	goals := [...]string{"at most 1.25", "at most 1.3"}
	if entries > 1_000_000 {
		goals = [...]string{"at most 1.5", ""}
	}
	m := newGrowingMonth(t, 1200)
	m.commit(growthFirst)
	first := m.commit(growthFirstWindow)
	m.commit(entries - growthFirst - growthFirstWindow - growthLastWindow)
	last := m.commit(growthLastWindow)
	fmt.Printf("\n| commit at %d entries in the month, %d writers, messages of 1.2 kB | at %d | at %d | measured | goal |\n|---|---|---|---|---|\n",
		entries, growthWriters, growthFirst, entries)
	fmt.Printf("| processor time | %d us | %d us | %.2f | %s |\n", first.processor.Microseconds(), last.processor.Microseconds(),
		last.processor.Seconds()/first.processor.Seconds(), goals[0])
	for _, p := range []struct {
		name string
		of   float64
		goal string
	}{{"p50", 0.50, ""}, {"p99", 0.99, goals[1]}, {"p99.9", 0.999, ""}} {
		a, b := first.quantile(p.of), last.quantile(p.of)
		fmt.Printf("| %s | %.2f ms | %.2f ms | %.2f | %s |\n", p.name, a.Seconds()*1e3, b.Seconds()*1e3, b.Seconds()/a.Seconds(), p.goal)
	}
	fmt.Println("\n| bytes written (write_bytes of /proc/self/io) for a byte of keys and values stored | measured | goal |\n|---|---|---|")
	fmt.Printf("| %d entries of %d bytes | %.2f | at most 4 |\n", entries, m.stored()/int64(entries), m.writtenPerStored())
	m.close()

	m = newGrowingMonth(t, 75_000)
	m.commit(20_000)
	fmt.Printf("| 20,000 messages of 75 kB, random base64 | %.2f | at most 2.5 |\n", m.writtenPerStored())
	m.close()
}

// growingMonth takes in messages of one size as fast as it can.
type growingMonth struct {
	t        *testing.T
	engine   *level.Engine
	journal  *Journal
	put      *metrics.Counter
	before   int64 // write_bytes before it was begun
	number   int64
	messages []*benchmarkMessage // of each writer
}

func newGrowingMonth(t *testing.T, size int) *growingMonth {
	m := &growingMonth{t: t, before: writeBytes(t)}
	registry := new(metrics.Registry)
	var err error
	if m.engine, err = level.Open(t.TempDir(), level.Options{Metrics: registry, Logger: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	// A month that ends meanwhile would leave the rest to another one.
	at := time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)
	begun := time.Now()
	if m.journal, err = Open(m.engine, Options{Now: func() time.Time { return at.Add(time.Since(begun)) }}); err != nil {
		t.Fatal(err)
	}
	m.put = registry.Counter("copialettere_store_put_bytes_total", "Bytes of keys and values in updates.")
	for i := range growthWriters {
		message := newBenchmarkMessage(size)
		message.random.Seed([32]byte{byte(i), 1})
		m.messages = append(m.messages, message)
	}
	return m
}

func (m *growingMonth) close() {
	m.journal.Close()
	if err := m.engine.Close(); err != nil {
		m.t.Error(err)
	}
}

// commits is what some commits took.
type commits struct {
	processor time.Duration   // of the process, a commit
	took      []time.Duration // of each, ascending
}

func (c commits) quantile(q float64) time.Duration { return c.took[int(q*float64(len(c.took)-1))] }

// commit has growthWriters writers commit so many messages, each to one mailbox.
func (m *growingMonth) commit(count int) commits {
	var c commits
	var mu sync.Mutex
	var next atomic.Int64
	begun := processorTime()
	var writing sync.WaitGroup
	for w := range growthWriters {
		writing.Go(func() {
			took := make([]time.Duration, 0, 2*count/growthWriters)
			for n := next.Add(1); n <= int64(count); n = next.Add(1) {
				duration, err := m.deliver(m.number+n, m.messages[w])
				if err != nil {
					m.t.Error(err)
					break
				}
				took = append(took, duration)
			}
			mu.Lock()
			defer mu.Unlock()
			c.took = append(c.took, took...)
		})
	}
	writing.Wait()
	if m.t.Failed() {
		m.t.FailNow()
	}
	c.processor = (processorTime() - begun) / time.Duration(count)
	m.number += int64(count)
	slices.Sort(c.took)
	return c
}

// deliver commits a message, and returns how long that took.
func (m *growingMonth) deliver(n int64, message *benchmarkMessage) (time.Duration, error) {
	d := m.journal.NewDraft(m.t.Context())
	defer d.Discard()
	for rest := message.next(n); len(rest) > 0; {
		block := rest[:min(len(rest), 32<<10)]
		d.Write(block)
		rest = rest[len(block):]
	}
	mailbox, transaction := fmt.Sprintf("user%d@alpha.test", n*7919%growthBoxes), fmt.Sprint("t", n)
	begun := time.Now()
	placed, err := d.Commit(m.t.Context(), Envelope{MailFrom: "anna@ext.test", Transaction: transaction},
		[]Intent{{Mailbox: mailbox, Direction: Received, RcptTo: mailbox, Class: "ordinary"}}, nil)
	if err != nil {
		return 0, err
	}
	took := time.Since(begun)
	m.journal.Delivered(placed[0].Ref, transaction)
	return took, nil
}

// stored returns the bytes of keys and values in all updates.
func (m *growingMonth) stored() int64 { return m.put.Value() }

func (m *growingMonth) writtenPerStored() float64 {
	return float64(writeBytes(m.t)-m.before) / float64(m.stored())
}

// writeBytes returns how many bytes the process has had written to disks.
func writeBytes(t *testing.T) int64 {
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "\nwrite_bytes: ")
	line, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.ParseInt(line, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
