package level

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"copialettere/journal/kv"
	"copialettere/journal/metrics"
)

// BenchmarkIngest journals messages as the journal does, from 16 writers: one chunk of 2 to 75 kB under a time-ordered key, its
// hash, an entry, a delivery key, and the counters of one of 200 mailboxes, in one update. It reports the bytes that went to
// storage for each byte put (compaction waited for), and the most memory that the heap held. A gigabyte is about 50,000
// iterations:
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

// quantile returns the upper bound, in seconds, of the bucket that holds a quantile.
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
	content := make([]byte, 1<<20)
	for i := range content {
		content[i] = byte(rand.Uint32())
	}
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

// watchHeap returns a function that returns the most that the heap held until then.
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
