// Package metrics holds the counters, gauges and histograms that the program shows on its admin listener, in the Prometheus text
// format (version 0.0.4). It is the small part of a client library that is needed here; all its types may be used concurrently.
package metrics

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Registry is a set of metrics. The zero value is ready for use.
type Registry struct {
	mu       sync.Mutex
	families map[string]*family // guarded by mu
}

type family struct {
	help, kind string
	series     map[string]series // by label text
}

type series interface {
	write(w io.Writer, name, labels string)
}

// Counter returns the counter of that name and labels (given as key, value, key, value ...), made at the first call.
func (r *Registry) Counter(name, help string, labels ...string) *Counter {
	return lookup(r, name, help, "counter", labels, func() *Counter { return new(Counter) })
}

// Gauge returns the gauge of that name and labels, made at the first call.
func (r *Registry) Gauge(name, help string, labels ...string) *Gauge {
	return lookup(r, name, help, "gauge", labels, func() *Gauge { return new(Gauge) })
}

// GaugeFunc sets the function that tells the value of a gauge when it is asked for.
func (r *Registry) GaugeFunc(name, help string, f func() float64, labels ...string) {
	lookup(r, name, help, "gauge", labels, func() gaugeFunc { return f })
}

// Histogram returns the histogram of durations of that name and labels, made at the first call.
func (r *Registry) Histogram(name, help string, labels ...string) *Histogram {
	return lookup(r, name, help, "histogram", labels, func() *Histogram { return new(Histogram) })
}

func lookup[S series](r *Registry, name, help, kind string, labels []string, create func() S) S {
	key := labelText(labels)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.families == nil {
		r.families = make(map[string]*family)
	}
	f := r.families[name]
	if f == nil {
		f = &family{help: help, kind: kind, series: make(map[string]series)}
		r.families[name] = f
	}
	if s, ok := f.series[key]; ok {
		return s.(S)
	}
	s := create()
	f.series[key] = s
	return s
}

func labelText(labels []string) string {
	var b []byte
	for i := 0; i+1 < len(labels); i += 2 {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, labels[i]...), '=')
		b = strconv.AppendQuote(b, labels[i+1])
	}
	return string(b)
}

// WriteTo writes all metrics in the Prometheus text format, ordered by name.
func (r *Registry) WriteTo(w io.Writer) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &countingWriter{w: w}
	b := bufio.NewWriter(c)
	for _, name := range sortedKeys(r.families) {
		f := r.families[name]
		fmt.Fprintf(b, "# HELP %s %s\n# TYPE %s %s\n", name, f.help, name, f.kind)
		for _, labels := range sortedKeys(f.series) {
			f.series[labels].write(b, name, labels)
		}
	}
	err := b.Flush()
	return c.n, err
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func writeSample(w io.Writer, name, labels, value string) {
	if labels != "" {
		labels = "{" + labels + "}"
	}
	fmt.Fprintf(w, "%s%s %s\n", name, labels, value)
}

// Counter is a number that only grows.
type Counter struct{ n atomic.Int64 }

// Add adds n, which is not negative.
func (c *Counter) Add(n int64) { c.n.Add(n) }

// Inc adds one.
func (c *Counter) Inc() { c.n.Add(1) }

// Value returns the count.
func (c *Counter) Value() int64 { return c.n.Load() }

func (c *Counter) write(w io.Writer, name, labels string) {
	writeSample(w, name, labels, strconv.FormatInt(c.n.Load(), 10))
}

// Gauge is a number that goes up and down.
type Gauge struct{ n atomic.Int64 }

// Add adds n, which may be negative.
func (g *Gauge) Add(n int64) { g.n.Add(n) }

// Set sets the value.
func (g *Gauge) Set(n int64) { g.n.Store(n) }

// Value returns the value.
func (g *Gauge) Value() int64 { return g.n.Load() }

func (g *Gauge) write(w io.Writer, name, labels string) {
	writeSample(w, name, labels, strconv.FormatInt(g.n.Load(), 10))
}

type gaugeFunc func() float64

func (g gaugeFunc) write(w io.Writer, name, labels string) {
	writeSample(w, name, labels, strconv.FormatFloat(g(), 'g', -1, 64))
}

// buckets is how many bounds a Histogram has: 100 microseconds, doubled up to 52 seconds, then infinity.
const buckets = 20

func bound(i int) time.Duration { return 100 * time.Microsecond << i }

// Histogram counts durations in buckets that double from 100 microseconds to 52 seconds.
type Histogram struct {
	counts [buckets + 1]atomic.Int64
	sum    atomic.Int64 // nanoseconds
}

// Observe counts one duration.
func (h *Histogram) Observe(d time.Duration) {
	i := 0
	for i < buckets && d > bound(i) {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(int64(d))
}

// Count returns how many durations were observed.
func (h *Histogram) Count() int64 {
	var n int64
	for i := range h.counts {
		n += h.counts[i].Load()
	}
	return n
}

// Quantile returns the upper bound of the bucket that holds the quantile q (0 to 1), or 0 where nothing was observed.
func (h *Histogram) Quantile(q float64) time.Duration {
	want := int64(math.Ceil(q * float64(h.Count())))
	if want == 0 {
		return 0
	}
	var n int64
	for i := range buckets {
		if n += h.counts[i].Load(); n >= want {
			return bound(i)
		}
	}
	return bound(buckets)
}

func (h *Histogram) write(w io.Writer, name, labels string) {
	prefix := ""
	if labels != "" {
		prefix = labels + ","
	}
	var n int64
	for i := range h.counts {
		n += h.counts[i].Load()
		le := "+Inf"
		if i < buckets {
			le = strconv.FormatFloat(bound(i).Seconds(), 'g', -1, 64)
		}
		writeSample(w, name+"_bucket", fmt.Sprintf("%sle=%q", prefix, le), strconv.FormatInt(n, 10))
	}
	writeSample(w, name+"_sum", labels, strconv.FormatFloat(time.Duration(h.sum.Load()).Seconds(), 'g', -1, 64))
	writeSample(w, name+"_count", labels, strconv.FormatInt(n, 10))
}
