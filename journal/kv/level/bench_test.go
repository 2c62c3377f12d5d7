package level

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"copialettere/journal/kv"
	"copialettere/journal/metrics"
)

// BenchmarkIngest stores messages as the journal does, from 16 writers. Each update has one chunk of 2 to 75 kB under a time-ordered
// key, its hash, an entry, a delivery key, and the counters of one of 200 mailboxes. It reports the bytes written to storage for each
// byte put, compaction included, and the peak of the heap. A gigabyte is about 50,000 iterations:
//
//	go test -run - -bench Ingest -benchtime 50000x ./journal/kv/level
func BenchmarkIngest(b *testing.B) {
	r := new(metrics.Registry)
	e, err := Open(b.TempDir(), Options{Metrics: r, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	s, err := e.Volume(b.Context(), "2026-11", true)
	if err != nil {
		b.Fatal(err)
	}
	heap := watchHeap()
	b.ResetTimer()
	ingest(b, s, 16)
	b.StopTimer()
	peak := heap()
	waitForCompaction(b, s.(*store))
	m := e.meters
	b.SetBytes(m.putBytes.Value() / int64(b.N))
	b.ReportMetric(float64(m.writtenBytes.Value())/float64(m.putBytes.Value()), "written/put")
	b.ReportMetric(float64(m.updates.Value())/float64(m.commits.Value()), "updates/batch")
	b.ReportMetric(1000*quantile(b, m.commitSeconds, 0.99), "p99-ms")
	b.ReportMetric(float64(peak>>20), "heap-MiB")
	b.ReportMetric(e.stallTime().Seconds(), "stall-s")
}

// quantile returns the upper bound, in seconds, of the bucket of a quantile.
func quantile(b *testing.B, h *metrics.Histogram, q float64) float64 {
	var m dto.Metric
	if err := h.Write(&m); err != nil {
		b.Fatal(err)
	}
	for _, bucket := range m.Histogram.Bucket {
		if float64(bucket.GetCumulativeCount()) >= q*float64(m.Histogram.GetSampleCount()) {
			return bucket.GetUpperBound()
		}
	}
	return math.Inf(1)
}

func ingest(b *testing.B, s kv.Store, writers int) {
	var mu sync.Mutex
	next := 0
	take := func() int {
		mu.Lock()
		defer mu.Unlock()
		next++
		return next - 1
	}
	content := randomContent()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(w), 0))
			for i := take(); i < b.N; i = take() {
				if err := s.Update(b.Context(), []string{"lock"}, func(tx kv.Tx) error { return message(tx, random, i, content) }); err != nil {
					b.Errorf("Update: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func message(tx kv.Tx, random *rand.Rand, i int, content []byte) error {
	id := binary.BigEndian.AppendUint64(make([]byte, 0, 12), uint64(time.Now().UnixNano()))
	id = binary.BigEndian.AppendUint32(id, uint32(i))
	size := int(2000 * math.Pow(37.5, random.Float64()))
	from := random.IntN(len(content) - size)
	hash := make([]byte, 32)
	for j := range hash {
		hash[j] = byte(random.Uint32())
	}
	mailbox := fmt.Sprintf("user%03d@alpha.test", random.IntN(200))
	counters := append([]byte("s"), mailbox+"\x00received/INBOX"...)
	v, err := tx.Get(counters)
	if err != nil {
		v = make([]byte, 60)
	}
	uid := binary.BigEndian.Uint32(v) + 1
	binary.BigEndian.PutUint32(v, uid)
	tx.Put(append([]byte("c"), id...), content[from:from+size])
	tx.Put(append([]byte("h"), hash...), id)
	tx.Put(binary.BigEndian.AppendUint32(append([]byte("e"), mailbox+"\x00INBOX\x00"...), uid), content[from:from+700])
	tx.Put(append(append([]byte("d"), mailbox...), hash[:20]...), id)
	tx.Put(counters, v)
	return nil
}

// watchHeap returns a function that returns the peak of the heap so far.
func watchHeap() (peak func() uint64) {
	stop, result := make(chan struct{}), make(chan uint64)
	go func() {
		var most uint64
		var stats runtime.MemStats
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			runtime.ReadMemStats(&stats)
			most = max(most, stats.HeapInuse)
			select {
			case <-tick.C:
			case <-stop:
				result <- most
				return
			}
		}
	}()
	return func() uint64 { close(stop); return <-result }
}

// waitForCompaction waits until LevelDB has nothing more to do.
func waitForCompaction(b *testing.B, s *store) {
	written := int64(-1)
	for now := s.engine.meters.writtenBytes.Value(); now != written; now = s.engine.meters.writtenBytes.Value() {
		written = now
		time.Sleep(300 * time.Millisecond)
	}
}

// BenchmarkPurge purges an older month of 90,000 messages, 1.8 GB, of which a part is garbage. Meanwhile mail is written to the next month,
// 100 messages of 75 kB a second. It reports the bytes freed and written, the longest wait of a message, and that of messages without a
// purge.
//
//	go test -run - -bench Purge -benchtime 1x ./journal/kv/level
func BenchmarkPurge(b *testing.B) {
	for _, c := range []struct {
		name    string
		garbage func(i, n int) bool // chunk i of n
	}{
		{"one chunk of 10 kB", func(i, n int) bool { return i == n/3 }},
		{"a mailbox of 200", func(i, n int) bool { return i%200 == 7 }},
		{"three mailboxes of ten", func(i, n int) bool { return i%10 < 3 }},
		{"a mailbox that was active for three days", func(i, n int) bool { return i > n/3 && i < n/3+n/10 && i%10 < 6 }},
		{"all of the first half", func(i, n int) bool { return i < n/2 }},
	} {
		b.Run(c.name, func(b *testing.B) { benchmarkPurge(b, c.garbage) })
	}
}

func benchmarkPurge(b *testing.B, chosen func(i, n int) bool) {
	const messages = 90000
	dir := b.TempDir()
	opts := Options{Logger: slog.New(slog.DiscardHandler)}
	fill := func() {
		e, err := Open(dir, opts)
		if err != nil {
			b.Fatal(err)
		}
		s := openVolume(b, e, "2026-10")
		random, content := rand.New(rand.NewPCG(1, 2)), randomContent()
		for i := 0; i < messages; i += 50 {
			if err := s.Update(b.Context(), nil, func(tx kv.Tx) error {
				for n := range 50 {
					if err := message(tx, random, i+n, content); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				b.Fatal(err)
			}
		}
		putOne(b, openVolume(b, e, "2026-11"), "a", "1")
		waitForCompaction(b, s.(*store))
		if err := e.Close(); err != nil {
			b.Fatal(err)
		}
	}
	fill()
	e, err := Open(dir, opts)
	if err != nil {
		b.Fatal(err)
	}
	defer e.Close()
	old, newest := openVolume(b, e, "2026-10"), openVolume(b, e, "2026-11")
	var garbage []kv.Garbage
	i := 0
	for p, err := range old.Scan(b.Context(), []byte("c"), []byte("d")) {
		if err != nil {
			b.Fatal(err)
		}
		if chosen(i, messages) {
			garbage = append(garbage, kv.Garbage{Key: p.Key, Size: int64(len(p.Value))})
		}
		i++
	}
	waitForCompaction(b, old.(*store))
	b.ResetTimer()
	for range b.N {
		var gone, freed int64
		before := e.meters.writtenBytes.Value()
		var written int64
		mail := func(work func()) (waits []time.Duration) {
			stop, done := make(chan struct{}), make(chan []time.Duration)
			go func() { done <- deliver(b, newest, stop) }()
			work()
			close(stop)
			return <-done
		}
		// A first purge without mail tells what is freed; a second one, of the rest, how long mail waits.
		half := len(garbage) / 2
		purge := func(garbage []kv.Garbage) {
			if err := old.Purge(b.Context(), garbage, func(part []kv.Garbage) error {
				gone += int64(len(part))
				for _, g := range part {
					freed += g.Size
				}
				return nil
			}); err != nil {
				b.Fatal(err)
			}
		}
		purge(garbage[:half])
		written = e.meters.writtenBytes.Value() - before
		freedAlone := freed
		start := time.Now()
		waits := mail(func() { purge(garbage[half:]) })
		took := max(time.Since(start), 5*time.Second)
		alone := mail(func() { time.Sleep(took) })
		b.ReportMetric(float64(gone)/float64(max(1, len(garbage))), "gone")
		b.ReportMetric(float64(freed)/1e6, "MB-freed")
		b.ReportMetric(float64(written)/1e6, "MB-written-in-first-half")
		b.ReportMetric(float64(written)/max(1, float64(freedAlone)), "written/freed")
		b.ReportMetric(float64(longest(waits).Microseconds())/1000, "longest-ms")
		b.ReportMetric(float64(longest(alone).Microseconds())/1000, "longest-ms-without")
		b.ReportMetric(float64(len(waits)), "messages")
	}
}

func longest(waits []time.Duration) time.Duration {
	if len(waits) == 0 {
		return 0
	}
	return slices.Max(waits)
}

// deliver writes messages at a steady pace, and returns how long each waited.
func deliver(b *testing.B, s kv.Store, stop chan struct{}) (waits []time.Duration) {
	random, content := rand.New(rand.NewPCG(3, 4)), randomContent()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-stop:
			return waits
		case <-tick.C:
		}
		start := time.Now()
		if err := s.Update(b.Context(), nil, func(tx kv.Tx) error { return message(tx, random, i, content) }); err != nil {
			b.Errorf("Update: %v", err)
			return waits
		}
		waits = append(waits, time.Since(start))
	}
}

func randomContent() []byte {
	content := make([]byte, 1<<20)
	for i := range content {
		content[i] = byte(rand.Uint32())
	}
	return content
}
