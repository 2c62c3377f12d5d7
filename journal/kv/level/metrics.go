package level

import (
	"sync/atomic"
	"time"

	"copialettere/journal/metrics"
)

// meters are the metrics of an Engine.
type meters struct {
	updates, failedUpdates *metrics.Counter
	commits, failedCommits *metrics.Counter
	commitSeconds          *metrics.Histogram
	fsyncs                 *metrics.Counter
	putBytes, writtenBytes *metrics.Counter
	reopens, lost          *metrics.Counter
	stalls                 atomic.Int64 // nanoseconds that databases closed since then held back writes
}

func newMeters(e *Engine) *meters {
	r := e.opts.Metrics
	m := &meters{
		updates:       r.Counter("copialettere_store_updates_total", "Updates that were made durable."),
		failedUpdates: r.Counter("copialettere_store_failed_updates_total", "Updates that failed because the store was unavailable."),
		commits:       r.Counter("copialettere_store_batches_total", "Batches of updates, each written with one fsync."),
		failedCommits: r.Counter("copialettere_store_failed_writes_total", "Batches whose write or fsync failed."),
		commitSeconds: r.Histogram("copialettere_store_commit_seconds", "Time from the arrival of an update until it was durable."),
		fsyncs:        r.Counter("copialettere_store_fsyncs_total", "Calls of fsync on files of the store."),
		putBytes:      r.Counter("copialettere_store_put_bytes_total", "Bytes of keys and values in updates."),
		writtenBytes:  r.Counter("copialettere_store_written_bytes_total", "Bytes written to files of the store, compaction included."),
		reopens:       r.Counter("copialettere_store_reopens_total", "Times a store was reopened after a failed write."),
		lost:          r.Counter("copialettere_store_lost_updates_total", "Acknowledged updates that were missing when a store was opened."),
	}
	r.GaugeFunc("copialettere_store_open", "Stores that are open, the settings included.",
		func() float64 { return float64(len(e.openStores())) })
	r.GaugeFunc("copialettere_store_write_stall_seconds", "Time that writes waited for compaction since the start.",
		func() float64 { return e.stallTime().Seconds() })
	return m
}

// stallTime returns how long goleveldb has held back writes, in databases closed since then too.
func (e *Engine) stallTime() time.Duration {
	total := time.Duration(e.meters.stalls.Load())
	for _, s := range e.openStores() {
		total += s.stallTime()
	}
	return total
}
